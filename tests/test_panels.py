"""Figures that stay legible on a phone: few curves in a panel, with names that do not overlap instead of a legend."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from gpu.experiments.panels import MOST, WIDTH, Curve, draw_panels, in_panels
from gpu.experiments.pictures import figure_of
from gpu.settings import EXPERIMENTS
from linalg_cnn.display.ends import apart, name_ends

RECORDS = Path(__file__).parents[1] / "docs" / "records"


@pytest.mark.parametrize("sizes", [[], [1], [2, 2], [2, 1, 2, 2], [1] * 5, [2] * 3, [2, 1, 1, 1, 1, 1], [1] * 9])
def test_panels_hold_at_most_four_curves_and_keep_a_curve_beside_what_it_is_compared_with(sizes):
    groups = [[Curve(f"{i}{j}", {}) for j in range(size)] for i, size in enumerate(sizes)]
    panels = in_panels(groups)
    assert [curve for panel in panels for curve in panel] == [curve for group in groups for curve in group]
    assert all(len(panel) <= MOST for panel in panels)
    assert all(any(set(map(id, group)) <= set(map(id, panel)) for panel in panels) for group in groups)


def test_names_that_would_overlap_move_apart_in_their_order_and_stay_below_the_top():
    centres, heights = [0.9, 0.91, 0.2, 0.92], [0.1, 0.2, 0.1, 0.1]
    found = apart(centres, heights)
    assert found[2] == 0.2
    for i, j in combinations(range(4), 2):
        assert abs(found[i] - found[j]) >= (heights[i] + heights[j]) / 2 - 1e-12
        assert (found[i] < found[j]) == (centres[i] < centres[j])
    assert max(np.add(found, np.array(heights) / 2)) <= 1


def test_curves_that_coincide_are_drawn_one_inside_the_other():
    figure = Figure(layout="constrained")
    points = {1.0: [0.5], 2.0: [0.75]}
    (axes,) = draw_panels(figure, [[Curve("first", points, 0), Curve("second", points, 1, reference=True)]])
    outer, inner = axes.lines
    assert outer.get_linewidth() > inner.get_linewidth() > 0
    assert (outer.get_marker(), outer.get_color()) != (inner.get_marker(), inner.get_color())
    assert [text.get_text() for text in axes.texts] == ["first", "second"]


def boxes_of_names(figure):
    """Return the names of the curves in each panel with the places that they take in the figure."""
    figure.draw_without_rendering()
    return [
        [(text.get_text(), Text.get_window_extent(text)) for text in axes.texts if text.get_fontsize() >= 8]
        for axes in figure.axes
    ]


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if (RECORDS / f"{name}.json").exists()])
def test_figures_of_records_are_as_wide_as_a_phone_can_show_and_their_names_do_not_overlap(name):
    figure = figure_of(json.loads((RECORDS / f"{name}.json").read_text()))
    assert figure.get_figwidth() == WIDTH
    texts = [text.get_fontsize() for axes in figure.axes for text in axes.texts]
    assert min(texts, default=8) >= 7
    for names in boxes_of_names(figure):
        for (one, box), (other, second) in combinations(names, 2):
            assert box.y0 >= second.y1 - 2 or second.y0 >= box.y1 - 2, f"{one} and {other} overlap"


def test_a_name_is_written_level_with_the_end_of_its_curve():
    figure = Figure(figsize=(4, 2))
    axes = figure.subplots()
    axes.plot([0, 1, 2], [0.0, 10.0, 5.0])
    limits = axes.get_ylim()
    name_ends(axes, [("a name of two lines, here", 2, 5.0, "#000000")])
    (text,) = axes.texts
    assert text.get_text() == "a name of two\nlines, here"
    assert axes.get_ylim() == limits
    assert text.xyann[1] == pytest.approx(0.5)
