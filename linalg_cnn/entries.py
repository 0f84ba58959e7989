"""From index rules to matrices: which input positions an output reads, then (row, column, value).

An operation's *rule* is written once, as one table per axis. From the tables come the sparse matrix, the exact
sympy matrix, and the slices that ``forward`` and ``adjoint`` work on: numbers and symbols only fill them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse
import sympy
from sympy.polys.domains import EXRAW
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.checks import check_memory
from linalg_cnn.exact import to_exact
from linalg_cnn.types import Array, IntArray, size_of

NOTHING = -1
"""The source of a tap that falls on zero padding: it reads nothing and gets no matrix entry."""


@dataclass(frozen=True, eq=False)
class AxisRule:
    """Which input positions each output position reads along one axis.

    Attributes
    ----------
    in_size : int
        Number of input positions.
    sources : int array (out_size, taps)
        ``sources[d, tap]`` is the position that output ``d`` reads with this tap, or ``NOTHING``.
    weights : array of Fractions (out_size, taps), optional
        The factor of each tap, exact; all ones if not given.
    """

    in_size: int
    sources: IntArray
    weights: Array | None = None

    @property
    def out_size(self) -> int:
        """Number of output positions."""
        return len(self.sources)

    @property
    def is_identity(self) -> bool:
        """Whether the axis comes out as it went in."""
        return (
            self.weights is None
            and self.sources.shape == (self.in_size, 1)
            and np.array_equal(self.sources[:, 0], np.arange(self.in_size))
        )


def identity_rule(size: int) -> AxisRule:
    """Return the rule of an axis that is left alone."""
    return AxisRule(size, np.arange(size)[:, np.newaxis])


def join_rules(rules: Sequence[AxisRule], dtype: npt.DTypeLike = np.float64) -> AxisRule:
    """Return the rule on C-order ravels that acts on every axis at once (a Kronecker product of the rules).

    A joint tap reads nothing as soon as one of its axes reads nothing; the weights multiply. They come as numbers
    of ``dtype``, rounded once per axis; ``object`` keeps them exact.
    """
    axes = len(rules)
    in_size = size_of(tuple(rule.in_size for rule in rules))
    sources = np.zeros((1,) * (2 * axes), dtype=np.int64)
    missing = np.zeros_like(sources, dtype=bool)
    weights: Array | None = None
    step = in_size
    for axis, rule in enumerate(rules):
        step //= rule.in_size
        shape = [1] * (2 * axes)
        shape[axis], shape[axes + axis] = rule.sources.shape
        along = rule.sources.reshape(shape)
        sources = sources + along * step
        missing = missing | (along == NOTHING)
        if rule.weights is not None:
            factor = weights_as(rule.weights, dtype).reshape(shape)
            weights = factor if weights is None else weights * factor
    joint = np.where(missing, NOTHING, sources)
    n_out = size_of(joint.shape[:axes])
    if weights is not None:
        weights = np.broadcast_to(weights, joint.shape).reshape(n_out, -1)
    return AxisRule(in_size, joint.reshape(n_out, -1), weights)


def weights_as(weights: Array, dtype: npt.DTypeLike) -> Array:
    """Return exact weights as numbers of ``dtype``: sympy rationals for ``object``, else correctly rounded."""
    return to_exact(weights) if np.dtype(dtype) == object else weights.astype(dtype)


def apply_rule(x: Array, axis: int, rule: AxisRule) -> Array:
    """Return ``x`` with the rule's matrix applied along ``axis``; taps that read nothing cost nothing."""
    if rule.is_identity:
        return x
    y = np.zeros((*x.shape[:axis], rule.out_size, *x.shape[axis + 1 :]), dtype=x.dtype)
    for outputs, inputs, weight in _taps(rule, x, axis):
        y[_along(axis, outputs)] += weight * x[_along(axis, inputs)]
    return y


