"""Random configurations of every operation, with what torch and plain loops make of them.

Parameters are drawn so that float64 is exact: small integers, factors that are powers of two.
"""

from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from loops import (
    avg_pool_loops,
    conv_loops,
    conv_transpose_loops,
    rearrangement_loops,
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
    Flatten,
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

MODES = ("zeros", "reflect", "replicate", "circular")


def integers(draw, shape, low=-3, high=3):
    """Small integers as float64; from a seed, so that large arrays are drawn fast."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(np.float64)


def shapes(ranks=(1, 2, 3), longest=6):
    return st.sampled_from(ranks).flatmap(lambda rank: st.tuples(st.integers(1, 4), *[st.integers(1, longest)] * rank))


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


@st.composite
def resample(draw):
    in_shape = draw(shapes(longest=9))
    size = [draw(st.integers(1, 9)) for _ in in_shape[1:]]
    return Resample(size, draw(st.sampled_from(["nearest", "nearest-exact"]))), in_shape


def torch_resample(operation, x):
    # float32 on purpose: for float64 input torch picks other pixels at some sizes
    return functional.interpolate(x.float(), size=operation.size, mode=operation.mode).double()


def loops_resample(operation, in_shape):
    return resample_loops(in_shape, (in_shape[0], *operation.size), operation.mode)


@st.composite
def resample_to(draw):
    in_shape = draw(shapes(ranks=(1, 2)))
    shape = tuple(draw(st.integers(1, 6)) for _ in in_shape)
    return ResampleTo(shape, draw(st.sampled_from(["nearest", "nearest-exact"]))), in_shape


def torch_resample_to(operation, x):
    # with a channel axis of its own in front, torch resamples the channels like any other axis
    return functional.interpolate(x.float().unsqueeze(1), size=operation.shape, mode=operation.mode)[:, 0].double()


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


@st.composite
def batch_norm(draw, in_shape=None):
    in_shape = in_shape or draw(shapes())
    channels = in_shape[0]
    variance = 4.0 ** integers(draw, (channels,), -1, 1)  # its root is exact
    weight = integers(draw, (channels,)) if draw(st.booleans()) else None
    bias = integers(draw, (channels,)) if draw(st.booleans()) else None
    return BatchNorm(weight, bias, integers(draw, (channels,)), variance, eps=0.0), in_shape


def torch_batch_norm(operation, x):
    mean, variance, weight, bias = (
        torch.from_numpy(values)
        for values in (operation.running_mean, operation.running_var, operation.weight, operation.bias)
    )
    return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=operation.eps)


def loops_batch_norm(operation, in_shape):
    per_channel = prod(in_shape[1:])
    return np.diag([
        w / v**0.5 for w, v in zip(operation.weight, operation.running_var, strict=True) for _ in range(per_channel)
    ])


@st.composite
def dense(draw, in_shape=None):
    in_shape = in_shape or draw(st.one_of(shapes(longest=4), st.tuples(st.integers(1, 9))))
    out = draw(st.integers(1, 4))
    bias = integers(draw, (out,)) if draw(st.booleans()) else None
    return Dense(integers(draw, (out, prod(in_shape))), bias), in_shape


def torch_dense(operation, x):
    bias = None if operation.bias is None else torch.from_numpy(operation.bias)
    return functional.linear(x.flatten(1), torch.from_numpy(operation.weight), bias)


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


def loops_conv_transpose(layer, in_shape):
    return conv_transpose_loops(
        layer.kernel, in_shape, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups
    )


@st.composite
def linear(draw):
    in_shape = draw(shapes())
    size = tuple(draw(st.integers(1, 7)) for _ in in_shape[1:])
    return Resample(size, "linear", draw(st.booleans())), in_shape


def torch_linear(operation, x):
    mode = ("linear", "bilinear", "trilinear")[x.ndim - 3]
    return functional.interpolate(x, size=operation.size, mode=mode, align_corners=operation.align_corners)


@st.composite
def adaptive_avg_pool(draw):
    in_shape = draw(shapes(longest=8))
    return AdaptiveAvgPool(tuple(draw(st.integers(1, 9)) for _ in in_shape[1:])), in_shape


def torch_adaptive_avg_pool(operation, x):
    functions = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
    return functions[x.ndim - 3](x, operation.size)


@st.composite
def scale(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))

    def parameter():
        if len(in_shape) == 1 or draw(st.booleans()):
            return integers(draw, in_shape[:1])
        return integers(draw, tuple(draw(st.sampled_from([1, n])) for n in in_shape))

    weight = parameter()
    return Scale(weight, parameter() if draw(st.booleans()) else None), in_shape


def spread(values, axes):
    return values.reshape(-1, *(1,) * (axes - 1)) if values.ndim == 1 else values


def torch_scale(operation, x):
    y = x * torch.from_numpy(spread(operation.weight, x.ndim - 1))
    return y if operation.bias is None else y + torch.from_numpy(spread(operation.bias, x.ndim - 1))


def loops_scale(operation, in_shape):
    weight = spread(operation.weight, len(in_shape))
    places = [tuple(0 if n == 1 else i for i, n in zip(p, weight.shape, strict=True)) for p in np.ndindex(in_shape)]
    return np.diag([weight[place] for place in places])


@st.composite
def take(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    table = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    return Take(integers(draw, table, -1, prod(in_shape) - 1).astype(np.int64)), in_shape


def torch_take(operation, x):
    with_zero = torch.cat([x.flatten(1), torch.zeros(len(x), 1, dtype=x.dtype)], dim=1)  # -1 is the last
    return with_zero[:, torch.from_numpy(operation.sources).long()]


def loops_take(operation, in_shape):
    return np.array([[float(q == source) for q in range(prod(in_shape))] for source in operation.sources.ravel()])


@st.composite
def sum_over(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    axes = draw(st.lists(st.integers(0, len(in_shape) - 1), unique=True))
    return SumOver(tuple(axes), draw(st.booleans())), in_shape


def torch_sum_over(operation, x):
    if not operation.axes:
        return x
    axes = tuple(axis + 1 for axis in operation.axes)
    return x.mean(axes, keepdim=True) if operation.mean else x.sum(axes, keepdim=True)


def loops_sum_over(operation, in_shape):
    out_shape = [1 if axis in operation.axes else n for axis, n in enumerate(in_shape)]
    weight = 1 / prod(in_shape[axis] for axis in operation.axes) if operation.mean else 1.0

    def hears(p, q):
        return all(axis in operation.axes or p[axis] == q[axis] for axis in range(len(in_shape)))

    return np.array([[weight * hears(p, q) for q in np.ndindex(in_shape)] for p in np.ndindex(*out_shape)])


@st.composite
def constant(draw):
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    return Constant(integers(draw, shape)), draw(shapes(ranks=(0, 1, 2)))


def torch_constant(operation, x):
    return torch.from_numpy(operation.value).expand(len(x), *operation.value.shape)


@st.composite
def axis_dense(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    axis, out = draw(st.integers(0, len(in_shape) - 1)), draw(st.integers(1, 4))
    bias = integers(draw, (out,)) if draw(st.booleans()) else None
    return AxisDense(integers(draw, (out, in_shape[axis])), bias, axis), in_shape


def torch_axis_dense(operation, x):
    bias = None if operation.bias is None else torch.from_numpy(operation.bias)
    axis = operation.axis + 1
    return functional.linear(x.movedim(axis, -1), torch.from_numpy(operation.weight), bias).movedim(-1, axis)


def loops_axis_dense(operation, in_shape):
    axis = operation.axis
    before, after = prod(in_shape[:axis]), prod(in_shape[axis + 1 :])
    return np.kron(np.kron(np.eye(before), operation.weight), np.eye(after))


@st.composite
def reshape(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    factors = [f for n in in_shape for f in ((2, n // 2) if n % 2 == 0 else (n,))]
    shape = draw(st.permutations(factors))
    if draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return Reshape(shape), in_shape


@st.composite
def flatten(draw):
    return Flatten(), draw(shapes(ranks=(0, 1, 2, 3)))


@st.composite
def permute(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    return Permute(tuple(draw(st.permutations(range(len(in_shape)))))), in_shape


def loops_permute(operation, in_shape):
    out_shape = tuple(in_shape[axis] for axis in operation.order)
    return rearrangement_loops(
        in_shape, out_shape, lambda p: tuple(p[operation.order.index(axis)] for axis in range(len(in_shape)))
    )


@st.composite
def cut(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    axis = draw(st.integers(0, len(in_shape) - 1))
    start = draw(st.integers(0, in_shape[axis] - 1))
    stop = draw(st.integers(start + 1, in_shape[axis]))
    return Slice(start, stop, draw(st.sampled_from([None, 1, 2])), axis), in_shape


def torch_cut(operation, x):
    return x[(slice(None),) * (operation.axis + 1) + (slice(operation.start, operation.stop, operation.step),)]


def loops_cut(operation, in_shape):
    kept = range(operation.start, operation.stop, operation.step or 1)
    axis = operation.axis
    out_shape = (*in_shape[:axis], len(kept), *in_shape[axis + 1 :])
    return rearrangement_loops(in_shape, out_shape, lambda p: (*p[:axis], kept[p[axis]], *p[axis + 1 :]))


@st.composite
def pixel_shuffle(draw):
    factor, channels, *sizes = (draw(st.integers(1, 3)) for _ in range(4))
    return PixelShuffle(factor), (channels * factor**2, *sizes)


@st.composite
def pixel_unshuffle(draw):
    factor, channels, *sizes = (draw(st.integers(1, 3)) for _ in range(4))
    return PixelUnshuffle(factor), (channels, *(factor * size for size in sizes))


def loops_pixels(source):
    return lambda op, shape: rearrangement_loops(shape, op.out_shape(shape), lambda p: source(p, op.factor))


@st.composite
def concatenate(draw):
    first = draw(shapes(ranks=(0, 1, 2)))
    axis = draw(st.integers(0, len(first) - 1))
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return Concatenate(axis), *((*first[:axis], n, *first[axis + 1 :]) for n in lengths)


def loops_concatenate(operation, *in_shapes):
    """Column by column: where a single 1 of one input comes out."""
    columns = []
    for k, shape in enumerate(in_shapes):
        for q in np.ndindex(shape):
            parts = [np.zeros(other) for other in in_shapes]
            parts[k][q] = 1
            columns.append(np.concatenate(parts, axis=operation.axis).ravel())
    return np.array(columns).T


@st.composite
def weighted_sum(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    count = draw(st.integers(1, 3))
    return WeightedSum(integers(draw, (count,)) / 4), *([in_shape] * count)


def torch_weighted_sum(operation, *xs):
    return sum(weight * x for weight, x in zip(operation.weights, xs, strict=True))
