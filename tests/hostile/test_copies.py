"""Copies of a user's module: what `copy.deepcopy` drops or shares, and a copy may not."""

import functools
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional

import gpu
from gpu.models.copying import copy_of
from gpu.models.surroundings import surroundings_kept

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Quantised(nn.Linear):
    """A layer whose scale is an attribute of its weight, as libraries for quantisation keep it."""

    def forward(self, x):
        return functional.linear(x, self.weight * getattr(self.weight, "scale", 1.0), self.bias)


@pytest.mark.parametrize("scale", [3.0, torch.tensor(3.0)], ids=["number", "tensor"])
def test_the_attributes_of_a_parameter_are_part_of_what_is_computed(scale):
    net = Quantised(4, 3).eval()
    net.weight.scale = scale
    assert torch.allclose(gpu.collapse(net, (4,)).module(X), net(X), atol=1e-5)
    linear, _ = gpu.linearize(nn.Sequential(net, nn.ReLU()))
    assert torch.equal(linear(X), net(X))


def test_the_attributes_that_a_class_gives_the_copy_of_a_parameter_stay_its_own():
    class Named(nn.Parameter):
        def __deepcopy__(self, memo):
            copied = memo[id(self)] = Named(self.detach().clone())
            copied.label = "copy"
            return copied

    net = nn.Linear(4, 3)
    net.weight = Named(torch.ones(3, 4))
    net.weight.label = "original"
    assert copy_of(net).weight.label == "copy"


def test_a_hook_for_the_gradient_of_a_weight_stays():
    """Freezing a part of a layer by such a hook would be undone without a word."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    net[0].weight.register_hook(torch.zeros_like)
    linear, _ = gpu.linearize(net, X)
    linear(X).sum().backward()
    assert not linear[0].weight.grad.any()
    assert linear[2].weight.grad.any()
    assert net[0].weight.grad is None


def test_a_hook_for_a_gradient_that_records_leaves_no_record_of_a_copy():
    seen = []
    net = nn.Linear(4, 2)
    net.weight.register_hook(lambda gradient: seen.append(gradient))
    with surroundings_kept(net):
        copy_of(net)(X).sum().backward()
        assert len(seen) == 1
    assert seen == []


def test_a_hook_of_a_weight_that_is_frozen_by_now_is_no_obstacle():
    net = nn.Linear(4, 2)
    net.weight.register_hook(torch.zeros_like)
    net.weight.requires_grad_(False)
    assert not copy_of(net).weight.requires_grad


def by_a_closure(net):
    first = net[0].forward
    net[0].forward = lambda x: 2 * first(x)


def by_a_global(net):
    namespace = {"first": net[0].forward}
    exec("double = lambda x: 2 * first(x)", namespace)
    net[0].forward = namespace["double"]


def by_a_default(net):
    net[0].forward = lambda x, first=net[0].forward: 2 * first(x)


def by_a_keyword(net):
    def doubled(x, *, first=net[0].forward):
        """Return twice what the layer returns."""
        return 2 * first(x)

    net[0].forward = doubled


def by_a_partial(net):
    net[0].forward = functools.partial(lambda first, x: 2 * first(x), net[0].forward)


def by_nested_functions(net):
    def doubled(function):
        return lambda x: 2 * function(x)

    first = net[0].forward
    net[0].forward = doubled(lambda x: first(x))


def by_a_list_of_functions(net):
    parts = [net[0].forward]
    net[0].steps = [lambda x: parts[0](x), lambda x: 2 * x]
    net[0].forward = (lambda layer: lambda x: layer.steps[1](layer.steps[0](x)))(net[0])


def by_a_weak_reference(net):
    net[0].parent = weakref.ref(net)
    net[0].forward = (lambda layer: lambda x: 2 * functional.linear(x, layer.parent()[0].weight, layer.bias))(net[0])


def by_a_hook(net):
    net[0].register_forward_hook(lambda layer, args, y: 2 * functional.linear(args[0], net[0].weight, net[0].bias))


SETTINGS = [by_a_closure, by_a_global, by_a_default, by_a_keyword, by_a_partial, by_nested_functions,
            by_a_list_of_functions, by_a_weak_reference, by_a_hook]  # fmt: skip


@pytest.mark.parametrize("patch", SETTINGS)
def test_a_function_set_on_a_module_works_with_the_copy_in_the_copy(patch):
    """Otherwise, training what linearize returns would train the user's module."""
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    patch(net)
    expected, linear_part = net(X), net[2](net[0](X))
    linear, _ = gpu.linearize(net, X)
    assert torch.equal(linear(X), linear_part)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.zero_()
    assert not linear(X).any()
    assert torch.equal(net(X), expected)


def test_functions_of_one_module_share_the_variables_that_are_no_parts_of_it():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            count = 0

            def forward(x):
                nonlocal count
                count += 1
                return x + self.zero + missing() * 0 if count < 0 else x + self.zero

            def recursive(x):
                return recursive(x - 1) if x else count

            self.zero = nn.Parameter(torch.zeros(()))
            self.forward, self.count = forward, lambda: recursive(2)
            if count:
                missing = None

    net = Counting()
    copied = copy_of(net)
    copied(X), net(X)
    assert copied.count() == net.count() == 2


def test_a_networks_patched_forward_is_scaled_and_cut_like_others():
    net = gpu.from_torchvision(pytest.importorskip("torchvision").models.resnet18(num_classes=3).eval())
    gpu.set_skip_strength(net, 0.0)
    original = net.layer1.forward
    net.layer1.forward = lambda x: original(x) + 1
    images = torch.rand(2, 3, 32, 32)
    bare = gpu.remove_skips(net, inputs=images)
    assert torch.equal(bare(images), net(images))
    torch.nn.init.zeros_(net.layer1[0].conv1.weight)
    assert not torch.equal(bare(images), net(images))


def test_outputs_that_a_recording_object_keeps_can_be_copied():
    class Recorder:
        def __init__(self):
            self.outputs = {"all": []}

        def __call__(self, layer, args, y):
            self.outputs["all"].append((y,))

    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    net[0].register_forward_hook(Recorder())
    net(X)
    linear, changes = gpu.linearize(net, X)
    assert changes == ["1: ReLU -> Identity"]
    assert torch.equal(linear(X), functional.linear(X, net[0].weight, net[0].bias))


def test_what_is_made_in_inference_mode_can_be_trained_outside():
    with torch.inference_mode():
        linear, _ = gpu.linearize(nn.Sequential(nn.Linear(4, 2), nn.ReLU()))
        collapsed = gpu.collapse(linear, (4,)).module
    assert not any(parameter.is_inference() for parameter in (*linear.parameters(), *collapsed.parameters()))
    x = X.clone().requires_grad_()
    collapsed(x).sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("work", [lambda net: gpu.collapse(net, (4,)), gpu.linearize], ids=["collapse", "linearize"])
def test_no_new_tensors_hold_numbers_where_the_default_device_is_meta(work):
    net = nn.Linear(4, 2)
    with torch.device("meta"), pytest.raises(ValueError, match=r'outside of with torch.device\("meta"\)'):
        work(net)
