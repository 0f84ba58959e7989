"""Maxima and minima whose gradient is shared by all entries that attain them: of several values, and over axes."""

import operator
from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import partial, reduce
from typing import Any, ClassVar

import numpy as np
import scipy.sparse

from linalg_cnn.arrays import as_counts, concatenate, index_like, is_nan, where
from linalg_cnn.checks import check_shape
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.blend import Blend
from linalg_cnn.ops.weighted_sum_over import WeightedSumOver, check_axes, groups, kept_shape
from linalg_cnn.piecewise.base import PiecewiseOperation, comparisons, per_sample, stacked, together, without_infinite
from linalg_cnn.types import Array, IntArray, Shape, size_of


class SharedMaximum(PiecewiseOperation):
    """An operation whose outputs are each the largest of some entries.

    The pieces say of each entry, by 1 or 0, whether it attains the maximum. Several that do share it equally. A NaN
    attains it, as in torch.
    """

    smallest: ClassVar[bool] = False
    """Whether the outputs are the smallest entries instead."""

    @abstractmethod
    def competitors(self, *in_shapes: Shape) -> IntArray:
        """Return the numbers of the entries that each output is the largest of, (out_size, width).

        Entries of several inputs are numbered one input after the other, which is also the order of the pieces.
        """

    def check_pieces(self, pieces: IntArray, *in_shapes: Shape) -> None:
        """Refuse anything but 1 for entries that attain a maximum, of which each has one, and 0 for others.

        Raises
        ------
        ValueError
            If there is another number, or a maximum that no entry attains.
        """
        stray = pieces[(pieces != 0) & (pieces != 1)]
        if stray.size:
            raise ValueError(f"expected 1 for each entry that attains its maximum and 0 for others, got {stray[0]}")
        attained = pieces.ravel()[self.competitors(*in_shapes)].any(axis=1)
        if not attained.all():
            raise ValueError(f"expected an entry that attains each maximum, got none for output {attained.argmin()}")

    def at(self, pieces: Any, *xs: Any) -> Any:
        """Return the maxima; infinite entries that do not attain them are left out."""
        attained = [pieces[:, k] for k in range(len(xs))] if self.merges else [pieces]
        pairs = zip(xs, attained, strict=True)
        return super().at(pieces, *(without_infinite(x, partial(operator.eq, which, 0)) for x, which in pairs))

    def _better(self, x: Any, y: Any) -> Any:
        """Return where ``x`` is larger than ``y``, or smaller where the smallest counts, or not a number."""
        return is_nan(x) | (x < y if self.smallest else x > y)

    def walls(self, pieces: IntArray, *in_shapes: Shape) -> tuple[scipy.sparse.csr_array, Array]:
        """Return that nothing exceeds the first entry that attains each maximum, and that others attain it, too."""
        table = self.competitors(*in_shapes)
        attained = pieces.ravel()[table] != 0
        first = table[np.arange(len(table)), attained.argmax(axis=1)]
        others, tied = table != first[:, np.newaxis], attained & (table != first[:, np.newaxis])
        size, best = sum(map(size_of, in_shapes)), np.broadcast_to(first[:, np.newaxis], table.shape)
        pairs = (table[others], best[others]), (best[tied], table[tied])
        return stacked(*(comparisons(*(pair[::-1] if self.smallest else pair), size) for pair in pairs))

    def differ(self, first: IntArray, second: IntArray, *in_shapes: Shape) -> Array:
        """Return which maxima are attained by other entries in one batch than in the other."""
        changed = (first != second).reshape(len(first), sum(map(size_of, in_shapes)))
        differ: Array = changed[:, self.competitors(*in_shapes)].any(axis=2)
        return differ

    def candidates(self, samples: IntArray, outputs: IntArray, *xs: Array) -> Array:
        """Return the entries that compete, or their negatives where the smallest counts."""
        table = self.competitors(*(tuple(x.shape[1:]) for x in xs))[outputs]
        flat = np.concatenate([x.reshape(len(x), size_of(tuple(x.shape[1:]))) for x in xs], axis=1)
        entries: Array = flat[samples[:, np.newaxis], table]
        return -entries if self.smallest else entries


def _shares(pieces: Any, axes: Shape, x: Any) -> Any:
    """Return the share of each entry in its maximum, as an array of the kind of ``x``."""
    if not isinstance(x, np.ndarray):
        attained = pieces.to(x)
        return attained / attained.sum(axes, keepdims=True)
    counts = pieces.sum(axes, keepdims=True)
    if x.dtype != object:
        return pieces.astype(x.dtype) / counts.astype(x.dtype)
    inverse = [Fraction(1, count) for count in range(1, counts.max(initial=1) + 1)]
    return to_exact(np.array([0, *inverse], object))[pieces * counts]


