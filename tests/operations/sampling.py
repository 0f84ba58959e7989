"""Padding, resampling and average pooling."""

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil, prod

import numpy as np
from hypothesis import strategies as st
from torch.nn import functional

from linalg_cnn import AdaptiveAvgPool, AvgPool, Pad, Resample, ResampleTo
from operations.row import OperationInfo, flat, numpy_symmetric, positions, shapes, shown

MODES = ("zeros", "reflect", "replicate", "circular")


@st.composite
def pad(draw):
    in_shape = draw(shapes())
    mode = draw(st.sampled_from(MODES))
    pairs = []
    for n in in_shape[1:]:
        before = draw(st.integers(-(n - 1), {"reflect": min(3, n - 1), "circular": min(3, n)}.get(mode, 3)))
        left = n + min(before, 0)  # after cropping the front, one pixel must stay
        after = draw(st.integers(1 - left, {"reflect": min(3, n - 1), "circular": min(3, left)}.get(mode, 3)))
        if mode == "circular":
            before = min(before, n + min(after, 0))
        pairs.append((before, after))
    return Pad(pairs, mode), in_shape


def torch_pad(operation, x):
    flat = [width for pair in reversed(operation.pairs(x.ndim - 2)) for width in pair]
    mode = "constant" if operation.mode == "zeros" else operation.mode
    return functional.pad(x, flat, mode=mode)


def pad_loops(in_shape, pairs, mode):
    channels, *sizes = in_shape
    out = [before + n + after for n, (before, after) in zip(sizes, pairs, strict=True)]
    P = np.zeros((channels * prod(out), prod(in_shape)))
    for c, p in product(range(channels), positions(out)):
        q = [
            shown(p[a] - pairs[a][0], sizes[a], mode, crop=[max(-width, 0) for width in pairs[a]])
            for a in range(len(sizes))
        ]
        if None not in q:
            P[flat((c, *p), (channels, *out)), flat((c, *q), in_shape)] = 1
    return P


