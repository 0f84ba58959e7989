"""Networks whose weights are computed, shared or watched: what rewrites them compares, or refuses them by name."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.parametrizations import spectral_norm
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

import gpu
from gpu.models.homotopy import SkipSum
from gpu.models.removal import remove_skips
from gpu.models.torchvision_resnets import from_torchvision

old_norms = pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")


class Small(ResNet):
    """torchvision's network with few channels and blocks, made without the wide layers that its own class makes."""

    def __init__(self):
        nn.Module.__init__(self)
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, 4, 1, 1, 64
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = self._make_layer(BasicBlock, 4, 2)
        self.layer2, self.layer3, self.layer4 = (self._make_layer(BasicBlock, 8, 1, stride=2) for _ in range(3))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(8, 10)


def small(kind=Small):
    torch.manual_seed(0)
    return kind().eval()


def watched(module, inputs, output=None):
    """A hook that changes nothing."""


def doubled(module, inputs, output):
    return 2 * output


def shares(source, goal, tensor=None):
    def change(model):
        owner, name = model.get_submodule(goal.rpartition(".")[0]), goal.rpartition(".")[2]
        if tensor is None:
            setattr(owner, name, model.get_submodule(source))
        else:
            setattr(getattr(owner, name), tensor, getattr(model.get_submodule(source), tensor))

    return change


class Calmer(nn.ReLU):
    """A ReLU that does not commute with scaling."""

    def forward(self, x):
        return torch.clamp(x, 0, 1)


class Standardized(nn.Conv2d):
    """A convolution whose kernel is scaled to length one: its output does not change with the kernel's scale."""

    def forward(self, x):
        return self._conv_forward(x, self.weight / self.weight.norm(), self.bias)


class Early(Small):
    """A network that returns what its third layer returns, in multiples of what torchvision's would."""

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer1(x)


def of(place, change):
    return lambda model: change(model.get_submodule(place))


def replaced(place, make):
    def change(model):
        owner, _, name = place.rpartition(".")
        setattr(model.get_submodule(owner), name, make())

    return change


REFUSED = {
    "pruned convolution: its weight is computed from weight_orig": (
        of("layer1.1.conv1", lambda part: prune.l1_unstructured(part, "weight", 0.3)),
        r"pruning of weight on model.layer1\[1\].conv1 \(call torch.nn.utils.prune.remove\(model.layer1\[1\].conv1, 'w",
    ),
    "pruned last layer": (
        of("fc", lambda part: prune.l1_unstructured(part, "weight", 0.3)),
        r"pruning of weight on model.fc \(call torch.nn.utils.prune.remove\(model.fc, 'weight'\)",
    ),
    "pruned twice": (
        of("fc", lambda part: [prune.random_unstructured(part, "weight", 0.3) for _ in range(2)]),
        "pruning of weight on model.fc",
    ),
    "spectral_norm as a hook": (
        of("layer1.1.conv1", nn.utils.spectral_norm),
        r"spectral_norm on model.layer1\[1\].conv1 \(call torch.nn.utils.remove_spectral_norm\(",
    ),
    "spectral_norm as a parametrization: it divides the scale away": (
        of("layer1.1.conv1", parametrizations.spectral_norm),
        r"a parametrization of weight on model.layer1\[1\].conv1 \(call torch.nn.utils.parametrize.remove_parametriza",
    ),
    "weight_norm as a hook": (
        of("layer1.1.conv1", nn.utils.weight_norm),
        r"weight_norm on model.layer1\[1\].conv1 \(call torch.nn.utils.remove_weight_norm\(",
    ),
    "weight_norm as a parametrization": (
        of("layer1.1.conv1", parametrizations.weight_norm),
        r"a parametrization of weight on model.layer1\[1\].conv1 \(call torch.nn.utils.parametrize.remove_parametriza",
    ),
    "convolution shared between blocks: it would be scaled twice": (
        shares("layer1.0.conv1", "layer1.1.conv1"),
        r"one tensor as layer1.0.conv1.weight and layer1.1.conv1.weight, .* model.layer1\[1\].conv1 = copy.deepcopy",
    ),
    "weight shared between blocks": (
        shares("layer1.0.conv1", "layer1.1.conv1", "weight"),
        "one tensor as layer1.0.conv1.weight and layer1.1.conv1.weight",
    ),
    "norm shared between blocks": (
        shares("layer1.0.bn2", "layer1.1.bn2"),
        "one tensor as layer1.0.bn2.weight and layer1.1.bn2.weight",
    ),
    "block in two places": (
        shares("layer1.0", "layer1.1"),
        "one tensor as layer1.0.conv1.weight and layer1.1.conv1.weight",
    ),
    "hook on a block: it would see other activations": (
        of("layer2.0", lambda part: part.register_forward_hook(watched)),
        r"a hook, watched, on model.layer2\[0\] \(remove it with the handle",
    ),
    "hook of the backward pass: it would see other gradients": (
        of("layer2.0.bn2", lambda part: part.register_full_backward_hook(watched)),
        r"a hook, watched, on model.layer2\[0\].bn2",
    ),
    "hook on the last layer: its input is scaled": (
        of("fc", lambda part: part.register_forward_pre_hook(watched)),
        "a hook, watched, on model.fc",
    ),
    "forward of its own on the last layer, which closes over the weights of the model": (
        lambda model: setattr(model.fc, "forward", lambda x: nn.functional.linear(x, model.fc.weight)),
        "a method forward set on model.fc itself",
    ),
    "subclass of ReLU that does not commute with scaling": (
        replaced("layer1.0.relu", Calmer),
        "layer1.0.relu: expected ReLU, which commutes with scaling, got Calmer",
    ),
    "convolution that standardizes its kernel": (
        replaced("layer1.1.conv1", lambda: Standardized(4, 4, 3, padding=1, bias=False)),
        "computes the same after rewriting, got one that does not: in evaluation mode the output differs by",
    ),
    "first convolution that is none": (
        replaced("layer1.1.conv1", nn.Identity),
        "layer1.1.conv1: expected a convolution, got Identity",
    ),
}
"""What torchvision's network is changed by, and what the error says."""


