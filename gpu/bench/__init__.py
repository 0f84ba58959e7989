"""Benchmarks: medians and their spread, ratios within one run, and the machine that they were measured on."""
