"""What every operation offers: y = A x + b, with A as a matrix, as ``forward`` and as ``adjoint``."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, Self

import numpy as np
import sympy

from linalg_cnn.checks import as_exact, as_numbers, check_memory
from linalg_cnn.entries import Entries, count_entries, matrix_bytes, rule_entries
from linalg_cnn.exact import to_exact
from linalg_cnn.notebook import Drawn
from linalg_cnn.rules import AxisRule, apply_rule, apply_rule_adjoint
from linalg_cnn.types import Array, Shape, size_of


class Operation(Drawn, ABC):
    """An affine map between shapes. Batches have one leading axis: (N, *in_shape) to (N, *out_shape).

    ``forward`` is the linear part A x and ``adjoint`` its transpose A' y, both without building A;
    calling the operation adds the bias: ``op(x) == op.forward(x) + b``.
    Operations that merge several values (a weighted sum) take one array and one shape for each of them.
    """

    @property
    def symbolic(self) -> bool:
        """Whether a parameter holds sympy expressions."""
        return False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix' entries."""
        return np.dtype(np.float64)

    @abstractmethod
    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that comes out, or raise a ValueError that says why these shapes do not fit."""

    def forward(self, *xs: Array) -> Array:
        """Return A x for a batch, without the bias.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        xs = tuple(as_numbers(x) for x in xs)
        self.out_shape(*(x.shape[1:] for x in xs))
        y: Array = self._forward(*xs)
        return y

    @abstractmethod
    def _forward(self, *xs: Any) -> Any:
        """Return A x for batches of the right shapes: numpy arrays, or torch tensors on any device."""

    def adjoint(self, y: Array, *in_shapes: Shape) -> Any:
        """Return A' y for a batch; a tuple of one array per input where the operation merges several.

        Raises
        ------
        ValueError
            If ``y`` does not have the shape that comes out of these inputs.
        """
        y = as_numbers(y)
        out_shape = self.out_shape(*in_shapes)
        if y.shape[1:] != out_shape:
            raise ValueError(f"y: expected shape (N, {', '.join(map(str, out_shape))}), got {y.shape}")
        return self._adjoint(y, *in_shapes)

    @abstractmethod
    def _adjoint(self, y: Any, *in_shapes: Shape) -> Any:
        """Return A' y for a batch of the right shape: a numpy array, or a torch tensor on any device."""

    @abstractmethod
    def count_entries(self, *in_shapes: Shape) -> int:
        """Return how many entries the matrices have in all, computed from the shapes alone."""

    @abstractmethod
    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the entries of one matrix per input, exact ones (sympy) if asked."""

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the bias, of a shape that broadcasts to ``out_shape``, or None."""
        return None

    def exact(self) -> Self:
        """Return the same operation with sympy parameters; floats are taken for the binary fractions they are."""
        parameters = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **{name: to_exact(value) for name, value in parameters.items()})  # type: ignore[type-var]

    def __call__(self, *xs: Array) -> Array:
        """Return A x + b for a batch."""
        xs = tuple(as_exact(x) if self.symbolic else as_numbers(x) for x in xs)
        y = self.forward(*xs)
        offset = self.offset(*(x.shape[1:] for x in xs))
        return y if offset is None else y + offset

    def matrix(self, in_shape: Shape, max_bytes: int | None = None) -> Any:
        """Return A as ``csr_array``, or as a sympy matrix if a parameter is symbolic.

        Raises
        ------
        ValueError
            If the shape does not fit.
        MemoryError
            If A would take more than ``max_bytes`` (half of the machine's memory if not given).
        """
        return self.matrices(in_shape, max_bytes=max_bytes)[0]

    def exact_matrix(self, in_shape: Shape, max_bytes: int | None = None) -> sympy.Matrix:
        """Return A as a sympy matrix with exact entries; raises what `matrix` raises."""
        return self.matrices(in_shape, exact=True, max_bytes=max_bytes)[0]

    def matrices(self, *in_shapes: Shape, exact: bool | None = None, max_bytes: int | None = None) -> tuple[Any, ...]:
        """Return one matrix per input, sympy if asked or if a parameter is symbolic; raises what `matrix` raises."""
        exact = self.symbolic if exact is None else exact
        rows, columns = size_of(self.out_shape(*in_shapes)), sum(size_of(shape) for shape in in_shapes)
        count = self.count_entries(*in_shapes)
        what = f"the {rows:,} x {columns:,} matrix of {type(self).__name__} with {count:,} entries"
        check_memory(what, matrix_bytes((rows, columns), count, self.dtype.itemsize), max_bytes)
        entries = self.all_entries(*in_shapes, exact=exact)
        return tuple(e.to_sympy() if exact else e.to_csr() for e in entries)

    def bias_vector(self, *in_shapes: Shape) -> Array | None:
        """Return the bias of every output entry, shape (out_size,), or None."""
        offset = self.offset(*in_shapes)
        return None if offset is None else np.broadcast_to(offset, self.out_shape(*in_shapes)).ravel()


class Separable(Operation):
    """An operation that acts on each axis by itself: its matrix is the Kronecker product of one rule per axis."""

    @abstractmethod
    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return one rule per axis of ``in_shape``, channels first."""

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape that comes out."""
        return tuple(rule.out_size for rule in self.rules(*in_shapes))

    def _forward(self, *xs: Any) -> Any:
        """Apply each axis' rule in turn."""
        (x,) = xs
        for axis, rule in enumerate(self.rules(x.shape[1:]), start=1):
            x = apply_rule(x, axis, rule)
        return x

    def _adjoint(self, y: Any, *in_shapes: Shape) -> Any:
        """Apply the transpose of each axis' rule in turn."""
        for axis, rule in enumerate(self.rules(*in_shapes), start=1):
            y = apply_rule_adjoint(y, axis, rule)
        return y

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the product of the axes' counts."""
        return count_entries(self.rules(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the entries of the Kronecker product."""
        return (rule_entries(self.rules(*in_shapes), object if exact else np.float64),)
