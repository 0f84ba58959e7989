"""The convolution that an affine map is in the middle of its image: stride, kernel, padding, dilation and groups."""

from collections.abc import Callable
from itertools import product
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from linalg_cnn.ops.conv import Conv
from linalg_cnn.types import Array, Shape

Rows = Callable[[Shape], Array]
"""Function that returns the rows of W for all channels of one output position: (C_out, C_in, *in)."""
PAIRS = 2
"""Number of pairs of neighbouring positions on either side of the middle that are compared to find the stride."""


def central_convolution(
    rows: Rows, in_shape: Shape, out_shape: Shape, strides: Shape, bias: Array, allowed: float
) -> Conv:
    """Return the convolution that agrees with a map in the middle of the image.

    Parameters
    ----------
    rows : callable
        Function that returns the rows of W for all channels of one output position: (C_out, C_in, *in).
    in_shape, out_shape : tuple of int
        Shapes (C_in, *in) and (C_out, *out) with the same number of spatial axes.
    strides : tuple of int
        Stride of each spatial axis, as `central_strides` finds them.
    bias : array (C_out,)
        Bias of the convolution.
    allowed : float
        Largest absolute difference between entries that count as equal.

    Returns
    -------
    Conv
        A convolution from ``in_shape`` to ``out_shape``. Whether the map is the same elsewhere is not checked.
    """
    taps, first = _taps(rows, in_shape, out_shape, strides)
    seen = ~vanishes(taps, allowed)
    steps, fits = list(strides), []
    for axis, size in enumerate(in_shape[1:]):
        others = tuple(other for other in range(taps.ndim) if other != axis + 2)
        offsets = (np.flatnonzero(seen.any(axis=others)) + first[axis]).tolist() or [0]
        if out_shape[axis + 1] == 1:  # any stride will do: take the smallest that needs no taps of zeros at the end
            steps[axis] = max(1, size - offsets[-1] - min(0, offsets[0]))
        fits.append(_fit(offsets, size, out_shape[axis + 1], steps[axis]))
    padding: Any = tuple(fit.padding for fit in fits)
    same = [fit.same(size, goal) for fit, size, goal in zip(fits, in_shape[1:], out_shape[1:], strict=True)]
    if any(fit.widened for fit in fits) and set(steps) == {1} and None not in same:
        fits, padding = [fit for fit in same if fit is not None], "same"
    kernel: Any = np.zeros((out_shape[0], in_shape[0], *(fit.taps for fit in fits)), taps.dtype)
    for position in product(*(range(fit.taps) for fit in fits)):
        offset = [fit.low + tap * fit.dilation - start for fit, tap, start in zip(fits, position, first, strict=True)]
        if all(0 <= o < size for o, size in zip(offset, taps.shape[2:], strict=True)):
            kernel[:, :, *position] = taps[:, :, *offset]
    groups = _groups(kernel, allowed)
    kernel = np.concatenate([kernel[outs, ins] for outs, ins in _blocks(kernel, groups)])
    return Conv(
        kernel,
        None if vanishes(bias, 0.0).all() else bias,
        stride=tuple(steps),
        padding=padding,
        dilation=tuple(fit.dilation for fit in fits),
        groups=groups,
    )


def vanishes(values: Array, allowed: float) -> Array:
    """Return where numbers are at most ``allowed`` in size, or expressions are zero."""
    if values.dtype != object:
        return np.asarray(np.abs(values) <= allowed)
    return np.array([value.expand() == 0 for value in values.ravel()], bool).reshape(values.shape)


