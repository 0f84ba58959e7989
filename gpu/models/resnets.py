"""torchvision's residual networks with skips of strength t."""

import copy
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal, Self, cast

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

    The class is mixed into torchvision's blocks, and keeps their submodules and the names in their state_dict. Where
    torchvision uses one activation several times, it has one for each use, so that each can have a slope of its own
    (`gpu.set_activation_slope`): ``relu1`` after ``bn1``, ``relu2`` after the ``bn2`` of a bottleneck, and ``relu`` at
    the end.

    Attributes
    ----------
    inner_activations : dict of str to str
        Names of the activations on the main path by the names of the batch normalisations that they follow.
    skip_sum : SkipSum or None
        The sum; None if the skip has been removed, in which case the block is act(F(x)).
    """

    inner_activations: ClassVar[dict[str, str]]
    conv1: nn.Conv2d
    conv2: nn.Conv2d
    bn1: nn.Module
    bn2: nn.Module
    relu1: nn.Module
    relu: nn.Module
    downsample: nn.Sequential | None
    skip_sum: SkipSum | None

    @classmethod
    def like(cls, block: nn.Module, t: float) -> Self:
        """Return a block of this class with the submodules of one of torchvision's blocks."""
        made = cls.__new__(cls)
        made.__dict__ = block.__dict__.copy()
        made._modules = {}
        for name, part in block._modules.items():  # in the order of the forward pass, as names are listed
            if name != "relu":
                made._modules[name] = part
            if name in cls.inner_activations:
                made._modules[cls.inner_activations[name]] = copy.deepcopy(block._modules["relu"])
        like = next(made.parameters(), torch.zeros(()))
        made.skip_sum = SkipSum(t).to(like.device)
        if like.dtype == torch.float64:
            made.skip_sum.double()
        made._modules["relu"] = block._modules["relu"]
        return made

    @abstractmethod
    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""

    @property
    @abstractmethod
    def last_norm(self) -> tuple[str, nn.Module]:
        """The name and the module of the main path's last batch normalisation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output for a batch (N, channels, height, width)."""
        main = self.main_path(x)
        if self.skip_sum is not None:
            main = self.skip_sum(main, x if self.downsample is None else self.downsample(x))
        return cast(torch.Tensor, self.relu(main))

    def skip_parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the sum and the projection, where the block has them."""
        parts = (("skip_sum", self.skip_sum), ("downsample", self.downsample))
        return ((name, part) for name, part in parts if part is not None)

    def drop_skips(self) -> None:
        """Remove the sum and the projection."""
        self.skip_sum = None
        self.downsample = None


class BasicBlock(SkipBlock, theirs.BasicBlock):  # type: ignore[misc] # torchvision is without types
    """Two 3x3 convolutions beside a skip of strength t: the block of ResNet18 and 34."""

    inner_activations: ClassVar = {"bn1": "relu1"}

    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""
        y: torch.Tensor = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        return y

    @property
    def last_norm(self) -> tuple[str, nn.Module]:
        """The name and the module of the main path's last batch normalisation."""
        return "bn2", self.bn2


class Bottleneck(SkipBlock, theirs.Bottleneck):  # type: ignore[misc] # torchvision is without types
    """A 1x1, a 3x3 and a 1x1 convolution beside a skip of strength t: the block of ResNet50, 101 and 152."""

    inner_activations: ClassVar = {"bn1": "relu1", "bn2": "relu2"}
    relu2: nn.Module
    conv3: nn.Conv2d
    bn3: nn.Module

    def main_path(self, x: torch.Tensor) -> torch.Tensor:
        """Return F(x)."""
        y = self.conv2(self.relu1(self.bn1(self.conv1(x))))
        z: torch.Tensor = self.bn3(self.conv3(self.relu2(self.bn2(y))))
        return z

    @property
    def last_norm(self) -> tuple[str, nn.Module]:
        """The name and the module of the main path's last batch normalisation."""
        return "bn3", self.bn3


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
        1x1; with 1 it is 2x2, for 3.8 times the multiply-accumulates of the convolutions (5.2 times, where products
        with padding are left out).

    Returns
    -------
    torchvision.models.ResNet
        A network in training mode that maps images (N, in_channels, height, width) to scores (N, num_classes). Its
        state_dict has torchvision's names. Its blocks have one activation for each use, where torchvision's share one:
        ``relu1`` after ``bn1``, ``relu2`` after ``bn2`` in depths from 50, and ``relu`` at the end.

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
        for part in [model, *blocks_of(model)]:
            part.relu = copy.deepcopy(act)
    return with_strength(model, strength)


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


def layers_of(model: ResNet) -> tuple[nn.Sequential, ...]:
    """Return the four groups of residual blocks."""
    return (model.layer1, model.layer2, model.layer3, model.layer4)


def blocks_of(model: ResNet) -> Iterator[nn.Module]:
    """Yield the residual blocks in order."""
    for layer in layers_of(model):
        yield from layer


def with_strength(model: ResNet, t: float) -> ResNet:
    """Replace torchvision's blocks by blocks with skips of strength t, in place, and return the model."""
    for layer in layers_of(model):
        for number, block in enumerate(layer):
            layer[number] = BLOCKS[type(block)].like(block, t)
    return model
