"""torchvision's residual networks with skips of strength t."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import Literal, Self, cast

import torch
import torchvision
from torch import nn
from torchvision.models import ResNet
from torchvision.models import resnet as theirs

from gpu.models.homotopy import SkipSum, WithSkips, check_share
from gpu.models.nonlinearities import Activation, activation_module
from linalg_cnn.checks import check_choice, check_int

DEPTHS = (18, 34, 50, 101, 152)


class SkipBlock(WithSkips):
    """A residual block with a skip of strength t: act((1 - t) F(x) + t skip(x)), where F is its main path.

    The class is mixed into torchvision's blocks, and keeps their submodules and the names in their state_dict.

    Attributes
    ----------
    skip_sum : SkipSum or None
        The sum; None if the skip has been removed, in which case the block is act(F(x)).
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    bn1: nn.Module
    bn2: nn.Module
    relu: nn.Module
    downsample: nn.Sequential | None
    skip_sum: SkipSum | None

    @classmethod
    def like(cls, block: nn.Module, t: float) -> Self:
        """Return a block of this class with the submodules of one of torchvision's blocks."""
        made = cls.__new__(cls)
        made.__dict__ = block.__dict__.copy()
        made.skip_sum = SkipSum(t).to(made.conv1.weight.device)
        return made

    @abstractmethod
    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""

    @property
    @abstractmethod
    def last_norm(self) -> nn.Module:
        """The main path's last batch normalisation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for a batch (N, channels, height, width)."""
        main = self.main_path(x)
        if self.skip_sum is not None:
            main = self.skip_sum(main, x if self.downsample is None else self.downsample(x))
        return cast(torch.Tensor, self.relu(main))

    def drop_skips(self) -> None:
        """Remove the sum and the projection."""
        self.skip_sum = None
        self.downsample = None


class BasicBlock(SkipBlock, theirs.BasicBlock):  # type: ignore[misc] # torchvision is without types
    """Two 3x3 convolutions beside a skip of strength t: the block of ResNet18 and 34."""

    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""
        y: torch.Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return y

    @property
    def last_norm(self) -> nn.Module:
        """The main path's last batch normalisation."""
        return self.bn2


class Bottleneck(SkipBlock, theirs.Bottleneck):  # type: ignore[misc] # torchvision is without types
    """A 1x1, a 3x3 and a 1x1 convolution beside a skip of strength t: the block of ResNet50, 101 and 152."""

    conv3: nn.Conv2d
    bn3: nn.Module

    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        z: torch.Tensor = self.bn3(self.conv3(self.relu(self.bn2(y))))
        return z

    @property
    def last_norm(self) -> nn.Module:
        """The main path's last batch normalisation."""
        return self.bn3


BLOCKS: dict[type[nn.Module], type[SkipBlock]] = {theirs.BasicBlock: BasicBlock, theirs.Bottleneck: Bottleneck}


def resnet(
    depth: int,
    *,
    in_channels: int = 1,
    num_classes: int = 10,
    t: float = 0.5,
    activation: Activation = "relu",
    stem_pool: Literal["max", "avg"] = "max",
    stem_stride: Literal[1, 2] = 2,
) -> ResNet:
    """Return torchvision's ResNet with skips of strength t, initialised from torch's random state.

    The output of a residual block is act((1 - t) F(x) + t skip(x)), where F is its main path and skip is the identity
    or a projection.

    Parameters
    ----------
    depth : {18, 34, 50, 101, 152}
        Number of layers, as in the name ResNet18.
    in_channels : int
        Number of channels of the images.
    num_classes : int
        Number of scores for each image.
    t : float in [0, 1]
        Strength of all skips; `gpu.set_skip_strength` changes it later.
    activation : {"relu", "identity"}
        The activation. With ``"identity"`` the network is the paper's linear network, provided that ``stem_pool`` is
        ``"avg"``: max pooling is not affine (erratum 4).
    stem_pool : {"max", "avg"}
        The 3x3 pooling with stride 2 after the first convolution.
    stem_stride : {1, 2}
        Stride of the first convolution. torchvision's is 2, which brings an image of 28x28 to a last feature map of
        1x1; with 1 it is 2x2, for about four times the work.

    Returns
    -------
    torchvision.models.ResNet
        A network in training mode that maps images (N, in_channels, height, width) to scores (N, num_classes). Its
        state_dict has torchvision's names.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Source: the paper's sections 4 and 5.1; torchvision.models.resnet. The paper does not say where t enters a ResNet;
    here it weighs the sum at the end of each residual block.

    Examples
    --------
    >>> model = resnet(18, t=0.9).eval()
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> [name for name, _ in model.named_buffers() if name.endswith(".t")] == [
    ...     f"layer{layer}.{block}.skip_sum.t" for layer in (1, 2, 3, 4) for block in (0, 1)
    ... ]
    True
    """
    if depth not in DEPTHS or isinstance(depth, bool):
        raise ValueError(f"depth: expected one of {', '.join(map(str, DEPTHS))}, got {depth!r}")
    check_int("in_channels", in_channels, 1)
    check_int("num_classes", num_classes, 1)
    strength = check_share("t", t)
    act = activation_module(activation)
    check_choice("stem_pool", stem_pool, ("max", "avg"))
    check_stem_stride(stem_stride)
    model: ResNet = getattr(torchvision.models, f"resnet{depth}")(num_classes=num_classes)
    set_stem_channels(model, in_channels)
    set_stem_stride(model, stem_stride)
    if stem_pool == "avg":
        model.maxpool = nn.AvgPool2d(3, stride=2, padding=1)
    if activation != "relu":  # torchvision's own
        for part in [model, *_blocks(model)]:
            part.relu = copy.deepcopy(act)
    return _with_strength(model, strength)