def central_strides(rows: Rows, in_shape: Shape, out_shape: Shape, allowed: float) -> list[list[int]]:
    """Return, for each spatial axis, the strides that neighbouring outputs agree on, the smallest first.

    Neighbours on the line through the middle are compared: two of them agree on a stride if the rows of one, shifted by
    it, are those of the other. Where some of them do not agree on any stride, the map is no convolution, and each axis
    has one stride alone, the smallest that most of them agree on. A stride is smaller than the input: no two outputs
    see a common offset with a larger one, so that every map would be a convolution.
    """
    found, all_agree = [], True
    middle = tuple(length // 2 for length in out_shape[1:])
    for axis, (size, count) in enumerate(zip(in_shape[1:], out_shape[1:], strict=True)):
        if size == 1 or count == 1:
            found.append([1])
            continue

        def along(p: int, axis: int = axis) -> Array:
            return np.moveaxis(rows((*middle[:axis], p, *middle[axis + 1 :])), axis + 2, 0)

        agreeing = np.zeros(size, int)
        pairs = {0, count - 2, *range(max(0, count // 2 - PAIRS), min(count - 1, count // 2 + PAIRS))}
        for p in pairs:
            behind, ahead = along(p), along(p + 1)
            for step in range(1, size):  # two numbers that are each as far from the kernel's as is allowed
                agreeing[step] += vanishes(ahead[step:] - behind[:-step], 2 * allowed).all()
        most = agreeing[1:].max()
        found.append((np.flatnonzero(agreeing[1:] == most) + 1).tolist())
        all_agree &= bool(most == len(pairs))
    return found if all_agree else [strides[:1] for strides in found]


def _taps(rows: Rows, in_shape: Shape, out_shape: Shape, stride: Shape) -> tuple[Any, Shape]:
    """Return the weights by offset, (C_out, C_in, *offsets), and the first offset of each axis.

    An offset's weights are those of the position closest to the middle among a few that see all offsets together. A
    small kernel is seen as a whole from the middle.
    """
    sizes, counts = in_shape[1:], out_shape[1:]
    middle = tuple(count // 2 for count in counts)
    first = tuple(-step * (count - 1) for count, step in zip(counts, stride, strict=True))
    spread = tuple(size - start for size, start in zip(sizes, first, strict=True))
    chosen = product(*map(_covering, sizes, counts, stride))
    positions = sorted(chosen, key=lambda at: -sum(abs(p - m) for p, m in zip(at, middle, strict=True)))
    taps: Any = np.zeros((out_shape[0], in_shape[0], *spread), rows(middle).dtype)
    for position in positions:  # the closest to the middle is written last
        starts = (step * (count - 1 - p) for p, count, step in zip(position, counts, stride, strict=True))
        window = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        taps[:, :, *window] = rows(position)
    return taps, first


def _covering(size: int, count: int, stride: int) -> list[int]:
    """Return output positions along an axis, the middle one and both ends among them, that see all offsets together.

    Position p sees the offsets -p stride to size - 1 - p stride; these ranges are to leave no gap.
    """
    middle, step = count // 2, max(1, size // stride)
    return sorted({*range(middle, count, step), *range(middle, -1, -step), 0, count - 1})


class _Fit(NamedTuple):
    """A kernel along one axis: its taps read the offsets ``low``, ``low + dilation``, ...

    Attributes
    ----------
    low, dilation, taps, padding : int
    offsets : list of int
        Offsets that must be read.
    gap : int
        Largest dilation with which a kernel can read the offsets.
    """

    low: int
    dilation: int
    taps: int
    padding: int
    offsets: list[int]
    gap: int

    @property
    def widened(self) -> bool:
        """Whether the kernel has taps beyond the offsets that must be read."""
        return self.low < self.offsets[0] or self.low + self.dilation * (self.taps - 1) > self.offsets[-1]

    def same(self, size: int, count: int) -> "_Fit | None":
        """Return the kernel without further taps if ``padding="same"`` suits it, None otherwise."""
        reach = self.offsets[-1] - self.offsets[0]
        if count != size or -self.offsets[0] != reach // 2:
            return None
        return self._replace(low=self.offsets[0], dilation=self.gap, taps=reach // self.gap + 1)


def _fit(offsets: list[int], size: int, count: int, stride: int) -> _Fit:
    """Return the smallest kernel with symmetric padding that reads these offsets and has ``count`` outputs.

    With padding P, the taps begin at the offset -P. Torch's formula for the number of outputs holds if the last tap
    is at P + v for a v in [size - count stride, size - 1 - (count - 1) stride].
    """
    low, high = offsets[0], offsets[-1]
    gap = gcd(*(offset - low for offset in offsets)) or 1
    window = range(size - count * stride, size - (count - 1) * stride)
    step = gap if any((v - 2 * low) % gap == 0 for v in window) else 1
    choices = []
    for v in window:
        if (v - 2 * low) % step == 0:
            padding = max(0, -low, high - v)
            choices.append((padding + (-low - padding) % step, v))
    padding, v = min(choices)
    return _Fit(-padding, step, (2 * padding + v) // step + 1, padding, offsets, gap)


def _groups(kernel: Array, allowed: float) -> int:
    """Return the largest number of groups in which the channels separate."""
    most = gcd(*kernel.shape[:2])
    used = ~vanishes(kernel, allowed).reshape(*kernel.shape[:2], -1).all(axis=-1)
    for groups in range(most, 1, -1):
        if most % groups == 0:
            within = np.zeros_like(used)
            for block in _blocks(kernel, groups):
                within[block] = True
            if not (used & ~within).any():
                return groups
    return 1


def _blocks(kernel: Array, groups: int) -> list[tuple[slice, slice]]:
    """Return the slices of the output and input channels of each group."""
    outs, ins = (channels // groups for channels in kernel.shape[:2])
    return [(slice(g * outs, (g + 1) * outs), slice(g * ins, (g + 1) * ins)) for g in range(groups)]
