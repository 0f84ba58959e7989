"""The preprocessing of pixels as affine operations, which can be folded into a map."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from linalg_cnn import AffineGraph, Scale
from linalg_cnn.meta import BRIGHTEST, NETWORK, layout_of
from linalg_cnn.types import Array, Shape

UNCHANGED = (v2.ToImage, v2.ToPureTensor, v2.PILToTensor, transforms.PILToTensor, nn.Identity, v2.Identity)
"""Steps that change the type or the layout of pixels, not their values."""
NORMALIZE = (transforms.Normalize, v2.Normalize)
TO_TENSOR = (transforms.ToTensor, v2.ToTensor)
CONVERT = (transforms.ConvertImageDtype, v2.ConvertImageDtype, v2.ToDtype)
EXACT = (torch.float32, torch.float64)
"""Dtypes in which bytes can be scaled with no more rounding than the map's own."""


def preprocessing_operations(preprocess: Any, in_shape: Shape) -> list[Scale]:
    """Return a chain of torchvision transforms as operations on raw pixels 0 to 255, in the order of application.

    Parameters
    ----------
    preprocess : a transform, ``Compose``, ``nn.Sequential``, a sequence of transforms, or None
        The chain. It may hold ``ToTensor``, ``Normalize``, ``ConvertImageDtype``, those of ``transforms.v2`` and
        ``ToDtype``, and steps that keep the values of the pixels, such as ``ToImage``. Subclasses are refused: they
        may do anything. Of the transforms of torchvision's pretrained classifiers, ``weights.transforms()``, scaling
        and normalisation are taken: the raw pixels are those of a picture that was resized and cropped before.
    in_shape : tuple of int
        Shape (channels, *spatial) of the pixels.

    Returns
    -------
    list of Scale
        One operation that has the effect of the whole chain; empty if nothing changes the pixels.

    Raises
    ------
    ValueError
        If a step is not affine or not known, rounds, or would be refused by torchvision at its place in the chain; if a
        ``Normalize`` is for another number of channels, divides by zero, or gives pixels that float64 does not hold; or
        if ``weights.transforms()`` crops to another size.

    Notes
    -----
    Source: ``torchvision.transforms``. Pixels are (channels, height, width) here, also for ``ToTensor``, which takes
    (height, width, channels).

    Examples
    --------
    >>> chain = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.25])])
    >>> [operation] = preprocessing_operations(chain, (1, 1, 2))
    >>> operation(np.array([[[[0.0, 255.0]]]]))
    array([[[[-2.,  2.]]]])
    """
    factor, shift = np.ones(in_shape[0]), np.zeros(in_shape[0])
    steps = [(path, step) for path, step in _steps(preprocess, in_shape) if type(step) not in UNCHANGED]
    floating = False
    for path, step in steps:
        if type(step) in NORMALIZE:
            mean, std = (_per_channel(path, name, getattr(step, name), in_shape[0]) for name in ("mean", "std"))
            if not floating:
                raise ValueError(
                    f"{path}: expected floating-point pixels for Normalize, as torchvision does, got bytes; put "
                    "ToTensor, or v2.ToDtype(torch.float32, scale=True or False), before it"
                )
            if not std.all():
                raise ValueError(f"{path}.std: expected numbers other than 0, got {step.std}")
            with np.errstate(over="ignore", invalid="ignore"):
                factor, shift = factor / std, (shift - mean) / std
            if not np.isfinite([factor, shift]).all():
                raise ValueError(
                    f"{path}: expected a mean and a std that leave pixels finite, got {step.mean} and {step.std}"
                )
        elif _scales(path, step) and not floating:  # torchvision scales integers, and leaves floats as they are
            factor, shift = factor / 255, shift / 255
        floating = True
    return [Scale(factor, shift)] if steps else []


