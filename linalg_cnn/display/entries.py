"""The entries of whatever is to be drawn, each with its colour and its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse
import sympy

from linalg_cnn.checks import check_choice
from linalg_cnn.display.colors import diverging_colors, grid_colors, kernel_colors, to_rgb
from linalg_cnn.display.svg import is_number
from linalg_cnn.ops.base import Operation, Separable
from linalg_cnn.ops.taps import TapOperation
from linalg_cnn.types import Array, Shape, size_of

MOST_COLORS = 1024
"""Images of more pixels have no colour of its own for each."""

COLORINGS = ("auto", "value", "entry", "kernel", "column", "row")


@dataclass(frozen=True)
class Entry:
    """One entry of a small matrix, as it is drawn."""

    row: int
    column: int
    value: Any
    color: str


@dataclass(frozen=True, eq=False)
class Painted:
    """The entries of a matrix with a colour each.

    Attributes
    ----------
    shape : (rows, columns)
    rows, columns : int arrays (entries,)
    values : array (entries,)
        Numbers or sympy expressions.
    colors : uint8 array (entries, 3)
    coloring : str
        What the colours stand for.
    in_shape, out_shape : tuple of int, optional
    """

    shape: tuple[int, int]
    rows: Array
    columns: Array
    values: Array
    colors: Array
    coloring: str
    in_shape: Shape | None
    out_shape: Shape | None

    def merged(self) -> list[Entry]:
        """Return the entries row by row; those that share a place are added up, their colours mixed."""
        places: dict[tuple[int, int], list[int]] = {}
        for number, place in enumerate(zip(self.rows.tolist(), self.columns.tolist(), strict=True)):
            places.setdefault(place, []).append(number)
        return [
            Entry(
                row,
                column,
                sum(self.values[n] for n in numbers[1:]) + self.values[numbers[0]]
                if numbers[1:]
                else self.values[numbers[0]],
                "#" + "".join(f"{round(float(part)):02x}" for part in self.colors[numbers].mean(axis=0)),
            )
            for (row, column), numbers in sorted(places.items())
        ]


def paint(
    matrix: Any,
    in_shape: Shape | None = None,
    out_shape: Shape | None = None,
    color: str = "auto",
    limit: float | None = None,
    palette: Mapping[Any, str] | None = None,
) -> Painted:
    """Return the entries of a matrix or operation with their colours; see `matrix_picture`.

    Raises
    ------
    TypeError
        If it is neither a matrix nor an operation.
    ValueError
        If the colouring is unknown or does not fit.
    """
    check_choice("color", color, COLORINGS)
    taps: Array | None = None
    if isinstance(matrix, Operation):
        if in_shape is None:
            raise ValueError("in_shape: expected the shape of what the operation reads, got None")
        operation, out_shape = matrix, matrix.out_shape(in_shape)
        (found,) = operation.all_entries(in_shape, exact=operation.symbolic)
        shape, values = found.shape, found.values
        rows, columns = np.repeat(np.arange(shape[0]), np.diff(found.starts)), np.asarray(found.columns)
        if isinstance(operation, TapOperation):
            # The same operation with each weight's number for its value says which weight an entry is.
            kernel: Any = operation.kernel  # type: ignore[attr-defined]
            numbered = np.arange(float(kernel.size)).reshape(kernel.shape)
            (numbers,) = replace(operation, kernel=numbered, bias=None).all_entries(in_shape)  # type: ignore[type-var]
            taps = numbers.values.astype(np.int64)
    else:
        shape, rows, columns, values = _coordinates(matrix)
    if color == "auto":
        exact = values.dtype == object
        ones = len(values) > 0 and not exact and bool(np.all(values == 1))
        ones = ones or (exact and len(values) > 0 and all(value == 1 for value in values))
        if taps is not None:
            color = "kernel"
        elif ones or isinstance(matrix, Separable):
            color = "column"
        else:
            color = "entry" if exact else "value"
    colors = _colors(color, shape, rows, columns, values, taps, in_shape, out_shape, limit, palette, matrix)
    return Painted(shape, rows, columns, values, colors, color, in_shape, out_shape)


def _coordinates(matrix: Any) -> tuple[tuple[int, int], Array, Array, Array]:
    """Return the shape, rows, columns and values of a matrix of any kind; of a dense one, what is not 0.

    Raises
    ------
    TypeError
        If it is no matrix.
    """
    if isinstance(matrix, sympy.MatrixBase):
        filled = sorted(matrix.todok().items())
        rows, columns = (np.array([place[axis] for place, _ in filled], np.int64) for axis in (0, 1))
        values = np.empty(len(filled), dtype=object)
        values[:] = [value for _, value in filled]
        return (matrix.rows, matrix.cols), rows, columns, values
    if scipy.sparse.issparse(matrix):
        coo = scipy.sparse.coo_array(matrix)
        return (int(coo.shape[0]), int(coo.shape[1])), coo.row, coo.col, coo.data
    dense = np.asarray(matrix)
    if dense.ndim != 2 or dense.dtype.kind not in "fiuO":
        raise TypeError(
            f"matrix: expected a matrix or an operation, got {type(matrix).__name__} of shape {dense.shape}"
        )
    rows, columns = np.nonzero(dense)
    return (int(dense.shape[0]), int(dense.shape[1])), rows, columns, dense[rows, columns]


def _colors(
    color: str,
    shape: tuple[int, int],
    rows: Array,
    columns: Array,
    values: Array,
    taps: Array | None,
    in_shape: Shape | None,
    out_shape: Shape | None,
    limit: float | None,
    palette: Mapping[Any, str] | None,
    matrix: Any,
) -> Array:
    """Return one colour per entry, (entries, 3).

    Raises
    ------
    ValueError
        If there is no kernel to colour by.
    """
    if color == "value":
        numbers = values.astype(np.float64)
        return diverging_colors(numbers, limit or (float(np.abs(numbers).max()) if len(numbers) else 1.0))
    if color == "kernel":
        if taps is None:
            raise ValueError("color: expected an operation with a kernel for color='kernel', got something else")
        return _rgb(kernel_colors(matrix.kernel.shape))[taps]
    if color == "column":
        pixels = _pixel_rgb(in_shape or (shape[1],), columns)
        # A pixel that counts for a part only, as in bilinear resampling, has a paler colour there.
        if values.dtype == object:
            values = np.array([float(v) if is_number(v) else 1.0 for v in values.tolist()])
        share = np.minimum(np.abs(values), 1.0)[:, np.newaxis]
        return (255 - (0.25 + 0.75 * share) * (255.0 - pixels)).round().astype(np.uint8)
    if color == "row":
        return _pixel_rgb(out_shape or (shape[0],), rows)
    chosen = entry_palette(values.tolist(), palette)
    return _rgb([chosen[value] for value in values.tolist()])


def _rgb(colors: Sequence[str]) -> Array:
    return np.array([to_rgb(color) for color in colors]).round().astype(np.uint8).reshape(-1, 3)


def pixel_colors(shape: Shape) -> list[str]:
    """Return one colour per pixel of an image (channels, *spatial), in C order; of a large one, seven in turn.

    Examples
    --------
    >>> pixel_colors((1, 2, 2))
    ['#e69f00', '#56b4e9', '#009e73', '#f0e442']
    """
    if size_of(shape) <= MOST_COLORS:
        return grid_colors(tuple(n for n in shape if n > 1) or (1,))
    return (grid_colors((7,)) * -(-size_of(shape) // 7))[: size_of(shape)]


def _pixel_rgb(shape: Shape, pixels: Array) -> Array:
    """Return the colours of some pixels as an array (pixels, 3), without making those of all."""
    if size_of(shape) <= MOST_COLORS:
        return np.asarray(_rgb(pixel_colors(shape))[pixels])
    return np.asarray(_rgb(grid_colors((7,)))[pixels % 7])


def entry_palette(values: Sequence[Any], palette: Mapping[Any, str] | None = None) -> dict[Any, str]:
    """Return one colour for each different value, in the order in which they come; given ones first.

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
