"""Pictures show the entries of matrices: each cell has the right colour and text."""

import numpy as np
import pytest
import scipy.sparse
import sympy
from pictures import SVG, matrix_cells, parse, pixels, titles, written

from linalg_cnn import (
    Conv,
    ConvTranspose,
    MaxPool,
    Pad,
    Resample,
    conv_matrix,
    pad_matrix,
    resample_matrix,
    symbolic,
)
from linalg_cnn.display import (
    Picture,
    diverging_colors,
    equation_picture,
    figure_picture,
    grid_colors,
    image_picture,
    kernel_picture,
    letter_colors,
    matrix_picture,
    operation_picture,
    rows_picture,
    scale_bar,
    side_by_side,
    stacked,
    vector_picture,
)
from linalg_cnn.display.colors import ink_on, kernel_colors, mix_colors, to_rgb
from linalg_cnn.display.svg import formula

A, B, C, D = sympy.symbols("a b c d")
LETTERS = np.array([[[[A, B], [C, D]]]])
IMAGE = np.array(sympy.symbols("a_11 a_12 a_21 a_22")).reshape(2, 2)


# Matrices


@pytest.mark.parametrize("kind", ["dense", "sparse", "exact"])
def test_every_entry_is_a_cell_and_nothing_else_is(kind):
    rng = np.random.default_rng(0)
    dense = rng.integers(-3, 4, (7, 9)).astype(float)
    matrix = {"dense": dense, "sparse": scipy.sparse.csr_array(dense), "exact": sympy.Matrix(dense.astype(int))}[kind]
    cells = matrix_cells(matrix_picture(matrix))
    assert set(cells) == set(zip(*map(list, np.nonzero(dense)), strict=True))
    assert all(float(value) == dense[position] for position, (value, _) in cells.items())


def test_values_are_violet_below_zero_and_orange_above_on_one_scale():
    cells = matrix_cells(matrix_picture([[-2.0, 1.0]], limit=4.0))
    for position, value in ((0, 0), -2.0), ((0, 1), 1.0):
        assert cells[position][1] == "#" + bytes(diverging_colors([value], 4.0)[0].tolist()).hex()
    red, _, blue = to_rgb(cells[0, 0][1])
    assert blue > red
    red, _, blue = to_rgb(cells[0, 1][1])
    assert red > blue


def test_the_colours_of_values_are_matplotlibs():
    matplotlib = pytest.importorskip("matplotlib")
    values = np.linspace(-1, 1, 41)
    expected = matplotlib.colormaps["PuOr_r"]((values + 1) / 2)[:, :3] * 255
    assert np.abs(diverging_colors(values, 1.0) - expected).max() <= 3  # matplotlib's map has 256 steps


@pytest.mark.parametrize(
    "layer",
    [
        Conv(np.arange(1.0, 10.0).reshape(1, 1, 3, 3), padding=1, stride=2),
        Conv(np.arange(1.0, 17.0).reshape(2, 2, 2, 2)),
        Conv(np.arange(1.0, 9.0).reshape(2, 1, 2, 2), groups=2, dilation=2),
        ConvTranspose(np.arange(1.0, 5.0).reshape(1, 1, 2, 2), stride=2),
        Conv(LETTERS, padding=1),
    ],
    ids=["padded", "channels", "groups", "transposed", "letters"],
)
def test_a_kernel_entry_has_one_colour_wherever_it_stands(layer):
    shape = (layer.kernel.shape[1] * getattr(layer, "groups", 1), 5, 5)
    colors = dict(zip(map(str, layer.kernel.ravel()), kernel_colors(layer.kernel.shape), strict=True))
    cells = matrix_cells(matrix_picture(layer, shape))
    assert len(cells) == layer.matrix(shape).nnz if not layer.symbolic else len(layer.exact_matrix(shape).todok())
    for value, fill in cells.values():
        assert colors[value if layer.symbolic else f"{float(value)}"] == fill
    assert len({fill for _, fill in cells.values()}) == layer.kernel.size


def test_taps_that_meet_on_one_pixel_are_one_cell_of_their_sum():
    layer = Conv([[[1.0, 2.0, 4.0]]], padding=1, padding_mode="replicate")
    cells = matrix_cells(matrix_picture(layer, (1, 4)))
    assert cells[0, 0][0] == "3"  # the padded copy and the pixel itself
    assert to_rgb(cells[0, 0][1]) == pytest.approx(sum(map(to_rgb, kernel_colors((1, 1, 3))[:2])) / 2, abs=1)
    assert {position: float(value) for position, (value, _) in cells.items()} == {
        position: value for position, value in np.ndenumerate(layer.matrix((1, 4)).toarray()) if value
    }


