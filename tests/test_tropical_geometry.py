"""Newton polytopes, zonotopes, tropical curves and numbers of regions, against brute force and the theory."""

from fractions import Fraction
from itertools import combinations, pairwise, product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linalg_cnn import Dense, PiecewiseGraph, ReLU
from linalg_cnn.tropical import TropicalPolynomial, Zonotope, newton_vertices, tropical_curve, tropical_form

FIGURE_1 = TropicalPolynomial({(2, 0): 1, (0, 2): 1, (1, 1): 2, (1, 0): 2, (0, 1): 2, (0, 0): 2})
"""The polynomial of figure 1 of Zhang, Naitzat and Lim."""


def one_hidden_layer(W, b):
    """The network sum_k 2^k ReLU(w_k x + b_k): each pattern of active units has a slope of its own."""
    graph = PiecewiseGraph((len(W[0]),))
    hidden = graph.add(ReLU(), graph.add(Dense(W, b), 0))
    graph.add(Dense([[2.0**k for k in range(len(b))]]), hidden)
    return graph


# Numbers of regions


def feasible(inequalities):
    """Return whether c + a . x > 0 for all rows (c, *a) at some x: Fourier and Motzkin's elimination, exactly."""
    while inequalities and len(inequalities[0]) > 1:
        below = [row for row in inequalities if row[-1] > 0]
        above = [row for row in inequalities if row[-1] < 0]
        free = [row[:-1] for row in inequalities if row[-1] == 0]
        pairs = [(low, high) for low in below for high in above]
        inequalities = free + [
            [a * -high[-1] + b * low[-1] for a, b in zip(low[:-1], high[:-1], strict=True)] for low, high in pairs
        ]
    return all(constant > 0 for (constant,) in inequalities)


def count_patterns(W, b):
    """Return the number of patterns of active units that occur on an open set."""
    rows = [[Fraction(c), *map(Fraction, a)] for a, c in zip(W, b, strict=True)]
    signs = product([1, -1], repeat=len(rows))
    return sum(feasible([[s * v for v in row] for s, row in zip(pattern, rows, strict=True)]) for pattern in signs)


@pytest.mark.parametrize(("inputs", "units"), [(1, 5), (2, 4), (2, 5), (3, 4)])
def test_a_generic_hidden_layer_has_as_many_regions_as_the_theory_says(inputs, units):
    """sum_i C(units, i) for i up to the number of inputs: Zaslavsky's count, the bound of the source's section 6."""
    rng = np.random.default_rng(10 * inputs + units)
    W, b = rng.integers(-9, 10, (units, inputs)), rng.integers(-9, 10, units)
    positive, negative = tropical_form(one_hidden_layer(W.astype(float), b.astype(float)))
    assert len(negative.pruned().monomials) == 1
    count = len(positive.pruned().monomials)
    assert count == sum(comb(units, i) for i in range(inputs + 1))
    assert count == count_patterns(W.tolist(), b.tolist())


@pytest.mark.parametrize(
    ("W", "b"),
    [
        ([[1, 0], [1, 0], [2, 0]], [0, 1, 2]),  # parallel lines, one of them twice
        ([[1, 0], [0, 1], [1, 1]], [0, 0, 0]),  # three lines through a point
        ([[1, 1], [-1, -1], [1, -1]], [1, -1, 0]),  # a line from both sides
        ([[0, 0], [1, 2]], [1, 0]),  # a unit that is always on
    ],
    ids=["parallel", "concurrent", "both sides", "constant"],
)
def test_degenerate_arrangements_have_as_many_regions_as_patterns_that_occur(W, b):
    positive, _ = tropical_form(one_hidden_layer(np.array(W, float), np.array(b, float)))
    assert len(positive.pruned().monomials) == count_patterns(W, b)


# Polytopes


