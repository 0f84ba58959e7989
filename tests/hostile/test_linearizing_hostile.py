"""Networks whose forward linearising must not change, except for the activations of data."""

import copy
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import gpu
from gpu import NotAffineError

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))

GATE = "is a factor of other values that depend on the input"


class Net(nn.Module):
    """A module whose forward is a function of the module and its arguments."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, *args, **kwargs):
        return self.function(self, x, *args, **kwargs)


class OptionalArgument(nn.Module):
    """Whoever takes an argument as given loses the default."""

    def forward(self, x, scale=None):
        x = functional.relu(x)
        if scale is None:
            x = 3 * x
        return x


def test_an_optional_argument_keeps_its_default():
    linear, changes = gpu.linearize(OptionalArgument())
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(X), 3 * X)
    torch.testing.assert_close(linear(X, 2), X)
    torch.testing.assert_close(linear(X, scale=None), 3 * X)


@pytest.mark.parametrize(
    "holds",
    [
        lambda x: isinstance(x, torch.Tensor),
        torch.is_tensor,
        lambda x: type(x) is torch.Tensor,
        lambda x: hasattr(x, "untyped_storage"),
        lambda x: x.shape[-1] == 4 and len(x.shape) == 2 and x.dim() == 2,
        lambda x: not x.requires_grad,
        lambda x: bool(x.sum() == x.sum()),
    ],
)
def test_a_question_about_the_tensor_takes_the_same_branch(holds):
    linear, changes = gpu.linearize(Net(lambda self, x: 2 * x.relu() if holds(x) else x))
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(X), 2 * X)


def test_assertions_and_flags_that_many_forwards_have():
    def forward(self, x, flag=True):
        assert x.shape[1] == 3
        if x.dim() == 3:
            x = x[None]
        if flag:
            x = functional.relu(self.conv(x))
        return x.flatten(1) if len(x.shape) == 4 else x

    linear, changes = gpu.linearize(Net(forward, conv=nn.Conv2d(3, 2, 1)))
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(IMAGES), linear.conv(IMAGES).flatten(1))
    assert linear(IMAGES, flag=False).shape == (2, 3 * 64)


@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: float(torch.rand(()))])
def test_a_random_branch_stays_random(draw):
    linear, changes = gpu.linearize(Net(lambda self, x: functional.relu(x) if draw() < 0.5 else 2 * x.sigmoid()))
    assert {line.partition(" in ")[0] for line in changes} <= {"the model: relu", "the model: sigmoid"}
    results = [linear(X) for _ in range(40)]
    halves = sum(torch.equal(result, X) for result in results)
    assert 0 < halves < 40
    assert all(torch.equal(result, X) or torch.equal(result, 2 * X) for result in results)


def test_hooks_of_submodules_fire_as_often_as_before():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x).relu()

    model = nn.Sequential(Block(), Block())
    seen = []
    model[0].register_forward_hook(lambda module, args, result: seen.append("after") or result + 1)
    model[1].register_forward_pre_hook(lambda module, args: seen.append("before"))
    model[1].layer.register_forward_hook(lambda module, args, result: seen.append("inner"))
    linear, changes = gpu.linearize(model)
    assert seen == []
    assert changes == ["0: relu in forward -> identity", "1: relu in forward -> identity"]
    torch.testing.assert_close(linear(X), linear[1].layer(linear[0].layer(X) + 1))
    assert seen == ["after", "before", "inner", "inner"]  # the last by the line above


def test_no_grad_and_autocast_regions_stay():
    def forward(self, x):
        with torch.no_grad():
            x = functional.relu(self.frozen(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.tanh(self.layer(x))

    linear, _ = gpu.linearize(Net(forward, frozen=nn.Linear(4, 4), layer=nn.Linear(4, 2)))
    result = linear(X)
    assert result.dtype == torch.bfloat16
    result.sum().backward()
    assert linear.frozen.weight.grad is None
    assert linear.layer.weight.grad is not None


def test_counters_count_and_buffers_are_read_anew():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.register_buffer("scale", torch.tensor(2.0))

        def forward(self, x):
            self.calls += 1
            return x.relu() * self.calls * self.scale.item()

    linear, _ = gpu.linearize(Counting())
    assert linear.calls == 0
    torch.testing.assert_close(linear(X), 2 * X)
    torch.testing.assert_close(linear(X), 4 * X)
    linear.scale.fill_(0.5)
    torch.testing.assert_close(linear(X), 1.5 * X)


GATES = {
    "swish": lambda self, x: x * torch.sigmoid(x),
    "swish_from_the_left": lambda self, x: torch.sigmoid(x).mul_(x),
    "swish_by_function": lambda self, x: torch.mul(functional.sigmoid(x), x),
    "h_swish": lambda self, x: x * functional.relu6(x + 3) / 6,
    "h_swish_in_place": lambda self, x: x * (x + 3).clamp_(min=0).relu_() / 6,
    "mish": lambda self, x: x * torch.tanh(functional.softplus(x)),
    "divided": lambda self, x: x / (1 + functional.softplus(x)),
    "excitation_of_the_mean": lambda self, x: x * x.mean(1, keepdim=True).sigmoid().expand_as(x),
    "through_a_view": lambda self, x: (x.view(-1, 2, 2) * x.tanh().reshape(-1, 2, 2)).flatten(1),
    "through_a_list": lambda self, x: torch.cat([x.sigmoid(), x.sigmoid()], 1)[:, :4] * x,
    "attention": lambda self, x: (x[:, :, None].relu() @ x[:, None]) @ x[:, :, None],
    "einsum": lambda self, x: torch.einsum("ni,nj->nij", x.relu(), x),
    "along_an_axis": lambda self, x: torch.stack([x, x.sigmoid()]).prod(0),
    "squared": lambda self, x: x.relu() ** 2,
    "interpolated_by_data": lambda self, x: torch.lerp(torch.zeros(()), x, x.sigmoid()),
    "addcmul": lambda self, x: torch.addcmul(x, x, x.sigmoid()),
    "generated_weights": lambda self, x: functional.linear(x, x.tanh()),
    "written_into_a_buffer": lambda self, x: torch.zeros_like(x).copy_(x.sigmoid()) * x,
    "with_itself": lambda self, x: x.relu() * x.relu(),
}


@pytest.mark.parametrize("name", GATES)
def test_a_factor_that_depends_on_the_data_is_no_activation_to_be_dropped(name):
    model = Net(GATES[name])
    linear, changes = gpu.linearize(model, X)
    torch.testing.assert_close(linear(X), model(X), rtol=0, atol=0)
    assert changes
    assert all("stays" in line and GATE in line and "line " in line for line in changes)


@pytest.mark.parametrize("scale", [nn.Sigmoid(), nn.Hardsigmoid(), torch.sigmoid])
def test_squeeze_and_excitation_keeps_its_gate_only(scale):
    class Excitation(nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze, self.excite = nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)
            self.activation, self.scale = nn.ReLU(), scale

        def forward(self, x):
            factors = self.excite(self.activation(self.squeeze(x.mean((2, 3), keepdim=True))))
            return x * self.scale(factors)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.excitation = nn.Conv2d(3, 3, 3, padding=1), Excitation()

        def forward(self, x):
            return functional.relu(x + self.excitation(self.conv(x)))

    linear, changes = gpu.linearize(Block())
    assert changes[:2] == [
        "excitation.activation: ReLU -> Identity",
        "the model: relu in forward -> identity",
    ]
    assert len(changes) == 3
    assert changes[2].startswith("excitation")
    assert "stays: its result is a factor" in changes[2]
    part, convolved = linear.excitation, linear.conv(IMAGES)
    factors = part.excite(part.squeeze(convolved.mean((2, 3), keepdim=True)))
    expected = IMAGES + convolved * (functional.hardsigmoid if isinstance(scale, nn.Hardsigmoid) else torch.sigmoid)(
        factors
    )
    torch.testing.assert_close(linear(IMAGES), expected)
    with pytest.raises(NotAffineError, match="product of two values that depend on the data"):
        gpu.trace(linear, (3, 8, 8))


def test_silu_and_hardswish_as_a_whole_are_activations():
    linear, changes = gpu.linearize(Net(lambda self, x: functional.hardswish(functional.silu(x)), act=nn.SiLU()))
    assert len(changes) == 3
    torch.testing.assert_close(linear(X), X)


CONSTANTS = {
    "parameter": lambda self, x: x.relu() * torch.sigmoid(self.gate),
    "expanded": lambda self, x: x.relu() * torch.sigmoid(self.gate.to(x).expand_as(x)),
    "buffer": lambda self, x: x.relu() * torch.sigmoid(2 * self.kept),
    "made_in_the_forward": lambda self, x: x.relu() * torch.tanh(torch.linspace(0, 1, 4)),
    "global": lambda self, x: x.relu() * torch.tanh(SCALE),
    "of_the_shape": lambda self, x: x.relu() * torch.sigmoid(torch.ones_like(x)),
}
SCALE = torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("name", CONSTANTS)
def test_an_activation_of_constants_is_computed(name):
    model = Net(CONSTANTS[name], gate=nn.Parameter(torch.tensor(0.3)))
    model.register_buffer("kept", torch.tensor(-0.2))
    linear, changes = gpu.linearize(model, X)
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(X.abs()), model(X.abs()))
    torch.testing.assert_close(linear(-X.abs()), -model(X.abs()))
    gpu.trace(linear, (4,))


def test_a_module_applied_to_a_parameter_stays():
    model = Net(lambda self, x: x * self.act(self.gate), gate=nn.Parameter(torch.tensor(0.3)), act=nn.Sigmoid())
    linear, changes = gpu.linearize(model, X)
    assert changes == []
    torch.testing.assert_close(linear(X), model(X))


@pytest.mark.parametrize("weight", [0.25, torch.tensor(0.25)])
def test_an_interpolation_with_constant_weights_is_no_product(weight):
    class Interpolating(nn.Module):
        def forward(self, x):
            return torch.lerp(functional.relu(x), x, weight)

    linear, changes = gpu.linearize(Interpolating(), torch.randn(2, 4))
    assert changes == ["the model: relu in forward -> identity"]
    x = torch.randn(3, 4)
    assert torch.allclose(linear(x), x)


def test_a_function_for_constants_and_data_is_dropped_for_data_only():
    def forward(self, x):
        return torch.stack([torch.tanh(value) for value in (x, self.gate.expand_as(x))]).sum(0)

    linear, changes = gpu.linearize(Net(forward, gate=nn.Parameter(torch.tensor(0.3))), X)
    assert changes == ["the model: tanh in forward -> identity"]
    torch.testing.assert_close(linear(X), X + torch.tanh(torch.tensor(0.3)))
    both = Net(lambda self, x: self.act(x) + self.act(self.gate), gate=nn.Parameter(torch.ones(4)), act=nn.Tanh())
    assert gpu.linearize(both, X)[1] == [
        "act: Tanh stays: it is applied to values that depend on the input and to values that do not; use two modules"
    ]


CALLS = {
    "function": lambda self, x: functional.relu(x),
    "keyword": lambda self, x: functional.relu(input=x),
    "in_place": lambda self, x: functional.relu(x.clone(), inplace=True),
    "method": lambda self, x: x.relu(),
    "method_in_place": lambda self, x: x.clone().relu_(),
    "out": lambda self, x: torch.sigmoid(x, out=torch.empty_like(x)),
    "attribute": lambda self, x: self.act(x),
    "by_name": lambda self, x: getattr(functional, "leaky_" + "relu")(x),
    "special": lambda self, x: torch.special.expit(x),
    "operator": lambda self, x: torch.ops.aten.relu(x),
    "overload": lambda self, x: torch.ops.aten.relu.default(x),
    "helper": lambda self, x: helper(x),
    "generator": lambda self, x: torch.stack([part.tanh() for part in x.unbind(1)], 1),
    "threshold": lambda self, x: functional.threshold(x, 0.1, 2.0),
    "logsigmoid": lambda self, x: functional.logsigmoid(x),
}


def helper(x):
    return functional.softplus(x, beta=2)


@pytest.mark.parametrize("name", CALLS)
def test_every_way_to_call_a_function_is_seen(name):
    linear, changes = gpu.linearize(Net(CALLS[name], act=functional.gelu), X)
    assert len(changes) == 1
    assert changes[0].endswith(" in forward -> identity")
    torch.testing.assert_close(linear(X), X)
    gpu.trace(linear, (4,))


@pytest.mark.parametrize(
    "pool",
    [
        lambda self, x: functional.max_pool2d(x, 2, 1, ceil_mode=True),
        lambda self, x: torch.max_pool2d(x, kernel_size=(2, 2)),
        lambda self, x: functional.adaptive_max_pool2d(x, (2, 3)),
    ],
)
def test_pooling_functions_become_average_pooling(pool):
    model = Net(pool)
    linear, changes = gpu.linearize(model, IMAGES)
    assert "avg_pool2d" in changes[0]
    assert linear(IMAGES).shape == model(IMAGES).shape
    torch.testing.assert_close(linear(torch.ones(1, 3, 6, 6)), model(torch.ones(1, 3, 6, 6)))
    gpu.trace(linear, (3, 8, 8))


def test_an_identity_shares_memory_only_where_nobody_writes():
    def forward(self, x):
        y = self.act(x)
        y += 1
        z = functional.relu(x)
        z *= 2
        return x + y + z

    linear, changes = gpu.linearize(Net(forward, act=nn.ReLU()), X)
    assert changes == ["act: ReLU -> Identity", "the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(X.clone()), 4 * X + 1)
    kept = X.clone()
    linear(kept)
    torch.testing.assert_close(kept, X)


def test_the_children_of_a_linearised_network_are_linear_in_another_one():
    class Block(nn.Module):
        def forward(self, x):
            return functional.relu(x) + 1

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Block(), nn.Linear(4, 4)

        def forward(self, x):
            return torch.tanh(self.second(self.first(x)))

    linear, _ = gpu.linearize(Whole())
    loose = nn.Sequential(*linear.children())
    torch.testing.assert_close(loose(X), linear(X))
    assert gpu.linearize(linear)[1] == []


class Picklable(nn.Module):
    """A module that pickle finds."""

    registered: ClassVar[list[str]] = []

    def __init_subclass__(cls):
        cls.registered.append(cls.__name__)

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        """The user's own words."""
        assert type(x) is torch.Tensor
        return functional.relu(self.layer(super().requires_grad_() and x))


