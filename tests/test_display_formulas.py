"""Formulas, pictures of networks, and what notebooks show for the library's objects."""

import inspect
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import scipy.sparse
import sympy
from pictures import SVG, matrix_cells, parse, titles, written

from linalg_cnn import (
    AffineGraph,
    AffineMap,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    FactoredMap,
    SkipNetwork,
    WeightedSum,
    display,
    shared_skip_weights,
    symbolic,
)
from linalg_cnn.display import (
    Formula,
    affine_formula,
    entries_formula,
    equation_formula,
    image_latex,
    layer_formula,
    matrix_latex,
    named_entries,
    network_formula,
    network_picture,
)

A, B, T = sympy.symbols("a b t")


def network(strength=T, layers=3):
    convolutions = [Conv(np.ones((1, 1, 2, 2)), bias=[1.0], padding="same") for _ in range(layers - 1)]
    skips = [(0, j) for j in range(1, layers)]
    return SkipNetwork((1, 4, 4), [*convolutions, Dense(np.ones((2, 16)))], shared_skip_weights(skips, strength))


# LaTeX


def test_equation_8_as_printed():
    """The padding matrix times the ravel of a 2x2 image is the image with a border of zeros."""
    a = sympy.symbols("a_11 a_12 a_21 a_22")
    formula = equation_formula(symbolic.pad_matrix((1, 2, 2), 1), a)
    left, right = formula.latex.split(" = ")
    assert left.count(r"0 & 0 & 0 & 0") == 12
    assert r"0 & 0 & 1 & 0 \\ 0 & 0 & 0 & 1 \\ 0 & 0 & 0 & 0" in left
    assert (
        right
        == r"\begin{bmatrix}"
        + r" \\ ".join(["0"] * 5 + ["a_{11}", "a_{12}", "0", "0", "a_{21}", "a_{22}"] + ["0"] * 5)
        + r"\end{bmatrix}"
    )
    assert image_latex([0, a[0]], (2, 1)) == r"\begin{bmatrix}0 \\ a_{11}\end{bmatrix}"


def test_a_numeric_equation_and_a_vector():
    assert equation_formula(scipy.sparse.eye_array(2), [3, 4]).alt == "[[1, 0], [0, 1]] * [3, 4] = [3, 4]"
    assert matrix_latex([0.5, -2]) == r"\begin{bmatrix}0.5 \\ -2\end{bmatrix}"


def test_a_large_matrix_has_dots():
    latex = matrix_latex(scipy.sparse.eye_array(1_000_000), most=5)
    assert latex.count("&") == 4 * 5
    assert latex.count(r"\ddots") == 1
    assert latex.startswith(r"\begin{bmatrix}1 & 0 & \cdots & 0 & 0")
    assert latex.endswith(r"0 & 0 & \cdots & 0 & 1\end{bmatrix}")
    assert "a 40 x 40 matrix" in equation_formula(sympy.eye(40), range(40)).alt


def test_equation_10_with_the_terms_that_are_there():
    net = network()
    assert layer_formula(net, 1).latex == "f^{(1)} = W^{(1)} P^{(1)} f^{(0)} + B^{(1)}"
    assert layer_formula(net, 3).latex == r"f^{(3)} = W^{(3)} \left( t f^{(0)} + \left(1 - t\right) f^{(2)} \right)"
    smaller = SkipNetwork((1, 4), [Conv([[[1.0, 1.0]]]), Conv([[[1.0]]])], {(0, 1): 0.25, (1, 1): 0.75})
    assert layer_formula(smaller, 2).latex == r"f^{(2)} = W^{(2)} \left( 0.25 R^{(0,1)} f^{(0)} + 0.75 f^{(1)} \right)"
    assert network_formula(net).latex.count(r" \\ ") == 2
    assert len(network_formula(network(0.5, 40)).latex) < 6000
    with pytest.raises(ValueError, match="layer: expected an int from 1 to 3, got 4"):
        layer_formula(net, 4)


def test_three_terms_stand_below_each_other_because_a_phone_has_no_room_beside():
    layers = [Conv([[[1.0]]])] * 3
    mixed = SkipNetwork((1, 4), layers, {(0, 2): 0.5, (1, 2): 0.25, (2, 2): 0.25})
    stacked = r"\begin{aligned}& 0.5 f^{(0)} \\ & + 0.25 f^{(1)} \\ & + 0.25 f^{(2)}\end{aligned}"
    assert layer_formula(mixed, 3).latex == rf"f^{{(3)}} = W^{{(3)}} \left( {stacked} \right)"
    assert layer_formula(mixed, 3).alt == "f(3) = W(3) ((0.5) f(0) + (0.25) f(1) + (0.25) f(2))"


