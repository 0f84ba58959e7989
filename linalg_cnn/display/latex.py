"""Formulas of matrices, equations and layers in LaTeX, which notebooks typeset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import scipy.sparse
import sympy

from linalg_cnn.affine import AffineMap
from linalg_cnn.display.entries import flat
from linalg_cnn.display.words import abridged, plain
from linalg_cnn.exact import to_sympy
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import size_of

MOST_CHARACTERS = 6000
"""Number of characters above which a formula is shortened or left out, because typesetting it takes seconds."""

MOST_ROWS = 16
"""Number of rows and columns above which a matrix is written with dots."""


@dataclass(frozen=True)
class Formula:
    r"""A formula that notebooks typeset.

    Parameters
    ----------
    latex : str
        The formula in LaTeX, without dollar signs.
    alt : str
        The formula in plain text.

    Examples
    --------
    >>> Formula(r"W x + B", "W x + B")._repr_latex_()
    '$\\displaystyle W x + B$'
    """

    latex: str
    alt: str

    def __repr__(self) -> str:
        """Show the plain text."""
        return self.alt

    def _repr_latex_(self) -> str:
        """Show the formula in a notebook."""
        return f"$\\displaystyle {self.latex}$"


def matrix_latex(matrix: Any, most: int = MOST_ROWS) -> str:
    r"""Return a matrix in LaTeX; of more than ``most`` rows or columns, the first and the last with dots between them.

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix or sympy matrix
        The matrix; an array of one axis is written as a column.
    most : int
        Largest number of rows and of columns, dots included.

    Examples
    --------
    >>> print(matrix_latex([[1, 2], [3, 4]]))
    \begin{bmatrix}1 & 2 \\ 3 & 4\end{bmatrix}
    >>> print(matrix_latex(scipy.sparse.eye_array(100), most=3))
    \begin{bmatrix}1 & \cdots & 0 \\ \vdots & \ddots & \vdots \\ 0 & \cdots & 1\end{bmatrix}
    """
    if not scipy.sparse.issparse(matrix) and not isinstance(matrix, sympy.MatrixBase):
        matrix = np.asarray(matrix)
        matrix = matrix.reshape(-1, 1) if matrix.ndim == 1 else matrix
    matrix = scipy.sparse.csr_array(matrix) if scipy.sparse.issparse(matrix) else matrix
    rows, columns = (abridged(n, most) for n in matrix.shape)
    lines = [" & ".join(_entry(matrix, row, column) for column in columns) for row in rows]
    return r"\begin{bmatrix}" + r" \\ ".join(lines) + r"\end{bmatrix}"


def _entry(matrix: Any, row: int | None, column: int | None) -> str:
    if row is None or column is None:
        return r"\ddots" if row is None and column is None else r"\vdots" if row is None else r"\cdots"
    return _latex(matrix[row, column])


def _latex(value: Any) -> str:
    return str(sympy.latex(value)) if isinstance(value, sympy.Basic) else plain(value)


def equation_formula(matrix: Any, x: Any) -> Formula:
    """Return the equation A x = y with all entries, as the paper writes its equations (6) and (8).

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix or sympy matrix
        A.
    x : sequence of numbers or sympy expressions
        The vector, or an image whose ravel it is.

    Examples
    --------
    >>> a = sympy.symbols("a_1:3")
    >>> equation_formula([[1, 0], [1, 0], [0, 1]], a)
    [[1, 0], [1, 0], [0, 1]] * [a_1, a_2] = [a_1, a_1, a_2]
    """
    column = sympy.Matrix(flat(x))
    A = to_sympy(matrix) if scipy.sparse.issparse(matrix) else sympy.Matrix(matrix)
    y = A * column
    latex = rf"{matrix_latex(A)} \cdot {matrix_latex(column)} = {matrix_latex(y)}"
    return Formula(latex, f"{_rows_in_words(A)} * {list(column)} = {list(y)}")


def _rows_in_words(matrix: Any) -> str:
    rows, columns = matrix.shape
    return str(matrix.tolist()) if rows * columns <= 200 else f"a {rows} x {columns} matrix"


def affine_formula(affine: AffineMap) -> Formula | None:
    r"""Return y = W x + B with the entries of a symbolic map, or None if it is not symbolic or too long to read.

    Examples
    --------
    >>> a, b = sympy.symbols("a b")
    >>> affine_formula(AffineMap(sympy.Matrix([[a, b]]), [1]))
    y = [[a, b]] x + [1]
    >>> print(affine_formula(AffineMap(sympy.Matrix([[a, b]]), [1])).latex)
    y = \begin{bmatrix}a & b\end{bmatrix} x + \begin{bmatrix}1\end{bmatrix}
    """
    if not affine.symbolic or max(affine.W.shape) > MOST_ROWS:
        return None
    widest = sum(max(len(plain(value)) for value in affine.W.col(c)) for c in range(affine.in_size))
    latex = f"y = {matrix_latex(affine.W)} x + {matrix_latex(affine.B)}"
    if widest > 80 or len(latex) > MOST_CHARACTERS:
        return None
    return Formula(latex, f"y = {affine.W.tolist()} x + {list(affine.B)}")


def layer_formula(network: SkipNetwork, layer: int) -> Formula:
    """Return the paper's equation (10) for one layer of a network, without the terms whose weight is 0.

    Parameters
    ----------
    network : SkipNetwork
        The network.
    layer : int
        Number of the layer, from 1.

    Raises
    ------
    ValueError
        If there is no such layer.

    Examples
    --------
    >>> from linalg_cnn import Conv, ReLU
    >>> t = sympy.Symbol("t")
    >>> layers = [Conv([[[1.0, 1.0]]], bias=[1.0]), Conv([[[1.0, -1.0]]])]
    >>> net = SkipNetwork((1, 4), layers, {(0, 1): t, (1, 1): 1 - t})
    >>> layer_formula(net, 2)
    f(2) = W(2) ((t) R(0,1) f(0) + (1 - t) f(1))
    >>> layer_formula(SkipNetwork((1, 4), [ReLU()]), 1)
    f(1) = ReLU(f(0))
    >>> print(layer_formula(net, 1).latex)
    f^{(1)} = W^{(1)} f^{(0)} + B^{(1)}
    """
    if not 1 <= layer <= len(network.layers):
        raise ValueError(f"layer: expected an int from 1 to {len(network.layers)}, got {layer}")
    operation, j = network.layers[layer - 1], layer - 1
    terms = [_term(network, k, j) for k in range(layer) if network.skip_weights.get((k, j), 0) != 0]
    latex, words = (" + ".join(parts) for parts in zip(*terms, strict=True))
    if len(terms) > 2:  # one below the other, so that the formula is no wider than a phone
        latex = r"\begin{aligned}& " + r" \\ & + ".join(term for term, _ in terms) + r"\end{aligned}"
    if len(terms) > 1:
        latex, words = rf"\left( {latex} \right)", f"({words})"
    if any(sum(pair) for pair in getattr(operation, "padding_pairs", ())):
        latex, words = rf"P^{{({layer})}} {latex}", f"P({layer}) {words}"
    if isinstance(operation, PiecewiseOperation):
        name = type(operation).__name__
        return Formula(
            rf"f^{{({layer})}} = \operatorname{{{name}}}\left( {latex} \right)", f"f({layer}) = {name}({words})"
        )
    latex, words = rf"f^{{({layer})}} = W^{{({layer})}} {latex}", f"f({layer}) = W({layer}) {words}"
    if operation.bias_vector(network.shapes[j]) is not None:
        latex, words = rf"{latex} + B^{{({layer})}}", f"{words} + B({layer})"
    return Formula(latex, words)


def _term(network: SkipNetwork, k: int, j: int) -> tuple[str, str]:
    """Return the term of f^(k) in the input of layer j + 1, in LaTeX and in plain text."""
    weight = network.skip_weights[k, j]
    latex, words = rf"f^{{({k})}}", f"f({k})"
    if network.shapes[k] != network.shapes[j]:
        latex, words = rf"R^{{({k},{j})}} {latex}", f"R({k},{j}) {words}"
    if weight != 1:
        factor = rf"\left({_latex(weight)}\right)" if isinstance(weight, sympy.Add) else _latex(weight)
        latex, words = f"{factor} {latex}", f"({plain(weight)}) {words}"
    return latex, words


def network_formula(network: SkipNetwork) -> Formula:
    """Return equation (10) for each layer of a network; of many layers, for the first ones and the last.

    Examples
    --------
    >>> from linalg_cnn import Conv
    >>> network_formula(SkipNetwork((1, 4), [Conv([[[1.0, 1.0]]]), Conv([[[1.0, -1.0]]], padding=1)]))
    f(1) = W(1) f(0); f(2) = W(2) P(2) f(1)
    """
    found = [layer_formula(network, i) for i in _numbers(len(network.layers))]
    lines = [formula.latex.replace(" = ", " &= ", 1) for formula in found]
    latex = r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"
    return Formula(latex, "; ".join(formula.alt for formula in found))


def _numbers(layers: int) -> list[int]:
    return list(range(1, layers + 1)) if layers <= MOST_ROWS else [*range(1, MOST_ROWS), layers]


def named_entries(matrix: Any, name: str = "w") -> tuple[sympy.Matrix, dict[sympy.Symbol, sympy.Expr]]:
    """Replace the long entries of a matrix by letters, and return the matrix and the value of each letter.

    Entries that are a letter or a number remain. Equal entries have the same letter; letters are numbered row by row,
    without those that the matrix has already.

    Parameters
    ----------
    matrix : sympy matrix
        The matrix.
    name : str
        Prefix of the letters: ``name_1``, ``name_2``, ...

    Returns
    -------
    matrix : sympy.Matrix
        The matrix in letters and numbers.
    formulas : dict {symbol: expression}
        Value of each letter.

    Examples
    --------
    >>> a, b = sympy.symbols("a b")
    >>> named_entries(sympy.Matrix([[a * b + 1, 0], [a, a * b + 1]]))
    (Matrix([
    [w_1,   0],
    [  a, w_1]]), {w_1: a*b + 1})
    """
    different = dict.fromkeys(sympy.expand(value) for value in matrix if not sympy.expand(value).is_Atom)
    taken = {symbol.name for symbol in sympy.Matrix(matrix).free_symbols}
    unused = (letter for i in count(1) if (letter := f"{name}_{i}") not in taken)
    names = {value: sympy.Symbol(letter) for value, letter in zip(different, unused, strict=False)}
    short = sympy.Matrix(matrix).applyfunc(lambda value: names.get(sympy.expand(value), sympy.expand(value)))
    return short, {symbol: value for value, symbol in names.items()}


def entries_formula(
    formulas: Mapping[sympy.Symbol, sympy.Expr], variables: Sequence[Any] = (), *, between: sympy.Symbol | None = None
) -> Formula:
    """Return the values of letters, one equation below the other.

    Parameters
    ----------
    formulas : mapping {symbol: expression}
        Value of each letter, as from `named_entries`.
    variables : sequence of sympy expressions
        Variables whose powers are collected.
    between : sympy symbol, optional
        A strength t. A value of degree one in t is written as (1 - t) times its value at t = 0 plus t times its value
        at t = 1.

    Examples
    --------
    >>> a, b, t = sympy.symbols("a b t")
    >>> entries_formula({sympy.Symbol("w_1"): a * b - a * b * t + b * t}, [t])
    w_1 = a*b + t*(-a*b + b)
    >>> entries_formula({sympy.Symbol("w_1"): a * b - a * b * t + b * t}, between=t)
    w_1 = a*b*(1 - t) + b*t
    """
    shown = {symbol: _arranged(value, variables, between) for symbol, value in formulas.items()}
    lines: list[str] = []
    words: list[str] = []
    for symbol, value in shown.items():
        line = rf"{_latex(symbol)} &= {_latex(value)}"
        if sum(map(len, lines)) + len(line) > MOST_CHARACTERS:
            lines.append(rf"&\;\;\vdots \quad \text{{({len(shown) - len(words)} more)}}")
            break
        lines.append(line)
        words.append(f"{plain(symbol)} = {plain(value)}")
    return Formula(r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}", "; ".join(words))


def _arranged(value: Any, variables: Sequence[Any], between: sympy.Symbol | None) -> Any:
    if between is not None and value.is_polynomial(between) and sympy.degree(value, between) == 1:
        return (1 - between) * value.subs(between, 0) + between * value.subs(between, 1)
    return sympy.collect(value, variables) if variables else value


def image_latex(x: Any, shape: tuple[int, int]) -> str:
    r"""Return a vector as an image of one channel in LaTeX, as the paper's equations (7) and (9).

    Raises
    ------
    ValueError
        If the vector does not have one entry per pixel.

    Examples
    --------
    >>> print(image_latex([1, 2], (1, 2)))
    \begin{bmatrix}1 & 2\end{bmatrix}
    """
    values = flat(x)
    if len(values) != size_of(shape):
        raise ValueError(f"x: expected {size_of(shape)} entries for an image of shape {shape}, got {len(values)}")
    return matrix_latex(sympy.Matrix(*shape, values))
