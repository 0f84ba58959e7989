"""Rigorous bounds on rounding errors, and the one of a map that is evaluated in another dtype."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from linalg_cnn import AffineMap
from linalg_cnn.types import Array

BLOCK = 2**18
"""Number of entries of W that the bound reads at a time, to avoid temporaries as large as W."""
DOUBLE_ROUNDOFF = 2.0**-53


def unit_roundoff(dtype: torch.dtype) -> float:
    """Return the largest relative error of rounding to a dtype.

    Examples
    --------
    >>> unit_roundoff(torch.float32) == 2**-24
    True
    """
    return torch.finfo(dtype).eps / 2


def gamma(n: int, u: float) -> float:
    """Return gamma_n = n u / (1 - n u): the bound on the relative error of n roundings; infinite where n u >= 1.

    Notes
    -----
    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.

    Examples
    --------
    >>> gamma(2, 0.25), gamma(4, 0.25)
    (1.0, inf)
    """
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def summation_bound(n: int, u: float, magnitudes: Array) -> Array:
    """Return the bound on the error of sums, each term of which is rounded n times at most.

    Parameters
    ----------
    n : int
        Number of roundings; for a sum of products in any order, the number of terms.
    u : float
        Unit roundoff.
    magnitudes : float64 array
        Sums of the absolute values of the terms.

    Examples
    --------
    >>> summation_bound(2, 0.25, np.array([3.0])), summation_bound(4, 0.25, np.array([0.0, 3.0]))
    (array([3.]), array([ 0., inf]))
    """
    factor = gamma(n, u)
    if math.isfinite(factor):
        return factor * magnitudes
    return np.where(magnitudes == 0, 0, np.inf)


def rounding_bound(factors: Sequence[AffineMap], dtype: torch.dtype, x: Array) -> Array:
    """Return a bound on the error of evaluating a map in ``dtype``, for each output of each input.

    For one factor, with W~ and B~ as rounded to the dtype, u its unit roundoff and n the number of inputs::

        |fl(W~ x + B~) - (W x + B)|  <=  |W~ - W| |x| + |B~ - B| + gamma_(n+1) (|W~| |x| + |B~|) + (n + 1) eta

    where gamma_n = n u / (1 - n u) covers any order of summation, and eta is the smallest positive number, for
    products that underflow. With two factors, the error of the inner one is propagated through the outer one. The
    bound holds for products that are accumulated in the dtype or in a wider one. It does not hold for TF32, which
    rounds ``x`` itself. The bound allows for its own float64 arithmetic and for that of the scores it is compared with.

    Parameters
    ----------
    factors : sequence of AffineMap
        The map in float64, the outermost factor first.
    dtype : torch.dtype
        Dtype in which the map is evaluated.
    x : float64 array (N, in_size)
        Inputs that are exact in the dtype, as pixels are; the bound does not cover their rounding.

    Returns
    -------
    float64 array (N, out_size)
        Infinite where there is no bound: where n u >= 1, a dtype too coarse for so long a sum, or where |W~| |x| +
        |B~| is so large that a partial sum may overflow.

    Notes
    -----
    Source: Higham, Accuracy and Stability of Numerical Algorithms, lemma 8.4 and section 3.5.
    """
    value, error = x, np.zeros_like(x)
    for factor in reversed(factors):
        known: Any = np.isfinite(error).all(axis=1, keepdims=True)
        error = np.where(known, error, 0)
        rows = max(1, BLOCK // factor.in_size)
        blocks = [slice(start, start + rows) for start in range(0, factor.out_size, rows)]
        with np.errstate(over="ignore", invalid="ignore"):  # there is no bound where this overflows
            passed = np.concatenate([_bound_of_rows(factor, block, dtype, value, error) for block in blocks], axis=1)
        value, error = factor(value), np.where(known, passed, np.inf)
    return error


def _bound_of_rows(factor: AffineMap, rows: slice, dtype: torch.dtype, value: Array, error: Array) -> Array:
    """Return the bound for some outputs of a factor whose input is off by ``error`` at most."""
    info = torch.finfo(dtype)
    eta, n = float(info.smallest_normal * info.eps), factor.in_size
    exact_W, exact_B = factor.W[rows], factor.B[rows]
    W, B = (_rounded(part, dtype) for part in (exact_W, exact_B))
    rounded = np.abs(value) @ np.abs(W - exact_W).T + np.abs(B - exact_B)
    W, B = np.abs(W), np.abs(B)
    passed = error @ W.T
    magnitudes = (np.abs(value) + error) @ W.T + B
    summed = summation_bound(n + 1, unit_roundoff(dtype), magnitudes)
    bound: Array = (passed + rounded + summed + (n + 1) * eta) * (1 + gamma(4 * n + 16, DOUBLE_ROUNDOFF))
    bound += 2 * gamma(n + 1, DOUBLE_ROUNDOFF) * magnitudes
    return np.where(magnitudes + bound < info.max, bound, np.inf)


def _rounded(values: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype).double().numpy()
