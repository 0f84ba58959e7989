"""Piecewise-linear operations as torch calls; importing this module teaches `gpu.merging.writing` to write them."""

from collections.abc import Mapping
from functools import partial, reduce
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from gpu.merging.layers import Constantly, parameter
from gpu.merging.writing import Nodes, Writer, write
from linalg_cnn import (
    Abs,
    AdaptiveMaxPool,
    AMax,
    AMin,
    Clamp,
    Hardsigmoid,
    Hardtanh,
    LeakyReLU,
    Maximum,
    MaxOver,
    MaxPool,
    Minimum,
    MinOver,
    PiecewiseOperation,
    PReLU,
    ReLU,
    ReLU6,
    Softshrink,
)
from linalg_cnn.piecewise.entry_functions import EntryFunction
from linalg_cnn.types import Array, Shape

MAX_POOL: Mapping[int, Any] = {2: nn.MaxPool1d, 3: nn.MaxPool2d, 4: nn.MaxPool3d}
ADAPTIVE_MAX_POOL: Mapping[int, Any] = {2: nn.AdaptiveMaxPool1d, 3: nn.AdaptiveMaxPool2d, 4: nn.AdaptiveMaxPool3d}
"""Classes of modules by the number of axes of a sample, channels included."""


class Bent(nn.Module):
    """A continuous function of each entry that is affine between thresholds.

    Where a line is level, an infinite entry has its value, and one that is not a number stays so, as in `torch.clamp`.

    Parameters
    ----------
    thresholds : array (k, ...)
        Thresholds, in increasing order, each of a shape that broadcasts to a sample.
    slopes, shifts : array (k + 1, ...)
        Line below the first threshold, and above each.
    """

    def __init__(self, thresholds: Array, slopes: Array, shifts: Array) -> None:
        super().__init__()
        self.thresholds, self.slopes, self.shifts = map(parameter, (thresholds, slopes, shifts))
        self.count = len(thresholds)  # a number that torch.fx.symbolic_trace can read

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch of the shape of ``x``."""
        y = self._line(x, 0)
        for k in range(self.count):
            y = torch.where(x > self.thresholds[k], self._line(x, k + 1), y)
        return y

    def _line(self, x: torch.Tensor, k: int) -> torch.Tensor:
        """Return the values of a line, which at infinity is not 0 * infinity where it is level."""
        slope, shift = self.slopes[k], self.shifts[k]
        return torch.where(torch.isinf(x) & (slope == 0), shift, x * slope + shift)


@write.register
def _(operation: PiecewiseOperation, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    raise TypeError(f"model: expected operations that gpu.merging.nonlinear writes in torch, got {operation!r}")


@write.register
def _(operation: EntryFunction, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    values = [*operation.thresholds, *operation.slopes, *(operation.shifts or (0,) * len(operation.slopes))]
    spread = np.stack(np.broadcast_arrays(*(_spread(value, len(in_shapes[0])) for value in values)))
    counts = [len(operation.thresholds), len(operation.slopes)]
    return writer.call(Bent(*np.split(spread, np.cumsum(counts))), inputs[0])


def _spread(value: Any, axes: int) -> Array:
    """Return a number, or one per channel or entry, as an array that broadcasts to a sample."""
    array = np.asarray(value, float)
    return array.reshape(-1, *(1,) * (axes - 1)) if array.ndim < 2 else array


@write.register
def _(operation: ReLU, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.relu, inputs[0])


@write.register
def _(operation: Abs, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.abs, inputs[0])


@write.register
def _(operation: LeakyReLU, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(functional.leaky_relu, inputs[0], float(operation.negative_slope))


@write.register
def _(operation: PReLU, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    weight = np.asarray(operation.weight, float)
    if weight.ndim > 1:
        return write.dispatch(EntryFunction)(operation, writer, inputs, in_shapes)
    module = nn.PReLU(weight.size)
    module.weight = parameter(weight.reshape(-1))
    return writer.call(module, inputs[0])


@write.register
def _(operation: Softshrink, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(functional.softshrink, inputs[0], float(operation.lambd))


@write.register
def _(operation: Hardtanh, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(functional.hardtanh, inputs[0], float(operation.min_val), float(operation.max_val))


@write.register
def _(operation: ReLU6, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(functional.relu6, inputs[0])


@write.register
def _(operation: Hardsigmoid, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(functional.hardsigmoid, inputs[0])


@write.register
def _(operation: Clamp, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    bounds = {"min": operation.min, "max": operation.max}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if all(np.ndim(bound) == 0 for bound in given.values()):
        return writer.function(torch.clamp, inputs[0], **{name: float(bound) for name, bound in given.items()})
    y = inputs[0]
    for name, bound in given.items():
        value = Constantly(np.broadcast_to(_spread(bound, len(in_shapes[0])), in_shapes[0]))
        y = writer.function(torch.maximum if name == "min" else torch.minimum, y, writer.call(value, y))
    return y


@write.register
def _(operation: MaxPool, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    make = MAX_POOL[len(in_shapes[0])]
    options = {"stride": operation.stride, "padding": operation.padding, "dilation": operation.dilation}
    return writer.call(make(operation.kernel_size, **options, ceil_mode=operation.ceil_mode), inputs[0])


@write.register
def _(operation: AdaptiveMaxPool, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(ADAPTIVE_MAX_POOL[len(in_shapes[0])](operation.size), inputs[0])


@write.register
def _(operation: MaxOver, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.amax, inputs[0], operation.axis + 1, keepdim=True)


@write.register
def _(operation: MinOver, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.amin, inputs[0], operation.axis + 1, keepdim=True)


@write.register
def _(operation: AMax, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.amax, inputs[0], [axis + 1 for axis in operation.axes], keepdim=True)


@write.register
def _(operation: AMin, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.amin, inputs[0], [axis + 1 for axis in operation.axes], keepdim=True)


@write.register
def _(operation: Maximum, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return reduce(partial(writer.function, torch.maximum), inputs)


@write.register
def _(operation: Minimum, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return reduce(partial(writer.function, torch.minimum), inputs)
