"""Networks with skips of strength t, torchvision's among them, and the same networks without their skips."""

import copy
import pickle
from functools import partial
from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn.functional import relu
from torch.optim.swa_utils import AveragedModel
from torchvision import models

import gpu
from gpu.models.homotopy import SkipJoin, SkipSum
from gpu.models.nonlinearities import Activation
from gpu.models.resnets import DEPTHS

MAIN_PATH_CONVOLUTIONS = {18: 17, 34: 33, 50: 49}


def shaken(model, seed=0):
    """Give batch norms weights and running statistics as training could leave them."""
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor, low, high in (
                (part.weight, 0.5, 1.5),
                (part.bias, -0.2, 0.2),
                (part.running_mean, -0.2, 0.2),
                (part.running_var, 0.5, 1.5),
            ):
                tensor.data.uniform_(low, high, generator=generator)
    return model


def torchvision_resnet(depth):
    torch.manual_seed(depth)
    return shaken(getattr(models, f"resnet{depth}")(num_classes=10))


def from_torchvision_at_zero():
    model = gpu.from_torchvision(torchvision_resnet(18))
    gpu.set_skip_strength(model, 0)
    return model


NETWORKS = {
    "resnet18": (lambda: shaken(gpu.resnet(18, t=0)), (1, 28, 28)),
    "resnet34, linear": (lambda: shaken(gpu.resnet(34, t=0, activation="identity", stem_pool="avg")), (1, 28, 28)),
    "resnet50, colour": (lambda: shaken(gpu.resnet(50, in_channels=3, t=0)), (3, 32, 32)),
    **{
        f"{name}, {activation}": (partial(make, t=0.0, activation=activation), (1, 28, 28))
        for activation in get_args(Activation)
        for name, make in (("three layers", gpu.three_layer_cnn), ("six layers", gpu.six_layer_cnn))
    },
    "torchvision's resnet18": (from_torchvision_at_zero, (3, 32, 32)),
}
"""Every kind of network with skips, at t = 0: how it is made, and the shape of its input."""


def test_a_block_is_equation_23_with_t_on_the_skip():
    torch.manual_seed(0)
    model = shaken(gpu.resnet(18, t=0.75)).eval()
    x = torch.randn(2, 64, 7, 7)
    block = model.layer1[0]
    main = block.bn2(block.conv2(relu(block.bn1(block.conv1(x)))))
    assert torch.equal(block(x), relu(0.25 * main + 0.75 * x))
    block = model.layer2[0]
    main = block.bn2(block.conv2(relu(block.bn1(block.conv1(x)))))
    assert torch.equal(block(x), relu(0.25 * main + 0.75 * block.downsample(x)))


@pytest.mark.parametrize("depth", DEPTHS)
def test_torchvisions_weights_load_strictly(depth):
    theirs = torchvision_resnet(depth)
    ours = gpu.resnet(depth, in_channels=3, t=0.5)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert gpu.skip_strengths(ours) == {
        name: 0.5 for name, part in ours.named_modules() if name.endswith("skip_sum") and part is not None
    }
    assert len(gpu.skip_strengths(ours)) == sum(
        len(layer) for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)
    )


@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("training", [True, False])
def test_from_torchvision_keeps_the_function_to_the_last_bit_at_one_half(depth, training):
    theirs = torchvision_resnet(depth).train(training)
    before = copy.deepcopy(theirs.state_dict())
    ours = gpu.from_torchvision(theirs)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert ours.training == training
    if not training:
        assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())


@pytest.mark.parametrize(("stride", "last"), [(2, (1, 1)), (1, (2, 2))])
def test_the_stride_of_the_stem_decides_the_size_of_the_last_map(stride, last):
    model = gpu.resnet(18, stem_stride=stride).eval()
    sizes = []
    model.layer4.register_forward_hook(lambda module, args, output: sizes.append(tuple(output.shape[2:])))
    assert model(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    assert sizes == [last]
    assert set(model.state_dict()) == set(gpu.resnet(18).state_dict())


@pytest.mark.parametrize("stride", [0, 3, True, "1"])
def test_other_strides_of_the_stem_are_refused(stride):
    with pytest.raises(ValueError, match="stem_stride: expected 1 or 2, got"):
        gpu.resnet(18, stem_stride=stride)


def test_from_torchvision_at_another_t_and_of_wider_kin():
    wider = models.resnext50_32x4d(num_classes=10)
    for theirs, t in ((torchvision_resnet(18), 0.1), (wider, 0.9)):
        model = theirs.double().eval()
        x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
        ours = gpu.from_torchvision(model, t)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), model(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [1e-6, 0.9999, 0.999999])
