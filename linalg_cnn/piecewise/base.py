"""The interface of operations that are affine on each of finitely many pieces."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from linalg_cnn.arrays import is_infinite, number_like, where
from linalg_cnn.checks import as_exact, as_numbers
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.parameters import Parametrised
from linalg_cnn.types import Array, IntArray, Shape, size_of


class PiecewiseOperation(Parametrised, ABC):
    """A continuous map that is affine on each of finitely many polyhedra that cover its domain.

    A batch has one leading axis: (N, *in_shape) to (N, *out_shape). Each sample has pieces of its own: an array of
    integers that says on which polyhedron it lies, and thereby which affine operation the map is there. Where several
    pieces meet, the one that the gradient of torch takes is chosen.

    A subclass is a frozen dataclass. It defines `out_shape`, `pieces`, `check_pieces`, `affine`, `push_at`, `pull_at`,
    `walls` and `candidates`, and `offset_at` where a piece has a bias; everything else follows. An operation that reads
    several values sets ``merges``, takes one array and one shape for each, and its `pull_at` returns a tuple.
    """

    @abstractmethod
    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the output, or raise a ValueError that says why these shapes do not fit."""

    def piece_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the pieces of one sample; by default that of the output."""
        return self.out_shape(*in_shapes)

    @abstractmethod
    def pieces(self, *xs: Any) -> Any:
        """Return the pieces (N, *piece_shape) of numpy arrays or torch tensors (N, *in_shape) that are not checked."""

    @abstractmethod
    def check_pieces(self, pieces: IntArray, *in_shapes: Shape) -> None:
        """Refuse integers (*piece_shape) that the pieces of no sample are, whatever its entries.

        The message says what was expected and what was given. Pieces that exist one by one need not meet in one sample.

        Raises
        ------
        ValueError
            If there is no such piece.
        """

    @abstractmethod
    def affine(self, pieces: IntArray, *in_shapes: Shape, exact: bool = False) -> Operation:
        """Return the affine operation at the pieces (*piece_shape) of one sample, with sympy entries if ``exact``."""

    @abstractmethod
    def push_at(self, pieces: Any, *xs: Any) -> Any:
        """Return A x at given pieces, without the bias, for numpy arrays or torch tensors that are not checked.

        Parameters
        ----------
        pieces : array (N, *piece_shape)
        *xs : arrays (N k, *in_shape)
            The k vectors of a sample follow each other.

        Returns
        -------
        array (N k, *out_shape)
        """

    @abstractmethod
    def pull_at(self, pieces: Any, y: Any, *in_shapes: Shape) -> Any:
        """Return A' y at given pieces, for an array (N k, *out_shape) in which the k vectors of a sample follow."""

    @abstractmethod
    def walls(self, pieces: IntArray, *in_shapes: Shape) -> tuple[scipy.sparse.csr_array, Array]:
        """Return the inequalities G v <= h that bound the pieces (*piece_shape) of one sample.

        Returns
        -------
        G : csr_array (inequalities, entries)
            v are the entries of the inputs, one after the other if there are several.
        h : array (inequalities,)
        """

    def differ(self, first: IntArray, second: IntArray, *in_shapes: Shape) -> Array:
        """Return which outputs are on different pieces in two batches (N, *piece_shape), as truths (N, out_size)."""
        differ: Array = (first != second).reshape(len(first), size_of(self.out_shape(*in_shapes)))
        return differ

    @abstractmethod
    def candidates(self, samples: IntArray, outputs: IntArray, *xs: Array) -> Array:
        """Return functions of which the largest decides on the piece of an output: they are affine in the inputs.

        Parameters
        ----------
        samples, outputs : int arrays (k,)
            Number of a sample, and of an output in the C-order ravel.
        *xs : ndarrays (N, *in_shape)

        Returns
        -------
        ndarray (k, functions)
        """

    def offset_at(self, pieces: Any, like: Any) -> Any:
        """Return the biases (N, *out_shape) at given pieces, as an array of the kind of another; None if all are 0."""
        return None

    def at(self, pieces: Any, *xs: Any) -> Any:
        """Return A x + b at the pieces (N, *piece_shape) of a batch, one vector per sample, which is not checked."""
        y = self.push_at(pieces, *xs)
        offset = self.offset_at(pieces, xs[0])
        return y + (0 if offset is None else offset)  # adding 0 turns -0 into 0

    def __call__(self, *xs: Array) -> Array:
        """Return the values of a batch.

        Raises
        ------
        TypeError
            If ``xs`` do not hold numbers, or they or a threshold hold sympy expressions that cannot be compared.
        ValueError
            If there is another number of inputs than the operation reads, their batches differ in length, or the shapes
            do not fit.
        """
        xs = tuple(as_exact(x) if self.symbolic else as_numbers(x) for x in xs)
        self.check_batches(xs)
        self.out_shape(*(x.shape[1:] for x in xs))
        same = self.exact_for(*xs)
        y: Array = same.at(same.pieces(*xs), *xs)
        return y


def without_infinite(x: Any, flat: Callable[[], Any]) -> Any:
    """Return entries with 0 for those that are infinite where a function is flat: 0 times them would be NaN.

    Such entries come from sums that overflow, or are given to an operation itself.

    Parameters
    ----------
    x : array
    flat : callable
        Function that returns for each entry whether its factor is 0; it is called if an entry is infinite.
    """
    infinite = is_infinite(x)
    return where(infinite & flat(), number_like(0, x), x) if infinite.any() else x


def per_sample(pieces: Any, x: Any) -> Any:
    """Return k consecutive vectors per sample, (N k, *shape), as a view (N, k, *shape)."""
    count = len(pieces)
    return x.reshape(count, len(x) // count if count else 0, *x.shape[1:])


def together(x: Any) -> Any:
    """Return vectors (N, k, *shape) as (N k, *shape)."""
    return x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])


def bounds(columns: IntArray, signs: Array, limits: Array, size: int) -> tuple[scipy.sparse.csr_array, Array]:
    """Return the inequalities signs[i] v[columns[i]] <= limits[i] of vectors with ``size`` entries."""
    starts = np.arange(len(columns) + 1)
    return scipy.sparse.csr_array((signs, columns, starts), shape=(len(columns), size)), limits


def comparisons(smaller: IntArray, larger: IntArray, size: int) -> tuple[scipy.sparse.csr_array, Array]:
    """Return the inequalities v[smaller[i]] - v[larger[i]] <= 0 of vectors with ``size`` entries."""
    count = len(smaller)
    columns = np.stack([smaller, larger], axis=1).ravel()
    starts = 2 * np.arange(count + 1)
    values = np.tile([1.0, -1.0], count)
    return scipy.sparse.csr_array((values, columns, starts), shape=(count, size)), np.zeros(count)


def stacked(*parts: tuple[scipy.sparse.csr_array, Array]) -> tuple[scipy.sparse.csr_array, Array]:
    """Return several systems of inequalities as one."""
    return scipy.sparse.vstack([G for G, _ in parts], format="csr"), np.concatenate([h for _, h in parts])
