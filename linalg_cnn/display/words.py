"""Entries, positions and lists in plain text, for text alternatives, hover texts and formulas."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import sympy

from linalg_cnn.types import Shape


def is_number(value: Any) -> bool:
    """Return whether an entry is a number rather than an expression in letters."""
    return bool(value.is_number) if isinstance(value, sympy.Basic) else True


def plain(value: Any) -> str:
    """Return a matrix entry or a label as short plain text.

    Examples
    --------
    >>> plain(0.123456), plain(-2.0), plain(sympy.Rational(3, 8)), plain("y")
    ('0.123', '-2', '3/8', 'y')
    >>> plain(sympy.Symbol("a_11") * 2)
    '2*a_11'
    """
    if isinstance(value, (str, sympy.Basic, Fraction, int, np.integer)):
        return str(value)
    short = f"{float(value):.3g}"
    return "0" if short == "-0" else short


def listed(values: Iterable[Any]) -> str:
    """Return entries as plain text with commas between them.

    Examples
    --------
    >>> listed([1.0, sympy.Symbol("a")])
    '1, a'
    """
    return ", ".join(map(plain, values))


def sentence(words: str) -> str:
    """Return words with a capital at their start.

    Examples
    --------
    >>> sentence("a matrix.")
    'A matrix.'
    """
    return words[:1].upper() + words[1:]


def clause(words: str) -> str:
    """Return a sentence without the capital at its start, to continue another.

    Examples
    --------
    >>> clause("A matrix.")
    'a matrix.'
    """
    return words[:1].lower() + words[1:]


def indices(number: int, shape: Shape) -> tuple[int, ...]:
    """Return the indices of one entry of an array, given its number in C order.

    Examples
    --------
    >>> indices(5, (2, 3))
    (1, 2)
    """
    return tuple(int(index) for index in np.unravel_index(number, shape))


def abridged(size: int, most: int) -> list[int | None]:
    """Return at most ``most`` of the indices 0 to ``size`` - 1: the first and the last, with None between them.

    Examples
    --------
    >>> abridged(3, most=5), abridged(9, most=5)
    ([0, 1, 2], [0, 1, None, 7, 8])
    """
    if size <= most:
        return list(range(size))
    first = most // 2
    return [*range(first), None, *range(size - (most - first - 1), size)]
