"""Convolutions, batch normalisation, dense layers, pooling, padding, resampling."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from gpu.aten.by_autograd import by_autograd
from gpu.aten.movement import move
from gpu.not_affine import EVALUATE
from gpu.values import Refusal, Value, name_of
from linalg_cnn import (
    AdaptiveAvgPool,
    AvgPool,
    AxisDense,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
    Resample,
)
from linalg_cnn.types import Array

if TYPE_CHECKING:
    from gpu.tracing import Tracer

Node = torch.fx.Node

LINEAR_MODES = ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
NEAREST_MODES = [f"{kind}{rank}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)]


def values_of(parameter: Any) -> Array | None:
    """Return a parameter as an array.

    Raises
    ------
    Refusal
        If it depends on the data.
    """
    if isinstance(parameter, Value):
        raise Refusal("product of two values that depend on the data")
    if parameter is None:
        return None
    array: Array = parameter.double().numpy()
    return array


def images(x: Any, axes: int | None = None) -> Value:
    """Return data that are images (N, channels, *spatial).

    Raises
    ------
    Refusal
        If the samples do not come first, or the number of spatial axes is another.
    """
    if not isinstance(x, Value):
        raise Refusal("weights that depend on the data")
    if x.batch != 0 or (axes is not None and len(x.shape) != 1 + axes):
        raise Refusal(
            f"mixes the samples of the batch: it takes axis 0 for the samples, which are axis {x.batch} "
            f"of {len(x.shape) + 1}"
        )
    return x


def conv(
    tracer: "Tracer",
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
    kernel = values_of(weight)
    x = images(x, weight.ndim - 2)
    options = {"stride": _ints(stride), "dilation": _ints(dilation), "groups": groups}
    padding = padding if isinstance(padding, str) else _ints(padding)
    return tracer.add(Conv(kernel, values_of(bias), padding=padding, **options), x)


def conv_transpose(
    tracer: "Tracer",
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
    kernel = values_of(weight)
    x = images(x, weight.ndim - 2)
    operation = ConvTranspose(
        kernel,
        values_of(bias),
        stride=_ints(stride),
        padding=_ints(padding),
        output_padding=_ints(output_padding),
        dilation=_ints(dilation),
        groups=groups,
    )
    return tracer.add(operation, x)


def convolution(
    tracer: "Tracer",
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
    """``convolution``, what the others are made of."""
    if transposed:
        return conv_transpose(tracer, node, x, weight, bias, stride, padding, output_padding, groups, dilation)
    return conv(tracer, node, x, weight, bias, stride, padding, dilation, groups)


def _ints(value: Any) -> Any:
    """Return torch's list, in which one number may stand for all axes."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 1 else tuple(value)
    return value


