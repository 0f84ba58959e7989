"""The weighted sum of several values of one shape: what a skip connection does."""

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from linalg_cnn.checks import check_array, check_shape
from linalg_cnn.entries import Entries, diagonal_entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import MergingOperation
from linalg_cnn.types import Shape, size_of


@dataclass(frozen=True, eq=False)
class WeightedSum(MergingOperation):
    """The sum of ``weights[k] * x_k`` over inputs of one shape: the inner sum of the paper's equation (10).

    Parameters
    ----------
    weights : sequence of numbers or sympy expressions
        One per input.

    The matrix of input k is weights[k] times the identity.

    Raises
    ------
    TypeError
        If a weight is neither a number nor a sympy expression.
    ValueError
        If a weight is not finite or there is none.

    Examples
    --------
    >>> import numpy as np
    >>> WeightedSum([0.25, 0.75])(np.array([[4.0]]), np.array([[8.0]]))
    array([[7.]])
    >>> [matrix.toarray().tolist() for matrix in WeightedSum([0.25, 0.75]).matrices((1,), (1,))]
    [[[0.25]], [[0.75]]]
    >>> import torch
    >>> x, y = torch.ones(1, 3), torch.arange(3.0).reshape(1, 3)
    >>> np.array_equal(WeightedSum([0.25, 0.75])(x, y), 0.25 * x + 0.75 * y)
    True
    """

    weights: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(check_array("weights", self.weights, ndim=1).tolist()))

    def exact(self) -> "WeightedSum":
        """Return the same sum with sympy weights."""
        return WeightedSum(to_exact(np.array(self.weights, dtype=object)))

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that all inputs share.

        Raises
        ------
        ValueError
            If there is not one input per weight, or their shapes differ.
        """
        in_shapes = tuple(check_shape("in_shape", shape) for shape in in_shapes)
        if len(in_shapes) != len(self.weights) or len(set(in_shapes)) != 1:
            raise ValueError(f"weighted sum: expected {len(self.weights)} inputs of one shape, got {list(in_shapes)}")
        return in_shapes[0]

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the length of all the diagonals."""
        return len(in_shapes) * size_of(self.out_shape(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return one multiple of the identity per input."""
        size = size_of(self.out_shape(*in_shapes))
        weights = (self.exact() if exact else self).weights
        return tuple(diagonal_entries(np.full(size, weight)) for weight in weights)

    def push(self, *xs: Any) -> Any:
        """Return the weighted sum."""
        return reduce(operator.add, (_times(weight, x) for weight, x in zip(self.weights, xs, strict=True)))

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return the multiple of ``y`` that each input receives."""
        return tuple(_times(weight, y) for weight in self.weights)


def _times(weight: Any, x: Any) -> Any:
    # A skip that is just added needs no copy; and an array of expressions stays one, also of no axes.
    if isinstance(weight, float) and weight == 1:
        return x
    return np.asarray(weight * x) if isinstance(x, np.ndarray) else weight * x
