"""Affine modules compose to the maps that four independent judges give; others are refused by name and place."""

import contextlib
import copy

import numpy as np
import pytest
import torch
from aten_cases import BY_NAME
from judges import assert_all_agree, assert_close, by_unit_vectors
from module_cases import AFFINE, WITHOUT_AUTOGRAD, Lambda
from not_affine_cases import NOT_AFFINE, TRAINING
from torch import nn

import gpu
from gpu import NotAffineError
from gpu.tracing.aten import HANDLERS
from gpu.tracing.export import export, like_of
from gpu.tracing.nodes import name_of
from gpu.tracing.trace import trace_with_shape
from linalg_cnn import AffineGraph, Resample, compose

even_kernel_warns = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
slow_jacrev_warns = pytest.mark.filterwarnings("ignore:There is a performance drop because")


def prepared(module):
    """A float64 copy in evaluation mode, with random running statistics."""
    module = copy.deepcopy(module).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                part.running_mean.normal_(0, 1, generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
    return module.requires_grad_(False)


def assert_same(module, graph):
    """A graph computes what the module does for several batch sizes, up to rounding: 1e-12 of the largest score."""
    generator = torch.Generator().manual_seed(1)
    for count in (1, 2, 3, 5):
        x = torch.randn(count, *graph.in_shape, dtype=torch.float64, generator=generator)
        with torch.no_grad():
            theirs = module(x.clone()).detach().numpy()
        ours = graph(x.numpy()).reshape(theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1.0, np.abs(theirs).max()))


@even_kernel_warns
@slow_jacrev_warns
@pytest.mark.parametrize(("module", "in_shape"), AFFINE.values(), ids=AFFINE)
def test_affine_modules_compose_to_what_they_compute(module, in_shape):
    module = prepared(module)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    graph = gpu.trace(module, in_shape)
    assert_same(module, graph)
    assert_all_agree(module, graph)
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize(("module", "in_shape"), WITHOUT_AUTOGRAD.values(), ids=WITHOUT_AUTOGRAD)
def test_affine_modules_that_autograd_cannot_judge(module, in_shape):
    module = prepared(module)
    graph = gpu.trace(module, in_shape)
    assert_same(module, graph)
    assert_close(compose(graph).W, by_unit_vectors(module, in_shape), scale=1.0)


def recorded(module, in_shape):
    return {name_of(node).rstrip("_") for node in export(module, in_shape, 2).graph.nodes if node.op == "call_function"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module", "in_shape"), [(name, *case) for name, case in BY_NAME.items()], ids=BY_NAME)
def test_operations_by_their_names_in_aten(name, module, in_shape):
    module = prepared(module)
    assert name in recorded(module, in_shape)
    graph = gpu.trace(module, in_shape)
    assert_same(module, graph)
    assert_close(compose(graph).W, by_unit_vectors(module, in_shape), scale=1.0)


SOME = ("batch_norm_without_statistics_rewritten", "cast_to_complex_numbers", "the_dot_product_of_samples", "attention")
"""Cases that are not affine, and record operations that no affine one does: tried before the others of their kind."""


@pytest.mark.slow
@even_kernel_warns
def test_every_handler_has_a_case():
    missing = set(HANDLERS) - set(BY_NAME)
    cases = [*TRAINING.values(), *AFFINE.values(), *(NOT_AFFINE[name] for name in SOME), *NOT_AFFINE.values()]
    for number, (module, in_shape, *_) in enumerate(cases):
        if missing:
            with contextlib.suppress(ValueError):
                missing -= recorded(copy.deepcopy(module).train(number < len(TRAINING)), in_shape)
    assert not missing


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
    with pytest.raises(ValueError, match="module: expected an output whose first axis counts the samples"):
        gpu.trace(Lambda(lambda s, x: x.transpose(0, 1)), (3, 2))
    with pytest.raises(ValueError, match=r"expected an entry per sample in the output, got a constant of shape \(5,\)"):
        gpu.trace(Lambda(lambda s, x: s.c, c=torch.ones(5)), (3, 2))
    with pytest.raises(ValueError, match="parameters that hold numbers, got weight on the meta device"):
        gpu.trace(nn.Linear(5, 2, device="meta"), (5,))
    with pytest.raises(ValueError, match="Linear: linear of complex numbers is not known to be affine"):
        gpu.trace(nn.Linear(5, 2, dtype=torch.complex64), (5,))
    with pytest.raises(ValueError, match=r"expected a real output, got complex numbers; return torch.view_as_real"):
        gpu.trace(Lambda(lambda s, x: torch.fft.fft(x)), (4,))
    with pytest.raises(ValueError, match=r"takes \(3, 3, 4\) .* in the module: Lambda \(.*, line \d+\): shape"):
        gpu.trace(Lambda(lambda s, x: x.reshape(-1, 2, 12).sum(0)), (3, 4))
    with pytest.raises(ValueError, match=r"reads or writes x.data, .*use x.detach\(\)"):
        gpu.trace(Lambda(lambda s, x: x.data * 2), (3, 4))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda x: (x, x + 1), "a tuple of 0, 1; choose with output=0"),
        (lambda x: {"scores": x, "features": [x, x]}, "a dict of scores, features; choose with output='scores'"),
        (lambda x: (), "a tuple of nothing"),
        (lambda x: None, "None"),
        (lambda x: 3.0, r"3\.0"),
    ],
)
def test_anything_but_one_tensor_is_refused(output, message):
    with pytest.raises(ValueError, match=f"module: expected one tensor as output, got {message}"):
        gpu.trace(Lambda(lambda s, x: output(x)), (1, 2))


