"""The graph under construction: operations are appended to it, and values come back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch

from gpu.tracing.traced_graph import TracedPiecewiseGraph
from gpu.tracing.values import Refusal, Value, planes
from linalg_cnn import (
    AffineGraph,
    Constant,
    Flatten,
    Operation,
    PerSlice,
    PiecewiseGraph,
    PiecewiseOperation,
    ResampleTo,
    Reshape,
)
from linalg_cnn.types import Shape, size_of

Made = TypeVar("Made")

AnyGraph = AffineGraph | PiecewiseGraph

Memo = dict[tuple[Any, ...], tuple[Any, Any]]
"""Pairs of an object and the tensors that it was made from, by the function, tensors and options that made it."""


class GraphBuilder:
    """Builds the AffineGraph of a module, one operation at a time. The handlers in `gpu.tracing.aten` work with it.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one sample of the input.
    samples : int
        Number of samples that the module was exported for.
    memo : dict
        Operations already made from the module's parameters, shared by the builders of one trace.
    piecewise : bool
        Whether the graph may hold piecewise-linear operations.

    Attributes
    ----------
    graph : AffineGraph or PiecewiseGraph
        The operations so far.
    input : Value
        The input of the module.
    place : str
        Place of the operation that is being read; operations that are added bear it as their name.
    """

    def __init__(self, in_shape: Shape, samples: int, memo: Memo, *, piecewise: bool = False) -> None:
        self.graph: AnyGraph = TracedPiecewiseGraph(in_shape) if piecewise else AffineGraph(in_shape)
        self.input = Value(0, in_shape, 0)
        self.samples, self.memo, self.piecewise = samples, memo, piecewise
        self.place = ""

    def add(
        self,
        operation: Operation | PiecewiseOperation,
        *inputs: Value,
        shape: Shape | None = None,
        batch: int | None = None,
    ) -> Value:
        """Append an operation that treats each slice of the batch axis by itself, and return its value.

        Parameters
        ----------
        operation : Operation or PiecewiseOperation
            The operation to append.
        *inputs : Value
            The values that it reads.
        shape : tuple of int, optional
            Shape of one slice of the result; by default the shape in the graph.
        batch : int, optional
            Batch axis of the result; by default that of the first input.

        Raises
        ------
        Refusal
            If different axes are folded into the batch axes of the inputs, or any is for a PiecewiseOperation.
        """
        first = inputs[0]
        if any(value.folds != first.folds for value in inputs):
            raise Refusal("mixes the samples of the batch: they meet another axis")
        sliced = first.slices > 1
        if sliced:
            if isinstance(operation, PiecewiseOperation):
                raise Refusal("treats the axes that are folded into the batch axis by constants of more axes")
            operation = PerSlice(operation)
        number = self.graph.add(operation, *(value.number for value in inputs), name=self.place)
        return Value(
            number,
            self.graph.shapes[number][sliced:] if shape is None else shape,
            first.batch if batch is None else batch,
            first.folds,
        )

    def add_planar(self, operation: Operation, x: Value, axes: int) -> Value:
        """Append an operation that treats each plane of ``axes`` spatial axes by itself; channels may be missing.

        Raises
        ------
        Refusal
            If the batch axis is a spatial axis.
        """
        if len(planes(x, axes).shape) > axes:
            return self.add(operation, x)
        y = self.add(operation, self.reshape(x, (1, *x.shape), x.batch))
        return self.reshape(y, y.shape[1:], x.batch)

    def add_whole(self, operation: Operation | PiecewiseOperation, value: Value, like: Value, *others: Value) -> Value:
        """Append an operation on whole samples, with all slices, and return its value, which is laid out ``like`` one.

        Parameters
        ----------
        operation : Operation or PiecewiseOperation
            The operation to append.
        value : Value
            The value that it reads.
        like : Value
            A value whose shape, batch axis and folds are those of the result; its number does not count.
        *others : Value
            Other values that it reads.
        """
        numbers = (value.number, *(other.number for other in others))
        return replace(like, number=self.graph.add(operation, *numbers, name=self.place))

    def arrange(self, value: Value, like: Value) -> Value:
        """Return the same entries of each sample, in the same order, in the shape and with the folds of another."""
        if like.whole == value.whole:
            return replace(like, number=value.number)
        return self.add_whole(Reshape(like.whole), value, like)

    def reshape(self, value: Value, shape: Shape, batch: int) -> Value:
        """Return the same entries of each slice in another shape."""
        return self.arrange(value, replace(value, shape=shape, batch=batch))

    def resize(self, value: Value, shape: Shape) -> Value:
        """Return a value of another shape, affine in this one, that stands in for the result of a refused operation."""
        goal = shape or (1,)
        if len(goal) == len(value.shape or (1,)):
            return self.add(ResampleTo(goal), value, shape=shape)
        resampled = self.add(ResampleTo((size_of(goal),)), self.add(Flatten(), value))
        return self.add(Reshape(goal), resampled, shape=shape)

    def constant(self, sample: torch.Tensor) -> Value:
        """Return a value of the graph that is the same constant for every sample."""
        shape = tuple(sample.shape)
        return self.add(Constant(sample.reshape(shape or (1,)).double().numpy()), self.input, shape=shape, batch=0)

    def once(
        self, make: Callable[..., Made], *tensors: torch.Tensor | None, called: str | None = None, **options: Any
    ) -> Made:
        """Return ``make(*tensors, **options)``, made once in a trace for the same tensors and options.

        Tensors are the same if they are the same object or if they are ``called`` the same: a second export gives the
        module's parameters as other objects under the same names.
        """
        key = (make, *(map(id, tensors) if called is None else (called,)), *options.items())
        if key not in self.memo:
            self.memo[key] = (make(*tensors, **options), tensors)  # the tensors are kept so that no id is reused
        made: Made = self.memo[key][0]
        return made
