"""Linear operations that people use, and the ways in which they are not what they look like.

Each is compared with torch on random data in float64.
"""

import numpy as np
import pytest
import scipy.ndimage

from gpu import SkipCNN
from linalg_cnn import Conv, Pad, SkipNetwork, pad_matrix

IN_NUMPY = {
    "reflect": "reflect",
    "symmetric": "symmetric",
    "replicate": "edge",
    "circular": "wrap",
    "zeros": "constant",
}
IN_SCIPY = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest", "circular": "grid-wrap",
            "zeros": "grid-constant"}  # fmt: skip


@pytest.mark.parametrize("mode", IN_NUMPY)
def test_other_libraries_call_the_same_border_something_else(mode):
    row = np.array([3.0, 5.0, 7.0])
    ours = pad_matrix((1, 3), 2, mode) @ row
    np.testing.assert_array_equal(ours, np.pad(row, 2, mode=IN_NUMPY[mode]))
    theirs = scipy.ndimage.map_coordinates(row, [np.arange(-2, 5)], order=0, mode=IN_SCIPY[mode])
    np.testing.assert_array_equal(ours, theirs)


def test_a_filter_ported_from_scipy_by_its_default_border():
    image, kernel = np.random.default_rng(0).normal(size=(2, 5, 5))
    ours = Conv(kernel[None, None], padding=2, padding_mode="symmetric")(image[None, None])[0, 0]
    np.testing.assert_allclose(ours, scipy.ndimage.correlate(image, kernel), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("layer", "name"),
    [(Pad(2, "symmetric"), "mode"), (Conv(np.ones((1, 1, 3)), padding=2, padding_mode="symmetric"), "padding_mode")],
)
def test_a_border_that_no_module_of_torch_has(layer, name):
    with pytest.raises(ValueError, match=f"{name}: expected a border that torch's modules have .*, got 'symmetric'"):
        SkipCNN.from_network(SkipNetwork((1, 4), [layer]))
