"""Sliders change the pictures; without sliders, the pictures are shown as well."""

import re

import numpy as np
import pytest
import sympy
from pictures import matrix_cells, parse

from linalg_cnn import Conv, SkipNetwork, conv_matrix, resample_matrix, shared_skip_weights
from linalg_cnn.display import Explorer, explore_convolution, explore_resampling, explore_skip, matrix_picture

KERNEL = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])


class Handle:
    """The handle that IPython returns for a picture in a notebook."""

    def __init__(self):
        self.pictures = []

    def update(self, picture):
        self.pictures.append(picture)


@pytest.fixture
def shown(monkeypatch):
    """Collect what an explorer shows in the notebook: (value, handle), or (value, None) without a display id."""
    display = pytest.importorskip("IPython.display")
    pytest.importorskip("ipywidgets")
    calls = []

    def fake(value, **arguments):
        handle = Handle() if arguments.get("display_id") else None
        calls.append((value, handle))
        return handle

    monkeypatch.setattr(display, "display", fake)
    return calls


def test_a_slider_moves_the_kernel(shown):
    explorer = explore_convolution(KERNEL, (1, 4, 4))
    explorer._ipython_display_()
    (bundle, _), (first, handle) = shown
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "row, column, stride, padding, dilation" in bundle["text/html"]
    assert "Output pixel (0, 0, 0)" in first.data
    explorer.controls["row"].value = 1
    explorer.controls["column"].value = 2
    assert "Output pixel (0, 1, 2), row 5" in handle.pictures[-1].alt
    lit = {position: cell for position, cell in matrix_cells(handle.pictures[-1]).items() if position[0] == 5}
    assert {column for _, column in lit} == {6, 7, 10, 11}


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"dilation": 2}, {"stride": 3, "padding": 2, "dilation": 2}]
)
def test_options_change_the_matrix(shown, options):
    explorer = explore_convolution(KERNEL, (1, 4, 4))
    explorer._ipython_display_()
    for name, value in options.items():
        explorer.controls[name].value = value
    picture = shown[-1][1].pictures[-1]
    expected = conv_matrix(KERNEL, (1, 4, 4), **options).toarray()
    cells = matrix_cells(picture)
    assert {position: float(value) for position, (value, _) in cells.items()} == {
        position: value for position, value in np.ndenumerate(expected) if value
    }


def test_the_kernel_stops_at_the_last_place():
    assert "Output pixel (0, 2, 2)" in explore_convolution(KERNEL, (1, 4, 4)).picture(row=7, column=7).alt
    assert "Output pixel (0, 3)" in explore_convolution(KERNEL[:, :, 0], (1, 5)).picture(column=6).alt


def test_what_does_not_fit_says_so():
    explorer = explore_convolution(np.ones((1, 1, 3, 3)), (1, 3, 3))
    assert re.search("kernel: expected at most 3 positions on an axis of 3", explorer.picture(dilation=2).alt)


def test_resampling_changes_with_size_and_mode(shown):
    explorer = explore_resampling(sympy.symbols("a b"), (1, 2), [2, 3, 5])
    explorer._ipython_display_()
    explorer.controls["size"].value = 3
    explorer.controls["mode"].value = "nearest"
    picture = shown[-1][1].pictures[-1]
    assert picture.alt.endswith("x is the vector (a, b). y is the vector (a, a, b).")


def test_weights_of_letters_are_short_fractions_that_need_no_hovering():
    explorer = explore_resampling(sympy.symbols("x_:3"), (1, 3), [5])
    picture = explorer.picture(mode="linear")
    assert picture.alt.endswith("y is the vector (x_0, 3*x_0/5 + 2*x_1/5, x_1, 2*x_1/5 + 3*x_2/5, x_2).")
    assert "…" not in picture.svg
    assert ">2/5<" in picture.svg


def test_t_runs_from_one_matrix_to_the_other_on_one_scale():
    layers = [Conv([[[0.0, 4.0, 0.0]]], padding=1), Conv([[[1.0]]])]
    explorer = explore_skip(
        lambda t: SkipNetwork((1, 3), layers, shared_skip_weights([(0, 1)], t)), [0.0, 0.5, 1.0], static=[0.0, 1.0]
    )
    assert [matrix_cells(explorer.picture(t=t))[1, 1][0] for t in (0.0, 0.5, 1.0)] == ["4", "2.5", "1"]
    colors = [matrix_cells(explorer.picture(t=t))[1, 1][1] for t in (0.0, 0.5, 1.0)]
    assert colors == [matrix_cells(matrix_picture([[v]], color="value", limit=4.0))[0, 0][1] for v in (4.0, 2.5, 1.0)]
    assert re.findall(r'aria-label="(t = [\d.]+):', explorer._repr_html_()) == ["t = 0.0", "t = 1.0"]


def test_every_static_picture_has_words():
    for svg in explore_convolution(KERNEL, (1, 4, 4))._repr_html_().split("<br>"):
        assert parse(svg).get("aria-label").startswith("row = 0, column = 0, stride = 1")


def test_sliders_start_where_they_are_told():
    explorer = Explorer(lambda size: matrix_picture(resample_matrix((1, 2), size)), {"size": [2, 3, 4]}, {"size": 4})
    assert explorer.picture().alt.startswith("A matrix of size 4 x 2,")
    assert repr(explorer) == "Explorer(size: 3 choices)"


@pytest.mark.parametrize(
    ("choices", "start", "message"),
    [
        ({"size": []}, None, r"choices\['size'\]: expected at least one choice, got none"),
        ({"size": [1]}, {"size": 2}, r"start\['size'\]: expected one of \[1\], got 2"),
        ({"size": [1]}, {"weight": 2}, r"start: expected settings among \['size'\], got 'weight'"),
    ],
)
def test_bad_choices_are_refused(choices, start, message):
    with pytest.raises(ValueError, match=message):
        Explorer(lambda size: size, choices, start)
