"""Operations whose outputs each copy the largest or the smallest of several entries: max pooling, max over an axis."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from linalg_cnn.arrays import add_along, index_like, is_nan, take_along, where
from linalg_cnn.checks import check_bool, check_image, check_int, check_per_axis, check_shape, check_sizes
from linalg_cnn.ops.avg_pool import adaptive_avg_pool_rule
from linalg_cnn.ops.take import Take
from linalg_cnn.piecewise.base import PiecewiseOperation, comparisons, per_sample, together
from linalg_cnn.rules import NOTHING, AxisRule, check_table, identity_rule, join_sources
from linalg_cnn.types import Array, IntArray, Shape, index_dtype, size_of


class Choice(PiecewiseOperation):
    """An operation whose outputs each copy the largest entry of a window of the input.

    The piece of an output is the number, in the C-order ravel of the input, of the entry that it copies. Of several
    that are equally large it is the first of the window.
    """

    smallest: ClassVar[bool] = False
    """Whether the smallest entry is copied instead."""

    @abstractmethod
    def windows(self, in_shape: Shape) -> IntArray:
        """Return the numbers of the entries that each output chooses from, (out_size, width); -1 stands for none."""

    def pieces(self, *xs: Any) -> Any:
        """Return the number of the entry that each output copies."""
        (x,) = xs
        in_shape = tuple(x.shape[1:])
        windows = self.windows(in_shape)
        entries = x.reshape(len(x), size_of(in_shape))
        first = windows[np.arange(len(windows)), (windows >= 0).argmax(axis=1)]
        chosen = index_like(np.broadcast_to(first, (len(x), len(first))), x)
        best = entries[:, index_like(first, x)]
        for column in windows.T:
            numbers = index_like(np.where(column < 0, first, column), x)
            entry = entries[:, numbers]
            better = is_nan(entry) | (entry < best if self.smallest else entry > best)
            best, chosen = where(better, entry, best), where(better, numbers, chosen)
        return chosen.reshape(len(x), *self.out_shape(in_shape))

    def check_pieces(self, pieces: IntArray, *in_shapes: Shape) -> None:
        """Refuse numbers of entries that do not lie in the windows.

        Raises
        ------
        ValueError
            If one is no entry of its output's window.
        """
        windows, chosen = self.windows(*in_shapes), pieces.reshape(-1, 1)
        stray = np.flatnonzero(~((windows == chosen) & (windows >= 0)).any(axis=1))
        if stray.size:
            window = windows[stray[0]]
            raise ValueError(
                f"expected the number of an entry in the window of each output, got {chosen[stray[0], 0]} for output "
                f"{stray[0]}, whose window has {window[window >= 0].tolist()}"
            )

    def affine(self, pieces: IntArray, *in_shapes: Shape, exact: bool = False) -> Take:
        """Return the choice of the same entries."""
        return Take(pieces)

    def push_at(self, pieces: Any, *xs: Any) -> Any:
        """Return the entries of the given numbers."""
        (x,) = xs
        vectors = per_sample(pieces, x.reshape(len(x), size_of(tuple(x.shape[1:]))))
        chosen = together(take_along(vectors, pieces.reshape(len(pieces), size_of(tuple(pieces.shape[1:])))))
        return chosen.reshape(len(x), *pieces.shape[1:])

    def pull_at(self, pieces: Any, y: Any, *in_shapes: Shape) -> Any:
        """Return, for each entry of the input, the sum of the cotangents of the outputs that copy it."""
        (in_shape,) = in_shapes
        size = size_of(tuple(y.shape[1:]))
        vectors = per_sample(pieces, y.reshape(len(y), size))
        return together(add_along(vectors, pieces.reshape(len(pieces), size), size_of(in_shape))).reshape(-1, *in_shape)

    def walls(self, pieces: IntArray, *in_shapes: Shape) -> tuple[scipy.sparse.csr_array, Array]:
        """Return that no entry of a window is larger than the chosen one, window by window."""
        (in_shape,) = in_shapes
        windows, chosen = self.windows(in_shape), pieces.reshape(-1, 1)
        others = (windows >= 0) & (windows != chosen)
        pair = windows[others], np.broadcast_to(chosen, windows.shape)[others]
        return comparisons(*(pair[::-1] if self.smallest else pair), size_of(in_shape))

    def candidates(self, samples: IntArray, outputs: IntArray, *xs: Array) -> Array:
        """Return the entries of the window, or their negatives where the smallest is chosen."""
        (x,) = xs
        in_shape = tuple(x.shape[1:])
        windows = self.windows(in_shape)[outputs]
        first = windows[np.arange(len(windows)), (windows >= 0).argmax(axis=1)]
        numbers = np.where(windows < 0, first[:, np.newaxis], windows)
        entries: Array = x.reshape(len(x), size_of(in_shape))[samples[:, np.newaxis], numbers]
        return -entries if self.smallest else entries


class Pooling(Choice):
    """A choice from windows that are a product of one range per spatial axis, channel by channel."""

    @abstractmethod
    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return which positions each output position reads along each axis, channels first."""

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the channels, and the number of windows along each axis."""
        return tuple(rule.out_size for rule in self.rules(*in_shapes))

    def windows(self, in_shape: Shape) -> IntArray:
        """Return the numbers of the entries of each window."""
        rules = self.rules(in_shape)
        check_table(size_of(self.out_shape(in_shape)), size_of(tuple(rule.sources.shape[1] for rule in rules)))
        windows = join_sources(rules)
        return np.where(windows < 0, windows.dtype.type(NOTHING), windows)


@dataclass(frozen=True)
class MaxPool(Pooling):
    """Max pooling of the spatial axes.

    Parameters
    ----------
    kernel_size : int or one int per spatial axis
    stride : int or one int per spatial axis, optional
        Equal to ``kernel_size`` if not given.
    padding : int or one int per spatial axis
        Number of positions on both sides that are never chosen, at most half of the dilated kernel size.
    dilation : int or one int per spatial axis
    ceil_mode : bool
        Whether the last window may extend over the end.

    Raises
    ------
    ValueError
        If an argument is malformed.

    Notes
    -----
    Source: ``torch.nn.MaxPool1d``, ``MaxPool2d``, ``MaxPool3d``; of equal pixels, the gradient goes to the first.

    Examples
    --------
    >>> import numpy as np
    >>> pool, x = MaxPool(2), np.array([[[1.0, 3.0, 5.0, 5.0]]])
    >>> pool(x)
    array([[[3., 5.]]])
    >>> pool.pieces(x).tolist()
    [[[1, 2]]]
    >>> pool.affine(pool.pieces(x)[0], (1, 4)).matrix((1, 4)).toarray().astype(int)
    array([[0, 1, 0, 0],
           [0, 0, 1, 0]])
    """

    kernel_size: Any
    stride: Any = field(default=None, kw_only=True)
    padding: Any = field(default=0, kw_only=True)
    dilation: Any = field(default=1, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for name, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, check_sizes(name, getattr(self, name), minimum))
        check_bool("ceil_mode", self.ceil_mode)

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the windows along each spatial axis; the channels are unchanged.

        Raises
        ------
        ValueError
            If the options do not fit the input.
        """
        channels, sizes = check_image("in_shape", in_shape)
        taps, strides, paddings, dilations = (
            check_per_axis(name, getattr(self, name), len(sizes), minimum)
            for name, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1))
        )
        per_axis = zip(sizes, taps, strides, paddings, dilations, strict=True)
        return [identity_rule(channels), *(max_pool_rule(*axis, self.ceil_mode) for axis in per_axis)]


