"""Scores of images, and their accuracy."""

import torch
from torch import nn

from gpu.models.checks import check_module
from gpu.runtime.precision import full_float32
from gpu.training.data import as_network_input, check_images
from gpu.training.labelled import INTEGERS
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
        If ``model`` is not an ``nn.Module``, or the images are not a tensor.
    ValueError
        If the images are not (N, *in_shape), or neither uint8 nor floats of 16, 32 or 64 bits; if ``batch_size`` is not
        an int of at least 1; or if the network does not return one row of scores for each image.

    Examples
    --------
    >>> import gpu
    >>> gpu.predict_scores(gpu.perceptron(), torch.zeros(3, 1, 28, 28, dtype=torch.uint8)).shape
    torch.Size([3, 10])
    """
    check_module("model", model)
    check_images(images)
    if images.ndim < 2:
        raise ValueError(f"images: expected images (N, *in_shape), got shape {tuple(images.shape)}")
    check_int("batch_size", batch_size, 1)
    model.eval()
    device, dtype = next((tensor.device for tensor in model.parameters()), images.device), dtype_of(model)
    batches = []
    with full_float32():
        for batch in images.split(batch_size):
            scores = model(as_network_input(batch.to(device), dtype))
            batches.append(check_scores(scores, len(batch)).cpu())
    return torch.cat(batches)


def check_scores(scores: object, images: int) -> torch.Tensor:
    """Return what a network gave for a number of images, if that is one row of scores for each.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> check_scores((torch.zeros(2, 3), torch.zeros(2)), images=2)
    Traceback (most recent call last):
    ValueError: model: expected scores (2, classes) of 2 images, got tuple
    """
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or len(scores) != images:
        raise ValueError(f"model: expected scores ({images}, classes) of {images} images, got {_described(scores)}")
    return scores


def check_trained_scores(scores: object, images: int, classes: int) -> torch.Tensor:
    """Return what a network gave in training mode, if that is the scores that it gives in evaluation mode.

    Parameters
    ----------
    scores : object
        What the network gave.
    images : int
        Number of images.
    classes : int
        Number of scores that the network gives for an image in evaluation mode.

    Raises
    ------
    ValueError
        If it is something else, such as a tuple with the output of an auxiliary head, or scores without a gradient.
    """
    if not isinstance(scores, torch.Tensor) or scores.shape != (images, classes):
        raise ValueError(
            f"model: expected scores ({images}, {classes}) of {images} images in training mode, as in evaluation mode, "
            f"got {_described(scores)}; train a module whose forward returns the scores alone"
        )
    if not scores.requires_grad:
        raise ValueError("model: expected scores with a gradient in training mode, got some without")
    return scores


def _described(scores: object) -> str:
    """Return the shape of a tensor, or the type of another value."""
    return str(tuple(scores.shape)) if isinstance(scores, torch.Tensor) else type(scores).__name__


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
        Scores of at least one image.
    labels : integer tensor (N,)
        Classes, from 0 to the number of classes less 1.

    Raises
    ------
    TypeError
        If scores or labels are not a tensor.
    ValueError
        If there is not one label for each row of scores, or there are none; if the labels are not integers, or one of
        them is no class that has a score.

    Examples
    --------
    >>> import gpu
    >>> gpu.accuracy_of(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
    0.5
    """
    for name, value in (("scores", scores), ("labels", labels)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(
            "labels: expected a label (N,) for each row of scores (N, classes), got labels "
            f"{tuple(labels.shape)} and scores {tuple(scores.shape)}"
        )
    if not scores.numel():
        raise ValueError(f"scores: expected those of at least one image, got shape {tuple(scores.shape)}")
    if labels.dtype not in INTEGERS:
        raise ValueError(f"labels: expected integers, got {labels.dtype}")
    least, largest = map(int, labels.aminmax())
    if least < 0 or largest >= scores.shape[1]:
        raise ValueError(
            f"labels: expected classes from 0 to {scores.shape[1] - 1}, which have scores, got {least} to {largest}"
        )
    right = (scores.argmax(1) == labels.to(scores.device)) & ~scores.isnan().any(1)  # argmax takes NaN for the highest
    return float(right.double().mean())
