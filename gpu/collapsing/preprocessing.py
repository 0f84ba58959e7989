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
NORMALIZE = (transforms.Normalize, v2.Normalize)
TO_TENSOR = (transforms.ToTensor, v2.ToTensor)
CONVERT = (transforms.ConvertImageDtype, v2.ConvertImageDtype, v2.ToDtype)
EXACT = (torch.float32, torch.float64)
"""What bytes can be converted to and be scaled in as the map does it, but for rounding that is as small as its own."""


def preprocessing_operations(preprocess: Any, in_shape: Shape) -> list[Operation]:
    """Return a chain of torchvision transforms as operations on raw pixels 0 to 255, the first one first.

    Parameters
    ----------
    preprocess : a transform, ``Compose``, ``nn.Sequential``, a sequence of transforms, or None
        ``ToTensor``, ``Normalize``, ``ConvertImageDtype``, and of ``transforms.v2`` ``ToImage``, ``ToDtype``,
        ``Normalize`` and what only changes how pixels are held. Nothing derived from them: it may do anything.
    in_shape : tuple of int
        (channels, *spatial) of the pixels.

    Returns
    -------
    list of Operation

    Raises
    ------
    ValueError
        If a step is not affine or not known, rounds, or is one that torchvision refuses there, named with its place;
        or a ``Normalize`` is for other channels or divides by zero.

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
    factor, shift = np.ones(in_shape[0]), np.zeros(in_shape[0])
    steps = [(place, step) for place, step in _steps(preprocess) if type(step) not in UNCHANGED]
    floating = False
    for place, step in steps:
        if type(step) in NORMALIZE:
            mean, std = (_per_channel(place, name, getattr(step, name), in_shape[0]) for name in ("mean", "std"))
            if not floating:
                raise ValueError(
                    f"{place}: expected floating-point pixels for Normalize, as torchvision does, got bytes; put "
                    "ToTensor, or v2.ToDtype(torch.float32, scale=True or False), before it"
                )
            if not std.all():
                raise ValueError(f"{place}.std: expected numbers other than 0, got {step.std}")
            factor, shift = factor / std, (shift - mean) / std
        elif _scales(place, step) and not floating:  # torchvision scales integers, and leaves floats as they are
            factor, shift = factor / 255, shift / 255
        floating = True
    return [Scale(factor, shift)] if steps else []


def _scales(place: str, step: Any) -> bool:
    """Return whether a step that makes floats of bytes brings them to [0, 1].

    Raises
    ------
    ValueError
        If it does anything else.
    """
    if type(step) in TO_TENSOR:
        return True
    if type(step) in CONVERT and isinstance(step.dtype, torch.dtype) and step.dtype.is_floating_point:
        if step.dtype not in EXACT:
            raise ValueError(f"{place}: expected a conversion to float32 or float64, got {step!r}, which rounds")
        return type(step) is not v2.ToDtype or bool(step.scale)
    raise ValueError(
        f"{place}: expected ToTensor, Normalize, ConvertImageDtype or ToDtype to a floating type, got {step!r}, "
        "which is not known to be affine; apply it before the pixels are given to the map"
    )


def _steps(preprocess: Any, place: str = "preprocess") -> list[tuple[str, Any]]:
    """Return the steps of nested chains, with their places."""
    if preprocess is None:
        return []
    children: Sequence[Any] | None = None
    if type(preprocess) in {transforms.Compose, v2.Compose}:
        children = preprocess.transforms
    elif type(preprocess) in {nn.Sequential, list, tuple}:
        children = list(preprocess)
    if children is None:
        return [(place, preprocess)]
    return [step for number, child in enumerate(children) for step in _steps(child, f"{place}[{number}]")]


def _per_channel(place: str, name: str, values: Any, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) not in {1, channels}:
        raise ValueError(f"{place}.{name}: expected one entry per channel ({channels}), got {len(array)}")
    return np.broadcast_to(array, (channels,))
