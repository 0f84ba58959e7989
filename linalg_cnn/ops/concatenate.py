"""Several values side by side."""

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from linalg_cnn.arrays import concatenate
from linalg_cnn.checks import check_int, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import MergingOperation
from linalg_cnn.types import Shape, index_dtype, size_of


@dataclass(frozen=True)
class Concatenate(MergingOperation):
    """Several inputs side by side along an axis.

    The matrix of input k has a single 1 in each row that shows a pixel of that input, and none elsewhere; for two
    inputs of two channels (and one pixel)::

        [1 0]      [0 0]
        [0 1]      [0 0]
        [0 0]      [1 0]
        [0 0]      [0 1]

    Parameters
    ----------
    axis : int
        Counted without the batch; 0 are the channels.

    Raises
    ------
    ValueError
        If the axis is negative.

    Notes
    -----
    Source: ``torch.cat(xs, dim=axis + 1)``.

    Examples
    --------
    >>> import numpy as np
    >>> Concatenate()(np.array([[1.0, 2.0]]), np.array([[3.0]]))
    array([[1., 2., 3.]])
    >>> import torch
    >>> x, y = torch.ones(1, 2, 3), torch.zeros(1, 4, 3)
    >>> np.array_equal(Concatenate()(x, y), torch.cat([x, y], dim=1))
    True
    """

    axis: int = 0

    def __post_init__(self) -> None:
        check_int("axis", self.axis, 0)

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that comes out.

        Raises
        ------
        ValueError
            If the shapes differ along another axis than that of the concatenation.
        """
        axis = self.axis
        in_shapes = tuple(check_shape("in_shape", shape) for shape in in_shapes)
        others = {(*shape[:axis], *shape[axis + 1 :]) for shape in in_shapes}
        if len(others) != 1 or any(len(shape) <= axis for shape in in_shapes):
            raise ValueError(f"concatenate: expected shapes that differ along axis {axis} only, got {list(in_shapes)}")
        first = in_shapes[0]
        return (*first[:axis], sum(shape[axis] for shape in in_shapes), *first[axis + 1 :])

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of outputs."""
        return size_of(self.out_shape(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return one matrix per input."""
        size = size_of(self.out_shape(*in_shapes))
        matrices = []
        for k, shape in enumerate(in_shapes):
            # Mark which rows show input k, by concatenating ones and zeros.
            marks = [np.full(other, number == k, dtype=bool) for number, other in enumerate(in_shapes)]
            shown = np.concatenate(marks, axis=self.axis).ravel()
            starts = np.zeros(size + 1, dtype=index_dtype(size))
            np.cumsum(shown, out=starts[1:])
            # Both ravels list the pixels of input k in the same order.
            columns = np.arange(size_of(shape), dtype=starts.dtype)
            values = np.ones(size_of(shape), object if exact else np.float64)
            matrices.append(Entries((size, size_of(shape)), starts, columns, values))
        return tuple(matrices)

    def push(self, *xs: Any) -> Any:
        """Concatenate the batches' images."""
        return concatenate(xs, self.axis + 1)

    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Split the batch into the parts that show each input."""
        ends = [0, *accumulate(shape[self.axis] for shape in in_shapes)]
        return tuple(y[(slice(None),) * (self.axis + 1) + (slice(*ends_of_part),)] for ends_of_part in pairwise(ends))
