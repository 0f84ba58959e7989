"""Products of a kernel's taps with the pixels that they read, stored in the order that suits the channels."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from linalg_cnn.arrays import from_channels, from_pixels, like, to_channels, to_pixels, zeros
from linalg_cnn.types import Array, Shape, size_of

Tap = tuple[Array, tuple[slice, ...], tuple[slice, ...]]

CACHED = 2**15
"""Number of entries of the matrices in one product: a product that is added at once should stay in the cache."""

GATHERED = 2**17
"""Number of entries that are gathered for one product: they are written once and read once, from the cache."""

ADJACENT = 16
"""Least number of vectors that are gathered together, where there are as many: their entries are adjacent in memory."""

FEW_CHANNELS = 16
"""Number of channels below which the product of a single tap is too narrow to be fast."""


def _gathering_pays(channels: int, out_channels: int) -> bool:
    """Return whether copying the few channels of a source for each tap costs less than adding the taps' products."""
    few = out_channels < FEW_CHANNELS or 4 * channels <= out_channels
    return channels <= min(out_channels, FEW_CHANNELS) and few


def _scattering_pays(channels: int, out_channels: int) -> bool:
    """Return whether adding the few channels of the taps' products costs less than a product for each tap."""
    return out_channels < FEW_CHANNELS and (out_channels <= FEW_CHANNELS // 4 or 4 * out_channels <= channels)


def sum_of_taps(x: Any, shape: Shape, taps: list[Tap], weights: Array) -> Any:
    """Return the sum of the taps' products with a batch.

    Parameters
    ----------
    x : ndarray or torch tensor (N, channels, *spatial)
    shape : tuple of int
        Shape of one result, (channels, *spatial).
    taps : list of tuples
        The weights (groups, from, to) of each tap that reads something, the positions of ``x`` that it reads, and the
        positions that it writes to.
    weights : ndarray
        Weights of all taps, for the dtype of the result.

    Returns
    -------
    ndarray or torch tensor (N, *shape)
    """
    if taps and len(taps[0][0]) == 1:
        wide = (*shape, len(x))
        if _gathering_pays(x.shape[1], shape[0]) and _mostly_written(taps, shape):
            return from_channels(_gather_all_taps(to_channels(x), zeros(wide, x, weights), taps))
        if _scattering_pays(x.shape[1], shape[0]):
            return from_channels(_scatter_all_taps(to_pixels(x), zeros(wide, x, weights), taps))
    source = to_pixels(x)
    target = zeros((*shape[1:], len(x), shape[0]), x, weights)
    kernels = [like(kernel, x) for kernel, _, _ in taps]
    for number, read, written in _blocks(taps, target.shape, source.shape[-1]):
        kernel, pixels = kernels[number], source[read]
        mixed = _mix_channels(pixels.reshape(-1, *kernel.shape[:2]), kernel)
        target[written] += mixed.reshape(*pixels.shape[:-1], shape[0])
    return from_pixels(target)


def _mostly_written(taps: list[Tap], shape: Shape) -> bool:
    """Return whether a tap writes to at least half of the positions on average: not so where strides are undone."""
    writes = sum(size_of(tuple(len(range(*run.indices(run.stop))) for run in written)) for _, _, written in taps)
    return 2 * writes >= len(taps) * size_of(shape[1:])


def _gather_all_taps(source: Any, target: Any, taps: list[Tap]) -> Any:
    """Write the products of all taps to the target (channels, *spatial, N), computed as one matrix product; return it.

    What the taps read is copied to one array (taps, channels, *spatial, N), with zeros where a tap reads nothing. This
    costs less than adding the products of each tap if the source has no more channels than the target.
    """
    kernel = like(np.concatenate([weights[0] for weights, _, _ in taps]).T, source)
    height, *width, count = target.shape[1:]
    per_row = kernel.shape[1] * size_of(tuple(width))
    vectors = max(1, min(max(ADJACENT, GATHERED // per_row), count))
    rows = min(max(1, GATHERED // (per_row * vectors)), height)
    plan = [_gathering(taps, start, min(start + rows, height)) for start in range(0, height, rows)]
    for first in range(0, count, vectors):
        read_from, goal = source[..., first : first + vectors], target[..., first : first + vectors]
        gathered = zeros((len(taps), len(source), rows, *goal.shape[2:]), source)
        before = plan[0][2]
        for written, reads, places in plan:
            if places != before:
                gathered[...] = 0
                before = places
            for place, read in zip(places, reads, strict=True):
                gathered[place] = read_from[read]
            part = goal[:, written]
            part[...] = (kernel @ gathered[:, :, : part.shape[1]].reshape(kernel.shape[1], -1)).reshape(part.shape)
    return target


def _gathering(taps: list[Tap], start: int, stop: int) -> tuple[slice, list[Any], list[Any]]:
    """Return some rows of the target, the parts of the source that their taps read, and where these are copied to."""
    parts = list(_parts(taps, start, stop))
    reads = [(slice(None), *read) for _, read, _ in parts]
    places = [(number, slice(None), _moved(run, -start), *rest) for number, _, (run, *rest) in parts]
    return slice(start, stop), reads, places


def _scatter_all_taps(source: Any, target: Any, taps: list[Tap]) -> Any:
    """Add the products of all taps to the target (channels, *spatial, N), as one matrix product, and return it.

    This multiplies some pixels by taps that do not read them, which costs less than a wider matrix saves.
    """
    channels = len(target)
    weights = like(np.concatenate([weights[0] for weights, _, _ in taps], axis=1), source).T
    rows = max(1, CACHED // max(size_of(source.shape[1:-1]) * len(weights), 1))
    for start in range(0, len(source), rows):
        part = source[start : start + rows]
        mixed = weights @ part.reshape(-1, part.shape[-1]).T
        mixed = mixed.reshape(len(taps), channels, *part.shape[:-1])
        for number, (_, (first, *others), (written, *rest)) in enumerate(taps):
            # Along the first axis, this part holds the tap's positions from low to high.
            low = max(0, -(-(start - first.start) // first.step))
            high = min(len(range(*first.indices(len(source)))), -(-(start + len(part) - first.start) // first.step))
            if low < high:
                here, there = _part(first, low, high), _part(written, low, high)
                here = slice(here.start - start, here.stop - start, here.step)
                target[:, there, *rest] += mixed[number][:, here, *others]
    return target


def _blocks(taps: list[Tap], shape: Shape, channels: int) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Yield (number of a tap, part of the source, part of the target) for a few rows of the target after the other.

    All taps write to some rows before the next rows, so that these stay in the cache. ``channels`` is the number of the
    source's.
    """
    rows = max(1, CACHED // max(size_of(shape[1:-1]) * max(shape[-1], channels), 1))
    for start in range(0, shape[0], rows):
        yield from _parts(taps, start, min(start + rows, shape[0]))


def _parts(taps: list[Tap], start: int, stop: int) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Yield (number of a tap, part of the source, part of the target) of the taps that write to some of the rows."""
    for number, (_, (read, *others), (written, *rest)) in enumerate(taps):
        # Of the positions that the tap writes to along the first axis, the rows hold those from low to high.
        low = max(0, -(-(start - written.start) // written.step))
        high = min(len(range(*written.indices(stop))), -(-(stop - written.start) // written.step))
        if low < high:
            yield number, (_part(read, low, high), *others), (_part(written, low, high), *rest)


def _part(run: slice, start: int, stop: int) -> slice:
    return slice(run.start + start * run.step, run.start + (stop - 1) * run.step + 1, run.step)


def _moved(run: slice, by: int) -> slice:
    return slice(run.start + by, run.stop + by, run.step)


def _mix_channels(pixels: Any, weights: Any) -> Any:
    """Return (M, groups, to) of pixels (M, groups, from) and weights (groups, from, to)."""
    groups, *channels = weights.shape
    if groups == 1:
        return pixels[:, 0] @ weights[0]
    if channels == [1, 1]:  # depthwise: a matrix product would work group by group
        return pixels[:, :, 0] * weights[:, 0, 0]
    return (pixels.swapaxes(0, 1) @ weights).swapaxes(0, 1)
