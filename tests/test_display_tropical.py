"""Pictures of tropical polynomials and zonotopes show the exact geometry, and say it in words."""

import re
from fractions import Fraction

import numpy as np
import pytest
from pictures import SVG, parse, written

from linalg_cnn.display import Picture, tropical_picture, zonotope_picture
from linalg_cnn.display.colors import pale
from linalg_cnn.notebook import html_of
from linalg_cnn.tropical import TropicalPolynomial, Zonotope, tropical_curve

FIGURE_1 = TropicalPolynomial({(2, 0): 1, (0, 2): 1, (1, 1): 2, (1, 0): 2, (0, 1): 2, (0, 0): 2})


def polygons(picture):
    """Return the polygons of the regions: {hover text: (fill, corners)}."""
    return {
        polygon.find(f"{SVG}title").text: (
            polygon.get("fill"),
            np.array([pair.split(",") for pair in polygon.get("points").split()], float),
        )
        for polygon in parse(picture).iter(f"{SVG}polygon")
        if polygon.find(f"{SVG}title") is not None
    }


def dots(picture):
    """Return the points of the monomials: {hover text: (fill, position)}."""
    return {
        circle.find(f"{SVG}title").text: (circle.get("fill"), np.array([circle.get("cx"), circle.get("cy")], float))
        for circle in parse(picture).iter(f"{SVG}circle")
        if circle.find(f"{SVG}title") is not None
    }


def strokes(picture, width="2"):
    """Return the thick lines of each panel: [array (lines, 2, 2)]."""
    panels = []
    for path in parse(picture).iter(f"{SVG}path"):
        if path.get("stroke-width") == width:
            ends = re.findall(r"M(\S+) (\S+?)L(\S+) ([^M]+)", path.get("d"))
            panels.append(np.array(ends, float).reshape(-1, 2, 2))
    return panels


def test_a_region_and_its_point_have_the_same_colour_and_number():
    picture = tropical_picture(FIGURE_1)
    points = dots(picture)
    assert [text.split(":")[0] for text in points] == list("123456")
    regions = polygons(picture)
    assert list(regions) == ["2", "x2 + 2", "2 x2 + 1", "x1 + 2", "x1 + x2 + 2", "2 x1 + 1"]
    for (fill, _), (color, _) in zip(regions.values(), points.values(), strict=True):
        assert fill == pale(color)
    texts = written(picture)
    # in the region, at the point and in the list, which also has the monomial 2
    assert [texts.count(str(n)) for n in range(1, 7)] == [3, 4, 3, 3, 3, 3]
    assert {"2 x₂ + 1", "x₁ + x₂ + 2"} <= set(texts)


def test_the_regions_cover_the_panel_and_have_the_corners_of_the_curve():
    regions = polygons(tropical_picture(FIGURE_1, view=((-1, -1), (3, 3))))
    area = 0
    for _, corners in regions.values():
        x, y = corners.T
        area += abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
    assert area == pytest.approx(280**2)
    _, corners = regions["x1 + 2"]  # below x2 = 0 between x1 = 0 and x1 = 1, in units of 70 pixels
    assert {tuple(corner) for corner in corners} == {(70, 280), (140, 280), (140, 210), (70, 210)}


def test_edges_are_perpendicular_to_the_segments_of_the_dual_subdivision():
    f = TropicalPolynomial({(0, 0): 1, (3, 1): 0, (1, 2): 1, (-2, 1): 0, (1, -1): 1})
    curve, dual = strokes(tropical_picture(f))
    assert len(curve) == len(dual) == len(tropical_curve(f).edges)
    slopes = sorted(np.arctan2(*(line[1] - line[0])) % np.pi for line in curve)
    turned = sorted((np.arctan2(*(line[1] - line[0])) + np.pi / 2) % np.pi for line in dual)
    assert slopes == pytest.approx(turned, abs=0.01)


def test_the_words_tell_what_the_picture_shows():
    picture = tropical_picture(FIGURE_1.plus(TropicalPolynomial({(1, 0): 0, (Fraction(1, 2), 0): 0})), title="Figure 1")
    assert picture.alt == (
        "Figure 1: A tropical polynomial in 2 variables, the maximum of 6 monomials: 1: 2, 2: x2 + 2, 3: 2 x2 + 1, "
        "4: x1 + 2, 5: x1 + x2 + 2, 6: 2 x1 + 1. Its curve has 3 vertices at (0, 0), (0, 1) and (1, 0) and 8 edges. "
        "The Newton polygon has the corners (0, 0), (2, 0) and (0, 2); its subdivision has 3 polygons between the "
        "points 1-4-5-2, 2-5-3, 4-6-5. Monomials that are never the only largest one: 1."
    )
    assert [words for words in dots(picture) if words.startswith("never")] == ["never largest: (1/2, 0)"]


def test_in_one_variable_the_graph_breaks_where_the_hull_has_its_slopes():
    picture = tropical_picture(TropicalPolynomial({(0,): 0, (1,): -0.125, (3,): -4, (2,): -9}))
    assert picture.alt.split(". ")[1:] == [
        "Its graph breaks at 1/8 and 31/16",
        "The Newton polygon's upper hull has the points (0, 0), (1, -1/8) and (3, -4)",
        "Monomials that are never the only largest one: 1.",
    ]
    (hull,) = strokes(picture)
    assert len(hull) == 2
    assert len(strokes(picture, "3.5")) == 3
    assert "\N{MINUS SIGN}x₁ \N{MINUS SIGN} 1" in written(tropical_picture(TropicalPolynomial({(-1,): -1})))
    assert "Its graph has no break." in tropical_picture(TropicalPolynomial({(0.1,): 0})).alt


