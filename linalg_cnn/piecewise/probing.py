"""The nearest wall of a region from random directions, which rank the walls before the first ones are measured."""

import numpy as np
from scipy.special import gammaincinv

from linalg_cnn.piecewise.walls import Inequalities, Wall
from linalg_cnn.types import Array, size_of

PROBES = 64
"""Number of random directions."""

MOST = 64
"""Number of walls that are pulled back at most; measuring all walls would then be faster."""

SAME = 1e-12
"""Relative difference of two distances within which they are equal."""


def dual_length(normal: Array, norm: str) -> float:
    """Return by what a slack is divided to get a distance in a norm: the dual norm of the wall's normal."""
    return float(row_lengths(normal.reshape(1, -1))[0] if norm == "l2" else np.abs(normal).sum())


def row_lengths(rows: Array) -> Array:
    """Return the Euclidean length of each row, also where the squares of its entries overflow or vanish.

    Examples
    --------
    >>> row_lengths(np.array([[3e200, 4e200], [3e-200, -4e-200], [0.0, 0.0]]))
    array([5.e+200, 5.e-200, 0.e+000])
    """
    with np.errstate(over="ignore", under="ignore"):
        lengths: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    extreme = ~((lengths > 1e-120) & (lengths < 1e150))
    if extreme.any():
        largest = np.abs(rows[extreme]).max(axis=1, initial=0.0)
        scaled = rows[extreme] / np.where(largest > 0, largest, 1.0)[:, np.newaxis]
        lengths[extreme] = largest * np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
    return lengths


def likely_nearest(
    inequalities: Inequalities, slack: Array, norm: str, failure_probability: float, at_once: int
) -> Wall | None:
    """Return the nearest wall, which is missed with a small probability, or None if too many could be it.

    Random directions d with independent, normally distributed entries estimate the length of each normal a: the sum of
    (a d)^2 over the directions is the square of the length times a chi-square variable. This bounds each distance from
    below. Walls are pulled back and measured in the order of the bounds, until the next bound exceeds the smallest
    distance found.

    Parameters
    ----------
    inequalities : Inequalities
    slack : ndarray (walls,)
        Infinite for walls that do not count.
    norm : {"l2", "linf"}
    failure_probability : float
        Probability, over the directions, that one bound or more does not hold.
    at_once : int
        Number of directions that are pushed through the graph at once.
    """
    shape, rng = inequalities.graph.in_shape, np.random.default_rng(0)
    squares = np.zeros(len(slack))
    for start in range(0, PROBES, at_once):
        squares += inequalities.squares(rng.standard_normal((min(at_once, PROBES - start), *shape)))
    # the quantile of the chi-square variable that one wall stays below with its share of the probability
    quantile = 2 * gammaincinv(PROBES / 2, failure_probability / len(slack))
    longest = np.sqrt(squares / quantile)
    if norm == "linf":
        longest *= np.sqrt(size_of(shape))  # the sum of absolute entries is at most this multiple of the length
    bounds = np.full(len(slack), np.inf)
    np.divide(slack, longest, out=bounds, where=longest > 0)
    best, nearest = None, np.inf
    for number in np.argsort(bounds, kind="stable")[: MOST + 1]:
        if bounds[number] > nearest * (1 + SAME) or not np.isfinite(bounds[number]):
            return best
        wall = inequalities.wall(int(number))
        distance = float(slack[number]) / dual_length(wall.normal, norm)
        first = best is None or number < best.number
        if distance < nearest * (1 - SAME) or (first and distance <= nearest * (1 + SAME)):
            best, nearest = wall, distance
    return None
