"""Tracing: affine modules are composed right, by four independent judges; the others are refused by name and place."""

import copy

import numpy as np
import pytest
import torch
from judges import assert_all_agree, assert_close, by_unit_vectors
from module_cases import AFFINE, NOT_AFFINE, TRAINING, Lambda
from torch import nn

import gpu
from gpu import NotAffineError
from linalg_cnn import AffineGraph, compose

even_kernel_warns = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
slow_jacrev_warns = pytest.mark.filterwarnings("ignore:There is a performance drop because")


def prepared(module):
    """A float64 copy in evaluation mode, with statistics and weights that show."""
    module = copy.deepcopy(module).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                part.running_mean.normal_(0, 1, generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
    return module.requires_grad_(False)


@even_kernel_warns
@slow_jacrev_warns
@pytest.mark.parametrize(("module", "in_shape"), AFFINE.values(), ids=AFFINE)
def test_affine_modules_compose_to_what_they_compute(module, in_shape):
    module = prepared(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    graph = gpu.trace(module, in_shape)
    x = torch.randn(3, *in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = module(x).numpy()
    np.testing.assert_allclose(graph(x.numpy()).reshape(theirs.shape), theirs, rtol=1e-12, atol=1e-12)
    assert_all_agree(module, graph)
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("module", "in_shape", "message"), NOT_AFFINE.values(), ids=NOT_AFFINE)
def test_what_is_not_affine_is_refused_by_name_and_place(module, in_shape, message):
    with pytest.raises(NotAffineError, match=message):
        gpu.trace(copy.deepcopy(module).eval(), in_shape)


@pytest.mark.parametrize(("module", "in_shape", "message"), TRAINING.values(), ids=TRAINING)
def test_training_mode_is_refused(module, in_shape, message):
    with pytest.raises(NotAffineError, match=message):
        gpu.trace(copy.deepcopy(module).train(), in_shape)


def test_every_obstacle_is_listed_with_its_place():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 3, padding=1)
            self.relu = nn.ReLU()

        def forward(self, x):
            return torch.sigmoid(self.relu(self.conv(x)) + self.relu(x))

    net = nn.Sequential(Block(), nn.MaxPool2d(2), nn.Sequential(Block(), nn.Flatten()), nn.Linear(8, 3), nn.Softmax(1))
    with pytest.raises(NotAffineError) as caught:
        gpu.trace(net, (2, 4, 4))
    found = {(obstacle.place.partition(" (")[0], obstacle.times) for obstacle in caught.value.obstacles}
    assert found == {
        ("0.relu: ReLU", 2),
        ("0: Block", 1),
        ("1: MaxPool2d", 1),
        ("2.0.relu: ReLU", 2),
        ("2.0: Block", 1),
        ("4: Softmax", 1),
    }
    assert "test_tracing.py" in str(caught.value)


def test_what_comes_after_an_obstacle_is_looked_at_too():
    net = Lambda(lambda s, x: (x.flatten(1).relu() - x.flatten(1).relu().mean()) * 2)
    with pytest.raises(NotAffineError) as caught:
        gpu.trace(net, (2, 3))
    assert [obstacle.reason for obstacle in caught.value.obstacles] == [
        "relu is not affine",
        "mixes the samples of the batch",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_parameters_are_taken_exactly_whatever_their_dtype(dtype):
    layer = nn.Conv2d(2, 3, 3).to(dtype)
    graph = gpu.trace(layer, (2, 4, 4))
    np.testing.assert_array_equal(graph.nodes[0].operation.kernel, layer.weight.detach().double().numpy())
    assert compose(graph).W.dtype == np.float64


def test_a_forward_without_gradients():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3, dtype=torch.float64)

        def forward(self, x):
            with torch.no_grad():
                return self.conv(x.detach())

    module = Detached()
    affine = compose(gpu.trace(module, (1, 4, 4)))
    assert_close(affine.W, by_unit_vectors(module, (1, 4, 4)))


def test_constants_made_on_the_way_may_be_float32():
    module = Lambda(lambda s, x: x @ (s.w @ torch.eye(2)), w=torch.ones(3, 2))
    np.testing.assert_array_equal(compose(gpu.trace(module, (3,))).W, np.ones((2, 3)))


def test_bad_arguments():
    with pytest.raises(TypeError, match="module: expected an nn.Module, got builtin"):
        gpu.trace(torch.relu, (1, 2))
    with pytest.raises(ValueError, match=r"in_shape\[1\]: expected an int of at least 1, got 0"):
        gpu.trace(nn.Identity(), (1, 0))
    with pytest.raises(ValueError, match=r"module: expected a forward that takes \(2, 4, 5\) .* got RuntimeError"):
        gpu.trace(nn.Linear(3, 2), (4, 5))
    with pytest.raises(ValueError, match="module: expected one tensor to come out, got 2"):
        gpu.trace(Lambda(lambda s, x: (x, x + 1)), (1, 2))
    with pytest.raises(ValueError, match="module: expected an output whose first axis counts the samples"):
        gpu.trace(Lambda(lambda s, x: x.transpose(0, 1)), (3, 2))
    with pytest.raises(ValueError, match=r"expected an entry per sample to come out, got a constant of shape \(5,\)"):
        gpu.trace(Lambda(lambda s, x: s.c, c=torch.ones(5)), (3, 2))


def test_the_graph_names_its_operations_by_their_place():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Flatten(), nn.Linear(8, 3)))
    graph = gpu.trace(net, (1, 4, 4))
    assert [node.name for node in graph.nodes] == ["0: Conv2d", "1.0: Flatten", "1.1: Linear"]
    assert isinstance(graph, AffineGraph)
