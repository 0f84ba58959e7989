"""Layers of `linalg_cnn` as torch modules, and back."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from gpu.models.interventions import first_intervention
from gpu.models.piecewise_layers import module_of, operation_of
from linalg_cnn import (
    AdaptiveAvgPool,
    AvgPool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Operation,
    Pad,
    PiecewiseOperation,
    Resample,
    ResampleTo,
)
from linalg_cnn.rules import join_sources
from linalg_cnn.types import Array, Shape

Modules = Mapping[int, type[nn.Module]]
"""The class of module for each number of spatial axes."""

ADAPTIVE_AVG_POOL: Modules = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
AVG_POOL: Modules = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
BATCH_NORM: Modules = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
CONV: Modules = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONV_TRANSPOSE: Modules = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
PAD: Mapping[str, Modules] = {
    "zeros": {1: nn.ZeroPad1d, 2: nn.ZeroPad2d, 3: nn.ZeroPad3d},
    "reflect": {1: nn.ReflectionPad1d, 2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d},
    "replicate": {1: nn.ReplicationPad1d, 2: nn.ReplicationPad2d, 3: nn.ReplicationPad3d},
    "circular": {1: nn.CircularPad1d, 2: nn.CircularPad2d, 3: nn.CircularPad3d},
}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def check_batch(x: torch.Tensor, in_shape: Shape) -> None:
    """Refuse a batch whose images do not have the shape ``in_shape``.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if x.shape[1:] != in_shape:
        raise ValueError(f"x: expected shape (N, {', '.join(map(str, in_shape))}), got {tuple(x.shape)}")


class NearestResample(nn.Module):
    """Nearest-neighbour resampling that picks the same pixels in every dtype and on every device.

    At some sizes ``torch.nn.functional.interpolate`` picks other pixels for float64 than for float32 images. Here the
    source pixels are computed once, by the rule of `linalg_cnn`, which is that of float32.

    Parameters
    ----------
    operation : Resample or ResampleTo
        The resampling, in one of the nearest-neighbour modes.
    in_shape : tuple of int
        Shape of one image, (channels, *spatial).

    Raises
    ------
    TypeError
        If the operation is no resampling.
    ValueError
        If it averages pixels, or the shape does not fit it.

    Examples
    --------
    >>> NearestResample(Resample(4), (1, 2))(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    """

    sources: torch.Tensor

    def __init__(self, operation: Resample | ResampleTo, in_shape: Shape) -> None:
        super().__init__()
        if not isinstance(operation, (Resample, ResampleTo)):  # others have rules, too, and read more than one pixel
            raise TypeError(f"operation: expected a Resample or a ResampleTo, got {type(operation).__name__}")
        if isinstance(operation, Resample) and operation.mode == "linear":
            raise ValueError("operation: expected nearest-neighbour resampling, got mode 'linear'")
        self.operation = operation
        self.in_shape, self.out_shape = tuple(in_shape), operation.out_shape(in_shape)
        sources = join_sources(operation.rules(in_shape))[:, 0].astype(np.int64)
        # not persistent: it follows from the shapes, and a state_dict holds what was learnt
        self.register_buffer("sources", torch.from_numpy(sources), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the resampled images (N, *out_shape) of a batch (N, *in_shape).

        Raises
        ------
        ValueError
            If the images have another shape.
        """
        check_batch(x, self.in_shape)
        return x.flatten(1).index_select(1, self.sources).reshape(-1, *self.out_shape)

    def extra_repr(self) -> str:
        """Return the operation's repr."""
        return repr(self.operation)


def _parameter(values: Array | None) -> nn.Parameter | None:
    return None if values is None else nn.Parameter(torch.from_numpy(values.copy()))


def check_plain(module: nn.Module, root: str) -> None:
    """Refuse a module that computes something else than its class does, and parts that do.

    Raises
    ------
    TypeError
        If a part has hooks of the forward pass, a parametrization or a method ``forward`` of its own; the error names
        the first as a part of ``root``, and the remedy.
    """
    found = first_intervention(module.named_modules(), root=root)
    if found is not None:
        raise TypeError(
            f"expected modules as their class computes them, got hooks, a parametrization or a method: {found}"
        )


@singledispatch
def to_module(layer: Operation | PiecewiseOperation, in_shape: Shape) -> nn.Module:
    """Return the torch module that computes a layer on inputs of shape ``in_shape``.

    Raises
    ------
    TypeError
        If no module is registered for this kind of layer.
    ValueError
        If there are more than three spatial axes, the most that torch's modules have, or the border is "symmetric",
        which they do not have.
    """
    module = module_of(layer, in_shape) if isinstance(layer, PiecewiseOperation) else None
    if module is None:
        raise TypeError(f"expected layers that gpu.models.conversion has a module for, got {type(layer).__name__}")
    return module


def _of_rank(modules: Mapping[int, type[nn.Module]], in_shape: Shape) -> Any:
    rank = len(in_shape) - 1
    if rank not in modules:
        raise ValueError(f"in_shape: expected at most three spatial axes for a torch module, got {in_shape}")
    return modules[rank]


def _check_border(name: str, mode: str) -> None:
    """Refuse a mode of padding that no module of torch has.

    Raises
    ------
    ValueError
        If it is such a mode.
    """
    if mode not in PAD:
        raise ValueError(
            f"{name}: expected a border that torch's modules have ({', '.join(PAD)}), got {mode!r}; "
            "at a width of 1, 'replicate' is the same border"
        )


@to_module.register
def _(layer: Conv, in_shape: Shape) -> nn.Module:
    _check_border("padding_mode", layer.padding_mode)
    c_out, per_group, *taps = layer.kernel.shape
    module = _of_rank(CONV, in_shape)(
        per_group * layer.groups,
        c_out,
        tuple(taps),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        padding_mode=layer.padding_mode,
        bias=layer.bias is not None,
        device="meta",  # the weights are given: drawing them would move the random state of the process
    )
    module.weight, module.bias = _parameter(layer.kernel), _parameter(layer.bias)
    return cast(nn.Module, module)


@to_module.register
def _(layer: Dense, in_shape: Shape) -> nn.Module:
    linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], bias=layer.bias is not None, device="meta")
    linear.weight, linear.bias = _parameter(layer.weight), _parameter(layer.bias)  # type: ignore[assignment]
    return nn.Sequential(nn.Flatten(), linear)


