"""Training a classifier of images: data, training loop, checkpoints, distillation and evaluation."""
