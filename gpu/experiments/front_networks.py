"""The networks of the experiment `front`: chains with an activation after every convolution, and what they merge to."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from gpu.models.resnets import SkipBlock, blocks_of, resnet
from linalg_cnn.checks import check_choice
from linalg_cnn.types import Shape, size_of

DIGIT = (1, 28, 28)
"""Shape of a digit."""

PLAIN = ((16, 1), (16, 2), (32, 1), (32, 2), (64, 1), (64, 2), (64, 1), (64, 2))
"""Channels and stride of each convolution of the plain CNN."""

KEPT = {"plain CNN": (6, 4, 2, 1, 0), "ResNet18": (8, 4, 2, 1, 0), "ResNet34": (16, 8, 4, 2, 0)}
"""Numbers of activations that are left in each network, beside all of them."""


def network_of(name: str, seed: int, in_shape: Shape = DIGIT) -> nn.Sequential:
    """Return a network as a chain of convolutions, batch normalisations, activations and poolings, and a linear layer.

    Parameters
    ----------
    name : {"plain CNN", "ResNet18", "ResNet34"}
        The plain CNN has eight 3x3 convolutions. A ResNet is that of `gpu.resnet` without skips and with average
        pooling, so that its activations are its only nonlinearities, and without the taps of its kernels that read
        padding at every position: these change nothing but the time.
    seed : int
        Seed of the initial weights.
    in_shape : tuple of int
        Shape of an image, (channels, height, width), as high as it is wide.

    Raises
    ------
    ValueError
        If there is no such network.

    Examples
    --------
    >>> network = network_of("plain CNN", seed=0)
    >>> network(torch.zeros(2, 1, 28, 28)).shape, sum(isinstance(part, nn.ReLU) for part in network)
    (torch.Size([2, 10]), 8)
    """
    check_choice("network", name, KEPT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "plain CNN":
            return _plain_cnn(in_shape)
        return _resnet_without_skips(int(name.removeprefix("ResNet")), in_shape)


def _plain_cnn(in_shape: Shape) -> nn.Sequential:
    parts: list[nn.Module] = []
    channels, side, _ = in_shape
    for out_channels, stride in PLAIN:
        parts += _normalised(nn.Conv2d(channels, out_channels, 3, stride=stride, padding=1, bias=False))
        parts.append(nn.ReLU())
        channels, side = out_channels, (side - 1) // stride + 1
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(side**2 * channels, 10))


def _resnet_without_skips(depth: int, in_shape: Shape) -> nn.Sequential:
    model = resnet(depth, in_channels=in_shape[0], t=0.0, stem_pool="avg")
    parts = [model.conv1, model.bn1, model.relu, model.maxpool]
    for block in cast(Iterator[SkipBlock], blocks_of(model)):
        parts += [block.conv1, block.bn1, block.relu1, block.conv2, block.bn2, block.relu]
    return nn.Sequential(*_without_unused_taps(parts, in_shape[1]), model.avgpool, nn.Flatten(), model.fc)


def _without_unused_taps(parts: list[nn.Module], side: int) -> list[nn.Module]:
    """Return layers that compute the same without the taps of their kernels that read padding at every position."""
    made: list[nn.Module] = []
    for part in parts:
        if not isinstance(part, (nn.Conv2d, nn.AvgPool2d)):
            made.append(part)
            continue
        _, stride, padding = _geometry(part)
        in_side, side = side, _out_side(part, side)
        if isinstance(part, nn.Conv2d):
            window = Window()
            window.extend(part)
            size, left = window.cropped(in_side, side)
            used = slice(padding - left, padding - left + size)
            weight = nn.Parameter(part.weight.detach()[:, :, used, used].clone())
            part = nn.Conv2d(part.in_channels, part.out_channels, size, stride, left, bias=False)
            part.weight = weight
        made.append(part)
    return made


def _normalised(convolution: nn.Conv2d) -> list[nn.Module]:
    return [convolution, nn.BatchNorm2d(convolution.out_channels)]


@dataclass
class Window:
    """What one output position of a stretch reads along each spatial axis: a kernel size, a stride and a padding.

    Examples
    --------
    >>> window = Window()
    >>> window.extend(nn.Conv2d(1, 4, 3, padding=1))
    >>> window.extend(nn.Conv2d(4, 4, 3, stride=2, padding=1))
    >>> window
    Window(size=5, stride=2, padding=2)
    """

    size: int = 1
    stride: int = 1
    padding: int = 0

    def extend(self, part: nn.Module) -> None:
        """Add a convolution or an average pooling that follows."""
        size, stride, padding = _geometry(part)
        self.size += (size - 1) * self.stride
        self.padding += padding * self.stride
        self.stride *= stride

    def cropped(self, side: int, out_side: int) -> tuple[int, int]:
        """Return kernel size and padding without the taps that read padding at every position."""
        first = max(0, self.padding - (out_side - 1) * self.stride)
        last = min(self.size - 1, self.padding + side - 1)
        return last + 1 - first, self.padding - first


def last_of(order: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the activations that are left when all but ``count`` of an order have gone.

    Examples
    --------
    >>> last_of(["5", "2", "8"], 2), last_of(["5", "2", "8"], 0)
    (('2', '8'), ())
    """
    return tuple(order[len(order) - count :])


