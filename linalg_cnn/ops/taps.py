"""The base of convolution and transposed convolution: a kernel whose taps each read some of the pixels."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import product
from typing import Any, ClassVar, NamedTuple

import numpy as np

from linalg_cnn.arrays import computed_once, library
from linalg_cnn.entries import Entries, count_entries, row_starts
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.tap_products import Tap, sum_of_taps
from linalg_cnn.rules import AxisRule, blocks, join_sources, join_taps, tap_slices
from linalg_cnn.types import Array, Shape, index_dtype, size_of


class Windows(NamedTuple):
    """Windows over an axis that torch pads with as many zeros on both sides.

    Attributes
    ----------
    number : int
        Number of windows.
    size : int
        Number of positions of the axis.
    padding : int
        Number of zeros on each side.
    rest : int
        Number of positions of the padded axis behind the last window. If it is negative, that many zeros are missing.
    """

    number: int
    size: int
    padding: int
    rest: int


class TapOperation(Operation):
    """An operation y[c_out, p] = sum over c_in and t of weights[c_out, c_in, t] x[c_in, sources(p, t)].

    One rule per spatial axis says which input each output position reads with each tap.
    """

    kernel: Any
    groups: int
    bias: Any
    stride: Any
    dilation: Any

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

    @abstractmethod
    def windows(self, in_shape: Shape) -> list[Windows]:
        """Return the windows along each axis: of the convolution that this is, or whose transpose this is."""

    def live_kernel(self, in_shape: Shape) -> tuple[Array, list[Windows]]:
        """Return the part of the kernel that torch's convolution gets, and its windows along each axis.

        On a small image, most taps of a kernel may read nothing but padding: they are not copied to the device.
        """
        live: tuple[Array, list[Windows]] = computed_once(
            self, ("live kernel", in_shape), lambda: self._live_kernel(in_shape)
        )
        return live

    def _live_kernel(self, in_shape: Shape) -> tuple[Array, list[Windows]]:
        sizes = self.kernel.shape[2:]
        axes = zip(self.windows(in_shape), sizes, self.stride, self.dilation, strict=True)
        kept, windows = zip(*(_live_taps(*axis) for axis in axes), strict=True)
        if kept == tuple(slice(0, size) for size in sizes):
            return self.kernel, list(windows)
        # In a copy, the weights of each tap are adjacent as in the whole kernel, and nothing lies between the taps.
        return tap_by_tap(self.kernel[:, :, *kept]), list(windows)

    @abstractmethod
    def convolve(self, x: Any) -> Any:
        """Return A x for a torch tensor by torch's own convolution, exact about borders."""

    @abstractmethod
    def convolve_back(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y for a torch tensor by torch's own convolution, exact about borders."""

    def in_one_call(self, x: Any) -> bool:
        """Return whether torch's own convolution takes an array.

        Tensors are for accelerators, where each tap would be several launches. A CPU's caches prefer tap by tap.
        """
        return not isinstance(x, np.ndarray) and self.kernel.ndim - 2 <= LIBRARY_AXES

    def push(self, x: Any) -> Any:
        """Return A x: one matrix product per kernel tap, on the pixels that it reads; torch's own for a tensor."""
        if self.in_one_call(x):
            return self.convolve(x)
        in_shape = tuple(x.shape[1:])
        taps = [(weights.swapaxes(1, 2), ins, outs) for weights, outs, ins in self._taps(in_shape)]
        return sum_of_taps(x, self.out_shape(in_shape), taps, self.weights)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y: the same products with the weights of each tap transposed; torch's own for a tensor."""
        if self.in_one_call(y):
            return self.convolve_back(y, in_shape)
        return sum_of_taps(y, in_shape, list(self._taps(in_shape)), self.weights)

    def _taps(self, in_shape: Shape) -> Iterator[Tap]:
        """Yield (weights (groups, C_out/groups, C_in/groups), output slices, input slices) of each tap."""
        weights = self.weights.reshape(self.groups, -1, *self.weights.shape[1:])
        runs = [
            _tap_runs(type(self).rule, size, axis)
            for size, axis in zip(self.weights.shape[2:], self.axes(in_shape), strict=True)
        ]
        for along_axes in product(*runs):
            taps, outputs, inputs = zip(*along_axes, strict=True)
            yield weights[:, :, :, *taps], outputs, inputs


LIBRARY_AXES = 3
"""Largest number of spatial axes that torch's convolutions take."""


@lru_cache(maxsize=256)
def _tap_runs(rule: Callable[..., AxisRule], taps: int, axis: tuple[Any, ...]) -> list[tuple[int, slice, slice]]:
    """Return (tap, outputs, inputs) of each tap that reads something along an axis; networks repeat the same axes."""
    table = rule(*axis)
    return [(tap, *run) for tap in range(taps) if (run := tap_slices(table, tap))]


def _live_taps(windows: Windows, taps: int, stride: int, dilation: int) -> tuple[slice, Windows]:
    """Return the taps that torch gets along an axis, and the windows of the kernel of these taps.

    Taps at the ends that read nothing but padding are left out. A tap at the start takes its dilation from the padding,
    which torch makes as wide on both sides; a tap at the end lets that much more of the axis remain behind the last
    window. Taps are kept where the padding does not suffice, the rest would reach the stride, which would be a further
    window, or zeros would be missing that are there for the whole kernel.
    """
    number, size, padding, rest = windows
    live = [
        tap
        for tap in range(taps)
        # the first window whose tap is not before the axis, if it is not behind it
        if (first := max(0, -((tap * dilation - padding) // stride))) < number
        and first * stride - padding + tap * dilation < size
    ]
    before, after = (live[0], taps - 1 - live[-1]) if live else (0, 0)
    before = min(before, padding // dilation, after + (rest - min(rest, 0)) // dilation)
    after = min(after, before + (max(rest, stride - 1) - rest) // dilation)
    kept = Windows(number, size, padding - before * dilation, rest + (after - before) * dilation)
    return slice(before, taps - after), kept


COPIED_TOGETHER = 2**15
"""Number of weights that `tap_by_tap` rearranges at once: what it reads and writes then stays in a core's cache."""


def tap_by_tap(kernel: Array) -> Array:
    """Return a copy of a kernel (C, C, *k) with the weights of a tap adjacent in memory, as the products read them."""
    axes = range(kernel.ndim - 2)
    if not kernel.flags.c_contiguous:
        return np.array(kernel.transpose(*(axis + 2 for axis in axes), 0, 1), order="C").transpose(-2, -1, *axes)
    pairs = kernel.reshape(-1, size_of(kernel.shape[2:]))
    taps_first = np.empty(pairs.shape[::-1], kernel.dtype)
    step = max(1, COPIED_TOGETHER // pairs.shape[1])
    for start in range(0, len(pairs), step):
        taps_first[:, start : start + step] = pairs[start : start + step].T
    return taps_first.reshape(*kernel.shape[2:], *kernel.shape[:2]).transpose(-2, -1, *axes)


def in_torch(x: Any, axes: int, *, transposed: bool) -> Callable[..., Any]:
    """Return torch's convolution of that many axes, or its transpose."""
    convolution: Callable[..., Any] = getattr(
        library(x).nn.functional, f"conv_transpose{axes}d" if transposed else f"conv{axes}d"
    )
    return convolution


def cropped(x: Any, starts: Shape, sizes: Shape) -> Any:
    """Return some positions along the spatial axes of (N, channels, *spatial), as a view where they are not all."""
    if x.shape[2:] == sizes:
        return x
    return x[:, :, *(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]
