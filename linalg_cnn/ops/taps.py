"""The base of convolution and transposed convolution: a kernel whose taps each read some of the pixels."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar

import numpy as np

from linalg_cnn.arrays import from_pixels, like, permute, to_pixels, zeros
from linalg_cnn.entries import Entries, count_entries, row_starts
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.rules import AxisRule, blocks, join_sources, join_taps, tap_slices
from linalg_cnn.types import Array, Shape, index_dtype, size_of


class TapOperation(Operation):
    """An operation y[c_out, p] = sum over c_in and t of weights[c_out, c_in, t] x[c_in, sources(p, t)].

    One rule per spatial axis says which input each output position reads with each tap.
    """

    groups: int
    bias: Any

    rule: ClassVar[Callable[..., AxisRule]]
    """Function that returns the rule of a spatial axis from the arguments that `axes` lists for it."""

    @abstractmethod
    def axes(self, in_shape: Shape) -> list[tuple[Any, ...]]:
        """Return the arguments of the rule for each spatial axis, or raise a ValueError that says what does not fit."""

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return one rule per spatial axis, or raise a ValueError that says why the shape does not fit."""
        return [type(self).rule(*axis) for axis in self.axes(in_shape)]

    @property
    @abstractmethod
    def weights(self) -> Array:
        """Weights (C_out, C_in / groups, *taps), with the taps in the order of the rules."""

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return (C_out, *out)."""
        return (len(self.weights), *(rule.out_size for rule in self.rules(in_shape)))

    def offset(self, in_shape: Shape) -> Array | None:
        """Return the bias of each channel."""
        return None if self.bias is None else self.bias.reshape(-1, *(1,) * (self.weights.ndim - 2))

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of taps that read a pixel, over all output positions and pairs of connected channels."""
        c_out, per_group = self.weights.shape[:2]
        return int(c_out * per_group * count_entries(self.rules(in_shape)))

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return a weight for each tap of an output position that reads a pixel.

        The rows of one output channel are built once, ordered by position, input channel and tap. The other output
        channels have the same columns, within their group, and other values.
        """
        rules = self.rules(in_shape)
        c_out, per_group, *kernel_size = self.weights.shape
        pixels = size_of(in_shape[1:])
        per_channel = per_group * count_entries(rules)
        index = index_dtype(c_out * per_channel, size_of(in_shape))
        canonical = all(rule.is_sorted for rule in rules)
        counts = [rule.reads for rule in rules]

        columns = np.empty(per_channel, index)
        chosen = np.empty(len(columns), np.int32)  # the number of each entry's weight in its output channel
        of_channel = np.arange(per_group, dtype=np.int32)[:, np.newaxis] * np.int32(size_of(tuple(kernel_size)))
        first_column = np.arange(per_group, dtype=index)[:, np.newaxis] * index(pixels)
        end = 0
        for block in blocks(rules, times=per_group):
            sources, taps = join_sources(block), join_taps(block, tuple(kernel_size))
            reads = np.broadcast_to((sources >= 0)[:, np.newaxis, :], (len(sources), per_group, sources.shape[1]))
            start, end = end, end + per_group * int(np.count_nonzero(sources >= 0))
            columns[start:end] = (first_column + sources[:, np.newaxis, :])[reads]
            chosen[start:end] = np.broadcast_to(of_channel + taps[:, np.newaxis, :], reads.shape)[reads]
        positions = size_of(tuple(len(count) for count in counts))
        del rules, block  # as large as the result if there is one axis and one channel

        weights = (to_exact(self.weights) if exact else self.weights).reshape(c_out, -1)
        values = np.take(weights, chosen, axis=1).ravel()
        del chosen
        group_starts = np.arange(c_out, dtype=index) // index(c_out // self.groups) * index(per_group * pixels)
        return Entries(
            shape=(c_out * positions, size_of(in_shape)),
            starts=row_starts([np.full(c_out, per_group, index), *counts], index),
            columns=columns if c_out == 1 else np.add.outer(group_starts, columns).ravel(),
            values=values,
            canonical=canonical,
        )

    def push(self, x: Any) -> Any:
        """Return A x: one matrix product per kernel tap, on the pixels that it reads."""
        in_shape = tuple(x.shape[1:])
        taps = [(weights.swapaxes(1, 2), ins, outs) for weights, outs, ins in self._taps(in_shape)]
        return self._carry(x, self.out_shape(in_shape), taps)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y: the same products with the weights of each tap transposed."""
        return self._carry(y, in_shape, list(self._taps(in_shape)))

    def _taps(self, in_shape: Shape) -> Iterator["Tap"]:
        """Yield (weights (groups, C_out/groups, C_in/groups), output slices, input slices) of each tap."""
        weights = self.weights.reshape(self.groups, -1, *self.weights.shape[1:])
        runs = [
            _tap_runs(type(self).rule, size, axis)
            for size, axis in zip(self.weights.shape[2:], self.axes(in_shape), strict=True)
        ]
        for along_axes in product(*runs):
            taps, outputs, inputs = zip(*along_axes, strict=True)
            yield weights[:, :, :, *taps], outputs, inputs

    def _carry(self, x: Any, shape: Shape, taps: list["Tap"]) -> Any:
        """Return the sum of the taps' products, in ``shape``; each has (weights (groups, from, to), source, target)."""
        source = to_pixels(x)
        if self.groups == 1 and shape[0] < FEW_CHANNELS and taps:
            target = zeros((shape[0], *shape[1:], len(x)), x, self.weights)
            _add_all_taps(source, target, taps)
            return permute(target, (target.ndim - 1, *range(target.ndim - 1)))
        target = zeros((*shape[1:], len(x), shape[0]), x, self.weights)
        kernels = [like(weights, x) for weights, _, _ in taps]
        for number, read, written in _blocks(taps, target.shape, source.shape[-1]):
            weights, pixels = kernels[number], source[read]
            mixed = _mix_channels(pixels.reshape(-1, self.groups, weights.shape[1]), weights)
            target[written] += mixed.reshape(*pixels.shape[:-1], shape[0])
        return from_pixels(target)


