"""The tropical curve of a polynomial in two variables, and its dual subdivision, exactly."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from linalg_cnn.tropical.polynomial import TropicalPolynomial, check_polynomial
from linalg_cnn.tropical.polytopes import convex_order
from linalg_cnn.tropical.rationals import to_fractions

Point2 = tuple[Fraction, Fraction]


class Piece(NamedTuple):
    """The part of a region that lies in a box.

    Attributes
    ----------
    monomial : int
        Number of the monomial that is the largest there.
    corners : tuple of (Fraction, Fraction)
        Counterclockwise.
    neighbours : tuple of int or None
        For the side from each corner to the next, the number of the monomial beyond it; None on the border of the box.

    Examples
    --------
    >>> relu = tropical_curve(TropicalPolynomial({(0, 0): 0, (1, 0): 0}))
    >>> relu.pieces((-1, -1), (1, 1))[1].monomial
    1
    """

    monomial: int
    corners: tuple[Point2, ...]
    neighbours: tuple[int | None, ...]


class Edge(NamedTuple):
    """An edge of a tropical curve: two monomials are equal there, and no other is larger.

    Attributes
    ----------
    monomials : (int, int)
        Numbers of the two monomials.
    vertices : tuple of int
        Numbers of the vertices at its ends: two, one for a ray, none for a line.

    Examples
    --------
    >>> tropical_curve(TropicalPolynomial({(0, 0): 0, (1, 0): 0})).edges  # the line where x1 = 0
    (Edge(monomials=(0, 1), vertices=()),)
    """

    monomials: tuple[int, int]
    vertices: tuple[int, ...]


@dataclass(frozen=True)
class TropicalCurve:
    """Where the largest of a polynomial's monomials is not unique, and the dual subdivision of the Newton polygon.

    A region of the plane, where one monomial is the largest, is dual to the point of its exponents; an edge of the
    curve to the segment between two of these points, which is perpendicular to it; and a vertex to a polygon of the
    subdivision, its cell.

    Attributes
    ----------
    polynomial : TropicalPolynomial
        The polynomial, pruned.
    vertices : tuple of (Fraction, Fraction)
    edges : tuple of Edge
    cells : tuple of tuple of int
        For each vertex, the numbers of the monomials that are equal there, counterclockwise by their exponents.

    Examples
    --------
    >>> f = TropicalPolynomial({(2, 0): 1, (0, 2): 1, (1, 1): 2, (1, 0): 2, (0, 1): 2, (0, 0): 2})
    >>> curve = tropical_curve(f)
    >>> [tuple(map(int, vertex)) for vertex in curve.vertices], [len(cell) for cell in curve.cells]
    ([(0, 0), (0, 1), (1, 0)], [4, 3, 3])
    """

    polynomial: TropicalPolynomial
    vertices: tuple[Point2, ...]
    edges: tuple[Edge, ...]
    cells: tuple[tuple[int, ...], ...]

    def pieces(self, low: tuple[float, float], high: tuple[float, float]) -> tuple[Piece, ...]:
        """Return the regions, cut to the box between two corners; regions outside the box are left out.

        Examples
        --------
        >>> relu = tropical_curve(TropicalPolynomial({(0, 0): 0, (1, 0): 0}))
        >>> [piece.neighbours for piece in relu.pieces((-1, -1), (1, 1))]
        [(None, 1, None, None), (None, None, None, 0)]
        """
        return _pieces(self.polynomial, to_fractions("low", low).tolist(), to_fractions("high", high).tolist())


def tropical_curve(polynomial: TropicalPolynomial) -> TropicalCurve:
    """Return the tropical curve of a polynomial in two variables, with its dual subdivision.

    Parameters
    ----------
    polynomial : TropicalPolynomial
        It is pruned first.

    Raises
    ------
    TypeError
        If ``polynomial`` is not a TropicalPolynomial.
    ValueError
        If the polynomial does not have two variables.

    Notes
    -----
    Source: Zhang, Naitzat and Lim 2018, definition 3.1 and figure 1; D. Maclagan, B. Sturmfels, "Introduction to
    Tropical Geometry", 2015, section 3.1.

    Examples
    --------
    >>> line = tropical_curve(TropicalPolynomial({(0, 0): 0, (1, 0): 0, (0, 1): 0}))  # max(0, x, y)
    >>> len(line.vertices), len(line.edges)
    (1, 3)
    """
    check_polynomial("polynomial", polynomial)
    if polynomial.variables != 2:
        raise ValueError(f"polynomial: expected two variables, got {polynomial.variables}")
    polynomial = polynomial.pruned()
    # By Cramer's rule a vertex is a quotient of at most 2 * rises * slopes and at least 1, as all numbers are integers.
    rises, *slopes = (max(column) - min(column) for column in polynomial.rows.T)
    bound = Fraction(2 * rises * max(slopes) + 1)
    sides: dict[tuple[int, int], list[Point2]] = {}
    for monomial, corners, neighbours in _pieces(polynomial, [-bound, -bound], [bound, bound]):
        for (start, end), neighbour in zip(pairwise((*corners, corners[0])), neighbours, strict=True):
            if neighbour is not None and monomial < neighbour:
                sides[monomial, neighbour] = [p for p in (start, end) if max(map(abs, p)) < bound]
    vertices = sorted({point for ends in sides.values() for point in ends})
    numbers = {point: number for number, point in enumerate(vertices)}
    edges = tuple(Edge(pair, tuple(sorted(numbers[p] for p in ends))) for pair, ends in sorted(sides.items()))
    exponents = [(a, b) for _, a, b in polynomial.rows.tolist()]
    cells = []
    for number in range(len(vertices)):
        tied = sorted({monomial for edge in edges if number in edge.vertices for monomial in edge.monomials})
        cells.append(tuple(tied[i] for i in convex_order([exponents[monomial] for monomial in tied])))
    return TropicalCurve(polynomial, tuple(vertices), edges, tuple(cells))


def _pieces(polynomial: TropicalPolynomial, low: list[Fraction], high: list[Fraction]) -> tuple[Piece, ...]:
    """Return the regions of a polynomial, cut to a box, each by one half-plane after the other."""
    found = []
    box = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    rows = polynomial.rows.tolist()
    for monomial, (c, a, b) in enumerate(rows):
        sides: list[tuple[Point2, int | None]] = [(corner, None) for corner in box]
        for other, (c2, a2, b2) in enumerate(rows):
            if other != monomial:
                sides = _cut(sides, (c - c2, a - a2, b - b2), other)
        if len(sides) > 2:
            corners, neighbours = zip(*sides, strict=True)
            found.append(Piece(monomial, corners, neighbours))
    return tuple(found)


def _cut(
    sides: list[tuple[Point2, int | None]], line: tuple[int, int, int], label: int
) -> list[tuple[Point2, int | None]]:
    """Return the part of a convex polygon where c + a x + b y >= 0; a new side has the label.

    A side is its first corner and its label. Source: I. E. Sutherland, G. W. Hodgman, "Reentrant polygon clipping",
    1974.
    """
    c, a, b = line
    heights = [c + a * x + b * y for (x, y), _ in sides]
    kept: list[tuple[Point2, int | None]] = []
    for i, ((point, side), height) in enumerate(zip(sides, heights, strict=True)):
        end, below = sides[(i + 1) % len(sides)][0], heights[(i + 1) % len(sides)]
        if height > 0 or (height == 0 and below > 0):
            kept.append((point, side))
        elif height == 0 and heights[i - 1] > 0:  # the polygon leaves the half-plane in this corner
            kept.append((point, label))
        if height * below < 0:
            share = height / (height - below)
            crossing = (point[0] + share * (end[0] - point[0]), point[1] + share * (end[1] - point[1]))
            kept.append((crossing, side if below > 0 else label))
    return kept