@to_module.register(Resample)
@to_module.register(ResampleTo)
def _(layer: Resample | ResampleTo, in_shape: Shape) -> nn.Module:
    if isinstance(layer, ResampleTo) or layer.mode != "linear":
        return NearestResample(layer, in_shape)
    mode = LINEAR.get(len(in_shape) - 1, "of more than three axes")
    return nn.Upsample(size=layer.out_shape(in_shape)[1:], mode=mode, align_corners=layer.align_corners)


@to_module.register
def _(layer: Pad, in_shape: Shape) -> nn.Module:
    _check_border("mode", layer.mode)
    flat = [width for pair in reversed(layer.pairs(len(in_shape) - 1)) for width in pair]  # the last axis first
    return cast(nn.Module, _of_rank(PAD[layer.mode], in_shape)(tuple(flat)))


@to_module.register
def _(layer: AdaptiveAvgPool, in_shape: Shape) -> nn.Module:
    return cast(nn.Module, _of_rank(ADAPTIVE_AVG_POOL, in_shape)(layer.size))


@to_module.register
def _(layer: ConvTranspose, in_shape: Shape) -> nn.Module:
    c_in, per_group, *taps = layer.kernel.shape
    module = _of_rank(CONV_TRANSPOSE, in_shape)(
        c_in,
        per_group * layer.groups,
        tuple(taps),
        stride=layer.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        dilation=layer.dilation,
        groups=layer.groups,
        bias=layer.bias is not None,
        device="meta",  # the weights are given: drawing them would move the random state of the process
    )
    module.weight, module.bias = _parameter(layer.kernel), _parameter(layer.bias)
    return cast(nn.Module, module)


