"""Convolution and transposed convolution."""

from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional

from linalg_cnn import Conv, ConvTranspose
from operations.row import OperationInfo, flat, integers, numpy_symmetric, ones, positions, shapes, shown

MODES = ("zeros", "reflect", "replicate", "circular")


@st.composite
def conv(draw, in_shape=None):
    c_in, *sizes = in_shape = in_shape or draw(shapes())
    axes = len(sizes)
    groups = draw(st.sampled_from([g for g in range(1, c_in + 1) if c_in % g == 0]))
    c_out = groups * draw(st.integers(1, 3))
    mode = draw(st.sampled_from(MODES))
    dilation = [draw(st.integers(1, 2)) for _ in sizes]
    form = draw(st.sampled_from(["ints", "same", "valid"]))
    stride = [1 if form == "same" else draw(st.integers(1, 3)) for _ in sizes]
    widest = {"zeros": [2] * axes, "replicate": [2] * axes, "reflect": [n - 1 for n in sizes], "circular": sizes}[mode]
    padding = [draw(st.integers(0, min(2, w))) for w in widest]
    if form == "same":
        # torch's "same" needs the wider side, which is the right one, to fit the mode as well
        taps = [
            draw(st.integers(1, max(1, min(4, (2 * w - 1) // d + 1)))) for w, d in zip(widest, dilation, strict=True)
        ]
    else:
        room = [n + 2 * p * (form == "ints") for n, p in zip(sizes, padding, strict=True)]
        taps = [draw(st.integers(1, min(4, (r - 1) // d + 1))) for r, d in zip(room, dilation, strict=True)]
    layer = Conv(
        integers(draw, (c_out, c_in // groups, *taps)),
        integers(draw, (c_out,)) if draw(st.booleans()) else None,
        stride=tuple(stride),
        padding=tuple(padding) if form == "ints" else form,
        dilation=tuple(dilation),
        groups=groups,
        padding_mode=mode,
    )
    return layer, in_shape


def torch_conv(layer, x):
    c_out, per_group, *taps = layer.kernel.shape
    module = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[len(taps) - 1](
        per_group * layer.groups,
        c_out,
        tuple(taps),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        padding_mode=layer.padding_mode,
        bias=layer.bias is not None,
        dtype=torch.float64,
    )
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(layer.kernel))
        if layer.bias is not None:
            module.bias.copy_(torch.from_numpy(layer.bias))
        return module(x)


def conv_loops(kernel, in_shape, stride, pairs, dilation, groups, mode):
    c_out, per_group, *taps = kernel.shape
    _, *sizes = in_shape
    out = [
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, (before, after), d, k, s in zip(sizes, pairs, dilation, taps, stride, strict=True)
    ]
    A = np.zeros((c_out * prod(out), prod(in_shape)), dtype=kernel.dtype)
    for c, p in product(range(c_out), positions(out)):
        group = c // (c_out // groups)
        for i, t in product(range(per_group), positions(taps)):
            q = [shown(p[a] * stride[a] - pairs[a][0] + t[a] * dilation[a], sizes[a], mode) for a in range(len(sizes))]
            if None not in q:
                row, column = flat((c, *p), (c_out, *out)), flat((group * per_group + i, *q), in_shape)
                A[row, column] += kernel[(c, i, *t)]
    return A


def loops_conv(layer, in_shape):
    pairs = layer.padding
    if pairs == "valid":
        pairs = [(0, 0)] * (len(in_shape) - 1)
    elif pairs == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel.shape[2:], strict=True)]
        pairs = [(total // 2, total - total // 2) for total in totals]
    else:
        pairs = [(p, p) for p in pairs]
    return conv_loops(layer.kernel, in_shape, layer.stride, pairs, layer.dilation, layer.groups, layer.padding_mode)


CONV = OperationInfo(
    "conv",
    Conv,
    conv,
    torch_conv,
    loops_conv,
    (
        (lambda: Conv(ones(2, 2, 3)).out_shape((3, 5)), "in_shape: expected 2 channels"),
        (lambda: Conv(ones(2, 2, 3)).out_shape((2, 2)), "kernel: expected at most 2 positions"),
        (lambda: Conv(ones(2, 2, 3), stride=0), "stride: expected an int of at least 1, got 0"),
    ),
)


@st.composite
def symmetric_conv(draw):
    layer, in_shape = draw(conv())
    padding = layer.padding if layer.padding == "same" else tuple(draw(st.integers(0, 2 * n + 1)) for n in in_shape[1:])
    taps = [draw(st.integers(1, min(n, 2))) for n in in_shape[1:]]
    kernel = integers(draw, (*layer.kernel.shape[:2], *taps))
    return replace(layer, kernel=kernel, padding=padding, dilation=1, padding_mode="symmetric"), in_shape


def torch_symmetric_conv(layer, x):
    padded = numpy_symmetric(layer.padding_pairs, x)
    return torch_conv(replace(layer, padding=0, padding_mode="zeros"), padded)


CONV_SYMMETRIC = replace(CONV, name="conv_symmetric", draw=symmetric_conv, torch=torch_symmetric_conv, errors=())


@st.composite
def conv_transpose(draw, in_shape=None):
    c_in, *sizes = in_shape = in_shape or draw(shapes(longest=4))
    groups = draw(st.sampled_from([g for g in range(1, c_in + 1) if c_in % g == 0]))
    taps, stride, padding, output_padding, dilation = [], [], [], [], []
    for n in sizes:
        taps.append(draw(st.integers(1, 3)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 2)))
        output_padding.append(draw(st.integers(0, max(stride[-1], dilation[-1]) - 1)))
        full = (n - 1) * stride[-1] + dilation[-1] * (taps[-1] - 1) + output_padding[-1] + 1
        padding.append(draw(st.integers(0, min(2, (full - 1) // 2))))
    per_group = draw(st.integers(1, 3))
    layer = ConvTranspose(
        integers(draw, (c_in, per_group, *taps)),
        integers(draw, (per_group * groups,)) if draw(st.booleans()) else None,
        stride=tuple(stride),
        padding=tuple(padding),
        output_padding=tuple(output_padding),
        dilation=tuple(dilation),
        groups=groups,
    )
    return layer, in_shape


def torch_conv_transpose(layer, x):
    function = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[x.ndim - 3]
    return function(
        x,
        torch.from_numpy(layer.kernel),
        None if layer.bias is None else torch.from_numpy(layer.bias),
        layer.stride,
        layer.padding,
        layer.output_padding,
        layer.groups,
        layer.dilation,
    )


def conv_transpose_loops(kernel, in_shape, stride, padding, output_padding, dilation, groups):
    c_in, per_group, *taps = kernel.shape
    _, *sizes = in_shape
    axes = range(len(sizes))
    out = [
        (sizes[a] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (taps[a] - 1) + output_padding[a] + 1 for a in axes
    ]
    A = np.zeros((per_group * groups * prod(out), prod(in_shape)), dtype=kernel.dtype)
    for c, i in product(range(c_in), positions(sizes)):
        group = c // (c_in // groups)
        for o, t in product(range(per_group), positions(taps)):
            d = [i[a] * stride[a] - padding[a] + t[a] * dilation[a] for a in axes]
            if all(0 <= d[a] < out[a] for a in axes):
                row = flat((group * per_group + o, *d), (per_group * groups, *out))
                A[row, flat((c, *i), in_shape)] += kernel[(c, o, *t)]
    return A


def loops_conv_transpose(layer, in_shape):
    return conv_transpose_loops(
        layer.kernel, in_shape, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups
    )


CONV_TRANSPOSE = OperationInfo(
    "conv_transpose",
    ConvTranspose,
    conv_transpose,
    torch_conv_transpose,
    loops_conv_transpose,
    (
        (lambda: ConvTranspose(ones(2, 2, 3)).out_shape((3, 5)), "in_shape: expected 2 channels"),
        (lambda: ConvTranspose(ones(2, 2, 3), stride=0), "stride: expected an int of at least 1, got 0"),
        (lambda: ConvTranspose(ones(2, 2, 3), dilation=0), "dilation: expected an int of at least 1, got 0"),
        (lambda: ConvTranspose(ones(2, 2, 3), groups=0), "groups: expected an int of at least 1, got 0"),
        (lambda: ConvTranspose(ones(2, 2, 3), padding=-1), "padding: expected an int of at least 0, got -1"),
        (
            lambda: ConvTranspose(ones(2, 2, 3), output_padding=-1),
            "output_padding: expected an int of at least 0, got -1",
        ),
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
)


ROWS = (
    CONV,
    CONV_SYMMETRIC,
    CONV_TRANSPOSE,
)
