"""Vectors, and the equation A x = y, as pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy

from linalg_cnn.display.colors import INK, mean_color
from linalg_cnn.display.entries import flat, paint, pixel_colors
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, fits
from linalg_cnn.display.matrices import describe, draw_matrix, hover_rules
from linalg_cnn.display.picture import TIMES, Picture, move, side_by_side
from linalg_cnn.display.words import listed, plain
from linalg_cnn.exact import to_exact
from linalg_cnn.types import Shape


def vector_picture(
    values: Any,
    colors: Sequence[str] | None = None,
    *,
    marks: str = "P",
    lit: Iterable[int] = (),
    widest: float = 100,
    title: str | None = None,
    alt: str = "",
) -> Picture:
    """Return a vector, or the ravel of an image, as a column of labelled cells.

    Parameters
    ----------
    values : array_like, sequence of sympy expressions or of str
    colors : sequence of str, optional
        One for each entry; those of the pixels of an image of this shape if not given.
    marks : str
        The CSS class of entry i is this and i.
    lit : iterable of int
        Entries to frame.
    widest : float
        In pixels; entries that need more are dots, and say what they are when hovered over.
    title : str, optional
    alt : str
        The entries themselves if not given.

    Examples
    --------
    >>> vector_picture([[1.0, 2.0], [3.0, 4.0]])
    Picture(24 x 96: the vector (1, 2, 3, 4))
    """
    entries = flat(values)
    if colors is None:
        colors = pixel_colors(np.shape(values) if not isinstance(values, sympy.MatrixBase) else (len(entries),))
    cells = [
        Cell(i, 0, color, value if fits(value, widest) else "…", f"entry {i}: {plain(value)}", f"{marks}{i}")
        for i, (value, color) in enumerate(zip(entries, colors, strict=True))
    ]
    height = 24 if len(cells) <= 16 else 17
    size = (cell_size((len(cells), 1), [cell.label for cell in cells])[0], height)
    spelled = alt or "the vector (" + listed(entries) + ")"
    picture = draw_grid((len(cells), 1), cells, size=size, lit=[(i, 0, 1, 1) for i in lit], alt=spelled)
    return picture.with_title(title)


def equation_picture(
    matrix: Any,
    x: Any,
    in_shape: Shape | None = None,
    out_shape: Shape | None = None,
    *,
    color: str = "auto",
    title: str | None = None,
) -> Picture:
    """Return A x = y written out in colour, as the paper writes its equations (6) and (8).

    Each entry of x has the colour of its pixel. An entry of y has the mean colour of the pixels that it reads, weighted
    as in its row, and stays white where it reads none. Hovering over an entry of y or a row lights what it reads.

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix, sympy matrix, or Operation
        Of at most 64 rows and columns.
    x : sequence of numbers or sympy expressions
        The image, ravelled or not.
    in_shape, out_shape : tuple of int, optional
    color : str
        As in `matrix_picture`.
    title : str, optional

    Raises
    ------
    ValueError
        If the matrix is larger, or x does not fit it.

    Examples
    --------
    >>> import sympy
    >>> from linalg_cnn import resample_matrix
    >>> picture = equation_picture(resample_matrix((1, 1), 2), [sympy.Symbol("a")])
    >>> picture.alt  # doctest: +ELLIPSIS
    '... row 0: 1 in column 0; row 1: 1 in column 0 times the vector (a) = the vector (a, a)'
    """
    painted = paint(matrix, in_shape, out_shape, color)
    values = flat(x)
    rows, columns = painted.shape
    if max(rows, columns) > 64:
        raise ValueError(f"matrix: expected at most 64 rows and columns to write out, got {rows} x {columns}")
    if len(values) != columns:
        raise ValueError(f"x: expected {columns} entries, one per column, got {len(values)}")
    if _has_letters(values):
        painted = replace(painted, values=to_exact(painted.values))
    by_row = [{column: entry.value for column, entry in row.items()} for row in painted.by_row()]
    zero = sympy.Integer(0) if _has_letters(values) else 0
    y = [sum((weight * values[column] for column, weight in row.items()), zero) for row in by_row]
    x_colors = pixel_colors(painted.in_shape or (columns,))
    y_colors = [mean_color([x_colors[column] for column in row], list(row.values())) for row in by_row]
    picture = side_by_side(
        _bracketed(draw_matrix(painted, None, True, [])),
        TIMES,
        _bracketed(vector_picture(values, x_colors)),
        "=",
        _bracketed(vector_picture(y, y_colors, marks="R", widest=190)),
        alt=f"{describe(painted)} times {_vector_in_words(values)} = {_vector_in_words(y)}",
    )
    return picture.with_rules(hover_rules(painted)).with_title(title)


def _vector_in_words(values: Sequence[Any]) -> str:
    shown = listed(values)
    return f"the vector ({shown})" if len(shown) <= 600 else f"a vector of {len(values)} entries"


def _bracketed(picture: Picture) -> Picture:
    """Return a picture in square brackets."""
    w, h, lip = picture.width + 12, picture.height, 5
    path = f"M{lip} 0H0V{h:.1f}H{lip}M{w - lip:.1f} 0H{w:.1f}V{h:.1f}H{w - lip:.1f}"
    body = move(picture.body, 6, 0) + f'<path d="{path}" stroke="{INK}" stroke-width="1.6" fill="none"/>'
    return Picture(body, w, h, picture.alt)


def _has_letters(values: Sequence[Any]) -> bool:
    return any(isinstance(value, sympy.Basic) for value in values)
