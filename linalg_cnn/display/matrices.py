"""Pictures of matrices."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from linalg_cnn.display.colors import EMPTY, LIT, pale
from linalg_cnn.display.entries import Painted, paint
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, draw_pixels, fits
from linalg_cnn.display.picture import Picture
from linalg_cnn.display.words import indices, listed, plain, sentence
from linalg_cnn.types import Shape, size_of

MOST_CELLS = 1200
"""Largest number of entries that are drawn as cells; a matrix with more becomes an image."""

LONGEST_LABELLED = 30
"""Longest side, in cells, of a matrix with labels."""


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
    """Return a picture of a matrix: each entry is a coloured cell, or in a large matrix a pixel covers several entries.

    The hover text of a cell names the output pixel, the input pixel that it reads, and the weight. The size is bounded:
    the picture of a matrix of a million rows is no larger than that of one of five hundred.

    Parameters
    ----------
    matrix : array_like, scipy sparse matrix, sympy matrix, or Operation
        The matrix, or an operation whose matrix for inputs of ``in_shape`` is drawn.
    in_shape, out_shape : tuple of int, optional
        Shapes (channels, *spatial) whose ravels the columns and the rows stand for: thin borders separate image rows,
        and thick borders separate channels.
    color : {"auto", "value", "entry", "kernel", "column", "row"}
        ``value`` runs from violet for negative to orange for positive entries; ``entry`` has one colour for each
        different entry, ``kernel`` for each entry of the kernel, ``column`` for each input pixel and ``row`` for each
        output pixel. ``auto`` is ``kernel`` for operations with a kernel, ``column`` for padding, resampling,
        pooling and matrices of ones, as in the paper's equations (6) and (8), ``value`` for other numbers and ``entry``
        for symbols.
    labels : bool, optional
        Whether the entries are written on the cells; by default, if they fit.
    zeros : bool
        Whether 0 is written on empty cells, as in printed matrices.
    rows : iterable of int
        Rows to highlight; the other rows become paler.
    limit : float, optional
        Number with the darkest colour; by default the largest of the matrix. The same limit puts several pictures on
        one scale.
    palette : mapping {entry: colour}, optional
        Colours of some entries for ``color="entry"``.
    title : str, optional
        Title above the picture.
    longest : float
        Longest side of a picture without labels, in pixels.

    Returns
    -------
    Picture

    Raises
    ------
    TypeError
        If ``matrix`` is neither a matrix nor an operation.
    ValueError
        If an operation comes without ``in_shape``, or the colouring does not fit.

    Examples
    --------
    >>> from linalg_cnn import Conv, conv_matrix
    >>> matrix_picture(Conv([[[1.0, -1.0]]]), (1, 2)).alt
    'A matrix of size 1 x 2, coloured by kernel entry. Row 0 has 1 in column 0, -1 in column 1.'
    >>> large = matrix_picture(Conv([[[[1.0, 2.0], [3.0, 4.0]]]]), (1, 100, 100))
    >>> large.alt
    'A matrix of size 9,801 x 10,000 with 39,204 entries (0.04 % filled), coloured by kernel entry.'
    >>> len(large.svg) < 200_000
    True
    """
    painted = paint(matrix, in_shape, out_shape, color, limit, palette)
    picture = draw_matrix(painted, labels, zeros, list(rows), longest)
    return picture.with_title(title)


def draw_matrix(
    painted: Painted, labels: bool | None, zeros: bool, lit: Sequence[int], longest: float = 480
) -> Picture:
    """Return the picture of a painted matrix: cells or, if it is large, an image."""
    thin, thick = _border_steps(painted)
    if not _small(painted):
        return draw_pixels(
            painted.shape,
            painted.rows,
            painted.columns,
            painted.colors,
            channels=thick,
            lit=lit,
            alt=sentence(describe(painted)),
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
        alt=sentence(describe(painted)),
    )


def _small(painted: Painted) -> bool:
    return len(painted.rows) <= MOST_CELLS and max(painted.shape) <= 160


def matrix_cells(painted: Painted, labels: bool | None, zeros: bool, lit: Sequence[int]) -> list[Cell]:
    """Return the cells of a small matrix; if some rows are highlighted, the others are pale."""
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
    """Return the numbers of rows and columns after which an image row ends, and after which a channel ends."""
    ends = []
    for shape in (painted.out_shape, painted.in_shape):
        if shape is None or len(shape) < 2:
            ends.append((0, 0))
        else:
            ends.append((shape[-1] if len(shape) > 2 else 0, size_of(shape[1:]) if shape[0] > 1 else 0))
    return (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])


def _pixel(side: str, number: int, shape: Shape | None) -> str:
    """Return the pixel that a row or column stands for, in words."""
    if shape is None:
        return ""
    channel, *position = indices(number, shape)
    where = listed(position or [channel])
    of = f" of channel {channel}" if position and shape[0] > 1 else ""
    return f" ({side} pixel {where}{of})"


COLORED_BY = {
    "value": "coloured by value",
    "entry": "with one colour for each different entry",
    "kernel": "coloured by kernel entry",
    "column": "coloured by input pixel",
    "row": "coloured by output pixel",
}


def describe(painted: Painted) -> str:
    """Return a matrix in words after "is": the entries of a small matrix, the number of entries of a large one."""
    rows, columns = painted.shape
    count = len(painted.rows)
    if count <= 40 and rows <= 16 and columns <= 100:
        in_words = (
            ", ".join(f"{plain(entry.value)} in column {column}" for column, entry in found.items())
            for found in painted.by_row()
        )
        spelled = " ".join(
            f"Row {row} {'has ' + words if words else 'is empty'}." for row, words in enumerate(in_words)
        )
        return f"a matrix of size {rows} x {columns}, {COLORED_BY[painted.coloring]}. {spelled}"
    share = 100 * count / max(rows * columns, 1)
    size = f"a matrix of size {rows:,} x {columns:,} with {count:,} entries ({share:.3g} % filled)"
    return f"{size}, {COLORED_BY[painted.coloring]}."


def hover_rules(painted: Painted) -> str:
    """Return the CSS that highlights a row together with the pixels that it reads; none for a large matrix."""
    rows, columns = painted.shape
    if rows > 200 or columns > 200 or len(painted.rows) > 2 * MOST_CELLS:
        return ""
    reads: dict[str, dict[str, None]] = {}
    for row, column in zip(painted.rows.tolist(), painted.columns.tolist(), strict=True):
        reads.setdefault(f"R{row}", {})[f".P{column}"] = None
        reads.setdefault(f"P{column}", {})[f".R{row}"] = None
    lit = f"{{stroke:{LIT};stroke-width:2.4}}"
    return "".join(f"&:has(.{name}:hover) :is(.{name},{','.join(others)}){lit}" for name, others in reads.items())
