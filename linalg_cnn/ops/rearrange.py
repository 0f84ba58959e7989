"""Operations that move entries and change none: reshape, flatten, permute, slice."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import computed_once, index_like, zeros
from linalg_cnn.checks import LARGEST_SIZE, check_int, check_per_axis, check_shape, is_sequence
from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, index_dtype, size_of


class Rearrangement(Operation):
    """An operation that moves entries: A has a single 1 in every row, and at most one in every column.

    The index rule is `move` itself: applied to the numbers 0, 1, ... of the entries, it gives the column of each 1.
    """

    @abstractmethod
    def move(self, x: Array) -> Array:
        """Return the rearranged batch, or raise a ValueError that says why its shape does not fit.

        The result is a view wherever possible, because `out_shape` also calls this on an array that takes no memory.
        """

    def sources(self, in_shape: Shape) -> Array:
        """Return the input that each output reads, as its number in the C-order ravel, in the shape of the output."""
        size = size_of(check_shape("in_shape", in_shape))
        numbers: Array = np.arange(size, dtype=index_dtype(size)).reshape(1, *in_shape)
        return np.asarray(self.move(numbers)[0])

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the output."""
        check_shape("in_shape", in_shape)
        pixel = np.broadcast_to(np.zeros((), np.int8), (1, *in_shape))  # a view, which takes no memory
        return self.move(pixel).shape[1:]

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of outputs: each reads one input."""
        return size_of(self.out_shape(in_shape))

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return a 1 per row."""
        sources = self.sources(in_shape)
        starts = np.arange(sources.size + 1, dtype=sources.dtype)
        values = np.ones(sources.size, object if exact else np.float64)
        return Entries((sources.size, size_of(in_shape)), starts, sources.ravel(), values)

    def push(self, x: Any) -> Any:
        """Return the rearranged batch."""
        if isinstance(x, np.ndarray):
            return self.move(x)
        in_shape = tuple(x.shape[1:])
        return x.reshape(len(x), -1)[:, self._index(in_shape, x)].reshape(len(x), *self.out_shape(in_shape))

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Move the entries back; inputs that no output reads get zeros."""
        x = zeros((len(y), size_of(in_shape)), y)
        x[:, self._index(in_shape, y)] = y.reshape(len(y), size_of(y.shape[1:]))
        return x.reshape(len(y), *in_shape)

    def _index(self, in_shape: Shape, x: Any) -> Any:
        """Return the number of the entry that each output reads, as an index of an array or a tensor."""
        if isinstance(x, np.ndarray):
            return self.sources(in_shape).ravel()
        return computed_once(self, (in_shape, x.device), lambda: index_like(self.sources(in_shape).ravel(), x))


class SameOrder(Rearrangement):
    """A rearrangement that keeps the C-order ravel, so that A is the identity."""

    def push(self, x: Any) -> Any:
        """Return the same entries in the output's shape."""
        return x.reshape(len(x), *self.out_shape(tuple(x.shape[1:])))

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return the same entries in the input's shape."""
        return y.reshape(len(y), *in_shape)


