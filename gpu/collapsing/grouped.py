"""Grouped convolution for the float64 reference on the CPU, where torch computes one group after another."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch.nn import functional

Sizes = Sequence[int]

CONVOLUTION = torch.ops.aten.convolution.default
BACKWARD = torch.ops.aten.convolution_backward.default
ON_ONE_THREAD = 2**15
"""Number of entries from which torch splits an operation between threads (at::internal::GRAIN_SIZE)."""


def grouped_convolution(func: Any, args: Sequence[Any]) -> Any | None:
    """Return the result of a convolution in groups, or the gradient of its input; None for any other operation.

    In float64 torch loops over the groups, and all threads wait for each other after each. On a busy machine a network
    of depthwise convolutions spends most of its time on that. Here all groups are computed together.

    Parameters
    ----------
    func : torch.ops operator
        The operation.
    args : sequence
        All of its arguments.

    Examples
    --------
    >>> x, kernel = torch.ones(1, 2, 3), torch.ones(2, 1, 2)
    >>> grouped_convolution(CONVOLUTION, (x, kernel, None, [1], [0], [1], False, [0], 2))
    tensor([[[2., 2.],
             [2., 2.]]])
    """
    if func is CONVOLUTION:
        x, kernel, bias, *options, transposed, extra, groups = args
        if groups == 1 or x.device.type != "cpu":
            return None
        taps = _Taps(kernel, groups, *options)
        y = taps.scatter(x, taps.spread_size(x, extra)) if transposed else taps.gather(x, taps.gathered_size(x))
        return y if bias is None else y + bias.reshape(-1, *taps.ones)
    if func is BACKWARD:
        gradient, x, kernel, _, *options, transposed, _, groups, wanted = args
        if groups == 1 or x.device.type != "cpu" or list(wanted) != [True, False, False]:
            return None
        taps = _Taps(kernel, groups, *options)
        transpose = taps.gather if transposed else taps.scatter
        return transpose(gradient, x.shape[2:]), None, None
    return None


class _Taps:
    """A kernel as (groups, channels of y, channels of x, *size): tap t of position p meets pixel stride p + dilation t.

    The pixels are those of the padded image x, the positions those of y.
    """

    def __init__(self, kernel: torch.Tensor, groups: int, stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
        self.kernel = kernel.unflatten(0, (groups, -1))
        self.size = kernel.shape[2:]
        axes = len(self.size)
        self.ones = (1,) * axes
        self.axes = list(
            zip(self.size, *(_each(numbers, axes) for numbers in (stride, padding, dilation)), strict=True)
        )
        self.padding = [p for _, _, p, _ in self.axes]

    def gathered_size(self, x: torch.Tensor) -> list[int]:
        """Return the number of positions on each axis."""
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, (k, s, p, d) in zip(x.shape[2:], self.axes, strict=True)]

    def spread_size(self, y: torch.Tensor, extra: Sizes) -> list[int]:
        """Return the number of pixels on each axis that a transposed convolution gives."""
        more = _each(extra, len(self.axes))
        pairs = zip(y.shape[2:], self.axes, more, strict=True)
        return [(n - 1) * s - 2 * p + d * (k - 1) + 1 + e for n, (k, s, p, d), e in pairs]

    def gather(self, x: torch.Tensor, positions: Sizes) -> torch.Tensor:
        """Return for each position the sum over taps of kernel times pixel."""
        padded = functional.pad(x, [p for p in reversed(self.padding) for _ in range(2)])
        groups, out, channels = self.kernel.shape[:3]
        y = x.new_zeros(len(x), groups, out, *positions)
        for source, target in zip(padded.unflatten(1, (groups, channels)), y, strict=True):  # a sample fits the cache
            if channels == 1:
                for weights, met in self._taps(positions):
                    for part in _blocks(target):
                        target[part].addcmul_(weights[part].reshape(-1, out, *self.ones), source[part][met])
            else:
                windows = torch.stack([source[met] for _, met in self._taps(positions)], 2)
                windows = windows.reshape(groups, channels * self.size.numel(), -1)
                target.copy_((self.kernel.flatten(2) @ windows).reshape(target.shape))
        return y.flatten(1, 2)

    def scatter(self, y: torch.Tensor, pixels: Sizes) -> torch.Tensor:
        """Return for each pixel the sum of kernel times position over those that meet it: the transpose of `gather`."""
        groups, out, channels = self.kernel.shape[:3]
        padded = [n + 2 * p for n, p in zip(pixels, self.padding, strict=True)]
        positions = y.shape[2:]
        x = y.new_zeros(len(y), groups, channels, *padded)
        for source, target in zip(y.unflatten(1, (groups, out)), x, strict=True):
            if out == 1:
                for weights, met in self._taps(positions):
                    for part in _blocks(target):
                        target[part][met].addcmul_(weights[part].reshape(-1, channels, *self.ones), source[part])
            else:
                windows = self.kernel.flatten(2).mT @ source.flatten(2)
                windows = windows.reshape(groups, channels, self.size.numel(), *positions)
                for window, (_, met) in zip(windows.unbind(2), self._taps(positions), strict=True):
                    target[met] += window
        inside: Any = (slice(p, p + n) for p, n in zip(self.padding, pixels, strict=True))
        return x[(..., *inside)].flatten(1, 2).contiguous()

    def _taps(self, positions: Sizes) -> Iterator[tuple[torch.Tensor, Any]]:
        """Yield the weights (groups, channels of y, channels of x) of each tap, and the index of its pixels."""
        for tap in product(*map(range, self.size)):
            starts = [d * t for t, (_, _, _, d) in zip(tap, self.axes, strict=True)]
            strides = [s for _, s, _, _ in self.axes]
            met = (slice(a, a + s * (n - 1) + 1, s) for a, s, n in zip(starts, strides, positions, strict=True))
            yield self.kernel[(..., *tap)], (..., *met)


def _blocks(target: torch.Tensor) -> Iterator[slice]:
    """Yield the groups in blocks of so few numbers that torch computes each on one thread, without waiting."""
    step = max(1, (ON_ONE_THREAD - 1) // target[0].numel())
    for start in range(0, len(target), step):
        yield slice(start, start + step)


def _each(numbers: Sizes, axes: int) -> list[int]:
    """Return one number for each axis, also where torch was given one for all."""
    return [*numbers] * (axes // len(numbers))
