"""One table of operations. Every test of operations runs over it: a new operation is tested by adding its row."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import torch
from configurations import (
    adaptive_avg_pool,
    avg_pool,
    axis_dense,
    batch_norm,
    concatenate,
    constant,
    conv,
    conv_transpose,
    cut,
    dense,
    flatten,
    linear,
    loops_avg_pool,
    loops_axis_dense,
    loops_batch_norm,
    loops_concatenate,
    loops_conv,
    loops_conv_transpose,
    loops_cut,
    loops_permute,
    loops_pixels,
    loops_resample,
    loops_scale,
    loops_sum_over,
    loops_take,
    pad,
    permute,
    pixel_shuffle,
    pixel_unshuffle,
    resample,
    resample_to,
    reshape,
    scale,
    sum_over,
    take,
    torch_adaptive_avg_pool,
    torch_avg_pool,
    torch_axis_dense,
    torch_batch_norm,
    torch_constant,
    torch_conv,
    torch_conv_transpose,
    torch_cut,
    torch_dense,
    torch_linear,
    torch_pad,
    torch_resample,
    torch_resample_to,
    torch_scale,
    torch_sum_over,
    torch_take,
    torch_weighted_sum,
    weighted_sum,
)
from loops import (
    adaptive_avg_pool_loops,
    linear_loops,
    pad_loops,
    pixel_shuffle_source,
    pixel_unshuffle_source,
    resample_loops,
)
from torch.nn import functional

from linalg_cnn import (
    AdaptiveAvgPool,
    AvgPool,
    AxisDense,
    BatchNorm,
    Concatenate,
    Constant,
    Conv,
    ConvTranspose,
    Dense,
    Pad,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    Resample,
    ResampleTo,
    Reshape,
    Scale,
    Slice,
    SumOver,
    Take,
    WeightedSum,
)


@dataclass(frozen=True)
class OperationInfo:
    """How one kind of operation is drawn, what it must agree with, and what it refuses.

    Attributes
    ----------
    draw : strategy of (operation, in_shapes)
    torch : the operation and one tensor (N, *in_shape) per input -> what torch makes of it
    loops : the operation and its in_shapes -> the matrix, of several inputs side by side
    errors : pairs of (what to try, the message of its ValueError)
    rtol : how far results may be off because the weights are not powers of two; 0 compares bit for bit
    """

    name: str
    draw: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    loops: Callable[..., np.ndarray]
    errors: tuple[tuple[Callable[[], Any], str], ...]
    rtol: float = 0.0


def ones(*shape):
    return np.ones(shape)


OPERATIONS = [
    OperationInfo(
        "conv",
        conv,
        torch_conv,
        loops_conv,
        (
            (lambda: Conv(ones(2, 2, 3)).out_shape((3, 5)), "in_shape: expected 2 channels"),
            (lambda: Conv(ones(2, 2, 3)).out_shape((2, 2)), "kernel: expected at most 2 positions"),
            (lambda: Conv(ones(2, 2, 3), stride=0), "stride: expected an int of at least 1, got 0"),
        ),
    ),
    OperationInfo(
        "conv_transpose",
        conv_transpose,
        torch_conv_transpose,
        loops_conv_transpose,
        (
            (lambda: ConvTranspose(ones(2, 2, 3)).out_shape((3, 5)), "in_shape: expected 2 channels"),
            (lambda: ConvTranspose(ones(2, 2)), r"kernel: expected \(C_in, C_out / groups, \*k\)"),
            (lambda: ConvTranspose(ones(3, 2, 3), groups=2), "groups: expected a divisor of the 3 input channels"),
            (lambda: ConvTranspose(ones(2, 2, 3), ones(3)), r"bias: expected one entry per output channel \(2\)"),
            (
                lambda: ConvTranspose(ones(2, 2, 3), output_padding=1),
                "output_padding: expected less than the stride 1 or the dilation 1, got 1",
            ),
            (
                lambda: ConvTranspose(ones(1, 1, 3), padding=2).out_shape((1, 2)),
                "padding: expected to leave at least one position, got 2 on an axis of 2, which gives 0",
            ),
        ),
    ),
    OperationInfo(
        "pad",
        pad,
        torch_pad,
        lambda op, shape: pad_loops(shape, op.pairs(len(shape) - 1), op.mode),
        (
            (lambda: Pad((1, 1)), "padding: expected an int or one"),
            (lambda: Pad([(-3, 1)]).out_shape((1, 2)), "padding: expected to leave at least one position"),
            (lambda: Pad(1).out_shape((3,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
        ),
    ),
    OperationInfo(
        "resample",
        resample,
        torch_resample,
        loops_resample,
        (
            (lambda: Resample(0), "size: expected an int of at least 1, got 0"),
            (lambda: Resample(2).out_shape((3,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
            (lambda: Resample(2, align_corners=True), "align_corners: expected False in mode 'nearest', got True"),
        ),
    ),
    OperationInfo(
        "resample_to",
        resample_to,
        torch_resample_to,
        lambda op, shape: resample_loops(shape, op.shape, op.mode),
        (
            (lambda: ResampleTo((1, 2), "linear"), "mode: expected one of 'nearest'"),
            (lambda: ResampleTo((1, 2)).out_shape((1, 2, 3)), "same rank: expected 2 axes"),
        ),
    ),
    OperationInfo(
        "linear",
        linear,
        torch_linear,
        lambda op, shape: linear_loops(shape, op.size, op.align_corners),
        ((lambda: Resample((2, 2), "linear").out_shape((1, 3)), "size: expected an int or 1 ints"),),
        rtol=1e-14,
    ),
    OperationInfo(
        "avg_pool",
        avg_pool,
        torch_avg_pool,
        loops_avg_pool,
        (
            (
                lambda: AvgPool(3).out_shape((1, 2)),
                "kernel_size: expected at most 2 on an axis of 2 padded by 0, got 3",
            ),
            (lambda: AvgPool(3, padding=2).out_shape((1, 9)), "padding: expected at most half of the kernel size 3"),
            (lambda: AvgPool(2).out_shape((5,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
        ),
        rtol=1e-14,
    ),
    OperationInfo(
        "adaptive_avg_pool",
        adaptive_avg_pool,
        torch_adaptive_avg_pool,
        lambda op, shape: adaptive_avg_pool_loops(shape, op.size),
        ((lambda: AdaptiveAvgPool((1, 0)), r"size\[1\]: expected an int of at least 1, got 0"),),
        rtol=1e-14,
    ),
    OperationInfo(
        "batch_norm",
        batch_norm,
        torch_batch_norm,
        loops_batch_norm,
        ((lambda: BatchNorm(None, None, [0, 0], [1, 1]).out_shape((3, 4)), "in_shape: expected 2 channels"),),
    ),
    OperationInfo(
        "dense",
        dense,
        torch_dense,
        lambda op, shape: op.weight,
        ((lambda: Dense(ones(2, 3)).out_shape((2, 2)), "in_shape: expected 3 entries in all"),),
    ),
    OperationInfo(
        "scale",
        scale,
        torch_scale,
        loops_scale,
        (
            (lambda: Scale([1, 2]).out_shape((3, 4)), r"in_shape: expected 2 channels, got \(3, 4\)"),
            (lambda: Scale([1, 2], [1]), r"bias: expected one entry per channel \(2\), got shape \(1,\)"),
            (lambda: Scale(ones(2, 3)).out_shape((2, 4)), r"in_shape: expected a shape that \(2, 3\) broadcasts to"),
            (lambda: Scale(ones(2, 3)).out_shape((2, 3, 1)), r"in_shape: expected a shape that \(2, 3\) broadcasts to"),
            (lambda: Scale(ones(1, 3), ones(2, 1)).out_shape((3, 3)), r"in_shape: expected a shape that \(2, 1\)"),
            (lambda: Scale(3.0), r"weight: expected a shape"),
            (lambda: Scale([1.0], 3.0), r"bias: expected a shape"),
        ),
    ),
    OperationInfo(
        "take",
        take,
        torch_take,
        loops_take,
        (
            (lambda: Take([-2]), "sources: expected numbers of entries, or -1 for a zero, got -2"),
            (lambda: Take([0, 6]).out_shape((2, 3)), r"in_shape: expected at least 7 entries, .* got \(2, 3\)"),
            (lambda: Take(3), r"sources: expected a shape"),
        ),
    ),
    OperationInfo(
        "sum_over",
        sum_over,
        torch_sum_over,
        loops_sum_over,
        (
            (lambda: SumOver((1, 1)), r"axes: expected each axis once, got \(1, 1\)"),
            (lambda: SumOver(2).out_shape((1, 2)), r"in_shape: expected more than 2 axes, got \(1, 2\)"),
            (lambda: SumOver((-1,)), r"axes\[0\]: expected an int of at least 0, got -1"),
            (lambda: SumOver((1,), 1), "mean: expected True or False, got 1"),
        ),
        rtol=1e-14,
    ),
    OperationInfo(
        "constant",
        constant,
        torch_constant,
        lambda op, shape: np.zeros((op.value.size, prod(shape))),
        (
            (lambda: Constant(1.0), "value: expected a shape"),
            (lambda: Constant([np.nan]), "value: expected finite entries, got nan"),
        ),
    ),
    OperationInfo(
        "axis_dense",
        axis_dense,
        torch_axis_dense,
        loops_axis_dense,
        (
            (lambda: AxisDense(ones(2, 3), axis=1).out_shape((3, 4)), "in_shape: expected 3 entries along axis 1"),
            (lambda: AxisDense(ones(2, 3), ones(3)), r"bias: expected one entry per output feature \(2\)"),
        ),
    ),
    OperationInfo(
        "reshape",
        reshape,
        lambda op, x: x.reshape(len(x), *op.shape),
        lambda op, shape: np.eye(prod(shape)),
        (
            (
                lambda: Reshape((2, 3)).out_shape((7,)),
                r"in_shape: expected a shape that can become \(2, 3\), got \(7,\)",
            ),
            (lambda: Reshape((2, -1)).out_shape((7,)), "in_shape: expected a shape that can become"),
            (lambda: Reshape((-1, -1)), "shape: expected at most one -1"),
            (lambda: Reshape((0, 2)), r"shape\[0\]: expected an int of at least 1, got 0"),
        ),
    ),
    OperationInfo("flatten", flatten, lambda op, x: x.flatten(1), lambda op, shape: np.eye(prod(shape)), ()),
    OperationInfo(
        "permute",
        permute,
        lambda op, x: x.permute(0, *(axis + 1 for axis in op.order)),
        loops_permute,
        (
            (lambda: Permute((0, 2)), r"order: expected a permutation of 0 to 1, got \(0, 2\)"),
            (lambda: Permute((1, 0)).out_shape((2, 3, 4)), "in_shape: expected 2 axes for the order"),
        ),
    ),
    OperationInfo(
        "slice",
        cut,
        torch_cut,
        loops_cut,
        (
            (lambda: Slice(step=0), "step: expected an int other than 0, got 0"),
            (lambda: Slice(axis=-1), "axis: expected an int of at least 0, got -1"),
            (lambda: Slice(axis=2).out_shape((2, 3)), "in_shape: expected more than 2 axes"),
            (lambda: Slice(2, 2).out_shape((4,)), "slice: expected to leave something of axis 0"),
        ),
    ),
    OperationInfo(
        "pixel_shuffle",
        pixel_shuffle,
        lambda op, x: functional.pixel_shuffle(x, op.factor),
        loops_pixels(pixel_shuffle_source),
        ((lambda: PixelShuffle(2).out_shape((2, 3, 3)), "in_shape: expected a multiple of 4 channels for factor 2"),),
    ),
    OperationInfo(
        "pixel_unshuffle",
        pixel_unshuffle,
        lambda op, x: functional.pixel_unshuffle(x, op.factor),
        loops_pixels(pixel_unshuffle_source),
        ((lambda: PixelUnshuffle(2).out_shape((2, 3, 4)), "in_shape: expected sizes that are multiples of 2"),),
    ),
    OperationInfo(
        "concatenate",
        concatenate,
        lambda op, *xs: torch.cat(xs, dim=op.axis + 1),
        loops_concatenate,
        (
            (
                lambda: Concatenate().out_shape((2, 3), (2, 4)),
                "concatenate: expected shapes that differ along axis 0 only",
            ),
        ),
    ),
    OperationInfo(
        "weighted_sum",
        weighted_sum,
        torch_weighted_sum,
        lambda op, *in_shapes: np.hstack([weight * np.eye(prod(in_shapes[0])) for weight in op.weights]),
        ((lambda: WeightedSum([1, 2]).out_shape((2,), (3,)), r"weighted sum: expected 2 inputs of one shape"),),
    ),
]
