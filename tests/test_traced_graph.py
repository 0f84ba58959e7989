"""Local maps of narrow traced networks, which torch's autograd computes: the same maps, and nothing else differs."""

import numpy as np
import pytest
import torch
from torch import nn

import gpu
from gpu.tracing import traced_graph
from gpu.tracing.traced_graph import TracedPiecewiseGraph
from linalg_cnn import PiecewiseGraph

IN_SHAPE = (2, 9, 8)


class Everything(nn.Module):
    """Skips, max pooling, and every kind of piecewise-linear operation between narrow convolutions."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=2, padding_mode="circular")
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2)
        self.prelu, self.last = nn.PReLU(6), nn.Linear(4 * 8 * 8, 5)

    def forward(self, x):
        x = nn.functional.hardtanh(self.first(x), -0.3, 0.4)
        x = torch.maximum(x, self.prelu(self.second(x))) + x.abs()
        x = nn.functional.max_pool2d(nn.functional.leaky_relu(x - 0.2, 0.1), 3, 2, 1, ceil_mode=True)
        return self.last(self.up(x)[:, :, :8, :8].clamp(min=-0.5).flatten(1))


def traced():
    torch.manual_seed(0)
    net = Everything().double().eval()
    return net, gpu.trace(net, IN_SHAPE, piecewise=True)


def test_the_maps_are_those_of_torch_and_of_the_graph_whose_rows_are_carried(monkeypatch):
    net, graph = traced()
    assert graph.is_narrow
    xs = np.random.default_rng(1).standard_normal((7, *IN_SHAPE))
    monkeypatch.setattr(traced_graph, "AT_ONCE", 3 * 8 * 3 * sum(np.prod(shape) for shape in graph.shapes))  # 3 inputs
    W, B = graph.local_maps(xs)
    carried_W, carried_B = PiecewiseGraph.local_maps(graph, xs)
    np.testing.assert_allclose(W, carried_W, rtol=0, atol=1e-13)
    np.testing.assert_allclose(B, carried_B, rtol=0, atol=1e-13)
    for x, rows in zip(torch.from_numpy(xs), W, strict=True):  # vmap cannot differentiate all of these operations
        jacobian = torch.autograd.functional.jacobian(net, x[None])
        np.testing.assert_allclose(rows, jacobian.reshape(rows.shape).numpy(), rtol=0, atol=1e-13)
    assert graph.local_maps(xs[:0])[0].shape == (0, 5, 144)


def test_ties_take_the_piece_of_torchs_gradient_as_elsewhere():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()).double()
    graph = gpu.trace(net, (1, 4, 4), piecewise=True)
    assert graph.is_narrow
    xs = np.zeros((2, 1, 4, 4))
    xs[1, 0, 1:3] = 1
    np.testing.assert_array_equal(graph.local_maps(xs)[0], PiecewiseGraph.local_maps(graph, xs)[0])


@pytest.mark.parametrize(
    ("net", "narrow"),
    [
        (nn.Sequential(nn.Conv2d(2, 16, 3), nn.ReLU(), nn.Conv2d(16, 1, 3)), True),
        (nn.Sequential(nn.Conv2d(2, 17, 3), nn.ReLU(), nn.Conv2d(17, 1, 3)), False),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU()), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(144, 4), nn.ReLU()), False),
    ],
    ids=["16 channels", "17 channels", "more outputs than inputs", "no convolution"],
)
def test_autograd_is_for_few_channels_and_few_outputs(net, narrow, monkeypatch):
    graph = gpu.trace(net, IN_SHAPE, piecewise=True)
    assert isinstance(graph, TracedPiecewiseGraph)
    assert graph.is_narrow == narrow
    called = []
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *args, grad=torch.autograd.grad, **kw: called.append(1) or grad(*args, **kw)
    )
    xs = np.random.default_rng(2).standard_normal((2, *IN_SHAPE))
    W, B = graph.local_maps(xs)
    assert bool(called) == narrow
    values = net.double()(torch.from_numpy(xs)).detach().reshape(2, -1).numpy()
    np.testing.assert_allclose(np.einsum("noi,ni->no", W, xs.reshape(2, -1)) + B, values, rtol=0, atol=1e-12)


def test_the_modes_of_the_process_change_nothing_and_are_left_as_they_were():
    graph = traced()[1]
    xs = np.random.default_rng(3).standard_normal((2, *IN_SHAPE))
    xs.setflags(write=False)
    W, _ = graph.local_maps(xs)
    with torch.inference_mode():
        np.testing.assert_array_equal(graph.local_maps(xs)[0], W)
        assert torch.is_inference_mode_enabled()
    with torch.no_grad(), torch.device("meta"):
        np.testing.assert_array_equal(graph.local_maps(xs.tolist())[0], W)
        assert not torch.is_grad_enabled()


class IgnoresHalf(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 3)
        self.register_buffer("constant", torch.tensor([1.0, 2.0]))

    def forward(self, x):
        return self.constant + 0 * self.conv(x).relu().mean((1, 2, 3))[:, None]


def test_outputs_that_do_not_depend_on_the_input_have_rows_of_zeros():
    graph = TracedPiecewiseGraph(IN_SHAPE)
    for node in gpu.trace(IgnoresHalf(), IN_SHAPE, piecewise=True).nodes:
        graph.add(node.operation, *node.inputs, name=node.name)
    assert graph.is_narrow
    W, B = graph.local_maps(np.ones((3, *IN_SHAPE)))
    np.testing.assert_array_equal(W, 0)
    np.testing.assert_allclose(B, [[1.0, 2.0]] * 3)


def test_bad_input_and_too_little_memory_are_refused_before_anything_is_computed():
    graph = traced()[1]
    with pytest.raises(MemoryError, match=r"1,000,000 local maps of 144 inputs to 5 outputs, .* bytes for an input"):
        graph.local_maps(np.broadcast_to(0.0, (1_000_000, *IN_SHAPE)), max_bytes=2**20)
    with pytest.raises(ValueError, match="x: expected finite entries, got nan"):
        graph.local_maps(np.full((1, *IN_SHAPE), np.nan))
    with pytest.raises(ValueError, match="xs"):
        graph.local_maps(np.zeros(IN_SHAPE))