def test_nothing_is_written_about_what_cannot_be_recorded(capfd):
    for function in (
        lambda s, x: x if x.sum() > 0 else -x,
        lambda s, x: x * float(s.p * x.sum()),
        lambda s, x: x[:, 9],
    ):
        with pytest.raises(ValueError, match="module: "):
            gpu.trace(Lambda(function, p=nn.Parameter(torch.ones(()))), (3, 4))
    assert capfd.readouterr() == ("", "")


def test_float32_images_show_the_pixels_that_float32_arithmetic_picks():
    for scale in ({"size": 46}, {"scale_factor": 46 / 14}):
        module = nn.Upsample(**scale)
        x = torch.arange(14.0)[None, None]
        np.testing.assert_array_equal(gpu.trace(module, (1, 14))(x.numpy()), module(x).numpy())


def test_images_enlarged_by_a_whole_factor_are_resampled_by_the_rule():
    graph = gpu.trace(nn.Upsample(scale_factor=2, mode="bilinear"), (3, 4, 5))
    assert [type(node.operation) for node in graph.nodes] == [Resample]


def test_the_shape_of_one_score_per_image():
    graph, out_shape = trace_with_shape(Lambda(lambda s, x: x.sum((1, 2))), (3, 4))
    assert graph.out_shape == (1,)
    assert out_shape == ()


@pytest.mark.parametrize(
    ("module", "dtype"),
    [
        (nn.Linear(2, 2).bfloat16(), torch.bfloat16),
        (Lambda(None, c=torch.ones(2, dtype=torch.float64)), torch.float64),
        (Lambda(None, i=torch.arange(3)), torch.float32),
        (nn.Identity(), torch.float32),
    ],
)
def test_the_dtype_that_a_module_computes_in(module, dtype):
    assert like_of(module).dtype == dtype


def test_operations_left_to_torch():
    graph = gpu.trace(Lambda(lambda s, x: x.cumsum(1)), (3,))
    operation = graph.nodes[0].operation
    assert repr(operation) == "AutogradOperation(cumsum)"
    assert operation.exact() is operation
    with pytest.raises(ValueError, match=r"cumsum: expected inputs of shapes \(\(3,\),\), got \(\(4,\),\)"):
        operation.out_shape((4,))
    with pytest.raises(TypeError, match="expected numbers, got sympy expressions"):
        operation.push(np.array([[1, 2, 3]], dtype=object))


def test_the_graph_names_its_operations_by_their_place():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.Flatten(), nn.Linear(8, 3)))
    graph = gpu.trace(net, (1, 4, 4))
    assert [node.name for node in graph.nodes] == ["0: Conv2d", "1.0: Flatten", "1.1: Linear"]
    assert isinstance(graph, AffineGraph)
