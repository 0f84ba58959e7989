"""The entries (row, column, value) of a matrix, and the CSR or sympy matrix that has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import scipy.sparse
import sympy
from sympy.polys.domains import EXRAW
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.exact import to_exact
from linalg_cnn.rules import AxisRule, blocks, join_sources, join_weights
from linalg_cnn.types import Array, IntArray, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a matrix in row order, as in CSR: those of row ``r`` are ``starts[r]:starts[r + 1]``.

    Attributes
    ----------
    shape : (rows, columns)
    starts, columns : int arrays (rows + 1,), (entries,)
    values : array (entries,)
        Numbers, or sympy expressions.
    canonical : bool
        Whether the columns of each row increase. If not, several entries may have the same row and column, because
        several taps read the same pixel; their values are added.
    """

    shape: tuple[int, int]
    starts: IntArray
    columns: IntArray
    values: Array
    canonical: bool = True

    def to_csr(self) -> scipy.sparse.csr_array:
        """Return the matrix as ``csr_array`` with sorted columns; zeros among the values stay stored."""
        matrix = scipy.sparse.csr_array((self.values, self.columns, self.starts), shape=self.shape)
        if self.canonical:  # known from the rule, which saves scipy a pass over all entries
            matrix.has_sorted_indices = matrix.has_canonical_format = True
        else:
            matrix.sum_duplicates()
        return matrix

    def to_sympy(self) -> sympy.Matrix:
        """Return the matrix with exact sympy entries, which are neither expanded nor simplified."""
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.starts)).tolist()
        table: dict[int, dict[int, sympy.Expr]] = {}
        for row, column, value in zip(rows, self.columns.tolist(), to_exact(self.values), strict=True):
            filled = table.setdefault(row, {})
            filled[column] = filled[column] + value if column in filled else value
        # sympy compares the stored entries: a stored zero would make equal matrices unequal.
        table = {row: {c: v for c, v in filled.items() if v != 0} for row, filled in table.items()}
        table = {row: filled for row, filled in table.items() if filled}
        return DomainMatrix(table, self.shape, EXRAW).to_Matrix()


def row_starts(counts: Sequence[IntArray], dtype: npt.DTypeLike) -> IntArray:
    """Return where the rows start, given the number of entries per position of each axis: a row has their product."""
    starts = np.zeros(size_of(tuple(len(count) for count in counts)) + 1, dtype=dtype)
    counts = [np.asarray(count, dtype=dtype) for count in counts]
    np.cumsum(reduce(np.multiply.outer, counts).ravel(), out=starts[1:])
    return starts


def count_entries(rules: Sequence[AxisRule]) -> int:
    """Return the number of entries of the joint matrix of the rules, without building it."""
    return size_of(tuple(int(rule.reads.sum()) for rule in rules))


def rule_entries(rules: Sequence[AxisRule], dtype: npt.DTypeLike = np.float64) -> Entries:
    """Return the entries of the joint matrix of the rules, their Kronecker product.

    Parameters
    ----------
    rules : sequence of AxisRule
        One per axis.
    dtype : float64 or object
        Dtype of the values; ``object`` keeps them exact.
    """
    in_size = size_of(tuple(rule.in_size for rule in rules))
    count = count_entries(rules)
    index = index_dtype(count, in_size)
    starts = row_starts([rule.reads for rule in rules], index)
    columns = np.empty(count, index)
    values = np.ones(count, dtype) if np.dtype(dtype) != object else np.full(count, sympy.Integer(1))
    end = 0
    for block in blocks(rules):
        sources, weights = join_sources(block), join_weights(block, dtype)
        reads = sources >= 0
        start, end = end, end + int(np.count_nonzero(reads))
        columns[start:end] = sources[reads]
        if weights is not None:
            values[start:end] = weights[reads]
    return Entries(
        shape=(size_of(tuple(rule.out_size for rule in rules)), in_size),
        starts=starts,
        columns=columns,
        values=values,
        canonical=all(rule.is_sorted for rule in rules),
    )


def diagonal_entries(values: Array) -> Entries:
    """Return the entries of a diagonal matrix."""
    diagonal = np.arange(len(values) + 1, dtype=index_dtype(len(values)))
    return Entries((len(values), len(values)), diagonal, diagonal[:-1], values)


def matrix_bytes(shape: Shape, count: int, itemsize: int) -> int:
    """Return the size in bytes of a ``csr_array`` of this shape with ``count`` entries."""
    rows, columns = shape
    index_size = np.dtype(index_dtype(count, columns)).itemsize
    return count * (itemsize + index_size) + (rows + 1) * index_size
