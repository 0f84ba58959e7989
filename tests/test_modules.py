"""A SkipCNN and its SkipNetwork have the same parameters, bit for bit; what is not affine is refused."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import networks
from operations import OPERATIONS
from operations.row import integers
from torch import nn
from torch.nn.functional import interpolate

from gpu import NearestResample, SkipCNN, three_layer_cnn
from gpu.models.conversion import to_module, to_operation
from linalg_cnn import (
    Abs,
    AdaptiveMaxPool,
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    MaxPool,
    Pad,
    PReLU,
    ReLU,
    Resample,
    ResampleTo,
    SkipNetwork,
    WeightedSum,
)

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@settings(max_examples=min(50, settings().max_examples))  # each conversion is compared with the original
@given(network=networks())
def test_there_and_back(network):
    model = SkipCNN.from_network(network)
    back = model.to_network()
    assert (back.in_shape, back.shapes, back.resample) == (network.in_shape, network.shapes, network.resample)
    assert back.skip_weights == network.skip_weights
    for ours, theirs in zip(network.layers, back.layers, strict=True):
        assert type(ours) is type(theirs)
        assert vars(ours).keys() == vars(theirs).keys()
        for name, value in vars(ours).items():
            if isinstance(value, np.ndarray):
                assert value.dtype == vars(theirs)[name].dtype
                np.testing.assert_array_equal(value, vars(theirs)[name], err_msg=name)
    np.testing.assert_array_equal(network.compose().W, back.compose().W)
    np.testing.assert_array_equal(network.compose().B, back.compose().B)


def test_a_module_written_by_hand_gives_the_same():
    """The paper's 3-layer network, spelled out in torch."""
    torch.manual_seed(0)
    model = three_layer_cnn(channels=3, t=0.25).double()
    conv1, conv2, conv3, head = model.layers
    x = torch.randn(5, 1, 28, 28, dtype=torch.float64)
    f1 = conv1(x)
    f2 = conv2(f1)
    skip = interpolate(f1.float(), size=(26, 26), mode="nearest").double()
    resampled = NearestResample(ResampleTo((3, 26, 26)), (3, 28, 28))(f1)
    torch.testing.assert_close(skip, resampled, rtol=0, atol=1e-6)
    f4 = head(conv3(0.75 * f2 + 0.25 * resampled))
    torch.testing.assert_close(model(x), f4, rtol=0, atol=0)
    affine = model.to_network().compose()
    np.testing.assert_allclose(affine(x.flatten(1).numpy()), f4.detach().numpy(), atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resampling_shows_the_same_pixels_in_every_dtype(dtype):
    """At 26 -> 22, torch's own interpolate may pick other pixels for float64 than for float32."""
    x = torch.arange(26, dtype=dtype).reshape(1, 1, 26)
    ours = NearestResample(Resample(22), (1, 26))(x)
    assert ours.dtype == dtype
    assert torch.equal(ours, interpolate(x.float(), size=22, mode="nearest").to(dtype))


def test_float32_networks_stay_float32():
    network = SkipNetwork((1, 4), [Conv(np.ones((1, 1, 2), np.float32)), Resample(2)])
    assert next(SkipCNN.from_network(network).parameters()).dtype == torch.float32
    mixed = SkipNetwork((1, 4), [Conv(np.ones((1, 1, 2), np.float32)), Dense(np.ones((2, 3)))])
    assert {p.dtype for p in SkipCNN.from_network(mixed).parameters()} == {torch.float64}


def test_state_dict_holds_only_what_was_learnt():
    model = three_layer_cnn()
    assert sorted(model.state_dict()) == [
        "layers.0.bias",
        "layers.0.weight",
        "layers.1.bias",
        "layers.1.weight",
        "layers.2.bias",
        "layers.2.weight",
        "layers.3.1.bias",
        "layers.3.1.weight",
    ]
    assert "Resample" in repr(model)


def test_initialisation_is_seeded_and_leaves_the_global_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = three_layer_cnn(seed=1), three_layer_cnn(seed=1), three_layer_cnn(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.layers[0].weight, second.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


class Louder(nn.Conv1d):
    """A subclass that computes something else."""

    def forward(self, x):
        return super().forward(x).exp()


@pytest.mark.parametrize(
    "layer",
    [
        nn.ELU(),
        nn.Threshold(0.5, 0),
        nn.MaxPool1d(2, return_indices=True),
        nn.Dropout(),
        nn.LayerNorm(4),
        Louder(1, 1, 1),
        nn.Linear(4, 4),
        nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.ReLU()),
        nn.Sequential(nn.Flatten(0), nn.Linear(4, 4)),
        nn.Sequential(nn.Flatten(2), nn.Linear(4, 4)),
        nn.Upsample(scale_factor=2, mode="linear"),
        nn.Upsample(size=8, mode="nearest"),
        nn.BatchNorm1d(1, track_running_stats=False),
    ],
)
def test_what_is_not_affine_is_refused(layer):
    with pytest.raises(TypeError, match=r"layers\[0\]: expected affine modules .* got"):
        SkipCNN((1, 4), [layer])


@pytest.mark.parametrize(
    ("module", "in_shape"),
    [
        (nn.ReLU(), (2, 4)),
        (nn.ReLU6(), (3,)),
        (nn.Hardsigmoid(), (3,)),
        (nn.Hardtanh(-2, 1), (3,)),
        (nn.Softshrink(0.25), (3,)),
        (nn.Threshold(-0.5, -0.5), (3,)),
        (nn.LeakyReLU(0.25), (3,)),
        (nn.PReLU(init=0.5), (2, 4)),
        (nn.PReLU(2, init=0.5), (2, 4)),
        (nn.MaxPool1d(3, stride=2, padding=1, dilation=1, ceil_mode=True), (2, 6)),
        (nn.MaxPool2d(2, dilation=2), (1, 6, 5)),
        (nn.MaxPool3d(2), (1, 2, 3, 2)),
        (nn.AdaptiveMaxPool1d(3), (2, 7)),
        (nn.AdaptiveMaxPool2d((2, 1)), (2, 4, 3)),
        (nn.AdaptiveMaxPool3d(1), (1, 2, 3, 2)),
    ],
)
def test_piecewise_linear_layers_go_there_and_back(module, in_shape):
    model = SkipCNN(in_shape, [module.double()])
    network = model.to_network()
    back = SkipCNN.from_network(network)
    assert type(back.layers[0]) is type(module)
    x = torch.randn(3, *in_shape, dtype=torch.float64)
    torch.testing.assert_close(torch.from_numpy(network(x.numpy())), module(x), rtol=1e-14, atol=1e-15)
    torch.testing.assert_close(back(x), module(x), rtol=0, atol=0)


def test_a_threshold_at_zero_is_the_relu():
    network = SkipCNN((3,), [nn.Threshold(0, 0)]).to_network()
    assert network.layers == (ReLU(),)


@pytest.mark.parametrize(
    ("layer", "in_shape"),
    [(Abs(), (3,)), (PReLU(np.ones((2, 3))), (2, 3)), (MaxPool(1), (1,) * 5), (AdaptiveMaxPool(1), (1,) * 5)],
)
def test_piecewise_linear_layers_without_a_module_of_torch_are_refused(layer, in_shape):
    with pytest.raises(TypeError, match=r"layers\[0\]: expected layers that gpu.models.conversion has a module for"):
        SkipCNN.from_network(SkipNetwork(in_shape, [layer]))


def test_batch_norm_in_training_mode_is_refused():
    model = SkipCNN((1, 4), [nn.BatchNorm1d(1)])
    with pytest.raises(ValueError, match=r"layers\.0: expected batch normalisation in evaluation mode, got training"):
        model.to_network()
    assert isinstance(model.eval().to_network().layers[0], BatchNorm)


def test_symbols_are_refused():
    t = sympy.Symbol("t")
    ones = Conv(np.ones((1, 1, 1)))
    with pytest.raises(TypeError, match="network: expected numbers, got sympy expressions"):
        SkipCNN.from_network(SkipNetwork((1, 4), [ones, ones], {(0, 1): t, (1, 1): 1 - t}))
    with pytest.raises(TypeError, match="skip_weights: expected numbers for a torch module"):
        SkipCNN((1, 4), [nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1)], {(0, 1): t, (1, 1): 1 - t})