@dataclass(frozen=True)
class Reshape(SameOrder):
    """The same entries in another shape. A is the identity.

    Parameters
    ----------
    shape : tuple of int
        Shape of the output. One entry may be -1, which stands for the size that follows from the others.

    Raises
    ------
    ValueError
        If the shape is malformed.

    Notes
    -----
    Source: ``torch.nn.Unflatten``, ``Tensor.reshape`` without the batch axis.

    Examples
    --------
    >>> import numpy as np
    >>> Reshape((2, -1)).out_shape((1, 2, 3))
    (2, 3)
    >>> Reshape((2, 1)).matrix((1, 2)).toarray()
    array([[1., 0.],
           [0., 1.]])
    >>> import torch
    >>> x = torch.arange(6.0).reshape(1, 1, 2, 3)
    >>> np.array_equal(Reshape((3, 2))(x), x.reshape(1, 3, 2))
    True
    """

    shape: Shape

    def __post_init__(self) -> None:
        shape = tuple(self.shape) if is_sequence(self.shape) else (self.shape,)
        check_shape("shape", tuple(1 if size == -1 else size for size in shape))
        if shape.count(-1) > 1:
            raise ValueError(f"shape: expected at most one -1, got {shape}")
        object.__setattr__(self, "shape", tuple(int(size) for size in shape))

    def move(self, x: Array) -> Array:
        """Return the batch in the new shape.

        Raises
        ------
        ValueError
            If the number of entries differs.
        """
        size, known = size_of(x.shape[1:]), size_of(tuple(n for n in self.shape if n != -1))
        if size % known or (-1 not in self.shape and size != known):
            raise ValueError(f"in_shape: expected a shape that can become {self.shape}, got {x.shape[1:]}")
        return x.reshape(len(x), *(size // known if n == -1 else n for n in self.shape))


@dataclass(frozen=True)
class Flatten(SameOrder):
    """The C-order ravel. A is the identity.

    Notes
    -----
    Source: ``torch.nn.Flatten``.

    Examples
    --------
    >>> Flatten().matrix((1, 1, 2)).toarray()
    array([[1., 0.],
           [0., 1.]])
    >>> import numpy as np, torch
    >>> x = torch.arange(24.0).reshape(1, 2, 3, 4)
    >>> np.array_equal(Flatten()(x), torch.flatten(x, 1))
    True
    """

    def move(self, x: Array) -> Array:
        """Return the batch as vectors."""
        return x.reshape(len(x), size_of(x.shape[1:]))


@dataclass(frozen=True)
class Permute(Rearrangement):
    """The axes, that of the channels included, in another order.

    Parameters
    ----------
    order : tuple of int
        Axes of the input, without the batch axis: ``order[i]`` becomes axis i of the output.

    Raises
    ------
    ValueError
        If ``order`` is not a permutation.

    Notes
    -----
    Source: ``torch.permute(x, (0, *(i + 1 for i in order)))``.

    Examples
    --------
    The transpose of a 2x2 image swaps the middle two of its four pixels.

    >>> Permute((0, 2, 1)).matrix((1, 2, 2)).toarray().astype(int)
    array([[1, 0, 0, 0],
           [0, 0, 1, 0],
           [0, 1, 0, 0],
           [0, 0, 0, 1]])
    >>> import numpy as np, torch
    >>> x = torch.arange(6.0).reshape(1, 1, 2, 3)
    >>> np.array_equal(Permute((2, 0, 1))(x), torch.permute(x, (0, 3, 1, 2)))
    True
    """

    order: Shape

    def __post_init__(self) -> None:
        order = check_per_axis("order", self.order, len(self.order) if is_sequence(self.order) else 1, 0)
        if sorted(order) != list(range(len(order))) or not order:
            raise ValueError(f"order: expected a permutation of 0 to {max(len(order) - 1, 0)}, got {order}")
        object.__setattr__(self, "order", order)

    def move(self, x: Array) -> Array:
        """Return the batch with its axes in the new order.

        Raises
        ------
        ValueError
            If the input has another number of axes.
        """
        if x.ndim - 1 != len(self.order):
            raise ValueError(f"in_shape: expected {len(self.order)} axes for the order {self.order}, got {x.shape[1:]}")
        return x.transpose(0, *(axis + 1 for axis in self.order))


@dataclass(frozen=True)
class Slice(Rearrangement):
    """A range of the channels, or of another axis.

    Parameters
    ----------
    start, stop, step : int or None
        Bounds and step of a Python slice; the step may be negative.
    axis : int
        Number of the axis, without the batch axis; 0 is that of the channels.

    Raises
    ------
    ValueError
        If the step is 0 or the axis negative.

    Notes
    -----
    Source: ``x[:, start:stop]``, ``torch.narrow``, ``torch.flip`` (step -1).

    Examples
    --------
    >>> Slice(1, 3).matrix((4, 1)).toarray().astype(int)
    array([[0, 1, 0, 0],
           [0, 0, 1, 0]])
    >>> import numpy as np, torch
    >>> x = torch.arange(8.0).reshape(1, 4, 2)
    >>> np.array_equal(Slice(1, 3)(x), x[:, 1:3])
    True
    >>> np.array_equal(Slice(step=-1, axis=1)(x), torch.flip(x, [2]))
    True
    """

    start: int | None = None
    stop: int | None = None
    step: int | None = None
    axis: int = 0

    def __post_init__(self) -> None:
        check_int("axis", self.axis, 0)
        for name in ("start", "stop", "step"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name), -LARGEST_SIZE)
        if self.step == 0:
            raise ValueError("step: expected an int other than 0, got 0")

    def move(self, x: Array) -> Array:
        """Return the range of each sample.

        Raises
        ------
        ValueError
            If there is no such axis, or the range is empty.
        """
        if self.axis >= x.ndim - 1:
            raise ValueError(
                f"in_shape: expected more than {self.axis} axes to slice axis {self.axis}, got {x.shape[1:]}"
            )
        part = x[(slice(None),) * (self.axis + 1) + (slice(self.start, self.stop, self.step),)]
        if part.shape[self.axis + 1] == 0:
            raise ValueError(
                f"slice: expected to leave something of axis {self.axis} of {x.shape[1:]}, "
                f"got {self.start}:{self.stop}:{self.step}"
            )
        return part
