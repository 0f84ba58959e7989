"""Exact arithmetic: numbers as sympy expressions, and matrix products that stay practical.

Products go through sympy's DomainMatrix: polynomials and fractions in a fixed domain instead of expression trees,
so that results come out expanded and equal things look equal.
"""

from typing import Any

import numpy as np
import scipy.sparse
import sympy
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.types import Array


def to_exact(array: Array) -> Array:
    """Return the same numbers as sympy expressions. A float is taken for the binary fraction that it is.

    Examples
    --------
    >>> import numpy as np
    >>> to_exact(np.array([0.5, 3.0, 0.1])).tolist()
    [1/2, 3, 3602879701896397/36028797018963968]
    """
    exact = np.empty(array.shape, dtype=object)
    for index, entry in np.ndenumerate(array):
        if isinstance(entry, (float, np.floating)):
            entry = sympy.Rational(float(entry))
        exact[index] = sympy.sympify(entry)
    return exact


def to_sympy(matrix: Any) -> sympy.ImmutableDenseMatrix:
    """Return a sympy, dense or sparse matrix as an immutable sympy matrix, its entries exact and as they stand."""
    if scipy.sparse.issparse(matrix):
        matrix = matrix.toarray()
    if not isinstance(matrix, sympy.MatrixBase):
        matrix = sympy.Matrix(*matrix.shape, to_exact(matrix).ravel().tolist())
    return sympy.ImmutableDenseMatrix(matrix)


def to_domain(matrix: Any) -> DomainMatrix:
    """Return a sympy, dense or sparse matrix as a DomainMatrix over the smallest domain that holds its entries."""
    return DomainMatrix.from_Matrix(to_sympy(matrix))


def from_domain(matrix: DomainMatrix) -> sympy.ImmutableDenseMatrix:
    """Return an immutable sympy matrix with expanded entries."""
    return sympy.ImmutableDenseMatrix(matrix.to_Matrix())
