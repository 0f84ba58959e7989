"""Grids of cells, from which the pictures of matrices, vectors, images and kernels are made."""

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
"""Longest side of a grid without labels, in pixels."""

PNG_BYTES = 120_000
"""Largest size in bytes of the SVG element that holds a PNG image."""


@dataclass(frozen=True)
class Cell:
    """A filled cell of a grid.

    Attributes
    ----------
    row, column : int
        Position of the cell.
    fill : str
        Colour of the cell.
    label : sympy expression, number or str, optional
        Label on the cell.
    title : str
        Hover text.
    marks : str
        CSS classes, by which cells are highlighted together.
    dashed : bool
        Whether the border is dashed, as for a cell of a padded border.
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
    """Return the width and height of a grid's cells: as large as the labels need, or as the longest side allows.

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
        Shape of the grid.
    cells : sequence of Cell
        The filled cells; the others are empty.
    size : (width, height), optional
        Size of a cell; by default as large as the labels need.
    every, channels : (rows, columns)
        Numbers of rows and columns after which a border is drawn, thin for ``every`` and thick for ``channels``; 0 for
        no border.
    row_marks : mapping {row: (CSS classes, title)}, optional
        CSS classes and hover texts of whole rows.
    lit : iterable of (row, column, rows, columns)
        Rectangles of cells with a frame.
    ground : str
        Colour of empty cells.
    alt : str
        Text alternative.

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
    """Return the lines that end each group of rows and columns, given the sizes of a group; 0 for no lines."""
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
    """Return a large grid as an image with one pixel per cell, or per square of cells if there are too many.

    A pixel has the mean colour of its filled cells, and is paler the fewer they are. The size of the picture is bounded
    for every shape.

    Parameters
    ----------
    shape : (rows, columns)
        Shape of the grid.
    rows, columns : int arrays (entries,)
        Positions of the filled cells.
    colors : uint8 array (entries, 3)
        Colours of the filled cells.
    longest, thinnest : float
        Lengths of the longest and of the shortest side, in pixels.
    channels : (rows, columns)
        Numbers of rows and columns after which a border is drawn; 0 for no border.
    lit : iterable of int
        Rows with a frame.
    ground : str
        Colour of empty cells.
    alt : str
        Text alternative.
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
    """Return the pixels (height, width, 3) of a grid cut into at most ``fine`` parts per side."""
    height, width = (min(n, fine) for n in shape)
    rectangles, areas = bins(shape, (height, width), rows, columns)
    counts = np.bincount(rectangles, minlength=height * width)
    sums = np.stack([np.bincount(rectangles, colors[:, c], minlength=height * width) for c in range(3)], axis=1)
    means = sums / np.maximum(counts, 1)[:, np.newaxis]
    filled = np.minimum(counts / areas, 1.0)
    strength = np.where(counts > 0, 0.35 + 0.65 * np.sqrt(filled), 0.0)[:, np.newaxis]
    back = to_rgb(ground)
    return (back + strength * (means - back)).round().astype(np.uint8).reshape(height, width, 3)


def bins(shape: tuple[int, int], parts: tuple[int, int], rows: Array, columns: Array) -> tuple[Array, Array]:
    """Cut a grid into rectangles of cells, and return the rectangle of each entry and the areas of all rectangles.

    Parameters
    ----------
    shape, parts : (rows, columns)
        Shape of the grid, and number of parts that each side is cut into.
    rows, columns : int arrays (entries,)
        Positions of the entries.

    Returns
    -------
    rectangles : int array (entries,)
        Number, in C order, of the rectangle that each entry falls in.
    areas : int array (parts,)
        Number of cells in each rectangle.

    Examples
    --------
    >>> bins((4, 4), (2, 2), np.array([0, 3]), np.array([1, 3]))
    (array([0, 3]), array([4, 4, 4, 4]))
    """
    row_of, column_of = (np.arange(n, dtype=np.int64) * m // n for n, m in zip(shape, parts, strict=True))
    rectangles = row_of[rows] * parts[1] + column_of[columns]
    return rectangles, np.outer(np.bincount(row_of), np.bincount(column_of)).ravel()


def fits(label: Any, widest: float = 44.0) -> bool:
    """Return whether a label is short enough to be written on a cell."""
    return isinstance(label, str) or (len(plain(label)) <= 60 and text_width(label, 12) <= widest)
