"""A rigorous bound on what rounding does to a map that is evaluated in another dtype."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from linalg_cnn import AffineMap
from linalg_cnn.types import Array

BLOCK = 2**18
"""How many entries of W the bound is computed from at a time, so that it needs no second W."""


def rounding_bound(factors: Sequence[AffineMap], dtype: torch.dtype, x: Array) -> Array:
    """Return a bound on the error of evaluating a map in ``dtype``, for each output of each input.

    For one factor, with W~ and B~ as rounded to the dtype, u its unit roundoff and n the number of inputs::

        |fl(W~ x + B~) - (W x + B)|  <=  |W~ - W| |x| + |B~ - B| + gamma_(n+1) (|W~| |x| + |B~|) + (n + 1) eta

    where gamma_n = n u / (1 - n u) covers any order of summation, and eta is the smallest positive number, for
    products that underflow. Of two factors, the inner one's error passes through the outer one. It holds for
    products that are accumulated in the dtype or in a wider one; TF32 rounds ``x`` itself, so it must be off. The
    float64 arithmetic of the bound itself and of what it is compared with is allowed for.

    Parameters
    ----------
    factors : sequence of AffineMap
        float64, the outermost first.
    dtype : torch.dtype
    x : float64 array (N, in_size)
        Exact in the dtype, as pixels are; what rounding the input costs is not part of it.

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
        with np.errstate(over="ignore", invalid="ignore"):  # then there is no bound
            passed = np.concatenate([_bound_of_rows(factor, block, dtype, value, error) for block in blocks], axis=1)
        value, error = factor(value), np.where(known, passed, np.inf)
    return error


def _bound_of_rows(factor: AffineMap, rows: slice, dtype: torch.dtype, value: Array, error: Array) -> Array:
    """Return the bound for some outputs of a factor, given a value that is off by ``error`` at most."""
    info = torch.finfo(dtype)
    u, eta, n = info.eps / 2, float(info.smallest_normal * info.eps), factor.in_size
    exact_W, exact_B = factor.W[rows], factor.B[rows]
    W, B = (_rounded(part, dtype) for part in (exact_W, exact_B))
    rounded = np.abs(value) @ np.abs(W - exact_W).T + np.abs(B - exact_B)
    W, B = np.abs(W), np.abs(B)
    passed = error @ W.T
    absolute = (np.abs(value) + error) @ W.T + B  # of what this factor is given, at most
    gamma = _gamma(n + 1, u)
    summed = gamma * absolute if math.isfinite(gamma) else np.where(absolute == 0, 0, np.inf)
    bound: Array = (passed + rounded + summed + (n + 1) * eta) * (1 + _gamma(4 * n + 16, 2.0**-53))
    bound += 2 * _gamma(n + 1, 2.0**-53) * absolute
    return np.where(absolute + bound < info.max, bound, np.inf)


def _gamma(n: int, u: float) -> float:
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def _rounded(values: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype).double().numpy()
