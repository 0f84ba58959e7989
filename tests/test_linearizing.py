"""Linearising replaces nonlinear modules, and functions in a forward; what it leaves is refused by name."""

import copy
import re

import pytest
import torch
import torchvision
from module_cases import Lambda
from torch import nn
from torch.nn import functional

import gpu
from gpu import NotAffineError
from gpu.models.nonlinearities import BY_FUNCTION, BY_MODULE, NONLINEARITIES, nonlinearity_of


def test_modules_are_replaced_and_listed():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), shared, nn.MaxPool2d(2, 1, 1, ceil_mode=True), shared, nn.GELU())
    model.train()
    linear, changes = gpu.linearize(model)
    assert changes == ["1: ReLU -> Identity", "2: MaxPool2d -> AvgPool2d", "4: GELU -> Identity"]
    assert isinstance(linear[3], nn.Identity)
    assert repr(linear[2]) == "AvgPool2d(kernel_size=2, stride=1, padding=1)"
    assert linear[2].ceil_mode
    assert linear.training
    assert linear.state_dict().keys() == model.state_dict().keys()
    assert isinstance(model[1], nn.ReLU)
    assert linear[0].weight is not model[0].weight
    x = torch.randn(2, 1, 6, 6)
    assert linear(x).shape == model(x).shape


def test_functions_in_a_forward_are_replaced():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            y = functional.relu(self.conv(x), inplace=True).sigmoid()
            return torch.tanh(functional.max_pool2d(y, 2, stride=1) + functional.max_pool2d(y, kernel_size=2, stride=1))

    linear, changes = gpu.linearize(Net().eval())
    assert [line.partition(" in ")[0].rpartition(" ")[2] for line in changes] == [
        "relu",
        "sigmoid",
        "max_pool2d",
        "max_pool2d",
        "tanh",
    ]
    assert linear.state_dict().keys() == Net().state_dict().keys()
    assert not linear.training
    x = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(linear(x), 2 * functional.avg_pool2d(linear.conv(x), 2, stride=1))
    gpu.trace(linear, (1, 4, 4))


def test_what_cannot_be_replaced_stays_and_is_refused_by_name():
    pools = nn.Sequential(nn.MaxPool2d(2, dilation=2), nn.AdaptiveMaxPool2d(2))
    linear, changes = gpu.linearize(pools)
    assert changes == [
        "1: AdaptiveMaxPool2d -> AdaptiveAvgPool2d",
        "0: MaxPool2d stays: average pooling has no dilation, and no indices to return",
    ]
    with pytest.raises(NotAffineError, match="0: MaxPool2d: max_pool2d is not affine"):
        gpu.trace(linear, (1, 6, 6))
    dilated = Lambda(lambda s, x: functional.max_pool2d(x, 2, dilation=2))
    (line,) = gpu.linearize(dilated)[1]
    assert line.endswith("stays: average pooling has no dilation, and no indices to return")
    branching = Lambda(lambda s, x: functional.relu(x) if x.shape[1] > 1 else x)
    assert gpu.linearize(branching)[1] == ["the model: relu in forward -> identity"]


def test_an_activation_alone():
    linear, changes = gpu.linearize(nn.ReLU())
    assert isinstance(linear, nn.Identity)
    assert changes == ["the model: ReLU -> Identity"]
    with pytest.raises(TypeError, match="model: expected an nn.Module, got builtin"):
        gpu.linearize(torch.relu)


