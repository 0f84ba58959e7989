"""Networks as torch modules: the paper's networks, skips of strength t, linearisation, and conversion to operations."""