def max_pool_rule(size: int, taps: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> AxisRule:
    """Return which inputs each window covers along one axis.

    Window p covers p stride - padding + dilation i for each tap i. With ``ceil_mode`` the last window may extend over
    the end, but must start before size + padding.

    Raises
    ------
    ValueError
        If the padding is more than half of the dilated kernel, or this is so much larger than the padded input that
        there is no window, or a window covers padding only.
    """
    length = dilation * (taps - 1) + 1
    if 2 * padding > length:
        raise ValueError(f"padding: expected at most half of the dilated kernel size {length}, got {padding}")
    count = (size + 2 * padding - length + (stride - 1 if ceil_mode else 0)) // stride + 1
    if count < 1:
        raise ValueError(
            f"kernel_size: expected at most {size + 2 * padding} with its dilation, on an axis of {size} padded by "
            f"{padding}, got {length}"
        )
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    check_table(count, taps)
    index = index_dtype(count * stride + length + padding)
    starts = np.arange(count, dtype=index)[:, np.newaxis] * index(min(stride, size + 2 * padding)) - index(padding)
    q = starts + index(dilation) * np.arange(taps, dtype=index)
    inside = (q >= 0) & (q < size)
    if not inside.any(axis=1).all():
        raise ValueError(f"padding: expected a pixel in each window, got window {inside.any(axis=1).argmin()} without")
    return AxisRule(size, np.where(inside, q, index(NOTHING)))


@dataclass(frozen=True)
class AdaptiveMaxPool(Pooling):
    """Max pooling to a given size, over the windows of `AdaptiveAvgPool`.

    Parameters
    ----------
    size : int or one int per spatial axis

    Raises
    ------
    ValueError
        If it is malformed.

    Notes
    -----
    Source: ``torch.nn.AdaptiveMaxPool1d``, ``AdaptiveMaxPool2d``, ``AdaptiveMaxPool3d``.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveMaxPool(2)(np.array([[[1.0, 3.0, 2.0]]]))
    array([[[3., 3.]]])
    """

    size: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_sizes("size", self.size))

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the windows along each spatial axis; the channels are unchanged.

        Raises
        ------
        ValueError
            If the input has another number of spatial axes.
        """
        channels, sizes = check_image("in_shape", in_shape)
        goals = check_per_axis("size", self.size, len(sizes), 1)
        windows = (adaptive_avg_pool_rule(*pair).sources for pair in zip(sizes, goals, strict=True))
        return [
            identity_rule(channels),
            *(AxisRule(size, sources) for size, sources in zip(sizes, windows, strict=True)),
        ]


@dataclass(frozen=True)
class MaxOver(Choice):
    """The largest entry along an axis, which keeps a length of 1. Of several it is the first.

    Parameters
    ----------
    axis : int
        Number of the axis, without the batch axis; 0 is that of the channels.

    Raises
    ------
    ValueError
        If it is negative.

    Notes
    -----
    Source: ``torch.max(x, dim, keepdim=True).values``; `AMax` is ``torch.amax``, which shares its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> MaxOver(1)(np.array([[[1.0, 3.0], [5.0, 4.0]]]))
    array([[[3.],
            [5.]]])
    """

    axis: int

    def __post_init__(self) -> None:
        check_int("axis", self.axis, 0)

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape with a length of 1 along the axis.

        Raises
        ------
        ValueError
            If the input does not have such an axis.
        """
        (in_shape,) = in_shapes
        shape = check_shape("in_shape", in_shape)
        if self.axis >= len(shape):
            raise ValueError(f"in_shape: expected more than {self.axis} axes, got {shape}")
        return (*shape[: self.axis], 1, *shape[self.axis + 1 :])

    def windows(self, in_shape: Shape) -> IntArray:
        """Return the numbers of the entries along the axis."""
        size = size_of(in_shape)
        check_table(1, size)
        numbers = np.arange(size, dtype=index_dtype(size)).reshape(in_shape)
        return np.moveaxis(numbers, self.axis, -1).reshape(-1, in_shape[self.axis])


@dataclass(frozen=True)
class MinOver(MaxOver):
    """The smallest entry along an axis, which keeps a length of 1. Of several it is the first.

    Parameters
    ----------
    axis : int
        Number of the axis, without the batch axis; 0 is that of the channels.

    Raises
    ------
    ValueError
        If it is negative.

    Notes
    -----
    Source: ``torch.min(x, dim, keepdim=True).values``; `AMin` is ``torch.amin``, which shares its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> MinOver(1)(np.array([[[1.0, 3.0], [5.0, 4.0]]]))
    array([[[1.],
            [4.]]])
    """

    smallest = True
