"""Merging: find the affine stretches of a network, choose the form of each, verify, report. `merge.py` is the entry."""
