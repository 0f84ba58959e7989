"""An operation applied to each slice along the first axis, such as each frame of a video."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from linalg_cnn.checks import check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import MergingOperation, Operation
from linalg_cnn.types import Array, Shape, index_dtype


@dataclass(frozen=True)
class PerSlice(MergingOperation):
    """One operation for each slice along the first axis: A is the Kronecker product of an identity and its matrix.

    Parameters
    ----------
    operation : Operation
        The operation. It reads slices, whose shape is that of the input without the first axis. If it reads several
        values, all of them have the same number of slices.

    Raises
    ------
    TypeError
        If ``operation`` is not an `Operation`.

    Notes
    -----
    A is block diagonal: the row of (k, p) has the entries of the operation's row p, in the columns of slice k.

    Source: ``torch.vmap``, and networks that fold an axis into the batch: ``f(x.flatten(0, 1)).unflatten(0, (-1, k))``.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Conv, Dense
    >>> PerSlice(Dense([[1.0, 2.0]])).matrix((2, 2)).toarray()
    array([[1., 2., 0., 0.],
           [0., 0., 1., 2.]])
    >>> import torch
    >>> rng = np.random.default_rng(0)
    >>> kernel, x = rng.normal(size=(3, 1, 2)), rng.normal(size=(5, 4, 1, 6))
    >>> frames = torch.from_numpy(x).flatten(0, 1)
    >>> theirs = torch.nn.functional.conv1d(frames, torch.from_numpy(kernel)).unflatten(0, (5, 4))
    >>> np.allclose(PerSlice(Conv(kernel))(x), theirs.numpy())
    True
    """

    operation: Operation

    def __post_init__(self) -> None:
        if not isinstance(self.operation, Operation):
            raise TypeError(f"operation: expected an Operation, got {type(self.operation).__name__}")

    def __repr__(self) -> str:
        """Show the operation."""
        return f"PerSlice({self.operation!r})"

    @property
    def symbolic(self) -> bool:
        """Whether the operation holds sympy expressions."""
        return self.operation.symbolic

    @property
    def weighted(self) -> bool:
        """Whether the operation multiplies by a kernel or a weight."""
        return self.operation.weighted

    def _parameters(self) -> dict[str, Array]:
        return self.operation._parameters()

    def exact(self) -> "PerSlice":
        """Return the same operation with sympy parameters."""
        return replace(self, operation=self.operation.exact())

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the number of slices and the operation's output shape.

        Raises
        ------
        ValueError
            If an input has a single axis, the inputs have different numbers of slices, or the slices do not fit.
        """
        shapes = [check_shape("in_shape", shape) for shape in in_shapes]
        if min(map(len, shapes)) < 2 or len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"in_shape: expected a number of slices, and the shape of a slice, got {shapes}")
        return (shapes[0][0], *self.operation.out_shape(*_slices(*shapes)))

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the operation's bias, which is the same for every slice."""
        return self.operation.offset(*_slices(*in_shapes))

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of slices times the number of the operation's entries."""
        return in_shapes[0][0] * self.operation.count_entries(*_slices(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the operation's entries as blocks along the diagonal."""
        blocks = self.operation.all_entries(*_slices(*in_shapes), exact=exact)
        return tuple(_repeated(block, in_shapes[0][0]) for block in blocks)

    def push(self, *xs: Any) -> Any:
        """Apply the operation to all slices of all samples as one batch."""
        y = self.operation.push(*map(_joined, xs))
        return y.reshape(*xs[0].shape[:2], *y.shape[1:])

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Apply the operation's transpose to all slices of all samples as one batch."""
        pulled = self.operation.pull(_joined(y), *_slices(*in_shapes))
        parts = pulled if isinstance(pulled, tuple) else (pulled,)
        return tuple(part.reshape(len(y), *shape) for part, shape in zip(parts, in_shapes, strict=True))


def _slices(*in_shapes: Shape) -> tuple[Shape, ...]:
    """Return the shapes of the slices."""
    return tuple(tuple(shape[1:]) for shape in in_shapes)


def _joined(x: Any) -> Any:
    """Return a batch (N, slices, *shape) as a batch of slices (N * slices, *shape)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def _repeated(block: Entries, count: int) -> Entries:
    """Return the entries of a matrix with ``count`` equal blocks along its diagonal."""
    (rows, columns), entries = block.shape, len(block.columns)
    index = index_dtype(count * entries, count * columns)
    first = np.arange(count, dtype=index)[:, np.newaxis]
    starts = np.append((block.starts[:-1] + first * index(entries)).ravel(), index(count * entries))
    return Entries(
        (count * rows, count * columns),
        starts.astype(index),
        (block.columns + first * index(columns)).ravel().astype(index),
        np.tile(block.values, count),
        block.canonical,
    )
