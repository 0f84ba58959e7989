"""Pictures of vectors and of the equation A x = y."""

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
    alt: str | None = None,
) -> Picture:
    """Return a vector, or the ravel of an image, as a column of labelled cells.

    Parameters
    ----------
    values : array_like, or sequence of sympy expressions or str
        Entries of the vector, or an image.
    colors : sequence of str, optional
        Colour of each entry; by default the colours of an image's pixels.
    marks : str
        Prefix of the CSS classes: entry i has the class ``f"{marks}{i}"``.
    lit : iterable of int
        Entries with a frame.
    widest : float
        Width of the widest label, in pixels; a longer entry is written as dots and its hover text shows it.
    title : str, optional
        Title above the vector.
    alt : str, optional
        Text alternative; by default it lists the entries.

    Examples
    --------
    >>> vector_picture([[1.0, 2.0], [3.0, 4.0]])
    Picture(24 x 96: The vector (1, 2, 3, 4).)
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
    alt = f"The vector ({listed(entries)})." if alt is None else alt
    picture = draw_grid((len(cells), 1), cells, size=size, lit=[(i, 0, 1, 1) for i in lit], alt=alt)
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
    """Return the equation A x = y in colour, as the paper writes its equations (6) and (8).

    Each entry of x has the colour of its pixel. An entry of y has the mean colour of the pixels that it reads, weighted
    as in its row; an entry that reads none is white. Hovering over an entry of y or a row highlights the pixels that it
    reads.

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix, sympy matrix, or Operation
        A, of at most 64 rows and columns.
    x : sequence of numbers or sympy expressions
        The image or its ravel.
    in_shape, out_shape : tuple of int, optional
        Shapes (channels, *spatial) whose ravels x and y are; an operation needs ``in_shape``.
    color : str
        Colouring of A, as in `matrix_picture`.
    title : str, optional
        Title above the equation.

    Raises
    ------
    ValueError
        If A has more than 64 rows or columns, or x does not have one entry per column.

    Examples
    --------
    >>> import sympy
    >>> from linalg_cnn import resample_matrix
    >>> picture = equation_picture(resample_matrix((1, 1), 2), [sympy.Symbol("a")])
    >>> picture.alt  # doctest: +ELLIPSIS
    'The equation A x = y. A is a matrix of size 2 x 1, ... x is the vector (a). y is the vector (a, a).'
    """
    values = flat(x)
    letters = _has_letters(values)
    painted = paint(matrix, in_shape, out_shape, color, exact=letters)
    rows, columns = painted.shape
    if max(rows, columns) > 64:
        raise ValueError(f"matrix: expected at most 64 rows and columns, got {rows} x {columns}")
    if len(values) != columns:
        raise ValueError(f"x: expected {columns} entries, one per column, got {len(values)}")
    if letters:
        painted = replace(painted, values=to_exact(painted.values))
    by_row = [{column: entry.value for column, entry in row.items()} for row in painted.by_row()]
    zero = sympy.Integer(0) if letters else 0
    y = [sum((weight * values[column] for column, weight in row.items()), zero) for row in by_row]
    x_colors = pixel_colors(painted.in_shape or (columns,))
    y_colors = [mean_color([x_colors[column] for column in row], list(row.values())) for row in by_row]
    picture = side_by_side(
        _bracketed(draw_matrix(painted, None, True, [])),
        TIMES,
        _bracketed(vector_picture(values, x_colors)),
        "=",
        _bracketed(vector_picture(y, y_colors, marks="R", widest=230)),
        alt=f"The equation A x = y. A is {describe(painted)} x is {_in_words(values)}. y is {_in_words(y)}.",
    )
    return picture.with_rules(hover_rules(painted)).with_title(title)


def _in_words(values: Sequence[Any]) -> str:
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
