"""Theorem 3.1: forward composition == adjoint composition == layer by layer == the printed recursion == torch."""

import sys
import threading
import tracemalloc
from functools import reduce
from operator import matmul

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import by_matrices, networks, real_networks
from operations.row import integers

from gpu import SkipCNN
from linalg_cnn import (
    AffineGraph,
    AffineMap,
    AvgPool,
    AxisSparse,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Resample,
    Reshape,
    SkipNetwork,
    WeightedSum,
    chunks,
    compose,
)
from linalg_cnn.types import size_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@given(network=networks(), data=st.data())
def test_everything_agrees_bit_for_bit(network, data):
    W, B = by_matrices(network)
    x = integers(data.draw, (3, *network.in_shape))
    expected = (x.reshape(3, -1) @ W.T + B).reshape(3, *network.out_shape)
    np.testing.assert_array_equal(network(x), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(SkipCNN.from_network(network)(torch.from_numpy(x)).numpy(), expected)
    for direction in ("forward", "adjoint"):
        for form in ("dense", "sparse"):
            affine = network.compose(direction, form)
            assert affine.sparse == (form == "sparse")
            np.testing.assert_array_equal(affine.toarray().W, W)
            np.testing.assert_array_equal(affine.B, B)
    assert (affine.in_shape, affine.out_shape) == (network.in_shape, network.out_shape)
    np.testing.assert_array_equal(network.compose().W, W)


@given(network=networks(ranks=(1, 2), max_layers=2))
def test_exact_composition_agrees(network):
    if size_of(network.in_shape) * size_of(network.out_shape) > 2000:
        return  # exact arithmetic is for small examples
    W, B = by_matrices(network)
    for direction in ("forward", "adjoint"):
        exact = compose(network, direction, "sympy")
        np.testing.assert_array_equal(np.array(exact.W.tolist(), dtype=float), W)
        np.testing.assert_array_equal(np.array(exact.B.tolist(), dtype=float).ravel(), B)


@given(network=real_networks(), seed=st.integers(0, 1000))
def test_real_weights_agree_within_rounding(network, seed):
    # Tolerance: 1e-12 of the largest value that the sums pass through, four layers of a few hundred terms.
    x = np.random.default_rng(seed).standard_normal((3, *network.in_shape))
    expected = network(x)
    scale = max(1.0, np.abs(expected).max())
    for direction in ("forward", "adjoint"):
        affine = network.compose(direction)
        scale = max(scale, np.abs(affine.W).sum(axis=1).max())
        got = affine(x.reshape(3, -1)).reshape(expected.shape)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * scale)
    with torch.inference_mode():
        theirs = SkipCNN.from_network(network)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-12 * scale)


@given(network=networks(max_layers=3))
def test_latent_map_is_all_but_the_last_layer(network):
    """The latent map does not depend on the weights into the last layer."""
    latent = network.latent()
    x = np.ones(network.in_shape)
    if len(network.layers) == 1:
        np.testing.assert_array_equal(latent.W, np.eye(size_of(network.in_shape)))
        np.testing.assert_array_equal(latent.B, 0)
        return
    depth = len(network.layers) - 1
    weights = {key: weight for key, weight in network.skip_weights.items() if key[1] < depth}
    shorter = SkipNetwork(network.in_shape, network.layers[:-1], weights, network.resample)
    np.testing.assert_array_equal(latent(x.ravel()), shorter(x).ravel())
    np.testing.assert_array_equal(latent.W, by_matrices(shorter)[0])