def _out_side(part: nn.Module, side: int) -> int:
    """Return the side of the output of a convolution or an average pooling."""
    kernel, stride, padding = _geometry(part)
    return (side + 2 * padding - kernel) // stride + 1


def _geometry(part: nn.Module) -> tuple[int, int, int]:
    """Return kernel size, stride and padding of a convolution or an average pooling, the same on both axes."""
    if isinstance(part, nn.Conv2d):
        return part.kernel_size[0], part.stride[0], cast(int, part.padding[0])
    pool = cast(nn.AvgPool2d, part)
    return cast(int, pool.kernel_size), cast(int, pool.stride), cast(int, pool.padding)


def merged_architecture(network: nn.Sequential, kept: Collection[str], in_shape: Shape = DIGIT) -> nn.Sequential:
    """Return a network with one convolution in place of each stretch between the activations that are left.

    The convolution has the kernel size, stride and padding of the convolutions that it stands for, and is followed by a
    batch normalisation. A stretch stays, without its activations, if this takes fewer MACs. Everything after the last
    activation is one linear layer.

    Parameters
    ----------
    network : nn.Sequential
        A network of `network_of`, whose modules are used where a stretch stays.
    kept : collection of str
        Names of the activations that are left.
    in_shape : tuple of int
        Shape of an image.

    Returns
    -------
    nn.Sequential
        The network; its new layers are initialised from torch's random state.

    Examples
    --------
    >>> for part in merged_architecture(network_of("plain CNN", seed=0), {"5", "11"}):
    ...     print(part)
    Conv2d(1, 16, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), bias=False)
    BatchNorm2d(16, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    ReLU()
    Conv2d(16, 32, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), bias=False)
    BatchNorm2d(32, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    ReLU()
    Flatten(start_dim=1, end_dim=-1)
    Linear(in_features=1568, out_features=10, bias=True)
    """
    made: list[nn.Module] = []
    shape = in_shape
    stretch: list[nn.Module] = []
    for name, part in network.named_children():
        if name in kept:
            layers, shape = _one_layer(stretch, shape)
            made += [*layers, part]
            stretch = []
        elif not isinstance(part, nn.ReLU):
            stretch.append(part)
    return nn.Sequential(*made, nn.Flatten(), nn.Linear(size_of(shape), 10))


def merged_macs(name: str, kept: Collection[str], in_shape: Shape = DIGIT) -> int:
    """Return the multiply-accumulates (MACs) per image of `merged_architecture`, those with padding included.

    Examples
    --------
    >>> merged_macs("plain CNN", {"5", "11"})
    721280
    """
    with torch.device("meta"):
        whole = network_of(name, seed=0, in_shape=in_shape)
        network, x = merged_architecture(whole, kept, in_shape).eval(), torch.empty(1, *in_shape)
        macs = 0
        for part in network:
            x = part(x)
            if isinstance(part, (nn.Conv2d, nn.Linear)):
                macs += x.numel() * part.weight[0].numel()
    return macs


def _one_layer(stretch: list[nn.Module], shape: Shape) -> tuple[list[nn.Module], Shape]:
    """Return a stretch of convolutions and poolings as one convolution, if this is no more work, and its out_shape."""
    window, channels, side = Window(), shape[0], shape[1]
    macs = 0
    for part in stretch:
        if isinstance(part, nn.BatchNorm2d):
            continue
        window.extend(part)
        side = _out_side(part, side)
        if isinstance(part, nn.Conv2d):
            channels = part.out_channels
            macs += side**2 * part.weight.numel()
    out_shape = (channels, side, side)
    size, padding = window.cropped(shape[1], side)
    if sum(isinstance(part, nn.Conv2d) for part in stretch) == 1 or side**2 * shape[0] * channels * size**2 > macs:
        return stretch, out_shape
    one = nn.Conv2d(shape[0], channels, size, window.stride, padding, bias=False)
    return _normalised(one), out_shape
