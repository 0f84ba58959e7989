"""Colours that readers with any common colour blindness can tell apart, as "#rrggbb"."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from linalg_cnn.checks import check_finite
from linalg_cnn.types import Array, Shape, size_of

INK = "#1b4965"
MUTED = "#5c6770"
PAPER = "#ffffff"
EMPTY = "#f4f5f6"
LINE = "#c9ced3"
GRID = "#e3e6e8"
LIT = "#d55e00"
PALE_LIT = "#fbe3d4"
PADDED_ZERO = "#dfe3e7"
NO_MEAN = "#e8ebee"  # the colour of a value that is not a weighted mean of colours
INPUT_BOX = "#fdf3e0"
LAYER_BOX = "#eef3f6"
DARK_TEXT = "#0b1319"
DIVERGING = "PuOr_r"  # matplotlib's name of the map that `diverging_colors` computes

OKABE_ITO = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
"""Okabe and Ito's colours without black (jfly.uni-koeln.de/color)."""

CURVE_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
"""Colours of curves that share a picture: Okabe and Ito's without yellow, which is too light for lines."""

HUES = ("#332288", "#e69f00", "#008837", "#56b4e9", "#882255", "#d55e00")
"""Hues that can be told apart in three degrees of lightness; the first three differ most.

They were chosen by computing how readers with each of the three kinds of colour blindness see them; a test repeats
the computation.
"""

PU_OR = np.array([
    [45, 0, 75],
    [84, 39, 136],
    [128, 115, 172],
    [178, 171, 210],
    [216, 218, 235],
    [247, 247, 247],
    [254, 224, 182],
    [253, 184, 99],
    [224, 130, 20],
    [179, 88, 6],
    [127, 59, 8],
])
"""ColorBrewer's PuOr from violet to orange: the anchors of matplotlib's ``PuOr_r``."""


def diverging_colors(values: Any, limit: float) -> Array:
    """Return violet for negative values, orange for positive values and near white for 0.

    Parameters
    ----------
    values : array_like of float
    limit : float
        Value of the darkest orange; its negative has the darkest violet. Values beyond are clipped.

    Returns
    -------
    uint8 array (..., 3)

    Raises
    ------
    ValueError
        If a value or the limit is NaN or infinite.

    Examples
    --------
    >>> diverging_colors([-2.0, 0.0, 2.0], limit=2.0).tolist()
    [[45, 0, 75], [247, 247, 247], [127, 59, 8]]
    """
    numbers = np.asarray(values, np.float64)
    check_finite("values", numbers)
    check_finite("limit", np.asarray(limit, np.float64))
    scaled = np.clip(numbers / (limit or 1.0), -1, 1)
    anchors = np.linspace(-1, 1, len(PU_OR))
    return np.stack([np.interp(scaled, anchors, PU_OR[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def to_hex(rgb: Any) -> str:
    """Return red, green and blue, each from 0 to 255, as "#rrggbb".

    Examples
    --------
    >>> to_hex((27, 73, 101))
    '#1b4965'
    """
    red, green, blue = (round(float(part)) for part in rgb)
    return f"#{red:02x}{green:02x}{blue:02x}"


def to_rgb(color: str) -> Array:
    """Return "#rrggbb" as three floats from 0 to 255.

    Examples
    --------
    >>> to_rgb("#1b4965").tolist()
    [27.0, 73.0, 101.0]
    """
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)], np.float64)


def mix_colors(colors: Sequence[str], weights: Sequence[float]) -> str:
    """Return the weighted mean of some colours; weights that sum to less than 1 are filled up with white.

    Raises
    ------
    ValueError
        If a weight is negative.

    Examples
    --------
    >>> mix_colors(["#000000", "#ffffff"], [0.5, 0.5])
    '#808080'
    >>> mix_colors(["#000000"], [0.25])
    '#bfbfbf'
    """
    shares = np.asarray(weights, np.float64)
    if np.any(shares < 0):
        raise ValueError(f"weights: expected no negative weight, got {shares.min()}")
    total = max(float(shares.sum()), 1.0)
    sums = np.zeros(3) + sum((share * to_rgb(color) for share, color in zip(shares, colors, strict=True)), np.zeros(3))
    return to_hex((sums + (total - shares.sum()) * 255.0) / total)


def mean_color(colors: Sequence[str], weights: Sequence[Any]) -> str:
    """Return the weighted mean of some colours, or grey if a weight is negative or not a number; no colours give white.

    Parameters
    ----------
    colors : sequence of str
    weights : sequence of numbers or sympy expressions

    Examples
    --------
    >>> mean_color(["#000000", "#ffffff"], [0.5, 0.5]), mean_color([], []), mean_color(["#000000"], [-1])
    ('#808080', '#ffffff', '#e8ebee')
    """
    try:
        return mix_colors(colors, [float(weight) for weight in weights]) if weights else PAPER
    except (TypeError, ValueError):
        return NO_MEAN


def pale(color: str) -> str:
    """Return a colour mixed with white, for entries that are not highlighted."""
    return mix_colors([color], [0.3])


def ink_on(color: str) -> str:
    """Return the text colour, dark or white, with the larger contrast to a colour by WCAG's relative luminance.

    Examples
    --------
    >>> ink_on("#ffffff"), ink_on("#0072b2")
    ('#0b1319', '#ffffff')
    """
    channels = to_rgb(color) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ [0.2126, 0.7152, 0.0722])
    return DARK_TEXT if luminance > 0.193 else PAPER  # both contrasts are 4.3 there


def grid_colors(shape: Shape) -> list[str]:
    """Return one colour for each position of an array, in C order.

    Up to seven positions have Okabe and Ito's seven colours. In larger arrays the first axis determines the hue and the
    other axes the lightness: the rows of a 3x3 kernel are three hues, each from dark to light.

    Examples
    --------
    >>> grid_colors((2, 2))
    ['#e69f00', '#56b4e9', '#009e73', '#f0e442']
    >>> len(set(grid_colors((3, 3)))), len(set(grid_colors((5, 5))))
    (9, 25)
    """
    count = size_of(shape)
    if count <= len(OKABE_ITO):
        return list(OKABE_ITO[:count])
    sizes = [size for size in shape if size > 1]
    across = size_of(tuple(sizes[1:])) if len(sizes) > 1 else -(-count // len(OKABE_ITO))
    shares = np.linspace(1.0, 0.3, across) if across > 1 else np.ones(1)
    return [mix_colors([HUES[i // across % len(HUES)]], [shares[i % across]]) for i in range(count)]


def kernel_colors(shape: Shape) -> list[str]:
    """Return one colour for each entry of a kernel (C_out, C_in / groups, *k), in C order.

    With one pair of channels the colours are the `grid_colors` of the taps; with several, the pair of channels
    determines the hue and the tap the lightness.

    Examples
    --------
    >>> kernel_colors((1, 1, 2, 2)) == grid_colors((2, 2))
    True
    >>> len(set(kernel_colors((2, 2, 2, 2))))
    16
    """
    pairs, taps = shape[0] * shape[1], size_of(shape[2:])
    return grid_colors(shape[2:]) if pairs == 1 else grid_colors((pairs, taps))
