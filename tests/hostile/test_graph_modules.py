"""Modules of torch.fx that were linearised: their code is generated anew by torch's tools, and computes the same."""

import copy
import pickle

import pytest
import torch
from torch import fx, nn

import gpu


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act = nn.Linear(4, 3), nn.ReLU()

    def forward(self, x):
        y = self.layer(x)
        return torch.relu(y) + self.act(self.layer(x)) + y * torch.sigmoid(y)


def expected(module, x):
    """The activations are dropped, and the gate stays."""
    y = module.layer(x)
    return 2 * y + y * torch.sigmoid(y)


def recompiled(module):
    module.recompile()
    return module


def with_its_graph_set(module):
    module.graph = module.graph
    return module


def without_dead_code(module):
    module.graph.eliminate_dead_code()
    return recompiled(module)


def pickled(module):
    pickle.dumps(module)
    return module


TOOLS = {
    "recompile": recompiled,
    "the_setter_of_the_graph": with_its_graph_set,
    "a_pass_that_finds_nothing": without_dead_code,
    "pickling": pickled,
    "a_pickled_copy": lambda module: pickle.loads(pickle.dumps(module)),
    "a_copy": copy.copy,
    "a_deep_copy": copy.deepcopy,
    "a_copy_of_a_copy": lambda module: copy.deepcopy(recompiled(copy.deepcopy(module))),
    "linearising_again": lambda module: gpu.linearize(module)[0],
}


@pytest.fixture
def linearised():
    torch.manual_seed(0)
    return gpu.linearize(fx.symbolic_trace(Net()))[0]


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_a_graph_module_computes_the_same_after(tool, linearised):
    x = torch.randn(5, 4)
    for _ in range(2):
        result = tool(linearised)
        torch.testing.assert_close(result(x), expected(result, x))
    torch.testing.assert_close(linearised(x), expected(linearised, x))


class Called(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return torch.relu(self.layer(x))


def test_activations_of_an_edited_graph_are_dropped_too():
    module = gpu.linearize(fx.symbolic_trace(Called()))[0]
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    with module.graph.inserting_before(output):
        doubled = module.graph.call_function(torch.mul, (output.args[0], 2))
        output.args = (module.graph.call_function(torch.relu, (doubled,)),)
    module.recompile()
    x = torch.randn(5, 4)
    torch.testing.assert_close(module(x), 2 * module.layer(x))


def test_a_gate_of_an_edited_graph_is_refused_rather_than_dropped(linearised):
    (relu,) = (node for node in linearised.graph.nodes if node.target is torch.relu)
    with linearised.graph.inserting_after(relu):
        negative = linearised.graph.call_function(torch.neg, (relu,))
    relu.replace_all_uses_with(negative, delete_user_cb=lambda user: user is not negative)
    linearised.recompile()
    with pytest.raises(RuntimeError, match=r"sigmoid in line \d+ of <eval_with_key>.*: expected an activation that"):
        linearised(torch.randn(5, 4))


class CopiedByItself(Called):
    def __copy__(self):
        assert type(self) is CopiedByItself
        copied = CopiedByItself()
        copied.load_state_dict(self.state_dict())
        return copied


def test_a_copy_that_the_users_class_makes_is_linearised_too():
    x, module = torch.randn(5, 4), gpu.linearize(CopiedByItself())[0]
    torch.testing.assert_close(copy.copy(module)(x), module.layer(x))