def test_ones_have_the_colour_of_their_pixel():
    cells = matrix_cells(matrix_picture(resample_matrix((1, 2, 2), (3, 4)), (1, 2, 2)))
    assert {fill for (_, column), (_, fill) in cells.items() if column == 2} == {grid_colors((2, 2))[2]}


def test_rows_may_have_the_colours_instead():
    cells = matrix_cells(matrix_picture(Conv([[[1.0, 2.0]]]), (1, 3), color="row"))
    assert [fill for _, (_, fill) in sorted(cells.items())] == [grid_colors((2,))[row] for row in (0, 0, 1, 1)]


def test_indices_are_lowered_and_powers_raised():
    power = sympy.Symbol("k_1") ** 2 - sympy.Rational(1, 2)
    assert written(vector_picture([power])) == ["k12 \N{MINUS SIGN} 1/2"]
    levels = [span.get("dy") for span in parse(vector_picture([power])).iter(f"{SVG}tspan")]
    assert levels == [None, "3", "-7", "4"]  # down, up, and back to the line


def test_what_hovering_says_names_the_pixels():
    words = [words for words, _ in titles(matrix_picture(Conv(np.ones((1, 2, 2, 2))), (2, 3, 3)))]
    assert "row 3 (output pixel 1, 1), column 13 (input pixel 1, 1 of channel 1): 1" in words


def test_lit_rows_stand_out_and_the_others_are_paler():
    plain, lit = matrix_picture(Conv(LETTERS), (1, 3, 3)), matrix_picture(Conv(LETTERS), (1, 3, 3), rows=[1])
    for position, (value, fill) in matrix_cells(lit).items():
        before = matrix_cells(plain)[position]
        assert value == before[0]
        assert (fill == before[1]) == (position[0] == 1)
        assert sum(to_rgb(fill)) >= sum(to_rgb(before[1]))


def test_letters_are_written_where_they_fit():
    assert sorted(set(written(matrix_picture(Conv(LETTERS), (1, 3, 3))))) == ["a", "b", "c", "d"]
    assert written(matrix_picture(Conv(LETTERS), (1, 3, 3), labels=False)) == []
    assert written(matrix_picture(sympy.Matrix([[(A + B) ** 9 * (C + D) ** 9 + A * D]]))) == []
    assert written(matrix_picture([[1, 0]], zeros=True)) == ["1", "0"]


def test_borders_run_between_channels_and_image_rows():
    picture = matrix_picture(Conv(np.ones((2, 3, 2, 2))), (3, 4, 4))
    strokes = [(path.get("stroke-width"), path.get("d").count("M")) for path in parse(picture).iter(f"{SVG}path")]
    # 18 rows and 48 columns have a thin line after every 3 and 4 of them, and a thick line after every 9 and 16.
    assert ("0.9", 5 + 11) in strokes
    assert ("1.8", 1 + 2) in strokes


@pytest.mark.parametrize(
    "matrix",
    [
        scipy.sparse.eye_array(1_000_000, format="csr"),
        scipy.sparse.csr_array((3, 200_000)),
        np.random.default_rng(0).standard_normal((900, 900)),
        np.random.default_rng(0).standard_normal((2000, 1)),
    ],
    ids=["a million rows", "empty", "dense", "a column"],
)
def test_the_picture_of_a_huge_matrix_is_bounded(matrix):
    picture = matrix_picture(matrix)
    assert len(picture.svg) < 200_000
    assert len(picture.alt) < 300
    assert max(picture.width, picture.height) <= 480
    assert f"matrix of size {matrix.shape[0]:,} x {matrix.shape[1]:,} with" in picture.alt
    assert max(pixels(picture).shape[:2]) <= 480


