"""The entries of a matrix, an operation or an image, each with its colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import scipy.sparse
import sympy

from linalg_cnn.checks import check_choice, check_finite
from linalg_cnn.display.colors import diverging_colors, grid_colors, kernel_colors, to_hex, to_rgb
from linalg_cnn.display.words import is_number
from linalg_cnn.ops.base import Operation, Separable
from linalg_cnn.ops.taps import TapOperation
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.types import Array, Shape, size_of

MOST_COLORS = 1024
"""Number of pixels above which the pixels of an image share seven colours."""

COLORINGS = ("auto", "value", "entry", "kernel", "column", "row")


@dataclass(frozen=True)
class Entry:
    """One entry of a small matrix with the colour in which it is drawn."""

    row: int
    column: int
    value: Any
    color: str


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The entries of a matrix before they have colours.

    Attributes
    ----------
    shape : (rows, columns)
        Shape of the matrix.
    rows, columns : int arrays (entries,)
        Row and column of each entry; two entries may share a position.
    values : array (entries,)
        Values of the entries: numbers or sympy expressions.
    taps : int array (entries,), optional
        Number, in C order, of the kernel entry that each entry is; None without a kernel.
    in_shape, out_shape : tuple of int, optional
        Shapes whose ravels the columns and the rows stand for.
    """

    shape: tuple[int, int]
    rows: Array
    columns: Array
    values: Array
    taps: Array | None
    in_shape: Shape | None
    out_shape: Shape | None


@dataclass(frozen=True, eq=False)
class Painted(Coordinates):
    """The entries of a matrix, each with a colour.

    Attributes
    ----------
    colors : uint8 array (entries, 3)
        Red, green and blue of each entry.
    coloring : str
        What the colours stand for: one of `COLORINGS`, but not ``auto``.
    """

    colors: Array
    coloring: str

    def merged(self) -> list[Entry]:
        """Return the entries row by row; several at one position become their sum, in the mean of their colours."""
        shared: dict[tuple[int, int], list[int]] = {}
        for number, position in enumerate(zip(self.rows.tolist(), self.columns.tolist(), strict=True)):
            shared.setdefault(position, []).append(number)
        return [
            Entry(
                row,
                column,
                reduce(add, (self.values[number] for number in numbers)),
                to_hex(self.colors[numbers].mean(axis=0)),
            )
            for (row, column), numbers in sorted(shared.items())
        ]

    def by_row(self) -> list[dict[int, Entry]]:
        """Return the merged entries of each row, by column."""
        found: list[dict[int, Entry]] = [{} for _ in range(self.shape[0])]
        for entry in self.merged():
            found[entry.row][entry.column] = entry
        return found


def paint(
    matrix: Any,
    in_shape: Shape | None = None,
    out_shape: Shape | None = None,
    color: str = "auto",
    limit: float | None = None,
    palette: Mapping[Any, str] | None = None,
    *,
    exact: bool = False,
) -> Painted:
    """Return the entries of a matrix or operation with their colours; see `matrix_picture`.

    With ``exact``, the entries of an operation are exact: 4/5 rather than the binary fraction nearest to it.

    Raises
    ------
    TypeError
        If it is neither a matrix nor an operation.
    ValueError
        If the colouring is unknown or does not fit, or if an operation comes without ``in_shape``.
    """
    check_choice("color", color, COLORINGS)
    found = coordinates(matrix, in_shape, out_shape, exact=exact)
    coloring = _coloring(found, matrix) if color == "auto" else color
    if coloring == "kernel":
        if found.taps is None:
            raise ValueError(
                f"color: expected an operation with a kernel for color='kernel', got {type(matrix).__name__}"
            )
        colors = _rgb(kernel_colors(matrix.kernel.shape))[found.taps]
    else:
        colors = _colors(found, coloring, limit, palette)
    return Painted(**vars(found), colors=colors, coloring=coloring)


def coordinates(
    matrix: Any, in_shape: Shape | None = None, out_shape: Shape | None = None, *, exact: bool = False
) -> Coordinates:
    """Return the entries of a matrix or of an operation's matrix, ``exact`` or not; a dense matrix's 0 is no entry.

    Raises
    ------
    TypeError
        If it is neither a matrix nor an operation, or a piecewise-linear operation, which has a matrix on each piece.
    ValueError
        If an operation comes without ``in_shape``, the matrix has no rows or no columns, or an entry is not finite.
    """
    found = _coordinates(matrix, in_shape, out_shape, exact)
    if 0 in found.shape:
        raise ValueError(f"matrix: expected at least one row and one column, got shape {found.shape}")
    check_drawable("matrix", found.values)
    return found


def check_drawable(name: str, values: Any) -> None:
    """Refuse floats that have no colour; raises what `check_finite` raises."""
    numbers = np.asarray(values)
    if numbers.dtype.kind == "f":
        check_finite(name, numbers)


