"""Pictures of an operation on an image: the pixels that one output pixel reads, and its row of the matrix."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from linalg_cnn.display.colors import EMPTY, PADDED_ZERO, PALE_LIT, PAPER, mean_color, pale
from linalg_cnn.display.entries import Entry, Painted, flat, paint, pixel_colors
from linalg_cnn.display.equations import vector_picture
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, fits
from linalg_cnn.display.images import kernel_picture
from linalg_cnn.display.matrices import hover_rules, matrix_picture
from linalg_cnn.display.picture import Picture, side_by_side, stacked
from linalg_cnn.display.words import indices, listed, plain
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.pad import Pad
from linalg_cnn.types import Array, Shape, size_of

LARGEST_VECTOR = 36
"""Number of entries up to which the vectors x and y are drawn."""


def operation_picture(
    operation: Operation,
    in_shape: Shape,
    output: int | Sequence[int] | None = None,
    *,
    x: Any = None,
    color: str = "auto",
    title: str | None = None,
) -> Picture:
    """Return a picture of an operation: the image, the kernel and the output above, the matrix below.

    One output pixel is highlighted, with the pixels that it reads and its row of the matrix. Hovering over another
    pixel or row highlights the rows or the pixels that belong to it. The border of a padded convolution is drawn around
    the image with dashed lines; its cells are empty for zeros, and otherwise show the pixels that they copy.

    Parameters
    ----------
    operation : Operation
        Operation with one input, an image: `Conv`, `ConvTranspose`, `Pad`, `Resample`, `AvgPool`, ...
    in_shape : tuple of int
        Shape of the image: (channels, width) or (channels, height, width). The image and the output have at most 400
        entries each.
    output : int, or (channel, *position), optional
        The output pixel to highlight: its number or its indices; by default the one in the middle.
    x : array_like, optional
        Labels of the pixels: numbers or letters; by default the pixels' numbers in the ravel.
    color : str
        Colouring, as in `matrix_picture`; ``auto`` is by kernel entry, or by pixel without a kernel.
    title : str, optional
        Title above the picture.

    Raises
    ------
    ValueError
        If the shape, ``x`` or the output pixel does not fit, or the image is too large to be drawn pixel by pixel.

    Examples
    --------
    >>> from linalg_cnn import Conv
    >>> operation_picture(Conv([[[1.0, -1.0]]]), (1, 4), output=(0, 1)).alt[47:]
    '(0, 1), row 1 of the 3 x 4 matrix, reads pixel (0, 1) times 1, pixel (0, 2) times -1.'
    """
    painted = paint(operation, in_shape, color=color)
    out_shape = operation.out_shape(in_shape)
    if not 2 <= len(in_shape) <= 3 or not 2 <= len(out_shape) <= 3 or max(size_of(in_shape), size_of(out_shape)) > 400:
        raise ValueError(
            f"in_shape: expected one or two spatial axes and at most 400 pixels, got {in_shape} to {out_shape}"
        )
    row = _row(output, out_shape)
    by_row = painted.by_row()
    reads = by_row[row]
    values: list[Any] = list(range(size_of(in_shape))) if x is None else flat(x)
    if len(values) != size_of(in_shape):
        raise ValueError(f"x: expected {size_of(in_shape)} entries, got {len(values)}")
    if painted.coloring == "column":
        fills = [color if i in reads else pale(color) for i, color in enumerate(pixel_colors(in_shape))]
    else:
        fills = [reads[i].color if i in reads else PAPER for i in range(len(values))]

    zero = None if x is None else 0  # where pixels are labelled by their numbers, 0 is the first pixel
    image = _PaddedImage.of(operation, in_shape, row, reads)
    parts: list[Picture | str] = [image.draw(values, fills, zero).captioned(image.caption)]
    if painted.coloring == "kernel":
        parts.append(kernel_picture(operation.kernel).captioned("the kernel"))  # type: ignore[attr-defined]
    parts += ["→", _output(painted, by_row, out_shape, row).captioned(f"output {_by(out_shape)}")]
    above = side_by_side(*parts, gap=18)

    matrix = matrix_picture(operation, in_shape, color=color, rows=[row], longest=420)
    below: list[Picture | str] = [
        matrix.captioned(f"the matrix, {painted.shape[0]} x {painted.shape[1]}: row {row} lit")
    ]
    if size_of(in_shape) <= LARGEST_VECTOR:
        below.append(vector_picture(values, fills, lit=reads).captioned("x"))
    if size_of(in_shape) <= LARGEST_VECTOR and size_of(out_shape) <= LARGEST_VECTOR:
        names: list[Any] = list(range(size_of(out_shape)))
        colors = [_output_color(painted, reads) if i == row else PAPER for i in names]
        below += ["=", vector_picture(names, colors, marks="R", lit=[row]).captioned("y")]
    whole = stacked(above, side_by_side(*below, gap=10), gap=18)

    alt = f"{type(operation).__name__} on an image of shape {in_shape}. {_in_words(painted, row, reads, out_shape)}"
    return whole.with_rules(hover_rules(painted)).with_alt(alt).with_title(title)


def _in_words(painted: Painted, row: int, reads: Mapping[int, Entry], out_shape: Shape) -> str:
    """Return the pixels that an output pixel reads, with their weights, as a sentence."""
    first = ", ".join(
        f"pixel {_at(column, painted.in_shape or ())} times {plain(entry.value)}"
        for column, entry in islice(reads.items(), 12)
    )
    more = f" and {len(reads) - 12} more" if len(reads) > 12 else ""
    rows, columns = painted.shape
    pixel = f"Output pixel {_at(row, out_shape)}, row {row} of the {rows} x {columns} matrix,"
    return f"{pixel} reads {first or 'nothing'}{more}."


def _row(output: int | Sequence[int] | None, out_shape: Shape) -> int:
    """Return the row of the matrix that computes an output pixel.

    Raises
    ------
    ValueError
        If there is no such pixel.
    """
    if output is None:
        if out_shape[0] > 1:  # in the first channel
            return size_of(out_shape[1:]) // 2
        return int(np.ravel_multi_index([n // 2 for n in out_shape], out_shape))
    by_number = isinstance(output, (int, np.integer))
    shape = (size_of(out_shape),) if by_number else out_shape
    position = tuple(int(i) for i in np.atleast_1d(output))
    if len(position) != len(shape) or not all(0 <= i < n for i, n in zip(position, shape, strict=True)):
        raise ValueError(f"output: expected a pixel of the output of shape {out_shape}, got {output}")
    return int(np.ravel_multi_index(position, shape))


def _at(number: int, shape: Shape) -> str:
    """Return the indices of a pixel in words."""
    return f"({listed(indices(number, shape))})"


def _by(shape: Shape) -> str:
    """Return a shape in words."""
    size = " x ".join(map(str, shape[1:])) if len(shape) > 2 else str(shape[1])
    return f"{shape[0]} x {size}" if shape[0] > 1 else size


@dataclass(frozen=True, eq=False)
class _PaddedImage:
    """The input image of an operation, with the border of a padded convolution around it.

    Attributes
    ----------
    in_shape : tuple of int
        Shape of the image without the border.
    pixels : int array (channels, *padded)
        Number of the entry of x that each cell shows; -1 for a padded zero.
    inside : bool array (channels, *padded)
        Whether each cell belongs to the image rather than to the border.
    window : collection of int
        Cells that the highlighted output pixel reads, padded zeros included: their numbers in the ravel of ``pixels``.
    colored_outside : bool
        Whether pixels outside the window keep their colours.
    """

    in_shape: Shape
    pixels: Array
    inside: Array
    window: Collection[int]
    colored_outside: bool

    @classmethod
    def of(cls, operation: Operation, in_shape: Shape, row: int, reads: Collection[int]) -> "_PaddedImage":
        """Return the image of an operation whose output pixel ``row`` reads the entries ``reads`` of x."""
        numbers = np.arange(size_of(in_shape)).reshape(in_shape)
        if not isinstance(operation, Conv):
            return cls(in_shape, numbers, np.ones(in_shape, bool), set(reads), colored_outside=True)
        pad = Pad(operation.padding_pairs, operation.padding_mode)
        pixels = pad(1.0 + numbers[np.newaxis])[0].astype(int) - 1
        inside = Pad(operation.padding_pairs)(np.ones((1, *in_shape)))[0] > 0
        return cls(in_shape, pixels, inside, _window(operation, pixels.shape, row), colored_outside=False)

    @property
    def caption(self) -> str:
        """The size of the image, and of its border if there is one."""
        padded = self.pixels.shape != self.in_shape
        return f"image {_by(self.in_shape)}" + (f", padded to {_by(self.pixels.shape)}" if padded else "")

    def draw(self, values: Sequence[Any], fills: Sequence[str], zero: int | None) -> Picture:
        """Return the image with a frame around the window.

        Parameters
        ----------
        values : sequence
            Labels of the pixels.
        fills : sequence of str
            Colours of the pixels.
        zero : int, optional
            Label of a padded zero in the window.
        """
        written = all(fits(value) for value in values) and max(self.pixels.shape) <= 20
        channels = range(self.in_shape[0])
        return stacked(*(self._channel(channel, values, fills, zero, written) for channel in channels), gap=8)

    def _channel(
        self, channel: int, values: Sequence[Any], fills: Sequence[str], zero: int | None, written: bool
    ) -> Picture:
        height, width = self.pixels.shape[1] if self.pixels.ndim == 3 else 1, self.pixels.shape[-1]
        first = channel * height * width
        cells = []
        for i, (pixel, real) in enumerate(zip(self.pixels[channel].flat, self.inside[channel].flat, strict=True)):
            read = first + i in self.window
            r, c = divmod(i, width)
            if pixel < 0:
                fill, label = (PADDED_ZERO, zero) if read else (EMPTY, None)
                cells.append(Cell(r, c, fill, label if written else None, "a padded zero", dashed=True))
            else:
                where = listed(indices(pixel, self.in_shape)[1:])
                title = f"pixel {where} (entry {pixel} of x): {plain(values[pixel])}"
                fill = fills[pixel] if read or self.colored_outside else PAPER
                label = values[pixel] if written else None
                cells.append(Cell(r, c, fill, label, title, f"P{pixel}", dashed=not real))
        size = cell_size((height, width), [cell.label for cell in cells], 260)
        lit = _frame([i - first for i in self.window if first <= i < first + height * width], width)
        return draw_grid((height, width), cells, size=size, lit=lit)


def _window(operation: Conv, padded_shape: Shape, row: int) -> set[int]:
    """Return the cells of the padded image that an output pixel of a convolution reads, padded zeros included."""
    bare = replace(operation, bias=None, padding=0, padding_mode="zeros")
    (found,) = bare.all_entries(padded_shape)
    return set(found.columns[found.starts[row] : found.starts[row + 1]].tolist())


def _frame(window: Collection[int], width: int) -> list[tuple[int, int, int, int]]:
    """Return the rectangle around some cells of a grid, in a list; the list is empty without cells."""
    if not window:
        return []
    rows, columns = np.divmod(sorted(window), width)
    top, left = int(rows.min()), int(columns.min())
    return [(top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1)]


def _output_color(painted: Painted, reads: Mapping[int, Entry]) -> str:
    """Return the colour of an output pixel: the mean colour of the pixels that it reads, if pixels have colours."""
    if painted.coloring != "column":
        return PALE_LIT
    colors = pixel_colors(painted.in_shape or ())
    return mean_color([colors[column] for column in reads], [entry.value for entry in reads.values()])


def _output(painted: Painted, by_row: Sequence[Mapping[int, Entry]], out_shape: Shape, row: int) -> Picture:
    """Return the output image with one pixel highlighted."""
    height, width = out_shape[1] if len(out_shape) > 2 else 1, out_shape[-1]
    pixels = height * width
    grids = []
    for channel in range(out_shape[0]):
        cells = []
        for i in range(pixels):
            number = channel * pixels + i
            colored = painted.coloring == "column" or number == row
            fill = _output_color(painted, by_row[number]) if colored else PAPER
            where = f"{i // width}, {i % width}" if len(out_shape) > 2 else str(i)
            label = number if max(out_shape) <= 20 else None
            cells.append(Cell(i // width, i % width, fill, label, f"output pixel {where}: row {number}", f"R{number}"))
        frames = [((row - channel * pixels) // width, (row - channel * pixels) % width, 1, 1)]
        size = cell_size((height, width), [cell.label for cell in cells], 260)
        lit = frames if row // pixels == channel else []
        grids.append(draw_grid((height, width), cells, size=size, lit=lit))
    return stacked(*grids, gap=8)
