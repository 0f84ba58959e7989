"""Pictures of images, of kernels, and of the rows of W as images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sympy

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_choice, check_finite
from linalg_cnn.display.colors import NO_MEAN, diverging_colors, kernel_colors, mean_color, to_hex
from linalg_cnn.display.entries import check_drawable, flat, pixel_colors
from linalg_cnn.display.grids import Cell, cell_size, draw_grid, draw_pixels, fits
from linalg_cnn.display.picture import Picture, side_by_side, stacked
from linalg_cnn.display.svg import rect, text
from linalg_cnn.display.words import indices, listed, plain
from linalg_cnn.types import Array, Shape, size_of

IMAGE_COLORS = ("auto", "gray", "value", "pixel")


def image_picture(
    values: Any,
    shape: Shape | None = None,
    *,
    color: str = "auto",
    palette: Mapping[Any, str] | None = None,
    labels: bool | None = None,
    limit: float | None = None,
    title: str | None = None,
    longest: float = 160,
) -> Picture:
    """Return an image as a grid of pixels, with its channels below each other.

    Parameters
    ----------
    values : array_like or sympy matrix
        The image or its ravel: numbers or sympy expressions.
    shape : tuple of int, optional
        (channels, height, width), (channels, width) or (height, width); by default the shape of ``values``.
    color : {"auto", "gray", "value", "pixel"}
        ``gray`` runs from 0 (black) to the largest number (white), ``value`` from violet for negative to orange for
        positive numbers, and ``pixel`` has one colour per pixel. ``auto`` is ``pixel`` for symbols, ``value`` if a
        number is negative, and ``gray`` otherwise.
    palette : mapping {symbol: colour}, optional
        Colours of letters, as from `letter_colors`: an image of the same letters keeps their colours, and a mean of
        letters has the mean of their colours.
    labels : bool, optional
        Whether the values are written on the pixels; by default, if they fit.
    limit : float, optional
        Number with the strongest colour; by default the largest of the image.
    title : str, optional
        Title above the picture.
    longest : float
        Longest side of an image without labels, in pixels.

    Raises
    ------
    ValueError
        If there is no value, the shape does not fit the values, the colouring is unknown, or a value that it colours is
        NaN or infinite.

    Examples
    --------
    >>> image_picture([[0.0, 1.0], [1.0, 0.0]])
    Picture(48 x 48: An image of 2 x 2 pixels: 0, 1; 1, 0.)
    """
    check_choice("color", color, IMAGE_COLORS)
    shape = tuple(values.shape if shape is None and hasattr(values, "shape") else shape or np.shape(values))
    size = values.rows * values.cols if isinstance(values, sympy.MatrixBase) else np.size(values)
    if size == 0:
        raise ValueError(f"values: expected at least one, got shape {shape}")
    if not 1 <= len(shape) <= 3 or size_of(shape) != size:
        raise ValueError(f"shape: expected one to three axes for {size} values, got {shape}")
    rows = shape[-2] if len(shape) == 3 or (len(shape) == 2 and shape[0] > 1) else 1
    columns = shape[-1]
    numeric = np.asarray(values).dtype != object
    if rows * columns > 400 and not labels and numeric and color != "pixel":
        rgb = _number_colors(np.asarray(values, np.float64).reshape(-1, rows * columns), color, limit)
        r, c = np.divmod(np.arange(rows * columns), columns)
        alt = f"{_size_in_words(rows, columns, len(rgb))}."
        picture = stacked(*(draw_pixels((rows, columns), r, c, part, longest=longest) for part in rgb), gap=6, alt=alt)
        return picture.with_title(title)
    entries = flat(values)
    colors = value_colors(entries, color, palette, limit, shape)
    channels = [slice(start, start + rows * columns) for start in range(0, len(entries), rows * columns)]
    grids = [_channel(entries[part], colors[part], (rows, columns), part.start, labels, longest) for part in channels]
    alt = _image_in_words(entries, rows, columns, len(channels))
    picture = stacked(*grids, gap=6, alt=alt)
    return picture.with_title(title)


def _channel(
    values: Sequence[Any],
    colors: Sequence[str],
    shape: tuple[int, int],
    first: int,
    labels: bool | None,
    longest: float,
) -> Picture:
    columns = shape[1]
    roomy = max(shape) <= 16 and all(fits(value) for value in values)
    written = roomy if labels is None else labels
    cells = [
        Cell(
            i // columns,
            i % columns,
            color,
            value if written else None,
            f"pixel {i // columns}, {i % columns} (entry {first + i}): {plain(value)}",
            f"P{first + i}",
        )
        for i, (value, color) in enumerate(zip(values, colors, strict=True))
    ]
    return draw_grid(shape, cells, size=cell_size(shape, [cell.label for cell in cells], longest))


def value_colors(
    entries: Sequence[Any],
    color: str = "auto",
    palette: Mapping[Any, str] | None = None,
    limit: float | None = None,
    shape: Shape | None = None,
) -> list[str]:
    """Return the colours of an image's pixels; see `image_picture`."""
    letters = any(isinstance(value, sympy.Basic) and value.free_symbols for value in entries)
    if color == "pixel" or (color == "auto" and letters):
        if palette is None:
            return pixel_colors(shape or (len(entries),))
        return [_mean_of_letters(value, palette) for value in entries]
    return [to_hex(shade) for shade in _number_colors(np.array([float(value) for value in entries]), color, limit)]


