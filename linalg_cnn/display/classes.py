"""What pictures of piecewise-linear networks share: colours and names of the outputs, and inputs as small images."""

from collections.abc import Sequence

import numpy as np

from linalg_cnn.display.colors import DARK_TEXT, LINE, OKABE_ITO, PAPER, mix_colors
from linalg_cnn.display.frame import several_colors
from linalg_cnn.display.images import image_picture
from linalg_cnn.display.picture import Picture
from linalg_cnn.display.svg import NO_POINTER, image, rect, text, text_width
from linalg_cnn.types import Array, Shape

TEN = (*OKABE_ITO, "#8b5a2b", "#4b0082", "#222222")
"""Okabe and Ito's colours, and three that all readers can tell from them and from each other."""

MOST_COLORS = 18
"""Number of outputs up to which each has its own colour in every picture."""

SMALLEST_IMAGE = 5
"""Height and width from which on an input is drawn as an image."""


def class_colors(count: int, present: Sequence[int]) -> dict[int, str]:
    """Return the colour of each output that is the largest somewhere.

    Parameters
    ----------
    count : int
        Number of outputs of the network.
    present : sequence of int
        Outputs that are the largest somewhere.

    Returns
    -------
    dict {output: colour}
        Up to `MOST_COLORS` outputs have the same colours in all pictures. Of more, those that are present have colours
        of their own.

    Examples
    --------
    >>> class_colors(10, [3, 7]) == {k: class_colors(10, range(10))[k] for k in (3, 7)}
    True
    >>> class_colors(1000, [3, 777]) == {3: "#e69f00", 777: "#56b4e9"}
    True
    """
    if count <= MOST_COLORS:
        colors = palette(count)
        return {number: colors[number] for number in present}
    return dict(zip(present, palette(len(present)), strict=True))


def palette(count: int) -> Sequence[str]:
    """Return some colours: up to ten of `TEN`, otherwise six hues in several degrees of lightness.

    Examples
    --------
    >>> palette(2), len(set(palette(18)))
    (('#e69f00', '#56b4e9'), 18)
    """
    return TEN[:count] if count <= len(TEN) else several_colors(count)


def output_names(labels: Sequence[str] | None, count: int) -> list[str]:
    """Return the names of the outputs: the given ones, or their numbers.

    Raises
    ------
    ValueError
        If there is not one label for each output.
    """
    if labels is None:
        return [str(number) for number in range(count)]
    if len(labels) != count:
        raise ValueError(f"labels: expected {count}, one per output, got {len(labels)}")
    return [str(label) for label in labels]


def softened(color: str) -> str:
    """Return a colour mixed with white, so that lines and texts on it stay legible.

    Examples
    --------
    >>> softened("#000000")
    '#595959'
    """
    return mix_colors([color], [0.65])


def halo_text(words: str, x: float, y: float, size: float) -> str:
    """Return a dark text with a white outline, which is legible on any colour and on lines."""
    outline = f'stroke="{PAPER}" stroke-width="3" stroke-linejoin="round" paint-order="stroke" {NO_POINTER}'
    return text(words, x, y, size, color=DARK_TEXT, more=outline)


def color_key(entries: Sequence[tuple[str, str]], widest: float) -> Picture:
    """Return a list of names beside squares of their colours, in as many lines as needed.

    Parameters
    ----------
    entries : sequence of (name, colour)
    widest : float
        Width of a line, in pixels.

    Examples
    --------
    >>> color_key([("3", "#e69f00"), ("7", "#56b4e9")], widest=50).height
    38.0
    """
    body, x, y, widths = "", 0.0, 0.0, [0.0]
    for name, color in entries:
        width = 16 + text_width(name, 12)
        if x and x + width > widest:
            x, y = 0.0, y + 20
        body += rect(x, y + 3, 12, 12, color) + text(name, x + 16, y + 9, 12, anchor="start")
        widths.append(x + width)
        x += width + 14
    return Picture(body, max(widths), y + 18, "")


def is_image(shape: Shape) -> bool:
    """Return whether inputs of a shape are drawn as images: one or three channels of at least 5 x 5 pixels.

    Examples
    --------
    >>> is_image((1, 28, 28)), is_image((2,)), is_image((3, 64, 64)), is_image((2, 9, 9))
    (True, False, True, False)
    """
    return len(shape) == 3 and shape[0] in {1, 3} and min(shape[1:]) >= SMALLEST_IMAGE


def input_picture(x: Array, longest: float) -> Picture:
    """Return an input as an image, grey or in colour, whose smallest value is black and whose largest is white.

    Parameters
    ----------
    x : ndarray (*in_shape)
        If it `is_image` or not; otherwise `image_picture` draws it.
    longest : float
        Longest side, in pixels.

    Examples
    --------
    >>> input_picture(np.arange(25.0).reshape(1, 5, 5), 40)
    Picture(40 x 40: An image of 5 x 5 pixels.)
    """
    if not is_image(x.shape):
        return image_picture(x if x.ndim <= 3 else x.ravel(), longest=longest)
    spread = float(x.max() - x.min()) or 1.0
    levels = (255 * (x - x.min()) / spread).round().astype(np.uint8)
    alt = f"An image of {x.shape[1]} x {x.shape[2]} pixels" + (" in colour." if x.shape[0] == 3 else ".")
    return pixel_picture(np.broadcast_to(levels, (3, *x.shape[1:])).transpose(1, 2, 0), longest).with_alt(alt)


def pixel_picture(pixels: Array, longest: float) -> Picture:
    """Return an image (height, width, 3) of uint8 in a thin frame.

    Examples
    --------
    >>> pixel_picture(np.zeros((5, 10, 3), np.uint8), 40)
    Picture(40 x 20: )
    """
    height, width = (longest * side / max(pixels.shape[:2]) for side in pixels.shape[:2])
    frame = rect(0, 0, width, height, "none", more=f'stroke="{LINE}" stroke-width="1"')
    return Picture(image(pixels, width, height) + frame, width, height, "")
