"""The runs with which linearising looks at a network: inputs that are found, and networks that are hard to run."""

import itertools
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import gpu

from .test_linearizing_hostile import IMAGES, Net, X

RELU = "the model: relu in forward -> identity"


def test_a_network_that_differs_from_itself_is_left_alone_and_said_so():
    numbers = itertools.count()
    model = Net(lambda self, x: self.act(x).relu() * next(numbers), act=nn.Tanh())
    with pytest.warns(RuntimeWarning, match="changed numbers .*, which cannot be undone"):
        linear, changes = gpu.linearize(model)
    assert changes[0] == "act: Tanh -> Identity"
    assert len(changes) == 2
    assert changes[1].startswith("the model: relu in line ")
    assert "stays: with the activations put back, the network does not compute what the original does: " in changes[1]
    assert type(linear) is Net
    assert float(linear(-X.abs()).abs().max()) == 0


@pytest.mark.parametrize("runs", [2, 4])  # it fails in the runs that are watched, and in those that are compared
def test_a_network_that_fails_at_times_is_left_alone_and_said_so(runs):
    calls = itertools.count()

    def forward(self, x):
        if next(calls) >= runs:
            raise RuntimeError("tired")
        return x.relu()

    with pytest.warns(RuntimeWarning, match="changed calls .*, which cannot be undone"):
        linear, changes = gpu.linearize(Net(forward))
    assert any("RuntimeError: tired" in line for line in changes)
    assert all("stays" in line or "nothing was compared" in line for line in changes)
    assert type(linear) is Net


def test_a_class_that_cannot_be_derived_from_is_left_alone_and_said_so():
    class Final(type):
        def __new__(cls, name, bases, names):
            if any(isinstance(base, Final) for base in bases):
                raise TypeError("final")
            return super().__new__(cls, name, bases, names)

    class Closed(nn.Module, metaclass=Final):
        def forward(self, x):
            return x.relu()

    linear, changes = gpu.linearize(Net(lambda self, x: self.closed(x).tanh(), closed=Closed()))
    assert changes[0] == "the model: tanh in forward -> identity"
    assert "closed: relu in line " in changes[1]
    assert "stays: its module's class does not let others be derived from it" in changes[1]
    torch.testing.assert_close(linear(X), X.relu())


def test_a_larger_image_is_tried_where_training_needs_one():
    def forward(self, x):
        y = functional.relu(self.conv(x)).mean((2, 3))
        return y + self.side(x).flatten(1).mean(1, keepdim=True).sigmoid() if self.training else y

    _, changes = gpu.linearize(Net(forward, conv=nn.Conv2d(3, 2, 3), side=nn.Conv2d(3, 1, 40)))
    assert changes == [RELU, "the model: sigmoid in forward -> identity, in training only"]


def test_a_mode_in_which_it_cannot_be_run_is_named():
    def forward(self, x):
        if self.training:
            raise NotImplementedError("for inference only")
        return x.relu()

    linear, changes = gpu.linearize(Net(forward))
    assert changes == [
        RELU,
        "the model: nothing was compared in training mode, in which it could not be run (NotImplementedError: for "
        "inference only)",
    ]
    torch.testing.assert_close(linear.eval()(X), X)


class Pair(NamedTuple):
    """An argument that has two parts."""

    first: torch.Tensor
    second: int


FOUND = {
    "words": nn.Embedding(7, 4),
    "sequence": nn.Conv1d(5, 2, 3),
    "volume": nn.Conv3d(2, 1, 2),
    "upsampled": nn.ConvTranspose2d(3, 2, 2),
    "normalised_first": nn.BatchNorm2d(3),
    "features": nn.BatchNorm1d(6),
    "digits": nn.Sequential(nn.Flatten(), nn.Linear(784, 2)),
}


@pytest.mark.parametrize("name", FOUND)
def test_inputs_of_the_first_layer_are_found(name):
    assert gpu.linearize(Net(lambda self, x: self.first(x).relu(), first=FOUND[name]))[1] == [RELU]


def test_inputs_of_bare_weights_are_found():
    kernel, matrix = nn.Parameter(torch.ones(2, 3, 3, 3)), nn.Parameter(torch.ones(5, 2))
    assert gpu.linearize(Net(lambda self, x: functional.conv2d(x, self.weight).relu(), weight=kernel))[1] == [RELU]
    assert gpu.linearize(Net(lambda self, x: (x @ self.weight).relu(), weight=matrix))[1] == [RELU]
    buffered = Net(lambda self, x: (x - self.mean).relu())
    buffered.register_buffer("mean", torch.ones(2, 7, 5))
    assert gpu.linearize(buffered)[1] == [RELU]