def _number_colors(numbers: Array, color: str, limit: float | None) -> Array:
    """Return the colours (..., 3) of numbers, grey or from violet to orange; raises what `check_drawable` raises."""
    check_drawable("values", numbers)
    largest = limit or float(np.abs(numbers).max(initial=0)) or 1.0
    if color == "value" or (color == "auto" and numbers.min(initial=0) < 0):
        return diverging_colors(numbers, largest)
    greys = (255 * np.clip(numbers / largest, 0, 1)).round().astype(np.uint8)
    return np.repeat(greys[..., np.newaxis], 3, axis=-1)


def letter_colors(image: Any, shape: Shape | None = None) -> dict[Any, str]:
    """Return the colours of an image of letters: a palette with which `image_picture` keeps them in other images.

    Examples
    --------
    >>> from linalg_cnn import symbolic
    >>> letter_colors(symbolic.symbols("a", (2,)))
    {a_0: '#e69f00', a_1: '#56b4e9'}
    """
    entries = flat(image)
    shape = shape or (image.shape if hasattr(image, "shape") else (len(entries),))
    return dict(zip(entries, pixel_colors(tuple(shape)), strict=True))


def _mean_of_letters(value: Any, palette: Mapping[Any, str]) -> str:
    if value in palette:
        return palette[value]
    parts = {} if value == 0 else dict(sympy.expand(value).as_coefficients_dict())
    if any(letter not in palette for letter in parts):
        return NO_MEAN
    return mean_color([palette[letter] for letter in parts], list(parts.values()))


def _image_in_words(entries: Sequence[Any], rows: int, columns: int, channels: int) -> str:
    size = _size_in_words(rows, columns, channels)
    spelled = "; ".join(listed(entries[start : start + columns]) for start in range(0, len(entries), columns))
    return f"{size}: {spelled}." if len(spelled) <= 300 else f"{size}."


def _size_in_words(rows: int, columns: int, channels: int) -> str:
    return f"An image of {rows} x {columns} pixels" + (f" and {channels} channels" if channels > 1 else "")


def kernel_picture(
    kernel: Any, *, color: str = "kernel", title: str | None = None, longest: float = 72, most: int = 8
) -> Picture:
    """Return a kernel (C_out, C_in / groups, *k) as grids, one row of grids per output channel.

    Parameters
    ----------
    kernel : array_like
        The kernel: numbers or sympy expressions.
    color : {"kernel", "value"}
        ``kernel`` for one colour per entry, the same as in `matrix_picture`; ``value`` from violet for negative to
        orange for positive entries.
    title : str, optional
        Title above the picture.
    longest : float
        Longest side of one grid without labels, in pixels.
    most : int
        Largest number of output channels, and of input channels, that are drawn.

    Raises
    ------
    ValueError
        If the kernel does not have three or four axes, has no entry, or has one that is NaN or infinite.

    Examples
    --------
    >>> kernel_picture([[[[1.0, 2.0], [3.0, 4.0]]]])
    Picture(48 x 48: A kernel of shape (1, 1, 2, 2): 1, 2, 3, 4.)
    """
    check_choice("color", color, ("kernel", "value"))
    array = np.asarray(kernel)
    if array.ndim not in {3, 4} or array.size == 0:
        raise ValueError(f"kernel: expected (C_out, C_in / groups, *k) with one or two spatial axes, got {array.shape}")
    check_drawable("kernel", array)
    whole, c_out, c_in = array, *array.shape[:2]
    array = array[:most, :most]  # the channels that are drawn
    values = flat(array)
    if color == "kernel":
        colors = kernel_colors(array.shape)
    else:
        limit = float(np.abs(whole.astype(np.float64)).max())
        colors = [to_hex(shade) for shade in diverging_colors(array.astype(np.float64).ravel(), limit)]
    taps = array.shape[2:] if array.ndim == 4 else (1, array.shape[2])
    count = taps[0] * taps[1]
    written = all(fits(value) for value in values) and len(values) <= 144

    def grid(pair: int) -> Picture:
        cells = [
            Cell(
                i // taps[1],
                i % taps[1],
                colors[pair * count + i],
                values[pair * count + i] if written else None,
                f"kernel[{listed(indices(pair * count + i, array.shape))}]: {plain(values[pair * count + i])}",
            )
            for i in range(count)
        ]
        return draw_grid((taps[0], taps[1]), cells, size=cell_size(taps, [c.label for c in cells], longest, 24))

    shown_out, shown_in = array.shape[:2]
    rows = [side_by_side(*(grid(o * shown_in + i) for i in range(shown_in)), gap=8) for o in range(shown_out)]
    spelled = listed(values)
    short = len(spelled) <= 300 and array.shape == whole.shape
    alt = f"A kernel of shape {whole.shape}" + (f": {spelled}." if short else ".")
    picture = stacked(*rows, gap=8, alt=alt)
    if array.shape != whole.shape:
        picture = picture.captioned(f"the first {shown_out} x {shown_in} of {c_out} x {c_in} pairs")
    return picture.with_title(title)


