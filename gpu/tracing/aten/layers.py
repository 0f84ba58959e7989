"""Convolutions, batch normalisation, dense layers, average pooling and padding."""

from collections.abc import Callable
from typing import Any

import torch

from gpu.models.nonlinearities import EVALUATE
from gpu.tracing.aten.arithmetic import combine
from gpu.tracing.aten.by_autograd import by_autograd
from gpu.tracing.aten.movement import move
from gpu.tracing.aten.products import times_matrix
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.not_affine import remedy_of
from gpu.tracing.values import Refusal, Value, images, planes
from linalg_cnn import (
    AdaptiveAvgPool,
    AvgPool,
    AxisDense,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
)
from linalg_cnn.types import Array

Node = torch.fx.Node

STATISTICS = "batch_norm takes the statistics of the batch, which mixes its samples"
TRACK = "make it with track_running_stats=True"


def check_constant(*parameters: Any) -> None:
    """Refuse parameters that depend on the data.

    Raises
    ------
    Refusal
        If a parameter depends on the data.
    """
    if any(isinstance(parameter, Value) for parameter in parameters):
        raise Refusal("product of two values that depend on the data")


def values_of(parameter: torch.Tensor | None) -> Array | None:
    """Return a parameter as an array."""
    if parameter is None:
        return None
    array: Array = parameter.double().numpy()
    return array