def is_vertex(points, number):
    """Return whether no convex combination of three other points gives this one (Caratheodory, in the plane)."""
    x, y = points[number]
    others = [(a - x, b - y) for i, (a, b) in enumerate(points) if i != number]
    for first, second, third in combinations([*others, *others[:2]], 3):
        crosses = [a[0] * b[1] - a[1] * b[0] for a, b in ((first, second), (second, third), (third, first))]
        if any(crosses) and (min(crosses) >= 0 or max(crosses) <= 0):
            return False
    pairs = combinations(others, 2)
    return not any(a[0] * b[1] == a[1] * b[0] and a[0] * b[0] + a[1] * b[1] < 0 for a, b in pairs)


@settings(max_examples=30)
@given(st.sets(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=9))
def test_vertices_in_the_plane_are_those_that_no_others_surround(points):
    points = sorted(points)
    vertices = newton_vertices(TropicalPolynomial({(Fraction(a, 2), Fraction(b, 2)): a for a, b in points}))
    found = [(int(2 * a), int(2 * b)) for a, b in vertices]
    assert sorted(found) == [point for number, point in enumerate(points) if is_vertex(points, number)]
    assert found[0] == min(points)
    if len(found) > 2:
        corners = zip(found, [*found[1:], found[0]], [*found[2:], *found[:2]], strict=True)
        assert all((b[0] - a[0]) * (c[1] - b[1]) > (b[1] - a[1]) * (c[0] - b[0]) for a, b, c in corners)


def test_vertices_in_space_are_those_of_a_cube():
    cube = dict.fromkeys(product([0, 1, 2], repeat=3), 0)  # with midpoints of edges and faces, and the centre
    assert newton_vertices(TropicalPolynomial(cube)) == tuple(sorted(product([0, 2], repeat=3)))


@pytest.mark.parametrize(("dimension", "count"), [(1, 4), (2, 6), (3, 5), (4, 5)])
def test_a_generic_zonotope_has_as_many_vertices_as_the_theory_says(dimension, count):
    """2 sum_i C(count - 1, i) for i below the dimension; in the plane 2 count."""
    rng = np.random.default_rng(dimension)
    zonotope = Zonotope([1] * dimension, rng.integers(-9, 10, (count, dimension)).tolist())
    expected = 2 * sum(comb(count - 1, i) for i in range(dimension))
    assert len(set(zonotope.vertices())) == len(zonotope.vertices()) == expected


generators = st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), max_size=5)


@settings(max_examples=30)
@given(generators)
def test_a_zonotope_in_the_plane_is_the_hull_of_all_sums_of_its_generators(chosen):
    zonotope = Zonotope((1, Fraction(1, 2)), chosen)
    sums = {
        (1 + sum(g[0] for g in some), Fraction(1, 2) + sum(g[1] for g in some)): 0
        for size in range(len(chosen) + 1)
        for some in combinations(chosen, size)
    }
    assert zonotope.vertices() == newton_vertices(TropicalPolynomial(sums))
    steps = zonotope.boundary()
    assert sorted(i for i, _ in steps) == sorted(2 * [i for i, g in enumerate(chosen) if any(g)])
    for (i, start), (_, end) in pairwise([*steps, *steps[:1]]):
        assert (end[0] - start[0], end[1] - start[1]) in (chosen[i], (-chosen[i][0], -chosen[i][1]))