@dataclass(frozen=True)
class Maximum(SharedMaximum):
    """The largest of several values of one shape, entry by entry.

    Notes
    -----
    Source: ``torch.maximum``, whose gradient goes in equal shares to values that are equal.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.array([[1.0, 5.0, 2.0]]), np.array([[3.0, 4.0, 2.0]])
    >>> Maximum()(x, y)
    array([[3., 5., 2.]])
    >>> [pieces.tolist() for pieces in Maximum().pieces(x, y)[0]]
    [[0, 1, 1], [1, 0, 1]]
    >>> first, second = Maximum().affine(Maximum().pieces(x, y)[0], (3,), (3,)).matrices((3,), (3,))
    >>> first.diagonal(), second.diagonal()
    (array([0. , 1. , 0.5]), array([1. , 0. , 0.5]))
    """

    merges = True

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that all inputs share.

        Raises
        ------
        ValueError
            If their shapes differ.
        """
        shapes = {check_shape("in_shape", shape) for shape in in_shapes}
        if len(shapes) != 1:
            raise ValueError(f"{type(self).__name__}: expected inputs of one shape, got {list(in_shapes)}")
        return shapes.pop()

    def piece_shape(self, *in_shapes: Shape) -> Shape:
        """Return (inputs, *shape)."""
        return (len(in_shapes), *self.out_shape(*in_shapes))

    def competitors(self, *in_shapes: Shape) -> IntArray:
        """Return the entries of all inputs at each position."""
        size = size_of(self.out_shape(*in_shapes))
        return np.arange(size)[:, np.newaxis] + size * np.arange(len(in_shapes))

    def pieces(self, *xs: Any) -> Any:
        """Return whether each entry of each input attains the maximum."""
        best = reduce(lambda x, y: where(self._better(x, y), x, y), xs)
        return concatenate(tuple(as_counts((x == best) | is_nan(x))[:, None] for x in xs), 1)

    def affine(self, pieces: IntArray, *in_shapes: Shape, exact: bool = False) -> Operation:
        """Return the sum of the inputs, each entry with its share."""
        return Blend(_shares(pieces, (0,), np.empty(0, object if exact else np.float64)))

    def push_at(self, pieces: Any, *xs: Any) -> Any:
        """Return the sum of the inputs, each entry with its share."""
        shares = _shares(pieces, (1,), xs[0])
        return together(sum(per_sample(pieces, x) * shares[:, k, None] for k, x in enumerate(xs)))

    def pull_at(self, pieces: Any, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return ``y`` times the share of each entry, for each input."""
        shares, vectors = _shares(pieces, (1,), y), per_sample(pieces, y)
        return tuple(together(vectors * shares[:, k, None]) for k in range(len(in_shapes)))


@dataclass(frozen=True)
class Minimum(Maximum):
    """The smallest of several values of one shape, entry by entry.

    Notes
    -----
    Source: ``torch.minimum``, whose gradient goes in equal shares to values that are equal.

    Examples
    --------
    >>> import numpy as np
    >>> Minimum()(np.array([[1.0, 5.0, 2.0]]), np.array([[3.0, 4.0, 2.0]]))
    array([[1., 4., 2.]])
    """

    smallest = True


@dataclass(frozen=True)
class AMax(SharedMaximum):
    """The largest entry over some axes, which keep a length of 1.

    Parameters
    ----------
    axes : int or ints
        Numbers of the axes, without the batch axis; 0 is that of the channels.

    Raises
    ------
    ValueError
        If there is none, or one is negative or named twice.

    Notes
    -----
    Source: ``torch.amax(x, axes, keepdim=True)``, whose gradient goes in equal shares to entries that are equal.

    Examples
    --------
    >>> import numpy as np
    >>> AMax(1)(np.array([[[1.0, 3.0, 3.0], [5.0, 4.0, 2.0]]]))
    array([[[3.],
            [5.]]])
    """

    axes: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", check_axes(self.axes))

    @property
    def _batch_axes(self) -> Shape:
        return tuple(axis + 1 for axis in self.axes)

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape with a length of 1 along the axes.

        Raises
        ------
        ValueError
            If the input does not have such an axis.
        """
        (in_shape,) = in_shapes
        return kept_shape(in_shape, self.axes)

    def piece_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the input."""
        return in_shapes[0]

    def competitors(self, *in_shapes: Shape) -> IntArray:
        """Return the entries that agree along all other axes."""
        (in_shape,) = in_shapes
        return groups(in_shape, self.axes)

    def pieces(self, *xs: Any) -> Any:
        """Return whether each entry attains the maximum of its group."""
        (x,) = xs
        flat = x.reshape(len(x), size_of(tuple(x.shape[1:])))
        best: Any = None
        for column in self.competitors(tuple(x.shape[1:])).T:
            entry = flat[:, index_like(column, x)]
            best = entry if best is None else where(self._better(entry, best), entry, best)
        return as_counts((x == best.reshape(len(x), *self.out_shape(tuple(x.shape[1:])))) | is_nan(x))

    def affine(self, pieces: IntArray, *in_shapes: Shape, exact: bool = False) -> Operation:
        """Return the sum over the axes, each entry with its share."""
        return WeightedSumOver(_shares(pieces, self.axes, np.empty(0, object if exact else np.float64)), self.axes)

    def push_at(self, pieces: Any, *xs: Any) -> Any:
        """Return the sum over the axes, each entry with its share."""
        shared = per_sample(pieces, xs[0]) * _shares(pieces, self._batch_axes, xs[0])[:, None]
        return together(shared.sum(tuple(axis + 2 for axis in self.axes), keepdims=True))

    def pull_at(self, pieces: Any, y: Any, *in_shapes: Shape) -> Any:
        """Return the cotangent of each entry's maximum times its share."""
        return together(per_sample(pieces, y) * _shares(pieces, self._batch_axes, y)[:, None])


@dataclass(frozen=True)
class AMin(AMax):
    """The smallest entry over some axes, which keep a length of 1.

    Parameters
    ----------
    axes : int or ints
        Numbers of the axes, without the batch axis; 0 is that of the channels.

    Raises
    ------
    ValueError
        If there is none, or one is negative or named twice.

    Notes
    -----
    Source: ``torch.amin(x, axes, keepdim=True)``, whose gradient goes in equal shares to entries that are equal.

    Examples
    --------
    >>> import numpy as np
    >>> AMin(1)(np.array([[[1.0, 3.0, 3.0], [5.0, 4.0, 2.0]]]))
    array([[[1.],
            [2.]]])
    """

    smallest = True