def test_letters_for_long_entries_put_back_give_the_matrix():
    W = sympy.Matrix(network().compose().W)
    short, formulas = named_entries(W)
    assert all(entry.is_Atom for entry in short)
    assert len(set(formulas.values())) == len(formulas)
    assert short.subs(formulas).expand() == W.expand()


def test_letters_that_the_matrix_has_stand_for_nothing_else():
    a, b, first = sympy.symbols("a b w_1")
    W = sympy.Matrix([[a * b + 1, first, a + b * first**2]])
    short, formulas = named_entries(W)
    assert [entry.name for entry in short] == ["w_2", "w_1", "w_3"]
    assert list(formulas.values()) == [a * b + 1, a + b * first**2]


def test_entries_that_are_no_polynomials_of_the_strength_are_written_as_they_are():
    a, w = sympy.symbols("a w")
    assert r"\sqrt{t}" in entries_formula({w: a * sympy.sqrt(T) + 1}, between=T).latex
    assert r"\frac{a}{t + 1}" in entries_formula({w: a / (1 + T)}, between=T).latex


def test_a_strength_is_written_between_its_ends():
    w = sympy.Symbol("w")
    assert entries_formula({w: sympy.expand((1 - T) * A + T)}, between=T).latex == (
        r"\begin{aligned}w &= a \left(1 - t\right) + t\end{aligned}"
    )
    assert entries_formula({w: A * T**2 + T**2}, [T], between=T).alt == "w = t**2*(a + 1)"


def test_many_formulas_are_cut_off():
    long = {sympy.Symbol(f"w_{i}"): sum(sympy.Symbol(f"x_{i}_{j}") for j in range(20)) for i in range(100)}
    formula = entries_formula(long)
    assert len(formula.latex) < 7000
    assert "more)" in formula.latex
    assert repr(formula) == formula.alt


def test_image_of_another_size():
    with pytest.raises(ValueError, match=r"x: expected 4 entries for an image of shape \(2, 2\), got 3"):
        image_latex([1, 2, 3], (2, 2))


# Networks


def test_a_network_has_a_box_for_each_layer_and_an_arrow_for_each_skip():
    picture = network_picture(network(), title="the network")
    assert [text for text in written(picture) if text in {"x", "Conv", "Dense"}] == ["x", "Conv", "Conv", "Dense"]
    assert written(picture).count("t") == 2
    assert written(picture).count("1 − t") == 2  # noqa: RUF001
    assert len(list(parse(picture).iter(f"{SVG}polygon"))) == 5
    assert picture.alt.startswith(
        "the network: A network with input x of shape (1, 4, 4). Conv 1 of shape (1, 4, 4) reads x. "
    )
    assert picture.alt.endswith("Dense 3 of shape (2,) reads t times x and (1 - t) times Conv 2.")


def test_a_graph_has_the_weights_of_its_sums():
    graph = AffineGraph((1, 3))
    blurred = graph.add(Conv([[[1.0, 2.0, 1.0]]], padding=1), 0)
    graph.add(WeightedSum([0.25, 0.5]), 0, blurred)
    assert graph._repr_html_() == network_picture(graph).svg
    assert network_picture(graph).alt.endswith("WeightedSum 2 of shape (1, 3) reads 0.25 times x and 0.5 times Conv 1.")
    assert {"0.25", "0.5"} <= set(written(network_picture(graph)))


def test_a_long_network_is_shortened():
    picture = network_picture(network(0.5, 150))
    assert picture.width < 1300
    assert "142 more" in written(picture)
    assert picture.alt == "A network of 150 operations from shape (1, 4, 4) to shape (2,)."


# Objects


def test_a_small_symbolic_map_is_a_formula_and_a_large_one_a_picture():
    small = AffineMap(sympy.Matrix([[A, B]]), [1])
    assert small._repr_html_() is None
    assert small._repr_latex_() == (
        r"$\displaystyle y = \begin{bmatrix}a & b\end{bmatrix} x + \begin{bmatrix}1\end{bmatrix}$"
    )
    assert affine_formula(AffineMap(np.eye(2), np.zeros(2))) is None
    large = AffineMap(sympy.Matrix(30, 30, lambda i, j: sympy.Symbol(f"w_{i}_{j}")), [0] * 30)
    assert large._repr_latex_() is None
    opening = "AffineMap(30 -> 30, sympy): A matrix of size 30 x 30 with 900"
    assert parse(large._repr_html_()).get("aria-label").startswith(opening)
    wide = SkipNetwork((1, 20), [Conv([[[A, B]]], padding=1), Conv([[[A, 1]]], padding=1)]).compose()
    assert wide._repr_latex_() is None
    assert len(matrix_cells(wide._repr_html_())) == len(sympy.Matrix(wide.W).todok())