def test_the_class_is_still_the_users():
    model = Picklable()
    model.register_forward_hook(double)
    linear, _ = gpu.linearize(model)
    assert Picklable.registered == []
    assert isinstance(linear, Picklable)
    assert repr(linear) == repr(model)
    assert type(linear).__name__ == "Picklable"
    assert type(linear).__module__ == Picklable.__module__
    for copied in (copy.deepcopy(linear), pickle.loads(pickle.dumps(linear)), copy.copy(linear)):
        torch.testing.assert_close(copied(X), 2 * model.layer(X))
        assert copied.state_dict().keys() == model.state_dict().keys()
    assert type(model) is Picklable


def double(module, args, result):
    return 2 * result


def test_classes_that_make_their_copies_themselves():
    class Own(nn.Module):
        def __init__(self, scale=2):
            super().__init__()
            self.scale = scale

        def forward(self, x):
            return self.scale * x.relu()

        def __deepcopy__(self, memo):
            return Own(self.scale)

        def __reduce__(self):
            return Own, (self.scale,)

    linear, _ = gpu.linearize(Own(3))
    torch.testing.assert_close(copy.deepcopy(linear)(X), 3 * X)
    torch.testing.assert_close(copy.copy(linear)(X), 3 * X)
    graph, changes = gpu.linearize(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), Own(2))))
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(copy.deepcopy(graph)(X), graph(X))
    assert float(graph(X).detach().min()) < 0


