"""Handlers of piecewise-linear operations, which `gpu.trace(piecewise=True)` knows beside the affine ones."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any

import torch

from gpu.tracing.aten.complex_parts import is_traced
from gpu.tracing.aten.layers import check_constant, ints
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Unknown, Value, planes
from linalg_cnn import MaxPool, PiecewiseOperation, ReLU
from linalg_cnn.types import size_of

Node = torch.fx.Node
Handler = Callable[..., Any]

POSITIONS = Unknown()
"""The positions of largest entries, which are not piecewise linear: reading them is refused."""


def entrywise(make: Callable[..., PiecewiseOperation]) -> Handler:
    """Return the handler of a function of each entry; ``make`` takes its constants."""

    def handler(builder: GraphBuilder, node: Node, x: Value, *args: Any, **kwargs: Any) -> Value:
        check_constant(*args, *kwargs.values())
        return builder.add_whole(make(*args, **kwargs), x, x)

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


HANDLERS: Mapping[str, Handler] = {
    name: of_real_values(handler)
    for name, handler in {
        "relu": entrywise(ReLU),
        **dict.fromkeys(("max_pool1d", "max_pool2d", "max_pool3d"), max_pool),
        **dict.fromkeys(("max_pool2d_with_indices", "max_pool3d_with_indices"), with_positions(max_pool)),
    }.items()
}
