"""The graph under construction: operations are appended to it, and values come back."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from gpu.tracing.values import Value
from linalg_cnn import AffineGraph, Constant, Flatten, Operation, ResampleTo, Reshape
from linalg_cnn.types import Shape, size_of

Made = TypeVar("Made")

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

    Attributes
    ----------
    graph : AffineGraph
        The operations so far.
    input : Value
        The input of the module.
    place : str
        Place of the operation that is being read; operations that are added bear it as their name.
    """

    def __init__(self, in_shape: Shape, samples: int, memo: Memo) -> None:
        self.graph = AffineGraph(in_shape)
        self.input = Value(0, in_shape, 0)
        self.samples, self.memo = samples, memo
        self.place = ""

    def add(self, operation: Operation, *inputs: Value, shape: Shape | None = None, batch: int | None = None) -> Value:
        """Append an operation and return its value.

        Parameters
        ----------
        operation : Operation
            The operation to append.
        *inputs : Value
            The values that it reads.
        shape : tuple of int, optional
            Shape of one sample of the result; by default the shape in the graph.
        batch : int, optional
            Batch axis of the result; by default that of the first input.
        """
        number = self.graph.add(operation, *(value.number for value in inputs), name=self.place)
        return Value(
            number,
            self.graph.shapes[number] if shape is None else shape,
            inputs[0].batch if batch is None else batch,
        )

    def reshape(self, value: Value, shape: Shape, batch: int) -> Value:
        """Return the same entries of each sample in another shape."""
        if (shape or (1,)) == self.graph.shapes[value.number]:
            return Value(value.number, shape, batch)
        return self.add(Reshape(shape or (1,)), value, shape=shape, batch=batch)

    def resize(self, value: Value, shape: Shape) -> Value:
        """Return a value of another shape, affine in this one, that stands in for the result of a refused operation."""
        goal = shape or (1,)
        if len(goal) == len(self.graph.shapes[value.number]):
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