def checkpointed(self, x):
    x = checkpoint(lambda y: functional.relu(self.first(y)), x, use_reentrant=False)
    return functional.relu(self.second(x))


class Sigmoid(torch.autograd.Function):
    """A function with a backward of its own."""

    @staticmethod
    def forward(ctx, x):
        y = torch.sigmoid(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        return gradient * y * (1 - y)


def with_its_own_backward(self, x):
    return functional.relu(self.second(Sigmoid.apply(self.first(x))))


def in_a_thread(self, x):
    with ThreadPoolExecutor(1) as pool:
        x = pool.submit(torch.relu, self.first(x)).result()
    return functional.relu(self.second(x))


FOLLOWED_IN_PART = {
    checkpointed: ("relu", "torch.utils.checkpoint runs it again in the backward pass", "nn.ReLU"),
    with_its_own_backward: ("sigmoid", "torch.autograd.Function", "nn.Sigmoid"),
    in_a_thread: ("relu", "in another thread", "nn.ReLU"),
}


@pytest.mark.parametrize("function", FOLLOWED_IN_PART, ids=lambda function: function.__name__)
def test_what_cannot_be_followed_stays_and_siblings_are_replaced(function):
    name, reason, remedy = FOLLOWED_IN_PART[function]
    torch.manual_seed(0)
    model = Net(function, first=nn.Linear(4, 4), second=nn.Linear(4, 4))
    linear, (change, stays) = gpu.linearize(model)
    assert change == "the model: relu in forward -> identity"
    assert stays.startswith(f"the model: {name} in ")
    assert " stays: " in stays
    assert reason in stays
    assert f"write self.act = {remedy}(...) instead" in stays
    first = getattr(torch, name)(linear.first(X))
    torch.testing.assert_close(linear(X), linear.second(first))
    linear(X).sum().backward()
    gradient = linear.first.weight.grad.clone()
    linear.zero_grad()
    linear.second(getattr(torch, name)(linear.first(X))).sum().backward()
    torch.testing.assert_close(linear.first.weight.grad, gradient)


def test_a_hook_is_left_alone_and_said_so():
    model = nn.Sequential(nn.Linear(4, 4))
    model.register_forward_hook(lambda module, args, result: result.relu())
    linear, changes = gpu.linearize(model)
    assert len(changes) == 1
    assert changes[0].startswith("the model: relu in line ")
    assert "stays: it is called by a hook" in changes[0]
    torch.testing.assert_close(linear(X), model(X))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_scripted_code_is_left_alone_and_said_so():
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    model = Net(lambda self, x: self.scripted(x).tanh(), scripted=scripted)
    linear, changes = gpu.linearize(model)
    assert changes[0] == "the model: tanh in forward -> identity"
    assert any("relu" in line and "stays" in line and "torch.jit" in line for line in changes[1:])
    torch.testing.assert_close(linear(X), scripted(X))
    function = torch.jit.script(scripted_relu)
    linear, changes = gpu.linearize(Net(lambda self, x: function(x).tanh()), X)
    assert changes[0] == "the model: tanh in forward -> identity"
    assert "relu in line " in changes[1]
    torch.testing.assert_close(linear(X), X.relu())
    torch.testing.assert_close(gpu.linearize(scripted)[0](X), scripted(X))
    gate = Net(lambda self, x: function(x.sigmoid()) * x)
    torch.testing.assert_close(gpu.linearize(gate, X)[0](X), gate(X))


def scripted_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x)


