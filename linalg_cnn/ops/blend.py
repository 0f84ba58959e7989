"""The sum of several values of one shape, each with a weight per entry, as the larger of two values has it."""

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

from linalg_cnn.arrays import parameter_like
from linalg_cnn.checks import check_array, check_shape
from linalg_cnn.entries import Entries, diagonal_entries
from linalg_cnn.ops.base import MergingOperation
from linalg_cnn.types import Shape, size_of


@dataclass(frozen=True, eq=False)
class Blend(MergingOperation):
    """The sum of ``weights[k] * x_k`` over inputs of one shape, entry by entry: a choice between values, or a mask.

    Parameters
    ----------
    weights : array_like (inputs, *shape)
        Weight of each entry of each input. The matrix of input k has ``weights[k]`` on its diagonal.

    Raises
    ------
    TypeError
        If the weights have a dtype the library does not compute with.
    ValueError
        If they have no shape of an input, or one is not finite.

    Notes
    -----
    Source: ``torch.where(mask, x, y)`` with weights 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> Blend([[1, 0], [0, 1]])(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([[1., 4.]])
    >>> import torch
    >>> x, y, mask = torch.arange(3.0), torch.ones(3), torch.tensor([True, False, True])
    >>> np.array_equal(Blend(torch.stack([mask, ~mask]).double())(x[None], y[None])[0], torch.where(mask, x, y))
    True
    """

    weights: Any

    def __post_init__(self) -> None:
        weights = check_array("weights", self.weights)
        check_shape("weights", weights.shape)
        check_shape("weights", weights.shape[1:])
        object.__setattr__(self, "weights", weights)

    def __repr__(self) -> str:
        """Show the shape, without the weights."""
        return f"Blend(weights {self.weights.shape})"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that all inputs share.

        Raises
        ------
        ValueError
            If there is not one input per weight, or one has another shape than its weights.
        """
        count, *shape = self.weights.shape
        if [tuple(other) for other in in_shapes] != [tuple(shape)] * count:
            raise ValueError(f"blend: expected {count} inputs of shape {tuple(shape)}, got {list(in_shapes)}")
        return tuple(shape)

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the sum of the lengths of the diagonals."""
        return len(in_shapes) * size_of(self.out_shape(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return one diagonal per input."""
        self.out_shape(*in_shapes)
        return tuple(diagonal_entries(weights.ravel()) for weights in (self.exact() if exact else self).weights)

    def push(self, *xs: Any) -> Any:
        """Return the weighted sum."""
        return reduce(
            operator.add, (x * parameter_like(weights, x) for weights, x in zip(self.weights, xs, strict=True))
        )

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return ``weights[k] * y`` for each input."""
        return tuple(y * parameter_like(weights, y) for weights in self.weights)
