"""Sampling of images at the positions of a constant grid: ``grid_sample`` and ``affine_grid``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpu.tracing.builder import GraphBuilder
from gpu.tracing.constants import without_samples
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value, images
from linalg_cnn import AxisDense, AxisSparse, Permute
from linalg_cnn.types import Array, IntArray, Shape, size_of

Node = torch.fx.Node

BILINEAR, NEAREST, BICUBIC = range(3)
ZEROS, BORDER, REFLECTION = range(3)
"""torch's numbers of the interpolations and of the paddings."""

CUBIC = -0.75
"""Parameter of the cubic convolution kernel in torch."""

OUTSIDE = -1


def grid_sample(
    builder: GraphBuilder, node: Node, x: Any, grid: Any, interpolation: int, padding: int, corners: bool
) -> Value:
    """``grid_sampler``, ``grid_sampler_2d``, ``grid_sampler_3d``: each output reads a few pixels around its position.

    Raises
    ------
    Refusal
        If the grid depends on the data, is not finite, or differs between samples; or if torch picks other pixels for
        float64 images.
    """
    if isinstance(grid, Value):
        raise Refusal(f"{name_of(node)} samples at positions that depend on the data")
    if not torch.isfinite(grid).all():
        raise Refusal(f"{name_of(node)} samples at positions that are NaN or infinite")
    x, grid = images(x, grid.ndim - 2), without_samples(grid, 0)
    sizes = x.shape[1:]
    if interpolation == NEAREST:
        pixels = _nearest(node, grid, sizes, padding, corners)
        weights = np.ones(pixels.shape)
    else:
        pixels, weights = _weighted(grid.double().numpy(), sizes, interpolation, padding, corners)
    shown = pixels != OUTSIDE
    matrix = AxisSparse(np.nonzero(shown)[0], pixels[shown], weights[shown], (len(pixels), size_of(sizes)), 1)
    flat = builder.reshape(x, (x.shape[0], size_of(sizes)), 0)
    return builder.reshape(builder.add(matrix, flat), (x.shape[0], *grid.shape[1:-1]), 0)


def _nearest(node: Node, grid: torch.Tensor, sizes: Shape, padding: int, corners: bool) -> IntArray:
    """Return the pixel (positions, 1) that torch picks for each position, found by sampling the pixels' numbers.

    Raises
    ------
    Refusal
        If it picks others for float64 images than for the images of the network.
    """
    numbers = torch.arange(1.0, size_of(sizes) + 1, dtype=torch.float64).reshape(1, 1, *sizes)
    dtypes = {torch.float64, torch.promote_types(node.meta["val"].dtype, torch.float32)}
    picked = [
        torch.grid_sampler(numbers.to(dtype), grid.to(dtype), NEAREST, padding, corners).long().numpy().reshape(-1, 1)
        for dtype in dtypes
    ]
    if not np.array_equal(picked[0], picked[-1]):
        raise Refusal(f"{name_of(node)} picks other pixels for float64 images than for float32 images")
    return picked[0] - 1


def _weighted(grid: Array, sizes: Shape, interpolation: int, padding: int, corners: bool) -> tuple[IntArray, Array]:
    """Return the pixels that each position reads and their weights, (positions, taps) each: the taps of all axes."""
    taps = _linear_taps if interpolation == BILINEAR else _cubic_taps
    count = size_of(grid.shape[:-1])
    pixels: Array = np.zeros((count, 1), np.int64)
    weights: Array = np.ones((count, 1))
    # torch lists the last axis first
    for size, position in zip(sizes, grid.reshape(count, -1).T[::-1], strict=True):
        sources, shares = taps(_to_pixels(position, size, corners), size, padding, corners)
        outside = (pixels[:, :, np.newaxis] == OUTSIDE) | (sources[:, np.newaxis] == OUTSIDE)
        joint = np.where(outside, OUTSIDE, pixels[:, :, np.newaxis] * size + sources[:, np.newaxis])
        pixels, weights = (
            table.reshape(count, -1) for table in (joint, weights[:, :, np.newaxis] * shares[:, np.newaxis])
        )
    return pixels, weights


def _to_pixels(position: Array, size: int, corners: bool) -> Array:
    """Return positions from -1 to 1, between the centres or the outer edges of the first and the last pixel."""
    return (position + 1) / 2 * (size - 1) if corners else ((position + 1) * size - 1) / 2


def _linear_taps(position: Array, size: int, padding: int, corners: bool) -> tuple[IntArray, Array]:
    """Return the two pixels around each position along one axis, and their weights."""
    position = _padded(position, size, padding, corners)
    low = np.floor(position)
    sources = low[:, np.newaxis] + np.arange(2)
    return _inside(sources, size), np.stack([low + 1 - position, position - low], axis=1)


def _cubic_taps(position: Array, size: int, padding: int, corners: bool) -> tuple[IntArray, Array]:
    """Return the four pixels around each position along one axis, each moved into the image, and their weights."""
    low = np.floor(position)[:, np.newaxis]
    sources = low + np.arange(-1, 3)
    distance = np.abs(position[:, np.newaxis] - sources)
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return _inside(_padded(sources, size, padding, corners), size), np.where(distance <= 1, near, far)


def _padded(position: Array, size: int, padding: int, corners: bool) -> Array:
    """Return positions moved into the image, as the padding says; with zeros they stay."""
    if padding == ZEROS:
        return position
    if padding == REFLECTION:
        first, span = (0.0, size - 1) if corners else (-0.5, size)
        if span == 0:
            return np.zeros_like(position)
        away = np.abs(position - first)
        flips, rest = np.floor(away / span), np.fmod(away, span)
        position = first + np.where(flips % 2 == 0, rest, span - rest)
    return np.clip(position, 0, size - 1)


def _inside(sources: Array, size: int) -> IntArray:
    """Return the numbers of pixels, `OUTSIDE` for those that are zeros of the padding."""
    shown = (sources >= 0) & (sources < size)
    return np.where(shown, sources, OUTSIDE).astype(np.int64)


def affine_grid(builder: GraphBuilder, node: Node, theta: Any, size: Any, corners: bool) -> Value:
    """``affine_grid_generator`` of matrices that depend on the data, in which the grid is linear.

    Raises
    ------
    Refusal
        If the matrices of the samples do not come first.
    """
    theta = images(theta)
    sizes = tuple(size[2:])
    unit = torch.eye(len(sizes), len(sizes) + 1, dtype=torch.float64)[None]
    places = torch.ops.aten.affine_grid_generator(unit, [1, 1, *sizes], corners).reshape(-1, len(sizes))
    base = np.concatenate([places.numpy(), np.ones((len(places), 1))], axis=1)
    grid = builder.add(Permute((1, 0)), builder.add(AxisDense(base, None, 1), theta))
    return builder.reshape(grid, (*sizes, len(sizes)), 0)


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), grid_sample),
    "affine_grid_generator": affine_grid,
}
