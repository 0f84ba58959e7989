"""Rational numbers: arguments as Fractions, and integers over a common denominator, in which the loops compute."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import lcm
from typing import Any

import numpy as np

from linalg_cnn.checks import as_exact
from linalg_cnn.types import Array


def to_fraction(name: str, value: Any) -> Fraction:
    """Return an exact sympy number as a Fraction.

    Raises
    ------
    ValueError
        If it is irrational or has free symbols.
    """
    if not value.is_Rational:
        raise ValueError(f"{name}: expected rational numbers, got {value}")
    return Fraction(int(value.p), int(value.q))


def to_fractions(name: str, values: Any) -> Array:
    """Return numbers as an object array of Fractions; a float becomes the binary fraction that it is.

    Raises
    ------
    TypeError
        If an entry is not a number.
    ValueError
        If an entry is NaN, infinite or irrational, or has free symbols.
    """
    try:
        exact = as_exact(values)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {str(error).removeprefix('x: ')}") from error
    fractions = np.empty(exact.shape, dtype=object)
    for index, value in np.ndenumerate(exact):
        fractions[index] = to_fraction(name, value)
    return fractions


def over_common_denominator(values: Iterable[Fraction]) -> tuple[list[int], int]:
    """Return the numerators of fractions over their least common denominator, and that denominator.

    Examples
    --------
    >>> over_common_denominator([Fraction(1, 2), Fraction(2, 3)])
    ([3, 4], 6)
    """
    values = list(values)
    denominator = lcm(*(value.denominator for value in values))
    return [value.numerator * (denominator // value.denominator) for value in values], denominator


def object_rows(rows: Sequence[Sequence[Any]], columns: int) -> Array:
    """Return rows of Python numbers as an object array (rows, columns); numpy would make int64 of small integers."""
    array = np.empty((len(rows), columns), dtype=object)
    for number, row in enumerate(rows):
        array[number] = row
    return array


def invert(matrix: Array) -> tuple[Array, int] | None:
    """Return the inverse of an integer matrix as integers over a positive denominator; None if it is singular.

    Parameters
    ----------
    matrix : object array (n, n) of int

    Notes
    -----
    Source: Gauss-Jordan elimination without fractions, E. H. Bareiss, "Sylvester's identity and multistep
    integer-preserving Gaussian elimination", 1968.

    Examples
    --------
    >>> invert(np.array([[2, 0], [1, 3]], dtype=object))
    (array([[3, 0],
           [-1, 2]], dtype=object), 6)
    """
    size = len(matrix)
    rows = [[*row, *(int(i == j) for j in range(size))] for i, row in enumerate(matrix.tolist())]
    before = 1
    for pivot in range(size):
        found = next((i for i in range(pivot, size) if rows[i][pivot]), None)
        if found is None:
            return None
        rows[pivot], rows[found] = rows[found], rows[pivot]
        top, here = rows[pivot], rows[pivot][pivot]
        for i, row in enumerate(rows):
            if i != pivot:
                factor = row[pivot]
                rows[i] = [(here * entry - factor * above) // before for entry, above in zip(row, top, strict=True)]
        before = here
    sign = 1 if before > 0 else -1
    return object_rows([[sign * entry for entry in row[size:]] for row in rows], size), sign * before
