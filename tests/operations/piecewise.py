"""The table of piecewise-linear operations, over which every test of them runs.

The loops say what an operation computes for one sample, entry by entry, in any kind of numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import sympy
import torch
from hypothesis import strategies as st
from torch.nn import functional

from linalg_cnn import (
    Abs,
    AdaptiveMaxPool,
    AMax,
    AMin,
    Clamp,
    Hardsigmoid,
    Hardtanh,
    LeakyReLU,
    Maximum,
    MaxOver,
    MaxPool,
    Minimum,
    MinOver,
    PiecewiseOperation,
    PReLU,
    ReLU,
    ReLU6,
    Softshrink,
)
from operations.row import integers, shapes


@dataclass(frozen=True)
class PiecewiseInfo:
    """A row of the table.

    Attributes
    ----------
    name : name of the row in the names of the tests
    kind : class of the operation
    draw : strategy of (operation, *in_shapes)
    torch : function of the operation and one tensor (N, *in_shape) per input; what torch computes
    loops : function of the operation and one array (*in_shape) per input; what it computes, in plain loops
    errors : pairs of a call and the message of the ValueError that it raises
    rtol : tolerance where slopes are not powers of two, or torch rounds them to float32
    """

    name: str
    kind: type[PiecewiseOperation]
    draw: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    loops: Callable[..., np.ndarray]
    errors: tuple[tuple[Callable[[], Any], str], ...] = ()
    rtol: float = 0.0


def entrywise(function):
    """Return the loops of a function of the operation, an entry and its position."""

    def loops(operation, x):
        y = np.empty(x.shape, object)
        for position in np.ndindex(x.shape):
            y[position] = function(operation, x[position], position)
        return y

    return loops


@st.composite
def parameterless(draw, kind):
    return kind(), draw(shapes(ranks=(0, 1, 2)))


@st.composite
def leaky(draw):
    return LeakyReLU(draw(st.integers(-4, 8)) / 4), draw(shapes(ranks=(0, 1, 2)))


@st.composite
def prelu(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    shape = draw(st.sampled_from([(), in_shape[:1], in_shape, (*in_shape[:1], *(1,) * (len(in_shape) - 1))]))
    return PReLU(integers(draw, shape) / 4), in_shape


def of_position(values, position):
    """Return what a number, or an array that broadcasts as `Scale` takes it, has at a position."""
    if np.ndim(values) == 0:
        return values
    if values.ndim == 1:
        return values[position[0]]
    return values[tuple(0 if n == 1 else p for p, n in zip(position, values.shape, strict=True))]


def spread(values, axes):
    values = torch.as_tensor(values)
    return values.reshape(-1, *(1,) * (axes - 1)) if values.ndim == 1 else values


def torch_prelu(operation, x):
    return torch.where(x > 0, x, spread(operation.weight, x.ndim - 1) * x)


@st.composite
def hardtanh(draw):
    low = draw(st.integers(-2, 1))
    return Hardtanh(low, draw(st.integers(low + 1, 2))), draw(shapes(ranks=(0, 1, 2)))


def between(low, high):
    return lambda op, x, position: max(low(op, position), min(high(op, position), x))


@st.composite
def clamp(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=2))
    shape = draw(st.sampled_from([(), in_shape[:1], in_shape]))
    low, width = integers(draw, shape), integers(draw, shape, 0, 3)
    bounds = draw(st.sampled_from([{"min": low, "max": low + width}, {"min": low}, {"max": low}]))
    return Clamp(**bounds), in_shape


def torch_clamp(operation, x):
    """Entry by entry, because torch has another gradient at tensors than at numbers."""
    low, high = (
        None if bound is None else spread(bound, x.ndim - 1).expand(x.shape[1:])
        for bound in (operation.min, operation.max)
    )
    y = torch.empty_like(x)
    for position in np.ndindex(x.shape[1:]):
        bounds = [None if bound is None else bound[position].item() for bound in (low, high)]
        y[(slice(None), *position)] = (
            functional.hardtanh(
                x[(slice(None), *position)],
                -np.inf if bounds[0] is None else bounds[0],
                np.inf if bounds[1] is None else bounds[1],
            )
            if bounds[0] != bounds[1]
            else torch.where(x[(slice(None), *position)].isnan(), x[(slice(None), *position)], bounds[0])
        )
    return y


def loops_clamp(operation, x, position):
    if operation.min is not None:
        x = max(of_position(operation.min, position), x)
    return x if operation.max is None else min(of_position(operation.max, position), x)


@st.composite
def max_pool(draw):
    rank = draw(st.integers(1, 3))
    per_axis = [draw(st.tuples(*[st.integers(1, 3)] * 3, st.integers(0, 1), st.integers(1, 6))) for _ in range(rank)]
    options = {"kernel_size": [], "stride": [], "dilation": [], "padding": []}
    sizes = []
    for taps, stride, dilation, padding, more in per_axis:
        length = dilation * (taps - 1) + 1
        padding = min(padding, taps // 2, length // 2)
        for name, value in zip(options, (taps, stride, dilation, padding), strict=True):
            options[name].append(value)
        sizes.append(length + more)
    pool = MaxPool(**options, ceil_mode=draw(st.booleans()))
    return pool, (draw(st.integers(1, 3)), *sizes)


def torch_max_pool(operation, x):
    pool = {3: functional.max_pool1d, 4: functional.max_pool2d, 5: functional.max_pool3d}[x.ndim]
    options = (operation.kernel_size, operation.stride, operation.padding, operation.dilation)
    return pool(x, *map(tuple, options), ceil_mode=operation.ceil_mode)


def loops_max_pool(operation, x):
    counts = []
    options = (operation.kernel_size, operation.stride, operation.padding, operation.dilation)
    for n, taps, stride, padding, dilation in zip(x.shape[1:], *options, strict=True):
        starts = []
        while True:  # window by window, as long as it fits, or starts before the padding at the end
            start = len(starts) * stride - padding
            last = start + dilation * (taps - 1)
            fits = last < n + padding
            hangs_over = operation.ceil_mode and start < n and last - stride < n + padding - 1
            if not fits and not hangs_over:
                break
            starts.append(start)
        counts.append(starts)
    y = np.empty((len(x), *map(len, counts)), object)
    for p in np.ndindex(y.shape):
        best = None
        for tap in product(*map(range, operation.kernel_size)):
            q = [s[i] + d * t for s, i, d, t in zip(counts, p[1:], operation.dilation, tap, strict=True)]
            if all(0 <= i < n for i, n in zip(q, x.shape[1:], strict=True)):
                best = x[(p[0], *q)] if best is None else max(best, x[(p[0], *q)])
        y[p] = best
    return y


@st.composite
def adaptive_max_pool(draw):
    in_shape = draw(shapes(ranks=(1, 2, 3)))
    return AdaptiveMaxPool([draw(st.integers(1, 4)) for _ in in_shape[1:]]), in_shape


def torch_adaptive_max_pool(operation, x):
    pools = {3: functional.adaptive_max_pool1d, 4: functional.adaptive_max_pool2d, 5: functional.adaptive_max_pool3d}
    return pools[x.ndim](x, tuple(operation.size))


def loops_adaptive_max_pool(operation, x):
    y = np.empty((len(x), *operation.size), object)
    for p in np.ndindex(y.shape):
        ranges = [
            range(i * n // o, -((-(i + 1) * n) // o))
            for i, n, o in zip(p[1:], x.shape[1:], operation.size, strict=True)
        ]
        y[p] = max(x[(p[0], *q)] for q in product(*ranges))
    return y


@st.composite
def over_an_axis(draw, kind):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    return kind(draw(st.integers(0, len(in_shape) - 1))), in_shape


@st.composite
def over_axes(draw, kind):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    return kind(draw(st.lists(st.integers(0, len(in_shape) - 1), min_size=1, unique=True))), in_shape


def loops_over(choose):
    def loops(operation, x):
        axes = operation.axes if hasattr(operation, "axes") else (operation.axis,)
        y = np.empty(tuple(1 if axis in axes else n for axis, n in enumerate(x.shape)), object)
        for p in np.ndindex(y.shape):
            ranges = [range(x.shape[axis]) if axis in axes else [i] for axis, i in enumerate(p)]
            y[p] = choose(x[q] for q in product(*ranges))
        return y

    return loops


@st.composite
def of_several(draw, kind):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    return kind(), in_shape, in_shape


def loops_of_several(choose):
    def loops(operation, *xs):
        y = np.empty(xs[0].shape, object)
        for p in np.ndindex(y.shape):
            y[p] = choose(x[p] for x in xs)
        return y

    return loops


def batch_axes(operation):
    return [axis + 1 for axis in operation.axes]


SIXTH = sympy.Rational(1, 6)

PIECEWISE = [
    PiecewiseInfo(
        "relu",
        ReLU,
        lambda: parameterless(ReLU),
        lambda op, x: functional.relu(x),
        entrywise(lambda op, x, p: max(x, 0)),
        ((lambda: ReLU().out_shape(()), "in_shape: expected a shape"),),
    ),
    PiecewiseInfo(
        "leaky_relu",
        LeakyReLU,
        leaky,
        lambda op, x: functional.leaky_relu(x, op.negative_slope),
        entrywise(lambda op, x, p: x if x > 0 else op.negative_slope * x),
        ((lambda: LeakyReLU(float("inf")), "negative_slope: expected finite entries, got inf"),),
    ),
    PiecewiseInfo(
        "prelu",
        PReLU,
        prelu,
        torch_prelu,
        entrywise(lambda op, x, p: x if x > 0 else of_position(op.weight, p) * x),
        (
            (lambda: PReLU([1, 2]).out_shape((3, 4)), "in_shape: expected 2 channels"),
            (lambda: PReLU([[1, 2]]).out_shape((1, 3)), "in_shape: expected a shape that"),
        ),
    ),
    PiecewiseInfo(
        "hardtanh",
        Hardtanh,
        hardtanh,
        lambda op, x: functional.hardtanh(x, op.min_val, op.max_val),
        entrywise(between(lambda op, p: op.min_val, lambda op, p: op.max_val)),
        ((lambda: Hardtanh(1, 1), "max_val: expected more than min_val = 1.0, got 1.0"),),
    ),
    PiecewiseInfo(
        "relu6",
        ReLU6,
        lambda: parameterless(ReLU6),
        lambda op, x: functional.relu6(x),
        entrywise(between(lambda op, p: 0, lambda op, p: 6)),
    ),
    PiecewiseInfo(
        "hardsigmoid",
        Hardsigmoid,
        lambda: parameterless(Hardsigmoid),
        lambda op, x: functional.hardsigmoid(x),
        entrywise(lambda op, x, p: max(0, min(6, x + 3)) * (SIXTH if isinstance(x, sympy.Expr) else 1 / 6)),
        rtol=1e-7,  # torch takes the slope 1/6 from float32
    ),
    PiecewiseInfo(
        "softshrink",
        Softshrink,
        lambda: st.tuples(st.sampled_from([Softshrink(0), Softshrink(1), Softshrink(0.5)]), shapes(ranks=(0, 1))),
        lambda op, x: functional.softshrink(x, op.lambd),
        entrywise(lambda op, x, p: x - op.lambd if x > op.lambd else x + op.lambd if x < -op.lambd else 0),
        ((lambda: Softshrink(-1), "lambd: expected a number of at least 0, got -1.0"),),
    ),
    PiecewiseInfo(
        "abs", Abs, lambda: parameterless(Abs), lambda op, x: x.abs(), entrywise(lambda op, x, p: x if x > 0 else -x)
    ),
    PiecewiseInfo(
        "clamp",
        Clamp,
        clamp,
        torch_clamp,
        entrywise(loops_clamp),
        (
            (lambda: Clamp(), "min: expected at least one of min and max, got None for both"),
            (lambda: Clamp(2, 1), "max: expected nothing less than min, got a smaller bound"),
            (lambda: Clamp([1, 2], [1, 2, 3]), r"max: expected a shape that broadcasts with that of min, \(2,\)"),
            (lambda: Clamp([1, 2]).out_shape((3,)), "in_shape: expected 2 channels"),
        ),
    ),
    PiecewiseInfo(
        "max_pool",
        MaxPool,
        max_pool,
        torch_max_pool,
        loops_max_pool,
        (
            (lambda: MaxPool(3, padding=2).out_shape((1, 9)), "padding: expected at most half of the dilated kernel"),
            (lambda: MaxPool(3).out_shape((1, 2)), "kernel_size: expected at most 2 with its dilation"),
            (lambda: MaxPool(2).out_shape((3,)), "in_shape: expected .* with a spatial axis"),
            (lambda: MaxPool(0), "kernel_size: expected an int of at least 1"),
            (
                lambda: MaxPool(2, padding=3, dilation=7).out_shape((1, 3)),
                "padding: expected a pixel in each window, got window 0 without",
            ),
        ),
    ),
    PiecewiseInfo(
        "adaptive_max_pool",
        AdaptiveMaxPool,
        adaptive_max_pool,
        torch_adaptive_max_pool,
        loops_adaptive_max_pool,
        ((lambda: AdaptiveMaxPool((2, 2)).out_shape((1, 5)), "size: expected an int or 1 ints"),),
    ),
    PiecewiseInfo(
        "max_over",
        MaxOver,
        lambda: over_an_axis(MaxOver),
        lambda op, x: x.max(op.axis + 1, keepdim=True)[0],
        loops_over(max),
        (
            (lambda: MaxOver(1).out_shape((3,)), "in_shape: expected more than 1 axes"),
            (lambda: MaxOver(-1), "axis: expected an int of at least 0"),
        ),
    ),
    PiecewiseInfo(
        "min_over",
        MinOver,
        lambda: over_an_axis(MinOver),
        lambda op, x: x.min(op.axis + 1, keepdim=True)[0],
        loops_over(min),
    ),
    PiecewiseInfo(
        "amax",
        AMax,
        lambda: over_axes(AMax),
        lambda op, x: x.amax(batch_axes(op), keepdim=True),
        loops_over(max),
        (
            (lambda: AMax((1,)).out_shape((3,)), "in_shape: expected more than 1 axes"),
            (lambda: AMax(()), "axes: expected at least one axis, and each once"),
        ),
        rtol=1e-15,  # a third
    ),
    PiecewiseInfo(
        "amin",
        AMin,
        lambda: over_axes(AMin),
        lambda op, x: x.amin(batch_axes(op), keepdim=True),
        loops_over(min),
        rtol=1e-15,
    ),
    PiecewiseInfo(
        "maximum",
        Maximum,
        lambda: of_several(Maximum),
        lambda op, x, y: torch.maximum(x, y),
        loops_of_several(max),
        ((lambda: Maximum().out_shape((2,), (3,)), r"Maximum: expected inputs of one shape, got \[\(2,\), \(3,\)\]"),),
    ),
    PiecewiseInfo(
        "minimum", Minimum, lambda: of_several(Minimum), lambda op, x, y: torch.minimum(x, y), loops_of_several(min)
    ),
]
"""Every piecewise-linear operation."""
