"""Scores of a map, and how far scores are apart."""

from collections.abc import Sequence

import numpy as np

from linalg_cnn import AffineMap
from linalg_cnn.types import Array


def apply_factors(factors: Sequence[AffineMap], x: Array) -> Array:
    """Return the map's float64 scores of rows of inputs, factor by factor, the innermost first."""
    for factor in reversed(factors):
        x = factor(x)
    return x


def against(ours: Array, theirs: Array, scale: float) -> dict[str, float]:
    """Return the largest difference, absolute and relative to the scale, or to 1 where that is zero."""
    largest = float(distances(ours, theirs).max(initial=0))
    return {"largest": largest, "relative": largest / (scale or 1.0)}


def distances(ours: Array, theirs: Array) -> Array:
    """Return absolute differences, infinite where a score has overflowed."""
    with np.errstate(invalid="ignore"):
        found = np.abs(ours - theirs)
    return np.where(np.isnan(found), np.inf, found)


def columns_of(factors: Sequence[AffineMap], columns: Array) -> Array:
    """Return columns of W, given by their indices."""
    W: Array = factors[-1].W[:, columns]
    for factor in reversed(factors[:-1]):
        W = factor.W @ W
    return W
