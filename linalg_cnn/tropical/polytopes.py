"""Newton polytopes of tropical polynomials, and the zonotopes that build them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key, reduce
from typing import Any

import numpy as np

from linalg_cnn.checks import check_items
from linalg_cnn.tropical.envelope import Point, envelope
from linalg_cnn.tropical.polynomial import TropicalPolynomial, check_polynomial
from linalg_cnn.tropical.rationals import to_fractions

LARGEST_PRODUCT = 2**16
"""Number of sums of generators above which the vertices of a zonotope of more than two dimensions are not computed."""


def newton_vertices(polynomial: TropicalPolynomial) -> tuple[Point, ...]:
    """Return the vertices of the Newton polytope, the convex hull of the exponents, exactly.

    Parameters
    ----------
    polynomial : TropicalPolynomial

    Returns
    -------
    tuple of tuples of Fraction
        In two variables counterclockwise, beginning with the lexicographically smallest; otherwise in lexicographic
        order.

    Raises
    ------
    TypeError
        If ``polynomial`` is not a TropicalPolynomial.

    Notes
    -----
    In two variables this is Andrew's monotone chain. Otherwise a vertex is an exponent that is the only largest one in
    some direction: a monomial that remains when a polynomial whose coefficients are all 0 is pruned.

    Examples
    --------
    >>> f = TropicalPolynomial({(0, 0): 5, (2, 0): 0, (0, 2): 0, (1, 1): 9})  # (1, 1) lies on an edge
    >>> [tuple(map(int, vertex)) for vertex in newton_vertices(f)]
    [(0, 0), (2, 0), (0, 2)]
    """
    check_polynomial("polynomial", polynomial)
    rows = polynomial.rows.copy()
    rows[:, 0] = 0
    if polynomial.variables == 2:
        chosen = convex_order([(a, b) for _, a, b in rows.tolist()])
    else:
        chosen = sorted(envelope(rows).kept)
    return tuple(tuple(Fraction(a, polynomial.denominator) for a in rows[number, 1:]) for number in chosen)


def convex_order(points: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the numbers of the vertices of the convex hull of different points, counterclockwise from the smallest.

    Source: A. M. Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.

    Examples
    --------
    >>> convex_order([(0, 0), (1, 1), (2, 0), (1, 0), (0, 2)])
    [0, 2, 4]
    """
    order = sorted(range(len(points)), key=lambda number: points[number])
    if len(order) < 3:
        return order

    def chain(numbers: Sequence[int]) -> list[int]:
        found: list[int] = []
        for number in numbers:
            while len(found) > 1 and _turn(points[found[-2]], points[found[-1]], points[number]) <= 0:
                found.pop()
            found.append(number)
        return found[:-1]

    return chain(order) + chain(order[::-1])