def test_the_pixels_of_a_large_picture_are_the_entries():
    matrix = conv_matrix(np.arange(1.0, 10.0).reshape(1, 1, 3, 3), (1, 18, 18))  # 256 x 324, one pixel per entry
    image = pixels(matrix_picture(matrix, (1, 18, 18)))
    assert image.shape == (256, 324, 3)
    ground = image[0, -1]
    np.testing.assert_array_equal((image != ground).any(axis=2), matrix.toarray() != 0)
    binned = pixels(matrix_picture(scipy.sparse.eye_array(5000, format="csr")))
    np.testing.assert_array_equal((binned != binned[0, -1]).any(axis=2), np.eye(480, dtype=bool))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: matrix_picture(Conv(LETTERS)), "in_shape: expected the shape of the operation's input, got None"),
        (lambda: matrix_picture([[1]], color="taste"), "color: expected one of"),
        (
            lambda: matrix_picture([[1]], color="kernel"),
            "color: expected an operation with a kernel for color='kernel', got list",
        ),
        (lambda: equation_picture(np.ones((65, 1)), [1]), "matrix: expected at most 64 rows and columns, got 65 x 1"),
        (lambda: equation_picture([[1, 2]], [1]), "x: expected 2 entries, one per column, got 1"),
        (lambda: image_picture([1, 2, 3], (2, 2)), r"shape: expected one to three axes for 3 values, got \(2, 2\)"),
        (lambda: kernel_picture([[1.0]]), "kernel: expected"),
        (lambda: rows_picture(np.ones((2, 4))), r"in_shape: expected \(channels, height, width\), got None"),
        (lambda: operation_picture(Conv(LETTERS), (1, 3, 3), output=(0, 2, 2)), "output: expected a pixel"),
        (lambda: operation_picture(Conv(LETTERS), (1, 3, 3), output=4), "output: expected a pixel"),
        (lambda: operation_picture(Conv(LETTERS), (1, 3, 3), x=[1]), "x: expected 9 entries, got 1"),
        (lambda: operation_picture(Conv(LETTERS), (1, 30, 30)), "in_shape: expected one or two spatial axes"),
        (lambda: mix_colors(["#000000"], [-1]), "weights: expected no negative weight, got -1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("what", ["a string", np.ones(3), np.array([["a"]])], ids=["text", "vector", "words"])
def test_what_is_no_matrix_is_refused(what):
    with pytest.raises(TypeError, match="matrix: expected a matrix of numbers or sympy expressions, or an op"):
        matrix_picture(what)


# Equations


def test_equation_6_in_colour():
    picture = equation_picture(symbolic.resample_matrix((1, 2, 2), (3, 4), "nearest-exact"), IMAGE, (1, 2, 2))
    shown = [(words.split(": ")[1], fill) for words, fill in titles(picture) if words.startswith("entry ")]
    colors = {str(letter): color for letter, color in letter_colors(IMAGE).items()}
    order = [0, 1, 2, 3, *(0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3)]  # x, then y
    assert shown == [(str(IMAGE.ravel()[i]), colors[str(IMAGE.ravel()[i])]) for i in order]
    assert picture.alt.endswith("y is the vector (" + ", ".join(str(IMAGE.ravel()[i]) for i in order[4:]) + ").")


def test_a_mixture_has_the_mean_colour_and_nothing_is_white():
    picture = equation_picture(Resample(3, "linear"), [A, B], (1, 2))
    fills = [fill for words, fill in titles(picture) if words.startswith("entry ")]
    assert fills[3] == mix_colors(fills[:2], [0.5, 0.5])
    padded = equation_picture(Pad(1), [A], (1, 1))
    assert [fill for words, fill in titles(padded) if words.endswith(": 0")] == ["#ffffff", "#ffffff"]


def test_a_difference_of_pixels_has_no_colour_of_theirs():
    fills = dict(titles(equation_picture([[1, -1]], [A, B])))
    assert fills["entry 0: a - b"] not in grid_colors((2,))


def test_hovering_lights_what_a_row_reads_and_where_a_pixel_goes():
    layer = Conv(LETTERS, stride=2)
    (style,) = parse(equation_picture(layer, range(16), (1, 4, 4))).iter(f"{SVG}style")
    reads = layer.exact_matrix((1, 4, 4)).todok()
    for row in range(4):
        others = ",".join(f".P{c}" for r, c in sorted(reads) if r == row)
        assert f":has(.R{row}:hover) :is(.R{row},{others}){{" in style.text
    assert ":has(.P0:hover) :is(.P0,.R0){" in style.text
    scope = style.text[1 : style.text.index(":")]
    assert any(
        group.get("class") == scope for group in parse(equation_picture(layer, range(16), (1, 4, 4))).iter(f"{SVG}g")
    )


# Pictures


def test_every_text_is_escaped():
    nasty = "<script>alert('x')</script> & \"quotes\""
    picture = side_by_side(vector_picture([nasty], title=nasty), nasty)
    root = parse(picture)
    assert root.get("aria-label") == picture.alt
    assert nasty in written(picture)
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in picture.svg
    symbol = sympy.Symbol("<b>&")
    assert "<b>" not in matrix_picture(sympy.Matrix([[symbol]])).svg
    assert "<b>" not in formula(symbol)


def test_pictures_join_their_words():
    square = Picture('<rect width="9" height="9"/>', 9, 9, alt="a square")
    assert stacked(square, square).alt == "a square; a square"
    assert stacked(square, square, alt="two").alt == "two"
    assert side_by_side(square, square).width == 9 + 14 + 9
    assert square.captioned("small").height == 29
    parse(square.titled("small"))


@pytest.mark.parametrize("draw", [vector_picture, matrix_picture, image_picture], ids=lambda draw: draw.__name__)
def test_a_title_is_drawn_and_begins_the_words(draw):
    plain, titled = draw([[1.0]]), draw([[1.0]], title="one")
    assert titled.alt == f"one: {plain.alt}"
    assert "one" in written(titled)
    assert plain.with_title(None) is plain


def test_a_picture_is_saved_as_a_file_of_its_own(tmp_path):
    picture = matrix_picture([[1.0]])
    picture.save(tmp_path / "one.svg")
    assert (tmp_path / "one.svg").read_text(encoding="utf-8") == picture.svg == picture._repr_html_()


def test_a_figure_gets_words():
    figure = pytest.importorskip("matplotlib.figure").Figure(figsize=(2, 1))
    figure.subplots()
    picture = figure_picture(figure, "axes with nothing in them")
    assert pixels(picture).shape == (192, 384, 3)
    assert parse(picture).get("aria-label") == "axes with nothing in them"


@pytest.mark.parametrize(
    "color", [*grid_colors((7,)), *grid_colors((3, 3)), *kernel_colors((2, 3, 3, 3)), "#2d004b", "#7f3b08"]
)
def test_what_is_written_can_be_read(color):
    def luminance(text):
        c = to_rgb(text) / 255
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    one, other = sorted([luminance(color), luminance(ink_on(color))])
    assert (other + 0.05) / (one + 0.05) >= 4.3  # WCAG requires 3 for large text and 4.5 for small text


def test_padding_and_resampling_have_colours_for_every_size():
    assert len(matrix_cells(matrix_picture(pad_matrix((1, 5, 5), 1), (1, 5, 5)))) == 25
    assert "16,384 x 4,096" in matrix_picture(resample_matrix((1, 64, 64), (128, 128)), (1, 64, 64)).alt


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: matrix_picture(np.zeros((0, 0))), ValueError, r"matrix: expected at least one row .* shape \(0, 0\)"),
        (lambda: matrix_picture(np.zeros((0, 3))), ValueError, r"matrix: expected at least one row .* shape \(0, 3\)"),
        (lambda: matrix_picture(MaxPool(2), (1, 4)), TypeError, "got MaxPool, which has one matrix on each piece"),
        (lambda: matrix_picture(np.eye(2, dtype=bool)), TypeError, r"shape \(2, 2\) and dtype bool"),
        (lambda: matrix_picture([[1.0, np.nan]]), ValueError, "matrix: expected finite entries, got nan"),
        (lambda: image_picture([[1.0, -np.inf]]), ValueError, "values: expected finite entries, got -inf"),
        (lambda: image_picture(np.full((30, 30), np.nan)), ValueError, "values: expected finite entries, got nan"),
        (lambda: image_picture(np.zeros((2, 0))), ValueError, r"values: expected at least one, got shape \(2, 0\)"),
        (lambda: kernel_picture([[[1.0, np.nan]]]), ValueError, "kernel: expected finite entries, got nan"),
        (lambda: kernel_picture(np.zeros((0, 1, 2))), ValueError, r"kernel: expected .* got \(0, 1, 2\)"),
        (lambda: diverging_colors([0.0, np.inf], 1.0), ValueError, "values: expected finite entries, got inf"),
        (lambda: diverging_colors([0.0], np.nan), ValueError, "limit: expected finite entries, got nan"),
        (lambda: scale_bar(np.inf), ValueError, "limit: expected finite entries, got inf"),
    ],
)
def test_what_has_no_picture_is_refused_by_name(draw, error, message):
    with pytest.raises(error, match=message):
        draw()


def test_a_file_is_xml_whatever_characters_a_label_has(tmp_path):
    picture = rows_picture(np.eye(2), in_shape=(1, 1, 2), labels=["\x1b[1m\ud800", "b\x00"])
    picture.save(tmp_path / "picture.svg")
    written_text = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    parse(picture)
    assert "\N{REPLACEMENT CHARACTER}[1m\N{REPLACEMENT CHARACTER}" in written_text
