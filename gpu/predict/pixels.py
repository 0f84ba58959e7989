"""The pixels that a map takes, as its `meta` says: how bytes are prepared, and which floats are prepared otherwise."""

import warnings
from typing import Any

import numpy as np
import torch

from gpu.collapsing.preprocessing import preprocessing_operations
from linalg_cnn import AffineMap, FactoredMap, Scale
from linalg_cnn.meta import BRIGHTEST, NETWORK, preparation, takes_pixels

CHECKED_IMAGES = 8
"""Number of images of a batch of floats that are looked at: what is prepared wrongly is so from the first one on, and
looking at all would take longer than predicting them."""
MARGIN = 0.25
"""Part of the expected range by which floats may be outside: resizing overshoots by less."""
DARK = 5.0
"""Largest number in images that were scaled to [0, 1] or normalised; pictures of this few grey levels are black."""


def byte_operations(affine: AffineMap | FactoredMap, preprocess: Any) -> list[Scale] | None:
    """Return the operations that bytes take before the map, from the caller's transforms or from the map's own meta.

    Returns
    -------
    list of Scale, or None if it is not known how bytes are prepared

    Raises
    ------
    ValueError
        If the transforms are not affine, the map does not say what shape its input has, or the map says itself how
        its pixels are prepared.
    """
    meta, shape = affine.meta, affine.in_shape
    if preprocess is not None:
        if meta is not None and takes_pixels(meta):
            raise ValueError(
                f"preprocess: expected none for a map that says which pixels it takes (pixel_scale "
                f"{meta['pixel_scale']:g}), got {preprocess!r}, which would prepare them twice; leave it out, or "
                "give affine.with_meta(pixel_scale=None, mean=None, std=None) if the map is wrong"
            )
        if shape is None:
            raise ValueError(
                "preprocess: expected a map with in_shape, whose first entry is the channels, got one without"
            )
        return preprocessing_operations(preprocess, shape)
    if meta is not None and meta["pixel_scale"] == NETWORK:
        return None
    prepared = preparation(meta, None if shape is None else shape[0])
    return [] if prepared is None else [Scale(*prepared)]


def expected_range(affine: AffineMap | FactoredMap) -> tuple[float, float] | None:
    """Return the smallest and the largest number that the map expects of its input, or None if it says nothing.

    Examples
    --------
    >>> expected_range(AffineMap([[1.0]], [0.0], meta={"pixel_scale": 1, "mean": 0.5, "std": 0.25}))
    (-2.0, 2.0)
    """
    if not takes_pixels(affine.meta):
        return None
    factor, shift = preparation(affine.meta, None if affine.in_shape is None else affine.in_shape[0]) or (1.0, 0.0)
    ends = np.stack([np.atleast_1d(shift), BRIGHTEST * factor + np.atleast_1d(shift)])
    return float(ends.min()), float(ends.max())


def check_floats(images: torch.Tensor, expected: tuple[float, float]) -> None:
    """Refuse floats that were prepared otherwise than the map expects.

    The first images of a batch on the CPU are looked at; reading those on another device would wait for it.

    Raises
    ------
    ValueError
        If they leave the expected range by more than a part of it, or are small fractions, which were scaled.

    Warns
    -----
    UserWarning
        If they are small whole numbers: of nearly black pictures, or of black and white ones that were scaled.
    """
    if not images.numel() or images.device.type != "cpu":
        return
    checked = images[:CHECKED_IMAGES]
    low, high = (end.item() for end in checked.aminmax())
    lowest, highest = expected
    margin = MARGIN * (highest - lowest)
    dark = highest > 10 * DARK and 0 < high <= DARK
    if low < lowest - margin or high > highest + margin or (dark and not torch.equal(checked, checked.round())):
        raise ValueError(
            f"images: expected floats from about {lowest:.3g} to {highest:.3g}, as the map's meta says, got "
            f"{low:.3g} to {high:.3g}, which were prepared otherwise; give the pixels as uint8, which are prepared here"
        )
    if dark:
        warnings.warn(
            f"images: expected floats from about {lowest:.3g} to {highest:.3g}, as the map's meta says, got whole "
            f"numbers from {low:.3g} to {high:.3g}: nearly black pictures, or pictures that were scaled",
            UserWarning,
            stacklevel=4,
        )
