"""Panels of pictures of plane geometry: a frame with axes, dots, and points in words."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from math import isfinite
from typing import Any

from linalg_cnn.display.colors import INK, LINE, MUTED, grid_colors
from linalg_cnn.display.svg import MINUS, lines, number, text
from linalg_cnn.display.words import listed, plain

SIDE = 280.0
"""Width and height of a panel, in pixels."""

CAPTION = 32.0
"""Height of the names and ranges of the axes below a panel, in pixels."""

MOST_NAMED = 12
"""Number of monomials above which a picture has no list of them, and its text alternative names the first ones."""

MOST_NUMBERED = 40
"""Number of monomials or generators above which their points have no numbers."""

EXPONENTS = ("exponent of x₁", "exponent of x₂")


@contextmanager
def numbers_of_float64(name: str) -> Iterator[None]:
    """Report exact numbers that are too large to be drawn as an error that names the argument.

    Raises
    ------
    ValueError
        If float64 does not hold a number, or the differences of some.
    """
    try:
        yield
    except OverflowError as error:
        raise ValueError(f"{name}: expected numbers that float64 holds, got larger ones") from error


class Frame:
    """A square panel with the same scale on both axes, whose y-axis points upwards, unless it is stretched.

    Raises
    ------
    OverflowError
        If float64 does not hold the coordinates, or their differences.
    """

    def __init__(self, xs: Sequence[Any], ys: Sequence[Any], *, margin: float, stretched: bool = False) -> None:
        spans = [(float(min(values)), float(max(values))) for values in (xs, ys)]
        widest = max(high - low for low, high in spans)
        sizes = [(high - low if stretched else widest) or widest or 2.0 for low, high in spans]
        self.low = [(low + high) / 2 - (0.5 + margin) * size for (low, high), size in zip(spans, sizes, strict=True)]
        self.high = [(low + high) / 2 + (0.5 + margin) * size for (low, high), size in zip(spans, sizes, strict=True)]
        if not all(isfinite(high - low) for low, high in zip(self.low, self.high, strict=True)):
            raise OverflowError("expected coordinates whose differences float64 holds")

    def at(self, point: Sequence[Any]) -> tuple[float, float]:
        """Return a point in pixels."""
        x, y = ((float(v) - low) / (high - low) for v, low, high in zip(point, self.low, self.high, strict=True))
        return SIDE * x, SIDE * (1 - y)

    def holds(self, point: Sequence[Any]) -> bool:
        """Return whether a point lies in the panel."""
        return all(low <= float(v) <= high for v, low, high in zip(point, self.low, self.high, strict=True))

    def line(self, ends: Sequence[Sequence[Any]]) -> tuple[float, float, float, float]:
        """Return a line between two points in pixels."""
        return (*self.at(ends[0]), *self.at(ends[1]))

    def axes(self, names: Sequence[str]) -> str:
        """Return the lines where a coordinate is 0, if they pass through the panel, and the axes' names and ranges."""
        zero = [low <= 0 <= high for low, high in zip(self.low, self.high, strict=True)]
        drawn = [self.line([(0, self.low[1]), (0, self.high[1])])] * zero[0]
        drawn += [self.line([(self.low[0], 0), (self.high[0], 0)])] * zero[1]
        body = lines(drawn, LINE, 1)
        for i, (arrow, name) in enumerate(zip("→↑", names, strict=True)):
            words = f"{arrow} {name}: {decimal(self.low[i])} to {decimal(self.high[i])}"
            body += text(words, 0, SIDE + 9 + 14 * i, 11, color=MUTED, anchor="start")
        return body


def several_colors(count: int) -> list[str]:
    """Return one colour for each monomial or generator; where hues repeat, neighbours still differ in hue."""
    if count <= 7:
        return grid_colors((count,))
    shades = -(-count // 6)
    colors = grid_colors((6, shades))
    return [colors[i % 6 * shades + i // 6] for i in range(count)]


def dot(x: float, y: float, radius: float, fill: str, *, stroke: str = INK, title: str = "") -> str:
    """Return a circle, with a hover text (``title``)."""
    circle = f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" fill="{fill}" stroke="{stroke}"'
    return f"{circle}><title>{title}</title></circle>" if title else f"{circle}/>"


def short(value: Fraction) -> str:
    """Return a number as an integer or a fraction if that is short, otherwise with three digits."""
    return plain(value if value.denominator < 100 and abs(value.numerator) < 1000 else float(value))


def decimal(value: float) -> str:
    """Return a number as short text with a minus sign."""
    return plain(value).replace("-", MINUS)


def point_words(point: Sequence[Any]) -> str:
    """Return a point in words.

    Examples
    --------
    >>> point_words([Fraction(1, 3), Fraction(-2)])
    '(1/3, -2)'
    """
    return f"({listed(short(value) for value in point)})"


def points_words(points: Sequence[Sequence[Any]]) -> str:
    """Return points in words; the first ones of many."""
    return joined([point_words(point) for point in points])


def joined(words: Sequence[str]) -> str:
    """Return words with commas and a last "and"; the first ones of many."""
    if len(words) > MOST_NAMED:
        return f"{', '.join(words[:MOST_NAMED])} and {len(words) - MOST_NAMED} more"
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def count_words(count: int, one: str, many: str = "") -> str:
    """Return a number of things in words.

    Examples
    --------
    >>> count_words(1, "edge"), count_words(2000, "vertex", "vertices")
    ('1 edge', '2,000 vertices')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
