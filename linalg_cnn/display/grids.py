"""Grids of cells: what matrices, vectors, images and kernels are drawn with."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.display.colors import EMPTY, INK, LINE, LIT, MUTED, ink_on, to_rgb
from linalg_cnn.display.picture import Picture
from linalg_cnn.display.svg import NO_POINTER, image, lines, rect, text, text_width
from linalg_cnn.display.words import plain
from linalg_cnn.types import Array

LONGEST = 480
"""The longest side of a grid without labels, in pixels."""

PNG_BYTES = 120_000
"""How large the image inside a picture may be."""


@dataclass(frozen=True)
class Cell:
    """A filled cell of a grid.

    Attributes
    ----------
    row, column : int
    fill : str
        Its colour.
    label : sympy expression, number or str, optional
        What is written on it.
    title : str
        What hovering over it says.
    marks : str
        CSS classes: what it lights up together with.
    dashed : bool
        Whether it stands for something that is not there, a padded zero.
    """

    row: int
    column: int
    fill: str
    label: Any = None
    title: str = ""
    marks: str = ""
    dashed: bool = False


def cell_size(
    shape: tuple[int, int], labels: Iterable[Any], longest: float = LONGEST, largest: float = 24.0
) -> tuple[float, float]:
    """Return the width and height of a grid's cells: as large as the labels need, or as fits.

    Examples
    --------
    >>> cell_size((4, 4), []), cell_size((300, 100), [])
    ((24.0, 24.0), (1.6, 1.6))
    """
    fitting = float(min(largest, longest / max(shape)))
    widths = [text_width(label, 12) for label in labels if label is not None]
    if not widths:
        return fitting, fitting
    return float(max(largest, max(widths) + 8)), float(largest)


def draw_grid(
    shape: tuple[int, int],
    cells: Sequence[Cell],
    *,
    size: tuple[float, float] | None = None,
    every: tuple[int, int] = (0, 0),
    channels: tuple[int, int] = (0, 0),
    row_marks: Mapping[int, tuple[str, str]] | None = None,
    lit: Iterable[tuple[int, int, int, int]] = (),
    ground: str = EMPTY,
    alt: str = "",
) -> Picture:
    """Return a grid of cells.

    Parameters
    ----------
    shape : (rows, columns)
    cells : sequence of Cell
        The others stay empty.
    size : (width, height), optional
        Of a cell.
    every, channels : (rows, columns)
        Draw a border after so many of them: a thin one, a thick one; 0 for none.
    row_marks : mapping {row: (CSS classes, title)}, optional
        What whole rows light up together with.
    lit : iterable of (row, column, rows, columns)
        Rectangles of cells to frame.
    ground : str
        The colour of empty cells.
    alt : str

    Examples
    --------
    >>> draw_grid((2, 2), [Cell(0, 0, "#e69f00", label=1)], alt="one of four")
    Picture(48 x 48: one of four)
    """
    rows, columns = shape
    w, h = size or cell_size(shape, [cell.label for cell in cells])
    width, height = columns * w, rows * h
    parts = [rect(0, 0, width, height, ground)]
    for row, (marks, title) in (row_marks or {}).items():
        parts.append(rect(0, row * h, width, h, ground, more=f'class="{marks}"', title=title))
    for cell in cells:
        more = f'class="{cell.marks}"' if cell.marks else ""
        if cell.dashed:
            more += f' stroke="{MUTED}" stroke-width="0.8" stroke-dasharray="3 2"'
        parts.append(rect(cell.column * w, cell.row * h, w, h, cell.fill, more=more.strip(), title=cell.title))
    if min(w, h) >= 5:
        thin = [(0.0, r * h, width, r * h) for r in range(rows + 1)]
        thin += [(c * w, 0.0, c * w, height) for c in range(columns + 1)]
        parts.append(lines(thin, LINE, 0.5))
    parts.append(lines(_borders(shape, every, (w, h)), MUTED, 0.9))
    parts.append(lines(_borders(shape, channels, (w, h)), INK, 1.8))
    parts.append(rect(0, 0, width, height, "none", more=f'stroke="{MUTED}" stroke-width="1" pointer-events="none"'))
    for cell in cells:
        if cell.label is not None:
            x, y = (cell.column + 0.5) * w, (cell.row + 0.5) * h
            letters = min(12.0, h * 0.55)
            if text_width(cell.label, letters) <= w:
                parts.append(text(cell.label, x, y, letters, color=ink_on(cell.fill), more=NO_POINTER))
    for row, column, down, across in lit:
        more = f'stroke="{LIT}" stroke-width="2.4" pointer-events="none"'
        parts.append(rect(column * w, row * h, across * w, down * h, "none", more=more))
    return Picture("".join(parts), width, height, alt)


def _borders(
    shape: tuple[int, int], every: tuple[int, int], size: tuple[float, float]
) -> list[tuple[float, float, float, float]]:
    """Return lines after every so many rows and columns."""
    (rows, columns), (w, h) = shape, size
    across = [(0.0, r * h, columns * w, r * h) for r in range(every[0], rows, every[0])] if every[0] > 0 else []
    down = [(c * w, 0.0, c * w, rows * h) for c in range(every[1], columns, every[1])] if every[1] > 0 else []
    return [*across, *down]


def draw_pixels(
    shape: tuple[int, int],
    rows: Array,
    columns: Array,
    colors: Array,
    *,
    longest: float = LONGEST,
    thinnest: float = 10,
    channels: tuple[int, int] = (0, 0),
    lit: Iterable[int] = (),
    ground: str = EMPTY,
    alt: str = "",
) -> Picture:
    """Return a large grid as an image with one pixel per cell, or per square of cells where there are too many.

    A pixel has the mean colour of the filled cells in it, the paler the fewer they are. The size is bounded whatever
    the shape.

    Parameters
    ----------
    shape : (rows, columns)
    rows, columns : int arrays (entries,)
        Where the filled cells are.
    colors : uint8 array (entries, 3)
    longest, thinnest : float
        The longest side, and the shortest, in pixels.
    channels : (rows, columns)
        Draw a border after so many of them; 0 for none.
    lit : iterable of int
        Rows to frame.
    ground : str
        The colour of empty cells.
    alt : str
    """
    fine = int(longest)
    while True:
        pixels = _bin(shape, rows, columns, colors, fine, ground)
        scale = longest / max(shape)
        if max(shape) <= longest:
            scale = float(longest // max(shape))
        width, height = max(thinnest, shape[1] * scale), max(thinnest, shape[0] * scale)
        body = image(pixels, width, height)
        if len(body) <= PNG_BYTES:
            break
        fine = int(fine * 0.7)
    w, h = width / shape[1], height / shape[0]
    if max(shape[0] // (channels[0] or shape[0]), shape[1] // (channels[1] or shape[1])) <= 40:
        body += lines(_borders(shape, channels, (w, h)), INK, 0.8)
    body += rect(0, 0, width, height, "none", more=f'stroke="{MUTED}" stroke-width="1"')
    for row in lit:
        y = min(max(row * h - 1, -1), height - 1)
        body += rect(0, y, width, max(h, 2) + 2, "none", more=f'stroke="{LIT}" stroke-width="1.6"')
    return Picture(body, width, height, alt)


def _bin(shape: tuple[int, int], rows: Array, columns: Array, colors: Array, fine: int, ground: str) -> Array:
    """Return the pixels (height, width, 3) of a grid cut into at most ``fine`` squares a side."""
    height, width = (min(n, fine) for n in shape)
    squares, areas = bins(shape, (height, width), rows, columns)
    counts = np.bincount(squares, minlength=height * width)
    sums = np.stack([np.bincount(squares, colors[:, c], minlength=height * width) for c in range(3)], axis=1)
    means = sums / np.maximum(counts, 1)[:, np.newaxis]
    filled = np.minimum(counts / areas, 1.0)
    strength = np.where(counts > 0, 0.35 + 0.65 * np.sqrt(filled), 0.0)[:, np.newaxis]
    back = to_rgb(ground)
    return (back + strength * (means - back)).round().astype(np.uint8).reshape(height, width, 3)


def bins(shape: tuple[int, int], parts: tuple[int, int], rows: Array, columns: Array) -> tuple[Array, Array]:
    """Return the square that each entry of a grid falls in, when its sides are cut into parts, and the squares' areas.

    Parameters
    ----------
    shape, parts : (rows, columns)
    rows, columns : int arrays (entries,)

    Returns
    -------
    squares : int array (entries,)
        Numbers of squares, in C order.
    areas : int array (squares,)

    Examples
    --------
    >>> bins((4, 4), (2, 2), np.array([0, 3]), np.array([1, 3]))
    (array([0, 3]), array([4, 4, 4, 4]))
    """
    row_of, column_of = (np.arange(n, dtype=np.int64) * m // n for n, m in zip(shape, parts, strict=True))
    squares = row_of[rows] * parts[1] + column_of[columns]
    return squares, np.outer(np.bincount(row_of), np.bincount(column_of)).ravel()


def fits(label: Any, widest: float = 44.0) -> bool:
    """Return whether a label is short enough to be written on a cell."""
    return len(plain(label)) <= 60 and text_width(label, 12) <= widest if not isinstance(label, str) else True