def _coordinates(matrix: Any, in_shape: Shape | None, out_shape: Shape | None, exact: bool) -> Coordinates:
    """Return the entries of what `coordinates` takes.

    Raises
    ------
    TypeError
        If it is neither a matrix nor an affine operation.
    ValueError
        If an operation comes without ``in_shape``.
    """
    if isinstance(matrix, Operation):
        if in_shape is None:
            raise ValueError("in_shape: expected the shape of the operation's input, got None")
        return _operation_coordinates(matrix, in_shape, exact)
    if isinstance(matrix, sympy.MatrixBase):
        filled = sorted(matrix.todok().items())
        rows, columns = (np.array([position[axis] for position, _ in filled], np.int64) for axis in (0, 1))
        values = np.empty(len(filled), dtype=object)
        values[:] = [value for _, value in filled]
        return Coordinates((matrix.rows, matrix.cols), rows, columns, values, None, in_shape, out_shape)
    if scipy.sparse.issparse(matrix):
        coo = scipy.sparse.coo_array(matrix)
        shape = (int(coo.shape[0]), int(coo.shape[1]))
        return Coordinates(shape, coo.row, coo.col, coo.data, None, in_shape, out_shape)
    if isinstance(matrix, PiecewiseOperation):
        raise TypeError(
            f"matrix: expected a matrix or an affine operation, got {type(matrix).__name__}, which has one matrix on "
            "each piece; draw operation.affine(pieces), with the pieces of an input from operation.pieces(batch)"
        )
    dense = np.asarray(matrix)
    if dense.ndim != 2 or dense.dtype.kind not in "fiuO":
        raise TypeError(
            "matrix: expected a matrix of numbers or sympy expressions, or an operation, got "
            f"{type(matrix).__name__} of shape {dense.shape} and dtype {dense.dtype}"
        )
    rows, columns = np.nonzero(dense)
    shape = (int(dense.shape[0]), int(dense.shape[1]))
    return Coordinates(shape, rows, columns, dense[rows, columns], None, in_shape, out_shape)


def _operation_coordinates(operation: Operation, in_shape: Shape, exact: bool) -> Coordinates:
    out_shape = operation.out_shape(in_shape)
    (found,) = operation.all_entries(in_shape, exact=exact or operation.symbolic)
    rows = np.repeat(np.arange(found.shape[0]), np.diff(found.starts))
    taps: Array | None = None
    if isinstance(operation, TapOperation):
        # If each weight is replaced by its number, the entries are the numbers of their weights.
        kernel: Any = operation.kernel
        numbered = np.arange(float(kernel.size)).reshape(kernel.shape)
        (numbers,) = replace(operation, kernel=numbered, bias=None).all_entries(in_shape)  # type: ignore[type-var]
        taps = numbers.values.astype(np.int64)
    columns = np.asarray(found.columns)
    return Coordinates(found.shape, rows, columns, found.values, taps, in_shape, out_shape)


def _coloring(found: Coordinates, matrix: Any) -> str:
    """Return the colouring that ``color="auto"`` stands for; see `matrix_picture`."""
    if found.taps is not None:
        return "kernel"
    ones = len(found.values) > 0 and bool(np.all(found.values == 1))
    if ones or isinstance(matrix, Separable):
        return "column"
    return "entry" if found.values.dtype == object else "value"


def _colors(found: Coordinates, coloring: str, limit: float | None, palette: Mapping[Any, str] | None) -> Array:
    """Return one colour per entry, (entries, 3), for every colouring except ``kernel``."""
    values = found.values
    if coloring == "value":
        numbers = values.astype(np.float64)
        return diverging_colors(numbers, limit or (float(np.abs(numbers).max()) if len(numbers) else 1.0))
    if coloring == "column":
        pixels = _pixel_rgb(found.in_shape or (found.shape[1],), found.columns)
        # A weight below 1, as in bilinear resampling, makes the pixel's colour paler.
        if values.dtype == object:
            values = np.array([float(v) if is_number(v) else 1.0 for v in values.tolist()])
        share = np.minimum(np.abs(values), 1.0)[:, np.newaxis]
        return (255 - (0.25 + 0.75 * share) * (255.0 - pixels)).round().astype(np.uint8)
    if coloring == "row":
        return _pixel_rgb(found.out_shape or (found.shape[0],), found.rows)
    chosen = entry_palette(values.tolist(), palette)
    return _rgb([chosen[value] for value in values.tolist()])


def _rgb(colors: Sequence[str]) -> Array:
    return np.array([to_rgb(color) for color in colors]).round().astype(np.uint8).reshape(-1, 3)


def pixel_colors(shape: Shape) -> list[str]:
    """Return one colour per pixel of an image (channels, *spatial), in C order; a large image repeats seven colours.

    Examples
    --------
    >>> pixel_colors((1, 2, 2))
    ['#e69f00', '#56b4e9', '#009e73', '#f0e442']
    """
    if size_of(shape) <= MOST_COLORS:
        return grid_colors(tuple(n for n in shape if n > 1) or (1,))
    return (grid_colors((7,)) * -(-size_of(shape) // 7))[: size_of(shape)]


def _pixel_rgb(shape: Shape, pixels: Array) -> Array:
    """Return the colours of some pixels as an array (pixels, 3), without computing the colours of all pixels."""
    if size_of(shape) <= MOST_COLORS:
        return np.asarray(_rgb(pixel_colors(shape))[pixels])
    return np.asarray(_rgb(grid_colors((7,)))[pixels % 7])


def entry_palette(values: Sequence[Any], palette: Mapping[Any, str] | None = None) -> dict[Any, str]:
    """Return one colour for each different value, in order of appearance; a value in the palette keeps its colour.

    Examples
    --------
    >>> entry_palette([3, 5, 3])
    {3: '#e69f00', 5: '#56b4e9'}
    >>> entry_palette([3, 5], {5: "#ffffff"})
    {3: '#e69f00', 5: '#ffffff'}
    """
    fixed = palette or {}
    different = [value for value in dict.fromkeys(values) if value not in fixed]
    free = [c for c in grid_colors((len(different) + len(fixed),)) if c not in set(fixed.values())]
    chosen = dict(zip(different, free, strict=False))
    return {value: fixed[value] if value in fixed else chosen[value] for value in dict.fromkeys(values)}


def flat(x: Any) -> list[Any]:
    """Return the entries of an array, a sympy matrix or a sequence in C order."""
    if isinstance(x, sympy.MatrixBase):
        return [x[i] for i in range(len(x))]
    array = np.asarray(x)
    return list(array.ravel()) if array.dtype == object else list(array.ravel().tolist())