def test_a_forward_that_tells_nothing_of_itself_is_run_all_the_same():
    class Odd(nn.Module):
        def forward(self, x):
            return x.relu() if True else not_yet

    Odd.forward.__signature__ = "unknown"
    linear, changes = gpu.linearize(Odd())
    assert changes == [RELU]
    not_yet = linear(X)
    torch.testing.assert_close(not_yet, X)


def test_arguments_in_lists_and_dicts_are_redrawn():
    def forward(self, parts, more, flag, index, empty):
        assert flag
        assert isinstance(parts, Pair)
        return parts[0].relu() + more["y"].tanh()[index] + empty.sum()

    arguments = (Pair(X, 1), {"y": X}, True, torch.tensor([2, 1, 0]), torch.zeros(0))
    linear, changes = gpu.linearize(Net(forward), arguments)
    assert len(changes) == 2
    torch.testing.assert_close(linear(*arguments), X + X.flip(0))


def test_sparse_constants_and_integers_are_no_obstacle():
    def forward(self, x):
        y = torch.sparse.mm(self.sparse, x.T).T.relu()
        return y + torch.sigmoid(x.long()) * 0

    sparse = torch.eye(4).to_sparse()
    linear, changes = gpu.linearize(Net(forward, sparse=sparse), X)
    assert changes == [RELU]
    torch.testing.assert_close(linear(X), X)


def test_dilated_pooling_and_pooling_with_indices_stay():
    model = Net(
        lambda self, x: (
            functional.max_pool2d(x, 2, dilation=2)[..., :3, :3]
            + functional.max_pool2d_with_indices(x, 2)[0][..., :3, :3]
        )
    )
    linear, changes = gpu.linearize(model, IMAGES)
    assert len(changes) == 2, "one for each line"
    for change in changes:
        assert "max_pool2d in line" in change
        assert change.endswith("stays: average pooling has no dilation, and no indices to return")
    torch.testing.assert_close(linear(IMAGES), model(IMAGES))


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: functional.max_pool2d(x, 2, return_indices=True),
        lambda x: functional.max_pool2d_with_indices(x, 2, return_indices=False),
        lambda x: functional.adaptive_max_pool2d(x, 2, return_indices=True),
        lambda x: torch.ops.aten.max_pool2d_with_indices(x, 2),
    ],
)
def test_pooling_that_returns_indices_is_listed_and_stays(pool):
    model = Net(lambda self, x: pool(x)[0])
    linear, changes = gpu.linearize(model, IMAGES)
    torch.testing.assert_close(linear(IMAGES), model(IMAGES))
    (change,) = changes
    assert "max_pool2d in line" in change


def test_a_forward_called_without_hooks_belongs_to_its_module():
    class Block(nn.Module):
        def forward(self, x):
            return x.relu()

    layer = nn.TransformerEncoderLayer(4, 1, 4, 0.0, activation=nn.ReLU(), batch_first=True).eval()
    model = Net(lambda self, x: self.layer.forward(self.block.forward(x)[:, None]), block=Block(), layer=layer)
    linear, changes = gpu.linearize(model, X)
    assert changes == ["layer.activation: ReLU -> Identity", "block: relu in forward -> identity"]
    with torch.no_grad():  # in which a fused kernel would have an activation of its own
        fast = linear.eval()(X)
    torch.testing.assert_close(fast, linear(X))


def transformer(activation, kind=nn.TransformerEncoderLayer):
    return kind(4, 1, 4, 0.0, activation=activation, batch_first=True)


BUILT_IN = {
    "transformer": (transformer("relu"), {"relu": "nn.ReLU()"}),
    "gelu of the decoder": (transformer("gelu", nn.TransformerDecoderLayer), {"gelu": "nn.GELU()"}),
    "a function in torch": (transformer(torch.tanh), {"tanh": "nn.Tanh()"}),
    "a lambda": (transformer(lambda x: x.sigmoid()), {"sigmoid": "nn.Sigmoid()"}),
    "a partial function": (transformer(partial(functional.gelu, approximate="tanh")), {"gelu": "nn.GELU()"}),
    "rnn": (nn.RNN(4, 4, nonlinearity="relu"), {"relu": ""}),
    "rnn cell": (nn.RNNCell(4, 4), {"tanh": ""}),
    "lstm": (nn.LSTM(4, 4), {"sigmoid": "", "tanh": ""}),
    "gru cell": (nn.GRUCell(4, 4), {"sigmoid": "", "tanh": ""}),
}


@pytest.mark.parametrize(("layer", "names"), BUILT_IN.values(), ids=BUILT_IN)
def test_activations_inside_layers_of_torch_are_listed_where_no_class_is_the_users(layer, names):
    kind = type(layer).__name__
    linear, changes = gpu.linearize(nn.Sequential(nn.ReLU(), layer))
    assert changes[0] == "0: ReLU -> Identity"
    assert len(changes) == 1 + len(names)
    for line, (name, remedy) in zip(changes[1:], names.items(), strict=True):
        assert line.startswith(f"1: {name} in forward stays: {kind} is a ")
        assert line.endswith(f"give it activation={remedy} instead" if remedy else "have their own activations")
    assert type(linear[1]) is type(layer)