def branch_that_no_run_takes(self, x, late=False):
    if late:
        return self.scale * x.sigmoid()
    return x


def test_a_branch_that_no_run_took_is_linear_when_it_is_taken():
    linear, changes = gpu.linearize(Net(branch_that_no_run_takes, scale=2.0), X)
    assert changes == []
    torch.testing.assert_close(linear(X), X)
    torch.testing.assert_close(linear(X, True), 2 * X)


def test_a_gate_in_a_branch_that_no_run_took_is_an_error_not_x_squared():
    def forward(self, x, late=False):
        return x * torch.sigmoid(x) if late else x.relu()

    linear, _ = gpu.linearize(Net(forward), X)
    with pytest.raises(
        RuntimeError, match=r"sigmoid in line \d+ of test_linearizing_hostile.py: .*linearize the network"
    ):
        linear(X, True)
    linear, changes = gpu.linearize(Net(forward), (X, True))
    assert len(changes) == 1
    torch.testing.assert_close(linear(X, True), X * torch.sigmoid(X))


def test_inputs_that_the_forward_takes_are_found_or_asked_for():
    assert gpu.linearize(Net(lambda self, x: self.l(x.flatten(1)).relu(), l=nn.Linear(3 * 24 * 24, 2)))[1]
    odd = Net(
        lambda self, x: self.conv(x).flatten(1) @ self.weight,
        conv=nn.Conv2d(3, 1, 3),
        weight=nn.Parameter(torch.ones(35 * 35, 2)),
    )
    odd.function = lambda self, x: (self.conv(x).flatten(1) @ self.weight).relu()
    assert gpu.linearize(odd)[1] == ["the model: relu in forward -> identity"]
    two = Net(lambda self, x, y: x.relu() + self.act(y), act=nn.ReLU())
    linear, changes = gpu.linearize(two)
    assert changes[0] == "act: ReLU -> Identity"
    assert changes[1].startswith("the model: relu in forward stays: ")
    assert all("pass inputs=" in line for line in changes[1:])
    torch.testing.assert_close(linear(X, X), X.relu() + X)
    linear, changes = gpu.linearize(two, (X, X))
    torch.testing.assert_close(linear(X, X), 2 * X)
    with pytest.raises(
        ValueError, match="inputs: expected arguments that the forward of the model takes, got TypeError"
    ):
        gpu.linearize(two, (X,))


