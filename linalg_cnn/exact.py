"""Exact arithmetic: numbers as sympy expressions, and matrix products that stay practical.

Matrices are multiplied as sympy's DomainMatrix, which holds polynomials and fractions of a fixed domain instead of
expression trees. Results are therefore expanded, and equal results look equal.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import scipy.sparse
import sympy
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.types import Array


def to_exact(array: Array) -> Array:
    """Return the same numbers as sympy expressions. A float becomes the binary fraction that it is.

    Raises
    ------
    TypeError
        If an entry is neither a number nor a sympy expression.
    ValueError
        If an entry is NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> to_exact(np.array([0.5, 3.0, 0.1])).tolist()
    [1/2, 3, 3602879701896397/36028797018963968]
    """
    exact = np.empty(array.shape, dtype=object)
    for index, entry in np.ndenumerate(array):
        exact[index] = _to_expression(entry)
    return exact


def _to_expression(entry: object) -> sympy.Expr:
    if isinstance(entry, (float, np.floating)):
        if not np.isfinite(entry):
            raise ValueError(f"expected finite entries, got {entry}")
        return sympy.Rational(float(entry))
    if isinstance(entry, (int, np.integer)) and not isinstance(entry, bool):
        return sympy.Integer(int(entry))
    if isinstance(entry, Fraction):
        return sympy.Rational(entry.numerator, entry.denominator)
    if not isinstance(entry, sympy.Expr):  # sympify would evaluate a string
        raise TypeError(f"expected numbers or sympy expressions, got an entry of type {type(entry).__name__}")
    if entry.is_real is False and entry.is_finite:
        raise TypeError(f"expected real numbers or real expressions, got {entry}")
    if entry.is_finite is False or entry.has(sympy.nan, sympy.oo, -sympy.oo, sympy.zoo):
        raise ValueError(f"expected finite entries, got {entry}")
    return entry.xreplace({number: sympy.Rational(number) for number in entry.atoms(sympy.Float)})


def to_sympy(matrix: Any) -> sympy.ImmutableDenseMatrix:
    """Return a sympy, dense or sparse matrix as an immutable sympy matrix with the same entries, exact."""
    if scipy.sparse.issparse(matrix):
        matrix = matrix.toarray()
    if not isinstance(matrix, sympy.MatrixBase):
        matrix = sympy.Matrix(*matrix.shape, to_exact(matrix).ravel().tolist())
    return sympy.ImmutableDenseMatrix(matrix)


def to_domain(matrix: Any) -> DomainMatrix:
    """Return a sympy, dense or sparse matrix as a DomainMatrix over the smallest domain that holds its entries."""
    return DomainMatrix.from_Matrix(to_sympy(matrix))


def add(left: DomainMatrix, right: DomainMatrix) -> DomainMatrix:
    """Return the sum of two DomainMatrices over any two domains.

    They are added as dense matrices: sympy cannot add sparse ones of irrational entries whose zeros differ in position.
    """
    left, right = left.unify(right)
    return left.to_dense() + right.to_dense()


def from_domain(matrix: DomainMatrix) -> sympy.ImmutableDenseMatrix:
    """Return an immutable sympy matrix with expanded entries."""
    return sympy.ImmutableDenseMatrix(matrix.to_Matrix())