def conv(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """``conv1d``, ``conv2d``, ``conv3d``."""
    options = {"stride": ints(stride), "padding": ints(padding), "dilation": ints(dilation), "groups": groups}
    check_constant(weight, bias)
    return builder.add(builder.once(_conv, weight, bias, **options), images(x, weight.ndim - 2))


def _conv(weight: torch.Tensor, bias: torch.Tensor | None, **options: Any) -> Conv:
    return Conv(values_of(weight), values_of(bias), **options)


def conv_transpose(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """``conv_transpose1d``, ``conv_transpose2d``, ``conv_transpose3d``."""
    check_constant(weight, bias)
    operation = builder.once(
        _conv_transpose,
        weight,
        bias,
        stride=ints(stride),
        padding=ints(padding),
        output_padding=ints(output_padding),
        dilation=ints(dilation),
        groups=groups,
    )
    return builder.add(operation, images(x, weight.ndim - 2))


def _conv_transpose(weight: torch.Tensor, bias: torch.Tensor | None, **options: Any) -> ConvTranspose:
    return ConvTranspose(values_of(weight), values_of(bias), **options)


def convolution(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
) -> Value:
    """``convolution``, to which torch decomposes the other convolutions."""
    if transposed:
        return conv_transpose(builder, node, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(builder, node, x, weight, bias, stride, padding, dilation, groups)


def ints(value: Any) -> Any:
    """Return a list of torch's as a tuple, or as a number if it has one entry, which stands for all axes."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def batch_norm(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any,
    mean: Any,
    variance: Any,
    training: bool,
    momentum: float,
    eps: float,
    *rest: Any,
) -> Value:
    """``batch_norm`` in evaluation mode.

    Raises
    ------
    Refusal
        In training mode, or without running statistics.
    """
    if training or mean is None:
        raise Refusal(STATISTICS, TRACK if mean is None else EVALUATE)
    check_constant(weight, bias, mean, variance)
    return builder.add(builder.once(_batch_norm, weight, bias, mean, variance, eps=eps), images(x))


def _batch_norm(weight: Any, bias: Any, mean: Any, variance: Any, eps: float) -> BatchNorm:
    return BatchNorm(values_of(weight), values_of(bias), values_of(mean), values_of(variance), eps)


def instance_norm(builder: GraphBuilder, node: Node, *args: Any) -> Value:
    """``instance_norm`` by running statistics, which is batch normalisation.

    Raises
    ------
    Refusal
        If it uses the statistics of each image.
    """
    if args[5]:
        raise Refusal("instance_norm by the statistics of each image is not affine", remedy_of("instance_norm") or "")
    return batch_norm(builder, node, *args[:5], False, *args[6:])


def native_batch_norm(builder: GraphBuilder, node: Node, *args: Any) -> list[Any]:
    """``_native_batch_norm_legit_no_training``, which also returns statistics; nothing reads them."""
    return [batch_norm(builder, node, *args[:5], False, *args[5:]), None, None]


def training_batch_norm(builder: GraphBuilder, node: Node, *args: Any) -> Any:
    """Refuse ``_native_batch_norm_legit`` and its functional variant, which use the statistics of the batch.

    Raises
    ------
    Refusal
        Always.
    """
    target: Any = node.target
    raise Refusal(STATISTICS, TRACK if target._overloadname == "no_stats" else EVALUATE)


def linear(builder: GraphBuilder, node: Node, x: Any, weight: Any, bias: Any = None) -> Value:
    """``linear``: a matrix along the last axis.

    Raises
    ------
    Refusal
        If the matrix depends on the data, or the last axis is the batch axis.
    """
    check_constant(weight, bias)
    axis = x.axis(-1)
    if weight.ndim == 1:
        return by_autograd(builder, node, x, weight, bias)
    if weight.layout != torch.strided:
        product = times_matrix(builder, x, weight, -1)
        return product if bias is None else combine(builder, product, bias, 1.0, 1.0)
    if len(x.shape) == 1:
        return builder.add(builder.once(_dense, weight, bias), x)
    # the batch axis may be any but the last, and stays
    return builder.add(builder.once(_axis_dense, weight, bias, axis=axis), x)


def _dense(weight: torch.Tensor, bias: torch.Tensor | None) -> Dense:
    return Dense(values_of(weight), values_of(bias))


def _axis_dense(weight: torch.Tensor, bias: torch.Tensor | None, axis: int) -> AxisDense:
    return AxisDense(values_of(weight), values_of(bias), axis)


def avg_pool(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """``avg_pool1d``, ``avg_pool2d``, ``avg_pool3d``."""
    operation = AvgPool(
        ints(kernel_size),
        stride=ints(stride) or None,
        padding=ints(padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    axes = int(name_of(node)[-2])
    try:
        operation.out_shape((1, *planes(x, axes).shape[-axes:]))
    except ValueError:  # with ceil_mode, torch accepts windows larger than the image
        divisor = () if divisor_override is None else (divisor_override,)  # avg_pool1d has no such argument
        return by_autograd(builder, node, x, kernel_size, stride, padding, ceil_mode, count_include_pad, *divisor)
    return builder.add_planar(operation, x, axes)


def adaptive_avg_pool(builder: GraphBuilder, node: Node, x: Any, size: Any) -> Value:
    """``adaptive_avg_pool1d``, ``adaptive_avg_pool2d``, ``adaptive_avg_pool3d``."""
    return builder.add_planar(AdaptiveAvgPool(ints(size)), x, int(name_of(node)[-2]))


PADDING_MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "constant": "zeros"}


def pad(
    builder: GraphBuilder, node: Node, x: Value, widths: Any, mode: str = "constant", value: float | None = None
) -> Any:
    """``pad``, whose widths start with the last axis."""
    pairs = [(int(before), int(after)) for before, after in zip(widths[::2], widths[1::2], strict=True)]
    spatial = len(x.shape) - 1
    if x.batch == 0 and len(pairs) <= spatial and not value:
        pairs += [(0, 0)] * (spatial - len(pairs))
        return builder.add(Pad(pairs[::-1], PADDING_MODES[mode]), x)
    return move(builder, node, x, widths, mode, value)


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv_transpose),
    "convolution": convolution,
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "_native_batch_norm_legit_no_training": native_batch_norm,
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_functional"), training_batch_norm),
    "linear": linear,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), avg_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"), adaptive_avg_pool),
    "pad": pad,
}