class Dropping(nn.Module):
    """A module whose forward depends on its mode, by an option and by a branch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        y = functional.relu(self.layer(x))
        y = functional.dropout(y, 0.5, self.training)
        return 3 * y if self.training else y


@pytest.mark.parametrize("training", [True, False])
def test_a_rewritten_forward_keeps_both_modes(training):
    torch.manual_seed(0)
    linear, changes = gpu.linearize(Dropping().train(training))
    assert changes == ["the model: relu in forward -> identity"]
    assert linear.training == linear.layer.training == training
    x = torch.randn(50, 4)
    linear.eval()
    torch.testing.assert_close(linear(x), linear.layer(x))
    gpu.trace(linear, (4,))
    dropped = linear.train()(x)
    assert 50 < int((dropped == 0).sum()) < 150
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 6 * linear.layer(x)[kept])
    copied = copy.deepcopy(linear.eval())
    copied.layer.weight.data.zero_()
    torch.testing.assert_close(copied(x), copied.layer.bias.expand(50, 4))
    assert float(linear(x).detach().var()) > 0.01


def test_changes_in_one_mode_are_listed_so():
    def forward(self, x):
        if self.training:
            return functional.max_pool1d(x.relu(), 2)
        return functional.relu(x).tanh()

    linear, changes = gpu.linearize(Lambda(forward))
    assert changes == [
        "the model: relu in forward -> identity",
        "the model: max_pool1d in forward -> avg_pool1d, in training only",
        "the model: tanh in forward -> identity, in evaluation only",
    ]
    x = torch.randn(1, 1, 4)
    torch.testing.assert_close(linear(x), functional.avg_pool1d(x, 2))
    torch.testing.assert_close(linear.eval()(x), x)

    def half_known(self, x):
        if self.training and x.sum() > 0:
            return x
        return x.relu()

    linear, changes = gpu.linearize(Lambda(half_known).eval(), torch.full((2, 3), -1.0))
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(-x.abs()), -x.abs())
    torch.testing.assert_close(linear.train()(-x.abs()), -x.abs())


@pytest.mark.slow
def test_linearised_in_training_then_evaluated():
    torch.manual_seed(0)
    model = torchvision.models.googlenet(num_classes=3, init_weights=False)
    linear, _ = gpu.linearize(model)
    assert len(linear(torch.randn(2, 3, 64, 64))) == 3
    assert linear.eval()(torch.randn(2, 3, 64, 64)).shape == (2, 3)
    assert linear.state_dict().keys() == model.state_dict().keys()


def test_random_numbers_of_a_forward_are_not_kept():
    state = torch.get_rng_state()
    noisy = Lambda(lambda s, x: functional.relu(x) + torch.randn(4))
    linear, changes = gpu.linearize(noisy)
    assert torch.equal(torch.get_rng_state(), state)
    assert changes == ["the model: relu in forward -> identity"]
    x = torch.randn(2, 4)
    assert not torch.equal(linear(x), linear(x))


def test_hooks_and_names_stay():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    seen = []
    model[1].register_forward_hook(lambda module, args, result: seen.append(result.shape) or 2 * result)
    linear, _ = gpu.linearize(model)
    x = torch.randn(2, 3)
    torch.testing.assert_close(linear(x), 2 * linear[0](x))
    assert seen == [(2, 3)]
    constant = Lambda(lambda s, x: functional.prelu(s.layer(x), torch.tensor(0.25)), layer=nn.Linear(3, 3))
    linear, changes = gpu.linearize(constant)
    assert changes == ["the model: prelu in forward -> identity"]
    assert linear.state_dict().keys() == constant.state_dict().keys()
    assert type(linear).__name__ == "Lambda"
    assert isinstance(linear, Lambda)
    assert type(constant) is Lambda


MADE_WITH = {nn.Threshold: (0.1, 20.0)} | {
    kind: (2,) for kind in BY_MODULE if kind.__name__.startswith(("MaxPool", "AdaptiveMaxPool"))
}
"""Arguments of the modules that need any."""


def case_of(kind):
    """A module of the table, and the shape of its input; the name of a pool ends with its number of axes."""
    pool = re.search(r"Pool(\d)d$", kind.__name__)
    axes = int(pool[1]) if pool else 2
    return kind(*MADE_WITH.get(kind, ())).double().eval(), (2, *(4,) * axes)


@pytest.mark.parametrize("kind", BY_MODULE, ids=lambda kind: kind.__name__)
def test_every_module_of_the_table_is_replaced_by_what_the_table_says(kind):
    module, in_shape = case_of(kind)
    linear, changes = gpu.linearize(module)
    replacement = BY_MODULE[kind].linear_module
    assert changes == [f"the model: {kind.__name__} -> {replacement.__name__}"]
    assert type(linear) is replacement
    x = torch.zeros(3, *in_shape, dtype=torch.float64)
    assert linear(x).shape == module(x).shape
    with pytest.raises(NotAffineError, match="is not affine"):
        gpu.trace(module, in_shape)
    gpu.trace(linear, in_shape)


def share_of_bends(function, in_shape):
    """Return the share of random points at which the second difference of a function along a short line is not zero."""
    generator = torch.Generator().manual_seed(0)
    x, step = (torch.randn(200, *in_shape, dtype=torch.float64, generator=generator) for _ in range(2))
    with torch.no_grad():
        ahead, here, behind = (function(2 * x + sign * 1e-4 * step) for sign in (1, 0, -1))
    return float(((ahead - 2 * here + behind).abs() > 1e-13).double().mean())


FUNCTIONS = {
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp_min": lambda x: x.clamp_min(0.5),
    "abs": torch.abs,
    "sign": torch.sign,
    "max": lambda x: x.max(1).values,
    "amin": lambda x: x.amin(1),
    "sort": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2, 1).values,
    "median": lambda x: x.median(1).values,
    "glu": lambda x: functional.glu(x, 1),
    "softmax": lambda x: x.softmax(1),
    "layer_norm": lambda x: functional.layer_norm(x, x.shape[1:]),
    "exp": torch.exp,
    "pow": lambda x: x.pow(3),
    "var": lambda x: x.var(1),
    "prod": lambda x: x.prod(1),
}
"""Functions without a module that linearize replaces, by their names in ATen."""


@pytest.mark.parametrize(
    ("row", "function", "in_shape"),
    [pytest.param(BY_MODULE[kind], *case_of(kind), id=kind.__name__) for kind in BY_MODULE]
    + [pytest.param(nonlinearity_of(name), f, (6,), id=name) for name, f in FUNCTIONS.items()],
)
def test_piecewise_linear_means_that_second_differences_vanish_between_the_breaks(row, function, in_shape):
    bends = share_of_bends(function, in_shape)
    if row.piecewise_linear:
        assert bends < 0.01  # a few of the points lie beside a break
    else:
        assert bends > 0.2


@pytest.mark.parametrize("row", [row for row in NONLINEARITIES if row.module], ids=lambda row: row.aten)
def test_every_function_of_the_table_is_replaced_in_a_forward(row):
    name = row.aten.rstrip(".*").replace("log_sigmoid", "logsigmoid")
    arguments = {"prelu": (torch.tensor(0.25),), "threshold": (0.1, 20.0)} | dict.fromkeys(
        (f"{kind}max_pool{axes}d" for kind in ("", "adaptive_") for axes in (1, 2, 3)), (2,)
    )
    forward = Lambda(lambda s, x: getattr(functional, name)(x, *arguments.get(name, ())))
    replacement = row.linear_function.__name__ if row.linear_function else "identity"
    assert gpu.linearize(forward)[1] == [f"the model: {row.functions[0]} in forward -> {replacement}"]


def test_no_function_stands_in_the_table_twice():
    assert len(BY_FUNCTION) == sum(len(row.functions) for row in NONLINEARITIES)
    assert len(BY_MODULE) == sum(row.module is not None for row in NONLINEARITIES)


@pytest.mark.parametrize(
    "inputs",
    [
        torch.ones(4, 1, 6, 7),
        torch.ones(4, 5, 6, 6),
        "images",
        torch.ones(4, 1, 6, 6).numpy(),
        (torch.ones(4, 1, 6, 6), 3),
    ],
    ids=["size", "channels", "words", "array", "two arguments"],
)
def test_inputs_that_do_not_fit_are_refused_by_networks_without_code_of_the_users_as_well(inputs):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()
    with pytest.raises(ValueError, match="inputs: expected arguments that the forward of the model takes, got "):
        gpu.linearize(model, inputs)
