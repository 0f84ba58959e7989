"""Pictures of tropical polynomials: their curves or graphs beside their Newton polytopes."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from math import hypot
from typing import Any

from linalg_cnn.display.colors import EMPTY, GRID, INK, MUTED, PAPER, ink_on, pale
from linalg_cnn.display.entries import check_drawable
from linalg_cnn.display.frame import (
    CAPTION,
    EXPONENTS,
    MOST_NAMED,
    MOST_NUMBERED,
    SIDE,
    Frame,
    count_words,
    dot,
    joined,
    numbers_of_float64,
    point_words,
    points_words,
    several_colors,
    short,
)
from linalg_cnn.display.picture import Picture, side_by_side, stacked
from linalg_cnn.display.svg import MINUS, NO_POINTER, lines, number, text, text_width
from linalg_cnn.tropical import Monomial, TropicalCurve, TropicalPolynomial, newton_vertices, tropical_curve

ROOM = 7.0
"""Width of a region, in pixels, below which it has no number."""

SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

Span = tuple[float, float]

ORIGIN = (Fraction(0), Fraction(0))


def tropical_picture(
    polynomial: TropicalPolynomial,
    *,
    view: tuple[Span, Span] | None = None,
    title: str | None = None,
) -> Picture:
    """Return a tropical polynomial in one or two variables as a picture, beside its Newton polytope.

    In two variables, the left panel shows the tropical curve, where two monomials are equal and no other is larger,
    and the regions between, in each of which one monomial is the largest. The right panel shows the dual subdivision
    of the Newton polygon: a point for each region, a segment for each edge of the curve and perpendicular to it, a
    polygon for each vertex. In one variable, the left panel shows the graph with its breaks, and the right one the
    coefficients above the exponents with their upper hull, whose slopes are minus the breaks. Hollow points are
    monomials that are never the only largest one.

    Parameters
    ----------
    polynomial : TropicalPolynomial
        Polynomial in one or two variables.
    view : pair of (float, float), optional
        Two opposite corners of a part of the plane, in two variables: the curve is shown in a square around it. By
        default it lies around all vertices.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture
        A region and its point have the same colour and number.

    Raises
    ------
    ValueError
        If the polynomial has more than two variables, or one and a ``view``, if float64 does not hold its numbers, or
        if the ``view`` is not finite.

    Examples
    --------
    >>> tropical_picture(TropicalPolynomial({(0,): 0, (1,): 0, (2,): -1})).alt.split(". ")[1:]
    ['Its graph breaks at 0 and 1', "The Newton polygon's upper hull has the points (0, 0), (1, 0) and (2, -1)."]
    """
    if polynomial.variables > 2:
        raise ValueError(f"polynomial: expected one or two variables, got {polynomial.variables}")
    if polynomial.variables == 1 and view is not None:
        raise ValueError(f"view: expected None for a polynomial in one variable, got {view}")
    if view is not None:
        check_drawable("view", view)
    with numbers_of_float64("polynomial"):
        return _drawn(polynomial, view).with_title(title)


def _drawn(polynomial: TropicalPolynomial, view: tuple[Span, Span] | None) -> Picture:
    drawn = _in_one_variable(polynomial) if polynomial.variables == 1 else _in_two_variables(polynomial, view)
    kept, panels, words = drawn
    shown = kept.monomials
    hidden = len(polynomial) - len(shown)
    alt = f"A tropical polynomial in {polynomial.variables} variable{'s' * (polynomial.variables > 1)}, the maximum of "
    alt += f"{len(shown)} monomial{'s' * (len(shown) > 1)}: {_listed([_words(m) for m in shown])}. {words}"
    alt += f" Monomials that are never the only largest one: {hidden}." if hidden else ""
    picture = side_by_side(*panels, gap=36)
    if len(shown) <= MOST_NAMED:
        picture = stacked(picture, _legend(shown), gap=16)
    return picture.with_alt(alt)


Drawn = tuple[TropicalPolynomial, list[Picture], str]
"""A pruned polynomial, its two panels, and what they show in words."""


def _in_two_variables(polynomial: TropicalPolynomial, view: tuple[Span, Span] | None) -> Drawn:
    curve = tropical_curve(polynomial)
    kept = curve.polynomial
    words = f"Its curve has {count_words(len(curve.vertices), 'vertex', 'vertices')}"
    words += f" at {points_words(curve.vertices)}" if curve.vertices else ""
    words += f" and {count_words(len(curve.edges), 'edge')}. The Newton polygon has the corners "
    words += (
        f"{points_words(newton_vertices(polynomial))}; its subdivision has {count_words(len(curve.cells), 'polygon')}"
    )
    cells = ["-".join(str(1 + i) for i in cell) for cell in curve.cells]
    words += f" between the points {_listed(cells, numbered=False)}." if cells else "."
    return kept, [_curve_panel(curve, view), _subdivision_panel(polynomial, curve)], words


def _curve_panel(curve: TropicalCurve, view: tuple[Span, Span] | None) -> Picture:
    points = list(curve.vertices) or [_foot(curve.polynomial, edge.monomials) for edge in curve.edges] or [ORIGIN]
    frame = Frame(*zip(*(view or points), strict=True), margin=0 if view else 0.5)
    colors = several_colors(len(curve.polynomial))
    body, borders, labels = "", [], ""
    monomials = curve.polynomial.monomials
    for i, corners, neighbours in curve.pieces(tuple(frame.low), tuple(frame.high)):  # type: ignore[arg-type]
        around = " ".join(f"{number(x)},{number(y)}" for x, y in map(frame.at, corners))
        body += f'<polygon points="{around}" fill="{pale(colors[i])}"><title>{_words(monomials[i])}</title></polygon>'
        for side, neighbour in enumerate(neighbours):
            if neighbour is not None and neighbour > i:
                borders.append(frame.line([corners[side], corners[(side + 1) % len(corners)]]))
        x, y, room = _middle([frame.at(corner) for corner in corners])
        labels += text(str(1 + i), x, y, 12, more=NO_POINTER) if room > ROOM else ""
    body += frame.axes(("x₁", "x₂")) + lines(borders, INK, 2)
    body += "".join(dot(*frame.at(point), 3.5, INK) for point in curve.vertices if frame.holds(point)) + labels
    return Picture(body, SIDE, SIDE + CAPTION, "").titled("The curve and its regions")


def _subdivision_panel(polynomial: TropicalPolynomial, curve: TropicalCurve) -> Picture:
    exponents = [monomial.exponents for monomial in curve.polynomial.monomials]
    frame = Frame(*zip(*(monomial.exponents for monomial in polynomial.monomials), strict=True), margin=0.16)
    hull = " ".join(f"{number(x)},{number(y)}" for x, y in map(frame.at, newton_vertices(polynomial)))
    body = f'<polygon points="{hull}" fill="{EMPTY}"/>' + frame.axes(EXPONENTS)
    body += lines([frame.line([exponents[i] for i in edge.monomials]) for edge in curve.edges], INK, 2)
    body += _removed_dots(frame, [m.exponents for m in polynomial.monomials], exponents)
    return Picture(body + _numbered_dots(frame, exponents), SIDE, SIDE + CAPTION, "").titled("The dual subdivision")


def _in_one_variable(polynomial: TropicalPolynomial) -> Drawn:
    kept = polynomial.pruned()
    points = [(m.exponents[0], m.coefficient) for m in kept.monomials]
    breaks = [(c - d) / (b - a) for (a, c), (b, d) in pairwise(points)]
    words = f"Its graph breaks at {joined([short(x) for x in breaks])}. " if breaks else "Its graph has no break. "
    words += f"The Newton polygon's upper hull has the points {points_words(points)}."
    everything = [(m.exponents[0], m.coefficient) for m in polynomial.monomials]
    frame = Frame(*zip(*everything, strict=True), margin=0.16, stretched=True)
    body = frame.axes(("exponent", "coefficient"))
    body += lines([frame.line(pair) for pair in pairwise(points)], INK, 2)
    body += _removed_dots(frame, everything, points) + _numbered_dots(frame, points)
    hull = Picture(body, SIDE, SIDE + CAPTION, "").titled("The Newton polygon's upper hull")
    return kept, [_graph_panel(kept, breaks), hull], words


def _graph_panel(kept: TropicalPolynomial, breaks: list[Fraction]) -> Picture:
    xs = breaks or [Fraction(0)]
    reach = (max(xs) - min(xs)) / 2 or Fraction(1)
    ends = [min(xs) - reach, *breaks, max(xs) + reach]
    values = [kept.evaluate([x]) for x in ends]
    frame = Frame(ends, values, margin=0.06, stretched=True)
    colors = several_colors(len(kept))
    body, labels = "", ""
    for i, (color, monomial) in enumerate(zip(colors, kept.monomials, strict=True)):
        whole = [(x, monomial.coefficient + monomial.exponents[0] * x) for x in (ends[0], ends[-1])]
        body += lines([frame.line(whole)], GRID, 1)
        pieces = [(x, value) for x, value in zip(ends[i : i + 2], values[i : i + 2], strict=True)]
        body += lines([frame.line(pieces)], color, 3.5)
        x, y = frame.at([sum(pair) / 2 for pair in zip(*pieces, strict=True)])
        labels += text(str(1 + i), x - 9, y - 9, 12)
    # cut off at the sides of the panel; hidden from screen readers, for which the picture is one image with its words
    clipped = f'<svg aria-hidden="true" width="{number(SIDE)}" height="{number(SIDE)}">{body}</svg>'
    body = frame.axes(("x₁", "value")) + clipped + labels
    dots = "".join(dot(*frame.at(pair), 3.5, INK) for pair in zip(breaks, values[1:-1], strict=True))
    return Picture(body + dots, SIDE, SIDE + CAPTION, "").titled("The graph and its breaks")


def _numbered_dots(frame: Frame, points: Sequence[Sequence[Any]]) -> str:
    """Return the points of the monomials that are kept, with their colours and numbers."""
    numbered = len(points) <= MOST_NUMBERED
    radius = 9.0 if len(points) <= 20 else 7.0 if numbered else 4.0
    body = ""
    for i, (point, color) in enumerate(zip(points, several_colors(len(points)), strict=True)):
        x, y = frame.at(point)
        body += dot(x, y, radius, color, title=f"{1 + i}: {point_words(point)}")
        body += text(str(1 + i), x, y, radius + 2, color=ink_on(color), more=NO_POINTER) if numbered else ""
    return body


def _removed_dots(frame: Frame, points: Sequence[Sequence[Any]], kept: Sequence[Sequence[Any]]) -> str:
    removed = [point for point in points if point not in kept]
    return "".join(dot(*frame.at(p), 3, PAPER, stroke=MUTED, title=f"never largest: {point_words(p)}") for p in removed)


def _legend(monomials: Sequence[Monomial]) -> Picture:
    """Return the list of the monomials with their colours and numbers."""
    body, x, y, widest = "", 0.0, 0.0, 2 * SIDE + 36
    for i, (monomial, color) in enumerate(zip(monomials, several_colors(len(monomials)), strict=True)):
        words = _written(monomial)
        width = 26 + text_width(words, 12) + 18
        if x and x + width > widest:
            x, y = 0.0, y + 24
        body += dot(x + 9, y + 10, 9, color) + text(str(1 + i), x + 9, y + 10, 11, color=ink_on(color))
        body += text(words, x + 24, y + 10, 12, anchor="start")
        x += width
    return Picture(body, widest if y else x, y + 20, "")


def _middle(corners: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the centroid of a convex polygon, and its width: twice the area divided by the perimeter."""
    area, x, y = 0.0, 0.0, 0.0
    x0, y0 = corners[0]
    for (x1, y1), (x2, y2) in pairwise(corners[1:]):  # the triangles that make it up
        part = ((x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)) / 2
        area, x, y = area + part, x + part * (x0 + x1 + x2) / 3, y + part * (y0 + y1 + y2) / 3
    perimeter = sum(hypot(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in pairwise([*corners, corners[0]]))
    return (x / area, y / area, 2 * abs(area) / perimeter) if area else (x0, y0, 0.0)


def _foot(polynomial: TropicalPolynomial, pair: tuple[int, int]) -> tuple[Fraction, Fraction]:
    """Return the point nearest to 0 on the line where two monomials are equal."""
    c, a, b = (Fraction(value) for value in polynomial.rows[pair[0]] - polynomial.rows[pair[1]])
    share = -c / (a * a + b * b)
    return share * a, share * b


def _words(monomial: Monomial) -> str:
    """Return a monomial as an affine function in plain text, such as 2 x1 - 1."""
    words = ""
    terms = [(a, f"x{1 + i}") for i, a in enumerate(monomial.exponents) if a]
    if monomial.coefficient or not terms:
        terms.append((monomial.coefficient, ""))
    for value, name in terms:
        size = short(abs(value))
        factor = name if name and size == "1" else f"{size} {name}".strip()
        words += f" {'-' if value < 0 else '+'} {factor}"
    return "-" + words.removeprefix(" - ") if words.startswith(" - ") else words.removeprefix(" + ")


def _written(monomial: Monomial) -> str:
    """Return a monomial with subscripts and minus signs."""
    parts = _words(monomial).split("x")
    written = parts[0] + "".join("x" + part[:1].translate(SUBSCRIPTS) + part[1:] for part in parts[1:])
    return written.replace("-", MINUS)


def _listed(words: Sequence[str], *, numbered: bool = True) -> str:
    return ", ".join(
        [f"{1 + i}: {word}" if numbered else word for i, word in enumerate(words[:MOST_NAMED])]
        + [f"and {len(words) - MOST_NAMED} more"] * (len(words) > MOST_NAMED)
    )