def test_activations_inside_layers_of_torch_are_listed_once_beside_those_of_the_user():
    def forward(self, x):
        return self.cell(self.layer(x[:, None])[:, 0]).relu()

    _, changes = gpu.linearize(Net(forward, layer=transformer("relu"), cell=nn.RNNCell(4, 4)), X)
    assert [line.partition(" stays")[0] for line in changes] == [
        RELU,
        "layer: relu in forward",
        "cell: tanh in forward",
    ]
    _, changes = gpu.linearize(Net(forward, layer=transformer(lambda x: x.relu()), cell=nn.RNNCell(4, 4)), X)
    assert sum("layer: relu in " in line for line in changes) == 1  # a run has found its line
    assert gpu.linearize(transformer(nn.ReLU()))[1] == ["activation: ReLU -> Identity"]


def test_modules_that_torch_compile_wraps_are_run_without_compiling():
    def backend(graph, examples):
        raise AssertionError("compiled")

    inner = Net(lambda self, x: self.layer(x).relu(), layer=nn.Linear(4, 4))
    model = Net(lambda self, x: self.compiled(x).tanh(), compiled=torch.compile(inner, backend=backend))
    linear, changes = gpu.linearize(model)
    assert changes == ["compiled: relu in forward -> identity", "the model: tanh in forward -> identity"]
    torch.testing.assert_close(linear(X), linear.compiled.layer(X))
    function = torch.compile(functional.relu, backend=backend)
    assert "stays: torch.compile wraps the function" in gpu.linearize(Net(lambda self, x: function(x)), X)[1][0]


def test_a_class_derived_from_an_activation_of_torch_has_a_forward_to_follow():
    class Rectifier(nn.ReLU):
        pass

    class Layer(nn.TransformerEncoderLayer):
        pass

    linear, changes = gpu.linearize(nn.Sequential(nn.Linear(4, 4), Rectifier()))
    assert changes == ["1: relu in forward -> identity"]
    torch.testing.assert_close(linear(X), linear[0](X))
    assert gpu.linearize(Layer(4, 1, 4, batch_first=True))[1] == [RELU]


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_block_that_is_checkpointed_as_a_whole_is_linear_in_both_passes(reentrant):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return functional.relu(self.layer(x))

    model = Net(lambda self, x: checkpoint(self.block, x, use_reentrant=reentrant).tanh(), block=Block())
    x = X.clone().requires_grad_()
    linear, changes = gpu.linearize(model, x)
    assert changes == ["block: relu in forward -> identity", "the model: tanh in forward -> identity"]
    linear(x).sum().backward()
    torch.testing.assert_close(linear.block.layer.bias.grad, torch.full((4,), 3.0))
    torch.testing.assert_close(x.grad, linear.block.layer.weight.sum(0).expand(3, 4))


def test_results_of_runs_under_inference_mode_and_vmap_are_the_same():
    linear, _ = gpu.linearize(Net(lambda self, x: torch.vmap(lambda row: row.relu() + 1)(x)), X)
    torch.testing.assert_close(linear(X), X + 1)
    with torch.inference_mode():
        torch.testing.assert_close(linear(X), X + 1)
    inner = Net(lambda self, x: self.inside(x))
    inner.inside = torch.inference_mode()(lambda x: x.relu())
    torch.testing.assert_close(gpu.linearize(inner, X)[0](X), X)


def test_a_network_that_is_not_initialised_is_said_to_be_so():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.LazyLinear(3)

        def forward(self, x):
            return torch.relu(self.layer(x))

    _, lines = gpu.linearize(Lazy())
    assert any("layer.weight is not initialised; run the network on a batch first" in line for line in lines)
    with pytest.raises(ValueError, match="layer.weight is not initialised"):
        gpu.linearize(Lazy(), torch.randn(2, 4))


@pytest.mark.parametrize(
    "gate",
    [lambda self, x: x * x.sigmoid(), lambda self, x: x * next(map(torch.sigmoid, [x])),
     lambda self, x: x * torch.cat(tuple(torch.sigmoid(part) for part in x.split(1)))],
    ids=["method", "map", "generator"],
)  # fmt: skip
def test_a_call_is_at_the_same_place_when_python_has_specialised_its_code(gate):
    """Python 3.11 makes calls of functions in C by another instruction once the code is warm."""
    model = Net(lambda self, x: gate(self, x).relu())
    linear, _ = gpu.linearize(model, X)
    expected = gate(model, X)
    for _ in range(20):
        assert torch.equal(linear(X), expected)