@old_norms
@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_from_torchvision_refuses_by_name(change, message):
    model = small()
    change(model)
    before = copy.deepcopy({name: value.detach() for name, value in model.state_dict().items()})
    with pytest.raises(ValueError, match=message):
        from_torchvision(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_from_torchvision_refuses_a_forward_that_shows_scaled_activations():
    with pytest.raises(ValueError, match=r"got one that does not: in evaluation mode the output differs by 0\.\d+ of"):
        from_torchvision(small(Early))


def test_from_torchvision_refuses_a_network_that_was_cut_off():
    model = small()
    model.layer4 = nn.Identity()
    with pytest.raises(TypeError, match=r"expected an nn.Sequential of blocks as layer4, got Identity\(\)"):
        from_torchvision(model)


def test_from_torchvision_compares_in_training_mode_too():
    class Louder(Small):
        def forward(self, x):
            y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            return self.layer1(y) if self.training else super().forward(x)

    with pytest.raises(ValueError, match="got one that does not: in training mode the output differs by"):
        from_torchvision(small(Louder))


KEPT = {
    "pruned first convolution, before the first block": of(
        "conv1", lambda part: prune.l1_unstructured(part, "weight", 0.3)
    ),
    "parametrized first convolution": of("conv1", parametrizations.weight_norm),
    "weight_norm on the first convolution, which holds a result with a history": of("conv1", nn.utils.weight_norm),
    "hook on the whole network, which sees the same scores": lambda model: model.register_forward_hook(doubled),
    "second convolution shared between blocks, which is not scaled": shares("layer1.0.conv2", "layer1.1.conv2"),
    "leaky ReLU, which commutes with scaling": replaced("layer1.0.relu", lambda: nn.LeakyReLU(0.1)),
    "dropout at the end of the stem, which draws the same numbers": replaced("relu", lambda: nn.Dropout(0.5)),
    "pruning made permanent": of(
        "layer1.1.conv1", lambda part: prune.remove(prune.l1_unstructured(part, "weight", 0.3), "weight")
    ),
    "parametrization made permanent": of(
        "layer1.1.conv1",
        lambda part: parametrize.remove_parametrizations(parametrizations.weight_norm(part), "weight"),
    ),
    "average pooling for 224x224 images only": replaced("avgpool", lambda: nn.AvgPool2d(7)),
}
"""Changes that scaling does not disturb."""


@old_norms
@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT)
def test_from_torchvision_keeps_what_is_harmless(change):
    model = small()
    change(model)
    model.eval()
    side = 224 if isinstance(model.avgpool, nn.AvgPool2d) else 64
    x = torch.randn(2, 3, side, side)
    with torch.no_grad():
        assert torch.equal(from_torchvision(model)(x), model(x))
        torch.testing.assert_close(from_torchvision(model, 0.3)(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_network_for_images_of_its_own_size_names_them():
    model = small()
    model.avgpool = nn.AvgPool2d((1, 3))
    with pytest.raises(ValueError, match=r"expected a network that can be run, .* got RuntimeError: .*; inputs=\.\.\."):
        from_torchvision(model)
    x = torch.randn(2, 3, 32, 96)
    with torch.no_grad():
        assert torch.equal(from_torchvision(model, inputs=x)(x), model(x))
    model.conv1 = nn.Sequential()
    with pytest.raises(ValueError, match="expected a network that can be run, .* got RuntimeError"):
        from_torchvision(model, inputs=x)


def test_a_network_that_runs_in_one_mode_is_compared_in_that():
    class Serving(Small):
        def forward(self, x):
            if self.training:
                raise RuntimeError("this network is for serving")
            return super().forward(x)

    model, x = small(Serving), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(from_torchvision(model, inputs=x)(x), model(x))


def test_frozen_norms_are_scaled_though_their_weights_are_buffers():
    model = small()
    for part in list(model.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(part, name, FrozenBatchNorm2d(child.num_features))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(from_torchvision(model)(x), model(x))


def test_a_network_without_values_is_refused():
    model = small().to("meta")
    with pytest.raises(ValueError, match="model: expected weights with values, got some on the meta device"):
        from_torchvision(model)


def test_t_of_a_float64_network_is_float64():
    model = small().double()
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    ours = from_torchvision(model, 0.1)
    assert gpu.skip_strengths(ours)["layer1.0.skip_sum"] == 0.1
    with torch.no_grad():
        torch.testing.assert_close(ours(x), model(x), rtol=1e-12, atol=1e-12)


calls = []


def counted(module, inputs, output=None):
    calls.append(module)


def at_zero(kind=Small):
    model = from_torchvision(small(kind))
    gpu.set_skip_strength(model, 0)
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of("layer2.0.skip_sum", lambda part: part.register_forward_hook(doubled)), r"on model.layer2\[0\].skip_sum"),
        (
            of("layer2.0.downsample", lambda part: part.register_forward_hook(counted)),
            r"on model.layer2\[0\].downsample",
        ),
        (
            of("layer2.0.downsample.0", lambda part: prune.l1_unstructured(part, "weight", 0.3)),
            r"pruning of weight on model.layer2\[0\].downsample\[0\]",
        ),
        (of("layer2.0.downsample.0", spectral_norm), r"parametrization of weight on model.layer2\[0\].downsample\[0\]"),
        (of("layer2.0", lambda part: setattr(part, "forward", part.forward)), r"a method forward set on model.layer2"),
        (lambda model: setattr(model, "other", SkipSum(0.0)), "in the blocks of gpu.resnet .* got others: other"),
        (
            lambda model: setattr(
                model.layer2[0], "forward_twice", model.layer2[0].downsample[1].weight.fill_(torch.nan)
            ),
            "got one that does not: in evaluation mode the output is not finite in the same places",
        ),
    ],
    ids=lambda value: "" if callable(value) else value,
)
def test_remove_skips_refuses_by_name(change, message):
    model = at_zero()
    with torch.no_grad():
        change(model)
    with pytest.raises(ValueError, match=message):
        remove_skips(model)


