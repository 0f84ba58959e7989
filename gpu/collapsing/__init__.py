"""From a network to one affine map: trace, choose the form, compose, verify, report. `collapse.py` is the entry."""
