"""Graphs of operations as torch modules: the operations written one after the other into an ``fx.GraphModule``."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any

import numpy as np
import torch
import torch.fx
from torch import nn

from gpu.merging.layers import AlongAxis, Constantly, Gathered, Matrices, Reshaped, Scaled, Sparse
from gpu.models.conversion import to_module
from linalg_cnn import (
    AdaptiveAvgPool,
    AvgPool,
    AxisDense,
    Concatenate,
    Constant,
    Conv,
    ConvTranspose,
    Dense,
    Operation,
    Pad,
    Permute,
    PerSlice,
    Resample,
    ResampleTo,
    SumOver,
    Take,
    WeightedSum,
)
from linalg_cnn.entries import matrix_bytes
from linalg_cnn.memory import check_memory
from linalg_cnn.ops.rearrange import Rearrangement, SameOrder
from linalg_cnn.ops.scale import Diagonal
from linalg_cnn.rules import join_sources
from linalg_cnn.types import Shape, size_of

Nodes = list[torch.fx.Node]

DENSE_FROM = 0.25
"""Share of entries from which a matrix is multiplied as a dense one."""


class Writer:
    """Writes operations into a graph of torch calls.

    Parameters
    ----------
    max_bytes : int
        Limit on the matrix of an operation that torch has no function for.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.graph = torch.fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.input = self.graph.placeholder("x")

    def call(self, module: nn.Module, *inputs: torch.fx.Node, name: str = "") -> torch.fx.Node:
        """Append the call of a module, which is named after its class and numbered."""
        kind = name or type(module).__name__.lower()
        unique = f"{kind}_{sum(known.rpartition('_')[0] == kind for known in self.modules) + 1}"
        self.modules[unique] = module
        return self.graph.call_module(unique, inputs)

    def function(self, function: Callable[..., Any], *args: Any, **options: Any) -> torch.fx.Node:
        """Append the call of a function of torch."""
        return self.graph.call_function(function, args, options)

    def method(self, name: str, *args: Any, **options: Any) -> torch.fx.Node:
        """Append the call of a tensor's method."""
        return self.graph.call_method(name, args, options)

    def write(self, operation: Any, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
        """Append an operation on values of these shapes.

        Raises
        ------
        MemoryError
            If torch has no function for the operation, and its matrix is too large.
        """
        return write(operation, self, inputs, in_shapes)

    def finish(self, output: torch.fx.Node) -> torch.fx.GraphModule:
        """Return the module, in evaluation mode, float64."""
        self.graph.output(output)
        return torch.fx.GraphModule(self.modules, self.graph).eval()


def chain_of(graph: Any, max_bytes: int) -> torch.fx.GraphModule:
    """Return a graph as a torch module that computes its operations one by one, float64.

    Parameters
    ----------
    graph : AffineGraph
    max_bytes : int
        Limit on the matrix of an operation that torch has no function for.

    Raises
    ------
    MemoryError
        If the matrix of such an operation is too large.

    Examples
    --------
    >>> from linalg_cnn import AffineGraph
    >>> graph = AffineGraph((1, 4))
    >>> number = graph.add(WeightedSum([1, 2]), 0, 0)
    >>> chain = chain_of(graph, 10**6)
    >>> chain(torch.ones(1, 1, 4))
    tensor([[[3., 3., 3., 3.]]])
    """
    writer = Writer(max_bytes)
    values = [writer.input]
    for node in graph.nodes:
        values.append(writer.write(node.operation, [values[v] for v in node.inputs], graph.input_shapes(node)))
    return writer.finish(values[-1])


@singledispatch
def write(operation: Any, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    """Append an operation that torch has no function for, as its matrices and its bias.

    Raises
    ------
    MemoryError
        If the matrices are too large.
    """
    out_shape = operation.out_shape(*in_shapes)
    rows, columns = size_of(out_shape), sum(map(size_of, in_shapes))
    needed = matrix_bytes((rows, columns), operation.count_entries(*in_shapes), 8)
    check_memory(f"the matrix of {operation!r}, which torch has no module for,", needed, writer.max_bytes)
    bias = operation.bias_vector(*in_shapes)
    parts = []
    for number, (matrix, value) in enumerate(zip(operation.matrices(*in_shapes, exact=False), inputs, strict=True)):
        B = bias if number == 0 and bias is not None else np.zeros(rows)
        dense = matrix.nnz > DENSE_FROM * rows * matrix.shape[1]
        made = Matrices([(matrix.toarray(), B)], out_shape) if dense else Sparse(matrix, B, out_shape)
        parts.append(writer.call(made, value))
    total = parts[0]
    for part in parts[1:]:
        total = writer.function(torch.add, total, part)
    return total


@write.register(Conv)
@write.register(ConvTranspose)
@write.register(Dense)
@write.register(AvgPool)
@write.register(AdaptiveAvgPool)
@write.register(Pad)
@write.register(Resample)
def _(operation: Any, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    if isinstance(operation, Resample) and operation.mode != "linear":
        return _gathered(operation, writer, inputs, in_shapes)
    try:
        module = to_module(operation, in_shapes[0])
    except ValueError:  # a border, or a number of axes, that torch's modules do not have
        return write.dispatch(Operation)(operation, writer, inputs, in_shapes)
    return writer.call(module.double().requires_grad_(False), inputs[0])


@write.register(ResampleTo)
def _gathered(operation: Any, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    sources = join_sources(operation.rules(in_shapes[0]))[:, 0]
    return writer.call(Gathered(sources.reshape(operation.out_shape(in_shapes[0]))), inputs[0])


@write.register
def _(operation: Diagonal, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    axes = len(in_shapes[0])
    factors, shifts = operation.factors, operation.offset(in_shapes[0])
    factors = factors.reshape(-1, *(1,) * (axes - 1)) if factors.ndim == 1 else factors
    return writer.call(Scaled(factors, np.zeros((1,) * axes) if shifts is None else shifts), inputs[0])


@write.register
def _(operation: SameOrder, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(Reshaped(operation.out_shape(in_shapes[0])), inputs[0])


@write.register
def _(operation: Permute, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.method("permute", inputs[0], 0, *(axis + 1 for axis in operation.order))


@write.register
def _(operation: Rearrangement, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(Gathered(operation.sources(in_shapes[0])), inputs[0])


@write.register
def _(operation: Take, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(Gathered(operation.sources), inputs[0])


@write.register
def _(operation: SumOver, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    if not operation.axes:
        return inputs[0]
    name = "mean" if operation.mean else "sum"
    return writer.method(name, inputs[0], [axis + 1 for axis in operation.axes], keepdim=True)


@write.register
def _(operation: AxisDense, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(AlongAxis(operation.weight, operation.bias, operation.axis), inputs[0])


@write.register
def _(operation: Constant, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.call(Constantly(operation.value), inputs[0])


@write.register
def _(operation: Concatenate, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    return writer.function(torch.cat, inputs, operation.axis + 1)


@write.register
def _(operation: WeightedSum, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    # a term of weight 1 comes first, since it needs no product
    terms = sorted(zip(map(float, operation.weights), inputs, strict=True), key=lambda term: term[0] != 1)
    weight, total = terms[0]
    if weight != 1 or len(terms) == 1:
        total = writer.function(torch.mul, total, weight)
    for weight, value in terms[1:]:
        total = writer.function(torch.add, total, value, **({} if weight == 1 else {"alpha": weight}))
    return total


@write.register
def _(operation: PerSlice, writer: Writer, inputs: Nodes, in_shapes: tuple[Shape, ...]) -> torch.fx.Node:
    slices = tuple(shape[1:] for shape in in_shapes)
    joined = [writer.method("flatten", value, 0, 1) for value in inputs]
    result = writer.write(operation.operation, joined, slices)
    return writer.method("unflatten", result, 0, [-1, in_shapes[0][0]])