@to_module.register
def _(layer: AvgPool, in_shape: Shape) -> nn.Module:
    options = {
        "stride": layer.stride,
        "padding": layer.padding,
        "ceil_mode": layer.ceil_mode,
        "count_include_pad": layer.count_include_pad,
    }
    if layer.divisor_override is not None:
        options["divisor_override"] = layer.divisor_override
    module: nn.Module = _of_rank(AVG_POOL, in_shape)(layer.kernel_size, **options)
    return module


@to_module.register
def _(layer: BatchNorm, in_shape: Shape) -> nn.Module:
    module = _of_rank(BATCH_NORM, in_shape)(len(layer.weight), eps=float(layer.eps))
    module.weight, module.bias = _parameter(layer.weight), _parameter(layer.bias)
    module.running_mean = torch.from_numpy(layer.running_mean.copy())
    module.running_var = torch.from_numpy(layer.running_var.copy())
    return cast(nn.Module, module)


def to_operation(module: nn.Module) -> Operation | PiecewiseOperation:
    """Return the operation that a torch module computes, with its present parameters.

    Subclasses, hooks, parametrizations and methods set on the instance are refused: they may compute something else.

    Raises
    ------
    TypeError
        If the module has no counterpart in `linalg_cnn`, for example because it is not piecewise linear.
    """
    kind: Any = type(module)
    m: Any = module
    check_plain(module, "layer")
    if kind is NearestResample:
        return cast(Operation, m.operation)
    if kind in CONV.values():
        return Conv(
            _values(m.weight),
            _values(m.bias),
            stride=m.stride,
            padding=m.padding,
            dilation=m.dilation,
            groups=m.groups,
            padding_mode=m.padding_mode,
        )
    if kind in CONV_TRANSPOSE.values():
        return ConvTranspose(
            _values(m.weight),
            _values(m.bias),
            stride=m.stride,
            padding=m.padding,
            output_padding=m.output_padding,
            dilation=m.dilation,
            groups=m.groups,
        )
    if kind is nn.Upsample and m.size is not None and m.mode in LINEAR.values():
        return Resample(m.size, "linear", bool(m.align_corners))
    if kind in ADAPTIVE_AVG_POOL.values():
        return AdaptiveAvgPool(m.output_size)
    for mode, modules in PAD.items():
        if kind in modules.values():
            return Pad(list(zip(m.padding[::2], m.padding[1::2], strict=True))[::-1], mode)
    if kind in AVG_POOL.values():
        return AvgPool(
            m.kernel_size,
            stride=m.stride,
            padding=m.padding,
            ceil_mode=m.ceil_mode,
            count_include_pad=m.count_include_pad,
            divisor_override=getattr(m, "divisor_override", None),
        )
    if kind in BATCH_NORM.values() and m.running_mean is not None:
        return BatchNorm(_values(m.weight), _values(m.bias), _values(m.running_mean), _values(m.running_var), m.eps)
    is_dense = kind is nn.Sequential and [type(part) for part in m] == [nn.Flatten, nn.Linear]
    if is_dense and (m[0].start_dim, m[0].end_dim) == (1, -1):
        return Dense(_values(m[1].weight), _values(m[1].bias))
    piecewise = operation_of(module)
    if piecewise is not None:
        return piecewise
    raise TypeError(
        "expected affine modules (Conv, ConvTranspose, padding, AvgPool, AdaptiveAvgPool, BatchNorm with "
        "running statistics, NearestResample, linear Upsample by size, Sequential(Flatten(), Linear)) or piecewise "
        "linear ones (ReLU, LeakyReLU, PReLU, ReLU6, Hardtanh, Hardsigmoid, Softshrink, Threshold with its threshold "
        f"as its value, max pooling), got {module}"
    )


def _values(tensor: torch.Tensor | None) -> Array | None:
    """Return a tensor as an array.

    Raises
    ------
    TypeError
        If its numbers are of another dtype than float32 and float64, or it has none.
    """
    if tensor is None:
        return None
    if tensor.is_meta:
        raise TypeError("expected parameters with values, got some on the meta device; load them first")
    if tensor.dtype not in {torch.float32, torch.float64}:
        raise TypeError(f"expected parameters in float32 or float64, got {tensor.dtype}; call .float() first")
    return tensor.detach().cpu().numpy()