@pytest.mark.parametrize("inputs", [2, 3])
def test_the_newton_polytope_of_a_hidden_layer_is_the_zonotope_of_its_units(inputs):
    rng = np.random.default_rng(inputs)
    W = rng.integers(-4, 5, (5, inputs)) / 2
    form, _ = tropical_form(one_hidden_layer(W, rng.integers(-4, 5, 5) / 2))
    zonotope = Zonotope.of(form.polynomials[0])
    assert zonotope.vertices() == newton_vertices(form.polynomials[0])
    # a unit's two monomials are the positive and the negative part of its weights
    expected = {tuple(2**k * w) for k, w in enumerate(W)} | {tuple(-(2**k) * w) for k, w in enumerate(W)}
    assert {tuple(map(float, g)) for g in zonotope.generators} <= expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Zonotope([], []), "start: expected at least one entry, got shape"),
        (lambda: Zonotope([0, 0], [[1]]), r"generators\[0\]: expected 2 entries, got shape \(1,\)"),
        (lambda: Zonotope([0], []).boundary(), "boundary: expected a zonotope in the plane, got one in 1 dimensions"),
        (lambda: Zonotope([0] * 3, [[1, 2, 3]] * 17).vertices(), "generators: expected at most 16 in 3 dimensions"),
        (lambda: Zonotope.of(FIGURE_1), "polynomial: expected one with known factors"),
        (lambda: tropical_curve(TropicalPolynomial({(1,): 0})), "polynomial: expected two variables, got 1"),
    ],
)
def test_what_has_no_polytope_or_curve_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_deeper_network_is_no_zonotope():
    graph = PiecewiseGraph((2,))
    hidden = graph.add(ReLU(), graph.add(Dense([[1.0, 2.0], [2.0, 1.0]]), 0))
    graph.add(ReLU(), graph.add(Dense([[1.0, -1.0]]), hidden))
    with pytest.raises(ValueError, match="factors with at most two monomials, .* got one with [34]"):
        Zonotope.of(tropical_form(graph)[0].polynomials[0])


# Curves


def test_the_curve_of_the_sources_figure_1():
    curve = tropical_curve(FIGURE_1)
    assert curve.vertices == ((0, 0), (0, 1), (1, 0))
    exponents = [monomial.exponents for monomial in curve.polynomial.monomials]
    cells = [[exponents[i] for i in cell] for cell in curve.cells]
    assert cells == [
        [(0, 0), (1, 0), (1, 1), (0, 1)],  # a square, and two triangles
        [(0, 1), (1, 1), (0, 2)],
        [(1, 0), (2, 0), (1, 1)],
    ]
    assert len(curve.edges) == 8
    assert sorted(len(edge.vertices) for edge in curve.edges) == [1] * 6 + [2] * 2


coefficients = st.integers(-4, 4)
planar = st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 3)), coefficients, min_size=1, max_size=9)


@settings(max_examples=30)
@given(planar)
def test_curves_are_balanced_perpendicular_to_their_subdivision_and_satisfy_eulers_formula(terms):
    curve = tropical_curve(TropicalPolynomial(terms))
    monomials = curve.polynomial.monomials
    for (i, j), ends in curve.edges:
        normal = [b - a for a, b in zip(monomials[i].exponents, monomials[j].exponents, strict=True)]
        if len(ends) == 2:
            along = [b - a for a, b in zip(*(curve.vertices[end] for end in ends), strict=True)]
            assert sum(a * b for a, b in zip(normal, along, strict=True)) == 0
    for number, cell in enumerate(curve.cells):
        touching = {edge.monomials for edge in curve.edges if number in edge.vertices}
        sides = {tuple(sorted(side)) for side in pairwise([*cell, cell[0]])}
        assert touching == sides  # closed, hence balanced: the sides, turned by a right angle, are the edges
    if curve.vertices:
        assert len(curve.vertices) - len(curve.edges) + len(monomials) == 1
    else:
        assert len(curve.edges) == len(monomials) - 1  # parallel lines


@settings(max_examples=30)
@given(planar)
def test_the_pieces_of_a_box_cover_it_and_their_monomial_is_the_largest(terms):
    curve = tropical_curve(TropicalPolynomial(terms))
    area = 0
    for monomial, corners, neighbours in curve.pieces((-1, -2), (Fraction(3, 2), 1)):
        assert len(corners) == len(neighbours)
        c, exponents, _ = curve.polynomial.monomials[monomial]
        for x, y in corners:
            assert c + exponents[0] * x + exponents[1] * y == curve.polynomial.evaluate([x, y])
        area += sum(a[0] * b[1] - a[1] * b[0] for a, b in pairwise([*corners, corners[0]])) / 2
    assert area == Fraction(15, 2)
