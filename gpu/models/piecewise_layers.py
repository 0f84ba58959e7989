"""Piecewise-linear layers of `linalg_cnn` as torch modules, and back."""

from typing import Any

import torch
from torch import nn

from gpu.models.sloped import Sloped, class_of, held_slope, is_sloped, slope_of, without_slopes
from linalg_cnn import (
    AdaptiveMaxPool,
    Clamp,
    Hardsigmoid,
    Hardtanh,
    LeakyReLU,
    MaxPool,
    PiecewiseOperation,
    PReLU,
    ReLU,
    ReLU6,
    Softshrink,
)
from linalg_cnn.types import Shape

MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
ADAPTIVE_MAX_POOL = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}


def not_below(bound: float) -> PiecewiseOperation:
    """Return what ``torch.nn.Threshold(bound, bound)`` computes: an entry, but not less than a bound.

    Examples
    --------
    >>> not_below(0.0), not_below(0.5)
    (ReLU(), Clamp(min=0.5))
    """
    return ReLU() if bound == 0 else Clamp(min=bound)


def module_of(layer: PiecewiseOperation, in_shape: Shape) -> nn.Module | None:
    """Return the torch module that computes a layer on inputs of shape ``in_shape``; None if torch has none."""
    spatial = len(in_shape) - 1
    match layer:
        case ReLU():
            return nn.ReLU()
        case ReLU6():
            return nn.ReLU6()
        case Hardsigmoid():
            return nn.Hardsigmoid()
        case Hardtanh():
            return nn.Hardtanh(layer.min_val, layer.max_val)
        case Clamp() if isinstance(layer.min, float) and layer.max is None:
            return nn.Threshold(layer.min, layer.min)
        case Softshrink():
            return nn.Softshrink(layer.lambd)
        case LeakyReLU():
            return nn.LeakyReLU(layer.negative_slope)
        case PReLU() if isinstance(layer.weight, float) or layer.weight.ndim == 1:
            slopes = torch.as_tensor(layer.weight).clone().reshape(-1)
            module = nn.PReLU(len(slopes))
            module.weight = nn.Parameter(slopes)
            return module
        case MaxPool() if spatial in MAX_POOL:
            return MAX_POOL[spatial](
                layer.kernel_size, layer.stride, layer.padding, layer.dilation, ceil_mode=layer.ceil_mode
            )
        case AdaptiveMaxPool() if spatial in ADAPTIVE_MAX_POOL:
            return ADAPTIVE_MAX_POOL[spatial](layer.size)
    return None


def operation_of(module: nn.Module) -> PiecewiseOperation | None:
    """Return the piecewise-linear operation that a torch module computes, with its present parameters; None if unknown.

    A subclass is another kind of module: it may compute something else. An activation with a slope
    (`gpu.set_activation_slope`) is itself at slope 0, leaky ReLU with slope 1 at slope 1, which is the identity, and
    in between known for ReLU.
    """
    if isinstance(module, Sloped) and is_sloped(module):
        slope = held_slope(module)
        if slope == 0:
            return operation_of(without_slopes(module))
        return LeakyReLU(slope_of(module)) if slope == 1 or class_of(module) is nn.ReLU else None
    kind: Any = type(module)
    m: Any = module
    for plain, operation in ((nn.ReLU, ReLU), (nn.ReLU6, ReLU6), (nn.Hardsigmoid, Hardsigmoid)):
        if kind is plain:
            return operation()
    if kind is nn.Hardtanh:
        return Hardtanh(m.min_val, m.max_val)
    # not m.threshold: the name, in code that SkipCNN calls, would be taken for a call of the function
    if kind is nn.Threshold and vars(m)["threshold"] == m.value:
        return not_below(m.value)
    if kind is nn.Softshrink:
        return Softshrink(m.lambd)
    if kind is nn.LeakyReLU:
        return LeakyReLU(m.negative_slope)
    if kind is nn.PReLU:
        slopes = m.weight.detach().cpu().numpy()
        return PReLU(slopes[0] if len(slopes) == 1 else slopes)
    if kind in MAX_POOL.values() and not m.return_indices:
        return MaxPool(m.kernel_size, stride=m.stride, padding=m.padding, dilation=m.dilation, ceil_mode=m.ceil_mode)
    if kind in ADAPTIVE_MAX_POOL.values() and not m.return_indices:
        return AdaptiveMaxPool(m.output_size)
    return None
