"""Piecewise-linear graphs: local maps against autograd, pieces, exact graphs, and what is refused."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from linalg_cnn import (
    AffineGraph,
    Concatenate,
    Conv,
    Dense,
    Hardsigmoid,
    LeakyReLU,
    Maximum,
    MaxPool,
    Node,
    Operation,
    PiecewiseGraph,
    ReLU,
    Reshape,
    SkipNetwork,
    WeightedSum,
    compose,
)
from linalg_cnn.display import network_picture
from linalg_cnn.piecewise import local_maps as carrying
from linalg_cnn.piecewise.local_maps import batch_pieces, pull_at, push_at


class Wired(nn.Module):
    """A torch module that runs a list of functions, each of values made before."""

    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def forward(self, x):
        values = [x]
        for function, inputs in self.steps:
            values.append(function(*(values[i] for i in inputs)))
        return values[-1]


@st.composite
def wired(draw):
    """A random PiecewiseGraph with skips, and an independent torch module of the same functions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 3)), draw(st.integers(3, 5)), draw(st.integers(3, 5)))
    graph, steps, same = PiecewiseGraph(shape), [], [0]  # `same` are the values of the present shape
    for _ in range(draw(st.integers(2, 7))):
        last, shape = same[-1], graph.shapes[-1]
        kind = draw(st.sampled_from(["conv", "relu", "leaky_relu", "hardsigmoid", "max_pool", "maximum", "sum"]))
        inputs = (last,)
        if kind == "conv":
            kernel = rng.normal(size=(shape[0], shape[0], 3, 3))
            operation = Conv(kernel, rng.normal(size=shape[0]), padding=1)
            weight, bias = torch.from_numpy(kernel), torch.from_numpy(operation.bias)
            function = lambda x, w=weight, b=bias: functional.conv2d(x, w, b, padding=1)
        elif kind == "relu":
            operation, function = ReLU(), functional.relu
        elif kind == "leaky_relu":
            operation, function = LeakyReLU(0.25), lambda x: functional.leaky_relu(x, 0.25)
        elif kind == "hardsigmoid":
            operation, function = Hardsigmoid(), lambda x: (x / 6 + 0.5).clamp(0, 1)
        elif kind == "max_pool" and min(shape[1:]) >= 2:
            operation, function = MaxPool(2, stride=1), lambda x: functional.max_pool2d(x, 2, stride=1)
        elif kind == "maximum":
            inputs = (last, draw(st.sampled_from(same)))
            operation, function = Maximum(), torch.maximum
        else:
            inputs = (last, draw(st.sampled_from(same)))
            operation, function = WeightedSum([0.5, -1.0]), lambda x, y: 0.5 * x - y
        steps.append((function, inputs))
        value = graph.add(operation, *inputs)
        same = [*same, value] if graph.shapes[value] == shape else [value]
    out = draw(st.integers(1, 3))
    weight = rng.normal(size=(out, int(np.prod(graph.out_shape))))
    graph.add(Dense(weight), len(graph.nodes))
    steps.append((lambda x: x.flatten(1) @ torch.from_numpy(weight).T, (len(steps),)))
    return graph, Wired(steps), rng.normal(size=(draw(st.integers(1, 3)), *graph.in_shape))


def jacobians(module, xs):
    return torch.stack([
        torch.autograd.functional.jacobian(lambda v: module(v[None])[0].flatten(), x).flatten(1)
        for x in torch.from_numpy(xs)
    ]).numpy()


