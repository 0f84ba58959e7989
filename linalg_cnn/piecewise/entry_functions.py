"""What all continuous piecewise-linear functions of each entry have in common."""

import operator
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import reduce
from itertools import accumulate
from typing import Any, Self

import numpy as np
import scipy.sparse

from linalg_cnn.arrays import as_counts, like, number_like, where
from linalg_cnn.checks import check_array, check_shape
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.scale import Scale, check_spread, spread
from linalg_cnn.piecewise.base import PiecewiseOperation, bounds, per_sample, stacked, together, without_infinite
from linalg_cnn.types import Array, IntArray, Shape, size_of

Value = Any
"""An int, float, Fraction or sympy expression, or an array of one number per channel or per entry, as for `Scale`."""


class EntryFunction(PiecewiseOperation):
    """A continuous function of each entry that is affine between thresholds.

    Piece p of an entry x, counted from below, lies between the thresholds p - 1 and p. There the function is
    ``slopes[p] * x + shifts[p]``.
    """

    @property
    @abstractmethod
    def thresholds(self) -> tuple[Value, ...]:
        """Where the pieces meet, in increasing order."""

    @property
    @abstractmethod
    def slopes(self) -> tuple[Value, ...]:
        """Slope of each piece; there is one piece more than there are thresholds."""

    @property
    def shifts(self) -> tuple[Value, ...] | None:
        """Value of each piece's line at 0, or None if all are 0."""
        return None

    @property
    @abstractmethod
    def closed_above(self) -> tuple[bool, ...]:
        """Whether the piece above each threshold contains it; otherwise the piece below does."""

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the input.

        Raises
        ------
        ValueError
            If the parameters do not broadcast to it.
        """
        (in_shape,) = in_shapes
        shape = check_shape("in_shape", in_shape)
        for value in (*self.thresholds, *self.slopes):
            if isinstance(value, np.ndarray):
                check_spread(value, shape)
        return shape

    def exact(self) -> Self:
        """Return the same function with sympy parameters; a float becomes the binary fraction that it is."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        exact = {name: _exact(value) for name, value in values.items() if value is not None}
        return replace(self, **exact) if exact else self  # type: ignore[type-var]

    def pieces(self, *xs: Any) -> Any:
        """Return the number of thresholds that each entry passes."""
        (x,) = xs
        axes = x.ndim - 1
        passed = (
            x >= _spread_like(threshold, axes, x) if closed else x > _spread_like(threshold, axes, x)
            for threshold, closed in zip(self.thresholds, self.closed_above, strict=True)
        )
        # an entry that did not pass a threshold passes none above, also where two are equal
        return reduce(operator.add, map(as_counts, accumulate(passed, operator.and_)))

    def check_pieces(self, pieces: IntArray, *in_shapes: Shape) -> None:
        """Refuse numbers of pieces that the function does not have.

        Raises
        ------
        ValueError
            If one is negative, or larger than the number of thresholds.
        """
        last = len(self.slopes) - 1
        stray = pieces[(pieces < 0) | (pieces > last)]
        if stray.size:
            raise ValueError(f"expected numbers of pieces from 0 to {last}, got {stray[0]}")

    def affine(self, pieces: IntArray, *in_shapes: Shape, exact: bool = False) -> Scale:
        """Return a factor, and a shift where there are some, for each entry."""
        same = self.exact() if exact else self
        kind = np.empty(0, object if exact else same.dtype)
        shifts = None if same.shifts is None else _select(pieces, same.shifts, kind)
        return Scale(_select(pieces, same.slopes, kind), shifts)

    def at(self, pieces: Any, *xs: Any) -> Any:
        """Return the value of each entry on its piece; where that is level, also of an infinite entry."""
        (x,) = xs
        return super().at(pieces, without_infinite(x, lambda: _select(pieces, self.slopes, x, 1) == 0))

    def push_at(self, pieces: Any, *xs: Any) -> Any:
        """Return each entry times the slope of its piece."""
        (x,) = xs
        return together(per_sample(pieces, x) * _select(pieces, self.slopes, x, 1)[:, None])

    def pull_at(self, pieces: Any, y: Any, *in_shapes: Shape) -> Any:
        """Return each entry times the slope of its piece: a diagonal matrix is its own transpose."""
        return self.push_at(pieces, y)

    def offset_at(self, pieces: Any, like: Any) -> Any:
        """Return the shift of each entry's piece."""
        return None if self.shifts is None else _select(pieces, self.shifts, like, 1)

    def walls(self, pieces: IntArray, *in_shapes: Shape) -> tuple[scipy.sparse.csr_array, Array]:
        """Return the thresholds next to each entry: first those above, then those below."""
        (shape,) = in_shapes
        kind, piece, size = np.empty(0, self.dtype), pieces.ravel(), size_of(shape)
        limits = np.stack([
            np.broadcast_to(_spread_like(threshold, len(shape), kind), shape).ravel() for threshold in self.thresholds
        ])
        above, below = np.flatnonzero(piece < len(limits)), np.flatnonzero(piece > 0)
        return stacked(
            bounds(above, np.ones(len(above)), limits[piece[above], above], size),
            bounds(below, -np.ones(len(below)), -limits[piece[below] - 1, below], size),
        )

    def candidates(self, samples: IntArray, outputs: IntArray, *xs: Array) -> Array:
        """Return for each piece p of an entry x: p x, less the thresholds below the piece."""
        (x,) = xs
        shape = tuple(x.shape[1:])
        entries = x.reshape(len(x), size_of(shape))[samples, outputs]
        largest = [np.zeros(len(entries))]
        for threshold in self.thresholds:
            limits = np.broadcast_to(_spread_like(threshold, len(shape), x), shape).ravel()
            largest.append(largest[-1] + entries - limits[outputs])
        return np.stack(largest, axis=1)


def _exact(value: Any) -> Any:
    return to_exact(np.asarray(value, object))[()]


def _spread_like(value: Value, axes: int, x: Any) -> Any:
    """Return a number, or numbers that broadcast over all axes of a sample, as an array of the kind of ``x``."""
    return like(spread(value, axes), x) if isinstance(value, np.ndarray) else number_like(value, x)


def _select(pieces: Any, values: Sequence[Value], x: Any, batch: int = 0) -> Any:
    """Return the value of each entry's piece as an array of the kind of ``x``; ``batch`` axes come first."""
    spreads = [_spread_like(value, pieces.ndim - batch, x) for value in values]
    chosen = where(pieces > 0, spreads[1], spreads[0])
    for piece, value in enumerate(spreads[2:], start=2):
        chosen = where(pieces == piece, value, chosen)
    return chosen


def parameter(name: str, value: Any) -> Any:
    """Return a parameter as a float, a sympy expression, or an array; raises what `check_array` raises."""
    array = check_array(name, value)
    return array.item() if array.ndim == 0 else array


def number(name: str, value: Any) -> Any:
    """Return a parameter as a float or a sympy expression; raises what `check_array` raises."""
    return check_array(name, value, ndim=0).item()
