"""Handlers of piecewise-linear operations, which `gpu.trace(piecewise=True)` knows beside the affine ones."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from gpu.models.nonlinearities import EVALUATE
from gpu.models.piecewise_layers import not_below
from gpu.tracing.aten.arithmetic import broadcast, constant_like, with_constants
from gpu.tracing.aten.complex_parts import is_traced
from gpu.tracing.aten.layers import check_constant, ints
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.not_affine import reason_of, remedy_of
from gpu.tracing.values import Refusal, Unknown, Value, planes
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
from linalg_cnn.types import Shape, size_of

Node = torch.fx.Node
Handler = Callable[..., Any]

POSITIONS = Unknown()
"""The positions of largest entries, which are not piecewise linear: reading them is refused."""


def entrywise(make: Callable[..., PiecewiseOperation]) -> Handler:
    """Return the handler of a function of each entry; ``make`` takes its constants, which are numbers."""

    def handler(builder: GraphBuilder, node: Node, x: Value, *args: Any, **kwargs: Any) -> Value:
        return builder.add_whole(make(*args, **kwargs), x, x)

    return handler


def prelu(builder: GraphBuilder, node: Node, x: Value, weight: Any) -> Value:
    """``prelu``, whose channels are axis 1 of the tensor."""
    check_constant(weight)
    if weight.numel() == 1:
        return builder.add_whole(PReLU(weight.item()), x, x)
    return with_constants(builder, PReLU, x, weight.reshape(1, -1, *(1,) * (x.rank - 2)))


def rrelu(
    builder: GraphBuilder, node: Node, x: Value, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Value:
    """``rrelu`` in evaluation mode, which has the mean of its slopes.

    Raises
    ------
    Refusal
        In training mode, where the slopes are random.
    """
    if training:
        raise Refusal("rrelu is random", EVALUATE)
    return builder.add_whole(LeakyReLU((lower + upper) / 2), x, x)


def threshold(builder: GraphBuilder, node: Node, x: Value, threshold: float, value: float) -> Value:
    """``threshold``, continuous if entries that do not exceed the threshold become the threshold itself.

    Raises
    ------
    Refusal
        If they become another value.
    """
    if threshold != value:
        reason = reason_of("threshold", "piecewise linear")
        raise Refusal(f"{reason}, from value {value} to threshold {threshold}", remedy_of("threshold") or "")
    return builder.add_whole(not_below(value), x, x)


def clamp(builder: GraphBuilder, node: Node, x: Any, min: Any = None, max: Any = None) -> Any:  # noqa: A002
    """``clamp`` by constants.

    Raises
    ------
    Refusal
        If a bound depends on the data.
    """
    bounds = {name: bound for name, bound in (("min", min), ("max", max)) if bound is not None}
    if not isinstance(x, Value) or any(isinstance(bound, Value) for bound in bounds.values()):
        raise Refusal("clamp by a value that depends on the data; torch.maximum and torch.minimum are followed")
    if not any(isinstance(bound, torch.Tensor) for bound in bounds.values()):
        return builder.add_whole(Clamp(**bounds), x, x)
    for name, bound in bounds.items():  # where an entry equals a tensor's, torch shares the gradient between them
        x = of_two(Maximum() if name == "min" else Minimum())(builder, node, x, bound)
    return x


def clamp_max(builder: GraphBuilder, node: Node, x: Any, max: Any) -> Any:  # noqa: A002
    """``clamp_max``."""
    return clamp(builder, node, x, None, max)


def of_two(operation: PiecewiseOperation) -> Handler:
    """Return the handler of the larger or the smaller of two values, one of which may be constant."""

    def handler(builder: GraphBuilder, node: Node, x: Any, y: Any) -> Value:
        if not isinstance(x, Value):
            x = constant_like(builder, y, x)
        elif not isinstance(y, Value):
            y = constant_like(builder, x, y)
        x, y = broadcast(builder, x, y)
        if x.folds != y.folds:
            raise Refusal("mixes the samples of the batch: they meet another axis")
        return builder.add_whole(operation, x, x, y)

    return handler


def over_axes(make: Callable[[Shape], PiecewiseOperation]) -> Handler:
    """Return the handler of the largest or the smallest entry over some axes."""

    def handler(builder: GraphBuilder, node: Node, x: Value, dims: Any = (), keepdim: bool = False) -> Value:
        dims = [dims] if isinstance(dims, int) else list(dims) or range(x.rank)
        axes = sorted({x.axis(dim) for dim in dims})
        kept = replace(x, shape=tuple(1 if axis in axes else n for axis, n in enumerate(x.shape)))
        y = builder.add_whole(make(tuple(axis + (x.slices > 1) for axis in axes)), x, kept)
        if keepdim:
            return y
        left = tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
        return builder.reshape(y, left, x.batch - sum(axis < x.batch for axis in axes))

    return handler


def by_overload(along: Handler, two: Handler) -> Handler:
    """Return the handler of ``max`` or ``min``: over an axis, of two values, or of everything.

    The last mixes the samples of the batch.
    """

    def handler(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Any:
        target: Any = node.target
        if target._overloadname == "other":
            return two(builder, node, *args, **kwargs)
        if target._overloadname != "dim":
            raise Refusal("mixes the samples of the batch")
        return along(builder, node, *args, **kwargs)

    return handler


def max_pool(
    builder: GraphBuilder,
    node: Node,
    x: Value,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Value:
    """``max_pool1d``, ``max_pool2d``, ``max_pool3d``."""
    operation = MaxPool(
        ints(kernel_size),
        stride=ints(stride) or None,
        padding=ints(padding),
        dilation=ints(dilation),
        ceil_mode=ceil_mode,
    )
    return pooled(builder, operation, x, int(name_of(node).removesuffix("_with_indices")[-2]))


def adaptive_max_pool(builder: GraphBuilder, node: Node, x: Value, size: Any) -> Value:
    """``adaptive_max_pool1d``, ``adaptive_max_pool2d``, ``adaptive_max_pool3d``."""
    return pooled(builder, AdaptiveMaxPool(ints(size)), x, int(name_of(node)[-2]))


def pooled(builder: GraphBuilder, operation: PiecewiseOperation, x: Value, axes: int) -> Value:
    """Return the pooling of the last axes of a value, plane by plane."""
    whole = planes(x, axes).whole
    channels = size_of(whole[:-axes])
    flat = builder.arrange(x, Value(x.number, (channels, *whole[-axes:]), 0))
    y = builder.add_whole(operation, flat, flat)
    sizes = builder.graph.shapes[y.number][1:]
    goal = replace(x, number=y.number, shape=(*x.shape[:-axes], *sizes))
    return builder.arrange(Value(y.number, (channels, *sizes), 0), goal)


def with_positions(handler: Handler) -> Handler:
    """Return the handler of an operation that also gives the positions of what it chooses."""

    @wraps(handler)
    def both(*args: Any, **kwargs: Any) -> list[Any]:
        return [handler(*args, **kwargs), POSITIONS]

    return both


def of_real_values(handler: Handler) -> Handler:
    """Return a handler that refuses complex values."""

    @wraps(handler)
    def real(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Any:
        if any(is_traced(arg) and not isinstance(arg, Value) for arg in (*args, *kwargs.values())):
            raise Refusal(f"{name_of(node)} of complex numbers is not piecewise linear")
        return handler(builder, node, *args, **kwargs)

    return real


RULES: dict[str, Handler] = {
    "relu": entrywise(ReLU),
    "leaky_relu": entrywise(LeakyReLU),
    "prelu": prelu,
    "rrelu": rrelu,
    "relu6": entrywise(ReLU6),
    "hardtanh": entrywise(Hardtanh),
    "hardsigmoid": entrywise(Hardsigmoid),
    "softshrink": entrywise(Softshrink),
    "threshold": threshold,
    **dict.fromkeys(("abs", "absolute"), entrywise(Abs)),
    **dict.fromkeys(("clamp", "clip", "clamp_min"), clamp),
    "clamp_max": clamp_max,
    **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), max_pool),
    **dict.fromkeys(
        ("max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices"), with_positions(max_pool)
    ),
    **dict.fromkeys(
        ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"), with_positions(adaptive_max_pool)
    ),
    "maximum": of_two(Maximum()),
    "minimum": of_two(Minimum()),
    "max": by_overload(with_positions(over_axes(lambda axes: MaxOver(*axes))), of_two(Maximum())),
    "min": by_overload(with_positions(over_axes(lambda axes: MinOver(*axes))), of_two(Minimum())),
    "amax": over_axes(AMax),
    "amin": over_axes(AMin),
}

HANDLERS: Mapping[str, Handler] = {name: of_real_values(handler) for name, handler in RULES.items()}
