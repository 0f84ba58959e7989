"""Choices of an entry and functions of each entry: defaults, candidates and refusals, judged by torch and by loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from linalg_cnn import AdaptiveMaxPool, Clamp, Hardtanh, LeakyReLU, MaxOver, MaxPool, MinOver, PReLU, Softshrink


def test_max_pooling_without_options_is_torchs_without_options():
    x = np.array([[[3.0, 1.0, 4.0, 1.0, 5.0]]])
    np.testing.assert_array_equal(MaxPool(2)(x), functional.max_pool1d(torch.from_numpy(x), 2).numpy())
    np.testing.assert_array_equal(MaxPool(3)(x), functional.max_pool1d(torch.from_numpy(x), 3).numpy())


@pytest.mark.parametrize(("size", "taps", "stride"), [(3, 4, 2), (1, 3, 3), (2, 5, 4), (5, 9, 5)])
def test_a_window_may_extend_over_the_end_of_an_input_that_is_shorter(size, taps, stride):
    x = np.arange(1.0, size + 1)[np.newaxis, np.newaxis]
    theirs = functional.max_pool1d(torch.from_numpy(x), taps, stride, ceil_mode=True)
    np.testing.assert_array_equal(MaxPool(taps, stride=stride, ceil_mode=True)(x), theirs.numpy())
    with pytest.raises(ValueError, match=f"kernel_size: expected at most {size} with its dilation"):
        MaxPool(taps, stride=stride)(x)


def test_options_of_a_pooling_are_given_by_name():
    with pytest.raises(TypeError, match="positional argument"):
        MaxPool(2, 2)


@pytest.mark.parametrize(
    ("operation", "windows"),
    [
        pytest.param(MaxPool(2, padding=1), [[0], [1, 2], [3]], id="a window that begins in the padding"),
        pytest.param(MaxPool(2, ceil_mode=True, stride=3), [[0, 1], [3]], id="a window that ends behind the input"),
        pytest.param(MaxPool(2, dilation=2, stride=1), [[0, 2], [1, 3]], id="windows with gaps"),
        pytest.param(AdaptiveMaxPool(3), [[0, 1], [1, 2], [2, 3]], id="windows that overlap"),
        pytest.param(MaxOver(1), [[0, 1, 2, 3]], id="an axis"),
        pytest.param(MinOver(1), [[0, 1, 2, 3]], id="an axis whose smallest entry is chosen"),
    ],
)
def test_candidates_are_the_entries_of_the_window_and_the_largest_decides(operation, windows):
    """The smallest entry is the one whose negative is the largest."""
    xs = np.random.default_rng(0).permutation(np.arange(24.0)).reshape(3, 2, 4)
    sign = -1 if operation.smallest else 1
    pairs = [(sample, output) for sample in (2, 0, 1) for output in range(2 * len(windows))]
    found = operation.candidates(*np.array(pairs).T, xs)
    values = operation(xs).reshape(3, -1)
    for (sample, output), row in zip(pairs, found, strict=True):
        channel, window = divmod(output, len(windows))
        assert set(row) == {sign * xs[sample, channel, at] for at in windows[window]}
        assert row.max() == sign * values[sample, output]


@pytest.mark.parametrize(
    "operation", [Hardtanh(-1.0, 2.0), Softshrink(0.5), PReLU([0.5, 0.25]), Clamp([-1.0, 0.0], 3.0)]
)
def test_the_largest_candidate_of_an_entry_says_which_thresholds_it_passes(operation):
    xs = np.random.default_rng(0).permutation(np.linspace(-5, 5, 24)).reshape(3, 2, 4)
    samples, outputs = np.indices((3, 8)).reshape(2, -1)
    found = operation.candidates(samples, outputs, xs).argmax(axis=1).reshape(xs.shape)
    thresholds = [np.broadcast_to(np.reshape(limit, (-1, 1)), (2, 4)) for limit in operation.thresholds]
    np.testing.assert_array_equal(found, sum((xs > limit).astype(int) for limit in thresholds))


def test_windows_that_do_not_fit_together_are_refused_before_they_are_built():
    """Those of each axis fit: 3 taps of 2**18 positions."""
    with pytest.raises(MemoryError, match=rf"the index table of {(2**18 - 2) ** 2:,} positions and 9 taps"):
        MaxPool(3, stride=1).windows((1, 2**18, 2**18))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MaxPool(2, stride=0), "^stride: expected an int of at least 1, got 0"),
        (lambda: MaxPool(2, padding=-1), "^padding: expected an int of at least 0, got -1"),
        (lambda: MaxPool(2, dilation=0), "^dilation: expected an int of at least 1, got 0"),
        (lambda: MaxPool(2, ceil_mode=1), "^ceil_mode: expected "),
        (
            lambda: MaxPool(6, padding=2).out_shape((1, 1)),
            "^kernel_size: expected at most 5 with its dilation, on an axis of 1 padded by 2, got 6",
        ),
        (lambda: AdaptiveMaxPool(0), "^size: expected an int of at least 1, got 0"),
        (lambda: AdaptiveMaxPool(2).out_shape((3,)), "^in_shape: expected"),
        (lambda: MaxOver(0).out_shape((0,)), r"^in_shape\[0\]: expected an int of at least 1, got 0"),
        (lambda: LeakyReLU(np.inf), "^negative_slope: expected finite entries, got inf"),
        (lambda: PReLU([0.5, np.nan]), "^weight: expected finite entries, got nan"),
        (lambda: Softshrink([0.5]), "^lambd: expected"),
        (lambda: Hardtanh([0.0], 1.0), "^min_val: expected"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
