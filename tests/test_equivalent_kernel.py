"""The kernel of a map that is one convolution, and where a map is not one. Torch is the judge."""

import sys

import numpy as np
import pytest
import scipy.sparse
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from linalg_cnn import AffineMap, AvgPool, Conv, Dense, Pad, SkipNetwork, central_kernel, compose, equivalent_kernel

# torch warns that an even kernel with padding="same" costs a copy
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

RNG = np.random.default_rng(0)


def in_torch(x, conv):
    """A convolution as torch computes it, from its fields alone."""
    function = getattr(torch.nn.functional, f"conv{x.ndim - 2}d")
    bias = None if conv.bias is None else torch.from_numpy(conv.bias)
    return function(
        torch.from_numpy(x),
        torch.from_numpy(np.ascontiguousarray(conv.kernel)),
        bias,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
    ).numpy()


@st.composite
def convolutions(draw):
    """A torch convolution with integer weights, and the shape of an image; the strides are smaller than the image."""
    axes = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(4, 9 - axes), min_size=axes, max_size=axes))
    per_axis = {
        "taps": st.integers(1, 3),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 2),
        "padding": st.integers(0, 3),
    }
    drawn = {name: tuple(draw(st.lists(values, min_size=axes, max_size=axes))) for name, values in per_axis.items()}
    taps = tuple(min(k, 1 + (n - 1) // d) for k, n, d in zip(drawn["taps"], sizes, drawn["dilation"], strict=True))
    groups, outs, ins = (draw(st.integers(1, 2)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = rng.integers(-8, 8, (groups * outs, ins, *taps)).astype(float)
    bias = draw(st.sampled_from([None, np.arange(groups * outs) - 1.0]))
    padding = drawn["padding"]
    if set(drawn["stride"]) == {1} and draw(st.booleans()):
        padding = "same"
    options = {"stride": drawn["stride"], "dilation": drawn["dilation"], "groups": groups, "padding": padding}
    return Conv(kernel, bias, **options), (groups * ins, *sizes)


@given(convolutions(), st.sampled_from(["dense", "sparse"]))
def test_the_convolution_found_computes_in_torch_what_the_one_that_made_the_map_does(drawn, form):
    conv, in_shape = drawn
    found = equivalent_kernel(compose(SkipNetwork(in_shape, [conv]), form=form))
    x = np.random.default_rng(0).integers(-4, 4, (2, *in_shape)).astype(float)
    np.testing.assert_array_equal(in_torch(x, found), in_torch(x, conv))
    assert found.groups % conv.groups == 0  # weights of zero may separate more channels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 2},
        {"padding": "same"},
        {"dilation": 2, "padding": 2},
        {"groups": 2, "stride": 3, "padding": 1},
    ],
)
def test_stride_padding_dilation_and_groups_are_those_of_the_convolution(options):
    kernel = RNG.integers(1, 9, (4, 4 // options.get("groups", 1), 3, 2)).astype(float)
    conv = Conv(kernel, np.array([1.0, 2.0, 3.0, 4.0]), **options)
    found = equivalent_kernel(compose(SkipNetwork((4, 12, 13), [conv])))
    np.testing.assert_array_equal(found.kernel, conv.kernel)
    np.testing.assert_array_equal(found.bias, conv.bias)
    for name in ("stride", "padding", "dilation", "groups"):
        assert getattr(found, name) == getattr(conv, name), name


def test_a_pooling_after_a_convolution_is_one_convolution_of_larger_stride():
    net = SkipNetwork((2, 10, 9), [Conv(RNG.normal(size=(3, 2, 3, 3))), AvgPool(2)])
    found = equivalent_kernel(net.compose())
    assert (found.kernel.shape, found.stride) == ((3, 2, 4, 4), (2, 2))
    x = RNG.normal(size=(2, 2, 10, 9))
    np.testing.assert_allclose(in_torch(x, found), net(x), rtol=1e-12, atol=1e-12)


def test_a_border_that_is_wider_on_one_side_is_made_up_for_by_taps_of_zeros():
    net = SkipNetwork((1, 8), [Pad([(0, 2)]), Conv([[[1.0, 2.0, 3.0]]], stride=2)])
    found = equivalent_kernel(net.compose())
    x = RNG.integers(0, 9, (1, 1, 8)).astype(float)
    np.testing.assert_array_equal(in_torch(x, found), net(x))


def test_letters_stay_exact():
    a, b, c = sympy.symbols("a b c")
    blur, edge = Conv([[[a, b]]]), Conv([[[1, c]]], bias=[a])
    found = equivalent_kernel(SkipNetwork((1, 6), [blur, edge]).compose())
    assert found.kernel.ravel().tolist() == [a, a * c + b, b * c]
    assert found.bias.tolist() == [a]
    padded = Conv([[[a, b, c]]], padding=1)
    with pytest.raises(ValueError, match=r"at 2 of 5 output positions, most by -a\*c at output channel 0, pos.*\(0,\)"):
        equivalent_kernel(SkipNetwork((1, 5), [padded, padded]).compose())


@pytest.mark.parametrize("seed", range(2))
def test_a_map_that_is_no_convolution_is_compared_with_a_single_one(seed, monkeypatch):
    """Strides that shift whole kernels out of sight were tried, too, with kernels as large as the image."""
    tried = []
    found = central_kernel.central_convolution

    def counted(rows, in_shape, out_shape, strides, *rest):
        tried.append(strides)
        return found(rows, in_shape, out_shape, strides, *rest)

    monkeypatch.setattr(sys.modules["linalg_cnn.equivalent_kernel"], "central_convolution", counted)
    rng = np.random.default_rng(seed)
    padded = [Conv(rng.normal(size=(2, c, 3, 3)), padding=1) for c in (1, 2)]
    dense = AffineMap(rng.normal(size=(144, 144)), np.zeros(144), (1, 12, 12), (1, 12, 12))
    for affine in (SkipNetwork((1, 12, 12), padded).compose(), dense):
        with pytest.raises(ValueError, match="expected a map that is one convolution"):
            equivalent_kernel(affine)
    assert tried == [(1, 1), (1, 1)]


@pytest.mark.parametrize("mode", ["reflect", "replicate"])
def test_a_border_that_copies_pixels_is_no_convolution(mode):
    conv = Conv(RNG.integers(1, 9, (1, 1, 3, 3)).astype(float), padding=1, padding_mode=mode)
    with pytest.raises(ValueError, match=r"differs from it at 20 of 36 output positions, .* of stride \(1, 1\)"):
        equivalent_kernel(compose(SkipNetwork((1, 6, 6), [conv]), form="sparse"))


def test_a_circular_border_is_a_border_of_zeros_for_a_kernel_that_reaches_across_the_image():
    conv = Conv(np.array([[[1.0, 2.0, 3.0]]]), padding=1, padding_mode="circular")
    found = equivalent_kernel(SkipNetwork((1, 5), [conv]).compose())
    np.testing.assert_array_equal(found.kernel, [[[3, 0, 0, 1, 2, 3, 0, 0, 1]]])


def test_the_error_names_the_entry_that_is_furthest_off():
    W = Conv([[[1.0, 2.0, 1.0]]], padding=1).matrix((1, 7)).toarray()
    W[3, 5], W[0, 2] = 0.25, -4
    worst = r"most by -4.25 at .*, position \(0,\): the weight of .*, position \(2,\) is -4, where .* has 0.25"
    with pytest.raises(ValueError, match=worst):
        equivalent_kernel(AffineMap(W, np.zeros(7), (1, 7), (1, 7)))


def test_a_bias_that_differs_between_positions_is_no_convolution():
    W = np.eye(6)
    with pytest.raises(
        ValueError, match=r"bias is the same at all .* differs by 0.5 at output channel 1, position \(0,\)"
    ):
        equivalent_kernel(AffineMap(W, [0, 0, 0, 0.5, 0, 0.5], (2, 3), (2, 3)))
    with pytest.raises(ValueError, match=r"differs by -0.5 at output channel 1, position \(0,\)"):
        equivalent_kernel(AffineMap(W, [0, 0, 0, 0, 0.5, 0], (2, 3), (2, 3)))


def test_the_zero_map_is_a_convolution_of_one_zero():
    found = equivalent_kernel(AffineMap(scipy.sparse.csr_array((6, 8)), np.zeros(6), (2, 4), (2, 3)))
    assert not found.kernel.any()
    assert found.bias is None
    assert found.out_shape((2, 4)) == (2, 3)


def test_a_tolerance_lets_small_differences_pass():
    W = Conv([[[1.0, 2.0, 1.0]]], padding=1).matrix((1, 7)).toarray()
    W[0, 0] += 1e-6
    image = AffineMap(W, np.zeros(7), (1, 7), (1, 7))
    with pytest.raises(ValueError, match="most by 1e-06"):
        equivalent_kernel(image)
    np.testing.assert_array_equal(equivalent_kernel(image, tolerance=1e-5).kernel, [[[1, 2, 1]]])
    single = AffineMap(W.astype(np.float32), np.zeros(7, np.float32), (1, 7), (1, 7))
    assert equivalent_kernel(single).kernel.dtype == np.float32  # 1e-6 is below the rounding of float32
    for wrong in (-1, np.nan, "a", [0.1]):
        with pytest.raises(ValueError, match="tolerance: expected a number of at least 0, got "):
            equivalent_kernel(image, tolerance=wrong)


def test_maps_that_are_not_between_images_are_refused_by_name():
    with pytest.raises(TypeError, match="affine_map: expected an AffineMap, got ndarray"):
        equivalent_kernel(np.eye(3))
    with pytest.raises(
        ValueError, match=r"affine_map: expected a map with in_shape, .* AffineMap\(W, B, in_shape, out"
    ):
        equivalent_kernel(AffineMap(np.eye(3), np.zeros(3)))
    with pytest.raises(ValueError, match="affine_map: expected a map with out_shape"):
        equivalent_kernel(AffineMap(np.eye(3), np.zeros(3), in_shape=(1, 3)))
    dense = SkipNetwork((1, 2, 2), [Dense(np.eye(4))]).compose()
    with pytest.raises(ValueError, match=r"the same spatial axes, got \(1, 2, 2\) and \(4,\)"):
        equivalent_kernel(dense)