Tap = tuple[Array, tuple[slice, ...], tuple[slice, ...]]

CACHED = 2**15
"""Number of entries of the matrices in one product: a product that is added at once should stay in the cache."""


FEW_CHANNELS = 16
"""Number of output channels below which the product of a single tap is too narrow to be fast."""


@lru_cache(maxsize=256)
def _tap_runs(rule: Callable[..., AxisRule], taps: int, axis: tuple[Any, ...]) -> list[tuple[int, slice, slice]]:
    """Return (tap, outputs, inputs) of each tap that reads something along an axis; networks repeat the same axes."""
    table = rule(*axis)
    return [(tap, *run) for tap in range(taps) if (run := tap_slices(table, tap))]


def tap_by_tap(kernel: Array) -> Array:
    """Return a copy of a kernel (C, C, *k) with the weights of a tap adjacent in memory, as the products read them."""
    taps_first = np.array(kernel.transpose(*range(2, kernel.ndim), 0, 1), order="C")
    return taps_first.transpose(-2, -1, *range(kernel.ndim - 2))


def _add_all_taps(source: Any, target: Any, taps: list[Tap]) -> None:
    """Add the products of all taps to the target (channels, *spatial, N), computed as one matrix product.

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


def _blocks(taps: list[Tap], shape: Shape, channels: int) -> Iterator[tuple[int, tuple[slice, ...], tuple[slice, ...]]]:
    """Yield (number of a tap, part of the source, part of the target) for a few rows of the target after the other.

    All taps write to some rows before the next rows, so that these stay in the cache. ``channels`` is the number of the
    source's.
    """
    rows = max(1, CACHED // max(size_of(shape[1:-1]) * max(shape[-1], channels), 1))
    for start in range(0, shape[0], rows):
        for number, (_, (read, *others), (written, *rest)) in enumerate(taps):
            # Of the positions that the tap writes to along the first axis, the rows hold those from low to high.
            low = max(0, -(-(start - written.start) // written.step))
            high = min(len(range(*written.indices(shape[0]))), -(-(start + rows - written.start) // written.step))
            if low < high:
                yield number, (_part(read, low, high), *others), (_part(written, low, high), *rest)


def _part(run: slice, start: int, stop: int) -> slice:
    return slice(run.start + start * run.step, run.start + (stop - 1) * run.step + 1, run.step)


def _mix_channels(pixels: Any, weights: Any) -> Any:
    """Return (M, groups, to) of pixels (M, groups, from) and weights (groups, from, to)."""
    groups, *channels = weights.shape
    if groups == 1:
        return pixels[:, 0] @ weights[0]
    if channels == [1, 1]:  # depthwise: a matrix product would work group by group
        return pixels[:, :, 0] * weights[:, 0, 0]
    return (pixels.swapaxes(0, 1) @ weights).swapaxes(0, 1)
