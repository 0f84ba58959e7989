"""Activations on the way to the identity: values by hand, names, what stays, what is refused, and their removal."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

import gpu
from gpu.models.activations import ACTIVATIONS
from gpu.models.sloped import class_of

X = torch.tensor([[-3.0, -0.5, 0.0, 0.25, 7.0]])
MADE_WITH = {nn.Threshold: (0.1, 20.0)}


def chain(*activations):
    """Return a network of three convolutions, with batch normalisation, whose activations are 2 and 5."""
    first, second = activations or (nn.ReLU(), nn.ReLU(inplace=True))
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), first, nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), second]
    return nn.Sequential(*layers, nn.Conv2d(4, 2, 3))


@pytest.fixture
def images():
    return torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ACTIVATIONS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("slope", [0, 0.25, 1])
def test_every_activation_of_the_table_is_mixed_with_its_input(kind, slope):
    act = kind(*MADE_WITH.get(kind, ())).eval()
    expected = (1 - slope) * act(X) + slope * X
    gpu.set_activation_slope(act, slope)
    torch.testing.assert_close(act(X), expected, rtol=0, atol=0)
    assert isinstance(act, kind)


@pytest.mark.parametrize("slope", [0.25, 0.5])
def test_relu_between_its_ends_is_leaky_relu_with_its_gradient(slope):
    act = nn.ReLU(inplace=True)
    gpu.set_activation_slope(act, slope)
    ours, theirs = (X.clone().requires_grad_() for _ in range(2))
    kept = ours * 1  # in place, ReLU would write over it
    y, leaky = act(kept), functional.leaky_relu(theirs, slope)
    assert torch.equal(y, leaky)
    assert torch.equal(kept, X)
    y.sum().backward()
    leaky.sum().backward()
    inside = X != 0
    assert torch.equal(ours.grad[inside], theirs.grad[inside])


def test_slopes_leave_the_state_dict_and_its_names_as_they_are(images):
    model = chain(nn.PReLU(4), nn.ReLU())
    before = copy.deepcopy(model.state_dict())
    gpu.set_activation_slope(model, 0.5)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(map(torch.equal, after.values(), before.values()))
    chain(nn.PReLU(4), nn.ReLU()).load_state_dict(after)
    assert [name for name, _ in model.named_buffers() if "slope" in name] == ["2.slope", "5.slope"]
    assert {id(p) for p in model.parameters()} >= {id(model[2].weight)}


def test_a_new_slope_is_in_the_same_tensor_and_in_the_dtype_of_the_network():
    model = chain().double()
    gpu.set_activation_slope(model, {"2": 0.1})
    tensor = model[2].slope
    gpu.set_activation_slope(model, {"2": 0.3})
    assert model[2].slope is tensor
    assert gpu.activation_slopes(model) == {"2": 0.3, "5": 0.0}
    assert tensor.dtype == torch.float64


def test_changing_a_slope_does_not_compile_anew():
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model = nn.Sequential(nn.ReLU())
    gpu.set_activation_slope(model, 0)
    fast = torch.compile(model, backend=count, fullgraph=True)
    for slope in (0.0, 0.5, 1.0):
        gpu.set_activation_slope(model, slope)
        assert torch.equal(fast(X), functional.leaky_relu(X, slope))
    assert len(compiled) == 1


def test_each_use_in_a_resnet_has_a_slope_of_its_own_and_the_names_of_weights_stay_torchvisions():
    for depth, inner in ((18, ["relu1"]), (50, ["relu1", "relu2"])):
        model = gpu.resnet(depth, in_channels=3)
        theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10)
        assert list(model.state_dict()) == list(theirs.state_dict())
        names = list(gpu.activation_slopes(model))
        assert names[: 2 + len(inner)] == ["relu", *(f"layer1.0.{name}" for name in (*inner, "relu"))]
        assert len(names) == 1 + (len(inner) + 1) * sum(len(getattr(model, f"layer{n}")) for n in range(1, 5))


@pytest.mark.parametrize("name", ["relu", "layer2.0.relu1", "layer2.0.relu"])
def test_one_activation_of_a_resnet_goes_and_the_others_stay(name):
    torch.manual_seed(0)
    model = gpu.resnet(18, t=0.3).eval()
    x = torch.rand(2, 1, 28, 28)
    calls = dict.fromkeys(gpu.activation_slopes(model), 0)

    def count(of):
        def hook(*_):
            calls[of] += 1

        return hook

    handles = [model.get_submodule(of).register_forward_hook(count(of)) for of in calls]
    before = model(x)
    assert set(calls.values()) == {1}
    for handle in handles:
        handle.remove()
    gpu.set_activation_slope(model, {name: 1})
    expected = copy.deepcopy(model)
    owner, _, last = name.rpartition(".")
    setattr(expected.get_submodule(owner), last, nn.Identity())
    bare = gpu.remove_activations(model)
    assert torch.equal(bare(x), expected(x))
    assert not torch.equal(bare(x), before)
    assert list(gpu.activation_slopes(bare)) == [other for other in calls if other != name]


def test_each_use_in_a_skip_cnn_has_a_slope_of_its_own_and_all_gone_leave_an_affine_network():
    model = gpu.six_layer_cnn(activation="relu").eval()
    names = [f"activations.{number}" for number in range(6)]
    assert list(gpu.activation_slopes(model)) == names
    assert list(model.state_dict()) == list(gpu.six_layer_cnn().state_dict())
    gpu.set_activation_slope(model, dict.fromkeys(names[1:], 1))
    x = torch.rand(2, 1, 28, 28)
    some = gpu.remove_activations(model)
    assert torch.equal(some(x), model(x))
    network = some.to_network()
    assert [type(layer).__name__ for layer in network.layers] == ["Conv", "ReLU", *["Conv"] * 5, "Dense"]
    torch.testing.assert_close(torch.from_numpy(network(x.numpy())).float(), model(x))
    gpu.set_activation_slope(model, 1)
    torch.testing.assert_close(
        gpu.remove_activations(model).to_network()(x.numpy()), gpu.six_layer_cnn().to_network()(x.numpy())
    )


def test_a_module_used_twice_has_one_slope_for_all_its_uses_and_its_first_name():
    act = nn.ReLU()
    model = nn.Sequential(nn.Conv2d(1, 1, 1), act, nn.Conv2d(1, 1, 1), act)
    assert gpu.activation_slopes(model) == {"1": 0}
    gpu.set_activation_slope(model, {"1": 1})
    x = torch.randn(2, 1, 4, 4)
    bare = gpu.remove_activations(model)
    assert torch.equal(bare(x), model[2](model[0](x)))
    assert type(bare[1]) is type(bare[3]) is nn.Identity
    theirs = torchvision.models.resnet18()
    assert "layer1.0.relu" in gpu.activation_slopes(theirs)


def test_references_that_are_no_submodules_see_the_slope():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()
            self.calls = [self.act]

        def forward(self, x):
            return self.calls[0](x) if isinstance(self.act, nn.ReLU) else x * 0

    model = Net()
    gpu.set_activation_slope(model, {"act": 0.5})
    assert torch.equal(model(X), functional.leaky_relu(X, 0.5))


@pytest.mark.parametrize("training", [True, False])
def test_removal_gives_the_same_bits_and_the_classes_of_before_and_leaves_the_model(images, training):
    model = chain(nn.PReLU(4), nn.ReLU(inplace=True)).train(training)
    gpu.set_activation_slope(model, {"2": 1, "5": 0})
    kept = copy.deepcopy(model)
    bare = gpu.remove_activations(model, inputs=images)
    assert bare.training == bare[2].training == training
    assert torch.equal(bare(images), model(images))
    assert [type(part) for part in bare] == [
        *(nn.Conv2d, nn.BatchNorm2d, nn.Identity, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d),
    ]
    assert not bare[5].inplace
    assert list(bare.state_dict()) == [name for name in model.state_dict() if name != "2.weight"]
    assert not [name for name, _ in bare.named_buffers() if "slope" in name]
    assert gpu.activation_slopes(model) == gpu.activation_slopes(kept) == {"2": 1, "5": 0}
    assert torch.equal(model[2].weight, kept[2].weight)


def test_an_activation_in_place_behind_a_removed_one_does_not_write_over_what_is_read_elsewhere():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(1, 1, 1), nn.Tanh(), nn.ReLU(inplace=True)

        def forward(self, x):
            y = self.conv(x)
            return self.second(self.first(y)) + y

    model = Net()
    gpu.set_activation_slope(model, {"first": 1})
    x = torch.randn(2, 1, 3, 3)
    assert torch.equal(gpu.remove_activations(model)(x), model.conv(x).relu() + model.conv(x))


def test_removing_all_gives_a_network_that_collapses(images):
    model = chain().eval()
    gpu.set_activation_slope(model, 1)
    bare = gpu.remove_activations(model)
    torch.testing.assert_close(gpu.collapse(bare, (1, 9, 9)).module(images), model(images))


def test_networks_with_slopes_are_copied_pickled_and_exported(images):
    model = chain(nn.PReLU(4), nn.ReLU()).eval()
    gpu.set_activation_slope(model, 0.25)
    y = model(images)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.export.export(model, (images,)).module(),
    ):
        assert torch.equal(other(images), y)
    assert type(copy.deepcopy(model)[2]) is type(model[2])
    assert class_of(model[2]) is nn.PReLU
    assert class_of(model[0]) is nn.Conv2d
    assert str(model[2]) == "SlopedPReLU(num_parameters=4, slope=0.25)"
    assert str(model[5]) == "SlopedReLU(slope=0.25)"


def test_a_transformer_layer_runs_its_activation_and_not_the_fused_kernel():
    model = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.ReLU(), batch_first=True, dropout=0.0).eval()
    x = torch.randn(1, 3, 8)
    with torch.no_grad():
        fused = model(x)
        gpu.set_activation_slope(model, {"activation": 1})
        y = model(x)
        model.activation = nn.Identity()
        torch.testing.assert_close(y, model(x))
    assert not torch.allclose(y, fused)


class Functions(nn.Module):
    """A network with one activation that is a module and one that is a function."""

    def __init__(self, act=None):
        super().__init__()
        self.act = act or nn.Identity()

    def forward(self, x):
        return torch.tanh(self.act(x))


@pytest.mark.parametrize(
    ("model", "slope", "message"),
    [
        (chain(), 1.5, r"slope: expected a number in \[0, 1\], got 1.5"),
        (chain(), -0.1, r"slope: expected a number in \[0, 1\], got -0.1"),
        (chain(), float("nan"), r"slope: expected a number in \[0, 1\], got nan"),
        (chain(), True, r"slope: expected a number in \[0, 1\], got True"),
        (chain(), "half", r"slope: expected a number in \[0, 1\], got 'half'"),
        (chain(), None, r"slope: expected a number in \[0, 1\], got None"),
        (chain(), {"2": 0.5, "5": 2}, r"slope\['5'\]: expected a number in \[0, 1\], got 2"),
        (chain(), {"2": 0.5, "0": 1}, "slope: expected names of activations, which are 2, 5, got 0"),
        (chain(), {"2": 0.5, 5: 1}, "slope: expected names of activations, which are 2, 5, got 5"),
        (nn.Linear(1, 1), 0.5, "model: expected activations that are modules, got Linear without any"),
        (Functions(), 0.5, r"got functions: tanh in the forward of model; write self.act = nn.ReLU\(\) and self.act"),
        (Functions(), {"tanh": 0.5}, "got functions: tanh in the forward of model"),
        (nn.Sequential(Functions(nn.ReLU())), 0.5, r"got functions: tanh in the forward of model\[0\]; .* by name"),
    ],
)
def test_set_activation_slope_refuses_by_name_and_changes_nothing(model, slope, message):
    with pytest.raises(ValueError, match=message):
        gpu.set_activation_slope(model, slope)
    assert not [name for name, _ in model.named_buffers() if "slope" in name]


def test_an_activation_beside_functions_gets_a_slope_by_its_name():
    model = Functions(nn.ReLU())
    gpu.set_activation_slope(model, {"act": 1})
    assert torch.equal(model(X), torch.tanh(X))


@pytest.mark.parametrize(("slope", "kinds"), [(0, ["ReLU"]), (0.3, ["LeakyReLU"]), (1, [])])
def test_a_skip_cnn_is_a_network_at_every_slope(slope, kinds):
    model = gpu.three_layer_cnn(activation="relu").eval()
    gpu.set_activation_slope(model, {"activations.1": slope})
    network = model.to_network()
    between = ["Conv", "ReLU", "Conv", *kinds, "Conv", "ReLU", "Dense"]
    assert [type(layer).__name__ for layer in network.layers] == between
    assert [layer.negative_slope for layer in network.layers if hasattr(layer, "negative_slope")] == [0.3] * (
        slope == 0.3
    )
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(torch.from_numpy(network(x.numpy())).float(), model(x))


def test_a_layer_with_a_slope_is_a_layer_of_a_skip_cnn():
    layers = [nn.Conv2d(1, 1, 1), nn.PReLU(init=0.5), nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1)]
    chained = nn.Sequential(*layers)
    gpu.set_activation_slope(chained, {"1": 0, "3": 1})
    network = gpu.SkipCNN((1, 4, 4), layers).to_network()
    assert float(network.layers[1].weight) == 0.5
    assert network.layers[3].negative_slope == 1
    x = torch.randn(2, 1, 4, 4)
    torch.testing.assert_close(torch.from_numpy(network(x.numpy())).float(), chained(x))


def test_activations_that_are_not_piecewise_linear_on_their_way_are_named():
    model = gpu.three_layer_cnn(activation="relu")
    model.activations[1] = nn.Tanh()
    gpu.set_activation_slope(model, {"activations.1": 0.5})
    with pytest.raises(TypeError, match=r"piecewise linear function, such as ReLU, got SlopedTanh\(slope=0.5\)"):
        model.to_network()
    gpu.set_activation_slope(model, {"activations.1": 1})
    assert [type(layer).__name__ for layer in model.to_network().layers[2:4]] == ["Conv", "Conv"]


def test_a_slope_that_is_written_into_the_tensor_counts(images):
    model = chain().eval()
    gpu.set_activation_slope(model, 0)
    average = AveragedModel(model)
    gpu.set_activation_slope(model, 1)
    average.update_parameters(model)
    assert gpu.activation_slopes(average.module) == {"2": 1, "5": 1}
    graph = gpu.trace(average.module, (1, 9, 9), piecewise=True)
    torch.testing.assert_close(torch.from_numpy(graph(images.double().numpy())).float(), model(images))


def test_a_slope_that_is_1_in_the_dtype_of_the_network_is_the_identity():
    model = chain().eval()
    gpu.set_activation_slope(model, sum([0.1] * 10))
    assert gpu.activation_slopes(model)["2"] < 1
    assert not any(isinstance(part, nn.ReLU) for part in gpu.remove_activations(model).modules())
    gpu.collapse(model, (1, 9, 9))


def test_work_in_place_behind_a_slope_of_1_leaves_its_input():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.act = nn.Linear(4, 4), nn.ReLU()

        def forward(self, x):
            y = self.layer(x)
            z = self.act(y)
            z += 1
            return z + y

    model = InPlace().eval()
    gpu.set_activation_slope(model, 1)
    x = torch.randn(5, 4)
    torch.testing.assert_close(gpu.collapse(model, (4,)).module(x), model(x))


def test_pickles_in_which_the_maker_of_slopes_had_another_place_are_read():
    act = nn.ReLU()
    gpu.set_activation_slope(act, 0.5)
    old = pickle.dumps(act, protocol=0).replace(b"gpu.models.sloped", b"gpu.models.activations")
    assert b"gpu.models.activations" in old
    assert pickle.loads(old)(torch.tensor(-2.0)) == -1


def test_training_with_slopes_gives_the_bits_of_the_formula():
    x = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    for kind, slope in ((nn.ReLU, 0.0), (nn.ReLU, 0.3), (nn.GELU, 1.0), (nn.SiLU, 0.7)):
        act, ours, theirs = kind(), x.clone().requires_grad_(), x.clone().requires_grad_()
        s = torch.tensor(slope)
        expected = (1 - s) * act(theirs) + s * theirs
        gpu.set_activation_slope(act, slope)
        y = act(ours)
        (y**2).sum().backward()
        (expected**2).sum().backward()
        assert torch.equal(y, expected)
        assert torch.equal(ours.grad, theirs.grad)


def test_tracing_takes_the_activation_at_its_slope(images):
    model = chain(nn.ReLU(), nn.ReLU()).eval()
    for first, second, kinds in ((0, 1, ["ReLU"]), (0.25, 0, ["LeakyReLU", "ReLU"]), (1, 0.5, ["LeakyReLU"])):
        gpu.set_activation_slope(model, {"2": first, "5": second})
        graph = gpu.trace(model, (1, 9, 9), piecewise=True)
        named = [type(node.operation).__name__ for node in graph.nodes]
        assert [name for name in named if name not in {"Conv", "BatchNorm"}] == kinds
        torch.testing.assert_close(torch.from_numpy(graph(images.double().numpy())).float(), model(images))
    gpu.set_activation_slope(model, {"2": 1, "5": 0.5})
    message = "5: ReLU: leaky_relu is not affine; replace it by the identity, as gpu.linearize does"
    with pytest.raises(gpu.NotAffineError, match=f"got 1 that are not:\n  {message}"):
        gpu.trace(model, (1, 9, 9))
    gpu.set_activation_slope(model, 1)
    torch.testing.assert_close(gpu.collapse(model, (1, 9, 9)).module(images), model(images))
    merged = gpu.merge(model, (1, 9, 9), inputs=images)
    torch.testing.assert_close(merged.module(images), model(images))


def test_tracing_follows_the_hooks_of_an_activation_with_a_slope_and_questions_for_its_class():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.act = nn.Linear(3, 2), nn.ReLU()

        def forward(self, x):
            return self.act(self.linear(x)) * (2 if isinstance(self.act, nn.ReLU) else 1)

    model, x = Net(), torch.randn(4, 3)
    gpu.set_activation_slope(model, 1)
    model.act.register_forward_hook(lambda module, inputs, output: 3 * output)
    torch.testing.assert_close(torch.from_numpy(gpu.trace(model, (3,))(x.double().numpy())).float(), model(x))


def test_a_derived_activation_on_its_way_is_refused_without_a_line_of_ours():
    class Squash(nn.Tanh):
        pass

    model = nn.Sequential(nn.Linear(2, 2), Squash())
    gpu.set_activation_slope(model, 0.5)
    with pytest.raises(gpu.NotAffineError, match="1: Squash: tanh is not affine"):
        gpu.trace(model, (2,))


class WithSlope(nn.ReLU):
    """An activation that has a slope of its own."""

    def __init__(self):
        super().__init__()
        self.slope = 0.1


class Sealed(nn.ReLU):
    """An activation from which no class can be derived."""

    def __init_subclass__(cls):
        raise TypeError("it is sealed")


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            WithSlope,
            "model: expected activations without an attribute slope, which is to hold the slope, got "
            r"model\[1\].slope of a WithSlope; give it another name",
        ),
        (
            Sealed,
            r"model: expected activations from whose classes others can be derived, got model\[1\], a Sealed: it is "
            "sealed",
        ),
    ],
    ids=["slope", "sealed"],
)
def test_an_activation_that_cannot_have_a_slope_is_found_before_others_get_one(made, message):
    model = nn.Sequential(nn.ReLU(inplace=True), made())
    with pytest.raises(ValueError, match=message):
        gpu.set_activation_slope(model, 0.5)
    assert [type(part) for part in model] == [nn.ReLU, made]
    assert model[0].inplace
    assert not list(model.buffers())
    gpu.set_activation_slope(model, {"0": 0.5})


@pytest.mark.parametrize(
    ("slope", "convert"),
    [
        (0.3, lambda model: model.double()),
        (0.3, lambda model: model.half().float()),
        (0.999, lambda model: model.bfloat16()),
        (1e-30, lambda model: model.half()),
        (0.3, lambda model: model.to("meta")),
        (0.3, lambda model: model.to("meta").to_empty(device="cpu")),
        (0.3, lambda model: pickle.loads(pickle.dumps(model)).double()),
    ],
    ids=["double", "half and back", "bfloat16", "half", "meta", "without numbers", "pickled"],
)
def test_a_slope_stays_exact_through_every_conversion(slope, convert):
    model = chain()
    gpu.set_activation_slope(model, slope)
    converted = convert(model)
    assert gpu.activation_slopes(converted) == {"2": slope, "5": slope}
    held = converted[2].slope
    assert held.is_meta or torch.equal(held, torch.tensor(slope, dtype=torch.float64).to(held))


def test_activations_that_compute_otherwise_than_their_classes_get_no_slope():
    model = nn.Sequential(nn.PReLU(), nn.ReLU())
    nn.utils.parametrize.register_parametrization(model[0], "weight", nn.Softplus())
    model[1].forward = torch.tanh
    for name, got in (
        ("0", r"a parametrization of weight on model\[0\]"),
        ("1", r"a method forward set on model\[1\]"),
    ):
        with pytest.raises(ValueError, match=f"model: expected activations as their classes compute them, got {got}"):
            gpu.set_activation_slope(model, {name: 0.5})


def test_remove_activations_refuses_by_name(images):
    model = chain()
    with pytest.raises(ValueError, match="model: expected an activation of slope 1, got 2 of slope 0"):
        gpu.remove_activations(model)
    gpu.set_activation_slope(model, {"2": 0.5, "5": 1})
    with pytest.raises(
        ValueError, match="expected slope 0 or 1 for every activation, got 1 other: 2 at slope 0.5; what"
    ):
        gpu.remove_activations(model)
    gpu.set_activation_slope(model, {"2": 0})
    handle = model[5].register_forward_hook(lambda module, inputs, output: 2 * output)
    with pytest.raises(ValueError, match=r"got a hook, .*, on model\[5\] .*; it would be lost with them"):
        gpu.remove_activations(model)
    handle.remove()
    gpu.remove_activations(model, inputs=images)
    with pytest.raises(ValueError, match="which alone can be removed, got Functions without any"):
        gpu.remove_activations(Functions())
    for call in (gpu.remove_activations, gpu.activation_slopes, lambda given: gpu.set_activation_slope(given, 1)):
        with pytest.raises(TypeError, match="model: expected an nn.Module, got str"):
            call("model")


def test_a_removal_that_changes_the_function_is_refused():
    class ByClass(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(1, 1, 1), nn.ReLU()

        def forward(self, x):
            y = self.act(self.conv(x))
            return 2 * y if isinstance(self.act, nn.ReLU) else y

    model = ByClass()
    gpu.set_activation_slope(model, 1)
    with pytest.raises(ValueError, match="expected a network that computes the same after rewriting"):
        gpu.remove_activations(model)


@pytest.mark.parametrize("layer", [lambda: nn.TransformerEncoderLayer(8, 2, 16), lambda: nn.LSTM(8, 8)])
def test_one_slope_for_all_is_refused_where_a_layer_of_torch_has_activations_of_its_own(layer):
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.layer = nn.ReLU(), layer()

        def forward(self, x):
            return self.layer(self.act(x))

    model = Mixed().eval()
    with pytest.raises(ValueError, match=r"got functions: (relu|sigmoid) in the forward of model\.layer"):
        gpu.set_activation_slope(model, 1)
    gpu.set_activation_slope(model, {"act": 1})
    assert gpu.activation_slopes(model) == {"act": 1.0}
