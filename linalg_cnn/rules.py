"""Index rules: small tables, one per axis, of the input positions that each output position reads.

An operation's rule is written once, as one table per axis. The sparse matrix, the exact sympy matrix, and the slices
that ``push`` and ``pull`` work on are all derived from these tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import sympy

from linalg_cnn.arrays import along_axis, index_like, like, parameter_like, zeros_laid_like
from linalg_cnn.memory import check_memory
from linalg_cnn.types import Array, IntArray, Shape, index_dtype, size_of

NOTHING = -1
"""Source of a tap that falls on zero padding: such a tap reads nothing and has no matrix entry."""


@dataclass(frozen=True, eq=False)
class AxisRule:
    """A table of the input positions that each output position reads along one axis.

    Attributes
    ----------
    in_size : int
        Number of input positions.
    sources : int array (out_size, taps)
        ``sources[d, tap]`` is the position that output ``d`` reads with this tap. A negative number, such as
        ``NOTHING``, means that the tap reads nothing.
    numerators, denominators : int arrays (out_size, taps), optional
        Factor of each tap as an exact fraction; all ones if not given.
    taps : int array like the sources, optional
        Number of the tap that each entry of the table belongs to, for a table that leaves out taps which read nothing;
        by default the number of its column.
    """

    in_size: int
    sources: IntArray
    numerators: IntArray | None = None
    denominators: IntArray | None = None
    taps: IntArray | None = None

    @property
    def out_size(self) -> int:
        """Number of output positions."""
        return len(self.sources)

    @property
    def is_identity(self) -> bool:
        """Whether the output equals the input."""
        return (
            self.numerators is None
            and self.sources.shape == (self.in_size, 1)
            and np.array_equal(self.sources[:, 0], np.arange(self.in_size))
        )

    def rows(self, start: int, stop: int) -> "AxisRule":
        """Return the rule of the outputs ``start`` to ``stop``."""
        tables = (self.numerators, self.denominators, self.taps)
        return AxisRule(
            self.in_size, self.sources[start:stop], *(table if table is None else table[start:stop] for table in tables)
        )

    @cached_property
    def dense(self) -> Array:
        """Matrix (out_size, in_size) of the rule, float64."""
        matrix = np.zeros((self.out_size, self.in_size))
        rows, taps = np.nonzero(self.sources >= 0)
        weights: Any = 1.0
        if self.numerators is not None and self.denominators is not None:
            weights = (self.numerators / self.denominators)[rows, taps]
        np.add.at(matrix, (rows, self.sources[rows, taps]), weights)
        return matrix

    @cached_property
    def reads(self) -> IntArray:
        """Number of inputs that each output reads, (out_size,)."""
        if len(self.sources) < self.sources.shape[1]:
            return np.asarray(np.count_nonzero(self.sources >= 0, axis=1))
        # Column by column, because numpy is slow along short rows.
        reads = np.zeros(len(self.sources), np.int64)
        for column in self.sources.T:
            reads += column >= 0
        return reads

    def common_weight(self, x: Any) -> Any:
        """Return the factor that all taps share, as a number that multiplies ``x``, or None if the factors differ."""
        if self.numerators is None or self.denominators is None:
            return 1
        n, d = self.numerators.flat[0], self.denominators.flat[0]
        if np.any(self.numerators != n) or np.any(self.denominators != d):
            return None
        return sympy.Rational(int(n), int(d)) if x.dtype == object else int(n) / int(d)

    @property
    def is_sorted(self) -> bool:
        """Whether every output reads its inputs in increasing order, and none of them twice."""
        if len(self.sources) < self.sources.shape[1]:
            before = np.maximum.accumulate(self.sources, axis=1)[:, :-1]
            after = self.sources[:, 1:]
            return bool(np.all((after > before) | (after < 0)))
        largest = np.full(len(self.sources), NOTHING, self.sources.dtype)
        for column in self.sources.T:
            if np.any((column <= largest) & (column >= 0)):
                return False
            np.maximum(largest, column, out=largest)
        return True


def check_table(out_size: int, taps: int) -> None:
    """Refuse the index table of one axis if it would not fit into memory, before it is built.

    Raises
    ------
    MemoryError
        If it takes more than half of the machine's memory.
    """
    check_memory(f"the index table of {out_size:,} positions and {taps:,} taps", 8 * out_size * taps)


def identity_rule(size: int) -> AxisRule:
    """Return the rule of an axis that is left unchanged."""
    check_table(size, 1)
    return AxisRule(size, np.arange(size, dtype=index_dtype(size))[:, np.newaxis])


def join_sources(rules: Sequence[AxisRule]) -> IntArray:
    """Return the sources (out_size, taps) of the joint rule, which acts on C-order ravels along all axes at once.

    A joint tap is negative, because it reads nothing, if it reads nothing along one of the axes.
    """
    in_size = size_of(tuple(rule.in_size for rule in rules))
    dtype = index_dtype(len(rules) * in_size)
    step = in_size

    def contributions() -> Iterator[IntArray]:
        nonlocal step
        for rule in rules:
            step //= rule.in_size
            # The other contributions add up to less than in_size, and a single miss makes the sum negative.
            contribution = rule.sources.astype(dtype) * dtype(step)
            contribution[rule.sources < 0] = -in_size
            yield contribution

    return _outer(contributions(), len(rules), np.add)


BLOCK = 2**15
"""Number of cells of a joint table that are built together, to keep temporary arrays small beside the result."""


def blocks(rules: Sequence[AxisRule], times: int = 1) -> Iterator[list[AxisRule]]:
    """Yield the rules of blocks of output positions, in C order.

    Parameters
    ----------
    rules : sequence of AxisRule
        One per axis.
    times : int
        Number of cells that are built from each cell of the table, such as one per channel.
    """
    axis = next((axis for axis, rule in enumerate(rules) if rule.out_size > 1), 0)
    cells = size_of(tuple(rule.sources.size for rule in rules)) // rules[axis].out_size
    rows = max(1, BLOCK // (cells * times))
    for start in range(0, rules[axis].out_size, rows):
        yield [*rules[:axis], rules[axis].rows(start, start + rows), *rules[axis + 1 :]]


def join_weights(rules: Sequence[AxisRule], dtype: npt.DTypeLike) -> Array | None:
    """Return the products (out_size, taps) of the rules' weights, each rounded once; None if all are ones."""
    if all(rule.numerators is None for rule in rules):
        return None
    # float64 holds the products of these small integers exactly: only the division rounds.
    number = object if np.dtype(dtype) == object else np.float64

    def product(tables: list[IntArray | None]) -> Array:
        ones = (np.ones(rule.sources.shape, np.int8) for rule in rules)
        filled = ((one if table is None else table).astype(number) for one, table in zip(ones, tables, strict=True))
        return _outer(filled, len(rules), np.multiply)

    joint = product([rule.denominators for rule in rules])
    if all(rule.numerators is None or np.all(rule.numerators == 1) for rule in rules):
        numerators = np.ones((1, 1), number)
    else:
        numerators = product([rule.numerators for rule in rules])
    return _fractions(numerators, joint) if number is object else np.divide(numerators, joint, out=joint)