def test_equation_5_is_the_feed_forward_case():
    """Without skips W is the product of the W^(i), and B the sum of the B^(i) carried through what follows."""
    rng = np.random.default_rng(5)
    layers = [
        Conv(rng.integers(-3, 4, (2, 1, 3, 3)), rng.integers(-3, 4, 2), padding=1),
        Conv(rng.integers(-3, 4, (3, 2, 2, 2)), rng.integers(-3, 4, 3), stride=2),
        Dense(rng.integers(-3, 4, (4, 12)), rng.integers(-3, 4, 4)),
    ]
    network = SkipNetwork((1, 5, 4), layers)
    matrices = [layer.matrix(shape).toarray() for layer, shape in zip(layers, network.shapes, strict=False)]
    biases = [layer.bias_vector(shape) for layer, shape in zip(layers, network.shapes, strict=False)]
    W = reduce(matmul, reversed(matrices))
    B = sum(reduce(matmul, [*reversed(matrices[i + 1 :]), biases[i]]) for i in range(3))
    composed = network.compose()
    np.testing.assert_array_equal(composed.W, W)
    np.testing.assert_array_equal(composed.B, B)
    by_maps = reduce(matmul, [AffineMap(*pair) for pair in zip(reversed(matrices), reversed(biases), strict=True)])
    np.testing.assert_array_equal(by_maps.W, W)
    np.testing.assert_array_equal(by_maps.B, B)


def test_float32_parameters_are_composed_in_float64():
    kernel = np.full((1, 1, 3), 0.1, dtype=np.float32)
    network = SkipNetwork((1, 9), [Conv(kernel)] * 4)
    assert network(np.ones((1, 9), dtype=np.float32)).dtype == np.float32
    W = network.compose().W
    assert W.dtype == np.float64
    exact = np.linalg.multi_dot([Conv(kernel.astype(float)).matrix((1, n)).toarray() for n in (3, 5, 7, 9)])
    np.testing.assert_allclose(W, exact, rtol=1e-15)


def test_auto_carries_the_fewer_vectors():
    class Counting(Dense):
        calls: list[str] = []  # noqa: RUF012 - shared by all instances

        def push(self, x):
            self.calls.append(f"forward {len(x)}")
            return super().push(x)

        def pull(self, y, in_shape):
            self.calls.append(f"adjoint {len(y)}")
            return super().pull(y, in_shape)

    compose(SkipNetwork((5,), [Counting(np.ones((2, 5)))]))
    assert Counting.calls == ["adjoint 2"]  # two rows of W, and B with them
    Counting.calls.clear()
    compose(SkipNetwork((2,), [Counting(np.ones((5, 2)))]))
    assert Counting.calls == ["forward 2", "forward 1"]  # two columns of W, and B from the zero input


def test_a_value_read_by_several_and_one_read_by_none():
    graph = AffineGraph((2,))
    doubled = graph.add(Dense([[2, 0], [0, 2]]), 0)
    graph.add(Dense([[7, 7]]), doubled)  # nothing reads it
    graph.add(WeightedSum([1, 1, -3]), 0, doubled, doubled)
    for direction in ("forward", "adjoint"):
        np.testing.assert_array_equal(compose(graph, direction).W, -3 * np.eye(2))


def test_bad_arguments():
    network = SkipNetwork((1, 3), [Conv([[[1.0]]])])
    with pytest.raises(ValueError, match=r"direction: expected one of 'auto', 'forward', 'adjoint', got 'backward'"):
        compose(network, "backward")
    with pytest.raises(ValueError, match="form: expected one of 'dense', 'sparse', 'sympy', got 'full'"):
        compose(network, form="full")
    letters = SkipNetwork((1, 3), [Conv([[[sympy.Symbol("a")]]])])
    with pytest.raises(ValueError, match="form: expected \"sympy\" for a network that holds sympy .* got 'dense'"):
        compose(letters, form="dense")


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
def test_what_cannot_fit_is_refused_before_memory_is_taken(direction):
    network = SkipNetwork((1, 2**20), [Conv([[[1.0]]])])
    with pytest.raises(
        MemoryError, match=rf"by {direction}, 1 vectors at a time, needs 9,895,[\d,]* bytes \(9216.0 GiB\)"
    ):
        network.compose(direction)
    assert network.compose(direction, "sparse").W.nnz == 2**20


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
def test_exact_composition_with_roots_and_thirds(direction):
    """A batch normalisation of numbers is exact, shift included. With its usual eps the roots are irrational."""
    a = sympy.Symbol("a")
    thirds = SkipNetwork((1, 1), [Conv([[[a]]]), BatchNorm([1], [0], [1], [9], eps=0)])
    assert compose(thirds, direction).B[0] == sympy.Rational(-1, 3)
    assert compose(thirds, direction).W[0] == a / 3
    norm = BatchNorm([1.0, 2.0], [0.5, 0.0], [1.0, -1.0], [1.0, 3.0])
    network = SkipNetwork((2, 1), [norm, norm], {(0, 1): 0.25, (1, 1): 0.75})
    exact = compose(network, direction, "sympy")
    numeric = compose(network, direction)
    np.testing.assert_allclose(np.array(exact.W.evalf(20).tolist(), dtype=float), numeric.W, rtol=1e-14)
    np.testing.assert_allclose(np.array(exact.B.evalf(20).tolist(), dtype=float).ravel(), numeric.B, rtol=1e-14)
    root = sympy.sqrt(2)
    skipped = SkipNetwork((2,), [Dense([[0, 1], [0, 0]])] * 2, {(0, 1): root, (1, 1): 1 - root})
    assert sympy.Matrix([[0, root], [0, 0]]) == compose(skipped, direction).W
    assert compose(SkipNetwork((1, 1), [Conv([[[1]]], [root])]), direction).B[0] == root


