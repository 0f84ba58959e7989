"""`gpu.trace(piecewise=True)`: values and local maps are those of torch, ties included; the rest is refused by name."""

import copy

import numpy as np
import pytest
import torch
from piecewise_cases import PIECEWISE, REFUSED
from torch import nn

import gpu
from gpu import NotAffineError
from gpu.tracing.aten.piecewise import HANDLERS
from gpu.tracing.export import export
from gpu.tracing.nodes import name_of
from linalg_cnn import AffineGraph, PiecewiseGraph, compose
from linalg_cnn.types import size_of


def samples(in_shape):
    """Normal numbers, and small integers, which lie on thresholds and tie."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=(2, *in_shape)), rng.integers(-2, 3, (6, *in_shape))])


def jacobians(module, x):
    """Return what autograd says, sample by sample."""
    return torch.stack([torch.autograd.functional.jacobian(lambda v: module(v[None] * 1)[0], sample) for sample in x])


@pytest.mark.parametrize(("module", "in_shape"), PIECEWISE.values(), ids=PIECEWISE)
def test_values_and_local_maps_are_those_of_torch(module, in_shape):
    module = copy.deepcopy(module).double().eval()
    graph = gpu.trace(module, in_shape, piecewise=True)
    assert isinstance(graph, PiecewiseGraph)
    xs = samples(in_shape)
    theirs = module(torch.from_numpy(xs.copy())).detach().numpy()
    np.testing.assert_allclose(graph(xs), theirs.reshape(len(xs), *graph.out_shape), rtol=1e-12, atol=1e-12)
    W, B = graph.local_maps(xs)
    expected = jacobians(module, torch.from_numpy(xs.copy())).numpy()
    rtol = 1e-7 if isinstance(module, nn.Hardsigmoid) else 1e-12  # torch takes the slope 1/6 from float32
    np.testing.assert_allclose(W, expected.reshape(W.shape), rtol=rtol, atol=1e-12)
    answers = np.einsum("noi,ni->no", W, xs.reshape(len(xs), -1)) + B
    np.testing.assert_allclose(answers, theirs.reshape(len(xs), -1), rtol=1e-12, atol=1e-12)
    local = graph.at(xs[-1])
    assert isinstance(local, AffineGraph)
    assert [node.name for node in local.nodes] == [node.name for node in graph.nodes]
    np.testing.assert_allclose(compose(local).W, W[-1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(compose(local).B, B[-1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["relu", "max_pool2d", "clamp_in_place", "maximum", "amax"])
def test_without_piecewise_they_are_refused_as_ever(name):
    module, in_shape = PIECEWISE[name]
    with pytest.raises(NotAffineError, match="expected affine operations only, got 1 that are not"):
        gpu.trace(copy.deepcopy(module).eval(), in_shape)


@pytest.mark.parametrize(("module", "in_shape", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_piecewise_linear_is_refused_by_name_and_place(module, in_shape, message):
    with pytest.raises(NotAffineError, match=message) as caught:
        gpu.trace(copy.deepcopy(module), in_shape, piecewise=True)
    assert "expected piecewise linear operations only" in str(caught.value)


def test_every_handler_has_a_case():
    missing = set(HANDLERS)
    for module, in_shape in PIECEWISE.values():
        program = export(copy.deepcopy(module).eval(), in_shape, 2)
        missing -= {name_of(node).rstrip("_") for node in program.graph.nodes if node.op == "call_function"}
    # torch gives these names only to what it decomposes itself
    assert missing <= {"max_pool1d_with_indices", "max_pool3d_with_indices"}


def test_a_module_of_the_affine_kind_is_one_piece():
    module = nn.Linear(3, 2).double()
    graph = gpu.trace(module, (3,), piecewise=True)
    assert graph.pieces([0.0, 0.0, 0.0]) == ()
    np.testing.assert_array_equal(graph.local_maps(np.zeros((1, 3)))[0][0], module.weight.detach().numpy())


def test_piecewise_is_a_bool():
    with pytest.raises(ValueError, match="piecewise: expected True or False, got 1"):
        gpu.trace(nn.ReLU(), (2,), piecewise=1)


def test_a_dependence_on_the_number_of_samples_is_refused():
    class Counting(nn.Module):
        def forward(self, x):
            return torch.relu(x) * len(x)

    with pytest.raises(NotAffineError, match="piecewise linear operations only[\\s\\S]*how many samples there are"):
        gpu.trace(Counting(), (2,), piecewise=True)


def test_local_maps_of_a_resnet_with_max_pooling_are_those_of_autograd():
    torch.manual_seed(0)
    model = gpu.resnet(18).double().eval()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    graph = gpu.trace(model, (1, 28, 28), piecewise=True)
    x = np.random.default_rng(0).normal(size=(2, 1, 28, 28))
    x[1, :, :14] = 0  # background pixels tie in the max pooling
    W, B = graph.local_maps(x)
    expected = jacobians(model, torch.from_numpy(x)).detach().numpy().reshape(W.shape)
    assert np.abs(W - expected).max() <= 1e-12 * np.abs(expected).max()
    scores = model(torch.from_numpy(x)).detach().numpy()
    answers = np.einsum("noi,ni->no", W, x.reshape(2, -1)) + B
    assert np.abs(answers - scores).max() <= 1e-12 * np.abs(scores).max()
    assert size_of(graph.out_shape) == 10
