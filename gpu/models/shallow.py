"""The paper's shallow networks: the perceptron, the 3-layer and the 6-layer CNN."""

from collections.abc import Iterable

import torch
from torch import nn

from gpu.models.nonlinearities import Activation
from gpu.models.skip_cnn import SkipCNN
from linalg_cnn import shared_skip_weights
from linalg_cnn.checks import check_int, check_shape
from linalg_cnn.types import Shape, size_of


def three_layer_cnn(
    in_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    *,
    channels: int = 8,
    t: float = 0.5,
    activation: Activation = "identity",
    seed: int = 0,
) -> SkipCNN:
    """Return the paper's 3-layer CNN: a skip of strength t from the first layer to the third.

    It has three 3x3 convolutions and a fully connected layer.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one image, (channels, height, width), at least 5x5.
    num_classes : int
        Number of scores for each image.
    channels : int
        Number of channels of every convolution.
    t : float in [0, 1]
        Strength of the skip: the third convolution reads (1 - t) f^(2) + t R f^(1).
    activation : {"identity", "relu"}
        The activation after each convolution; the identity gives a linear network.
    seed : int
        Seed of torch's default initialisation; the global random state stays as it is.

    Raises
    ------
    ValueError
        If the image is too small, or t is not in [0, 1].

    Notes
    -----
    Source: the paper's section 5.2. It gives neither channels nor borders. They are chosen so that both of the paper's
    matrices occur: the first convolution is padded (P), the others shrink the image, and the skip is resampled (R).

    Examples
    --------
    >>> three_layer_cnn().to_network()
    SkipNetwork((1, 28, 28) -> (10,): Conv, Conv, Conv, Dense; skips 1->3)
    """
    return _cnn(in_shape, num_classes, channels, t, activation, seed, depth=3, skips=[(1, 2)])


def six_layer_cnn(
    in_shape: Shape = (1, 28, 28),
    num_classes: int = 10,
    *,
    channels: int = 8,
    t: float = 0.5,
    activation: Activation = "identity",
    seed: int = 0,
) -> SkipCNN:
    """Return the paper's 6-layer CNN: skips of strength t between all layers that do not follow each other.

    It has six 3x3 convolutions, the first of them padded, a fully connected layer, and ten skips. Several skips into
    one layer share t equally.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one image, (channels, height, width), at least 11x11.
    num_classes, channels, t, activation, seed
        As in `three_layer_cnn`.

    Raises
    ------
    ValueError
        If the image is too small, or t is not in [0, 1].

    Notes
    -----
    Source: the paper's section 5.3; channels and borders are chosen as in `three_layer_cnn`.

    Examples
    --------
    >>> six_layer_cnn().to_network()
    SkipNetwork((1, 28, 28) -> (10,): Conv, Conv, Conv, Conv, Conv, Conv, Dense; skips 1->3, 1->4, 1->5, 1->6, \
2->4, 2->5, 2->6, 3->5, 3->6, 4->6)
    """
    skips = [(k, j) for j in range(2, 6) for k in range(1, j)]
    return _cnn(in_shape, num_classes, channels, t, activation, seed, depth=6, skips=skips)


def perceptron(in_shape: Shape = (1, 28, 28), num_classes: int = 10, *, seed: int = 0) -> SkipCNN:
    """Return the paper's single-layer perceptron, the form to which every linear network collapses.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one image, (channels, *spatial).
    num_classes : int
        Number of scores for each image.
    seed : int
        Seed of torch's default initialisation; the global random state stays as it is.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> perceptron().to_network()
    SkipNetwork((1, 28, 28) -> (10,): Dense; skips none)
    """
    shape = check_shape("in_shape", in_shape)
    check_int("num_classes", num_classes, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SkipCNN(shape, [nn.Sequential(nn.Flatten(), nn.Linear(size_of(shape), num_classes))])


def _cnn(
    in_shape: Shape,
    num_classes: int,
    channels: int,
    t: float,
    activation: Activation,
    seed: int,
    *,
    depth: int,
    skips: Iterable[tuple[int, int]],
) -> SkipCNN:
    """Return a network of 3x3 convolutions, the first of them padded, and a fully connected layer.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    c, height, width = check_shape("in_shape", in_shape, axes=2)
    check_int("num_classes", num_classes, 1)
    check_int("channels", channels, 1)
    if channels * size_of((height, width)) > 2**31:
        raise ValueError(
            f"channels: expected at most {2**31 // size_of((height, width))} for this image, got {channels}"
        )
    lost = 2 * (depth - 1)
    if min(height, width) <= lost:
        raise ValueError(
            f"in_shape: expected (channels, height, width) of at least {lost + 1}x{lost + 1}, got {in_shape}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Conv2d(c, channels, 3, padding=1)]
        layers += [nn.Conv2d(channels, channels, 3) for _ in range(depth - 1)]
        features = size_of((channels, height - lost, width - lost))
        layers.append(nn.Sequential(nn.Flatten(), nn.Linear(features, num_classes)))
    return SkipCNN((c, height, width), layers, shared_skip_weights(skips, t), activation=activation)
