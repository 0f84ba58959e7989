"""The entries of a layer's output as signed sums, from those of its inputs."""

from collections.abc import Sequence
from fractions import Fraction
from functools import singledispatch
from typing import Any

import numpy as np

from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.batch_norm import BatchNorm
from linalg_cnn.ops.scale import Scale, spread
from linalg_cnn.piecewise.choices import Choice
from linalg_cnn.piecewise.entry_functions import EntryFunction
from linalg_cnn.piecewise.maxima import SharedMaximum
from linalg_cnn.tropical.rationals import to_fractions
from linalg_cnn.tropical.signed_sum import Expansion, SignedSum, combine
from linalg_cnn.types import Array, IntArray, Shape, size_of

Sums = Sequence[SignedSum]
"""The entries of a value in C order."""

ONE, MINUS_ONE = Fraction(1), Fraction(-1)


@singledispatch
def output_sums(operation: Any, inputs: list[Sums], in_shapes: tuple[Shape, ...], expansion: Expansion) -> Sums:
    """Return the entries of an operation's output from those of its inputs.

    Raises
    ------
    ValueError
        If the operation has no tropical form here, a weight is not rational, or there would be too many monomials.
    """
    raise ValueError(f"{expansion.where}: expected an operation with a tropical form, got {type(operation).__name__}")


@output_sums.register
def _affine(operation: Operation, inputs: list[Sums], in_shapes: tuple[Shape, ...], expansion: Expansion) -> Sums:
    where = expansion.where
    if isinstance(operation, BatchNorm) and not operation.symbolic:
        # Its factors are roots. A network of floats computes with these floats, each of which is a fraction.
        operation = Scale(operation.factors, operation.shifts)
    expansion.check(operation.count_entries(*in_shapes), "entries of the matrix")
    rows: list[list[tuple[Fraction, SignedSum]]] = [[] for _ in range(size_of(operation.out_shape(*in_shapes)))]
    for entries, values in zip(operation.all_entries(*in_shapes, exact=True), inputs, strict=True):
        numbers = np.repeat(np.arange(len(rows)), np.diff(entries.starts))
        weights = to_fractions(where, entries.values)
        for row, column, weight in zip(numbers, entries.columns, weights, strict=True):
            rows[row].append((weight, values[column]))
    bias = operation.exact().bias_vector(*in_shapes)
    constants = [Fraction(0)] * len(rows) if bias is None else to_fractions(where, bias)
    return [combine(parts, constant) for parts, constant in zip(rows, constants, strict=True)]


@output_sums.register
def _entry_function(
    operation: EntryFunction, inputs: list[Sums], in_shapes: tuple[Shape, ...], expansion: Expansion
) -> Sums:
    """Return f(v) = f_0(v) + sum_i c_i max(v - t_i, 0): the lowest piece, and what changes at each threshold."""

    def each(numbers: Sequence[Any]) -> list[list[Fraction]]:
        columns = [_spread(to_fractions(expansion.where, value), in_shapes[0]) for value in numbers]
        return list(map(list, zip(*columns, strict=True)))

    exact = operation.exact()
    lowest = each([exact.slopes[0], 0 if exact.shifts is None else exact.shifts[0]])
    sums = []
    for value, (slope, shift), slopes, thresholds in zip(
        inputs[0], lowest, each(exact.slopes), each(exact.thresholds), strict=True
    ):
        parts = [(slope, value)]
        for before, after, threshold in zip(slopes, slopes[1:], thresholds, strict=False):
            if before != after:
                above = combine([(ONE, value)], -threshold)
                parts.append((after - before, expansion.maximum([above, SignedSum()])))
        sums.append(combine(parts, shift))
    return sums


@output_sums.register
def _choice(operation: Choice, inputs: list[Sums], in_shapes: tuple[Shape, ...], expansion: Expansion) -> Sums:
    return _extremes(operation.windows(*in_shapes), inputs[0], expansion, smallest=operation.smallest)


@output_sums.register
def _maximum(operation: SharedMaximum, inputs: list[Sums], in_shapes: tuple[Shape, ...], expansion: Expansion) -> Sums:
    entries = [entry for value in inputs for entry in value]
    return _extremes(operation.competitors(*in_shapes), entries, expansion, smallest=operation.smallest)


def _extremes(windows: IntArray, entries: Sums, expansion: Expansion, *, smallest: bool) -> Sums:
    """Return the largest entry of each window of numbers, of which -1 stands for none, or the smallest.

    The minimum is minus the maximum of the negatives.
    """
    sign = MINUS_ONE if smallest else ONE
    signed = [combine([(sign, entry)]) for entry in entries]
    return [
        combine([(sign, expansion.maximum([signed[number] for number in window if number >= 0]))]) for window in windows
    ]


def _spread(values: Array, shape: Shape) -> list[Fraction]:
    """Return one number for all entries, one per channel, or one per entry, as a list with one for each entry."""
    values = spread(values, len(shape)) if values.ndim else values
    return list(np.broadcast_to(values, shape).ravel())
