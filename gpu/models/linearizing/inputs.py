"""Random inputs for a network of which only the layers are known."""

from collections.abc import Iterable, Iterator
from itertools import chain
from math import isqrt
from typing import Any

import torch
from torch import nn

from linalg_cnn.types import Shape

COMMON = (28, 32, 64, 96, 224, 16, 8, 4)
SIZES = tuple(dict.fromkeys((*COMMON, *range(64, 0, -1), 112, 128, 160, 192, 256, 299)))
"""Numbers of pixels along an axis, in the order in which they are tried."""

SAMPLES = 2


def shapes_for(model: nn.Module) -> Iterator[Shape]:
    """Yield shapes that one sample of a network's input may have, the likeliest first."""
    layers: list[Any] = [part for part in model.modules() if isinstance(getattr(part, "weight", None), torch.Tensor)]
    firsts: list[list[Shape]] = []
    for layer in layers[:3]:
        if isinstance(getattr(layer, "in_channels", None), int):
            firsts.append(_images(layer.in_channels, len(getattr(layer, "kernel_size", (1, 1)))))
        elif isinstance(getattr(layer, "in_features", None), int):
            firsts.append(_vectors(layer.in_features))
        elif isinstance(getattr(layer, "num_features", None), int):
            firsts.append(_vectors(layer.num_features) + _images(layer.num_features, 2))
    firsts += [_first_axes(p) for p in [p for p in model.parameters() if p.ndim > 1][:2]]
    if not firsts:
        firsts.append([(4,), *((3, *(size,) * rank) for size in (28, 8, 224, 4) for rank in (2, 1, 3)), (1, 28, 28)])
        firsts.append([tuple(buffer.shape) for buffer in model.buffers() if buffer.ndim])
    yield from dict.fromkeys(chain.from_iterable(_taking_turns(firsts)))


def _first_axes(weight: torch.Tensor) -> list[Shape]:
    """Return shapes for the kernel of a convolution, or for a matrix that stands on either side of its input."""
    if weight.ndim > 2:
        return _images(weight.shape[1], weight.ndim - 2)
    return [shape for features in reversed(weight.shape) for shape in _vectors(features)]


def _images(channels: int, rank: int) -> list[Shape]:
    return [(channels, *(size,) * rank) for size in SIZES if size**rank <= 90_000]


def _vectors(features: int) -> list[Shape]:
    """Return shapes with as many entries, flat, in a sequence, or as an image that a forward flattens."""
    sides = [(channels, isqrt(features // channels)) for channels in (1, 3)]
    return [(features,), (5, features), *((c, side, side) for c, side in sides if c * side * side == features)]


def _taking_turns(lists: list[list[Shape]]) -> Iterator[Iterable[Shape]]:
    """Yield the lists in pieces, in turns, so that a wrong guess does not come first as a whole."""
    for start in range(0, max(map(len, lists), default=0), len(COMMON)):
        for shapes in lists:
            yield shapes[start : start + len(COMMON)]


def random_inputs(model: nn.Module, in_shape: Shape) -> torch.Tensor:
    """Return two random samples of a shape, with the dtype and on the device of a network's parameters."""
    tensors = (*model.parameters(), *model.buffers())
    like = next((tensor for tensor in tensors if tensor.is_floating_point()), torch.empty(0))
    return torch.randn(SAMPLES, *in_shape, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)


def sought_inputs(model: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Yield arguments that a network's forward may take."""
    embedding = next((part for part in model.modules() if isinstance(part, (nn.Embedding, nn.EmbeddingBag))), None)
    if embedding is not None:
        numbers = torch.arange(SAMPLES * 5).reshape(SAMPLES, 5) % embedding.num_embeddings
        yield (numbers.to(embedding.weight.device),)
    for shape in shapes_for(model):
        yield (random_inputs(model, shape),)


def redrawn(inputs: Any, generator: torch.Generator) -> Any:
    """Return arguments with other random numbers of the same mean and deviation; other than float tensors stay."""
    if isinstance(inputs, torch.Tensor):
        if not inputs.is_floating_point() or not inputs.numel():
            return inputs.clone()
        deviation = inputs.std(correction=0).nan_to_num(1.0)
        noise = torch.randn(inputs.shape, generator=generator).to(inputs)
        return inputs.mean() + noise * torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    if isinstance(inputs, (tuple, list)):
        parts = [redrawn(part, generator) for part in inputs]
        return type(inputs)(*parts) if hasattr(inputs, "_fields") else type(inputs)(parts)
    if isinstance(inputs, dict):
        return {name: redrawn(part, generator) for name, part in inputs.items()}
    return inputs
