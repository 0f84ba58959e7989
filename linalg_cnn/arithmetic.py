"""Two arithmetics in which a network's matrices are multiplied: scipy's sparse matrices, and sympy's exact ones."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from sympy.polys.domains import ZZ
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.exact import add, from_domain, to_domain
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Shape


class Arithmetic(ABC):
    """Products and sums of one kind of matrix."""

    @abstractmethod
    def identity(self, size: int) -> Any:
        """Return the identity matrix."""

    @abstractmethod
    def zero(self, size: int) -> Any:
        """Return the zero vector."""

    @abstractmethod
    def times(self, left: Any, right: Any) -> Any:
        """Return a product of matrices, or of a matrix and a vector."""

    @abstractmethod
    def plus(self, left: Any, right: Any) -> Any:
        """Return a sum."""

    @abstractmethod
    def matrices_of(self, graph: AffineGraph) -> Callable[[Node], list[Any]]:
        """Return a function that gives the matrices of a node, one per input."""

    @abstractmethod
    def bias(self, operation: Operation, in_shapes: tuple[Shape, ...]) -> Any:
        """Return the bias of an operation as a vector, or None."""

    @abstractmethod
    def result(self, found: Any) -> Any:
        """Return a matrix or a vector in the form that `AffineMap` takes."""


class _Sparse(Arithmetic):
    def identity(self, size: int) -> Any:
        return scipy.sparse.eye_array(size, format="csr")

    def zero(self, size: int) -> Any:
        return np.zeros(size)

    def times(self, left: Any, right: Any) -> Any:
        return left @ right

    def plus(self, left: Any, right: Any) -> Any:
        return left + right

    def matrices_of(self, graph: AffineGraph) -> Callable[[Node], list[Any]]:
        # They are built anew for W and for B, because this is fast and keeping them all would take much memory.
        return lambda node: list(node.operation.matrices(*graph.input_shapes(node), exact=False))

    def bias(self, operation: Operation, in_shapes: tuple[Shape, ...]) -> Any:
        return operation.bias_vector(*in_shapes)

    def result(self, found: Any) -> Any:
        return found


class _Exact(Arithmetic):
    def identity(self, size: int) -> Any:
        return DomainMatrix.eye(size, ZZ)

    def zero(self, size: int) -> Any:
        return DomainMatrix.zeros((size, 1), ZZ)

    def times(self, left: Any, right: Any) -> Any:
        return left * right  # DomainMatrix unifies the two domains

    def plus(self, left: Any, right: Any) -> Any:
        return add(left, right)

    def matrices_of(self, graph: AffineGraph) -> Callable[[Node], list[Any]]:
        # They are kept from the walk for W until the walk for B reads them, because they are small and slow to build.
        kept: dict[int, list[Any]] = {}

        def matrices(node: Node) -> list[Any]:
            if id(node) in kept:
                return kept.pop(id(node))
            found = node.operation.matrices(*graph.input_shapes(node), exact=True)
            kept[id(node)] = [to_domain(matrix) for matrix in found]
            return kept[id(node)]

        return matrices

    def bias(self, operation: Operation, in_shapes: tuple[Shape, ...]) -> Any:
        bias = operation.exact().bias_vector(*in_shapes)
        return None if bias is None else to_domain(bias.reshape(-1, 1))

    def result(self, found: Any) -> Any:
        return from_domain(found)


SPARSE = _Sparse()
EXACT = _Exact()
