"""Pictures with sliders that need no kernel: a fragment holds the picture of every setting, and says what it shows."""

import base64
import json
import re
import zlib
from html import unescape
from itertools import product

import numpy as np
import pytest
import sympy
from pictures import written

from linalg_cnn import AvgPool, Conv, ReLU, SkipNetwork
from linalg_cnn.display import Explorer, explore_composition, explore_convolution, image_picture, live_html

LETTERS = [[[sympy.symbols("a b")]]]


def unpacked(fragment):
    """Return the pictures of a fragment in the order of the settings, as its script puts them together."""
    content = json.loads(zlib.decompress(base64.b64decode(re.search('data-pictures="([^"]+)"', fragment)[1])))
    svgs = ["".join(content["elements"][number] for number in picture) for picture in content["pictures"]]
    return content["values"], [svgs[number] for number in content["numbers"]]


def test_a_fragment_has_the_picture_of_every_setting_in_the_order_in_which_the_script_counts():
    explorer = explore_convolution(LETTERS, (1, 2, 2), strides=[1, 2], paddings=[0, 1], dilations=[1, 4])
    values, svgs = unpacked(explorer.html())
    assert values == [[str(value) for value in options] for options in explorer.choices.values()]
    settings = list(product(*explorer.choices.values()))
    assert len(svgs) == len(settings) == 4 * 4 * 2 * 2 * 2
    for svg, setting in zip(svgs, settings, strict=True):
        assert svg == explorer.picture(**dict(zip(explorer.choices, setting, strict=True))).svg
    assert sum("kernel: expected at most" in svg for svg in svgs) == 4 * 4 * 2 * 2  # a kernel that does not fit says so


def test_without_javascript_a_fragment_shows_the_first_picture_and_says_its_settings():
    def draw(size, p):
        return image_picture(np.array([[size, 9]])).titled(p)

    fragment = live_html(draw, {"size": [2, 3], "p": ["<", ">"]}, {"size": 3})
    (svg,) = re.findall("<svg.*?</svg>", fragment)
    assert written(svg) == ["<", "3", "9"]
    assert "<div hidden><label" in fragment
    assert unescape(re.search("<noscript>(.*)</noscript>", fragment)[1]).startswith("<p><small>size = 3, p = <.")
    assert 'aria-label="a picture with sliders: size, p"' in fragment
    assert fragment.count('type="range"') == 2
    assert 'max="1" value="1" aria-valuetext="3"' in fragment
    assert '<output style="flex:0 0 5em">&lt;</output>' in fragment


def test_pictures_that_are_equal_are_stored_once():
    small = {"strides": [1], "paddings": [0], "dilations": [1]}
    once, often = (explore_convolution(LETTERS, (1, 1, 9), **small | {"dilations": [1] * n}) for n in (1, 40))
    assert len(often.html()) < 1.2 * len(once.html())


def test_names_and_values_are_escaped_so_that_they_cannot_end_the_fragment():
    name = "</script>"
    fragment = live_html(lambda **_: image_picture([[1.0]]), {name: ["</div><b>"]})
    assert "<b>" not in fragment
    assert fragment.count("</script>") == 1


def test_a_notebook_that_becomes_a_page_shows_sliders_that_need_no_kernel(monkeypatch):
    display = pytest.importorskip("IPython.display")
    calls = []
    monkeypatch.setattr(display, "display", calls.append)
    monkeypatch.setenv("LINALG_CNN_LIVE", "1")
    explorer = Explorer(lambda size: image_picture([[size]]), {"size": [1, 2]})
    explorer._ipython_display_()
    (shown,) = calls
    assert shown.data == explorer.html()


UP = "⁰¹²³"


def correlated(kernel, padding):
    """Return the matrix of a convolution of five pixels, built with loops."""
    rows = 5 + 2 * padding - len(kernel) + 1
    matrix = np.zeros((rows, 5))
    for p in range(rows):
        for tap, value in enumerate(kernel):
            if 0 <= p - padding + tap < 5:
                matrix[p, p - padding + tap] = value
    return matrix


def captioned(picture):
    """Return the matrices and vectors of a picture with the captions below them: [(caption, {place: value})]."""
    cell = r"<title>(row \d+, column \d+|entry \d+): ([^<]*)</title>"
    found, cells = [], {}
    for place, value, caption in re.findall(rf"{cell}|>((?:R )?[WABb]⁽[⁰¹²³]⁾)</text>", picture.body):
        if caption:
            found.append((caption, cells))
            cells = {}
        else:
            cells[place] = float(value)
    return found


