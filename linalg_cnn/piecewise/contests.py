"""Where the pieces of an operation change: each piece is that of the largest of several affine functions."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linalg_cnn.types import Array, IntArray

TOLERANCE = 1e-12
"""Difference of two functions, relative to the largest of the values compared, below which they count as equal."""


def check_held(values: Sequence[Array], name: str) -> None:
    """Check that values of a network have not overflowed; ``name`` says where they are.

    Raises
    ------
    ValueError
        If one has.
    """
    if not all(np.isfinite(x).all() for x in values):
        raise ValueError(f"graph: expected values of the network that float64 holds, got larger ones at {name}")


def tolerance_of(values: Sequence[Array], name: str) -> float:
    """Return the difference below which values that an operation compares count as equal.

    Parameters
    ----------
    values : sequence of arrays
        The values, of which a difference of `TOLERANCE` times the largest counts.
    name : str
        Name of the operation; raises what `check_held` raises.
    """
    check_held(values, name)
    return TOLERANCE * max(float(np.abs(x).max(initial=0)) for x in values)


class Changes(NamedTuple):
    """Where the largest of several functions changes along straight lines.

    Attributes
    ----------
    line : int array (changes,)
        Number of the line.
    position : array (changes,)
        Position between its start, 0, and its end, 1.
    before, after : int arrays (changes,)
        Numbers of the largest function on both sides.
    """

    line: IntArray
    position: Array
    before: IntArray
    after: IntArray


def changes_on_lines(first: Array, last: Array, tolerance: float, winner: IntArray | None = None) -> Changes:
    """Return where the largest of several affine functions changes along straight lines.

    Parameters
    ----------
    first, last : arrays (lines, functions)
        Values of the functions where each line starts and ends.
    tolerance : float
        Difference up to which values at the ends count as equal; a change by less than that is none.
    winner : int array (lines,), optional
        Numbers of the functions that lead at the start, which are among the largest there; by default the steepest of
        the largest.

    Examples
    --------
    >>> import numpy as np
    >>> changes_on_lines(np.array([[0.0, -1.0, -9.0]]), np.array([[0.0, 1.0, 1.5]]), 0.0)[:2]
    (array([0, 0]), array([0.5       , 0.94117647]))
    """
    slope = last - first
    if winner is None:
        leading = first >= first.max(axis=1, keepdims=True) - tolerance
        winner = np.where(leading, slope, -np.inf).argmax(axis=1)
    line = np.arange(len(first))
    found: list[tuple[IntArray, Array, IntArray, IntArray]] = []
    while len(line):
        rows = np.arange(len(line))
        lead = first[line, winner][:, np.newaxis] - first[line]
        gain = slope[line] - slope[line, winner][:, np.newaxis]
        overtakes = (gain > 0) & (last[line] - last[line, winner][:, np.newaxis] > tolerance)
        position = np.where(overtakes, np.maximum(lead, 0) / np.where(overtakes, gain, 1), np.inf)
        # of several functions that take the lead in the same place, the steepest keeps it
        nearest = position <= position.min(axis=1, keepdims=True)
        following = np.where(nearest & overtakes, gain, -np.inf).argmax(axis=1)
        kept = overtakes[rows, following]
        line, before, winner = line[kept], winner[kept], following[kept]
        found.append((line, position[rows, following][kept], before, winner))
    parts = [np.concatenate(column) for column in zip(*found, strict=True)] if found else [np.empty(0, int)] * 4
    order = np.lexsort((parts[1], parts[0]))
    return Changes(*(part[order] for part in parts))
