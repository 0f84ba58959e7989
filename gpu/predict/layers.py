"""A map as layers for torch, with the preprocessing of bytes folded in, and what rounding can do to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gpu.collapsing.preprocessing import preprocessing_operations
from gpu.predict.digit_slices import BRIGHTEST, UNIT_ROUNDOFF, Planes
from linalg_cnn import AffineMap, FactoredMap
from linalg_cnn.types import Array

Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Weight (out, in) and bias (out,) of each factor, the innermost first."""


def factors_of(affine: AffineMap | FactoredMap) -> list[AffineMap]:
    """Return the factors of a map, dense and in float64, the innermost first.

    Raises
    ------
    TypeError
        If it is no map of numbers.
    """
    if not isinstance(affine, AffineMap | FactoredMap) or (isinstance(affine, AffineMap) and affine.symbolic):
        raise TypeError(f"affine: expected an AffineMap or a FactoredMap of numbers, got {affine!r}")
    outermost_first = [affine] if isinstance(affine, AffineMap) else list(affine.factors)
    return [factor.toarray().astype(np.float64) for factor in reversed(outermost_first)]


def fold(preprocess: Any, factor: AffineMap) -> AffineMap:
    """Return the map that first does to bytes what the transforms do.

    Raises
    ------
    ValueError
        If the transforms are not affine, or the map does not say what shape its input has.
    """
    if preprocess is None:
        return factor
    if factor.in_shape is None:
        raise ValueError("preprocess: expected a map with in_shape, whose first entry is the channels, got one without")
    for operation in reversed(preprocessing_operations(preprocess, factor.in_shape)):
        inner = AffineMap(operation.matrix(factor.in_shape), operation(np.zeros((1, *factor.in_shape))).ravel())
        folded = factor @ inner
        factor = AffineMap(folded.W, folded.B, factor.in_shape, factor.out_shape)
    return factor


def as_layers(factors: Sequence[AffineMap], dtype: torch.dtype, device: torch.device) -> Layers:
    """Return the factors as torch layers.

    Raises
    ------
    ValueError
        If an entry does not fit into the dtype.
    """
    layers = []
    for factor in factors:
        weight, bias = (
            torch.from_numpy(np.ascontiguousarray(part)).to(device, dtype, copy=True) for part in (factor.W, factor.B)
        )
        if not (torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            largest = max(np.abs(factor.W).max(), np.abs(factor.B).max())
            raise ValueError(f"affine: expected entries that fit {dtype}, got one as large as {largest:.3g}")
        layers.append((weight, bias))
    return layers


def error_bound(factors: Sequence[AffineMap], planes: Planes | None) -> Array:
    """Return how far each score of an image of bytes can be from the map's, in float32: float64 (out_size,).

    Parameters
    ----------
    factors : sequence of AffineMap
        For bytes, the innermost first.
    planes : Planes or None
        What the innermost is multiplied by, exactly, instead of its W in float32.

    Notes
    -----
    A sum of n products is off by at most gamma_{n + 2} times the sum of their magnitudes, whatever the order, the
    rounding of W included: gamma_k = k u / (1 - k u), u = 2^-24 (N. Higham, Accuracy and Stability of Numerical
    Algorithms, section 3.1). It is taken for all images at once, each pixel between 0 and 255.
    """
    size, error = np.full(factors[0].in_size, float(BRIGHTEST)), np.zeros(factors[0].in_size)
    for number, factor in enumerate(factors):
        exact = planes is not None and number == 0
        magnitude = np.abs(factor.W)
        inherited = planes.error if exact and planes is not None else magnitude @ error
        size = magnitude @ size + np.abs(factor.B)
        terms = 1 if exact else factor.in_size + 2
        error = inherited + terms * UNIT_ROUNDOFF / (1 - terms * UNIT_ROUNDOFF) * (size + inherited)
    return error