def test_from_torchvision_scales_with_the_t_that_the_network_holds(t):
    """In float32, 1 - 0.999999 is 1.3 % off; weights scaled with the double t made a network of other scores."""
    model = torchvision_resnet(18).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        difference = (gpu.from_torchvision(model, t)(x) - model(x)).abs().max()
        assert difference <= 1e-5 * model(x).abs().max()


def test_from_torchvision_refuses_a_t_that_rounds_to_1_and_numbers_that_overflow():
    with pytest.raises(ValueError, match="t: expected a number that is neither 0 nor 1 after rounding, got one"):
        gpu.from_torchvision(torchvision_resnet(18), 1 - 1e-9)
    with pytest.raises(ValueError, match=r"expected a dtype that can hold activations times 1e\+04"):
        gpu.from_torchvision(torchvision_resnet(18).half(), 0.9999)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.zeros(0, 3, 32, 32), "inputs: expected numbers to compare the networks on, got an empty batch"),
        (torch.full((2, 3, 32, 32), torch.nan), "inputs: expected finite numbers to compare the networks on, got NaN"),
        (torch.full((2, 3, 32, 32), torch.inf), "inputs: expected finite numbers to compare the networks on, got NaN"),
    ],
)
def test_an_input_on_which_all_networks_agree_is_refused(inputs, message):
    for rewrite in (
        lambda: gpu.from_torchvision(torchvision_resnet(18).eval(), inputs=inputs),
        lambda: gpu.remove_skips(gpu.resnet(18, in_channels=3, t=0.0), inputs=inputs),
    ):
        with pytest.raises(ValueError, match=message):
            rewrite()


def test_loading_the_weights_alone_does_not_keep_the_function():
    theirs = torchvision_resnet(18).eval()
    ours = gpu.resnet(18, in_channels=3).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert (ours(x) - theirs(x)).abs().max() > 0.1 * theirs(x).abs().max()


@pytest.mark.parametrize(
    ("make", "t", "error", "message"),
    [
        (models.squeezenet1_1, 0.5, TypeError, "model: expected a ResNet of torchvision's with its own blocks, got"),
        (partial(gpu.resnet, 18), 0.5, TypeError, "model: expected a ResNet of torchvision's .* blocks, got ResNet"),
        (models.resnet18, 0.0, ValueError, "t: expected 0 < t < 1, got 0.0: one of the two paths would"),
        (models.resnet18, 1.0, ValueError, "t: expected 0 < t < 1, got 1.0"),
        (models.resnet18, 1.5, ValueError, r"t: expected a number in \[0, 1\], got 1.5"),
        (lambda: models.resnet34().half(), 0.5, ValueError, "expected a dtype that can hold activations times"),
    ],
)
def test_from_torchvision_refuses(make, t, error, message):
    with pytest.raises(error, match=message):
        gpu.from_torchvision(make(), t)


def test_from_torchvision_refuses_what_does_not_commute_with_scaling():
    model = torchvision_resnet(18)
    model.layer2[1].relu = nn.Tanh()
    with pytest.raises(ValueError, match=r"layer2.1.relu: expected ReLU, which commutes with scaling, got Tanh"):
        gpu.from_torchvision(model)
    model = torchvision_resnet(18)
    model.layer1[0].bn2 = nn.BatchNorm2d(64, affine=False)
    with pytest.raises(ValueError, match="layer1.0.bn2: expected batch normalisation with weight and bias"):
        gpu.from_torchvision(model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20}, "depth: expected one of 18, 34, 50, 101, 152, got 20"),
        ({"depth": 18, "in_channels": 0}, "in_channels: expected an int of at least 1, got 0"),
        ({"depth": 18, "num_classes": 0}, "num_classes: expected an int of at least 1, got 0"),
        ({"depth": 18, "t": 1.01}, r"t: expected a number in \[0, 1\], got 1.01"),
        ({"depth": 18, "t": float("nan")}, r"t: expected a number in \[0, 1\], got nan"),
        ({"depth": 18, "activation": "no such"}, "activation: expected one of"),
        ({"depth": 18, "stem_pool": "min"}, "stem_pool: expected one of"),
    ],
)
def test_resnet_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        gpu.resnet(**options)