def rows_picture(
    affine: AffineMap | Array,
    labels: Sequence[str] | None = None,
    *,
    in_shape: Shape | None = None,
    limit: float | None = None,
    across: int = 5,
    most: int = 20,
    longest: float = 112,
) -> Picture:
    """Return the rows of W as images: the weight of each pixel in each output, all on one colour scale.

    Parameters
    ----------
    affine : AffineMap, or array (rows, in_size)
        The map, its W, or other rows of numbers.
    labels : sequence of str, optional
        Title of each row; by default its number.
    in_shape : tuple of int, optional
        (channels, height, width); by default the map's own.
    limit : float, optional
        Number with the darkest colour; by default the largest of W.
    across, most : int
        Number of images side by side, and largest number of images.
    longest : float
        Longest side of an image, in pixels.

    Raises
    ------
    ValueError
        If the shape does not have three axes.

    Examples
    --------
    >>> rows_picture(AffineMap([[1.0, -1.0], [0.0, 2.0]], [0.0, 0.0], in_shape=(1, 1, 2))).alt
    'The 2 rows of W as images of 1 x 2 pixels. 0: 1, -1; 1: 0, 2. Violet is -2, white is 0, orange is 2.'
    """
    shape = in_shape or (affine.in_shape if isinstance(affine, AffineMap) else None)
    if shape is None or len(shape) != 3:
        raise ValueError(f"in_shape: expected (channels, height, width), got {shape}")
    W = np.asarray(affine.toarray().W if isinstance(affine, AffineMap) else affine, np.float64)
    largest = limit or float(np.abs(W).max()) or 1.0
    names = [str(row) for row in range(len(W))] if labels is None else [str(label) for label in labels]
    shown = min(len(W), most)
    images = [
        image_picture(W[i], shape, color="value", limit=largest, labels=False, longest=longest).titled(names[i])
        for i in range(shown)
    ]
    lines = [side_by_side(*images[start : start + across], gap=12) for start in range(0, shown, across)]
    bar = scale_bar(largest)
    spelled = "; ".join(f"{name}: {listed(row)}" for name, row in zip(names, W, strict=False))
    entries = f" {spelled}." if W.size <= 16 else ""
    rows = f"The {len(W)} rows{' of W' if isinstance(affine, AffineMap) else ''}"
    titled = f", titled {', '.join(names[:shown])}" if labels is not None and not entries else ""
    alt = f"{rows} as images of {shape[1]} x {shape[2]} pixels{titled}.{entries} {bar.alt}"
    picture = stacked(*lines, bar, alt=alt)
    return picture.captioned(f"the first {shown} of {len(W)} rows") if shown < len(W) else picture


def scale_bar(limit: float, width: float = 150) -> Picture:
    """Return the key to the colours of values from -limit to limit.

    Raises
    ------
    ValueError
        If the limit is NaN or infinite.

    Examples
    --------
    >>> scale_bar(2.0).alt
    'Violet is -2, white is 0, orange is 2.'
    """
    check_finite("limit", np.asarray(limit, np.float64))
    steps = 30
    step = width / steps
    shades = diverging_colors(np.linspace(-1, 1, steps), 1.0)
    body = "".join(rect(i * step, 0, step + 0.5, 10, to_hex(shade)) for i, shade in enumerate(shades))
    for share, value in ((0.0, -limit), (0.5, 0.0), (1.0, limit)):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        body += text(value, share * width, 18, 11, anchor=anchor)
    return Picture(body, width, 24, f"Violet is {plain(-limit)}, white is 0, orange is {plain(limit)}.")
