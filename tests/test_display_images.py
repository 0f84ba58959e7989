"""Operations, images, kernels and the rows of W are read back from their pictures."""

import numpy as np
import pytest
import sympy
from pictures import matrix_cells, pixels, titles, written

from linalg_cnn import AffineMap, AvgPool, Conv, ConvTranspose, Dense, Pad, Resample
from linalg_cnn.display import (
    diverging_colors,
    image_picture,
    kernel_picture,
    letter_colors,
    operation_picture,
    rows_picture,
)
from linalg_cnn.display.colors import kernel_colors, mix_colors

LETTERS = np.array(sympy.symbols("a b c d")).reshape(1, 1, 2, 2)
IMAGE = np.array(sympy.symbols("a_11 a_12 a_21 a_22")).reshape(2, 2)


# Operations on images


def test_the_lit_pixel_its_row_and_what_it_reads():
    layer = Conv(LETTERS, padding=1)
    picture = operation_picture(layer, (1, 3, 3), output=(0, 0, 1))
    colors = dict(zip("abcd", kernel_colors((1, 1, 2, 2)), strict=True))
    fills = {words: fill for words, fill in titles(picture) if words.startswith("pixel ")}
    assert {words: fill for words, fill in fills.items() if fill != "#ffffff"} == {
        "pixel 0, 0 (entry 0 of x): 0": colors["c"],
        "pixel 0, 1 (entry 1 of x): 1": colors["d"],
    }
    assert [words for words, _ in titles(picture)].count("a padded zero") == 16
    assert picture.alt == (
        "Conv on an image of shape (1, 3, 3). Output pixel (0, 0, 1), row 1 of the 16 x 9 matrix, "
        "reads pixel (0, 0, 0) times c, pixel (0, 0, 1) times d."
    )
    cells = matrix_cells(picture)
    assert cells[1, 0] == ("c", colors["c"])
    assert cells[0, 0] != ("d", colors["d"])  # paler


def test_a_padded_zero_is_written_beside_values_but_not_beside_numbers_of_pixels():
    layer = Conv(LETTERS, padding=1)
    values = np.full((1, 3, 3), 7.0)
    # 3 of 4 taps are on the border. 0 is also the number of the first output, in its image and in y, and of the first
    # pixel, in the image and in x.
    assert written(operation_picture(layer, (1, 3, 3), output=0, x=values)).count("0") == 3 + 2
    assert written(operation_picture(layer, (1, 3, 3), output=0)).count("0") == 2 + 2


def test_a_border_shows_what_it_copies():
    picture = operation_picture(Conv(LETTERS, padding=1, padding_mode="circular"), (1, 2, 2), x=IMAGE)
    names = [words for words, _ in titles(picture) if words.startswith("pixel ")]
    assert len(names) == 16
    assert "a padded zero" not in [words for words, _ in titles(picture)]
    assert names[0] == "pixel 1, 1 (entry 3 of x): a_22"


@pytest.mark.parametrize(
    ("operation", "in_shape"),
    [
        (Resample((3, 4), "linear"), (1, 2, 2)),
        (Pad(((1, 0), (2, 1)), "replicate"), (2, 3, 3)),
        (AvgPool(2), (1, 4, 4)),
        (ConvTranspose(LETTERS, stride=2), (1, 2, 2)),
        (Conv(LETTERS[:, :, 0], padding="same", dilation=2), (1, 7)),
        (Conv(np.ones((2, 3, 2, 2))), (3, 4, 4)),
        (Conv(np.ones((1, 1, 3, 3)), padding=1), (1, 20, 20)),
        (Dense(np.ones((2, 4))), (1, 2, 2)),
    ],
    ids=["linear", "pad", "pool", "transposed", "line", "channels", "large", "dense"],
)
def test_operations_of_all_kinds(operation, in_shape):
    if isinstance(operation, Dense):
        with pytest.raises(ValueError, match="expected one or two spatial axes"):
            operation_picture(operation, in_shape)
        return
    picture = operation_picture(operation, in_shape, output=0, title="an operation")
    row = operation.matrices(in_shape, exact=True)[0].row(0)
    assert picture.alt.count(" times ") == min(sum(value != 0 for value in row), 12)
    assert picture.alt.startswith(f"an operation: {type(operation).__name__} on")
    assert len(picture.svg) < 400_000


# Images, kernels, rows


def test_an_image_keeps_the_colours_of_its_letters():
    palette = letter_colors(IMAGE)
    moved = image_picture(
        np.array([[IMAGE[1, 1], 0, (IMAGE[0, 0] + IMAGE[0, 1]) / 2, sympy.Symbol("q")]]), palette=palette
    )
    fills = [fill for _, fill in titles(moved)]
    assert fills[:2] == [palette[IMAGE[1, 1]], "#ffffff"]
    assert fills[2] == mix_colors([palette[IMAGE[0, 0]], palette[IMAGE[0, 1]]], [0.5, 0.5])
    assert fills[3] not in palette.values()


def test_grey_runs_from_black_to_white_and_signs_have_colours():
    assert [fill for _, fill in titles(image_picture([[0.0, 0.5, 1.0]]))] == ["#000000", "#808080", "#ffffff"]
    assert [fill for _, fill in titles(image_picture([[-1.0, 1.0]]))] == ["#2d004b", "#7f3b08"]


def test_a_large_image_is_pixels():
    values = np.random.default_rng(0).random((28, 28))
    image = pixels(image_picture(values))
    np.testing.assert_allclose(image[:, :, 0], 255 * values / values.max(), atol=1)
    assert "28 x 28 pixels" in image_picture(values).alt


def test_channels_are_drawn_below_each_other():
    picture = image_picture(np.arange(8).reshape(2, 2, 2), title="two")
    assert picture.alt == "two: An image of 2 x 2 pixels and 2 channels: 0, 1; 2, 3; 4, 5; 6, 7."
    assert picture.height > 4 * 24


def test_a_kernel_says_its_indices_and_shows_the_first_of_many():
    words = dict(titles(kernel_picture(np.arange(8.0).reshape(1, 2, 2, 2))))
    assert list(words)[5] == "kernel[0, 1, 0, 1]: 5"
    many = kernel_picture(np.ones((64, 32, 3, 3)), color="value")
    assert "the first 8 x 8 of 64 x 32 pairs" in written(many)
    assert len(many.svg) < 200_000


def test_rows_of_w_are_images_on_one_scale():
    W = np.arange(-4.0, 20.0).reshape(6, 4)
    picture = rows_picture(W, labels=list("abcdef"), in_shape=(1, 2, 2))
    fills = [fill for words, fill in titles(picture) if words.startswith("pixel")]
    assert fills == ["#" + bytes(color).hex() for color in diverging_colors(W.ravel(), 19.0).tolist()]
    assert {"a", "f", "19"} <= set(written(picture))
    assert picture.alt.startswith("The 6 rows as images of 2 x 2 pixels, titled a, b, c, d, e, f. Violet"), "W or not"
    of_a_map = rows_picture(AffineMap(W, np.zeros(6), in_shape=(1, 2, 2)))
    assert of_a_map.alt.startswith("The 6 rows of W as images of 2 x 2 pixels. Violet")
    assert "the first 20 of 30 rows" in written(rows_picture(np.ones((30, 4)), in_shape=(1, 2, 2)))
