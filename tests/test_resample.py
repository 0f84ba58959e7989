"""Nearest-neighbour sources against torch for every pair of sizes up to 256, float32 arithmetic included."""

import numpy as np
import pytest
import torch
from loops import nearest_source
from torch.nn.functional import interpolate

from linalg_cnn import Resample, resample_matrix
from linalg_cnn.ops.resample import nearest_rule

SIZES = range(1, 257)


def torch_sources(in_size, out_size, mode):
    ramp = torch.arange(in_size, dtype=torch.float32).reshape(1, 1, -1)  # float64 would show other pixels
    return interpolate(ramp, size=out_size, mode=mode)[0, 0].numpy().astype(int)


def test_nearest_is_torchs_for_every_pair_of_sizes():
    wrong = [
        (i, o)
        for i in SIZES
        for o in SIZES
        if not np.array_equal(nearest_rule(i, o).sources[:, 0], torch_sources(i, o, "nearest"))
    ]
    assert wrong == []


def test_nearest_exact_is_torchs_for_every_pair_of_sizes_away_from_ties():
    """At i (2d + 1) = 0 mod 2o the rounding decides, and torch's builds disagree: there either neighbour counts."""
    wrong = []
    for i in SIZES:
        for o in SIZES:
            ours, theirs = nearest_rule(i, o, "nearest-exact").sources[:, 0], torch_sources(i, o, "nearest-exact")
            tie = i * (2 * np.arange(o) + 1) % (2 * o) == 0
            if not np.array_equal(ours[~tie], theirs[~tie]) or np.abs(ours - theirs).max() > 1:
                wrong.append((i, o))
    assert wrong == []


@pytest.mark.parametrize(
    ("mode", "i", "o"), [("nearest", 26, 22), ("nearest-exact", 14, 23), ("nearest-exact", 28, 23)]
)
def test_float32_is_part_of_the_rule(mode, i, o):
    """Where the integer formula first differs from torch."""
    d = np.arange(o)
    integer_rule = d * i // o if mode == "nearest" else (2 * d + 1) * i // (2 * o)
    ours = nearest_rule(i, o, mode).sources[:, 0]
    assert not np.array_equal(ours, integer_rule)
    np.testing.assert_array_equal(ours, torch_sources(i, o, mode))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_large_sizes_agree_with_the_loops(mode):
    rng = np.random.default_rng(0)
    for i, o in rng.integers(1, 5000, (20, 2)).tolist():
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
