"""What a SkipNetwork accepts and refuses."""

import numpy as np
import pytest
import sympy

from linalg_cnn import Conv, Dense, Resample, SkipNetwork, shared_skip_weights

ONE = Conv(np.ones((1, 1, 3, 3)), padding=1)
t = sympy.Symbol("t")


def three(weights, **options):
    return SkipNetwork((1, 4, 4), [ONE, ONE, ONE], weights, **options)


def test_without_skips_every_layer_reads_the_one_before():
    assert three(None).skip_weights == {(0, 0): 1, (1, 1): 1, (2, 2): 1}


def test_t_jj_may_be_zero():
    """Two paths: layer 2 reads the input, and f^(1) reaches only layer 3."""
    network = three({(0, 1): 1.0, (1, 2): 1.0})
    x = np.random.default_rng(0).standard_normal((2, 1, 4, 4))
    np.testing.assert_array_equal(network(x), ONE(ONE(x)))
    np.testing.assert_allclose(network.compose()(x.reshape(2, -1)).reshape(x.shape), network(x), atol=1e-13)


def test_shapes_come_from_f_j_even_if_t_jj_is_zero():
    shrink = Conv(np.ones((2, 1, 2, 2)), stride=2)
    network = SkipNetwork((1, 4, 4), [shrink, Resample(3)], {(0, 1): 1.0})
    assert network.shapes == ((1, 4, 4), (2, 2, 2), (2, 3, 3))
    x = np.arange(16.0).reshape(1, 4, 4)
    # R takes every second pixel (nearest: 0, 2) and shows the one channel twice.
    np.testing.assert_array_equal(network(x)[0], Resample(3)(x[np.newaxis, :, ::2, ::2])[0, 0])
    np.testing.assert_array_equal(network(x)[0], network(x)[1])


def test_weights_of_zero_make_no_operation():
    assert len(three({(0, 1): 0.0, (1, 1): 1.0}).graph.nodes) == len(three(None).graph.nodes) == 3


def test_leading_axes_are_batches():
    network = SkipNetwork((1, 4, 4), [ONE, Dense(np.ones((3, 16)))])
    x = np.arange(96.0).reshape(2, 3, 1, 4, 4)
    assert network(x).shape == (2, 3, 3)
    np.testing.assert_array_equal(network(x)[1, 2], network(x[1, 2]))
    assert network(x[0, 0]).shape == (3,)
    with pytest.raises(ValueError, match=r"x: expected shape \(..., 1, 4, 4\), got \(4, 4\)"):
        network(np.ones((4, 4)))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({(0, 1): 0.5, (1, 1): 0.4}, r"weights into layer 2 \(the keys \(k, 1\)\) to sum to 1, got 0\.9"),
        ({(0, 1): 0.5}, "to sum to 1, got 0.5"),
        ({(0, 1): 0.5, (1, 1): 0.5 + 2e-12}, "to sum to 1"),
        ({(0, 1): np.nan, (1, 1): 1.0}, r"skip_weights\[\(0, 1\)\]: expected finite entries, got nan"),
        ({(0, 1): np.inf, (1, 1): 1.0}, "expected finite entries, got inf"),
        ({(0, 1): sympy.oo, (1, 1): 1}, "expected finite entries, got oo"),
        ({(0, 3): 1.0}, r"expected keys \(k, j\) with 0 <= k <= j < 3 \(the number of layers\), got \(0, 3\)"),
        ({(2, 1): 1.0}, "expected keys"),
        ({(-1, 1): 1.0}, "expected keys"),
        ({(True, 1): 1.0}, "expected keys"),
        ({0: 1.0}, "expected keys"),
        ({(0, 1): [0.5, 0.5]}, r"skip_weights\[\(0, 1\)\]: expected 0 axes"),
        ({(0, 1): t, (1, 1): t}, r"to sum to 1, got 2\*t"),
        ({(0, 1): sympy.Rational(1, 10), (1, 1): 0.9}, "to sum to 1"),  # 0.9 is not nine tenths, and sympy is exact
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        three(weights)


@pytest.mark.parametrize("weight", ["0.5", 1j, np.float16(1), None])
def test_weights_of_a_wrong_type(weight):
    with pytest.raises(TypeError, match=r"skip_weights\[\(1, 1\)\]: expected float32, float64, integers or sympy"):
        three({(1, 1): weight})


