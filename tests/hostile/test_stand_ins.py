"""What takes the place of an activation or a pooling, and what the forward and the user know of that module."""

import pytest
import torch
from torch import nn
from torch.nn import functional

import gpu

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A module whose forward is a function of the module and its arguments."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def nothing(module, gradients_in, gradients_out):
    return (0 * gradients_in[0],)


def test_a_full_backward_hook_moves_to_the_replacement():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    model[1].register_full_backward_hook(nothing)
    linear, _ = gpu.linearize(model)
    linear(X).sum().backward()
    assert not linear[0].weight.grad.any()


def test_the_parameter_of_prelu_keeps_its_name():
    model = nn.Sequential(nn.Linear(4, 4), nn.PReLU(), nn.Linear(4, 2))
    linear, changes = gpu.linearize(model)
    assert changes == ["1: PReLU -> Identity"]
    linear.load_state_dict(model.state_dict())
    assert linear.state_dict().keys() == model.state_dict().keys()
    gpu.collapse(linear.eval(), (4,))


def test_what_a_forward_reads_from_an_activation_is_still_there():
    def forward(net, x):
        return functional.leaky_relu(net.act(x), net.act.negative_slope) + net.act.index

    act = nn.LeakyReLU(0.5)
    act.index = 7  # as detection networks number their layers
    linear, _ = gpu.linearize(Net(forward, act=act))
    torch.testing.assert_close(linear(X), X + 7)


def test_a_pooling_function_that_has_no_average_stays_with_a_line():
    pool = Net(lambda self, x: functional.max_pool1d(x[:, None], 2, stride=1, dilation=2)[:, 0])
    linear, changes = gpu.linearize(pool, X)
    assert len(changes) == 1
    assert changes[0].startswith("the model: max_pool1d in line ")
    assert changes[0].endswith("stays: average pooling has no dilation, and no indices to return")
    assert torch.equal(linear(X), pool(X))


def test_an_activation_with_a_forward_of_its_own_stays():
    act = nn.ReLU()
    act.forward = lambda x: 3 * x
    linear, changes = gpu.linearize(nn.Sequential(act, nn.ReLU()))
    assert len(changes) == 2
    assert changes[1].startswith("0: ReLU stays: it has a forward of its own")
    torch.testing.assert_close(linear(X), 3 * X)


@pytest.mark.parametrize("option", ["dilation", "return_indices"])
def test_a_pooling_without_a_counterpart_is_named(option):
    _, changes = gpu.linearize(nn.Sequential(nn.MaxPool2d(2, **{option: 2})))
    assert changes == ["0: MaxPool2d stays: average pooling has no dilation, and no indices to return"]


class Frozen(Net):
    """A network whose method train returns nothing, as in detection frameworks that freeze their norms."""

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()


def test_a_train_that_returns_nothing_is_called():
    net = Frozen(lambda net, x: functional.relu(net.norm(x)), norm=nn.BatchNorm1d(4))
    linear, changes = gpu.linearize(net)
    assert changes == ["the model: relu in forward -> identity"]
    torch.testing.assert_close(linear(X), net.norm(X))


@pytest.mark.parametrize("act", [nn.Tanh(), torch.tanh], ids=["module", "function"])
def test_an_activation_where_gradients_are_off_stops_them_still(act):
    def forward(net, x):
        y = net.linear(x)
        with torch.no_grad():
            target = net.act(y)
        return y + target

    linear, changes = gpu.linearize(Net(forward, linear=nn.Linear(4, 4), act=act))
    assert len(changes) == 1
    x = X.clone().requires_grad_()
    y = linear(x)
    torch.testing.assert_close(y, 2 * linear.linear(x))
    y.sum().backward()
    torch.testing.assert_close(x.grad, linear.linear.weight.sum(0).expand(3, 4))


@pytest.mark.parametrize("act", [lambda net: net.acts[0], lambda net: nn.ReLU()], ids=["in_a_list", "made_in_forward"])
def test_an_activation_that_does_not_belong_to_the_network_is_named(act):
    net = Net(lambda net, x: act(net)(net.linear(x)), linear=nn.Linear(4, 4), acts=[nn.ReLU()])
    linear, changes = gpu.linearize(net)
    assert len(changes) == 1
    assert "stays: the module that it is in does not belong to the network" in changes[0]
    torch.testing.assert_close(linear(X), net(X))


def test_an_activation_in_several_places_is_compared_in_all_of_them():
    act = nn.ReLU()
    layers = nn.Sequential(nn.Linear(4, 4), act, nn.Linear(4, 4), act)
    linear, changes = gpu.linearize(Net(lambda net, x: torch.tanh(net.layers(x)), layers=layers))
    assert changes == ["layers.1: ReLU -> Identity", "the model: tanh in forward -> identity"]
    torch.testing.assert_close(linear(X), layers[2](layers[0](X)))


def test_features_that_a_forward_takes_by_the_class_of_a_layer_are_not_lost():
    def forward(net, x):
        features = []
        for layer in net.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                features.append(x)
        return features

    model = Net(forward, layers=nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU()))
    linear, changes = gpu.linearize(model)
    assert [line.partition(":")[0] for line in changes] == ["layers.1", "layers.3"]
    assert all("stays: the network asks which class a module is of" in line for line in changes)
    torch.testing.assert_close(linear(X), model(X))
