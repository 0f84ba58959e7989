"""A map as layers for torch, with the preprocessing of bytes folded in, and a bound on its rounding errors."""

from collections.abc import Sequence

import numpy as np
import torch

from gpu.collapsing.casting import cast_map
from gpu.collapsing.rounding import summation_bound
from gpu.predict.digit_slices import BRIGHTEST, UNIT_ROUNDOFF, DigitSlices
from linalg_cnn import AffineMap, FactoredMap, Scale
from linalg_cnn.types import Array

Layers = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Weight (out_size, in_size) and bias (out_size,) of each factor, the innermost first."""


def factors_of(affine: AffineMap | FactoredMap) -> list[AffineMap]:
    """Return the factors of a map, dense and in float64, the innermost first."""
    outermost_first = [affine] if isinstance(affine, AffineMap) else list(affine.factors)
    return [factor.toarray().astype(np.float64) for factor in reversed(outermost_first)]


def fold(operations: Sequence[Scale], factor: AffineMap) -> AffineMap:
    """Return the map that applies the operations to its input first."""
    shape = (1, factor.in_size) if factor.in_shape is None else factor.in_shape
    for operation in reversed(operations):
        inner = AffineMap(operation.matrix(shape), operation(np.zeros((1, *shape))).ravel())
        folded = factor @ inner
        factor = AffineMap(folded.W, folded.B, factor.in_shape, factor.out_shape)
    return factor


def as_layers(factors: Sequence[AffineMap], dtype: torch.dtype, device: torch.device) -> Layers:
    """Return the factors as torch layers.

    Raises
    ------
    ValueError
        If an entry is too large for the dtype.
    """
    return [cast_map(factor, dtype, device, "affine: expected entries that fit") for factor in factors]


def error_bound(factors: Sequence[AffineMap], slices: DigitSlices | None) -> Array:
    """Return the bound on the distance of a score in float32 from the map's, float64 (out_size,).

    It holds for all images of bytes, each pixel between 0 and 255.

    Parameters
    ----------
    factors : sequence of AffineMap
        The map of bytes, the innermost factor first.
    slices : DigitSlices or None
        Slices that bytes are multiplied by, exactly, instead of the innermost W in float32.

    Notes
    -----
    A sum of n products is off by at most gamma_(n + 2) times the sum of their magnitudes, whatever the order, the
    rounding of W and of the bias included; with slices, the sum is rounded once. Source: N. Higham, Accuracy and
    Stability of Numerical Algorithms, section 3.1.
    """
    size, error = np.full(factors[0].in_size, float(BRIGHTEST)), np.zeros(factors[0].in_size)
    for number, factor in enumerate(factors):
        magnitude = np.abs(factor.W)
        exact = slices if number == 0 else None
        inherited = magnitude @ error if exact is None else exact.error
        roundings = factor.in_size + 2 if exact is None else 1
        size = magnitude @ size + np.abs(factor.B)
        error = inherited + summation_bound(roundings, UNIT_ROUNDOFF, size + inherited)
    return error