def test_weights_may_be_off_by_rounding():
    three({(0, 2): 0.1, (1, 2): 0.2, (2, 2): 0.7})
    three({(0, 1): -0.5, (1, 1): 1.5})
    three({(0, 1): t, (1, 1): 1 - t})
    three({(0, 1): sympy.cos(t) ** 2, (1, 1): sympy.sin(t) ** 2})


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([ONE, Conv(np.ones((1, 2, 3, 3)))], r"layers\[1\] \(Conv\): in_shape: expected 2 channels .* got \(1, 4, 4\)"),
        ([Conv(np.ones((1, 1, 5, 5)))], r"layers\[0\] \(Conv\): kernel: expected at most 4 positions on an axis of 4"),
        ([Conv(np.ones((1, 1, 3)))], r"layers\[0\] \(Conv\): in_shape: .* with 1 spatial axes, got \(1, 4, 4\)"),
        ([Dense(np.ones((2, 15)))], r"layers\[0\] \(Dense\): in_shape: expected 15 entries .* got 16 from \(1, 4, 4\)"),
        ([], "layers: expected at least one layer, got none"),
    ],
)
def test_shapes_that_do_not_chain(layers, message):
    with pytest.raises(ValueError, match=message):
        SkipNetwork((1, 4, 4), layers)


def test_what_is_no_sequence_or_mapping():
    with pytest.raises(TypeError, match="layers: expected operations, got Conv"):
        SkipNetwork((1, 4, 4), ONE)
    with pytest.raises(TypeError, match="skip_weights: expected a mapping .* got list"):
        three([(0, 1, 0.5)])
    with pytest.raises(TypeError, match="skip_weights: expected a mapping .* got ndarray"):
        three(np.ones((2, 2)))
    with pytest.raises(ValueError, match="to sum to 1, got inf"):
        three({(0, 1): 1e308, (1, 1): 1e308})


def test_what_is_not_an_operation():
    with pytest.raises(TypeError, match=r"layers\[0\]: expected an operation such as Conv or Dense, got function"):
        SkipNetwork((1, 4, 4), [lambda x: x])


def test_a_skip_between_shapes_of_different_rank():
    layers = [Dense(np.ones((16, 16))), Dense(np.ones((2, 16)))]
    with pytest.raises(ValueError, match=r"skip_weights\[\(0, 1\)\]: .* same rank: expected 1 axes .* got \(1, 4, 4\)"):
        SkipNetwork((1, 4, 4), layers, {(0, 1): 0.5, (1, 1): 0.5})


def test_bad_mode_of_the_skips():
    with pytest.raises(ValueError, match="resample: expected one of 'nearest', .* got 'cubic'"):
        three(None, resample="cubic")


def test_shared_strength():
    assert shared_skip_weights([(0, 2), (1, 2), (0, 1)], 0.5) == {
        (0, 2): 0.25,
        (1, 2): 0.25,
        (2, 2): 0.5,
        (0, 1): 0.5,
        (1, 1): 0.5,
    }
    assert shared_skip_weights([(0, 1)], t) == {(0, 1): t, (1, 1): 1 - t}
    for bad in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="t: expected"):
            shared_skip_weights([(0, 1)], bad)
    with pytest.raises(ValueError, match="t: expected"):
        shared_skip_weights([(0, 1)], sympy.Rational(3, 2))
    for skips in ([(1, 1)], [(0, 1), (0, 1)], [(2, 1)], [(0, 1, 2)], [(-1, 1)], [(0.0, 1)], [(False, 1)]):
        with pytest.raises(ValueError, match="skips: expected different pairs of ints"):
            shared_skip_weights(skips, 0.5)


def test_symbolic_networks_take_numbers_exactly():
    network = SkipNetwork((1, 2), [Conv([[[t]]]), Conv([[[0.5]]])])
    assert network(np.array([[0.25, 1.0]])).tolist() == [[t / 8, t / 2]]


def test_repr():
    assert repr(three({(0, 2): 0.5, (2, 2): 0.5})) == (
        "SkipNetwork((1, 4, 4) -> (1, 4, 4): Conv, Conv, Conv; skips 0->3)"
    )
    assert repr(three(None).graph) == "AffineGraph((1, 4, 4) -> (1, 4, 4), 3 operations)"
