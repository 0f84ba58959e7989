"""One operation on one image: where an output pixel looks, and its row of the matrix."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from linalg_cnn.display.colors import EMPTY, PAPER, pale
from linalg_cnn.display.entries import Painted, paint, pixel_colors
from linalg_cnn.display.equations import flat, hover_rules, mixed, plain_or_words, vector_picture
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, fits
from linalg_cnn.display.images import kernel_picture
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.picture import Picture, scoped, side_by_side, stacked
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.pad import Pad
from linalg_cnn.types import Shape, size_of

LARGEST_VECTOR = 36


def operation_picture(
    operation: Operation,
    in_shape: Shape,
    output: int | Sequence[int] | None = None,
    *,
    x: Any = None,
    color: str = "auto",
    title: str | None = None,
) -> Picture:
    """Return what an operation does to an image: the image, the kernel and the output above, the matrix below.

    One output pixel is lit, with the pixels that it reads and its row of the matrix. Hovering over any pixel or row
    lights up what belongs to it. The border of a padded convolution is drawn around the image: dashed and empty for
    zeros, with the pixels that it shows otherwise.

    Parameters
    ----------
    operation : Operation
        One that takes one image: `Conv`, `ConvTranspose`, `Pad`, `Resample`, `AvgPool`, ...
    in_shape : tuple of int
        (channels, width) or (channels, height, width), of at most 400 pixels.
    output : int, or (channel, *position), optional
        The output pixel to light; the one in the middle if not given.
    x : array_like, optional
        What is written on the pixels: numbers or letters. Their numbers in the vector if not given.
    color : str
        As in `matrix_picture`: ``auto`` is by kernel entry, or by pixel where there is no kernel.
    title : str, optional

    Raises
    ------
    ValueError
        If the shape or the output pixel does not fit, or the image is too large to be drawn pixel by pixel.

    Examples
    --------
    >>> from linalg_cnn import Conv
    >>> operation_picture(Conv([[[1.0, -1.0]]]), (1, 4), output=(0, 1)).alt[47:]
    '(0, 1), row 1 of the 3 x 4 matrix, reads pixel (0, 1) times 1, pixel (0, 2) times -1'
    """
    painted = paint(operation, in_shape, color=color)
    out_shape = operation.out_shape(in_shape)
    if not 2 <= len(in_shape) <= 3 or not 2 <= len(out_shape) <= 3 or max(size_of(in_shape), size_of(out_shape)) > 400:
        raise ValueError(
            f"in_shape: expected one or two spatial axes and at most 400 pixels, got {in_shape} to {out_shape}"
        )
    row = _row(output, out_shape)
    reads = {entry.column: entry for entry in painted.merged() if entry.row == row}
    values: list[Any] = list(range(size_of(in_shape))) if x is None else flat(x)
    if len(values) != size_of(in_shape):
        raise ValueError(f"x: expected {size_of(in_shape)} entries, got {len(values)}")
    if painted.coloring == "column":
        fills = [color if i in reads else pale(color) for i, color in enumerate(pixel_colors(in_shape))]
    else:
        fills = [reads[i].color if i in reads else PAPER for i in range(len(values))]

    zero = None if x is None else 0  # beside numbers of pixels it would be the first pixel
    border, image = _image(operation, in_shape, row, values, fills, reads, zero)
    parts: list[Picture | str] = [image.captioned(f"image {_by(in_shape)}{border}")]
    if painted.coloring == "kernel":
        parts.append(kernel_picture(operation.kernel).captioned("the kernel"))  # type: ignore[attr-defined]
    parts += ["→", _output(painted, out_shape, row).captioned(f"output {_by(out_shape)}")]
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

    what = ", ".join(f"pixel {_at(i, in_shape)} times {plain_or_words(e.value)}" for i, e in list(reads.items())[:12])
    alt = (
        f"{type(operation).__name__} on an image of shape {in_shape}: output pixel {_at(row, out_shape)}, row {row} of "
        f"the {painted.shape[0]} x {painted.shape[1]} matrix, reads {what or 'nothing'}"
        + (f" and {len(reads) - 12} more" if len(reads) > 12 else "")
    )
    whole = Picture(scoped(whole.body, hover_rules(painted)), whole.width, whole.height, alt)
    return whole.titled(title).with_alt(f"{title}: {alt}") if title else whole


def _row(output: int | Sequence[int] | None, out_shape: Shape) -> int:
    """Return the row of the matrix that an output pixel is.

    Raises
    ------
    ValueError
        If there is no such pixel.
    """
    if output is None:
        return (
            int(np.ravel_multi_index([n // 2 for n in out_shape], out_shape))
            if out_shape[0] == 1
            else (size_of(out_shape[1:]) // 2)
        )
    place = (int(output),) if isinstance(output, (int, np.integer)) else tuple(int(i) for i in output)
    shape = (size_of(out_shape),) if isinstance(output, (int, np.integer)) else out_shape
    if len(place) != len(shape) or not all(0 <= i < n for i, n in zip(place, shape, strict=True)):
        raise ValueError(f"output: expected a pixel of the output of shape {out_shape}, got {output}")
    return int(np.ravel_multi_index(place, shape))


def _at(number: int, shape: Shape) -> str:
    return f"({', '.join(str(int(i)) for i in np.unravel_index(number, shape))})"


def _by(shape: Shape) -> str:
    """Return a shape in words."""
    size = " x ".join(map(str, shape[1:])) if len(shape) > 2 else str(shape[1])
    return f"{shape[0]} x {size}" if shape[0] > 1 else size


def _image(
    operation: Operation,
    in_shape: Shape,
    row: int,
    values: Sequence[Any],
    fills: Sequence[str],
    reads: Any,
    zero: int | None,
) -> tuple[str, Picture]:
    """Return what the border is called, and the image with it and with a frame where the kernel lies."""
    spatial = in_shape[1:]
    axes = len(spatial)
    padded = isinstance(operation, Conv) and any(sum(pair) for pair in operation.padding_pairs)
    pad = Pad(operation.padding_pairs, operation.padding_mode) if isinstance(operation, Conv) else Pad(((0, 0),) * axes)
    numbers = 1.0 + np.arange(size_of(in_shape)).reshape(in_shape)
    shown = pad(numbers[np.newaxis])[0].astype(int) - 1  # -1 where a padded zero is
    inside = Pad(pad.pairs(axes))(np.ones((1, *in_shape)))[0] > 0
    window = _window(operation, shown.shape, row) if isinstance(operation, Conv) else sorted(reads)

    height = shown.shape[1] if axes == 2 else 1
    cells_of: list[Picture] = []
    written = all(fits(value) for value in values) and max(shown.shape) <= 20
    for channel in range(in_shape[0]):
        cells = []
        for place, pixel in np.ndenumerate(shown[channel].reshape(height, -1)):
            r, c = place
            real = bool(inside[channel].reshape(height, -1)[r, c])
            position = int(np.ravel_multi_index((channel, *(place if axes == 2 else place[1:])), shown.shape))
            if pixel < 0:
                fill = "#dfe3e7" if position in window else EMPTY
                cells.append(
                    Cell(r, c, fill, zero if written and position in window else None, "a padded zero", "", True)
                )
                continue
            where = ", ".join(str(int(i)) for i in np.unravel_index(pixel, in_shape)[1:])
            title = f"pixel {where} (entry {pixel} of x): {plain_or_words(values[pixel])}"
            fill = fills[pixel] if position in window or not isinstance(operation, Conv) else PAPER
            label = values[pixel] if written else None
            cells.append(Cell(r, c, fill, label, title, f"P{pixel}", not real))
        frames = _frame([p for p in window if p // size_of(shown.shape[1:]) == channel], shown.shape)
        size = cell_size((height, shown.shape[-1]), [cell.label for cell in cells], 260)
        cells_of.append(draw_grid((height, shown.shape[-1]), cells, size=size, lit=frames))
    return f", padded to {_by(shown.shape)}" if padded else "", stacked(*cells_of, gap=8)


def _window(operation: Conv, padded_shape: Shape, row: int) -> list[int]:
    """Return which cells of the padded image an output of a convolution reads, padded zeros too."""
    bare = replace(operation, bias=None, padding=0, padding_mode="zeros")
    (found,) = bare.all_entries(padded_shape)
    return sorted(int(c) for c in found.columns[found.starts[row] : found.starts[row + 1]])


def _frame(window: Sequence[int], shape: Shape) -> list[tuple[int, int, int, int]]:
    """Return the rectangle around some cells of one channel."""
    if not window:
        return []
    places = np.array([np.unravel_index(p, shape)[1:] for p in window])
    if places.shape[1] == 1:
        places = np.column_stack([np.zeros(len(places), int), places])
    (top, left), (bottom, right) = places.min(axis=0), places.max(axis=0)
    return [(int(top), int(left), int(bottom - top) + 1, int(right - left) + 1)]


def _output_color(painted: Painted, reads: Any) -> str:
    """Return the colour of the lit output pixel: the mean of its pixels' colours where those are coloured."""
    if painted.coloring != "column":
        return "#fbe3d4"
    colors = pixel_colors(painted.in_shape or ())
    return mixed([colors[column] for column in reads], [entry.value for entry in reads.values()])


def _output(painted: Painted, out_shape: Shape, row: int) -> Picture:
    """Return the output image with one pixel lit."""
    height, width = out_shape[1] if len(out_shape) > 2 else 1, out_shape[-1]
    pixels = height * width
    entries = painted.merged()
    grids = []
    for channel in range(out_shape[0]):
        cells = []
        for i in range(pixels):
            number = channel * pixels + i
            reads = {entry.column: entry for entry in entries if entry.row == number}
            colored = painted.coloring == "column" or number == row
            fill = _output_color(painted, reads) if colored else PAPER
            where = f"{i // width}, {i % width}" if len(out_shape) > 2 else str(i)
            label = number if max(out_shape) <= 20 else None
            cells.append(Cell(i // width, i % width, fill, label, f"output pixel {where}: row {number}", f"R{number}"))
        frames = [((row - channel * pixels) // width, (row - channel * pixels) % width, 1, 1)]
        size = cell_size((height, width), [cell.label for cell in cells], 260)
        lit = frames if row // pixels == channel else []
        grids.append(draw_grid((height, width), cells, size=size, lit=lit))
    return stacked(*grids, gap=8)