def batch_norm(
    tracer: "Tracer",
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
        raise Refusal("batch_norm takes the statistics of the batch, which mixes its samples", EVALUATE)
    operation = BatchNorm(values_of(weight), values_of(bias), values_of(mean), values_of(variance), eps)
    return tracer.add(operation, images(x))


def native_batch_norm(tracer: "Tracer", node: Node, *args: Any) -> list[Any]:
    """``_native_batch_norm_legit_no_training``, which also gives the statistics."""
    return [batch_norm(tracer, node, *args[:5], False, *args[5:]), None, None]


def training_batch_norm(tracer: "Tracer", node: Node, *args: Any) -> Any:
    """Refuse ``_native_batch_norm_legit`` and its kin: they use the statistics of the batch.

    Raises
    ------
    Refusal
        Always.
    """
    raise Refusal("takes the statistics of the batch, which mixes its samples", EVALUATE)


def linear(tracer: "Tracer", node: Node, x: Any, weight: Any, bias: Any = None) -> Value:
    """``linear``: a matrix along the last axis.

    Raises
    ------
    Refusal
        If the matrix depends on the data, or the last axis counts the samples.
    """
    matrix, shift = values_of(weight), values_of(bias)
    if not isinstance(x, Value):
        raise Refusal("weights that depend on the data")
    axis = x.axis(-1)
    if len(x.shape) == 1:
        return tracer.add(Dense(matrix, shift), x)
    # the samples may be any axis but the last, and stay where they are
    return tracer.add(AxisDense(matrix, shift, axis), x)


def avg_pool(
    tracer: "Tracer",
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
        _ints(kernel_size),
        stride=_ints(stride) or None,
        padding=_ints(padding),
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    x = images(x, int(name_of(node)[-2]))
    try:
        operation.out_shape(x.shape)
    except ValueError:  # torch lets a window larger than the image pass with ceil_mode
        return by_autograd(tracer, node, x, kernel_size, stride, padding, ceil_mode, count_include_pad)
    return tracer.add(operation, x)


def adaptive_avg_pool(tracer: "Tracer", node: Node, x: Any, size: Any) -> Value:
    """``adaptive_avg_pool1d``, ``adaptive_avg_pool2d``, ``adaptive_avg_pool3d``."""
    return tracer.add(AdaptiveAvgPool(_ints(size)), images(x, int(name_of(node)[-2])))


PADDING_MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "constant": "zeros"}


def pad(tracer: "Tracer", node: Node, x: Value, widths: Any, mode: str = "constant", value: float | None = None) -> Any:
    """``pad``, whose list starts with the last axis."""
    pairs = [(int(before), int(after)) for before, after in zip(widths[::2], widths[1::2], strict=True)]
    spatial = len(x.shape) - 1
    if x.batch == 0 and len(pairs) <= spatial and not value:
        pairs += [(0, 0)] * (spatial - len(pairs))
        return tracer.add(Pad(pairs[::-1], PADDING_MODES[mode]), x)
    return move(tracer, node, x, widths, mode, value)


def constant_pad(tracer: "Tracer", node: Node, x: Value, widths: Any, value: float = 0.0) -> Any:
    """``constant_pad_nd``."""
    if value:
        return move(tracer, node, x, widths, value)
    spatial = x.batch == 0 and len(widths) < 2 * len(x.shape)
    return pad(tracer, node, x, widths) if spatial else move(tracer, node, x, widths)


def mode_pad(tracer: "Tracer", node: Node, x: Value, widths: Any) -> Any:
    """``reflection_pad2d``, ``replication_pad2d`` and their kin."""
    return pad(tracer, node, x, widths, "reflect" if name_of(node).startswith("reflection") else "replicate")


def upsample(tracer: "Tracer", node: Node, x: Any, size: Any, *options: Any) -> Any:
    """``upsample_nearest2d``, ``upsample_bilinear2d`` and their kin."""
    name, out = name_of(node), tuple(node.meta["val"].shape[2:])
    x = images(x, int(name[-2]))
    nearest = "nearest" in name
    scales = pytree.tree_leaves(options[0 if nearest else 1 :])
    given = [scale for scale in scales if scale is not None]
    if nearest:
        # By factors, torch rounds their inverses; only sizes have a rule of their own.
        if given:
            return move(tracer, node, x, size, *options)
        return tracer.add(Resample(out, "nearest-exact" if "exact" in name else "nearest"), x)
    if given and any(n * scale != o for n, scale, o in zip(x.shape[1:], given, out, strict=True)):
        return by_autograd(tracer, node, x, size, *options)
    return tracer.add(Resample(out, "linear", bool(options[0])), x)


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), conv_transpose),
    "convolution": convolution,
    "batch_norm": batch_norm,
    "_native_batch_norm_legit_no_training": native_batch_norm,
    **dict.fromkeys(
        ("_native_batch_norm_legit", "_native_batch_norm_legit_functional", "native_batch_norm"), training_batch_norm
    ),
    "linear": linear,
    **dict.fromkeys(("avg_pool1d", "avg_pool2d", "avg_pool3d"), avg_pool),
    **dict.fromkeys(
        [f"{prefix}adaptive_avg_pool{rank}d" for prefix in ("", "_") for rank in (1, 2, 3)], adaptive_avg_pool
    ),
    "pad": pad,
    "constant_pad_nd": constant_pad,
    **dict.fromkeys([f"{kind}_pad{rank}d" for kind in ("reflection", "replication") for rank in (1, 2, 3)], mode_pad),
    **dict.fromkeys((*LINEAR_MODES, *NEAREST_MODES), upsample),
}