def test_what_torch_has_no_module_for():
    with pytest.raises(ValueError, match="expected at most three spatial axes for a torch module"):
        SkipCNN.from_network(SkipNetwork((1, 2, 2, 2, 2), [Conv(np.ones((1, 1, 1, 1, 1, 1)))]))
    with pytest.raises(TypeError, match="expected layers that gpu.models.conversion has a module for, got WeightedSum"):
        SkipCNN.from_network(SkipNetwork((1, 2), [WeightedSum([1.0])]))


def test_weights_that_ran_away_are_refused():
    model = three_layer_cnn()
    with torch.no_grad():
        model.layers[1].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="kernel: expected finite entries, got nan"):
        model.to_network()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_shape": (1, 4, 28)}, r"in_shape: expected \(channels, height, width\) of at least 5x5"),
        ({"in_shape": (1, 28)}, "in_shape: expected .* with 2 spatial axes"),
        ({"t": 1.5}, r"t: expected a number in \[0, 1\], got 1.5"),
    ],
)
def test_bad_three_layer_cnns(options, message):
    with pytest.raises(ValueError, match=message):
        three_layer_cnn(**options)


@pytest.mark.cuda
def test_on_cuda():
    model = three_layer_cnn(channels=3)
    x = torch.rand(7, 1, 28, 28)
    expected = model(x).detach()
    moved = model.cuda()
    torch.testing.assert_close(moved(x.cuda()).detach().cpu(), expected, rtol=1e-3, atol=1e-3)
    assert moved.to_network().compose().W.shape == (10, 784)