def _fractions(numerators: Array, denominators: Array) -> Array:
    exact = np.frompyfunc(lambda n, d: sympy.Rational(int(n), int(d)), 2, 1)(numerators, denominators)
    return np.asarray(exact, dtype=object)


def join_taps(rules: Sequence[AxisRule], sizes: Shape) -> IntArray:
    """Return the number of each joint tap in the ravelled kernel: (out_size, taps), or one row for all outputs."""
    if all(rule.taps is None for rule in rules):
        return np.arange(size_of(sizes), dtype=np.int32)[np.newaxis, :]

    def contributions() -> Iterator[IntArray]:
        step = size_of(sizes)
        for rule, size in zip(rules, sizes, strict=True):
            step //= size
            taps = np.arange(size, dtype=np.int32) if rule.taps is None else rule.taps
            yield np.broadcast_to(taps, rule.sources.shape) * np.int32(step)

    return _outer(contributions(), len(rules), np.add)


def _outer(tables: Iterator[Array], axes: int, combine: np.ufunc) -> Array:
    """Return the outer combination of one table (out, taps) per axis, as a table (out_size, taps) over all axes."""

    def spread() -> Iterator[Array]:
        for axis, table in enumerate(tables):
            shape = [1] * (2 * axes)
            shape[axis], shape[axes + axis] = table.shape
            yield table.reshape(shape)

    joint = reduce(combine, spread())
    return np.asarray(joint.reshape(size_of(joint.shape[:axes]), size_of(joint.shape[axes:])))


