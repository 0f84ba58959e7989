"""A sparse matrix along one axis, the same at every position of the other axes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from linalg_cnn.arrays import add_at, along_axis, index_like, like, zeros
from linalg_cnn.checks import as_array, check_array, check_int, check_per_axis, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, IntArray, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class AxisSparse(Operation):
    """A sparse matrix applied along one axis: scattered sums, sampling at fixed positions, constant graphs.

    A is the Kronecker product of identities and the matrix, as for `AxisDense`.

    Parameters
    ----------
    rows, columns : int array_like (entries,)
        Output and input feature of each entry. Entries of the same row and column are added.
    weight : array_like (entries,)
        Values of the entries, which are numbers or sympy expressions.
    shape : (int, int)
        Numbers of output features and input features.
    axis : int
        Number of the axis, without the batch axis; 0 is that of the channels.

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If a parameter is malformed or not finite, an entry lies outside of the shape, or the axis is negative.

    Notes
    -----
    The entry in the row of (before, i, after) and the column of (before, q, after) is the sum of the values whose row
    is i and whose column is q, where before and after are positions along the other axes.

    Source: ``torch.sparse_coo_tensor([rows, columns], values, shape) @ x`` for an x of one axis.

    Examples
    --------
    >>> import numpy as np
    >>> AxisSparse([0, 0, 2], [1, 0, 1], [5.0, 6.0, 7.0], (3, 2)).matrix((2,)).toarray()
    array([[6., 5.],
           [0., 0.],
           [0., 7.]])
    >>> import torch
    >>> x = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    >>> sums = torch.zeros(3, 2, dtype=torch.float64).index_add(1, torch.tensor([1, 1]), x)
    >>> np.array_equal(AxisSparse([1, 1], [0, 1], [1, 1], (2, 2))(x), sums)
    True
    """

    rows: Any
    columns: Any
    weight: Any
    shape: Shape
    axis: int = 0

    def __post_init__(self) -> None:
        shape = check_per_axis("shape", self.shape, 2, 1)
        values = check_array("weight", self.weight, ndim=1, empty=True)
        rows, columns = (
            _positions(name, getattr(self, name), size, len(values))
            for name, size in zip(("rows", "columns"), shape, strict=True)
        )
        order = np.lexsort((columns, rows))
        rows, columns, values = rows[order], columns[order], values[order]
        first = np.flatnonzero(np.append(True, (np.diff(rows) != 0) | (np.diff(columns) != 0))[: len(rows)])
        if len(first) < len(rows):
            with np.errstate(over="ignore"):  # a sum may overflow where its values are finite
                values = check_array("weight", np.add.reduceat(values, first), ndim=1)
            rows, columns = rows[first], columns[first]
        for name, value in (
            ("rows", rows),
            ("columns", columns),
            ("weight", values),
            ("shape", shape),
            ("axis", check_int("axis", self.axis, 0)),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Show the shape, without the entries."""
        return f"AxisSparse({len(self.weight)} entries {self.weight.dtype}, shape={self.shape}, axis={self.axis})"

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the output.

        Raises
        ------
        ValueError
            If there is no such axis, or it does not have as many entries as the matrix has columns.
        """
        shape = check_shape("in_shape", in_shape)
        if self.axis >= len(shape) or shape[self.axis] != self.shape[1]:
            raise ValueError(
                f"in_shape: expected {self.shape[1]} entries along axis {self.axis} for a matrix of shape "
                f"{self.shape}, got {shape}"
            )
        return (*shape[: self.axis], self.shape[0], *shape[self.axis + 1 :])

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of the matrix's entries times the number of positions along the other axes."""
        return len(self.weight) * (size_of(in_shape) // self.shape[1])

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return every entry of the matrix, zeros included, at every position along the other axes."""
        rows, size = size_of(self.out_shape(in_shape)), size_of(in_shape)
        before, after = size_of(in_shape[: self.axis]), size_of(in_shape[self.axis + 1 :])
        index = index_dtype(self.count_entries(in_shape), size)
        in_row = np.bincount(self.rows, minlength=self.shape[0])
        # the rows (i, after) of one position before: each has the entries of row i of the matrix
        counts = np.repeat(in_row, after)
        offsets = np.repeat(np.cumsum(in_row) - in_row, after) - (np.cumsum(counts) - counts)
        entry = np.arange(counts.sum()) + np.repeat(offsets, counts)
        position = np.repeat(np.tile(np.arange(after, dtype=index), self.shape[0]), counts)
        columns = self.columns[entry].astype(index) * index(after) + position
        blocks = np.arange(before, dtype=index)[:, np.newaxis] * index(self.shape[1] * after)
        starts = np.zeros(rows + 1, dtype=index)
        np.cumsum(np.tile(counts, before), out=starts[1:])
        values = (to_exact(self.weight) if exact else self.weight)[entry]
        return Entries((rows, size), starts, (blocks + columns).ravel(), np.tile(values, before))

    def push(self, x: Any) -> Any:
        """Return the product with the matrix along the axis."""
        return self._along(x, self.rows, self.columns, self.shape[0])

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return the product with the matrix's transpose along the axis."""
        return self._along(y, self.columns, self.rows, self.shape[1])

    def _along(self, x: Any, rows: IntArray, columns: IntArray, size: int) -> Any:
        def times(last: Any) -> Any:
            product = _times(last.reshape(-1, last.shape[-1]), rows, columns, self.weight, size)
            return product.reshape(*last.shape[:-1], size)

        return along_axis(x, self.axis + 1, times)


def _positions(name: str, value: Any, size: int, count: int) -> IntArray:
    positions = as_array(name, value)
    if positions.size and positions.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {positions.dtype}")
    if positions.shape != (count,):
        raise ValueError(f"{name}: expected one number per entry of the weight ({count}), got shape {positions.shape}")
    if count and not 0 <= positions.min() <= positions.max() < size:
        raise ValueError(f"{name}: expected numbers from 0 to {size - 1}, got {positions.min()} to {positions.max()}")
    return positions.astype(index_dtype(size))


def _times(x: Any, rows: IntArray, columns: IntArray, values: Array, size: int) -> Any:
    """Return the products (n, size) of the rows of ``x`` with a matrix."""
    if isinstance(x, np.ndarray) and x.dtype != object and values.dtype != object:
        return (scipy.sparse.csr_array((values, (rows, columns)), shape=(size, x.shape[1])) @ x.T).T
    y = zeros((len(x), size), x, values)
    add_at(y, rows, x[:, index_like(columns, x)] * like(values, x))
    return y
