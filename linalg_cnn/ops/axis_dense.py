"""A fully connected layer along one axis, the same at every position of the other axes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import along_axis, parameter_like
from linalg_cnn.checks import check_array, check_bias, check_int, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class AxisDense(Operation):
    """A matrix applied along one axis: A is the Kronecker product of identities and ``weight``.

    Parameters
    ----------
    weight : array_like (out_features, in_features)
    bias : array_like (out_features,), optional
    axis : int
        Number of the axis, without the batch axis; 0 is that of the channels.

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If a parameter is malformed or not finite, or the axis is negative.

    Notes
    -----
    The entry in the row of (before, i, after) and the column of (before, q, after) is weight[i, q], where before and
    after are positions along the other axes.

    Source: ``torch.nn.Linear``, which acts along the last axis of an input with more axes than (N, features).

    Examples
    --------
    >>> import numpy as np
    >>> AxisDense([[1.0, 2.0]], axis=1).matrix((2, 2)).toarray()
    array([[1., 2., 0., 0.],
           [0., 0., 1., 2.]])
    >>> import torch
    >>> rng = np.random.default_rng(0)
    >>> weight, bias, x = rng.normal(size=(3, 6)), rng.normal(size=3), rng.normal(size=(5, 4, 6))
    >>> theirs = torch.nn.functional.linear(*map(torch.from_numpy, (x, weight, bias)))
    >>> np.allclose(AxisDense(weight, bias, axis=1)(x), theirs.numpy())
    True
    """

    weight: Any
    bias: Any = None
    axis: int = 0

    def __post_init__(self) -> None:
        weight = check_array("weight", self.weight, ndim=2)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", check_bias(self.bias, weight.shape[0], "output feature"))
        object.__setattr__(self, "axis", check_int("axis", self.axis, 0))

    def __repr__(self) -> str:
        """Show the shapes, without the weights."""
        return (
            f"AxisDense(weight {self.weight.shape} {self.weight.dtype}, bias={self.bias is not None}, axis={self.axis})"
        )

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the output.

        Raises
        ------
        ValueError
            If there is no such axis, or it does not have ``in_features`` entries.
        """
        shape = check_shape("in_shape", in_shape)
        if self.axis >= len(shape) or shape[self.axis] != self.weight.shape[1]:
            raise ValueError(
                f"in_shape: expected {self.weight.shape[1]} entries along axis {self.axis} for a weight of shape "
                f"{self.weight.shape}, got {shape}"
            )
        return (*shape[: self.axis], self.weight.shape[0], *shape[self.axis + 1 :])

    def offset(self, in_shape: Shape) -> Array | None:
        """Return the bias along the axis."""
        return None if self.bias is None else self.bias.reshape(-1, *(1,) * (len(in_shape) - 1 - self.axis))

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of weights times the number of positions along the other axes."""
        return size_of(self.out_shape(in_shape)) * int(self.weight.shape[1])

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return every weight, zeros included, at every position along the other axes."""
        rows, size = size_of(self.out_shape(in_shape)), size_of(in_shape)
        index = index_dtype(self.count_entries(in_shape), size)
        features, inputs = self.weight.shape
        before, after = size_of(in_shape[: self.axis]), size_of(in_shape[self.axis + 1 :])
        first = np.arange(before, dtype=index).reshape(-1, 1, 1, 1) * index(inputs * after)
        columns = first + np.arange(after, dtype=index)[:, np.newaxis] + np.arange(inputs, dtype=index) * index(after)
        weight = to_exact(self.weight) if exact else self.weight
        table = (before, features, after, inputs)
        return Entries(
            (rows, size),
            np.arange(0, rows * inputs + 1, inputs, dtype=index),
            np.broadcast_to(columns, table).ravel(),
            np.broadcast_to(weight[:, np.newaxis], table).ravel(),
        )

    def push(self, x: Any) -> Any:
        """Return the product with the weight along the axis."""
        return along_axis(x, self.axis + 1, lambda last: last @ parameter_like(self.weight, x).T)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return the product with the weight's transpose along the axis."""
        return along_axis(y, self.axis + 1, lambda last: last @ parameter_like(self.weight, y))
