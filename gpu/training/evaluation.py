"""Scores of images, and their accuracy."""

import torch
from torch import nn

from gpu.runtime.devices import full_float32
from gpu.training.data import scale_pixels


@torch.inference_mode()
def predict_scores(model: nn.Module, images: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    """Return the scores (N, classes) of uint8 images (N, 1, 28, 28), on the CPU.

    The model is set to evaluation mode and stays in it. Convolutions are computed in full float32, not in TF32.

    Examples
    --------
    >>> import gpu
    >>> gpu.predict_scores(gpu.perceptron(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """
    model.eval()
    device = next(model.parameters()).device
    with full_float32():
        batches = [model(scale_pixels(batch.to(device))).cpu() for batch in images.split(batch_size)]
    return torch.cat(batches)


def accuracy_of(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose highest score is that of their label.

    Examples
    --------
    >>> import gpu
    >>> gpu.accuracy_of(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    return float((scores.argmax(1) == labels).double().mean())