def test_the_linear_resnet_collapses_with_average_pooling_only():
    torch.manual_seed(0)
    model = shaken(gpu.resnet(18, t=0.3, activation="identity", stem_pool="avg")).eval()
    collapsed = gpu.collapse(model, (1, 28, 28))
    x = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(collapsed.module(x), model(x), rtol=1e-3, atol=1e-4)
    with pytest.raises(gpu.NotAffineError, match="maxpool: MaxPool2d: max_pool2d is not affine"):
        gpu.trace(gpu.resnet(18, activation="identity").eval(), (1, 28, 28))
    with pytest.raises(gpu.NotAffineError, match=r"layer4.1.relu: ReLU"):
        gpu.trace(gpu.resnet(18).eval(), (1, 28, 28))


def test_t_is_a_tensor_that_changes_in_place():
    model = gpu.resnet(18, t=0.5)
    tensors = {name: tensor for name, tensor in model.named_buffers() if name.endswith("skip_sum.t")}
    assert len(tensors) == 8
    addresses = [tensor.data_ptr() for tensor in tensors.values()]
    gpu.set_skip_strength(model, 0.25)
    gpu.set_skip_strength(model, {"layer3.0.skip_sum": 0.75})
    assert [tensor.data_ptr() for tensor in tensors.values()] == addresses
    assert [float(tensor) for tensor in tensors.values()] == [0.25] * 4 + [0.75] + [0.25] * 3
    assert not any("skip_sum" in name for name in model.state_dict())


def test_changing_t_does_not_compile_anew():
    compiled = []

    def count(graph, inputs):
        compiled.append(graph)
        return graph.forward

    model = SkipSum(0.5)
    fast = torch.compile(model, backend=count, fullgraph=True)
    for t in (0.5, 0.25, 0.0):
        gpu.set_skip_strength(model, t)
        assert float(fast(torch.tensor(4.0), torch.tensor(8.0))) == 4 + 4 * t
    assert len(compiled) == 1


def test_several_skips_into_a_layer_share_t():
    model = gpu.six_layer_cnn(t=0.5)
    gpu.set_skip_strength(model, 0.75)
    weights = model.skip_weights
    assert [weights[key] for key in ((5, 5), (1, 5), (2, 5), (3, 5), (4, 5))] == [0.25, *(0.1875,) * 4]
    assert model.to_network().skip_weights == weights
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(model(x), torch.from_numpy(model.to_network()(x.numpy())).float())


def test_weights_of_zero_are_kept_to_be_changed_later():
    model = gpu.three_layer_cnn(t=0.0).double()
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    before = model(x)
    gpu.set_skip_strength(model, 0.5)
    assert not torch.allclose(model(x), before)
    torch.testing.assert_close(model(x), torch.from_numpy(model.to_network()(x.numpy())))


def test_a_relu_network_is_a_network_with_relu_layers():
    model = gpu.three_layer_cnn(activation="relu")
    x = torch.rand(2, 1, 28, 28)
    f1 = relu(model.layers[0](x))
    f2 = relu(model.layers[1](f1))
    f3 = relu(model.layers[2](0.5 * f2 + 0.5 * model.resamplers["1->2"](f1)))
    torch.testing.assert_close(model(x), model.layers[3](f3))
    network = model.double().to_network()
    kinds = [type(layer).__name__ for layer in network.layers]
    assert kinds == ["Conv", "ReLU", "Conv", "ReLU", "Conv", "ReLU", "Dense"]
    torch.testing.assert_close(model(x.double()), torch.from_numpy(network(x.double().numpy())))
    with pytest.raises(TypeError, match=r"got SkipNetwork, which holds a PiecewiseGraph; .* its .at\(x\)"):
        network.compose()


def test_set_skip_strength_refuses_and_changes_nothing():
    model = gpu.resnet(18, t=0.5)
    for t, message in (
        (1.5, r"t: expected a number in \[0, 1\], got 1.5"),
        (float("nan"), "got nan"),
        ("0.5", "got '0.5'"),
        (True, "got True"),
        (
            {"layer1.0.skip_sum": 0.1, "layer9": 0.1},
            "t: expected names of skips, which are layer1.0.*got layer9",
        ),
        ({3: 0.1, "layer9": 0.1}, "t: expected names of skips, which are layer1.0.*got 3, layer9"),
        ({"layer1.0.skip_sum": 0.1, "layer1.1.skip_sum": -1}, r"t\['layer1.1.skip_sum'\]: expected a number in"),
    ):
        with pytest.raises(ValueError, match=message):
            gpu.set_skip_strength(model, t)
    assert set(gpu.skip_strengths(model).values()) == {0.5}
    with pytest.raises(ValueError, match="model: expected a network with skips of strength t, got Linear without any"):
        gpu.set_skip_strength(nn.Linear(1, 1), 0.5)
    for call in (gpu.skip_strengths, lambda model: gpu.set_skip_strength(model, 0.5)):
        with pytest.raises(TypeError, match="model: expected an nn.Module, got int"):
            call(5)


