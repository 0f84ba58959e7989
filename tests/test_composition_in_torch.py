"""On torch tensors, an operation is a few calls of torch, not several for each tap; parameters are copied once.

That the results are those of numpy is tested for every operation of the table in `test_operations.py`, and for whole
networks by the judges.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from linalg_cnn import (
    AdaptiveAvgPool,
    AffineGraph,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
    Permute,
    Resample,
    Reshape,
    compose,
)
from linalg_cnn.arrays import computed_once, free_bytes, library, parameter_like, parameters_stay
from linalg_cnn.chunks import plan_chunks, sums_kept
from linalg_cnn.compose import pull_rows
from linalg_cnn.ops import taps
from linalg_cnn.types import size_of

VIEWS = {
    f"aten.{name}"
    for name in ("permute", "slice", "view", "_unsafe_view", "t", "detach", "alias", "expand", "lift_fresh")
}
"""Operations of torch that compute nothing."""


class Launches(TorchDispatchMode):
    """Keeps the names of the operations that compute something, and the weights of convolutions."""

    def __init__(self):
        super().__init__()
        self.names, self.weights = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function).rpartition(".")[0]
        if name not in VIEWS:
            self.names.append(name)
        if name == "aten.convolution":
            self.weights.append(args[1])
        return function(*args, **(kwargs or {}))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float64)


CONVOLUTIONS = {
    "padded": Conv(drawn(6, 4, 3, 3), padding=1),
    "strided, with rows that no window reaches": Conv(drawn(6, 4, 3, 3), stride=4, padding=1),
    "dilated and grouped": Conv(drawn(6, 2, 3, 3), dilation=2, groups=2, padding=(2, 0)),
    "same with an even kernel, whose odd zero goes after": Conv(drawn(6, 4, 4, 2), padding="same"),
    "padded by more than the kernel": Conv(drawn(6, 4, 2, 2), padding=5),
    "transposed": ConvTranspose(drawn(4, 6, 3, 3), stride=2, padding=1, output_padding=1),
    "transposed, with an output padding of more than a stride": ConvTranspose(
        drawn(4, 6, 2, 2), stride=1, dilation=3, output_padding=2
    ),
}


@pytest.mark.parametrize("operation", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_a_convolution_is_one_call_and_bit_for_bit_that_of_numpy(operation):
    x, y = drawn(3, 4, 9, 8), drawn(3, *operation.out_shape((4, 9, 8)), seed=1)
    with Launches() as launches:
        pushed, pulled = operation.push(torch.from_numpy(x)), operation.pull(torch.from_numpy(y), (4, 9, 8))
    assert launches.names.count("aten.convolution") == 2
    assert set(launches.names) <= {"aten.convolution", "aten.constant_pad_nd"}
    np.testing.assert_array_equal(pushed.numpy(), operation.push(x))
    np.testing.assert_array_equal(pulled.numpy(), operation.pull(y, (4, 9, 8)))


def carried(operation, in_shape):
    """Assert that a batch of tensors is pushed and pulled as arrays are, bit for bit; return the launches."""
    x, y = drawn(3, *in_shape), drawn(3, *operation.out_shape(in_shape), seed=1)
    with Launches() as launches:
        pushed, pulled = operation.push(torch.from_numpy(x)), operation.pull(torch.from_numpy(y), in_shape)
    np.testing.assert_array_equal(pushed.numpy(), operation.push(x))
    np.testing.assert_array_equal(pulled.numpy(), operation.pull(y, in_shape))
    return launches


LIVE = {
    "the last maps of a ResNet": (Conv(drawn(6, 4, 3, 3), padding=1), (1, 1), (1, 1)),
    "the stride before them": (Conv(drawn(6, 4, 3, 3), padding=1, stride=2), (2, 2), (2, 2)),
    "one axis alone": (Conv(drawn(6, 4, 3, 3), padding=1), (1, 9), (1, 3)),
    "a large kernel": (Conv(drawn(6, 4, 7, 7), padding=3, stride=2), (4, 3), (6, 5)),
    "a wide dilation": (Conv(drawn(6, 2, 3, 3), padding=12, dilation=12, groups=2), (7, 12), (1, 1)),
    "a wide dilation that just meets the image": (Conv(drawn(6, 4, 3, 3), padding=12, dilation=12), (7, 13), (1, 3)),
    "same with an even kernel": (Conv(drawn(6, 4, 4, 4), padding="same"), (1, 2), (1, 3)),
    "less padding than the kernel has dead taps": (
        Conv(drawn(6, 4, 2, 2), padding=(3, 2), dilation=(4, 2), stride=5),
        (2, 1),
        (2, 1),
    ),
    "dead taps at the end, without which there were a further window": (
        Conv(drawn(6, 4, 2, 2), padding=2, stride=(2, 1)),
        (1, 1),
        (2, 2),
    ),
    "no live tap": (Conv(drawn(6, 4, 2, 2), padding=1, dilation=2, stride=3), (1, 1), (2, 2)),
    "three axes": (Conv(drawn(6, 4, 3, 3, 3), padding=1), (1, 2, 1), (1, 3, 1)),
    "transposed": (ConvTranspose(drawn(4, 6, 3, 3), padding=1, stride=2), (1, 2), (1, 3)),
    "transposed, with an output padding": (
        ConvTranspose(drawn(4, 6, 5, 5), padding=2, stride=2, output_padding=1),
        (1, 2),
        (2, 5),
    ),
}


@pytest.mark.parametrize(("operation", "sizes", "taps"), LIVE.values(), ids=LIVE)
def test_torch_gets_the_taps_that_meet_the_image(operation, sizes, taps):
    launches = carried(operation, (4, *sizes))
    assert [weight.shape[2:] for weight in launches.weights] == [taps] * 2


def test_a_zero_that_only_a_dead_tap_reads_is_not_padded():
    operation = Conv(drawn(6, 4, 4), padding="same")
    assert "aten.constant_pad_nd" not in carried(operation, (4, 2)).names
    assert "aten.constant_pad_nd" in carried(operation, (4, 3)).names


@st.composite
def small_images(draw):
    """Draw a convolution, or a transposed one, and an image whose padding most of its taps may read."""
    axes = draw(st.integers(1, 2))
    sizes, taps, stride, dilation = (tuple(draw(st.integers(1, most)) for _ in range(axes)) for most in (6, 6, 4, 5))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, taps, strict=True)]
    groups = draw(st.sampled_from([1, 2]))
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    if draw(st.booleans()):
        output_padding = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
        full = [(n - 1) * s + r + o for n, s, r, o in zip(sizes, stride, reach, output_padding, strict=True)]
        padding = tuple(draw(st.integers(0, (n - 1) // 2)) for n in full)
        operation = ConvTranspose(drawn(2, 3, *taps), padding=padding, output_padding=tuple(output_padding), **options)
    elif draw(st.booleans()):
        operation = Conv(drawn(4, 2 // groups, *taps), padding="same", **options | {"stride": 1})
    else:
        least = [max(0, -((n - r) // 2)) for n, r in zip(sizes, reach, strict=True)]
        padding = tuple(draw(st.integers(p, p + 6)) for p in least)
        operation = Conv(drawn(4, 2 // groups, *taps), padding=padding, **options)
    return operation, (2, *sizes)


@given(small_images())
def test_whatever_taps_torch_gets_are_enough(case):
    operation, in_shape = case
    launches = carried(operation, in_shape)
    # A zero of "same" is missing for the whole kernel, too; a transposed convolution pads nothing.
    padded = "aten.constant_pad_nd" in launches.names
    assert not padded or (isinstance(operation, Conv) and operation.padding == "same")
    sizes = [weight.shape[2:] for weight in launches.weights]
    assert len(sizes) == 2
    assert sizes[0] == sizes[1]


def test_a_padding_that_copies_pixels_is_a_product_along_each_axis():
    operation = Conv(drawn(6, 4, 3, 3), padding=1, padding_mode="circular")
    y = drawn(3, 6, 9, 8)
    with Launches() as launches:
        pulled = operation.pull(torch.from_numpy(y), (4, 9, 8))
    assert launches.names.count("aten.convolution") == 1
    assert len(launches.names) == 1 + 2  # a product for each axis
    np.testing.assert_array_equal(pulled.numpy(), operation.pull(y, (4, 9, 8)))


@pytest.mark.parametrize(
    "operation",
    [
        AvgPool(3, stride=2, padding=1),
        AvgPool(3, stride=2, padding=1, count_include_pad=False),
        AdaptiveAvgPool(4),
        Resample((5, 7), "linear"),
        Resample((20, 21), "nearest"),
    ],
    ids=repr,
)
def test_pooling_and_resampling_are_one_product_for_each_axis(operation):
    x, y = drawn(3, 4, 9, 8), drawn(3, *operation.out_shape((4, 9, 8)))
    with Launches() as launches:
        pushed, pulled = operation.push(torch.from_numpy(x)), operation.pull(torch.from_numpy(y), (4, 9, 8))
    products = [name for name in launches.names if name in {"aten.mm", "aten.bmm"}]
    assert len(products) == 4  # two axes, there and back
    assert len(launches.names) <= 2 * 4  # for each a product, and a copy of its result
    np.testing.assert_allclose(pushed.numpy(), operation.push(x), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(pulled.numpy(), operation.pull(y, (4, 9, 8)), rtol=1e-14, atol=1e-13)


def test_zeros_are_padded_by_copying_and_not_by_a_product():
    with Launches() as launches:
        Pad(1).push(torch.ones(3, 4, 9, 8, dtype=torch.float64))
    assert not {"aten.mm", "aten.bmm"} & set(launches.names)


def test_a_long_axis_is_walked_tap_by_tap_since_its_matrix_would_be_mostly_zeros():
    operation, x = AvgPool(2), drawn(1, 1, 2000)
    y = operation.push(x)
    with Launches() as launches:
        pushed, pulled = operation.push(torch.from_numpy(x)), operation.pull(torch.from_numpy(y), (1, 2000))
    assert not {"aten.mm", "aten.bmm"} & set(launches.names)
    np.testing.assert_array_equal(pushed.numpy(), y)
    np.testing.assert_array_equal(pulled.numpy(), operation.pull(y, (1, 2000)))


def test_four_spatial_axes_are_walked_tap_by_tap_since_torch_has_no_such_convolution():
    operation, x = Conv(drawn(2, 3, 2, 2, 2, 2)), drawn(2, 3, 3, 3, 3, 3)
    y = operation.push(x)
    np.testing.assert_array_equal(operation.push(torch.from_numpy(x)).numpy(), y)
    np.testing.assert_array_equal(
        operation.pull(torch.from_numpy(y), x.shape[1:]).numpy(), operation.pull(y, x.shape[1:])
    )


def small_network():
    graph = AffineGraph((2, 6, 6))
    graph.add(Conv(drawn(3, 2, 3, 3), bias=drawn(3), padding=1), 0)
    graph.add(Dense(drawn(40, 108), bias=drawn(40)), 1)
    return graph


def test_parameters_are_copied_once_for_all_chunks(monkeypatch):
    graph, copied = small_network(), []
    kernel = graph.nodes[0].operation.kernel

    class Torch:
        nn, cat = torch.nn, torch.cat

        @staticmethod
        def from_numpy(array):
            copied.append(array.shape)
            return torch.from_numpy(array)

    monkeypatch.setattr("linalg_cnn.arrays.library", lambda x: Torch)
    monkeypatch.setattr(taps, "library", lambda x: torch)
    monkeypatch.setattr("linalg_cnn.arrays.free_bytes", lambda x: None)
    few = 8 * (40 * 72 + 3 * graph.largest_state("adjoint"))
    chunks = []
    affine = compose(graph, max_bytes=few, to_device=lambda units: chunks.append(units) or torch.from_numpy(units))
    assert len(chunks) > 5
    assert sorted(copied) == [(3,), (3, 2, 3, 3), (40,), (40, 108)]
    np.testing.assert_array_equal(affine.W, compose(graph).W)
    kernel[:] = 0  # the next composition sees a kernel that was changed
    assert not compose(graph, to_device=torch.from_numpy).W.any()


def test_of_a_kernel_only_the_taps_that_meet_the_image_are_copied_and_once():
    kernel = drawn(4, 4, 3, 3).astype(np.float32)  # which is copied on the CPU, too, for products in float64
    operation, y = Conv(kernel, padding=1), torch.ones(1, 4, 1, 1, dtype=torch.float64)
    with parameters_stay(), Launches() as launches:
        for _ in range(2):
            operation.pull(y, (4, 1, 1))
    assert launches.names.count("aten._to_copy") == 1
    first, second = launches.weights
    assert first is second
    assert first.untyped_storage().nbytes() == 8 * 4 * 4
    operation.kernel[:] = 0  # outside of the context, a kernel that was changed is seen
    assert not operation.pull(y, (4, 1, 1)).any()


def deep_network():
    graph = AffineGraph((2, 6, 6))
    value = 0
    for seed in range(5):
        value = graph.add(Conv(drawn(2, 2, 3, 3, seed=seed), padding=1), value)
        value = graph.add(BatchNorm(drawn(2), drawn(2), drawn(2), [1, 2]), value)
    value = graph.add(AvgPool(2), value)
    value = graph.add(Permute((1, 2, 0)), value)
    graph.add(Dense(drawn(3, 18), bias=drawn(3)), graph.add(Reshape((18,)), value))
    return graph


def test_a_second_composition_copies_no_parameter_and_has_one_product_for_all_biases():
    graph, units = deep_network(), torch.eye(3, dtype=torch.float64)
    with parameters_stay():
        first = pull_rows(graph, units)
        with Launches() as launches:
            W, B = pull_rows(graph, units)
    assert "aten._to_copy" not in launches.names
    assert launches.names.count("aten.convolution") == 5
    assert launches.names.count("aten.mv") == 1
    assert launches.names.count("aten.sum") == 5
    assert torch.equal(W, first[0])
    assert torch.equal(B, first[1])
    np.testing.assert_allclose(B.numpy(), compose(graph).B, rtol=1e-12)
    np.testing.assert_allclose(B.numpy(), graph(np.zeros(graph.in_shape)), rtol=1e-12)


def test_sums_for_biases_wait_within_a_quarter_of_the_largest_value():
    graph = AffineGraph((9,))
    for seed in range(20):
        graph.add(Dense(drawn(9, 9, seed=seed), bias=drawn(9, seed=seed)), seed)
    assert sums_kept(graph) == 2  # so that each of the biases is multiplied at once
    with Launches() as launches:
        W, B = pull_rows(graph, torch.eye(9, dtype=torch.float64))
    assert launches.names.count("aten.mv") == 20
    assert "aten.cat" not in launches.names
    np.testing.assert_allclose(B.numpy(), graph(np.zeros(9)), rtol=1e-12)
    np.testing.assert_array_equal(W.numpy(), compose(graph).W)


def test_without_the_context_a_changed_parameter_is_seen():
    graph, units = deep_network(), torch.eye(3, dtype=torch.float64)
    before = pull_rows(graph, units)[1]
    graph.nodes[1].operation.bias[:] += 1
    after = pull_rows(graph, units)[1]
    assert not torch.equal(before, after)
    np.testing.assert_allclose(after.numpy(), graph(np.zeros(graph.in_shape)), rtol=1e-12)


def test_results_of_two_owners_or_names_are_not_mixed_up():
    one, other = drawn(2), drawn(2)
    with parameters_stay():
        assert computed_once(one, "sum", lambda: 1) == 1
        assert computed_once(one, "sum", lambda: 2) == 1
        assert computed_once(one, "product", lambda: 3) == 3
        assert computed_once(other, "sum", lambda: 4) == 4
    assert computed_once(one, "sum", lambda: 5) == 5


def test_threads_that_compute_at_the_same_time_get_the_same_result():
    owner, both = drawn(2), threading.Barrier(2, timeout=60)

    def compute():
        both.wait()  # so that each thread has found nothing
        return object()

    with parameters_stay(), ThreadPoolExecutor(2) as pool:
        tasks = [pool.submit(copy_context().run, computed_once, owner, "object", compute) for _ in range(2)]
        one, other = (task.result() for task in tasks)
        assert one is other
        assert computed_once(owner, "object", compute) is one


def test_copies_are_kept_within_the_outermost_context_alone():
    values, x = drawn(2, 3), torch.ones(1, dtype=torch.float64)
    with parameters_stay():
        with parameters_stay():
            first = parameter_like(values, x)
        assert parameter_like(values, x) is first
        assert parameter_like(drawn(2, 3), x) is not first
    assert parameter_like(values, x) is not first


def test_parameters_have_the_dtype_of_the_tensor_and_may_be_read_only():
    values = drawn(2, 3).astype(np.float32)
    values.flags.writeable = False
    tensor = parameter_like(values, torch.ones(1, dtype=torch.float64))
    assert tensor.dtype == torch.float64
    np.testing.assert_array_equal(tensor.numpy(), values)


def test_the_library_of_a_tensor_is_torch():
    assert library(torch.ones(1)) is torch
    assert library(torch.nn.Parameter(torch.ones(1))) is torch


def test_a_chunk_takes_half_of_an_accelerators_free_memory():
    graph = small_network()
    per_vector = 8 * (graph.largest_state("adjoint") + sums_kept(graph))
    assert plan_chunks(graph, "adjoint", None, alone=True, free=14 * per_vector) == (graph.out_shape, 7, 1)
    assert plan_chunks(graph, "adjoint", None, alone=True, free=2**40).size == 40
    assert plan_chunks(graph, "adjoint", None, alone=True, free=0).size == 1
    limit = 8 * 40 * size_of(graph.in_shape) + 5 * per_vector
    assert plan_chunks(graph, "adjoint", limit, alone=True, free=2**40).size == 5


def test_the_free_memory_is_that_of_a_cuda_device_and_what_torch_keeps_for_new_tensors(monkeypatch):
    """Each number is that of the tensor's device: 500 free bytes, and 70 kept of which tensors take 20."""
    assert free_bytes(torch.ones(1)) is None
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * device, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 14 * device)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 4 * device)
    monkeypatch.setattr("linalg_cnn.arrays.library", lambda x: torch)
    assert free_bytes(SimpleNamespace(is_cuda=True, device=5)) == 500 + 70 - 20
