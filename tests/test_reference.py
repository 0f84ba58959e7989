"""The float64 network that a map is compared with: the largest number in it, and how often the device is waited for."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpu.collapsing.reference import InFloat64


class Reads(TorchDispatchMode):
    """Counts the numbers that are read from tensors; for each of them, the host waits for the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def largest_in(forward, *inputs):
    with torch.no_grad(), InFloat64(torch.float32) as mode:
        forward(*inputs)
    return mode.largest


@pytest.mark.parametrize(
    ("forward", "largest"),
    [
        (lambda x: x * 2 - 100, 98.0),  # intermediate numbers count, and negative ones by their size
        (lambda x: (x * 50).sum(), 300.0),
        (lambda x: x.reshape(3).expand(2, 3), 0.0),  # views hold no new numbers
        (lambda x: (x > 2).long() * 7, 0.0),  # nor do integers take part in rounding
        (lambda x: x[:0] * 9, 0.0),
        (lambda x: x.half() * 2, 6.0),
        (lambda x: torch.var_mean(x * 4), 16.0),
        (lambda x: x * 1e300 * torch.tensor([1e300, 1.0, 0.0]), 3e300),  # the second product overflows and is left out
        (lambda x: (x * 5, x / (x - x)), 15.0),
        (lambda x: x * torch.tensor([-math.inf, 7.0, 0.0]), 0.0),
    ],
)
def test_the_largest_number_is_that_of_all_finite_results(forward, largest):
    assert largest_in(forward, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)) == pytest.approx(largest, rel=1e-12)


def test_numbers_are_read_once_for_all_results():
    network = nn.Sequential(*(nn.Linear(3, 3) for _ in range(9))).double().requires_grad_(False)
    x = torch.ones(2, 3, dtype=torch.float64)
    with Reads() as reads:
        found = largest_in(network, x)
    assert reads.count == 1
    every, y = [], x
    for layer in network:
        y = layer(y)
        every.append(float(y.abs().max()))
    assert found == max(every)


def test_results_that_come_later_count_as_well():
    x = torch.tensor([1.0], dtype=torch.float64)
    mode = InFloat64(torch.float32)
    sizes = []
    for factor in (3, 5, 2):
        with mode:
            x * factor
        sizes.append(mode.largest)
    assert sizes == [3.0, 5.0, 5.0]
