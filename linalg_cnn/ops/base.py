"""The interface of operations y = A x + b: A as a matrix, applied to a batch, and transposed."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import sympy

from linalg_cnn.arrays import computed_once
from linalg_cnn.checks import as_exact, as_numbers
from linalg_cnn.entries import Entries, count_entries, matrix_bytes, rule_entries
from linalg_cnn.memory import check_memory
from linalg_cnn.ops.parameters import Parametrised
from linalg_cnn.rules import AxisRule, apply_rule, apply_rule_adjoint
from linalg_cnn.types import Array, Shape, size_of


class Operation(Parametrised, ABC):
    """An affine map y = A x + b from values of one shape to values of another.

    A batch has one leading axis: (N, *in_shape) to (N, *out_shape). Calling an operation adds the bias:
    ``op(x) == op.forward(x) + b``.

    A subclass is a frozen dataclass. It defines `out_shape`, `push` (A x) and `pull` (A' y) without building A,
    `entries` and `count_entries` for A, and `offset` where it has a bias; everything else follows. An operation that
    reads several values derives from `MergingOperation`.
    """

    @property
    def weighted(self) -> bool:
        """Whether the operation multiplies by a kernel or a weight, so that its entries count as multiplications."""
        return hasattr(self, "kernel") or hasattr(self, "weight")

    @abstractmethod
    def out_shape(self, in_shape: Shape, /) -> Shape:
        """Return the shape of the output, or raise a ValueError that says why ``in_shape`` does not fit."""

    @abstractmethod
    def push(self, x: Any, /) -> Any:
        """Return A x, without the bias, for a numpy array or a torch tensor (N, *in_shape) that is not checked."""

    @abstractmethod
    def pull(self, y: Any, in_shape: Shape, /) -> Any:
        """Return A' y for a numpy array or a torch tensor (N, *out_shape) that is not checked."""

    @abstractmethod
    def count_entries(self, in_shape: Shape, /) -> int:
        """Return the number of entries of A, computed from the shapes alone."""

    @abstractmethod
    def entries(self, in_shape: Shape, /, *, exact: bool = False) -> Entries:
        """Return the entries of A, as sympy expressions if ``exact``."""

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the entries of one matrix per input."""
        return (self.entries(*in_shapes, exact=exact),)

    def offset(self, in_shape: Shape, /) -> Array | None:
        """Return the bias, of a shape that broadcasts to ``out_shape``, or None."""
        return None

    def __call__(self, *xs: Array) -> Array:
        """Return A x + b for a batch; exact where its entries are exact, with the parameters as the fractions they are.

        Raises
        ------
        TypeError
            If ``xs`` do not hold numbers.
        ValueError
            If there is another number of inputs than the operation reads, their batches differ in length, or the shapes
            do not fit.
        """
        xs = tuple(as_exact(x) if self.symbolic else as_numbers(x) for x in xs)
        same = self.exact_for(*xs)
        y = same.forward(*xs)
        offset = same.offset(*(x.shape[1:] for x in xs))
        return y if offset is None else y + offset

    def forward(self, *xs: Array) -> Array:
        """Return A x for a batch, without the bias; raises what a call raises."""
        xs = tuple(as_numbers(x) for x in xs)
        self.check_batches(xs)
        self.out_shape(*(x.shape[1:] for x in xs))
        y: Array = self.exact_for(*xs).push(*xs)
        return y

    def adjoint(self, y: Array, *in_shapes: Shape) -> Any:
        """Return A' y for a batch; a tuple of one array per input for an operation that merges several.

        Raises
        ------
        TypeError
            If ``y`` does not hold numbers.
        ValueError
            If ``y`` does not have the shape of the output for these inputs, or there is another number of shapes than
            the operation reads inputs.
        """
        self.check_count(len(in_shapes))
        y = as_numbers(y)
        out_shape = self.out_shape(*in_shapes)
        if y.shape[1:] != out_shape:
            raise ValueError(f"y: expected shape (N, {', '.join(map(str, out_shape))}), got {y.shape}")
        return self.exact_for(y).pull(y, *in_shapes)

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
        """Return one matrix per input, exact if asked or if a parameter is symbolic; raises what `matrix` raises."""
        self.check_count(len(in_shapes))
        exact = self.symbolic if exact is None else exact
        rows, columns = size_of(self.out_shape(*in_shapes)), sum(size_of(shape) for shape in in_shapes)
        count = self.count_entries(*in_shapes)
        what = f"the {rows:,} x {columns:,} matrix of {type(self).__name__} with {count:,} entries"
        check_memory(what, matrix_bytes((rows, columns), count, self.dtype.itemsize), max_bytes)
        entries = self.all_entries(*in_shapes, exact=exact)
        return tuple(e.to_sympy() if exact else e.to_csr() for e in entries)

    def bias_vector(self, *in_shapes: Shape) -> Array | None:
        """Return the bias of every output entry, shape (out_size,), or None."""
        self.check_count(len(in_shapes))
        offset = self.offset(*in_shapes)
        return None if offset is None else np.broadcast_to(offset, self.out_shape(*in_shapes)).ravel()


class MergingOperation(Operation):
    """An operation that reads several values, with one matrix for each: y = A_1 x_1 + A_2 x_2 + ...

    Its methods take one array and one shape per input, and `pull` returns a tuple of one array per input.
    """

    merges = True

    @abstractmethod
    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the shape of the output, or raise a ValueError that says why these shapes do not fit."""

    @abstractmethod
    def push(self, *xs: Any) -> Any:
        """Return A_1 x_1 + A_2 x_2 + ... for arrays or tensors (N, *in_shape) that are not checked."""

    @abstractmethod
    def pull(self, y: Any, *in_shapes: Shape) -> tuple[Any, ...]:
        """Return A_k' y for each input k, for an array or a tensor (N, *out_shape) that is not checked."""

    @abstractmethod
    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the number of entries of all the matrices, computed from the shapes alone."""

    @abstractmethod
    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the entries of one matrix per input, as sympy expressions if ``exact``."""

    def entries(self, in_shape: Shape, /, *, exact: bool = False) -> Entries:
        """Return the entries of the matrix where there is one input."""
        return self.all_entries(in_shape, exact=exact)[0]

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the bias, of a shape that broadcasts to ``out_shape``, or None."""
        return None


class Separable(Operation):
    """An operation that acts on each axis by itself: its matrix is the Kronecker product of one rule per axis."""

    @abstractmethod
    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return one rule per axis of ``in_shape``, channels first."""

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the number of output positions of each rule."""
        return tuple(rule.out_size for rule in self.rules(in_shape))

    def push(self, x: Any) -> Any:
        """Apply the rule of each axis in turn."""
        for axis, rule in enumerate(self._rules(tuple(x.shape[1:])), start=1):
            x = apply_rule(x, axis, rule)
        return x

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Apply the transpose of each axis' rule in turn."""
        for axis, rule in enumerate(self._rules(in_shape), start=1):
            y = apply_rule_adjoint(y, axis, rule)
        return y

    def _rules(self, in_shape: Shape) -> list[AxisRule]:
        rules: list[AxisRule] = computed_once(self, ("rules", in_shape), lambda: self.rules(in_shape))
        return rules

    def count_entries(self, in_shape: Shape) -> int:
        """Return the product of the axes' counts."""
        return count_entries(self.rules(in_shape))

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return the entries of the Kronecker product."""
        return rule_entries(self.rules(in_shape), object if exact else np.float64)