def meta_of(preprocess: Any, operations: Sequence[Scale], in_shape: Shape) -> dict[str, Any]:
    """Return what a map expects of its input, for `linalg_cnn.AffineMap`.

    Parameters
    ----------
    preprocess : torchvision transforms or None
        The chain that is folded into the map; None if nobody said how the network takes pixels, an empty chain if it
        takes them as they are.
    operations : sequence of Scale
        The chain as `preprocessing_operations` returns it.
    in_shape : tuple of int
        Shape (channels, *spatial) of the pixels.

    Examples
    --------
    >>> chain = [transforms.ToTensor(), transforms.Normalize([0.1307], [0.3081])]
    >>> meta_of(chain, preprocessing_operations(chain, (1, 28, 28)), (1, 28, 28))
    {'layout': 'CHW', 'pixel_scale': 255, 'mean': (0.1307,), 'std': (0.3081,), 'folded': True}
    """
    meta: dict[str, Any] = {"layout": layout_of(in_shape), "pixel_scale": NETWORK if preprocess is None else BRIGHTEST}
    for operation in operations:
        factor, shift = BRIGHTEST * operation.weight, operation.bias
        if np.any(shift) or not (np.all(factor == 1) or np.all(factor == BRIGHTEST)):
            meta |= {"mean": _rounded(-shift / factor), "std": _rounded(1 / factor), "folded": True}
    return meta


def _rounded(values: Array) -> tuple[float, ...]:
    """Return numbers as they were written down, without the rounding errors of products with them."""
    return tuple(float(f"{value:.12g}") + 0.0 for value in values)


def with_operations_first(operations: Sequence[Scale], graph: AffineGraph) -> AffineGraph:
    """Return a graph that applies operations, in their order, before another graph."""
    if not operations:
        return graph
    joint = AffineGraph(graph.in_shape)
    value = 0
    for operation in operations:
        value = joint.add(operation, value, name="preprocess")
    joint.extend(graph, value)
    return joint


def preprocess_in_torch(operations: Sequence[Scale], x: torch.Tensor) -> torch.Tensor:
    """Return preprocessed pixels (N, *in_shape), computed by torch in float64 for autograd to differentiate."""
    for operation in operations:
        factor, shift = (torch.from_numpy(values).to(x.device) for values in (operation.weight, operation.bias))
        per_channel = (-1, *(1,) * (x.ndim - 2))
        x = x * factor.reshape(per_channel) + shift.reshape(per_channel)
    return x


def _scales(path: str, step: Any) -> bool:
    """Return whether a step that converts bytes to floats also scales them to [0, 1].

    Raises
    ------
    ValueError
        If it is not such a step.
    """
    if type(step) in TO_TENSOR:
        return True
    if type(step) in CONVERT and isinstance(step.dtype, torch.dtype) and step.dtype.is_floating_point:
        if step.dtype not in EXACT:
            raise ValueError(f"{path}: expected a conversion to float32 or float64, got {step!r}, which rounds")
        return type(step) is not v2.ToDtype or bool(step.scale)
    raise ValueError(
        f"{path}: expected ToTensor, Normalize, ConvertImageDtype or ToDtype to a floating type, got {step!r}, "
        "which is not known to be affine; apply it before the pixels are given to the map"
    )


def _steps(preprocess: Any, in_shape: Shape, path: str = "preprocess") -> list[tuple[str, Any]]:
    """Return the steps of nested chains with their paths, such as ``preprocess[0]``."""
    if preprocess is None:
        return []
    children: Sequence[Any] | None = None
    if type(preprocess) in {transforms.Compose, v2.Compose}:
        children = preprocess.transforms
    elif type(preprocess) in {nn.Sequential, list, tuple}:
        children = list(preprocess)
    elif type(preprocess) is ImageClassification:
        children = _after_cropping(path, preprocess, in_shape)
    if children is None:
        return [(path, preprocess)]
    return [step for number, child in enumerate(children) for step in _steps(child, in_shape, f"{path}[{number}]")]


def _after_cropping(path: str, preset: ImageClassification, in_shape: Shape) -> list[Any]:
    """Return what a pretrained classifier's transforms do after the picture was resized and cropped.

    Raises
    ------
    ValueError
        If they crop to another size than that of the network's input.
    """
    size = tuple(2 * preset.crop_size)
    if size != in_shape[1:]:
        raise ValueError(
            f"{path}: expected transforms that crop to {in_shape[1:]}, the size in in_shape, got a crop to {size}; for "
            f"pictures of another size give [ToTensor(), Normalize({preset.mean}, {preset.std})]"
        )
    return [transforms.ConvertImageDtype(torch.float32), transforms.Normalize(preset.mean, preset.std)]


def _per_channel(path: str, name: str, values: Any, channels: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if len(array) not in {1, channels}:
        raise ValueError(f"{path}.{name}: expected one entry per channel ({channels}), got {len(array)}")
    return np.broadcast_to(array, (channels,))
