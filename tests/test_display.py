"""The figures for PNG files show the library's own objects."""

import numpy as np
import pytest
import scipy.sparse

from linalg_cnn import AffineMap, Conv, Dense, SkipNetwork
from linalg_cnn.display import matrices_figure, matrix_panels, occupancy, to_png, weights_figure


def test_occupancy_counts_every_entry_once():
    rng = np.random.default_rng(0)
    dense = (rng.random((23, 57)) < 0.2).astype(float)
    cells = occupancy(scipy.sparse.csr_array(dense), 5, 7)
    assert cells.shape == (5, 7)
    edges = [np.flatnonzero(np.diff(np.arange(n) * m // n, prepend=-1)) for n, m in ((23, 5), (57, 7))]
    sums = np.add.reduceat(np.add.reduceat(dense, edges[0], axis=0), edges[1], axis=1)
    areas = np.outer(np.diff([*edges[0], 23]), np.diff([*edges[1], 57]))
    np.testing.assert_allclose(cells, sums / areas)
    np.testing.assert_array_equal(occupancy(scipy.sparse.csr_array(dense)), dense)  # finer than the matrix: itself


def network():
    layers = [Conv(np.ones((2, 1, 3, 3)), padding=1), Conv(np.ones((2, 2, 2, 2))), Dense(np.ones((3, 18)))]
    return SkipNetwork((1, 4, 4), layers, {(0, 1): 0.5, (1, 1): 0.5, (0, 2): 0.0, (2, 2): 1.0})


def test_panels_are_the_layers_the_resampled_skips_and_the_whole():
    panels = matrix_panels(network())
    assert [panel.symbol for panel in panels] == ["$W^{(1)}P^{(1)}$", "$W^{(2)}$", "$W^{(3)}$", "$R^{(0,1)}$", "$W$"]
    assert [panel.matrix.shape for panel in panels] == [(32, 16), (18, 32), (3, 18), (32, 16), (3, 16)]


def test_figures_hold_one_picture_per_matrix():
    figure = matrices_figure(network())
    assert len(figure.axes) == 5
    for axes, panel in zip(figure.axes, matrix_panels(network()), strict=True):
        (image,) = axes.images
        np.testing.assert_array_equal(np.asarray(image.get_array()) > 0, panel.matrix.toarray() != 0)
    assert to_png(figure, "five matrices").startswith(b"\x89PNG")


@pytest.mark.parametrize("across", [None, 1, 2, 3, 9])
def test_figures_break_their_line_without_overlap(across):
    boxes = [axes.get_position() for axes in matrices_figure(network(), across).axes]
    assert len(boxes) == 5
    for number, box in enumerate(boxes):
        assert min(box.x0, box.y0) >= 0
        assert max(box.x1, box.y1) <= 1
        assert not any(box.overlaps(other) for other in boxes[:number])
    lines = {round(box.y1, 6) for box in boxes}
    assert len(lines) == -(-5 // (across or 5))
    with pytest.raises(ValueError, match="across: expected an int of at least 1, got 0"):
        matrices_figure(network(), 0)


def test_weights_are_the_rows_of_w_on_one_scale():
    W = np.arange(-4.0, 20.0).reshape(6, 4)
    figure = weights_figure(AffineMap(W, np.zeros(6), in_shape=(1, 2, 2)), labels=list("abcdef"))
    pictures = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in pictures] == list("abcdef")
    for row, axes in zip(W, pictures, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), row.reshape(2, 2))
        assert axes.images[0].get_clim() == (-19, 19)


@pytest.mark.parametrize("in_shape", [None, (4,), (4, 1, 1)])
def test_weights_need_the_shape_of_an_image(in_shape):
    with pytest.raises(ValueError, match=r"affine: expected in_shape \(1, height, width\), got"):
        weights_figure(AffineMap(np.ones((2, 4)), np.zeros(2), in_shape=in_shape))