def test_hooks_and_methods_on_the_instance_are_refused():
    hooked = nn.Conv1d(1, 1, 1)
    handle = hooked.register_forward_hook(lambda module, inputs, output: output.relu())
    patched = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    patched[1].forward = torch.relu
    for layer in (hooked, patched):
        with pytest.raises(TypeError, match=r"layers\[0\]: expected modules as their class computes them, got hooks"):
            SkipCNN((1, 4), [layer])
    handle.remove()
    model = SkipCNN((1, 4), [hooked])
    hooked.register_forward_pre_hook(lambda module, inputs: (inputs[0].relu(),))
    with pytest.raises(TypeError, match="got hooks"):
        model.to_network()


def test_images_of_another_shape_are_refused():
    """A resampling by pixel numbers would return pixels of such images, too."""
    model = SkipCNN.from_network(SkipNetwork((1, 6), [Conv(np.ones((1, 1, 2))), Resample(3)]))
    for shape in [(1, 1, 9), (1, 2, 6), (1, 6), (1, 1, 5)]:
        with pytest.raises(ValueError, match=r"x: expected shape \(N, 1, 6\), got"):
            model(torch.ones(shape, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 1, 4\), got \(1, 2, 4\)"):
        NearestResample(Resample(2), (1, 4))(torch.ones(1, 2, 4))
    with pytest.raises(ValueError, match="expected nearest-neighbour resampling, got mode 'linear'"):
        NearestResample(Resample(2, "linear"), (1, 4))


@pytest.mark.parametrize("operation", [AvgPool(2), Conv(np.ones((1, 1, 2))), Pad(1), 3, Resample])
def test_nearest_resampling_takes_no_other_operation(operation):
    """Those with taps have the same methods: the first tap of each window was taken for the pixel to pick."""
    with pytest.raises(
        TypeError, match="operation: expected a Resample or a ResampleTo, got (AvgPool|Conv|Pad|int|AB)"
    ):
        NearestResample(operation, (1, 4))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (nn.Conv2d, "layers: expected a sequence of modules, got type"),
        (nn.Conv2d(1, 1, 3), "layers: expected a sequence of modules, got Conv2d"),
        ([nn.Conv2d], r"layers\[0\]: expected an nn.Module, got type"),
        ([nn.Conv2d(1, 1, 3), None], r"layers\[1\]: expected an nn.Module, got NoneType"),
    ],
)
def test_layers_that_are_no_modules_are_refused(layers, message):
    with pytest.raises(TypeError, match=message):
        SkipCNN((1, 4, 4), layers)


def test_layers_may_come_one_by_one():
    model = SkipCNN((1, 4, 4), (nn.Conv2d(1, 1, 2, dtype=torch.float64) for _ in range(2)))
    assert len(model.layers) == 2
    assert model.out_shape == (1, 2, 2)


def test_layers_of_two_dtypes_are_refused():
    with pytest.raises(
        ValueError, match=r"layers: expected parameters of one dtype, got \['torch.float32', 'torch.float64'\]"
    ):
        SkipCNN((1, 4), [nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 1).double()])
    with pytest.raises(TypeError, match="network: expected a SkipNetwork, got NoneType"):
        SkipCNN.from_network(None)


@pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
@given(data=st.data())
def test_every_operation_that_torch_has_goes_there_and_back(info, data):
    operation, *in_shapes = data.draw(info.draw())
    try:
        module = to_module(operation, in_shapes[0]).double()
    except TypeError as error:
        assert type(operation).__name__ in str(error)  # noqa: PT017 - refused by name
        return
    except ValueError as error:
        assert "got 'symmetric'" in str(error)  # noqa: PT017 - a border that torch does not have
        return
    x = integers(data.draw, (2, *in_shapes[0]))
    with torch.inference_mode():
        theirs = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(operation(x), theirs, rtol=0, atol=info.rtol * 100)
    back = to_operation(module)
    assert type(back) is type(operation)
    np.testing.assert_array_equal(back(x), operation(x))


def test_the_package_has_no_other_names():
    import gpu

    with pytest.raises(AttributeError, match="module 'gpu' has no attribute 'nothing'"):
        _ = gpu.nothing
