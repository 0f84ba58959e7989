"""Scales folded into the weights beside them: a batch normalisation after a convolution costs nothing."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from linalg_cnn import AxisDense, Conv, ConvTranspose, Dense, Operation, WeightedSum
from linalg_cnn.ops.scale import Diagonal
from linalg_cnn.types import Array, Shape


def fold_scales(graph: Any, folded: Any) -> Any:
    """Append the operations of a graph to an empty one, with scales folded into the weights beside them.

    These are the weights of a convolution or of a linear layer before a scale, and those of a weighted sum after one.

    Parameters
    ----------
    graph : AffineGraph or PiecewiseGraph
        The graph, which is left as it is.
    folded : AffineGraph or PiecewiseGraph
        Empty graph of the same input shape.

    Returns
    -------
    AffineGraph or PiecewiseGraph
        ``folded``. Scales that were folded into a sum stay among its nodes, where nothing reads them.

    Examples
    --------
    >>> from linalg_cnn import AffineGraph, BatchNorm
    >>> graph = AffineGraph((1, 4, 4))
    >>> number = graph.add(Conv(np.ones((2, 1, 3, 3))), 0)
    >>> number = graph.add(BatchNorm(None, None, np.ones(2), np.ones(2)), number)
    >>> fold_scales(graph, AffineGraph((1, 4, 4)))
    AffineGraph((1, 4, 4) -> (2, 2, 2), 1 operations)
    """
    readers = Counter(value for node in graph.nodes for value in node.inputs)
    readers[len(graph.nodes)] += 1  # the output
    numbers = {0: 0}
    for number, node in enumerate(graph.nodes, start=1):
        before = node.inputs[0]
        scaled = None
        if isinstance(node.operation, Diagonal) and before and readers[before] == 1:
            scaled = scaled_operation(folded.nodes[numbers[before] - 1].operation, node.operation)
        if scaled is None:
            operation, inputs = node.operation, [numbers[value] for value in node.inputs]
            if isinstance(operation, WeightedSum):
                operation, inputs = _with_scaled_terms(operation, inputs, folded, [readers[v] for v in node.inputs])
            numbers[number] = folded.add(operation, *inputs, name=node.name)
        else:
            at = numbers[before] - 1
            folded.nodes[at] = replace(folded.nodes[at], operation=scaled)
            numbers[number] = numbers[before]
    return folded


def _with_scaled_terms(
    total: WeightedSum, inputs: list[int], folded: Any, readers: list[int]
) -> tuple[WeightedSum, list[int]]:
    """Return a weighted sum, and the values that it reads, with multiples of a value read as the value itself."""
    weights, read = list(total.weights), list(inputs)
    for k, value in enumerate(inputs):
        node = folded.nodes[value - 1] if value and readers[k] == 1 else None
        if node is None or not isinstance(node.operation, Diagonal) or node.operation.shifts is not None:
            continue
        factors = node.operation.factors
        if np.all(factors == factors.flat[0]):
            weights[k], read[k] = weights[k] * float(factors.flat[0]), node.inputs[0]
    return WeightedSum(weights), read


def scaled_operation(operation: Operation, scale: Diagonal) -> Operation | None:
    """Return one operation for a weighted one and the scale after it; None if the scale is not one per channel."""
    if not isinstance(operation, (Conv, ConvTranspose, Dense, AxisDense)):
        return None
    if isinstance(operation, AxisDense) and operation.axis != 0:
        return None
    channels = _channels(operation)
    factors = _per_channel(scale.factors, channels)
    shifts = np.zeros(channels) if scale.shifts is None else _per_channel(scale.shifts, channels)
    if factors is None or shifts is None:
        return None
    bias = shifts if operation.bias is None else operation.bias * factors + shifts
    if isinstance(operation, Conv):
        return replace(operation, kernel=operation.kernel * _along(factors, operation.kernel.shape, 0), bias=bias)
    if isinstance(operation, ConvTranspose):
        # the kernel (C_in, C_out / groups, *k) lists the output channels of each group anew
        c_in, per_group, *taps = operation.kernel.shape
        by_group = operation.kernel.reshape(operation.groups, c_in // operation.groups, per_group, *taps)
        spread = factors.reshape(operation.groups, 1, per_group, *(1,) * len(taps))
        return replace(operation, kernel=(by_group * spread).reshape(operation.kernel.shape), bias=bias)
    return replace(operation, weight=operation.weight * factors[:, np.newaxis], bias=bias)


def _channels(operation: Any) -> int:
    """Return the number of output channels of a weighted operation."""
    if isinstance(operation, ConvTranspose):
        return int(operation.kernel.shape[1] * operation.groups)
    return len(operation.kernel if isinstance(operation, Conv) else operation.weight)


def _per_channel(values: Array, channels: int) -> Array | None:
    """Return factors that broadcast to (channels, *spatial) as one per channel; None if they differ within one."""
    if values.ndim == 0 or values.size > max(1, len(values)):
        return None
    return np.broadcast_to(values.ravel(), channels)


def _along(values: Array, shape: Shape, axis: int) -> Array:
    """Return values along one axis, of a shape that broadcasts to ``shape``."""
    return values.reshape([-1 if number == axis else 1 for number in range(len(shape))])