def set_stem_channels(model: ResNet, in_channels: int) -> None:
    """Give a ResNet of torchvision's a new first convolution for another number of channels than 3, in place.

    Parameters
    ----------
    model : torchvision.models.ResNet
        A freshly initialised network.
    in_channels : int
        Number of channels of the images. With 3 the model stays as it is; otherwise the convolution is initialised
        from torch's random state, as torchvision initialises its own.
    """
    if in_channels != 3:
        model.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")


def check_stem_stride(stride: int) -> None:
    """Check the stride of the first convolution.

    Raises
    ------
    ValueError
        If it is not 1 or 2.
    """
    if stride not in (1, 2) or isinstance(stride, bool):
        raise ValueError(f"stem_stride: expected 1 or 2, got {stride!r}")


def set_stem_stride(model: ResNet, stride: int) -> None:
    """Set the stride of the first convolution of a ResNet, in place."""
    model.conv1.stride = (stride, stride)


def from_torchvision(model: ResNet, t: float = 0.5) -> ResNet:
    """Return a copy of one of torchvision's ResNets that computes the same function with skips of strength t.

    Parameters
    ----------
    model : torchvision.models.ResNet
        A ResNet, ResNeXt or wide ResNet. It is not changed.
    t : float, 0 < t < 1
        Strength of all skips; 0.5 by default, which keeps the outputs to the last bit unless a number underflows.

    Returns
    -------
    torchvision.models.ResNet
        The copy, in the mode and dtype of the model and on its device. Its state_dict has the same names and other
        values.

    Raises
    ------
    TypeError
        If ``model`` is not a ResNet of torchvision's with its own blocks and a linear layer at the end.
    ValueError
        If t is 0 or 1, for which no scaling exists; an activation does not commute with scaling; a block has no batch
        normalisation with weights; or the scales underflow in the model's dtype.

    Notes
    -----
    torchvision's blocks compute x + F(x). A block that computes t x + (1 - t) F'(x), with F' = t / (1 - t) F, returns
    t times as much. The first convolution of the next block divides by this factor, and so does the next projection or
    the last layer. At t = 0.5 all factors are powers of two, so that scaling rounds nothing.

    Examples
    --------
    >>> theirs = torchvision.models.resnet18(num_classes=10).eval()
    >>> ours, image = from_torchvision(theirs), torch.rand(1, 3, 64, 64)
    >>> torch.allclose(ours(image), theirs(image))
    True
    """
    if not isinstance(model, ResNet) or not all(type(block) in BLOCKS for block in _blocks(model)):
        raise TypeError(f"model: expected a ResNet of torchvision's with its own blocks, got {type(model).__name__}")
    strength = check_share("t", t)
    if not 0 < strength < 1:
        raise ValueError(f"t: expected 0 < t < 1, got {t}: one of the two paths would carry nothing")
    if not isinstance(model.fc, nn.Linear):
        raise TypeError(f"model: expected a linear layer as fc, got {model.fc!r}")
    made = _with_strength(copy.deepcopy(model), strength)
    scale = 1.0  # the input of a block, in multiples of the input of torchvision's block
    with torch.no_grad():
        for name, block in made.named_modules():
            if isinstance(block, SkipBlock):
                scale = _rescale(name, block, strength, scale)
        made.fc.weight /= scale
    return made


def _rescale(name: str, block: SkipBlock, t: float, scale: float) -> float:
    """Scale the weights of a block whose input is ``scale`` times torchvision's; return the factor of its output.

    Raises
    ------
    ValueError
        If the block cannot be scaled.
    """
    if not isinstance(block.relu, (nn.ReLU, nn.LeakyReLU, nn.Identity)):
        got = block.relu
        raise ValueError(f"{name}.relu: expected ReLU, which commutes with scaling, got {got}")  # noqa: TRY004
    block.conv1.weight /= scale
    after = t * scale
    if block.downsample is not None:
        projection, norm = block.downsample[0], block.downsample[-1]
        if len(block.downsample) != 2 or not isinstance(projection, nn.Conv2d):
            got = block.downsample
            raise ValueError(f"{name}.downsample: expected a convolution and a norm, got {got}")
        projection.weight /= scale
        _scale_output(f"{name}.downsample", norm, 1 / t)
        after = 1.0
    _scale_output(f"{name}: the last norm", block.last_norm, after / (1 - t))
    dtype = block.conv1.weight.dtype
    if after < 1024 * torch.finfo(dtype).smallest_normal:
        raise ValueError(
            f"model: expected a dtype that can hold activations times {after:.1g} ({name}), got {dtype}; "
            "take model.float()"
        )
    return after


def _scale_output(name: str, norm: nn.Module, factor: float) -> None:
    for parameter in (getattr(norm, "weight", None), getattr(norm, "bias", None)):
        if not isinstance(parameter, torch.Tensor):
            got = norm
            raise ValueError(f"{name}: expected batch normalisation with weight and bias, got {got}")  # noqa: TRY004
        parameter.mul_(factor)


def _layers(model: ResNet) -> tuple[nn.Sequential, ...]:
    return (model.layer1, model.layer2, model.layer3, model.layer4)


def _blocks(model: ResNet) -> Iterator[nn.Module]:
    for layer in _layers(model):
        yield from layer


def _with_strength(model: ResNet, t: float) -> ResNet:
    """Replace torchvision's blocks by blocks with skips of strength t, in place, and return the model."""
    for layer in _layers(model):
        for number, block in enumerate(layer):
            layer[number] = BLOCKS[type(block)].like(block, t)
    return model
