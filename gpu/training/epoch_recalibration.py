"""What `gpu.Trainer` does before each validation: the running statistics are estimated from some training images."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from gpu.training.recalibration import (
    StatisticsNotFiniteError,
    check_norms,
    estimate,
    norms_to_estimate,
    spread_evenly,
)
from linalg_cnn.checks import check_int


class EpochRecalibration:
    """Estimates the running statistics of a model after each epoch, layer by layer.

    Parameters
    ----------
    model : nn.Module
    images : tensor (N, *in_shape)
        All training images, on the model's device.
    count : int, optional
        Number of training images that the statistics are estimated from; `number_of_images` if not given.

    Attributes
    ----------
    count : int
        The number that was asked for, or the default.

    Raises
    ------
    TypeError
        If the number is not an int.
    ValueError
        If it is negative, or statistics of the model cannot be written.
    """

    def __init__(self, model: nn.Module, images: torch.Tensor, count: int | None = None) -> None:
        self.count = (
            number_of_images(images.shape[1:]) if count is None else check_int("recalibration_images", count, 0)
        )
        self._images, self._index = images, spread_evenly(len(images), self.count)
        if self.count:
            check_norms(norms_to_estimate(model))

    def is_needed(self, model: nn.Module) -> bool:
        """Return whether a model, as it was trained, has running statistics that are not frozen."""
        model.train()  # its own method may keep batch normalisations frozen
        return bool(len(self._index) and norms_to_estimate(model))

    def __call__(self, model: nn.Module, epoch: int) -> None:
        """Estimate the statistics, in place, after the training of an epoch; the model is left in training mode.

        Raises
        ------
        FloatingPointError
            If they are not finite.
        ValueError
            If the model does not take the images all at once.
        """
        model.train()
        try:
            estimate(model, self._images[self._index], batch_size=1, layer_by_layer=True)
        except StatisticsNotFiniteError as error:
            raise FloatingPointError(f"training diverged: {error} after epoch {epoch}") from error


def number_of_images(in_shape: Sequence[int]) -> int:
    """Return how many images of a shape (channels, *spatial) are enough: 1,000, and fewer of more than 4,096 pixels.

    All are run at once, and the fewer take no more memory. Each has more positions that a statistic is a mean over.

    Examples
    --------
    >>> number_of_images((1, 28, 28)), number_of_images((3, 224, 224))
    (1000, 81)
    """
    return min(1000, max(8, 1000 * 64 * 64 // math.prod(in_shape[1:])))