def apply_rule(x: Any, axis: int, rule: AxisRule) -> Any:
    """Return ``x`` with the rule's matrix applied along ``axis``. Taps that read nothing take no time."""
    if rule.is_identity:
        return x
    if _in_one_product(x, rule):
        return along_axis(x, axis, lambda last: last @ parameter_like(rule.dense, x).T)
    y = zeros_laid_like(x, (*x.shape[:axis], rule.out_size, *x.shape[axis + 1 :]))
    common = rule.common_weight(x)
    for tap in range(rule.sources.shape[1]):
        outputs = np.flatnonzero(rule.sources[:, tap] >= 0)
        if outputs.size:
            part = x[_along(axis, _index(rule.sources[outputs, tap], x))]
            if common is None:
                part = _weighted(part, rule, outputs, tap, axis)
            y[_along(axis, _index(outputs, x))] += part
    return y if common is None or common == 1 else y * common


def apply_rule_adjoint(y: Any, axis: int, rule: AxisRule) -> Any:
    """Return ``y`` with the transpose of the rule's matrix applied along ``axis``."""
    if rule.is_identity:
        return y
    if _in_one_product(y, rule):
        return along_axis(y, axis, lambda last: last @ parameter_like(rule.dense, y))
    x = zeros_laid_like(y, (*y.shape[:axis], rule.in_size, *y.shape[axis + 1 :]))
    common = rule.common_weight(y)
    if common is not None and common != 1:
        y = y * common
    for tap in range(rule.sources.shape[1]):
        for outputs in _without_repeats(rule.sources[:, tap]):
            part = y[_along(axis, _index(outputs, y))]
            if common is None:
                part = _weighted(part, rule, outputs, tap, axis)
            x[_along(axis, _index(rule.sources[outputs, tap], y))] += part
    return x


LARGEST_PRODUCT = 2**20
"""Number of entries up to which the matrix of an axis multiplies a tensor; larger ones are mostly zeros."""


def _in_one_product(x: Any, rule: AxisRule) -> bool:
    """Return whether to apply a rule as one matrix product: on an accelerator, each tap would be several launches.

    A single tap that reads evenly spaced positions takes no more than two, and moves no more than it must.
    """
    if isinstance(x, np.ndarray) or rule.in_size * rule.out_size > LARGEST_PRODUCT:
        return False
    outputs = np.flatnonzero(rule.sources[:, 0] >= 0)
    return rule.sources.shape[1] > 1 or not (_is_even(outputs) and _is_even(rule.sources[outputs, 0]))


def _along(axis: int, index: Any) -> tuple[Any, ...]:
    return (slice(None),) * axis + (index,)


def _without_repeats(sources: IntArray) -> Iterator[IntArray]:
    """Yield the outputs that read something, in groups that read no input twice, because `+=` would add only one."""
    outputs = np.flatnonzero(sources >= 0)
    while outputs.size:
        firsts = np.sort(np.unique(sources[outputs], return_index=True)[1])
        yield outputs[firsts]
        outputs = np.delete(outputs, firsts)


def _index(positions: IntArray, x: Any) -> Any:
    """Return positions as a slice if they are evenly spaced, which avoids a copy."""
    return _as_slice(positions) if _is_even(positions) else index_like(positions, x)


def _is_even(positions: IntArray) -> bool:
    """Return whether positions are those of a slice."""
    steps = np.diff(positions)
    return len(positions) == 1 or bool(len(positions) > 1 and steps[0] > 0 and np.all(steps == steps[0]))


def _weighted(part: Any, rule: AxisRule, outputs: IntArray, tap: int, axis: int) -> Any:
    """Return the part of an array that a tap reads or writes, multiplied by the tap's weights along the axis."""
    n, d = cast(IntArray, rule.numerators)[outputs, tap], cast(IntArray, rule.denominators)[outputs, tap]
    shape = (-1, *(1,) * (part.ndim - axis - 1))
    if not isinstance(part, np.ndarray):
        return part * like((n / d).reshape(shape), part)
    weight = _fractions(n, d) if part.dtype == object else (n / d).astype(part.dtype)
    return part * weight.reshape(shape)


def tap_slices(rule: AxisRule, tap: int) -> tuple[slice, slice] | None:
    """Return (outputs, inputs) of one tap of a (transposed) convolution as slices, or None if it reads nothing.

    The outputs at which such a tap reads something, and the inputs that it reads, are arithmetic progressions.
    """
    if rule.taps is None:
        sources = rule.sources[:, tap]
    else:  # each output has this tap at most once
        sources = np.where(rule.taps == tap, rule.sources, NOTHING).max(axis=1)
    outputs = np.flatnonzero(sources >= 0)
    if outputs.size == 0:
        return None
    return _as_slice(outputs), _as_slice(sources[outputs])


def _as_slice(progression: IntArray) -> slice:
    first, last = int(progression[0]), int(progression[-1])
    step = int(progression[1]) - first if len(progression) > 1 else 1
    return slice(first, last + 1, step)
