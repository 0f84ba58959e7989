"""The sum over some axes with a weight per entry, as the largest entry along an axis has it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import parameter_like
from linalg_cnn.checks import check_array, check_per_axis, check_shape, is_sequence
from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import IntArray, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class WeightedSumOver(Operation):
    """The sum of ``weight * x`` over some axes, which keep a length of 1.

    The row of output p has the weight of each input that differs from p along these axes only, in its column.

    Parameters
    ----------
    weight : array_like (*in_shape)
        Weight of each entry of the input.
    axes : int or ints
        Numbers of the axes, without the batch axis; 0 is that of the channels.

    Raises
    ------
    TypeError
        If the weight has a dtype the library does not compute with.
    ValueError
        If it is malformed or not finite, or an axis does not exist or is named twice.

    Notes
    -----
    Source: ``(weight * x).sum(axes, keepdim=True)`` for each sample.

    Examples
    --------
    >>> import numpy as np
    >>> WeightedSumOver([[1.0, 2.0], [3.0, 4.0]], 1)(np.array([[[1.0, 1.0], [1.0, 2.0]]]))
    array([[[ 3.],
            [11.]]])
    >>> WeightedSumOver([1.0, 2.0, 3.0], 0).matrix((3,)).toarray()
    array([[1., 2., 3.]])
    """

    weight: Any
    axes: Any

    def __post_init__(self) -> None:
        weight = check_array("weight", self.weight)
        check_shape("weight", weight.shape)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "axes", check_axes(self.axes))
        kept_shape(weight.shape, self.axes)

    def __repr__(self) -> str:
        """Show the shape, without the weight."""
        return f"WeightedSumOver(weight {self.weight.shape}, axes={self.axes})"

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape with a length of 1 along the axes.

        Raises
        ------
        ValueError
            If the input does not have the shape of the weight.
        """
        if tuple(in_shape) != self.weight.shape:
            raise ValueError(f"in_shape: expected {self.weight.shape}, the shape of the weight, got {in_shape}")
        return kept_shape(in_shape, self.axes)

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of inputs: each is read once."""
        self.out_shape(in_shape)
        return size_of(in_shape)

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return the weights, in the row of the sum that they belong to."""
        columns = groups(in_shape, self.axes)
        rows, width = columns.shape
        starts = np.arange(rows + 1, dtype=columns.dtype) * columns.dtype.type(width)
        weight = (self.exact() if exact else self).weight.ravel()
        return Entries((rows, size_of(in_shape)), starts, columns.ravel(), weight[columns.ravel()])

    def push(self, x: Any) -> Any:
        """Return the weighted sums."""
        return (x * parameter_like(self.weight, x)).sum(tuple(axis + 1 for axis in self.axes), keepdims=True)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return to every input the cotangent of its sum times its weight."""
        return y * parameter_like(self.weight, y)


def check_axes(value: Any) -> Shape:
    """Return axes as increasing numbers.

    Raises
    ------
    ValueError
        If there is none, or one is named twice or is not an int of at least 0.
    """
    axes = value if is_sequence(value) else (value,)
    axes = check_per_axis("axes", axes, len(axes), 0)
    if len(set(axes)) != len(axes) or not axes:
        raise ValueError(f"axes: expected at least one axis, and each once, got {axes}")
    return tuple(sorted(axes))


def kept_shape(in_shape: Shape, axes: Shape) -> Shape:
    """Return a shape with a length of 1 along some axes.

    Raises
    ------
    ValueError
        If an axis does not exist.
    """
    shape = check_shape("in_shape", in_shape)
    if max(axes) >= len(shape):
        raise ValueError(f"in_shape: expected more than {max(axes)} axes, got {shape}")
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def groups(in_shape: Shape, axes: Shape) -> IntArray:
    """Return the numbers of the entries that agree along all other axes, one group per row, in increasing order."""
    size = size_of(in_shape)
    numbers = np.arange(size, dtype=index_dtype(size)).reshape(in_shape)
    width = size_of(tuple(in_shape[axis] for axis in axes))
    return np.moveaxis(numbers, axes, range(-len(axes), 0)).reshape(-1, width)
