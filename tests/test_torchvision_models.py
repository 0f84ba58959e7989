"""Every family of torchvision's classifiers collapses after it is linearised, or is refused by name."""

import pytest
import torch
import torchvision
from torch import nn

import gpu
from gpu import NotAffineError

COLLAPSE = {
    **{f"resnet{depth}": (3, 64, 64) if depth < 50 else (3, 32, 32) for depth in (18, 34, 50, 101, 152)},
    "resnext50_32x4d": (3, 32, 32),
    "wide_resnet50_2": (3, 32, 32),
    "vgg11_bn": (3, 32, 32),
    "vgg16_bn": (3, 32, 32),
    "alexnet": (3, 64, 64),
    "mobilenet_v2": (3, 32, 32),
    "shufflenet_v2_x1_0": (3, 32, 32),
    "squeezenet1_0": (3, 64, 64),
    "squeezenet1_1": (3, 64, 64),
    "mnasnet1_0": (3, 32, 32),
    "regnet_x_400mf": (3, 32, 32),
    "densenet121": (3, 32, 32),
    "googlenet": (3, 64, 64),
    "inception_v3": (3, 75, 75),
}
REFUSED = {
    "efficientnet_b0": r"features.1.0.block.1: SqueezeExcitation .*product of two values that depend on the data",
    "mobilenet_v3_small": r"SqueezeExcitation .*product of two values that depend on the data",
    "regnet_y_400mf": r"trunk_output.block1.block1-0.f.se: SqueezeExcitation .*product of two values",
    "convnext_tiny": r"features.1.0.block.2: LayerNorm: layer_norm is not affine",
    "vit_b_16": r"encoder.layers.encoder_layer_0.self_attention: MultiheadAttention: scaled_dot_product_attention",
    "swin_t": r"features.1.0.attn: ShiftedWindowAttention .*product of two values that depend on the data",
}


def model_of(name, in_channels=3):
    """A float32 model in evaluation mode, initialised so that activations neither vanish nor overflow."""
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    options |= {"image_size": 64} if name.startswith("vit") else {}
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(num_classes=10, **options)
    if in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="linear")
        elif isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return model.eval()


def assert_collapses(model, in_shape):
    linear, changes = gpu.linearize(model)
    assert changes
    collapsed = gpu.collapse(linear, in_shape)
    report = collapsed.report
    assert collapsed.affine.W.shape == (10, torch.Size(in_shape).numel())
    assert report.differences["largest_score"] > 1e-3
    assert report.differences["map"]["relative"] < 1e-11
    assert report.composition["W_relative"] < 1e-11
    assert report.composition["rows_compared"] == 10
    assert report.differences["bound"]["held"]
    x = torch.randn(3, *in_shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = linear(x)
    torch.testing.assert_close(collapsed.module(x), theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


IN_SWEEP = (
    "resnet34",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "wide_resnet50_2",
    "vgg11_bn",
    "vgg16_bn",
    "squeezenet1_0",
    "mnasnet1_0",
    "regnet_x_400mf",
    "densenet121",
    "inception_v3",
    "regnet_y_400mf",
    "swin_t",
    "vit_b_16",
)
"""Networks that run the operations of others, or take longer to trace or to collapse."""


def marked(name):
    return pytest.mark.sweep if name in IN_SWEEP else ()


@pytest.mark.parametrize(
    ("name", "in_shape"), [pytest.param(*model, marks=marked(model[0]), id=model[0]) for model in COLLAPSE.items()]
)
def test_linearised_models_collapse(name, in_shape):
    assert_collapses(model_of(name), in_shape)


@pytest.mark.parametrize("depth", [34, *(pytest.param(depth, marks=pytest.mark.sweep) for depth in (18, 50, 101, 152))])
def test_linearised_resnets_collapse_on_digits(depth):
    assert_collapses(model_of(f"resnet{depth}", in_channels=1), (1, 28, 28))


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", pytest.param("googlenet", marks=pytest.mark.sweep)])
def test_before_it_is_linearised_a_model_is_refused(name):
    with pytest.raises(NotAffineError, match="re[lL][uU]6? is not affine"):
        gpu.trace(model_of(name), COLLAPSE[name])


@pytest.mark.parametrize(
    ("name", "message"), [pytest.param(*model, marks=marked(model[0]), id=model[0]) for model in REFUSED.items()]
)
def test_models_that_are_not_affine_without_activations_either(name, message):
    linear, _ = gpu.linearize(model_of(name))
    with pytest.raises(NotAffineError, match=message):
        gpu.trace(linear, (3, 64, 64))
