"""Training a classifier of digits: data, training loop, checkpoints, distillation and evaluation."""