PAD = OperationInfo(
    "pad",
    Pad,
    pad,
    torch_pad,
    lambda op, shape: pad_loops(shape, op.pairs(len(shape) - 1), op.mode),
    (
        (lambda: Pad((1, 1)), "padding: expected an int or one"),
        (lambda: Pad([]), "padding: expected an int or one"),
        (lambda: Pad([(1,), (1,)]), "padding: expected an int or one"),
        (lambda: Pad([(1, 1), (1, 1)]).out_shape((1, 5)), r"padding: expected an int or 1 \(before, after\) pairs"),
        (lambda: Pad([(-3, 1)]).out_shape((1, 2)), "padding: expected to leave at least one position"),
        (lambda: Pad([(-3, 2)]).out_shape((1, 2)), "padding: expected to leave at least one position"),
        (lambda: Pad(1).out_shape((3,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
    ),
)


@st.composite
def symmetric_pad(draw):
    in_shape = draw(shapes())
    before = [draw(st.integers(-(n - 1), 2 * n + 1)) for n in in_shape[1:]]
    after = [draw(st.integers(1 - n - min(b, 0), 2 * n + 1)) for n, b in zip(in_shape[1:], before, strict=True)]
    return Pad(list(zip(before, after, strict=True)), "symmetric"), in_shape


PAD_SYMMETRIC = replace(
    PAD,
    name="pad_symmetric",
    draw=symmetric_pad,
    torch=lambda op, x: numpy_symmetric(op.pairs(x.ndim - 2), x),
    errors=(
        (lambda: Pad([(-3, 4)], "symmetric").out_shape((1, 2)), "padding: expected to leave at least one position"),
    ),
)


@st.composite
def resample(draw):
    in_shape = draw(shapes(longest=9))
    size = [draw(st.integers(1, 9)) for _ in in_shape[1:]]
    return Resample(size, draw(st.sampled_from(["nearest", "nearest-exact"]))), in_shape


def torch_resample(operation, x):
    # float32 on purpose: for float64 input torch picks other pixels at some sizes
    return functional.interpolate(x.float(), size=operation.size, mode=operation.mode).double()


def nearest_source(d, i, o, mode):
    """Return which of i input positions output d of o reads, in the arithmetic of the mode's library."""
    f = np.float32
    if mode == "pillow":
        x = i / o * 0.5
        for _ in range(d):
            x += i / o
        return min(int(x), i - 1)
    if mode == "scikit-image":
        return min(int(np.floor((d + 0.5) * (i / o) - 0.5 + 0.5)), i - 1)
    if mode == "nearest-exact":
        source = int(np.floor((f(d) + f(0.5)) * (f(i) / f(o))))
    elif i == o:
        source = d
    elif o == 2 * i:
        source = d >> 1
    else:
        source = int(np.floor(f(d) * (f(i) / f(o))))
    return min(source, i - 1)


def resample_loops(in_shape, out_shape, mode):
    R = np.zeros((prod(out_shape), prod(in_shape)))
    for p in positions(out_shape):
        q = [nearest_source(*axis, mode) for axis in zip(p, in_shape, out_shape, strict=True)]
        R[flat(p, out_shape), flat(q, in_shape)] = 1
    return R


def loops_resample(operation, in_shape):
    return resample_loops(in_shape, (in_shape[0], *operation.size), operation.mode)


RESAMPLE = OperationInfo(
    "resample",
    Resample,
    resample,
    torch_resample,
    loops_resample,
    (
        (lambda: Resample(0), "size: expected an int of at least 1, got 0"),
        (lambda: Resample(2).out_shape((3,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
        (lambda: Resample(2, align_corners=True), "align_corners: expected False in mode 'nearest', got True"),
    ),
)


@st.composite
def resample_to(draw):
    in_shape = draw(shapes(ranks=(1, 2)))
    shape = tuple(draw(st.integers(1, 6)) for _ in in_shape)
    return ResampleTo(shape, draw(st.sampled_from(["nearest", "nearest-exact"]))), in_shape


def torch_resample_to(operation, x):
    # with another channel axis in front, torch resamples the channels like any axis
    return functional.interpolate(x.float().unsqueeze(1), size=operation.shape, mode=operation.mode)[:, 0].double()


RESAMPLE_TO = OperationInfo(
    "resample_to",
    ResampleTo,
    resample_to,
    torch_resample_to,
    lambda op, shape: resample_loops(shape, op.shape, op.mode),
    (
        (lambda: ResampleTo((1, 2), "linear"), "mode: expected one of 'nearest'"),
        (lambda: ResampleTo((1, 2)).out_shape((1, 2, 3)), "same rank: expected 2 axes"),
    ),
)


@st.composite
def linear(draw):
    in_shape = draw(shapes())
    size = tuple(draw(st.integers(1, 7)) for _ in in_shape[1:])
    return Resample(size, "linear", draw(st.booleans())), in_shape


def torch_linear(operation, x):
    mode = ("linear", "bilinear", "trilinear")[x.ndim - 3]
    return functional.interpolate(x, size=operation.size, mode=mode, align_corners=operation.align_corners)


def linear_loops(in_shape, size, align_corners):
    """Interpolate as torch does: along each axis, (1 - l) x[a] + l x[b] with b = min(a + 1, n - 1)."""
    channels, *sizes = in_shape
    A = np.zeros((channels * prod(size), prod(in_shape)))
    for c, p in product(range(channels), positions(size)):
        corners = []
        for d, n, o in zip(p, sizes, size, strict=True):
            if align_corners:
                r = Fraction(d * (n - 1), o - 1) if o > 1 else Fraction(0)
            else:
                r = max((d + Fraction(1, 2)) * Fraction(n, o) - Fraction(1, 2), Fraction(0))
            a = int(r)
            corners.append([(a, 1 - (r - a)), (min(a + 1, n - 1), r - a)])
        row = {}
        for corner in product(*corners):
            q = flat((c, *(position for position, _ in corner)), in_shape)
            row[q] = row.get(q, 0) + prod(share for _, share in corner)
        for q, share in row.items():
            A[flat((c, *p), (channels, *size)), q] = share
    return A


LINEAR = OperationInfo(
    "linear",
    Resample,
    linear,
    torch_linear,
    lambda op, shape: linear_loops(shape, op.size, op.align_corners),
    ((lambda: Resample((2, 2), "linear").out_shape((1, 3)), "size: expected an int or 1 ints"),),
    rtol=1e-14,
)


@st.composite
def avg_pool(draw, in_shape=None, largest=3):
    in_shape = in_shape or draw(shapes())
    k, s, padding = [], [], []
    for n in in_shape[1:]:
        k.append(draw(st.integers(1, min(largest, n))))
        s.append(draw(st.integers(1, 3)))
        padding.append(draw(st.integers(0, k[-1] // 2)))
    options = {
        "stride": tuple(s),
        "padding": tuple(padding),
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    if len(k) > 1:  # torch's avg_pool1d has no such option
        options["divisor_override"] = draw(st.sampled_from([None, 1, 4] + [5] * (largest > 2)))
    return AvgPool(tuple(k), **options), in_shape


def torch_avg_pool(operation, x):
    function = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[x.ndim - 3]
    override = {} if x.ndim == 3 else {"divisor_override": operation.divisor_override}
    return function(
        x,
        operation.kernel_size,
        operation.stride,
        operation.padding,
        operation.ceil_mode,
        operation.count_include_pad,
        **override,
    )


def avg_pool_loops(in_shape, k, s, padding, ceil_mode, count_include_pad, divisor_override):
    channels, *sizes = in_shape
    axes = range(len(sizes))
    out = []
    for a in axes:
        o = (sizes[a] + 2 * padding[a] - k[a] + (s[a] - 1 if ceil_mode else 0)) // s[a] + 1
        if ceil_mode and (o - 1) * s[a] >= sizes[a] + padding[a]:
            o -= 1
        out.append(o)
    A = np.zeros((channels * prod(out), prod(in_shape)))
    for c, p in product(range(channels), positions(out)):
        starts = [p[a] * s[a] - padding[a] for a in axes]
        ends = [min(starts[a] + k[a], sizes[a] + padding[a]) for a in axes]
        inside = [range(max(starts[a], 0), min(ends[a], sizes[a])) for a in axes]
        if divisor_override is not None:
            divisor = divisor_override
        elif count_include_pad:
            divisor = prod(ends[a] - starts[a] for a in axes)
        else:
            divisor = prod(len(run) for run in inside)
        for q in product(*inside):
            A[flat((c, *p), (channels, *out)), flat((c, *q), in_shape)] = 1 / divisor
    return A


def loops_avg_pool(operation, in_shape):
    return avg_pool_loops(
        in_shape,
        operation.kernel_size,
        operation.stride,
        operation.padding,
        operation.ceil_mode,
        operation.count_include_pad,
        operation.divisor_override,
    )


AVG_POOL = OperationInfo(
    "avg_pool",
    AvgPool,
    avg_pool,
    torch_avg_pool,
    loops_avg_pool,
    (
        (
            lambda: AvgPool(3).out_shape((1, 2)),
            "kernel_size: expected at most 2 on an axis of 2 padded by 0, got 3",
        ),
        (lambda: AvgPool(3, stride=0), "stride: expected an int of at least 1, got 0"),
        (lambda: AvgPool(3, padding=-1), "padding: expected an int of at least 0, got -1"),
        (lambda: AvgPool(3, padding=2).out_shape((1, 9)), "padding: expected at most half of the kernel size 3"),
        (lambda: AvgPool(2).out_shape((5,)), r"in_shape: expected \(channels, \*spatial\) with a spatial axis"),
    ),
    rtol=1e-14,
)


@st.composite
def adaptive_avg_pool(draw):
    in_shape = draw(shapes(longest=8))
    return AdaptiveAvgPool(tuple(draw(st.integers(1, 9)) for _ in in_shape[1:])), in_shape


def torch_adaptive_avg_pool(operation, x):
    functions = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
    return functions[x.ndim - 3](x, operation.size)


def adaptive_avg_pool_loops(in_shape, size):
    channels, *sizes = in_shape
    A = np.zeros((channels * prod(size), prod(in_shape)))
    for c, p in product(range(channels), positions(size)):
        windows = [range(d * n // o, ceil(Fraction((d + 1) * n, o))) for d, n, o in zip(p, sizes, size, strict=True)]
        for q in product(*windows):
            row, column = flat((c, *p), (channels, *size)), flat((c, *q), in_shape)
            A[row, column] = 1 / prod(len(window) for window in windows)
    return A


ADAPTIVE_AVG_POOL = OperationInfo(
    "adaptive_avg_pool",
    AdaptiveAvgPool,
    adaptive_avg_pool,
    torch_adaptive_avg_pool,
    lambda op, shape: adaptive_avg_pool_loops(shape, op.size),
    ((lambda: AdaptiveAvgPool((1, 0)), r"size\[1\]: expected an int of at least 1, got 0"),),
    rtol=1e-14,
)


ROWS = (
    PAD,
    PAD_SYMMETRIC,
    RESAMPLE,
    RESAMPLE_TO,
    LINEAR,
    AVG_POOL,
    ADAPTIVE_AVG_POOL,
)