def apply_rule_adjoint(y: Array, axis: int, rule: AxisRule) -> Array:
    """Return ``y`` with the transpose of the rule's matrix applied along ``axis``."""
    if rule.is_identity:
        return y
    x = np.zeros((*y.shape[:axis], rule.in_size, *y.shape[axis + 1 :]), dtype=y.dtype)
    for outputs, inputs, weight in _taps(rule, y, axis):
        term = weight * y[_along(axis, outputs)]
        if np.all(np.diff(inputs) > 0):
            x[_along(axis, inputs)] += term
        else:  # several outputs read the same input, and `+=` would keep only the last of them
            np.add.at(x, _along(axis, inputs), term)
    return x


def _along(axis: int, index: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (index,)


def _taps(rule: AxisRule, like: Array, axis: int) -> Iterator[tuple[Any, Any, Any]]:
    """Yield (outputs, inputs, weight along the axis) of each tap that reads something."""
    for tap in range(rule.sources.shape[1]):
        outputs = np.flatnonzero(rule.sources[:, tap] != NOTHING)
        if outputs.size == 0:
            continue
        weight: Any = 1
        if rule.weights is not None:
            weight = weights_as(rule.weights[outputs, tap], like.dtype)
            weight = weight.reshape(-1, *(1,) * (like.ndim - axis - 1))
        yield outputs, rule.sources[outputs, tap], weight


def tap_slices(rule: AxisRule, tap: int, step: int) -> tuple[slice, slice] | None:
    """Return (outputs, inputs) of one tap of a sliding window as slices, without those that read nothing.

    Neighbouring outputs of a sliding window read ``step`` apart, so what is left is one run. None if nothing is.
    """
    outputs = np.flatnonzero(rule.sources[:, tap] != NOTHING)
    if outputs.size == 0:
        return None
    first, last = outputs[0], outputs[-1]
    return slice(first, last + 1), slice(rule.sources[first, tap], rule.sources[last, tap] + 1, step)


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a matrix in row order, as CSR has them: row ``r`` owns ``starts[r]:starts[r + 1]``.

    Two entries may share a place (two taps that read the same pixel); they add up.
    """

    shape: tuple[int, int]
    starts: IntArray
    columns: IntArray
    values: Array

    def to_matrix(self) -> Any:
        """Return a ``csr_array``, or a sympy matrix where the values are sympy expressions."""
        return self.to_sympy() if self.values.dtype == object else self.to_csr()

    def to_csr(self) -> scipy.sparse.csr_array:
        """Return the matrix as ``csr_array`` with sorted columns; stored zeros stay stored."""
        matrix = scipy.sparse.csr_array((self.values, self.columns, self.starts), shape=self.shape)
        matrix.sum_duplicates()
        return matrix

    def to_sympy(self) -> sympy.Matrix:
        """Return the matrix with exact sympy entries, none of them expanded or simplified."""
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.starts)).tolist()
        table: dict[int, dict[int, sympy.Expr]] = {}
        for row, column, value in zip(rows, self.columns.tolist(), to_exact(self.values), strict=True):
            filled = table.setdefault(row, {})
            filled[column] = filled[column] + value if column in filled else value
        # sympy compares the stored entries, so a stored zero would make equal matrices unequal.
        table = {row: {c: v for c, v in filled.items() if v != 0} for row, filled in table.items()}
        table = {row: filled for row, filled in table.items() if filled}
        return DomainMatrix(table, self.shape, EXRAW).to_Matrix()


def index_dtype(*sizes: int) -> type[np.signedinteger[Any]]:
    """Return int32 if it can index all of these sizes, int64 otherwise."""
    return np.int32 if max(sizes) <= np.iinfo(np.int32).max else np.int64


def rule_entries(rule: AxisRule) -> Entries:
    """Return the matrix entries of one rule: the weights where a tap reads something."""
    reads = rule.sources != NOTHING
    count = int(np.count_nonzero(reads))
    check_memory("the sparse matrix", 16 * count + 8 * rule.out_size)
    dtype = index_dtype(count, rule.in_size)
    starts = np.zeros(rule.out_size + 1, dtype=dtype)
    np.cumsum(np.count_nonzero(reads, axis=1), out=starts[1:])
    values = np.ones(count) if rule.weights is None else rule.weights[reads]
    return Entries((rule.out_size, rule.in_size), starts, rule.sources[reads].astype(dtype), values)