def test_nothing_of_the_runs_is_left():
    seen = []

    def forward(self, x):
        seen.append(x)
        return x.relu()

    def random_states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = random_states()
    gpu.linearize(Net(forward), X)
    assert seen == []
    assert random_states() == before
    assert threading.getprofile() is None


def test_torch_compile_trains_the_linear_network():
    model = Net(lambda self, x: functional.relu(self.layer(x)), layer=nn.Linear(4, 4))
    linear, _ = gpu.linearize(model)
    compiled = torch.compile(linear, backend="eager")
    torch.testing.assert_close(compiled(X), linear.layer(X))
    compiled(X).sum().backward()
    torch.testing.assert_close(linear.layer.bias.grad, torch.full((4,), 3.0))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*is deprecated")
def test_other_tools_of_torch_see_the_linear_network_or_refuse():
    linear, _ = gpu.linearize(Net(lambda self, x: functional.relu(self.layer(x)), layer=nn.Linear(4, 4)))
    expected = linear.layer(X)
    torch.testing.assert_close(torch.jit.trace(linear, X)(X), expected)
    torch.testing.assert_close(torch.export.export(linear, (X,), strict=False).module()(X), expected)
    replica = linear._replicate_for_data_parallel()
    replica.layer = linear.layer
    torch.testing.assert_close(replica(X), expected)
    torch.testing.assert_close(torch.func.functional_call(linear, dict(linear.named_parameters()), (X,)), expected)
    with pytest.raises(TypeError, match="which cannot follow a forward that linearize has changed"):
        torch.fx.symbolic_trace(linear)
    with pytest.raises((RuntimeError, torch.jit.frontend.NotSupportedError)):
        torch.jit.script(linear)


