"""What a forward changes with every call is no constant: neither a counter nor a random number is fixed in the map."""

import random

import numpy as np
import pytest
import torch
from module_cases import Lambda
from torch import nn

import gpu
from linalg_cnn import compose

CALLS = []


def counted_in_a_global(self, x):
    CALLS.append(1)
    return x * len(CALLS)


class Counting(nn.Module):
    count = 0

    def forward(self, x):
        self.count += 1
        return x * self.count


CHANGING = {
    "a_counter_of_the_module": Counting(),
    "a_counter_in_a_global": Lambda(counted_in_a_global),
    "a_random_number_of_python": Lambda(lambda self, x: x * random.random()),
    "a_random_number_of_numpy": Lambda(lambda self, x: x * np.random.rand()),  # noqa: NPY002 - as networks have it
    "a_random_number_of_the_module_s_own_generator": Lambda(
        lambda self, x: x * self.own.random(), own=random.Random(0)
    ),
    "the_next_number_of_an_iterator": Lambda(lambda self, x: x * next(self.own), own=iter(range(1, 99))),
}

ONCE = {
    "a_buffer_made_at_the_first_call": lambda self, x: self.register_buffer("made", torch.arange(2.0)),
    "an_attribute_made_at_the_first_call": lambda self, x: setattr(self, "made", torch.arange(x.numel())[:2]),
}


@pytest.mark.parametrize("name", CHANGING)
def test_what_changes_with_every_call_is_refused(name):
    with pytest.raises(gpu.NotAffineError, match="depends on"):
        gpu.trace(CHANGING[name], (2,))
    assert not CALLS


@pytest.mark.parametrize("name", ONCE)
def test_what_the_first_call_makes_is_a_constant(name):
    def forward(self, x):
        if not hasattr(self, "made"):
            ONCE[name](self, x)
        return x * self.made

    module = Lambda(forward)
    assert np.array_equal(compose(gpu.trace(module, (2,))).W, [[0, 0], [0, 1]])
    assert not hasattr(module, "made")
