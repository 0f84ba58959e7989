"""A value that does not depend on the input."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import zeros
from linalg_cnn.checks import check_array, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class Constant(Operation):
    """The same value whatever comes in: a matrix without entries, and a bias.

    Parameters
    ----------
    value : array_like
        Of the shape that comes out, for one sample.

    Raises
    ------
    TypeError
        If it has a dtype the library does not compute with.
    ValueError
        If it is empty or has no axis, or an entry is not finite.

    Notes
    -----
    Source: ``torch.cat([x, torch.zeros(...)], dim=1)`` and the like have such a value beside the data.

    Examples
    --------
    >>> import numpy as np
    >>> Constant([1.0, 2.0])(np.array([[7.0]]))
    array([[1., 2.]])
    >>> Constant([1.0, 2.0]).matrix((1,)).toarray()
    array([[0.],
           [0.]])
    """

    value: Any

    def __post_init__(self) -> None:
        value = check_array("value", self.value)
        check_shape("value", value.shape)
        object.__setattr__(self, "value", value)

    def __repr__(self) -> str:
        """Show the shape, not the entries."""
        return f"Constant(value {self.value.shape})"

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the value's shape."""
        check_shape("in_shape", in_shape)
        shape: Shape = self.value.shape
        return shape

    def offset(self, in_shape: Shape) -> Array | None:
        """Return the value."""
        value: Array = self.value
        return value

    def count_entries(self, in_shape: Shape) -> int:
        """Return 0."""
        return 0

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return a matrix without entries."""
        rows, columns = self.value.size, size_of(in_shape)
        index = index_dtype(rows, columns)
        values = to_exact(np.zeros(0)) if exact else np.zeros(0)
        return Entries((rows, columns), np.zeros(rows + 1, index), np.zeros(0, index), values)

    def push(self, x: Any) -> Any:
        """Return zeros: the value is the bias."""
        return zeros((len(x), *self.value.shape), x)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return zeros."""
        return zeros((len(y), *in_shape), y)
