"""Nearest-neighbour sources against torch for every pair of sizes up to 256, float32 arithmetic included.

Other axes, Pillow and scikit-image are compared for some of these pairs, and for all of them in `make sweep`.
"""

from functools import cache

import numpy as np
import pytest
import torch
from operations.sampling import nearest_source
from PIL import Image
from skimage.transform import resize
from torch.nn.functional import interpolate

from linalg_cnn import Resample, resample_matrix
from linalg_cnn.ops.resample import NEAREST_MODES, nearest_rule

SIZES = range(1, 257)
PAIRS = [(i, o) for i in SIZES for o in SIZES]


def sources(in_size, out_size, mode):
    return nearest_rule(in_size, out_size, mode).sources[:, 0]


@cache
def ramp(rank, axis, size):
    """A float32 image of ``rank`` axes that counts along ``axis``; float64 would show other pixels."""
    shape = [2] * rank
    shape[axis] = size
    along = torch.arange(size, dtype=torch.float32).reshape([-1 if a == axis else 1 for a in range(rank)])
    return along.expand(1, 1, *shape)


def torch_sources(rank, axis, in_size, out_size, mode):
    size = [3] * rank
    size[axis] = out_size
    shown = interpolate(ramp(rank, axis, in_size), size=size, mode=mode)[0, 0].numpy()
    lines = np.moveaxis(shown, axis, 0).reshape(out_size, -1)
    if rank > 1:
        assert (lines == lines[:, :1]).all()
    return lines[:, 0]


SOME = [PAIRS[number] for number in np.random.default_rng(0).choice(len(PAIRS), 2048, replace=False)]
every_axis = pytest.mark.parametrize(
    ("rank", "axis", "pairs"),
    [
        pytest.param(1, 0, PAIRS, id="1-0"),
        # the same rule on each axis, so that some pairs show whether it is applied to the right one
        *(pytest.param(rank, axis, SOME, id=f"{rank}-{axis}-some") for rank in (2, 3) for axis in range(rank)),
        *(
            pytest.param(rank, axis, PAIRS, marks=pytest.mark.sweep, id=f"{rank}-{axis}")
            for rank in (2, 3)
            for axis in range(rank)
        ),
    ],
)

some_or_all = pytest.mark.parametrize(
    "pairs", [pytest.param(SOME, id="some"), pytest.param(PAIRS, marks=pytest.mark.sweep, id="all")]
)


@every_axis
def test_nearest_is_torchs_for_every_pair_of_sizes(rank, axis, pairs):
    wrong = [(i, o) for i, o in pairs if (sources(i, o, "nearest") != torch_sources(rank, axis, i, o, "nearest")).any()]
    assert wrong == []


@every_axis
def test_nearest_exact_is_torchs_for_every_pair_of_sizes_away_from_ties(rank, axis, pairs):
    """At i (2d + 1) = 0 mod 2o the rounding decides, and torch's builds disagree: there either neighbour counts."""
    wrong = []
    for i, o in pairs:
        ours, theirs = sources(i, o, "nearest-exact"), torch_sources(rank, axis, i, o, "nearest-exact")
        tie = i * (2 * np.arange(o) + 1) % (2 * o) == 0
        if ((ours != theirs) & ~tie).any() or np.abs(ours - theirs).max() > 1:
            wrong.append((i, o))
    assert wrong == []


@some_or_all
def test_pillow_is_pillows(pairs):
    wrong = []
    for i, o in pairs:
        row, column = (Image.fromarray(np.arange(i, dtype=np.int32).reshape(shape)) for shape in ((1, i), (i, 1)))
        across = np.asarray(row.resize((o, 1), Image.Resampling.NEAREST))[0]
        down = np.asarray(column.resize((1, o), Image.Resampling.NEAREST))[:, 0]
        ours = sources(i, o, "pillow")
        if not (np.array_equal(across, ours) and np.array_equal(down, ours)):
            wrong.append((i, o))
    assert wrong == []


@some_or_all
def test_scikit_image_is_its_resize_of_order_0(pairs):
    wrong = []
    for i, o in pairs:
        theirs = resize(np.arange(float(i)), (o,), order=0, anti_aliasing=False, preserve_range=True)
        if not np.array_equal(theirs, sources(i, o, "scikit-image")):
            wrong.append((i, o))
    assert wrong == []


def test_the_libraries_follow_different_rules():
    """The paper treats Pillow, scikit-image and PyTorch as one rule; at ties they differ."""
    modes = ("nearest", "nearest-exact", "pillow", "scikit-image")
    shown = {mode: tuple(tuple(sources(i, o, mode)) for i, o in SOME) for mode in modes}
    assert len(set(shown.values())) == len(modes)


@pytest.mark.parametrize(
    ("mode", "i", "o"), [("nearest", 26, 22), ("nearest-exact", 14, 23), ("nearest-exact", 28, 23)]
)
def test_float32_is_part_of_the_rule(mode, i, o):
    """At these sizes the integer formula differs from torch."""
    d = np.arange(o)
    integer_rule = d * i // o if mode == "nearest" else (2 * d + 1) * i // (2 * o)
    ours = nearest_rule(i, o, mode).sources[:, 0]
    assert not np.array_equal(ours, integer_rule)
    np.testing.assert_array_equal(ours, torch_sources(1, 0, i, o, mode))


@pytest.mark.parametrize("mode", NEAREST_MODES)
def test_large_sizes_agree_with_the_loops(mode):
    rng = np.random.default_rng(0)
    pairs = 4 if mode == "pillow" else 20  # Pillow's loop adds up d terms for output d
    for i, o in rng.integers(1, 5000, (pairs, 2)).tolist():
        expected = [nearest_source(d, i, o, mode) for d in range(o)]
        np.testing.assert_array_equal(nearest_rule(i, o, mode).sources[:, 0], expected)


def test_every_row_has_one_entry():
    matrix = resample_matrix((3, 7, 5), (4, 9))
    assert matrix.nnz == matrix.shape[0] == 3 * 4 * 9
    np.testing.assert_array_equal(matrix.sum(axis=1), 1)


@pytest.mark.parametrize("size", [0, -1, True, 2.5, "3", (2, 0), None])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match=r"size.*: expected an int of at least 1, got"):
        Resample(size)


def test_a_size_for_another_number_of_axes():
    with pytest.raises(ValueError, match=r"size: expected an int or 1 ints, one per spatial axis, got \(2, 3\)"):
        resample_matrix((1, 4), (2, 3))