def test_a_picture_is_a_single_image_for_screen_readers():
    for polynomial in (TropicalPolynomial({(0,): 0, (2,): -1}), FIGURE_1):
        whole, *parts = parse(tropical_picture(polynomial)).iter(f"{SVG}svg")
        assert whole.get("role") == "img"
        assert all(part.get("aria-hidden") == "true" for part in parts)


def test_curves_without_vertices_and_single_monomials_are_drawn():
    line = tropical_picture(TropicalPolynomial({(0, 0): 0, (1, 2): 5}))
    assert "Its curve has 0 vertices and 1 edge." in line.alt
    assert len(strokes(line)[0]) == 1
    alone = tropical_picture(TropicalPolynomial({(0, 0): 1}))
    assert "the maximum of 1 monomial: 1: 1. " in alone.alt
    assert list(polygons(alone)) == ["1"]


def test_a_view_leaves_out_vertices_and_regions_beyond_it():
    picture = tropical_picture(FIGURE_1, view=((2, 1), (3, 2)))
    assert list(polygons(picture)) == ["x1 + x2 + 2", "2 x1 + 1"]
    assert [c.get("r") for c in parse(picture).iter(f"{SVG}circle")].count("3.5") == 0


def test_pictures_of_many_monomials_list_the_first_and_leave_out_numbers_without_room():
    f = TropicalPolynomial({(n, n * n): -n * n for n in range(41)})
    picture = tropical_picture(f)
    assert "12: 11 x1 + 121 x2 - 121, and 29 more. " in picture.alt
    assert len(dots(picture)) == 41
    numbers = [words for words in written(picture) if words.isdigit()]
    assert len(numbers) == len(set(numbers)) < 41  # in regions with room alone
    fourteen = tropical_picture(TropicalPolynomial({(n, n * n): -n * n for n in range(14)}))
    assert len({fill for fill, _ in dots(fourteen).values()}) == 14
    assert "14" in written(fourteen)


def test_a_list_of_long_monomials_takes_several_lines():
    f = TropicalPolynomial({(n / 7, n * n / 7): -n * n / 7 for n in range(6)})
    labels = [
        label for label in parse(tropical_picture(f)).iter(f"{SVG}text") if "x₂" in label.text and "+" in label.text
    ]
    assert len({label.get("y") for label in labels}) > 1


def test_a_zonotope_has_the_colours_of_its_generators_on_two_sides_each():
    picture = zonotope_picture(Zonotope((0, 0), [(1, 0), (0, 1), (2, 1), (0, 0)]), title="Three units")
    assert picture.alt == (
        "Three units: 4 generators: (1, 0), (0, 1), (2, 1) and (0, 0). "
        "Their sum has the vertices (0, 0), (1, 0), (3, 1), (3, 2), (2, 2) and (0, 1)."
    )
    colors = [path.get("stroke") for path in parse(picture).iter(f"{SVG}path") if path.get("stroke-width") == "3.5"]
    assert sorted(colors.count(color) for color in set(colors)) == [1, 3, 3, 3]  # a segment, and two sides
    assert zonotope_picture(Zonotope((1, 2), [])).alt == "0 generators. Their sum has the vertices (1, 2)."
    assert written(zonotope_picture(Zonotope((0, 0), [(n, 1) for n in range(41)]))).count("7") == 0


def test_what_cannot_be_drawn_is_refused_by_name():
    with pytest.raises(ValueError, match="polynomial: expected one or two variables, got 3"):
        tropical_picture(TropicalPolynomial({(0, 0, 0): 0}))
    with pytest.raises(ValueError, match="view: expected None for a polynomial in one variable"):
        tropical_picture(TropicalPolynomial({(0,): 0}), view=((0, 0), (1, 1)))
    with pytest.raises(ValueError, match="boundary: expected a zonotope in the plane"):
        zonotope_picture(Zonotope((0,), []))


@pytest.mark.parametrize("size", [10**400, 10**308])  # the second fits, but not the differences
def test_numbers_that_float64_does_not_hold_are_refused_by_name(size):
    for polynomial in (
        TropicalPolynomial({(0, 0): 0, (1, 0): size, (0, 1): -size}),
        TropicalPolynomial({(0,): size, (1,): -size}),
        TropicalPolynomial({(0, 0): 0, (1, 0): size, (0, 1): -size, (1, 1): 0}),
    ):
        with pytest.raises(ValueError, match="polynomial: expected numbers that float64 holds, got larger ones"):
            tropical_picture(polynomial)
    with pytest.raises(ValueError, match="zonotope: expected numbers that float64 holds, got larger ones"):
        zonotope_picture(Zonotope((0, 0), [(size, 0), (-size, 1)]))


def test_a_view_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="view: expected finite entries, got inf"):
        tropical_picture(FIGURE_1, view=((0, 0), (np.inf, 1)))


def test_notebooks_show_small_polynomials_and_the_repr_of_others():
    assert html_of(FIGURE_1) == tropical_picture(FIGURE_1).with_title(repr(FIGURE_1)).svg
    assert html_of(TropicalPolynomial({(0, 0, 0): 0})) is None
    assert html_of(TropicalPolynomial({(n, 0): 0 for n in range(61)})) is None
    assert html_of(TropicalPolynomial({(0, 0): 0, (1, 0): 10**400, (0, 1): 1})) is None
    assert isinstance(tropical_picture(FIGURE_1), Picture)
