"""Matrices as pictures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linalg_cnn.display.colors import EMPTY, LIT, pale
from linalg_cnn.display.entries import Painted, paint
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, draw_pixels, fits
from linalg_cnn.display.picture import Picture
from linalg_cnn.display.words import indices, listed, plain
from linalg_cnn.types import Shape, size_of

MOST_CELLS = 1200
"""The most entries that are drawn as cells of their own; more become an image."""

LONGEST_LABELLED = 30
"""A side with more cells than this gets no labels."""


def matrix_picture(
    matrix: Any,
    in_shape: Shape | None = None,
    out_shape: Shape | None = None,
    *,
    color: str = "auto",
    labels: bool | None = None,
    zeros: bool = False,
    rows: Iterable[int] = (),
    limit: float | None = None,
    palette: Mapping[Any, str] | None = None,
    title: str | None = None,
    longest: float = 480,
) -> Picture:
    """Return a matrix as a picture: every entry a coloured cell, in a large one every few entries a pixel.

    Hovering over a cell says which output pixel reads which input pixel, and with what. Sizes are bounded: a matrix of
    a million rows makes no larger picture than one of five hundred.

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix, sympy matrix, or Operation
        Of an operation, its matrix for inputs of ``in_shape``.
    in_shape, out_shape : tuple of int, optional
        The shapes (channels, *spatial) whose ravels the columns and rows stand for: borders are drawn between image
        rows (thin) and between channels (thick).
    color : {"auto", "value", "entry", "kernel", "column", "row"}
        What the colours stand for: the number (violet below 0, orange above), each different entry, the entry of the
        kernel, the pixel that the column or row stands for. ``auto`` takes ``kernel`` for operations with a kernel,
        ``column`` where all entries are 1, as in the paper's equations (6) and (8), ``value`` for other numbers and
        ``entry`` for symbols.
    labels : bool, optional
        Write the entries on the cells; where they fit if not given.
    zeros : bool
        Write 0 on empty cells, as printed matrices do.
    rows : iterable of int
        Rows to light; the others step back.
    limit : float, optional
        The number with the darkest colour; the largest of the matrix if not given. For several pictures on one scale.
    palette : mapping {entry: colour}, optional
        Colours to keep for ``color="entry"``.
    title : str, optional
    longest : float
        The longest side, in pixels, of what is drawn without labels.

    Returns
    -------
    Picture

    Raises
    ------
    TypeError
        If ``matrix`` is nothing of the kind.
    ValueError
        If an operation comes without ``in_shape``, or the colouring does not fit.

    Examples
    --------
    >>> from linalg_cnn import Conv, conv_matrix
    >>> matrix_picture(Conv([[[1.0, -1.0]]]), (1, 3)).alt
    '2 x 3 matrix, coloured by kernel entry: row 0: 1 in column 0, -1 in column 1; row 1: 1 in column 1, -1 in column 2'
    >>> large = matrix_picture(Conv([[[[1.0, 2.0], [3.0, 4.0]]]]), (1, 100, 100))
    >>> large.alt
    '9,801 x 10,000 matrix, 39,204 entries (0.04 % filled), coloured by kernel entry'
    >>> len(large.svg) < 200_000
    True
    """
    painted = paint(matrix, in_shape, out_shape, color, limit, palette)
    picture = draw_matrix(painted, labels, zeros, list(rows), longest)
    return picture.with_title(title)


def draw_matrix(
    painted: Painted, labels: bool | None, zeros: bool, lit: Sequence[int], longest: float = 480
) -> Picture:
    """Return a painted matrix as cells or, if it is large, as an image."""
    thin, thick = _border_steps(painted)
    if not _small(painted):
        return draw_pixels(
            painted.shape,
            painted.rows,
            painted.columns,
            painted.colors,
            channels=thick,
            lit=lit,
            alt=describe(painted),
            longest=longest,
        )
    cells = matrix_cells(painted, labels, zeros, lit)
    marks = {
        row: (f"R{row}", f"row {row}{_pixel('output', row, painted.out_shape)}") for row in range(painted.shape[0])
    }
    width, height = cell_size(painted.shape, [cell.label for cell in cells], longest)
    size = (width, height if painted.shape[0] <= 16 else min(height, 17))
    frames = [(row, 0, 1, painted.shape[1]) for row in lit]
    return draw_grid(
        painted.shape,
        cells,
        size=size,
        every=thin,
        channels=thick,
        row_marks=marks,
        lit=frames,
        alt=describe(painted),
    )


def _small(painted: Painted) -> bool:
    return len(painted.rows) <= MOST_CELLS and max(painted.shape) <= 160


def matrix_cells(painted: Painted, labels: bool | None, zeros: bool, lit: Sequence[int]) -> list[Cell]:
    """Return the cells of a small matrix; rows that are not lit are pale where some are."""
    entries = painted.merged()
    roomy = max(painted.shape) <= LONGEST_LABELLED and all(fits(entry.value) for entry in entries)
    written = roomy if labels is None else labels
    cells = []
    for entry in entries:
        row, column = entry.row, entry.column
        title = (
            f"row {row}{_pixel('output', row, painted.out_shape)}, "
            f"column {column}{_pixel('input', column, painted.in_shape)}: {plain(entry.value)}"
        )
        fill = pale(entry.color) if lit and row not in lit else entry.color
        cells.append(Cell(row, column, fill, entry.value if written else None, title, f"R{row}"))
    if zeros and written:
        filled = {(entry.row, entry.column) for entry in entries}
        empty = [(r, c) for r in range(painted.shape[0]) for c in range(painted.shape[1]) if (r, c) not in filled]
        cells += [Cell(r, c, EMPTY, 0, "", f"R{r}") for r, c in empty]
    return cells


def _border_steps(painted: Painted) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return after how many rows and columns an image row ends, and a channel."""
    ends = []
    for shape in (painted.out_shape, painted.in_shape):
        if shape is None or len(shape) < 2:
            ends.append((0, 0))
        else:
            ends.append((shape[-1] if len(shape) > 2 else 0, size_of(shape[1:]) if shape[0] > 1 else 0))
    return (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])