def test_a_refusal_recommends_linearize_only_where_it_helps():
    def forward(self, x):
        return self.act(x) * torch.sigmoid(x)

    with pytest.raises(NotAffineError) as refused:
        gpu.trace(Net(forward, act=nn.ReLU()), (4,))
    text = str(refused.value)
    assert "as gpu.linearize does" not in text
    assert text.count("is a factor of other values") == 2

    class OnlyExported(nn.Module):
        def forward(self, x):
            if not torch.compiler.is_exporting():
                raise RuntimeError("for export only")
            return x.relu()

    with pytest.raises(NotAffineError, match="relu is not affine; replace it by the identity$"):
        gpu.trace(OnlyExported(), (4,))

    class Checkpointed(nn.Module):
        def forward(self, x):
            x = checkpoint(functional.relu, x, use_reentrant=False)
            return functional.relu(x)

    with pytest.raises(NotAffineError) as refused:
        gpu.trace(Checkpointed(), (4,))
    text = str(refused.value)
    assert text.count("as gpu.linearize does") == 1
    assert text.count("write self.act = nn.ReLU(...) instead") == 1
    with pytest.raises(
        NotAffineError, match=r"2 times; .*, as gpu.linearize does, but the model: relu in line \d+ of "
    ):
        gpu.trace(Net(checkpointed, first=nn.Linear(4, 4), second=nn.Linear(4, 4)), (4,))
    layer = nn.TransformerEncoderLayer(4, 1, dim_feedforward=4, batch_first=True).eval()
    with pytest.raises(
        NotAffineError, match="TransformerEncoderLayer is a module of torch, whose forward is not rewritten"
    ):
        gpu.trace(Net(lambda self, x: self.layer(x), layer=layer), (2, 4))