def test_a_map_over_images_shows_its_rows_as_images_and_another_its_entries():
    W = np.random.default_rng(0).standard_normal((3, 25))
    rows = AffineMap(W, np.zeros(3), in_shape=(1, 5, 5))
    assert "The 3 rows of W as images of 5 x 5 pixels" in rows._repr_html_()
    assert rows._repr_latex_() is None
    entries = parse(AffineMap(W, np.zeros(3))._repr_html_())
    assert len(matrix_cells(ET.tostring(entries, encoding="unicode"))) == 75


@pytest.mark.parametrize(
    "value",
    [
        AffineMap(scipy.sparse.eye_array(10**6, format="csr"), np.zeros(10**6)),
        AffineMap(np.ones((10, 3 * 224 * 224)), np.zeros(10), in_shape=(3, 224, 224)),
        AffineMap(np.ones((2000, 2001)), np.zeros(2000)),
        FactoredMap([AffineMap(np.ones((10, 500)), np.zeros(10)), AffineMap(np.ones((500, 2000)), np.zeros(500))]),
        FactoredMap([AffineMap(np.ones((2000, 2001)), np.zeros(2000))]),
        Conv(np.ones((512, 512, 3, 3))),
        Conv(np.ones((4, 4, 3, 3, 3))),
        ConvTranspose(np.ones((3, 8, 4, 4))),
        BatchNorm(np.ones(3), np.ones(3), np.ones(3), np.ones(3)),
        network(0.5, 100),
        network(0.5, 100).graph,
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_notebooks_show_is_bounded_whatever_the_size(value):
    shown = value._repr_html_()
    if shown is not None:
        assert len(shown) < 600_000
        parse(shown)


def test_what_is_too_large_is_left_to_its_repr():
    assert AffineMap(np.ones((2000, 2001)), np.zeros(2000))._repr_html_() is None
    assert FactoredMap([AffineMap(np.ones((2000, 2001)), np.zeros(2000))])._repr_html_() is None
    assert Conv(np.ones((4, 4, 3, 3, 3)))._repr_html_() is None
    assert Dense(np.ones((2, 2)))._repr_html_() is None


def test_factors_are_drawn_to_scale():
    factored = FactoredMap([AffineMap(np.ones((10, 30)), np.zeros(10)), AffineMap(np.ones((30, 100)), np.zeros(30))])
    words = parse(factored._repr_html_()).get("aria-label")
    assert words.startswith("FactoredMap(10x30 @ 30x100): The product of 2 matrices. A matrix of size 10 x 30")
    assert words.index("product") < words.index("size 10 x 30") < words.index("size 30 x 100")


def test_an_operation_shows_its_kernel():
    words = [words for words, _ in titles(Conv([[[A, B]]])._repr_html_())]
    assert words == ["kernel[0, 0, 0]: a", "kernel[0, 0, 1]: b"]
    assert SkipNetwork((1, 3), [Conv([[[A, B]]])])._repr_latex_() == (
        r"$\displaystyle \begin{aligned}f^{(1)} &= W^{(1)} f^{(0)}\end{aligned}$"
    )
    assert Formula("x", "x")._repr_latex_() == r"$\displaystyle x$"


def test_every_public_name_has_an_example():
    assert sorted(display.__all__) == sorted(set(display.__all__))
    for name in display.__all__:
        if callable(public := getattr(display, name)):
            assert ">>>" in inspect.getdoc(public), name


def test_pictures_need_neither_matplotlib_nor_ipywidgets_nor_ipython():
    program = """
import sys
for name in ("matplotlib", "ipywidgets", "IPython", "PIL"):
    sys.modules[name] = None  # importing it raises an ImportError
import numpy as np
from linalg_cnn import AffineMap, Conv, SkipNetwork
from linalg_cnn.display import explore_convolution, matrix_picture
assert "<svg" in AffineMap(np.eye(3), np.zeros(3))._repr_html_()
assert "<svg" in SkipNetwork((1, 4), [Conv([[[1.0, 2.0]]])])._repr_html_()
assert "<svg" in matrix_picture(np.eye(500)).svg
explorer = explore_convolution([[[1.0, 2.0]]], (1, 4))
assert explorer.controls == {}
assert "<svg" in explorer._repr_html_()
assert "column 3" in explorer.picture(column=2).svg
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