@settings(max_examples=40)
@given(wired())
def test_local_maps_of_random_graphs_are_those_of_autograd(drawn):
    graph, module, xs = drawn
    W, B = graph.local_maps(xs)
    theirs, values = jacobians(module, xs), module(torch.from_numpy(xs)).numpy()
    scale = max(1.0, np.abs(theirs).max(), np.abs(values).max())
    np.testing.assert_allclose(graph(xs), values, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(W, theirs, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(np.einsum("noi,ni->no", W, xs.reshape(len(xs), -1)) + B, values, atol=1e-12 * scale)
    for x, w, b in zip(xs, W, B, strict=True):
        local = compose(graph.at(x))
        np.testing.assert_allclose(local.W, w, rtol=0, atol=1e-12 * scale)
        np.testing.assert_allclose(local.B, b, rtol=0, atol=1e-11 * scale)  # summed along another way


def absolute():
    graph = PiecewiseGraph((1,))
    graph.add(Dense([[1.0, 1.0]]), graph.add(ReLU(), graph.add(Dense([[1.0], [-1.0]]), 0, name="both signs")))
    return graph


def several():
    """A graph with more outputs than inputs, and two piecewise operations."""
    graph = PiecewiseGraph((1, 4))
    pooled = graph.add(MaxPool(2, stride=1), graph.add(Conv(np.ones((3, 1, 3)), padding=1), 0))
    graph.add(ReLU(), graph.add(Concatenate(), pooled, pooled))
    return graph


def test_vectors_are_pushed_forward_where_the_input_is_the_smaller_side():
    graph, xs = several(), np.random.default_rng(0).normal(size=(3, 1, 4))
    W, B = graph.local_maps(xs)
    assert W.shape == (3, 18, 4)
    for x, w, b in zip(xs, W, B, strict=True):
        local = compose(graph.at(x))
        np.testing.assert_array_equal(local.W, w)
        np.testing.assert_allclose(local.B, b, atol=1e-15)


@pytest.mark.parametrize("make", [absolute, several])
@pytest.mark.parametrize("extra", [0, 500, 5_000])
def test_small_limits_of_memory_are_kept_by_small_chunks(monkeypatch, make, extra):
    graph = make()
    xs = np.random.default_rng(0).normal(size=(5, *graph.in_shape))
    W, B = graph.local_maps(xs)
    seen = []
    original = carrying.batch_pieces
    monkeypatch.setattr(carrying, "batch_pieces", lambda g, chunk: seen.append(len(chunk)) or original(g, chunk))
    least = next(n for n in range(0, 100_000, 8) if fits(graph, xs, n))
    seen.clear()
    small = graph.local_maps(xs, max_bytes=least + extra)
    assert sum(seen) == 5
    assert extra or set(seen) == {1}
    np.testing.assert_allclose(small[0], W, rtol=1e-15)
    np.testing.assert_allclose(small[1], B, atol=1e-15)


def fits(graph, xs, max_bytes):
    try:
        graph.local_maps(xs, max_bytes=max_bytes)
    except MemoryError:
        return False
    return True


def test_a_limit_that_is_too_small_is_refused_before_anything_is_computed():
    with pytest.raises(MemoryError, match="5 local maps of 1 inputs to 1 outputs.*more than the limit of 10 bytes"):
        absolute().local_maps(np.zeros((5, 1)), max_bytes=10)
    with pytest.raises(ValueError, match="max_bytes: expected an int of at least 0"):
        absolute().local_maps(np.zeros((5, 1)), max_bytes=-1)


def test_an_empty_batch_has_no_maps():
    W, B = absolute().local_maps(np.zeros((0, 1)))
    assert W.shape == (0, 1, 1)
    assert B.shape == (0, 1)


def test_torch_tensors_are_carried_by_the_same_pieces():
    graph, xs = several(), np.random.default_rng(0).normal(size=(2, 1, 4))
    values, pieces = batch_pieces(graph, torch.from_numpy(xs))
    np.testing.assert_allclose(values.numpy(), graph(xs), rtol=1e-15)
    vectors = np.random.default_rng(1).normal(size=(6, 1, 4))
    _, ours = batch_pieces(graph, xs)
    pushed = push_at(graph, pieces, torch.from_numpy(vectors))
    np.testing.assert_allclose(pushed.numpy(), push_at(graph, ours, vectors), rtol=1e-14)
    np.testing.assert_allclose(pull_at(graph, pieces, pushed).numpy(), pull_at(graph, ours, pushed.numpy()), rtol=1e-14)


@pytest.mark.parametrize("ask", [lambda g, x: g(x), lambda g, x: g.at(x[0]), lambda g, x: g.local_maps(x)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused(ask, bad):
    with pytest.raises(ValueError, match=f"x: expected finite entries, got {bad}"):
        ask(absolute(), np.array([[bad]]))


def test_inputs_of_the_wrong_shape_are_refused():
    graph = absolute()
    with pytest.raises(ValueError, match=r"x: expected shape \(..., 1\), got \(2,\)"):
        graph.at([1.0, 2.0])
    with pytest.raises(ValueError, match=r"x: expected one sample of shape \(1,\), got \(1, 1\)"):
        graph.pieces([[1.0]])
    with pytest.raises(ValueError, match=r"xs: expected shape \(N, 1\), got \(1,\)"):
        graph.local_maps([1.0])


def test_pieces_that_do_not_fit_are_refused():
    graph = absolute()
    with pytest.raises(ValueError, match="pieces: expected 1 arrays, one per piecewise operation, got 0"):
        graph.at_pieces(())
    with pytest.raises(ValueError, match=r"pieces: expected shape \(2,\) for node 1 \(ReLU\), got \(3,\)"):
        graph.at_pieces([[0, 1, 0]])
    assert compose(graph.at_pieces([[0, 1]])).W.tolist() == [[-1.0]]


def of(operation, *in_shape):
    """A graph of one operation, which reads its input as often as it merges values."""
    graph = PiecewiseGraph(in_shape)
    graph.add(operation, *([0, 0] if operation.merges else [0]), name="it")
    return graph


@pytest.mark.parametrize(
    ("graph", "pieces", "kind", "message"),
    [
        (of(ReLU(), 2), None, TypeError, "pieces: expected one int array per piecewise operation, got NoneType"),
        (of(ReLU(), 2), "01", TypeError, "pieces: expected one int array per piecewise operation, got str"),
        (of(ReLU(), 2), [[0.5, 0.5]], TypeError, "pieces: expected integers for it, got dtype float64"),
        (of(ReLU(), 2), [[True, False]], TypeError, "pieces: expected integers for it, got dtype bool"),
        (of(ReLU(), 2), [[0, [1]]], ValueError, "pieces: expected a rectangular array"),
        (of(ReLU(), 2), [[7, -3]], ValueError, "pieces: it: expected numbers of pieces from 0 to 1, got 7"),
        (of(ReLU(), 2), [[1, -1]], ValueError, "pieces: it: expected numbers of pieces from 0 to 1, got -1"),
        (
            of(MaxPool(2), 1, 4),
            [[[3, 0]]],
            ValueError,
            "pieces: it: expected the number of an entry in the window of each output, got 3 for output 0, whose "
            r"window has \[0, 1\]",
        ),
        (of(MaxPool(2), 1, 2), [[[3]]], ValueError, r"pieces: it: .*, got 3 for output 0, whose window has \[0, 1\]"),
        (of(MaxPool(3, padding=1), 1, 2), [[[-1]]], ValueError, r"got -1 for output 0, whose window has \[0, 1\]"),
        (of(Maximum(), 1), [[[1], [2]]], ValueError, "pieces: it: expected 1 for each entry that .*, got 2"),
        (of(Maximum(), 2), [[[1, 0], [0, 0]]], ValueError, "expected an entry that attains each maximum, got none for"),
    ],
)
def test_pieces_that_do_not_exist_are_refused(graph, pieces, kind, message):
    with pytest.raises(kind, match=message):
        graph.at_pieces(pieces)


def test_pieces_are_taken_from_any_iterable():
    graph = of(MaxPool(2), 1, 4)
    assert compose(graph.at_pieces(pieces for pieces in [[[1, 2]]])).W.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0]]


def test_the_own_pieces_of_an_input_are_not_checked_again(monkeypatch):
    monkeypatch.setattr(ReLU, "check_pieces", None)
    assert compose(of(ReLU(), 2).at([1.0, -1.0])).W.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_an_affine_graph_holds_no_pieces_and_a_piecewise_one_no_strangers():
    with pytest.raises(TypeError, match=r"bend: expected an affine Operation, got ReLU; a PiecewiseGraph holds those"):
        AffineGraph((2,)).add(ReLU(), 0, name="bend")
    with pytest.raises(TypeError, match=r"node 0 \(int\): expected an Operation or a PiecewiseOperation, got int"):
        PiecewiseGraph((2,)).add(3, 0)
    with pytest.raises(ValueError, match=r"node 0 \(ReLU\): expected to read one value, got \(0, 0\)"):
        PiecewiseGraph((2,)).add(ReLU(), 0, 0)


def test_composing_names_the_way_out():
    for network in (absolute(), SkipNetwork((1,), [ReLU()])):
        with pytest.raises(TypeError, match=r"a PiecewiseGraph is affine around each input x only: .* .at\(x\)$"):
            compose(network)


def test_nodes_keep_their_names_and_affine_operations():
    graph = absolute()
    local = graph.at([2.0])
    assert [node.name for node in local.nodes] == ["both signs", "node 1 (ReLU)", "node 2 (Dense)"]
    assert local.nodes[0].operation is graph.nodes[0].operation
    assert all(isinstance(node, Node) and isinstance(node.operation, Operation) for node in local.nodes)
    assert [node.name for node in graph.piecewise_nodes] == ["node 1 (ReLU)"]


def test_graphs_are_extended_by_graphs():
    graph = PiecewiseGraph((1,))
    assert graph.extend(absolute(), graph.extend(absolute().at([1.0]), 0)) == 6
    assert graph([-2.0]).tolist() == [2.0]


def test_exact_graphs_have_exact_local_maps():
    graph = PiecewiseGraph((2,))
    hidden = graph.add(Hardsigmoid(), graph.add(Dense([[sympy.Rational(1, 3), 1], [1, 2]]), 0))
    graph.add(Dense([[0.5, 1]]), hidden)
    x = [sympy.Rational(1, 7), 1]
    local = compose(graph.at(x))
    assert (
        sympy.Matrix([[sympy.Rational(1, 36) + sympy.Rational(1, 6), sympy.Rational(1, 12) + sympy.Rational(1, 3)]])
        == local.W
    )
    assert (local.W @ sympy.Matrix(x) + local.B)[0] == graph(x)[0]
    with pytest.raises(TypeError, match=r"local_maps: expected numbers, got sympy expressions; compose graph.at\(x\)"):
        graph.local_maps([x])
    with pytest.raises(TypeError, match=r"xs: expected numbers, got sympy expressions; compose graph.at\(x\) instead"):
        absolute().local_maps([[sympy.Rational(1, 3)]])


def test_floats_become_fractions_for_exact_inputs():
    graph = PiecewiseGraph((1,))
    graph.add(ReLU(), graph.add(Dense([[0.1]], [-0.1]), 0))
    assert graph.pieces([sympy.Rational(1)])[0].tolist() == [0]  # exactly on the wall
    assert graph.pieces([sympy.Rational(10**30 + 1, 10**30)])[0].tolist() == [1]
    assert graph.exact().symbolic


def test_symbols_cannot_be_compared():
    with pytest.raises(TypeError, match=r"node 1 \(ReLU\): expected numbers that can be compared: "):
        absolute().pieces([sympy.Symbol("a")])


def test_a_skip_network_takes_piecewise_layers():
    rng = np.random.default_rng(0)
    layers = [Conv(rng.normal(size=(2, 1, 3, 3)), padding=1), ReLU(), Conv(rng.normal(size=(2, 2, 3, 3)), padding=1),
              ReLU(), MaxPool(2), Dense(rng.normal(size=(3, 8)))]  # fmt: skip
    net = SkipNetwork((1, 4, 4), layers, {(2, 4): 0.25, (4, 4): 0.75})
    assert isinstance(net.graph, PiecewiseGraph)

    def module(x):
        kernels = [torch.from_numpy(layers[i].kernel) for i in (0, 2)]
        first = functional.relu(functional.conv2d(x, kernels[0], padding=1))
        second = functional.relu(functional.conv2d(first, kernels[1], padding=1))
        pooled = functional.max_pool2d(0.25 * first + 0.75 * second, 2)
        return pooled.flatten(1) @ torch.from_numpy(layers[5].weight).T

    xs = rng.normal(size=(2, 1, 4, 4))
    W, B = net.local_maps(xs)
    np.testing.assert_allclose(net(xs), module(torch.from_numpy(xs)).numpy(), rtol=1e-12)
    np.testing.assert_allclose(W, jacobians(module, xs), rtol=1e-11, atol=1e-13)
    local = compose(net.at(xs[0]))
    np.testing.assert_allclose(local.W, W[0], atol=1e-13)
    np.testing.assert_allclose(local.B, B[0], atol=1e-12)
    with pytest.raises(TypeError, match=r"compose its .at\(x\)"):
        net.compose()
    with pytest.raises(TypeError, match=r"compose its .at\(x\)"):
        net.latent()
    assert "MaxPool" in network_picture(net).alt
    assert "ReLU 2 of shape (2,) reads Dense 1" in network_picture(absolute()).alt


def test_a_linear_skip_network_is_the_same_map_everywhere():
    net = SkipNetwork((2,), [Dense([[1.0, 2.0], [0.0, 1.0]]), Reshape((2,))])
    assert isinstance(net.graph, AffineGraph)
    assert compose(net.at([5.0, -1.0])).W.tolist() == [[1.0, 2.0], [0.0, 1.0]]
    assert net.local_maps([[5.0, -1.0]])[0].tolist() == [[[1.0, 2.0], [0.0, 1.0]]]
    assert SkipNetwork((2,), [Dense([[1.0, 2.0]]), ReLU()]).latent().W.tolist() == [[1.0, 2.0]]
