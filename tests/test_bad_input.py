"""Bad input gets an error that names the argument, what was expected and what came."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import sympy
import torch

from linalg_cnn import (
    AffineGraph,
    AffineMap,
    AvgPool,
    BatchNorm,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
    Permute,
    Reshape,
    SkipNetwork,
    Slice,
    WeightedSum,
    adaptive_avg_pool_matrix,
    avg_pool_matrix,
    conv_matrix,
    conv_transpose_matrix,
    pad_matrix,
    resample_matrix,
    symbolic,
)


@pytest.mark.parametrize(
    "make",
    [lambda: Conv([[[1.0, 1.0]]]), lambda: Dense([[1.0, 1.0, 1.0]]), lambda: AffineMap([[1.0, 1.0, 1.0]], [0.0])],
    ids=["conv", "dense", "map"],
)
def test_data_with_a_mask_are_refused_and_other_subclasses_are_arrays(make):
    with pytest.raises(TypeError, match="x: expected .* got a masked array"):
        make()(np.ma.array(np.ones((1, 1, 3)), mask=[[[0, 1, 0]]]))
    kept = np.ones((1, 1, 3)).view(type("Kept", (np.ndarray,), {}))
    assert type(make()(kept)) is np.ndarray


KERNEL = np.ones((2, 2, 3, 3))
SHAPE = (2, 5, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride: expected an int of at least 1, got 0"),
        ({"stride": -1}, "stride: expected an int of at least 1, got -1"),
        ({"stride": True}, "stride: expected an int of at least 1, got True"),
        ({"stride": np.True_}, "stride: expected an int of at least 1, got"),
        ({"stride": 1.5}, "stride: expected an int of at least 1, got 1.5"),
        ({"stride": "2"}, "stride: expected an int of at least 1, got '2'"),
        ({"stride": (1, 2, 3)}, r"stride: expected an int or 2 ints, one per spatial axis, got \(1, 2, 3\)"),
        ({"stride": (1, 0)}, r"stride\[1\]: expected an int of at least 1, got 0"),
        ({"dilation": 0}, "dilation: expected an int of at least 1, got 0"),
        ({"padding": -1}, "padding: expected an int of at least 0, got -1"),
        ({"padding": "full"}, "padding: expected one of 'same', 'valid', got 'full'"),
        ({"padding": "same", "stride": 2}, 'stride: expected 1 with padding="same", got'),
        ({"groups": 0}, "groups: expected an int of at least 1, got 0"),
        ({"groups": 3}, "groups: expected a divisor of the 2 output channels, got 3"),
        ({"padding_mode": "constant"}, "padding_mode: expected one of 'zeros', .* got 'constant'"),
        ({"padding_mode": "reflect", "padding": 5}, "padding: expected at most 4 on a side in mode 'reflect'"),
        ({"padding_mode": "circular", "padding": 6}, "padding: expected at most 5 on a side in mode 'circular'"),
        ({"dilation": 3}, r"kernel: expected at most 5 positions on an axis of 5 .* got 7 \(3 taps, dilation 3\)"),
        ({"groups": 2}, "in_shape: expected 4 channels .* with groups=2, got"),
    ],
)
def test_conv_options(options, message):
    with pytest.raises(ValueError, match=message):
        conv_matrix(KERNEL, SHAPE, **options)


@pytest.mark.parametrize(
    ("in_shape", "message"),
    [
        ((2, 5), r"in_shape: expected \(channels, \*spatial\) with 2 spatial axes, got \(2, 5\)"),
        ((3, 5, 5), "in_shape: expected 2 channels"),
        ((2, 5, 0), r"in_shape\[2\]: expected an int of at least 1, got 0"),
        ((2, 5, True), r"in_shape\[2\]: expected an int of at least 1, got True"),
        ((2, 2, 5), "kernel: expected at most 2 positions on an axis of 2"),
        (50, r"in_shape: expected a shape \(channels, \*spatial\), got 50"),
        ((), r"in_shape: expected a shape \(channels, \*spatial\), got \(\)"),
    ],
)
def test_conv_shapes(in_shape, message):
    with pytest.raises(ValueError, match=message):
        conv_matrix(KERNEL, in_shape)


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128, np.longdouble, bool, "U1", "M8[s]"])
def test_kernels_of_a_wrong_dtype(dtype):
    with pytest.raises(TypeError, match=r"kernel: expected float32, float64, integers or sympy .* got dtype"):
        conv_matrix(np.ones((1, 1, 2)).astype(dtype), (1, 4))


@pytest.mark.parametrize("entry", [None, "a", Fraction(1, 2), 1, [1], True])
def test_objects_that_are_not_sympy(entry):
    kernel = np.empty((1, 1, 2), dtype=object)
    kernel[0, 0, 0], kernel[0, 0, 1] = entry, entry
    with pytest.raises(TypeError, match="kernel: .* got dtype object with entries of type"):
        conv_matrix(kernel, (1, 4))


def test_one_stray_object_among_symbols():
    with pytest.raises(TypeError, match="kernel: .* entries of type float"):
        conv_matrix(np.array([[[sympy.Symbol("a"), 0.5]]], dtype=object), (1, 4))
    mixed = conv_matrix(np.array([[[sympy.Symbol("a"), Fraction(1, 2)]]], dtype=object), (1, 2))
    assert mixed[1] == sympy.Rational(1, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, sympy.oo, sympy.zoo, sympy.nan])
def test_kernels_that_are_not_finite(bad):
    """torch answers NaN everywhere, and a matrix would silently drop the taps that fall on padding."""
    with pytest.raises(ValueError, match="kernel: expected finite entries, got"):
        conv_matrix([[[1, bad]]], (1, 4), padding=1)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ones((2, 2)), r"kernel: expected \(C_out, C_in / groups, \*k\) .* got \(2, 2\)"),
        (np.ones((0, 2, 3)), r"kernel: expected at least one entry along every axis, got shape \(0, 2, 3\)"),
        ([[[1, 2], [3]]], "kernel: expected a rectangular array, got rows of different lengths"),
    ],
)
def test_malformed_kernels(kernel, message):
    with pytest.raises(ValueError, match=message):
        conv_matrix(kernel, (2, 5))


def test_biases():
    with pytest.raises(ValueError, match=r"bias: expected one entry per output channel \(2\), got shape \(3,\)"):
        Conv(KERNEL, np.ones(3))
    with pytest.raises(ValueError, match=r"bias: expected 1 axes, got shape \(2, 1\)"):
        Conv(KERNEL, np.ones((2, 1)))
    with pytest.raises(ValueError, match=r"bias: expected one entry per output feature \(4\), got shape \(3,\)"):
        Dense(np.ones((4, 2)), np.ones(3))


@pytest.mark.parametrize(
    ("padding", "message"),
    [
        ((1, 1, 2, 2), r"padding: expected an int or one \(before, after\) pair .* got \(1, 1, 2, 2\)"),
        ([(1, 1)], r"padding: expected an int or 2 \(before, after\) pairs"),
        (True, "padding: expected an int or one"),
        (1.0, "padding: expected an int or one"),
        ([(1, 1.0), (1, 1)], "padding: expected an int or one"),
        ([(1, 1, 1), (1, 1)], "padding: expected an int or one"),
        (-3, r"padding: expected to leave at least one position, got \(-3, -3\) on an axis of 5"),
    ],
)
def test_padding(padding, message):
    with pytest.raises(ValueError, match=message):
        pad_matrix(SHAPE, padding)


def test_padding_modes():
    with pytest.raises(
        ValueError, match="mode: expected one of 'zeros', 'reflect', 'replicate', 'circular', 'symmetric', got 'wrap'"
    ):
        Pad(1, "wrap")
    with pytest.raises(ValueError, match="at most 3 on a side in mode 'circular' on an axis of 5"):
        pad_matrix((1, 5), [(4, -2)], "circular")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((6,), {}, "kernel_size: expected at most 5 on an axis of 5 padded by 0, got 6"),
        ((0,), {}, "kernel_size: expected an int of at least 1, got 0"),
        ((3,), {"padding": 2}, "padding: expected at most half of the kernel size 3, got 2"),
        ((3,), {"stride": 0}, "stride: expected an int of at least 1, got 0"),
        ((3,), {"divisor_override": 0}, "divisor_override: expected an int of at least 1, got 0"),
        (((3, 3, 3),), {}, "kernel_size: expected an int or 2 ints"),
    ],
)
def test_average_pooling(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        avg_pool_matrix(SHAPE, *arguments, **options)


def test_average_pooling_needs_an_image():
    with pytest.raises(ValueError, match=r"in_shape: expected \(channels, \*spatial\) with a spatial axis, got \(5,\)"):
        AvgPool(2).out_shape((5,))


def test_batch_norm():
    with pytest.raises(ValueError, match=r"running_var: expected running_var \+ eps > 0, got -1"):
        BatchNorm(None, None, [0], [-1.0], eps=0.0)
    with pytest.raises(ValueError, match="weight: expected 2 entries as running_mean has, got 3"):
        BatchNorm(np.ones(3), None, np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match=r"in_shape: expected 2 channels, got \(3, 4\)"):
        BatchNorm(None, None, np.zeros(2), np.ones(2)).out_shape((3, 4))
    with pytest.raises(ValueError, match="eps: expected finite entries, got nan"):
        BatchNorm(None, None, [0], [1], eps=np.nan)
    with pytest.raises(ValueError, match=r"^weight / sqrt\(running_var \+ eps\): expected finite entries, got inf"):
        BatchNorm([1.0, 1e200], [0.0, 0.0], [0.0, 0.0], [1.0, 1e-320], eps=0)
    with pytest.raises(ValueError, match=r"^weight / sqrt\(running_var \+ eps\): expected finite entries, got inf"):
        BatchNorm(*np.array([[1e30], [0], [0], [1e-40]], np.float32), eps=0)  # which float64 would hold
    with pytest.raises(ValueError, match=r"^bias - running_mean \* .*: expected finite entries, got -inf"):
        BatchNorm([1e200], [0.0], [1e200], [1.0], eps=0)


def test_graphs():
    graph = AffineGraph((1, 3))
    with pytest.raises(ValueError, match=r"node 0 \(Dense\): expected to read values 0 to 0, got \(1,\)"):
        graph.add(Dense(np.ones((2, 3))), 1)
    with pytest.raises(ValueError, match=r"head: in_shape: expected 4 entries in all"):
        graph.add(Dense(np.ones((2, 4))), 0, name="head")
    assert graph.nodes == []
    assert graph.out_shape == (1, 3)


@pytest.mark.parametrize("taps", [1, 2])  # the weights of a single tap already lie as the products read them
@pytest.mark.parametrize("kind", [Conv, ConvTranspose])
def test_a_frozen_layer_does_not_follow_its_arguments(kind, taps):
    kernel = np.ones((1, 1, taps))
    layer = kind(kernel)
    before = layer.matrix((1, 2)).toarray().tolist()
    kernel[:] = 7
    assert layer.matrix((1, 2)).toarray().tolist() == before


def test_large_entries_are_finite_even_if_their_sum_is_not():
    large = np.full((1, 1, 2), 3e38, np.float32)
    assert np.array_equal(Conv(large).kernel, large)
    large[0, 0, 1] = np.nan
    with pytest.raises(ValueError, match="kernel: expected finite entries, got nan"):
        Conv(large)


def test_zeros_that_stand_in_the_kernel_stay_stored():
    assert conv_matrix([[[0.0, 1.0]]], (1, 3)).nnz == 4
    assert conv_matrix([[[0.0, 1.0]]], (1, 3), padding=1, padding_mode="replicate").nnz == 6  # two taps met twice


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f8", ">f4", np.int8, np.uint64])
def test_dtypes_that_are_accepted(dtype):
    matrix = conv_matrix(np.ones((1, 1, 2), dtype), (1, 3))
    kept = {np.dtype(np.float32): np.float32, np.dtype(">f4"): np.float32}.get(np.dtype(dtype), np.float64)
    assert matrix.dtype == kept
    assert matrix.dtype.isnative


def test_resampling_needs_a_known_mode():
    with pytest.raises(
        ValueError,
        match="mode: expected one of 'nearest', 'nearest-exact', 'pillow', 'scikit-image', 'linear', got 'cubic'",
    ):
        resample_matrix((1, 3), 2, mode="cubic")


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(1, 1, 2, requires_grad=True),
        lambda: torch.ones(1, 1, 2, dtype=torch.bfloat16),
    ],
)
def test_tensors_that_numpy_cannot_take(make):
    with pytest.raises(TypeError, match="kernel: expected float32, float64, integers or sympy expressions, got Tensor"):
        conv_matrix(make(), (1, 4))


def test_plain_tensors_are_taken():
    assert conv_matrix(torch.ones(1, 1, 2), (1, 3)).dtype == np.float32
    assert Conv(torch.ones(1, 1, 2))(torch.ones(1, 1, 3)).tolist() == [[[2, 2]]]


@pytest.mark.parametrize(
    "x", [[["a", "b"]], np.ones((1, 1, 2), complex), [[None, 1]], np.ones((1, 1, 2), np.longdouble)]
)
def test_data_that_are_no_numbers(x):
    network = SkipNetwork((1, 2), [Conv([[[1.0]]])])
    with pytest.raises(TypeError, match="x: expected"):
        network(x)


def test_exact_integers_and_fractions_of_any_size():
    for entry in (2**53 + 1, 10**30, Fraction(1, 3)):
        assert symbolic.conv_matrix([[[entry]]], (1, 1))[0] == sympy.sympify(entry)
    assert symbolic.conv_matrix(sympy.Array([[[0.1]]]), (1, 1))[0] == sympy.Rational(0.1)
    with pytest.raises(TypeError, match="kernel: expected numbers or sympy expressions, got an entry of type str"):
        symbolic.conv_matrix(np.array([[["1"]]], dtype=object), (1, 1))
    with pytest.raises(TypeError, match="bias"):
        symbolic.conv_matrix([[[1]]], (1, 1), bias=[5])


@pytest.mark.parametrize("value", [2**41, 2**70])
def test_sizes_beyond_any_machine(value):
    with pytest.raises(ValueError, match="stride: expected an int of at most 1099511627776, got"):
        conv_matrix(KERNEL, SHAPE, stride=value)


def test_steps_longer_than_the_axis_are_never_taken():
    assert conv_matrix(KERNEL, (2, 3, 3), stride=2**40).shape == (2, 18)
    assert conv_matrix(np.ones((1, 1, 1)), (1, 3), dilation=2**40).toarray().tolist() == np.eye(3).tolist()


def test_large_indices_are_64_bits_wide():
    """An image has more pixels than int32 can number; the matrix has only a few entries."""
    matrix = conv_matrix(np.ones((1, 1, 1, 1)), (1, 2**16, 2**16), stride=2**15)
    assert matrix.shape == (4, 2**32)
    assert matrix.indices.tolist() == [0, 2**15, 2**31, 2**31 + 2**15]
    assert matrix.indices.dtype == np.int64
    selection = resample_matrix((1, 2**16, 2**16), 2)
    assert selection.indices.tolist() == [0, 2**15, 2**31, 2**31 + 2**15]
    assert selection.indices.dtype == np.int64


def test_options_given_as_arrays_and_lists_are_frozen():
    size = [2, 2]
    pool = AvgPool(size)
    size[0] = 3
    assert pool == AvgPool((2, 2)) == AvgPool(np.array([2, 2]))
    assert hash(pool) == hash(AvgPool((2, 2)))
    assert conv_matrix(KERNEL, SHAPE, stride=np.array(2)).shape == (8, 50)


@pytest.mark.parametrize("size", range(1, 12))
def test_average_pooling_rounds_each_share_once(size):
    assert set(avg_pool_matrix((1, 12, 12), (size, 5)).data) == {1 / (5 * size)}


@pytest.mark.parametrize(
    ("in_shape", "k", "stride"), [((1, 33000, 33000), (1, 1, 3, 3), 10000), ((1, 900, 900, 900), (1, 1, 3, 3, 3), 300)]
)
def test_joint_misses_do_not_wrap_around(in_shape, k, stride):
    """A tap that misses on every axis is numbered below -2**31, which int32 would wrap to the number of a pixel."""
    kernel = np.arange(1.0, 1 + np.prod(k)).reshape(k)
    matrix = conv_matrix(kernel, in_shape, stride=stride, padding=1)
    matrix.check_format()
    assert matrix.indices.max() < np.prod(in_shape)
    first = [np.ravel_multi_index((0, *q), in_shape) for q in np.ndindex((2,) * (len(k) - 2))]
    assert matrix.indices[: len(first)].tolist() == first
    assert matrix.data[: len(first)].tolist() == kernel[(0, 0, *[slice(1, None)] * (len(k) - 2))].ravel().tolist()


@pytest.mark.parametrize(
    "build",
    [
        lambda: conv_matrix(np.ones((8, 8, 3, 3)), (8, 28, 28), padding=1),
        lambda: conv_matrix(np.ones((1, 1, 3, 3)), (1, 300, 300), padding=1),
        lambda: conv_matrix(np.ones((1, 1, 9)), (1, 100_000), padding=4),
        lambda: conv_matrix(np.ones((1, 256, 3, 3)), (256, 33, 33), dilation=36, padding=36),
        lambda: conv_transpose_matrix(np.ones((1, 1, 16, 16)), (1, 40, 40), stride=8, padding=4),
        lambda: conv_transpose_matrix(np.ones((1, 1, 64, 64)), (1, 6, 6), stride=32),
        lambda: pad_matrix((8, 100, 100), 3),
        lambda: resample_matrix((8, 50, 50), 100),
        lambda: resample_matrix((8, 50, 50), 100, "linear"),
        lambda: avg_pool_matrix((8, 100, 100), 3, stride=2, padding=1),
        lambda: adaptive_avg_pool_matrix((8, 100, 100), 7),
    ],
)
def test_peak_memory_is_at_most_two_and_a_half_times_the_result(build):
    tracemalloc.start()
    try:
        matrix = build()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2.5 * sum(part.nbytes for part in (matrix.data, matrix.indices, matrix.indptr)) + 2**16


@pytest.mark.parametrize(
    "build",
    [
        lambda: resample_matrix((1, 2), 2**40),
        lambda: resample_matrix((1, 2), 2**40, "linear"),
        lambda: pad_matrix((1, 2**40), 1),
        lambda: pad_matrix((2**40, 2, 2), 0),
        lambda: conv_matrix(np.ones((1, 1, 3)), (1, 3), padding=2**40),
        lambda: conv_transpose_matrix(np.ones((1, 1, 3)), (1, 3), stride=2**40),
        lambda: avg_pool_matrix((1, 200_000), 100_000, stride=1),
        lambda: adaptive_avg_pool_matrix((1, 2), 2**40),
    ],
)
def test_axes_whose_tables_alone_are_too_large(build):
    with pytest.raises(MemoryError, match=r"the index table of [\d,]+ positions and [\d,]+ taps needs [\d,]+ bytes"):
        build()


@pytest.mark.parametrize("max_bytes", ["1GB", np.nan, True, -1, 1.5])
def test_limits_that_are_no_number_of_bytes(max_bytes):
    with pytest.raises(ValueError, match="max_bytes: expected an int of at least 0, got"):
        pad_matrix((1, 3), 1, max_bytes=max_bytes)


def test_float32_matrices_are_billed_as_float32():
    kernel = np.ones((1, 1, 3), np.float32)
    exactly = 2998 * 8 + 1001 * 4
    assert conv_matrix(kernel, (1, 1000), padding=1, max_bytes=exactly).nnz == 2998
    with pytest.raises(MemoryError, match="needs 27,988 bytes"):
        conv_matrix(kernel, (1, 1000), padding=1, max_bytes=exactly - 1)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: pad_matrix((1, 2), 2**70), "padding: expected at most 1099511627776, got"),
        (lambda: symbolic.conv_matrix([[[1], [1, 2]]], (1, 2)), "kernel: expected a rectangular array"),
        (lambda: AvgPool(2, ceil_mode="no"), "ceil_mode: expected True or False, got 'no'"),
        (lambda: AvgPool(2, count_include_pad=7), "count_include_pad: expected True or False, got 7"),
        (lambda: resample_matrix((1, 2), 3, "linear", "no"), "align_corners: expected True or False, got 'no'"),
        (lambda: Slice("a"), "start: expected an int of at least"),
        (lambda: Slice(stop=True), "stop: expected an int of at least"),
        (lambda: Permute((0.0, 1.0)), r"order\[0\]: expected an int of at least 0, got 0.0"),
        (lambda: Permute((True, 0)), r"order\[0\]: expected an int of at least 0, got True"),
        (lambda: WeightedSum([1.0]).matrices((0,)), r"in_shape\[0\]: expected an int of at least 1, got 0"),
        (lambda: Concatenate().matrices((-1,), (2,)), r"in_shape\[0\]: expected an int of at least 1, got -1"),
    ],
)
def test_other_arguments_that_cannot_be(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (np.ma.masked_array(np.ones((1, 1, 2)), mask=[[[True, False]]]), "kernel: .* got a masked array"),
        ([[[sympy.I, sympy.Integer(1)]]], "kernel: expected real numbers or real expressions, got I"),
        (np.array([[[True, sympy.Symbol("a")]]], dtype=object), "kernel: .* entries of type bool"),
    ],
)
def test_other_kernels_that_cannot_be(kernel, message):
    with pytest.raises(TypeError, match=message):
        conv_matrix(kernel, (1, 3))


def test_a_single_size_makes_a_vector():
    assert Reshape(4).out_shape((1, 2, 2)) == (4,)


def test_float32_batch_norms_stay_float32():
    one = np.ones(1, np.float32)
    assert BatchNorm(one, one, one, one, eps=np.float64(1e-5)).matrix((1, 2)).dtype == np.float32


def test_symbolic_operations_give_symbolic_matrices_and_take_numbers_exactly():
    a = sympy.Symbol("a")
    mix = WeightedSum([a, 1 - a])
    assert mix.matrices((1,), (1,)) == (sympy.Matrix([[a]]), sympy.Matrix([[1 - a]]))
    assert mix(np.array([[0.5]]), np.array([[0.5]])).tolist() == [[a / 2 + (1 - a) / 2]]
    with pytest.raises(TypeError, match="x: expected"):
        WeightedSum([1.0])(np.ones((1, 1), complex))