def _turn(a: tuple[Any, ...], b: tuple[Any, ...], c: tuple[Any, ...]) -> Any:
    """Return twice the signed area of a triangle: positive if it turns left."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@dataclass(frozen=True, init=False)
class Zonotope:
    """The sum of a point and of segments from 0 to each generator.

    Zonotopes are the Newton polytopes of the sums of ReLUs: a neuron's polynomial has two monomials, the polytope of
    which is a segment, and a tropical product adds polytopes.

    Parameters
    ----------
    start : sequence of rational numbers
        The point.
    generators : sequence of sequences of rational numbers
        One generator for each segment.

    Raises
    ------
    TypeError
        If ``generators`` is not a sequence, or an entry is not a number.
    ValueError
        If the point has no entries, a generator has another number of them, or an entry is irrational or not finite.

    Notes
    -----
    Source: Zhang, Naitzat and Lim 2018, sections 3 and 5.

    Examples
    --------
    >>> hexagon = Zonotope((0, 0), [(1, 0), (0, 1), (1, 1)])
    >>> [tuple(map(int, vertex)) for vertex in hexagon.vertices()]
    [(0, 0), (1, 0), (2, 1), (2, 2), (1, 2), (0, 1)]
    """

    start: Point
    generators: tuple[Point, ...]

    def __init__(self, start: Sequence[Any], generators: Sequence[Sequence[Any]]) -> None:
        points: list[Point] = []
        items = check_items("generators", generators, "a sequence of generators")
        for name, value in [("start", start), *((f"generators[{i}]", g) for i, g in enumerate(items))]:
            entries = to_fractions(name, value)
            if entries.ndim != 1 or entries.size == 0 or (points and len(entries) != len(points[0])):
                expected = f"{len(points[0])} entries" if points else "at least one entry"
                raise ValueError(f"{name}: expected {expected}, got shape {entries.shape}")
            points.append(tuple(entries))
        object.__setattr__(self, "start", points[0])
        object.__setattr__(self, "generators", tuple(points[1:]))

    @classmethod
    def of(cls, polynomial: TropicalPolynomial) -> "Zonotope":
        """Return the Newton polytope of a tropical product of powers of polynomials with at most two monomials.

        Parameters
        ----------
        polynomial : TropicalPolynomial
            Polynomial that knows its factors, such as those of the `tropical_form` of a network with one hidden layer.

        Raises
        ------
        TypeError
            If ``polynomial`` is not a TropicalPolynomial.
        ValueError
            If the factors are not known, or one has more than two monomials.

        Examples
        --------
        >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU
        >>> from linalg_cnn.tropical import tropical_form
        >>> graph = PiecewiseGraph((2,))
        >>> hidden = graph.add(ReLU(), graph.add(Dense([[1.0, 1.0], [1.0, 0.0]]), 0))
        >>> output = graph.add(Dense([[2.0, 1.0]]), hidden)
        >>> zonotope = Zonotope.of(tropical_form(graph)[0].polynomials[0])
        >>> [tuple(map(int, generator)) for generator in zonotope.generators]
        [(2, 2), (1, 0)]
        """
        check_polynomial("polynomial", polynomial)
        if polynomial.factors is None:
            raise ValueError("polynomial: expected one with known factors, such as tropical_form gives")
        start = [Fraction(0)] * polynomial.variables
        generators = []
        for factor, power in polynomial.factors:
            if len(factor) > 2:
                raise ValueError(
                    f"polynomial: expected factors with at most two monomials, as neurons of the first layer have, "
                    f"got one with {len(factor)}"
                )
            first, *rest = (np.array(monomial.exponents, dtype=object) for monomial in factor.monomials)
            start = [a + power * b for a, b in zip(start, first, strict=True)]
            generators += [power * (other - first) for other in rest]
        return cls(start, [list(generator) for generator in generators])

    def vertices(self) -> tuple[Point, ...]:
        """Return the vertices, exactly.

        Returns
        -------
        tuple of tuples of Fraction
            In the plane counterclockwise from the lexicographically smallest; otherwise in lexicographic order.

        Raises
        ------
        ValueError
            If there are more than 16 generators in a space that is not a plane: the work doubles with each.

        Notes
        -----
        In the plane the generators, turned to the right half-plane, are the edges in the order of their slopes.
        """
        if len(self.start) == 2:
            return self._vertices_in_plane()
        if 2 ** len(self.generators) > LARGEST_PRODUCT:
            raise ValueError(
                f"generators: expected at most 16 in {len(self.start)} dimensions, got {len(self.generators)}"
            )
        points = [self.start]
        for generator in self.generators:
            points += [_plus(point, generator) for point in points]
        return newton_vertices(TropicalPolynomial(dict.fromkeys(points, 0)))

    def boundary(self) -> tuple[tuple[int, Point], ...]:
        """Return the boundary of a zonotope in the plane as steps, counterclockwise from the smallest vertex.

        Returns
        -------
        tuple of (int, (Fraction, Fraction))
            For each step the number of the generator that it follows, forwards or backwards, and the point where it
            begins. Each generator but 0 is followed twice.

        Raises
        ------
        ValueError
            If the zonotope does not lie in the plane.

        Examples
        --------
        >>> [generator for generator, _ in Zonotope((0, 0), [(1, 1), (0, 1)]).boundary()]
        [0, 1, 0, 1]
        """
        if len(self.start) != 2:
            raise ValueError(f"boundary: expected a zonotope in the plane, got one in {len(self.start)} dimensions")
        zero: Point = (Fraction(0), Fraction(0))
        right: dict[int, Point] = {i: max(g, (-g[0], -g[1])) for i, g in enumerate(self.generators) if any(g)}

        def by_slope(i: int, j: int) -> int:
            turn = _turn(zero, right[j], right[i])
            return int(turn > 0) - int(turn < 0)

        order = sorted(right, key=cmp_to_key(by_slope))
        point: Point = reduce(_plus, [min(g, zero) for g in self.generators], self.start)
        steps = []
        for i in order:
            steps.append((i, point))
            point = _plus(point, right[i])
        for i in order:
            steps.append((i, point))
            point = _plus(point, (-right[i][0], -right[i][1]))
        return tuple(steps)

    def _vertices_in_plane(self) -> tuple[Point, ...]:
        points = list(dict.fromkeys(point for _, point in self.boundary())) or [self.start]
        return tuple(points[number] for number in convex_order(points))


def _plus(a: Point, b: Point) -> Point:
    return tuple(x + y for x, y in zip(a, b, strict=True))
