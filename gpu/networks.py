"""The paper's networks, freshly initialised."""

import torch
from torch import nn

from gpu.modules import SkipCNN
from linalg_cnn import shared_skip_weights
from linalg_cnn.checks import check_int, check_shape
from linalg_cnn.types import Shape, size_of


def three_layer_cnn(
    in_shape: Shape = (1, 28, 28), num_classes: int = 10, *, channels: int = 8, t: float = 0.5, seed: int = 0
) -> SkipCNN:
    """Return the paper's 3-layer linear CNN: a skip of strength t from the first layer to the third.

    Three 3x3 convolutions and a fully connected layer. The paper does not give channels or borders; chosen here
    so that both of its matrices occur: the first convolution is padded (P), the others shrink the image, so that
    the skip has to be resampled (R). Nothing is nonlinear.

    Parameters
    ----------
    in_shape : tuple of int
        (channels, height, width), at least 5x5.
    num_classes, channels : int
    t : float in [0, 1]
        The third convolution reads (1 - t) f^(2) + t R f^(1).
    seed : int
        Of torch's default initialisation; the global random state is left as it was.

    Raises
    ------
    ValueError
        If the image is too small, or t is not in [0, 1].

    Notes
    -----
    Source: the paper's section 5.2.

    Examples
    --------
    >>> three_layer_cnn().to_network()
    SkipNetwork((1, 28, 28) -> (10,): Conv, Conv, Conv, Dense; skips 1->3)
    """
    c, height, width = check_shape("in_shape", in_shape, axes=2)
    check_int("num_classes", num_classes, 1)
    check_int("channels", channels, 1)
    if channels * size_of((height, width)) > 2**31:
        raise ValueError(
            f"channels: expected at most {2**31 // size_of((height, width))} for this image, got {channels}"
        )
    if min(height, width) < 5:
        raise ValueError(f"in_shape: expected an image of at least 5x5, got {in_shape}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(c, channels, 3, padding=1),
            nn.Conv2d(channels, channels, 3),
            nn.Conv2d(channels, channels, 3),
            nn.Sequential(nn.Flatten(), nn.Linear(size_of((channels, height - 4, width - 4)), num_classes)),
        ]
    return SkipCNN((c, height, width), layers, shared_skip_weights([(1, 2)], t))
