"""Scores of images, and their accuracy."""

import torch
from torch import nn

from gpu.runtime.precision import full_float32
from gpu.training.data import as_network_input, check_images
from linalg_cnn.checks import check_int


@torch.inference_mode()
def predict_scores(model: nn.Module, images: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    """Return the scores (N, classes) of images, on the CPU.

    The model is set to evaluation mode and stays in it. Products of float32 numbers are computed in full, not in TF32.

    Parameters
    ----------
    model : nn.Module
        Network from floats (N, *in_shape) to scores (N, classes).
    images : tensor (N, *in_shape)
        uint8 pixels, which count as pixels / 255, or floats, which the network gets as they are.
    batch_size : int
        Number of images that the network gets at once.

    Raises
    ------
    TypeError
        If the images are not a tensor.
    ValueError
        If they are neither uint8 nor floats, or ``batch_size`` is not an int of at least 1.

    Examples
    --------
    >>> import gpu
    >>> gpu.predict_scores(gpu.perceptron(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """
    check_images(images)
    check_int("batch_size", batch_size, 1)
    model.eval()
    device, dtype = next((tensor.device for tensor in model.parameters()), images.device), dtype_of(model)
    with full_float32():
        batches = [model(as_network_input(batch.to(device), dtype)).cpu() for batch in images.split(batch_size)]
    return torch.cat(batches)


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the dtype of the first floating-point parameter of a network; float32 if it has none.

    Examples
    --------
    >>> dtype_of(nn.Linear(1, 1).double())
    torch.float64
    """
    return next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)


def accuracy_of(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose highest score is that of their label.

    Scores of which one is NaN have no highest one, and count as wrong.

    Parameters
    ----------
    scores : tensor (N, classes)
    labels : int tensor (N,)

    Raises
    ------
    ValueError
        If there is not one label for each row of scores.

    Examples
    --------
    >>> import gpu
    >>> gpu.accuracy_of(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            "labels: expected a label (N,) for each row of scores (N, classes), got labels "
            f"{tuple(labels.shape)} and scores {tuple(scores.shape)}"
        )
    right = (scores.argmax(1) == labels.to(scores.device)) & ~scores.isnan().any(1)  # argmax takes NaN for the highest
    return float(right.double().mean())
