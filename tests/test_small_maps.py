"""Training tap by tap, where feature maps are smaller than kernels, is training with torch's convolutions."""

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

import gpu
from gpu.experiments.small_maps import ConvolutionByTaps, copy_state, with_small_maps_by_taps

IN_SHAPE = (1, 28, 28)


@st.composite
def convolutions(draw):
    """Draw a convolution of float64 and the height and width of its images."""
    pairs = {
        name: st.tuples(st.integers(least, most), st.integers(least, most))
        for name, least, most in (
            ("kernel_size", 1, 4),
            ("stride", 1, 3),
            ("padding", 0, 3),
            ("dilation", 1, 2),
            ("size", 1, 4),
        )
    }
    options = {name: draw(pair) for name, pair in pairs.items()}
    size = options.pop("size")
    for axis in range(2):
        reach = options["dilation"][axis] * (options["kernel_size"][axis] - 1)
        assume(size[axis] + 2 * options["padding"][axis] > reach)
    return nn.Conv2d(3, 5, **options, bias=False).double(), size


@given(drawn=convolutions(), seed=st.integers(0, 1000))
def test_the_output_and_the_gradients_are_those_of_torch(drawn, seed):
    convolution, size = drawn
    torch.manual_seed(seed)
    images = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    expected = convolution(images)
    assume(expected.detach().abs().amax(0).gt(0).any())  # a tap reads a pixel
    by_taps = ConvolutionByTaps(convolution, *size)
    found = by_taps(images)
    torch.testing.assert_close(found, expected)

    weights = torch.rand_like(expected)
    to_images, to_kernel = torch.autograd.grad((expected * weights).sum(), (images, convolution.weight))
    to_images_by_taps, to_taps = torch.autograd.grad((found * weights).sum(), (images, by_taps.weight))
    torch.testing.assert_close(to_images_by_taps, to_images)
    left = to_kernel.clone()
    for tap, gradient in zip(by_taps.taps, to_taps, strict=True):
        torch.testing.assert_close(gradient, to_kernel[:, :, *tap.kernel].T)
        left[:, :, *tap.kernel] = 0
    assert not left.any()  # the taps that are not there have no gradient


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_training_takes_the_same_steps(stem_stride):
    torch.manual_seed(0)
    model = gpu.resnet(18, t=0.5, stem_stride=stem_stride).double()
    images, labels = torch.rand(8, *IN_SHAPE, dtype=torch.float64), torch.arange(8)
    faster, trained = with_small_maps_by_taps(model, IN_SHAPE), gpu.resnet(18).double()
    assert any(isinstance(part, ConvolutionByTaps) for part in faster.modules())
    trained.load_state_dict(model.state_dict())
    for network in (model, faster):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
    copy_state(faster, trained)
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=1e-9, atol=1e-12)


def test_the_network_that_is_copied_stays_as_it_is():
    model = gpu.resnet(18).train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    with_small_maps_by_taps(model, IN_SHAPE)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(part._forward_pre_hooks for part in model.modules())


def test_the_copy_is_in_the_same_modes_and_has_no_hooks():
    model = gpu.resnet(18).train()
    model.bn1.eval()
    made = with_small_maps_by_taps(model, IN_SHAPE)
    assert made.training
    assert not made.bn1.training
    assert not any(part._forward_pre_hooks for part in made.modules())


class TwoSizes(nn.Module):
    """One convolution that gets images of two sizes."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Conv2d(1, 1, 3, padding=1, bias=False)

    def forward(self, images):
        return self.shared(images), self.shared(images[:, :, :1, :1])


KEPT = {
    "reads pixels mostly": (nn.Conv2d(1, 2, 3, padding=1, bias=False), (1, 3, 3)),
    "groups": (nn.Conv2d(2, 2, 3, padding=1, groups=2, bias=False), (2, 1, 1)),
    "bias": (nn.Conv2d(1, 2, 3, padding=1), (1, 1, 1)),
    "padding by name": (nn.Conv2d(1, 2, 3, padding="same", bias=False), (1, 1, 1)),
    "padding that is not zero": (nn.Conv2d(1, 2, 3, padding=1, padding_mode="replicate", bias=False), (1, 1, 1)),
    "no pixel is read": (nn.Conv2d(1, 2, 1, stride=3, padding=1, bias=False), (1, 1, 1)),
    "two sizes": (TwoSizes(), (1, 4, 4)),
}


@pytest.mark.parametrize("name", KEPT)
def test_other_convolutions_stay_torch_s(name):
    part, in_shape = KEPT[name]
    made = with_small_maps_by_taps(nn.Sequential(part), in_shape)
    assert not any(isinstance(part, ConvolutionByTaps) for part in made.modules())


def test_a_convolution_over_one_pixel_keeps_one_tap_of_nine():
    made = with_small_maps_by_taps(nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, bias=False)), (4, 1, 1))
    assert made[0].weight.shape == (1, 4, 8)