def test_a_symbolic_mean_takes_the_default_weight():
    m = sympy.Symbol("m")
    assert BatchNorm(None, None, [m], [4], eps=0).bias_vector((1, 1)).tolist() == [-m / 2]


def test_floats_beside_symbols_are_exact():
    t = sympy.Symbol("t")
    one = Conv([[[1]]])
    network = SkipNetwork((1, 1), [one] * 3, {(0, 2): t, (1, 2): 0.5, (2, 2): sympy.Rational(1, 2) - t})
    assert sympy.Matrix([[1]]) == compose(network).W
    assert sympy.Matrix([[1]]) == SkipNetwork((1, 1), [one] * 2, {(0, 1): t, (1, 1): 1.0 - t}).compose().W


@given(network=networks(max_layers=3), leading=st.sampled_from([(0,), (2, 0), (1, 0, 3)]))
def test_empty_batches(network, leading):
    assert network(np.zeros((*leading, *network.in_shape))).shape == (*leading, *network.out_shape)
    model = SkipCNN.from_network(network)
    with torch.inference_mode():
        assert (
            model(torch.zeros((0, *network.in_shape), dtype=next(model.parameters(), torch.zeros(1)).dtype)).shape[0]
            == 0
        )


def test_the_result_is_the_callers():
    x = np.ones((1, 1, 3))
    y = SkipNetwork((1, 3), [Resample(3)])(x)
    y[:] = 7
    assert x.tolist() == [[[1, 1, 1]]]


def test_a_practical_size_composes_exactly():
    """Three layers and a skip on 8x8 with rational weights take seconds, where expression trees take minutes."""
    rng = np.random.default_rng(0)

    def rational(*shape):
        return np.vectorize(sympy.Rational)(rng.integers(-9, 10, shape), rng.integers(1, 10, shape))

    layers = [Conv(rational(2, 1, 3, 3), padding=1), Conv(rational(2, 2, 3, 3), padding=1), Dense(rational(3, 128))]
    network = SkipNetwork((1, 8, 8), layers, {(1, 2): sympy.Rational(1, 3), (2, 2): sympy.Rational(2, 3)})
    exact = network.compose()
    x = np.arange(64).reshape(1, 8, 8)
    assert exact(x.ravel()).tolist() == network(x).tolist()


def test_what_is_no_progress_bar():
    with pytest.raises(TypeError, match="progress: expected a callable, such as tqdm.tqdm, got int"):
        compose(SkipNetwork((1, 3), [Conv([[[1.0]]])]), progress=3)