def test_remove_skips_compares_what_a_subclass_computes():
    class Both(Small):
        """A network that also shows a projection, which is gone without the skips."""

        def forward(self, x):
            y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            projection = self.layer2[0].downsample
            return super().forward(x) if projection is None else super().forward(x) + projection(y).mean()

    model = at_zero(Small)
    model.__class__ = Both
    with pytest.raises(ValueError, match="got one that does not: in evaluation mode the output differs by"):
        remove_skips(model)


@old_norms
def test_remove_skips_keeps_hooks_pruning_and_parametrizations_of_what_stays():
    """A hook on a block sees the same input, and at t = 0 the same output."""
    model = at_zero()
    prune.l1_unstructured(model.layer1[1].conv1, "weight", 0.3)
    nn.utils.weight_norm(model.layer1[0].conv1)
    parametrizations.spectral_norm(model.layer3[0].conv2)
    model.layer2[0].register_forward_hook(counted)
    bare = remove_skips(model)
    assert calls == []  # the copies that were compared left no calls
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(x)
        calls.clear()
        assert torch.equal(bare(x), expected)
    assert calls == [bare.layer2[0]]
    calls.clear()


def test_remove_skips_within_a_network_of_the_user():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = gpu.six_layer_cnn(t=0.0), nn.Linear(10, 2)

        def forward(self, x, scale):
            return self.head(self.features(x)) * scale

    model = Scaled()
    with pytest.raises(ValueError, match=r"got TypeError: .*missing 1 .* argument: 'scale'; inputs=\.\.\."):
        remove_skips(model)
    arguments = torch.rand(2, 1, 28, 28), torch.tensor(2.0)
    assert torch.equal(remove_skips(model, inputs=arguments)(*arguments), model(*arguments))
    model.features = nn.Sequential(SkipSum(0.0))
    with pytest.raises(ValueError, match="got others: features.0"):
        remove_skips(model)