@pytest.mark.parametrize(("make", "in_shape"), NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_without_its_skips_a_network_computes_the_same_bits(make, in_shape, training):
    torch.manual_seed(0)
    model = make().train(training)
    bare = gpu.remove_skips(model)
    assert bare.training == training
    x = torch.rand(4, *in_shape)
    with torch.no_grad():
        assert torch.equal(bare(x), model(x))
    assert gpu.skip_strengths(bare) == {}
    assert set(bare.state_dict()) <= set(model.state_dict())


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_the_sums_and_the_projections_are_gone(depth):
    model = gpu.resnet(depth, t=0).eval()
    bare = gpu.remove_skips(model)

    def operations(module):
        with torch.no_grad():
            program = torch.export.export(module, (torch.zeros(2, 1, 28, 28),), strict=False)
        return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]

    before, after = operations(model), operations(bare)
    assert sum("conv2d" in name for name in after) == MAIN_PATH_CONVOLUTIONS[depth]
    assert sum("conv2d" in name for name in before) == MAIN_PATH_CONVOLUTIONS[depth] + (4 if depth > 34 else 3)
    assert any("add" in name or "mul" in name for name in before)
    assert not any("add." in name or "add_." in name or "mul" in name for name in after)
    parameters = [sum(p.numel() for p in m.parameters()) for m in (bare, model)]
    assert parameters[0] < parameters[1]


def test_remove_skips_leaves_the_model_and_says_why_not():
    model = gpu.resnet(18, t=0)
    gpu.remove_skips(model)
    assert len(gpu.skip_strengths(model)) == 8
    assert model.layer2[0].downsample is not None
    gpu.set_skip_strength(model, {"layer1.0.skip_sum": 0.5})
    with pytest.raises(ValueError, match=r"expected t = 0 for every skip, got 1 other: layer1.0.skip_sum at t = 0.5"):
        gpu.remove_skips(model)
    gpu.set_skip_strength(model, 0.1)
    with pytest.raises(ValueError, match=r"got 8 others: .*, \.\.\.; what these skips carry would be lost"):
        gpu.remove_skips(model)
    with pytest.raises(ValueError, match=r"torchvision's own ResNets add x \+ F\(x\): gpu.from_torchvision gives"):
        gpu.remove_skips(models.resnet18())


def test_skips_that_cancel_are_skips():
    layers = [nn.Conv2d(1, 1, 3, padding=1) for _ in range(3)]
    model = gpu.SkipCNN((1, 6, 6), layers, {(0, 2): -0.5, (1, 2): 0.5, (2, 2): 1.0})
    assert gpu.skip_strengths(model) == {"joins.2": 1.0}
    with pytest.raises(ValueError, match="expected t = 0 for every skip"):
        gpu.remove_skips(model)


def test_weights_are_exact_in_every_dtype():
    model = gpu.three_layer_cnn(t=0.1).double()
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    for t in (0.1, 0.3):
        gpu.set_skip_strength(model, t)
        assert gpu.skip_strengths(model) == {"joins.2": t}
        torch.testing.assert_close(model(x), torch.from_numpy(model.to_network()(x.numpy())), rtol=1e-13, atol=1e-14)


CONVERSIONS = {
    "double": (0.3, lambda model: model.double()),
    "half and back": (0.3, lambda model: model.half().float()),
    "bfloat16, in which it is 1": (0.999, lambda model: model.bfloat16()),
    "half, in which it is 0": (1e-30, lambda model: model.half()),
    "meta": (0.3, lambda model: model.to("meta")),
    "meta, and back without numbers": (0.3, lambda model: model.to("meta").to_empty(device="cpu")),
    "pickled": (0.3, lambda model: pickle.loads(pickle.dumps(model)).double()),
    "copied": (0.3, lambda model: copy.deepcopy(model).double()),
}