@pytest.mark.parametrize("network", [None, "net", torch.nn.Linear(2, 2)])
def test_what_is_no_network(network):
    with pytest.raises(TypeError, match="network: expected an AffineGraph, or a network that holds one, .*, got"):
        compose(network)


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [
        (Conv(np.ones((48, 3, 3, 3)), padding=1), (3, 32, 32)),
        (Conv(np.ones((3, 48, 3, 3)), padding=1), (48, 32, 32)),
        (Conv(np.ones((32, 1, 3, 3)), padding=1, groups=32), (32, 32, 32)),
        (Conv(np.ones((16, 16, 3, 3)), padding=1, padding_mode="reflect"), (16, 32, 32)),
        (ConvTranspose(np.ones((16, 8, 4, 4)), stride=2), (16, 20, 20)),
        (AvgPool(2), (32, 32, 32)),
        (Resample((40, 40), "linear"), (16, 20, 20)),
        (AxisSparse(np.arange(16384) // 4, np.arange(16384) % 1000, np.ones(16384), (4096, 1000), 1), (8, 1000)),
        (BatchNorm(None, None, np.ones(32), np.ones(32)), (32, 32, 32)),
    ],
)
def test_a_composition_keeps_within_its_limit(layer, in_shape, direction):
    """The limit holds for eight vectors at a time, the temporary memory of the operation included."""
    if direction == "forward":
        ends = AffineGraph((8,))
        ends.add(layer, ends.add(Reshape(in_shape), ends.add(Dense(np.ones((size_of(in_shape), 8))), 0)))
    else:
        ends = AffineGraph(in_shape)
        made = ends.add(layer, 0)
        ends.add(Dense(np.ones((8, size_of(ends.shapes[made])))), made)
    limit = 8 * size_of(ends.in_shape) * size_of(ends.out_shape) + 8 * 8 * ends.largest_state(direction)
    compose(ends, direction, max_bytes=limit)
    tracemalloc.start()
    compose(ends, direction, max_bytes=limit)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= limit + 2**20


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
@pytest.mark.parametrize("cores", [1, 3])
def test_cores_that_carry_chunks_of_their_own_give_the_same_map(monkeypatch, direction, cores):
    rng = np.random.default_rng(0)
    layers = [Conv(rng.integers(-2, 3, (2, 1, 3, 3)), padding=1), BatchNorm([2, 1], [1, 1], [0, 1], [1, 1], eps=0)]
    graph = SkipNetwork((1, 5, 4), layers, {(0, 1): 0.5, (1, 1): 0.5}).graph
    whole = compose(graph, direction)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 1)
    monkeypatch.setattr(chunks, "cores", lambda: cores)
    told = []

    def progress(starts):
        for start in starts:
            told.append(start)
            yield start

    parts = compose(graph, direction, progress=progress)
    assert np.array_equal(parts.W, whole.W)
    assert np.array_equal(parts.B, whole.B)
    assert told == list(range(20 if direction == "forward" else 40))


@pytest.mark.parametrize("direction", ["forward", "adjoint"])
def test_cores_share_what_follows_from_the_parameters(monkeypatch, direction):
    """Two cores that begin at the same time may compute it twice, but none of them again for each of its chunks."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 1)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    computed_in, compute = [], Conv._pad_then_conv

    def counted(operation):
        computed_in.append(threading.get_ident())
        return compute(operation)

    monkeypatch.setattr(Conv, "_pad_then_conv", counted)
    layer, graph = Conv(np.ones((1, 1, 3, 3)), padding=1, padding_mode="circular"), AffineGraph((1, 5, 4))
    graph.add(layer, 0)
    W = compose(graph, direction).W  # in 20 chunks
    assert 1 <= sum(thread != threading.get_ident() for thread in computed_in) <= 2
    np.testing.assert_array_equal(W, layer.matrix(graph.in_shape).toarray())


def test_an_error_in_a_chunk_is_not_lost(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 1)
    monkeypatch.setattr(chunks, "cores", lambda: 2)

    def fail(graph, vectors):
        raise FloatingPointError("lost")

    monkeypatch.setattr(sys.modules["linalg_cnn.compose"], "pull_rows", fail)
    with pytest.raises(FloatingPointError, match="lost"):
        compose(SkipNetwork((1, 9), [Conv([[[1.0]]])]), "adjoint")


def test_cores_are_those_that_products_may_use():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        assert chunks.cores() == 1
