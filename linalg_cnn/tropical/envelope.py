"""Which of finitely many affine functions are the largest somewhere, with an exact proof for each.

A function c_i + a_i . x is nowhere the only largest one exactly if a convex combination of the others has its slope
a_i and a constant of at least c_i (Farkas' lemma). Each function therefore has one of two exact proofs: a point where
it is larger than all others, its witness, or the weights of that combination, its certificate. Floats propose them, and
integers decide.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from linalg_cnn.tropical.proposals import Units, below_corners, hull_proposals, in_units, program_proposal
from linalg_cnn.tropical.rationals import invert, over_common_denominator
from linalg_cnn.types import Array

Point = tuple[Fraction, ...]


class Envelope(NamedTuple):
    """The functions that are kept and those that are removed, each with its proof.

    Attributes
    ----------
    kept : dict {row: witness or None}
        None where neither proof was found, because the two cases are closer together than floats can tell.
    removed : dict {row: {kept row: weight}}
    """

    kept: dict[int, Point | None]
    removed: dict[int, dict[int, Fraction]]


def envelope(rows: Array) -> Envelope:
    """Return which affine functions are the only largest one somewhere.

    Parameters
    ----------
    rows : object array (functions, 1 + variables) of int
        Constant and slopes, with different slopes in each row, in lexicographic order of the slopes.

    Notes
    -----
    In few variables, a convex hull in floats proposes most proofs at once. Otherwise a linear program compares one
    function with those that are known to be kept; where it is larger than they are, the largest function there is
    kept, too. Source: K. L. Clarkson, "More output-sensitive geometric algorithms", FOCS 1994.
    """
    kept: dict[int, Point | None] = {}
    removed: dict[int, dict[int, Fraction]] = {}
    constants, slopes, units = in_units(rows - rows[0])  # a function that is added to all changes nothing

    def keep(point: Point) -> None:
        row, witness = _largest_near(rows, point)
        kept[row] = witness

    def remove(candidates: Iterable[int], support: list[int]) -> None:
        still = [row for row in candidates if row not in kept and row not in removed]
        removed.update(_certificates(rows, still, support) if still else {})

    keep((Fraction(0),) * slopes.shape[1])
    points, _ = hull_proposals(constants, slopes)
    for point in points:
        keep(_in_plain_units(point, units))
    found = sorted(kept)  # without functions that tie in a corner and are nowhere the only largest one
    _, corners = hull_proposals(constants[found], slopes[found])
    corners = [[found[number] for number in corner] for corner in corners]
    for corner, candidates in zip(corners, below_corners(slopes, corners), strict=True):
        remove(candidates, corner)
    for row in range(len(rows)):
        while row not in kept and row not in removed:
            known = list(kept)
            *differences, their_units = in_units(rows[known] - rows[row])
            proposed, support = program_proposal(*differences)
            support = [known[number] for number in support]
            if proposed is not None and _is_larger(rows, row, known, point := _in_plain_units(proposed, their_units)):
                keep(point)
            else:
                remove(range(row, len(rows)), support)
                if row not in removed:
                    kept[row] = None
    return Envelope(kept, removed)


def _in_plain_units(point: Array, units: Units) -> Point:
    """Return a proposed point exactly; the functions are divided by their units where it was found."""
    scale = Fraction(*units)
    return tuple(Fraction(float(entry)) * scale for entry in point)


def values_at(rows: Array, point: Iterable[Fraction]) -> tuple[Array, int]:
    """Return the functions' values at a point, as integers over the denominator that is returned, too."""
    numerators, denominator = over_common_denominator(point)
    values: Array = rows @ np.array([denominator, *numerators], dtype=object)
    return values, denominator


def _is_larger(rows: Array, row: int, known: list[int], point: Point) -> bool:
    values, _ = values_at(rows[[row, *known]], point)
    return bool(values[0] > values[1:].max())


def _largest_near(rows: Array, point: Point) -> tuple[int, Point]:
    """Return the function that is the only largest one at a point, or close to it if several tie there, and the point.

    Among those that tie, the last one in lexicographic order grows fastest in the direction (1, d, d^2, ...) for each
    small d.
    """
    values, denominator = values_at(rows, point)
    tied = np.flatnonzero(values == values.max())
    last = int(tied[-1])
    if len(tied) == 1:
        return last, point
    slopes = rows[:, 1:] - rows[last, 1:]
    d = Fraction(1, 2 * int(abs(slopes[tied]).max()) + 1)
    direction = [d**power for power in range(slopes.shape[1])]
    lead, q = over_common_denominator(direction)
    rates = slopes @ np.array(lead, dtype=object)
    gaps = values.max() - values
    # Half of the way to the first function that overtakes; it starts gaps / denominator below, and gains rates / q.
    steps = [Fraction(int(g) * q, 2 * int(r) * denominator) for g, r in zip(gaps, rates, strict=True) if r > 0]
    step = min([*steps, Fraction(1)])
    return last, tuple(entry + step * towards for entry, towards in zip(point, direction, strict=True))


def _certificates(rows: Array, candidates: list[int], support: list[int]) -> dict[int, dict[int, Fraction]]:
    """Return the candidates that a convex combination of the functions in ``support`` dominates, with exact weights.

    The functions must be independent, as those in a corner of the envelope or of a linear program are; otherwise
    nothing is returned. The weights w solve A w = b with a column (1, slopes) for each of them, so w = (A' A)^-1 A' b.
    """
    columns = np.concatenate([np.ones((1, len(support)), dtype=object), rows[support, 1:].T])
    inverted = invert(columns.T @ columns)
    if inverted is None:
        return {}
    numerators, denominator = inverted
    right = np.concatenate([np.ones((1, len(candidates)), dtype=object), rows[candidates, 1:].T])
    weights = numerators @ (columns.T @ right)
    proved = (weights >= 0).all(axis=0) & (columns @ weights == denominator * right).all(axis=0)
    proved &= rows[support, 0] @ weights >= denominator * rows[candidates, 0]
    found = {}
    for number in np.flatnonzero(proved):
        shares = zip(support, weights[:, number], strict=True)
        found[candidates[number]] = {row: Fraction(share, denominator) for row, share in shares if share}
    return found
