"""Benchmarks: ratios within one run, medians of several, and the machine named. Never part of the tests."""
