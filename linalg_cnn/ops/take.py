"""Any choice of entries, given as a table of their numbers, for rearrangements that no rule per axis describes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import add_at, index_like, zeros
from linalg_cnn.checks import as_array, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class Take(Operation):
    """The entries of the input that a table names, in the table's shape: roll, flip, expand, indexing.

    Parameters
    ----------
    sources : int array_like
        Table in the shape of the output: the number, in the C-order ravel of the input, of the entry that each output
        reads, or -1 for a zero. An entry may be read several times, or never.

    Raises
    ------
    TypeError
        If ``sources`` are not integers.
    ValueError
        If the table is empty, or a number is smaller than -1.

    Notes
    -----
    The row of output p has a single 1, in column sources[p], and no entry if that is -1.

    Source: ``torch.take(x, sources)`` for each sample.

    Examples
    --------
    >>> import numpy as np
    >>> Take([1, -1, 1]).matrix((2,)).toarray().astype(int)
    array([[0, 1],
           [0, 0],
           [0, 1]])
    >>> import torch
    >>> x = torch.arange(6.0).reshape(1, 2, 3)
    >>> numbers = torch.arange(6).reshape(2, 3).roll(1, dims=1)
    >>> np.array_equal(Take(numbers)(x), x.roll(1, dims=2))
    True
    """

    sources: Any

    def __post_init__(self) -> None:
        sources = as_array("sources", self.sources)
        if sources.size == 0:
            raise ValueError(f"sources: expected at least one entry along every axis, got shape {sources.shape}")
        if sources.dtype.kind not in "iu":
            raise TypeError(f"sources: expected integers, got dtype {sources.dtype}")
        check_shape("sources", sources.shape)
        if sources.min() < -1:
            raise ValueError(f"sources: expected numbers of entries, or -1 for a zero, got {sources.min()}")
        object.__setattr__(self, "sources", sources.astype(index_dtype(int(sources.max()))))

    def __repr__(self) -> str:
        """Show the shape, without the table."""
        return f"Take(sources {self.sources.shape})"

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the table.

        Raises
        ------
        ValueError
            If the input has fewer entries than the table names.
        """
        size = size_of(check_shape("in_shape", in_shape))
        if self.sources.max() >= size:
            raise ValueError(
                f"in_shape: expected at least {self.sources.max() + 1} entries, as sources names, got {in_shape}"
            )
        shape: Shape = self.sources.shape
        return shape

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of outputs that read an entry."""
        return int(np.count_nonzero(self.sources >= 0))

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return a 1 for each output that reads an entry."""
        sources = self.sources.ravel()
        shown = sources >= 0
        starts = np.zeros(sources.size + 1, dtype=index_dtype(sources.size))
        np.cumsum(shown, out=starts[1:])
        values = np.ones(int(starts[-1]), object if exact else np.float64)
        return Entries((sources.size, size_of(in_shape)), starts, sources[shown], values)

    def push(self, x: Any) -> Any:
        """Return the entries that the table names."""
        y = zeros((len(x), self.sources.size), x)
        shown = np.flatnonzero(self.sources.ravel() >= 0)
        read = x.reshape(len(x), size_of(tuple(x.shape[1:])))[:, index_like(self.sources.ravel()[shown], x)]
        y[:, index_like(shown, x)] = read
        return y.reshape(len(x), *self.sources.shape)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return, for each entry of the input, the sum of the cotangents of the outputs that read it."""
        x = zeros((len(y), size_of(in_shape)), y)
        sources = self.sources.ravel()
        shown = np.flatnonzero(sources >= 0)
        add_at(x, sources[shown], y.reshape(len(y), sources.size)[:, index_like(shown, y)])
        return x.reshape(len(y), *in_shape)
