"""What is done to pixels before they reach a network, as affine operations that can be folded into its map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2

from linalg_cnn import Operation, Scale
from linalg_cnn.types import Shape

UNCHANGED = (v2.ToImage, v2.ToPureTensor, v2.PILToTensor, transforms.PILToTensor, nn.Identity, v2.Identity)
"""Steps that change how pixels are held, not their values."""


def preprocessing_operations(preprocess: Any, in_shape: Shape) -> list[Operation]:
    """Return a chain of torchvision transforms as operations on raw pixels 0 to 255, the first one first.

    Parameters
    ----------
    preprocess : a transform, ``Compose``, ``nn.Sequential``, a sequence of transforms, or None
        ``ToTensor``, ``Normalize``, ``ConvertImageDtype``, and of ``transforms.v2`` ``ToImage``, ``ToDtype``,
        ``Normalize`` and what only changes how pixels are held.
    in_shape : tuple of int
        (channels, *spatial) of the pixels.

    Returns
    -------
    list of Operation

    Raises
    ------
    ValueError
        If a step is not affine or not known, named with its place; or a ``Normalize`` is for other channels.

    Notes
    -----
    Source: ``torchvision.transforms``. A picture is (channels, height, width) here, also for ``ToTensor``, which
    takes (height, width, channels).

    Examples
    --------
    >>> chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.25])])
    >>> [operation] = preprocessing_operations(chain, (1, 1, 2))
    >>> operation(np.array([[[[0.0, 255.0]]]]))
    array([[[[-2.,  2.]]]])
    """
    factor, shift, of_bytes = np.ones(in_shape[0]), np.zeros(in_shape[0]), True
    changed = False
    for place, step in _steps(preprocess):
        if isinstance(step, UNCHANGED):
            continue
        changed = True
        if isinstance(step, (transforms.Normalize, v2.Normalize)):
            mean, std = (_per_channel(place, name, getattr(step, name), in_shape[0]) for name in ("mean", "std"))
            factor, shift, of_bytes = factor / std, (shift - mean) / std, False
        elif _scales(place, step):
            factor, shift = (factor / 255, shift / 255) if of_bytes else (factor, shift)
            of_bytes = False
    return [Scale(factor, shift)] if changed else []


def _scales(place: str, step: Any) -> bool:
    """Return whether a step brings bytes to [0, 1].

    Raises
    ------
    ValueError
        If it does anything else.
    """
    if isinstance(step, (transforms.ToTensor, v2.ToTensor)):
        return True
    if isinstance(step, (transforms.ConvertImageDtype, v2.ConvertImageDtype)) and step.dtype.is_floating_point:
        return True
    if isinstance(step, v2.ToDtype) and isinstance(step.dtype, torch.dtype) and step.dtype.is_floating_point:
        return bool(step.scale)
    raise ValueError(
        f"{place}: expected ToTensor, Normalize, ConvertImageDtype or ToDtype to a floating type, got {step!r}, "
        "which is not known to be affine; apply it before the pixels are given to the map"
    )


def _steps(preprocess: Any, place: str = "preprocess") -> list[tuple[str, Any]]:
    """Return the steps of nested chains, with their places."""
    if preprocess is None:
        return []
    children: Sequence[Any] | None = None
    if isinstance(preprocess, (transforms.Compose, v2.Compose)):
        children = preprocess.transforms
    elif isinstance(preprocess, (nn.Sequential, list, tuple)):
        children = list(preprocess)
    if children is None:
        return [(place, preprocess)]
    return [step for number, child in enumerate(children) for step in _steps(child, f"{place}[{number}]")]


def _per_channel(place: str, name: str, values: Any, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) not in {1, channels}:
        raise ValueError(f"{place}.{name}: expected one entry per channel ({channels}), got {len(array)}")
    return np.broadcast_to(array, (channels,))
