"""Prediction in batches, and how many are right."""

import torch
from torch import nn

from gpu.runtime.devices import full_float32

PIXEL_SCALE = 1 / 255
"""Networks see pixels in [0, 1]; files and data sets hold 0 to 255."""


@torch.inference_mode()
def predict_scores(model: nn.Module, images: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    """Return the scores (N, classes) of uint8 images (N, 1, 28, 28), on the CPU; the model is set to evaluation.

    Examples
    --------
    >>> import gpu
    >>> predict_scores(gpu.perceptron(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """
    model.eval()
    device = next(model.parameters()).device
    with full_float32():
        batches = [model(batch.to(device).float() * PIXEL_SCALE).cpu() for batch in images.split(batch_size)]
    return torch.cat(batches)


def accuracy_of(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose highest score is at their label.

    Examples
    --------
    >>> accuracy_of(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    return float((scores.argmax(1) == labels).double().mean())