@pytest.mark.parametrize("make", [partial(gpu.resnet, 18), gpu.three_layer_cnn], ids=["SkipSum", "SkipJoin"])
@pytest.mark.parametrize(("t", "convert"), CONVERSIONS.values(), ids=CONVERSIONS)
def test_a_strength_stays_exact_through_every_conversion(make, t, convert):
    weights = make(t=t).state_dict()
    model = convert(make(t=t))
    assert set(gpu.skip_strengths(model).values()) == {t}
    like = next(model.parameters())
    held = [buffer for name, buffer in model.named_buffers() if name.endswith((".t", ".weights"))]
    assert held
    for buffer in held:
        assert (buffer.dtype, buffer.device) == (like.dtype, like.device)
        assert buffer.is_meta or torch.equal(buffer.reshape(-1)[-1], torch.tensor(t, dtype=torch.float64).to(like))
    if not like.is_meta:
        model.load_state_dict(weights, strict=True)
        assert set(gpu.skip_strengths(model).values()) == {t}


def test_a_strength_set_while_there_are_no_numbers_is_there_with_the_numbers():
    with torch.device("meta"):
        model = gpu.resnet(18, t=0.5)
    gpu.set_skip_strength(model, 0.3)
    assert "t=0.3" in repr(model)
    model.to_empty(device="cpu").load_state_dict(gpu.resnet(18).state_dict())
    assert torch.equal(model.layer1[0].skip_sum.t, torch.tensor(0.3))


@pytest.mark.parametrize("make", [partial(gpu.resnet, 18), gpu.three_layer_cnn], ids=["SkipSum", "SkipJoin"])
def test_a_strength_that_is_written_into_the_tensor_counts(make):
    """A moving average of networks copies the buffers of the network into its own."""
    model = make(t=0.5)
    average = AveragedModel(model)
    gpu.set_skip_strength(model, 0)
    average.update_parameters(model)
    assert set(gpu.skip_strengths(average.module).values()) == {0}
    assert set(gpu.skip_strengths(average.module.double()).values()) == {0}
    gpu.remove_skips(average.module.eval())


def test_skips_that_carry_nothing_in_the_dtype_of_the_network_are_removed():
    model = gpu.resnet(18, t=1e-30).half().eval()
    assert set(gpu.skip_strengths(model).values()) == {1e-30}
    assert gpu.skip_strengths(gpu.remove_skips(model)) == {}


def test_a_strength_may_become_a_parameter():
    model = SkipSum(0.5)
    del model.t
    model.t = nn.Parameter(torch.tensor(0.25))
    assert model.double().skip_strength == 0.25
    assert model.t.dtype == torch.float64


def test_a_conversion_that_changes_nothing_writes_nothing():
    with torch.inference_mode():
        model = SkipSum(0.3)
    assert model.float().cpu().skip_strength == 0.3  # its tensor cannot be written outside of inference mode


def test_pickles_of_before_strengths_were_exact_are_read():
    model = SkipSum(0.25)
    state = model.__getstate__()
    del state["exact"]
    old = SkipSum.__new__(SkipSum)
    old.__setstate__(state)
    assert old.skip_strength == 0.25


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_sum_is_scripted_and_captured_with_its_tensor():
    main, skip = torch.tensor([4.0]), torch.tensor([8.0])
    scripted = torch.jit.script(SkipSum(0.25))
    assert scripted(main, skip) == 5
    model = SkipSum(0.25)
    traced = torch.jit.trace(model, (main, skip))
    model.set_skip_strength(0.5)
    assert traced(main, skip) == 6


def test_from_torchvision_names_what_is_not_torchvisions():
    model = torchvision_resnet(18)
    model.fc = nn.Identity()
    with pytest.raises(TypeError, match="model: expected a linear layer as fc, got Identity"):
        gpu.from_torchvision(model)
    model = torchvision_resnet(18)
    model.layer2[0].downsample = nn.Sequential(nn.AvgPool2d(2), *model.layer2[0].downsample)
    with pytest.raises(ValueError, match="layer2.0.downsample: expected a convolution and a norm, got Sequential"):
        gpu.from_torchvision(model)


def test_skips_show_their_weights():
    assert repr(SkipSum(0.25)) == "SkipSum(t=0.25)"
    assert repr(SkipJoin([0.5, 0.5], torch.float32)) == "SkipJoin(weights=(0.5, 0.5))"