NOT_PLAIN = {
    "hook on the network itself": lambda model: model.register_forward_hook(doubled),
    "hook on a sum": lambda model: model.joins["2"].register_forward_hook(doubled),
    "hook on a resampling": lambda model: model.resamplers["1->2"].register_forward_pre_hook(watched),
    "hook on an activation": lambda model: model.activations[1].register_forward_hook(doubled),
    "hook on a layer": lambda model: model.layers[0].register_forward_hook(doubled),
    "hook within a layer": lambda model: model.layers[3][1].register_forward_hook(doubled),
    "pruned layer": lambda model: prune.l1_unstructured(model.layers[3][1], "weight", 0.3),
    "parametrized layer": lambda model: parametrizations.weight_norm(model.layers[0]),
    "parametrized layer within": lambda model: parametrizations.spectral_norm(model.layers[3][1]),
    "forward of its own": lambda model: setattr(model, "forward", torch.relu),
}
PLACES = {
    "hook on the network itself": "a hook, doubled, on model ",
    "hook on a sum": r"on model.joins\[2\] ",
    "hook on a resampling": "on model.resamplers.1->2 ",
    "hook on an activation": r"on model.activations\[1\] ",
    "hook on a layer": r"on model.layers\[0\] ",
    "hook within a layer": r"on model.layers\[3\]\[1\] ",
    "pruned layer": r"pruning of weight on model.layers\[3\]\[1\] \(call torch.nn.utils.prune.remove\(",
    "parametrized layer": r"a parametrization of weight on model.layers\[0\] \(call torch.nn.utils.parametrize.remove_",
    "parametrized layer within": r"a parametrization of weight on model.layers\[3\]\[1\] ",
    "forward of its own": "a method forward set on model itself",
}


@pytest.mark.parametrize("reason", NOT_PLAIN)
def test_to_network_refuses_by_name(reason):
    model = gpu.three_layer_cnn()
    NOT_PLAIN[reason](model)
    with pytest.raises(TypeError, match=f"expected modules as their class computes them, .* {PLACES[reason]}"):
        model.to_network()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.half(), r"layers\[0\]: expected parameters in float32 or float64, got torch.float16"),
        (lambda model: model.bfloat16(), r"layers\[0\]: expected parameters in float32 or float64, got torch.bfloat16"),
        (lambda model: model.to("meta"), r"layers\[0\]: expected parameters with values, got some on the meta device"),
    ],
    ids=["half", "bfloat16", "meta"],
)
def test_to_network_says_which_numbers_it_takes(change, message):
    model = change(gpu.SkipCNN((1, 5, 5), [nn.Conv2d(1, 2, 3)]))
    with pytest.raises(TypeError, match=message):
        model.to_network()


def test_to_network_compares_with_the_module():
    model = gpu.three_layer_cnn(t=0.5)
    model.joins["2"].weights.fill_(1.0)  # behind the back of set_skip_strength
    with pytest.raises(ValueError, match=r"skip_weights: expected the weights into layer 3 .* to sum to 1, got 2.0"):
        model.to_network()

    class Louder(gpu.SkipCNN):
        def forward(self, x):
            return 2 * super().forward(x)

    model = Louder((1, 8), [nn.Conv1d(1, 1, 3)])
    with pytest.raises(ValueError, match="but the output differs by 0.5 of its largest absolute value"):
        model.to_network()


def test_to_network_takes_no_subclass_of_the_identity():
    class Squared(nn.Identity):
        def forward(self, x):
            return x * x

    model = gpu.three_layer_cnn()
    model.activations[2] = Squared()
    with pytest.raises(TypeError, match="activation: expected the identity or a piecewise linear .* ReLU, got Squared"):
        model.to_network()


def test_rewriting_leaves_the_random_states():
    model, zero, cnn = small(), at_zero(), gpu.three_layer_cnn()
    state = torch.get_rng_state()
    from_torchvision(model)
    remove_skips(zero)
    cnn.to_network()
    assert torch.equal(torch.get_rng_state(), state)
