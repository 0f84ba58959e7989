"""Linearising: what is replaced, as modules and as functions, and what is left to be refused."""

import pytest
import torch
from module_cases import Lambda
from torch import nn
from torch.nn import functional

import gpu
from gpu import NotAffineError


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
    assert changes == ["1: AdaptiveMaxPool2d -> AdaptiveAvgPool2d"]
    with pytest.raises(NotAffineError, match="0: MaxPool2d: max_pool2d is not affine"):
        gpu.trace(linear, (1, 6, 6))
    dilated = Lambda(lambda s, x: functional.max_pool2d(x, 2, dilation=2))
    assert gpu.linearize(dilated)[1] == []
    branching = Lambda(lambda s, x: functional.relu(x) if x.shape[1] > 1 else x)
    assert gpu.linearize(branching)[1] == []


def test_an_activation_alone():
    linear, changes = gpu.linearize(nn.ReLU())
    assert isinstance(linear, nn.Identity)
    assert changes == ["the model: ReLU -> Identity"]
    with pytest.raises(TypeError, match="model: expected an nn.Module, got builtin"):
        gpu.linearize(torch.relu)
