"""Training a classifier of digits: the data, the loop, its checkpoints, and distillation."""
