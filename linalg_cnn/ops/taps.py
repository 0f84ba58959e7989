"""What convolution and transposed convolution share: a kernel, each tap of which meets some of the pixels."""

from abc import abstractmethod
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from linalg_cnn.checks import as_numbers
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

    @property
    def symbolic(self) -> bool:
        """Whether the kernel or the bias holds sympy expressions."""
        return self.weights.dtype == object or (self.bias is not None and self.bias.dtype == object)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix' entries."""
        return np.dtype(self.weights.dtype)

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the bias of each channel."""
        return None if self.bias is None else self.bias.reshape(-1, *(1,) * (self.weights.ndim - 2))

    @abstractmethod
    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return one rule per spatial axis, or raise a ValueError that says why the shape does not fit."""

    @property
    @abstractmethod
    def weights(self) -> Array:
        """The weights (C_out, C_in / groups, *taps), the taps in the order of the rules'."""

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return (C_out, *out)."""
        return (len(self.weights), *(rule.out_size for rule in self.rules(*in_shapes)))

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of meetings of a tap with a pixel, for every pair of channels that see each other."""
        c_out, per_group = self.weights.shape[:2]
        return int(c_out * per_group * count_entries(self.rules(*in_shapes)))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the weights where a tap meets a pixel.

        The rows of one output channel are laid out once, position by position, channel by channel, tap by tap; the
        other channels have the same columns (of their group) and other values.
        """
        (in_shape,) = in_shapes
        rules = self.rules(in_shape)
        c_out, per_group, *kernel_size = self.weights.shape
        pixels = size_of(in_shape[1:])
        per_channel = per_group * count_entries(rules)
        index = index_dtype(c_out * per_channel, size_of(in_shape))
        canonical = all(rule.is_sorted for rule in rules)
        counts = [rule.reads for rule in rules]

        columns = np.empty(per_channel, index)
        chosen = np.empty(len(columns), np.int32)  # which weight of an output channel each entry is
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
        del rules, block  # as large as the result where there is one axis and one channel

        weights = (to_exact(self.weights) if exact else self.weights).reshape(c_out, -1)
        values = np.take(weights, chosen, axis=1).ravel()
        del chosen
        group_starts = np.arange(c_out, dtype=index) // index(c_out // self.groups) * index(per_group * pixels)
        return (
            Entries(
                shape=(c_out * positions, size_of(in_shape)),
                starts=row_starts([np.full(c_out, per_group, index), *counts], index),
                columns=columns if c_out == 1 else np.add.outer(group_starts, columns).ravel(),
                values=values,
                canonical=canonical,
            ),
        )

    def forward(self, *xs: Array) -> Array:
        """Return A x: one matrix product per kernel tap, on the pixels which that tap meets."""
        x = as_numbers(*xs)
        rules = self.rules(x.shape[1:])
        y_shape = (len(x), len(self.weights), *(rule.out_size for rule in rules))
        y = np.zeros(y_shape, dtype=np.result_type(x, self.weights))
        from_groups, to_groups = self._by_group(x), self._by_group(y)
        for weights, outputs, inputs in self._meetings(rules):
            to_groups[:, :, :, *outputs] += _mix_channels(weights, from_groups[:, :, :, *inputs])
        return y

    def _adjoint(self, y: Array, *in_shapes: Shape) -> Array:
        """Return A' y: the same products with each tap's weights transposed."""
        (in_shape,) = in_shapes
        x = np.zeros((len(y), *in_shape), dtype=np.result_type(y, self.weights))
        from_groups, to_groups = self._by_group(y), self._by_group(x)
        for weights, outputs, inputs in self._meetings(self.rules(in_shape)):
            transposed = weights.swapaxes(1, 2)
            to_groups[:, :, :, *inputs] += _mix_channels(transposed, from_groups[:, :, :, *outputs])
        return x

    def _by_group(self, x: Array) -> Array:
        """Return a view (groups, channels, N, *spatial) of a batch (N, groups * channels, *spatial)."""
        split = x.reshape(len(x), self.groups, x.shape[1] // self.groups, *x.shape[2:])
        return split.swapaxes(0, 1).swapaxes(1, 2)

    def _meetings(self, rules: list[AxisRule]) -> Iterator[tuple[Array, tuple[slice, ...], tuple[slice, ...]]]:
        """Yield (weights (groups, C_out/groups, C_in/groups), output slices, input slices) of each tap."""
        weights = self.weights.reshape(self.groups, -1, *self.weights.shape[1:])
        runs = [
            [(tap, run) for tap in range(size) if (run := tap_slices(rule, tap))]
            for rule, size in zip(rules, self.weights.shape[2:], strict=True)
        ]
        for meeting in product(*runs):
            taps, slices = zip(*meeting, strict=True)
            outputs, inputs = zip(*slices, strict=True)
            yield weights[:, :, :, *taps], outputs, inputs


def _mix_channels(weights: Array, x: Array) -> Array:
    """Return (groups, out, N, *spatial) of weights (groups, out, in) and x (groups, in, N, *spatial)."""
    mixed = weights @ x.reshape(*x.shape[:2], size_of(x.shape[2:]))
    return mixed.reshape(*mixed.shape[:2], *x.shape[2:])