def numbers(array):
    """Return what the cells of a picture say about a matrix or a vector: of a matrix, only what is not 0."""
    places = [f"row {i[0]}, column {i[1]}" if len(i) == 2 else f"entry {i[0]}" for i in np.ndindex(array.shape)]
    return {
        place: float(f"{value:.3g}")
        for place, value in zip(places, array.flat, strict=True)
        if value or array.ndim == 1
    }


def test_each_step_of_theorem_3_1_shows_the_matrices_whose_product_it_is():
    a, b, c = [0.5, 1.0, 2.0], [1.0, 3.0, -1.0], [1.0, 4.0]
    layers = [Conv([[a]], bias=[1.0], padding=1), Conv([[b]], padding=1), Conv([[c]], bias=[2.0])]
    weights = {(0, 1): 0.5, (1, 1): 0.5, (0, 2): 0.25, (2, 2): 0.75}
    explorer = explore_composition(SkipNetwork((1, 5), layers, weights))
    A = {1: correlated(a, 1), 2: correlated(b, 1), 3: correlated(c, 0)}
    W, B = [np.eye(5), A[1]], [np.zeros(5), np.ones(5)]
    W += [A[2] @ (0.5 * W[0] + 0.5 * W[1])]
    B += [A[2] @ (0.5 * B[0] + 0.5 * B[1])]
    W += [A[3] @ (0.25 * W[0] + 0.75 * W[2])]
    B += [A[3] @ (0.25 * B[0] + 0.75 * B[2]) + 2.0]
    assert explorer.choices == {"layer": [0, 1, 2, 3]}
    for i, terms, bias in ((1, [0], [np.ones(5)]), (2, [0, 1], []), (3, [0, 2], [np.full(4, 2.0)])):
        picture = explorer.picture(layer=i)
        expected = [(f"W⁽{UP[i]}⁾", W[i]), (f"A⁽{UP[i]}⁾", A[i]), *((f"W⁽{UP[k]}⁾", W[k]) for k in terms)]
        expected += [(f"B⁽{UP[i]}⁾", B[i]), (f"A⁽{UP[i]}⁾", A[i]), *((f"B⁽{UP[k]}⁾", B[k]) for k in terms)]
        expected += [(f"b⁽{UP[i]}⁾", value) for value in bias]
        assert captioned(picture) == [(name, numbers(value)) for name, value in expected]
        row = ", ".join(f"{value:.3g} in column {column}" for column, value in enumerate(W[i][0]) if value)
        assert f"W^({i}) is a matrix of size {len(W[i])} x 5, coloured by value. Row 0 has {row}." in picture.alt
    assert written(explorer.picture(layer=3)).count("0.75") == 1 + 2  # on an arrow and in both equations
    assert "is A^(3) times the sum of 0.25 times W^(0) and 0.75 times W^(2)." in explorer.picture(layer=3).alt
    assert "The input x itself: W^(0) is a matrix of size 5 x 5" in explorer.picture(layer=0).alt


def test_a_step_resamples_the_terms_that_have_another_shape_and_leaves_out_biases_that_no_layer_has():
    layers = [Conv([[[1.0, 3.0]]]), Conv([[[1.0]]])]
    explorer = explore_composition(SkipNetwork((1, 3), layers, {(0, 1): 1.0}))
    resampled = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # nearest: pixels 0 and 1 of three
    assert captioned(explorer.picture(layer=2)) == [
        ("W⁽²⁾", numbers(resampled)),
        ("A⁽²⁾", numbers(np.eye(2))),
        ("R W⁽⁰⁾", numbers(resampled)),
    ]
    assert "Layer 2, Conv: W^(2) is A^(2) times the resampled W^(0)." in explorer.picture(layer=2).alt


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        (
            SkipNetwork((1, 5, 8), [AvgPool(1)]),
            ValueError,
            r"at most 36 entries per layer, got f\^\(0\) of",
        ),
        (SkipNetwork((1, 4), [ReLU()]), TypeError, "expected an AffineGraph, .* holds a PiecewiseGraph"),
        (SkipNetwork((1, 4), [Conv(LETTERS[0])]), TypeError, "expected a network of numbers, got sympy expressions"),
    ],
    ids=["too large", "with pieces", "with letters"],
)
def test_networks_whose_steps_cannot_be_drawn_are_refused(network, error, words):
    with pytest.raises(error, match=f"network: .*{words}"):
        explore_composition(network)
