"""What a forward sets on its class is set on the user's class by a linearised copy, as by any other copy."""

import abc
import copy

import pytest
import torch
from torch import nn

import gpu


class Registering(type):
    """A metaclass that notes what is set, and hands it on."""

    def __setattr__(cls, name, value):
        super().__setattr__(name, value)
        super().__setattr__("noted", [*cls.noted, name])


def counting(**options):
    """Return a module that counts its calls in its class and in an attribute that it makes and deletes there."""

    class Counting(nn.Module, **options):
        calls = 0
        noted = ()

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            type(self).calls += 1
            type(self).last = x
            del type(self).last
            return torch.relu(self.layer(x)) * (2 if self.calls % 2 else 1)

    return Counting()


KINDS = {
    "a_plain_class": {},
    "an_abstract_class": {"metaclass": abc.ABCMeta},
    "a_metaclass": {"metaclass": Registering},
}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_linearised_copy_counts_where_a_copy_counts(options):
    module = counting(**options)
    kind, x = type(module), torch.randn(2, 4)
    linear, changes = gpu.linearize(module)
    assert changes == ["the model: relu in forward -> identity"]
    assert kind.calls == 0, "what the runs of linearize counted is undone"
    for calls, copied in enumerate((linear, copy.deepcopy(linear), module, linear), 1):
        result = copied(x)
        assert kind.calls == type(copied).calls == calls
        y = module.layer(x)
        expected = torch.relu(y) if copied is module else y
        torch.testing.assert_close(result, expected * (2 if calls % 2 else 1))
    assert not hasattr(kind, "last")
    assert ("calls" in kind.noted) == (options == {"metaclass": Registering})


def test_a_trace_of_a_linearised_copy_leaves_the_count():
    class Counting(nn.Module):
        calls = 7

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            type(self).calls += 1
            return torch.relu(self.layer(x))

    linear, _ = gpu.linearize(Counting())
    gpu.trace(linear, (4,))
    assert Counting.calls == type(linear).calls == 7


def test_what_python_sets_on_a_class_is_set_on_the_copys_own():
    module = counting()
    linear, _ = gpu.linearize(module)
    type(linear).__doc__ = "linearised"
    assert type(module).__doc__ is None
