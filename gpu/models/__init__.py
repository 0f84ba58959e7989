"""Networks as torch modules: the paper's networks, skips of strength t, and networks without nonlinearities."""