def _pixel(what: str, number: int, shape: Shape | None) -> str:
    """Return which pixel a row or column stands for, in words."""
    if shape is None:
        return ""
    channel, *position = indices(number, shape)
    where = listed(position or [channel])
    of = f" of channel {channel}" if position and shape[0] > 1 else ""
    return f" ({what} pixel {where}{of})"


COLORED_BY = {
    "value": "coloured by value",
    "entry": "one colour for each different entry",
    "kernel": "coloured by kernel entry",
    "column": "coloured by input pixel",
    "row": "coloured by output pixel",
}


def describe(painted: Painted) -> str:
    """Return a matrix in words: all of a small one, the counts of a large one."""
    rows, columns = painted.shape
    count = len(painted.rows)
    if count <= 40 and rows <= 16 and columns <= 100:
        in_words = (
            ", ".join(f"{plain(entry.value)} in column {column}" for column, entry in found.items())
            for found in painted.by_row()
        )
        spelled = "; ".join(f"row {row}: {words or 'empty'}" for row, words in enumerate(in_words))
        return f"{rows} x {columns} matrix, {COLORED_BY[painted.coloring]}: {spelled}"
    share = 100 * count / max(rows * columns, 1)
    return f"{rows:,} x {columns:,} matrix, {count:,} entries ({share:.3g} % filled), {COLORED_BY[painted.coloring]}"


def hover_rules(painted: Painted) -> str:
    """Return the CSS by which a row and what it reads light up together; none for a large matrix."""
    rows, columns = painted.shape
    if rows > 200 or columns > 200 or len(painted.rows) > 2 * MOST_CELLS:
        return ""
    reads: dict[str, dict[str, None]] = {}
    for row, column in zip(painted.rows.tolist(), painted.columns.tolist(), strict=True):
        reads.setdefault(f"R{row}", {})[f".P{column}"] = None
        reads.setdefault(f"P{column}", {})[f".R{row}"] = None
    lit = f"{{stroke:{LIT};stroke-width:2.4}}"
    return "".join(f"&:has(.{name}:hover) :is(.{name},{','.join(others)}){lit}" for name, others in reads.items())
