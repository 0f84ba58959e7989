"""Pictures of zonotopes in the plane."""

from fractions import Fraction
from math import hypot

from linalg_cnn.display.colors import EMPTY, INK
from linalg_cnn.display.frame import (
    CAPTION,
    EXPONENTS,
    MOST_NUMBERED,
    SIDE,
    Frame,
    count_words,
    dot,
    numbers_of_float64,
    points_words,
    several_colors,
)
from linalg_cnn.display.picture import Picture, side_by_side
from linalg_cnn.display.svg import lines, number, text
from linalg_cnn.tropical import Zonotope


def zonotope_picture(zonotope: Zonotope, *, title: str | None = None) -> Picture:
    """Return a zonotope in the plane beside the generators that it is the sum of.

    Parameters
    ----------
    zonotope : Zonotope
        Zonotope in the plane.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture
        Each side of the zonotope has the colour of its generator.

    Raises
    ------
    ValueError
        If the zonotope does not lie in the plane, or float64 does not hold its numbers.

    Examples
    --------
    >>> zonotope_picture(Zonotope((0, 0), [(1, 0), (0, 1)])).alt.split(". ")
    ['2 generators: (1, 0) and (0, 1)', 'Their sum has the vertices (0, 0), (1, 0), (1, 1) and (0, 1).']
    """
    with numbers_of_float64("zonotope"):
        return _drawn(zonotope).with_title(title)


def _drawn(zonotope: Zonotope) -> Picture:
    steps = zonotope.boundary()
    points = [point for _, point in steps] or [zonotope.start]
    colors = several_colors(max(len(zonotope.generators), 1))
    origin = (Fraction(0), Fraction(0))
    frame = Frame(*zip(origin, *zonotope.generators, strict=True), margin=0.16)
    body = frame.axes(EXPONENTS)
    longest_first = sorted(enumerate(zonotope.generators), key=lambda pair: -hypot(*map(float, pair[1])))
    for i, generator in longest_first:  # a shorter one in the same direction stays visible
        x, y = frame.at(generator)
        body += lines([frame.line([origin, generator])], colors[i], 3.5) + dot(x, y, 4, colors[i])
        body += text(str(1 + i), x + 10, y - 8, 12) if len(colors) <= MOST_NUMBERED else ""
    segments = Picture(body, SIDE, SIDE + CAPTION, "").titled("The generators")
    frame = Frame(*zip(*points, strict=True), margin=0.16)
    around = " ".join(f"{number(x)},{number(y)}" for x, y in map(frame.at, points))
    body = f'<polygon points="{around}" fill="{EMPTY}"/>' + frame.axes(EXPONENTS)
    for (i, start), end in zip(steps, points[1:] + points[:1], strict=False):
        body += lines([frame.line([start, end])], colors[i], 3.5)
    body += "".join(dot(*frame.at(point), 4, INK) for point in zonotope.vertices())
    sides = Picture(body, SIDE, SIDE + CAPTION, "").titled("Their sum, the zonotope")
    alt = count_words(len(zonotope.generators), "generator")
    alt += f": {points_words(zonotope.generators)}. " if zonotope.generators else ". "
    alt += f"Their sum has the vertices {points_words(zonotope.vertices())}."
    return side_by_side(segments, sides, gap=36, alt=alt)
