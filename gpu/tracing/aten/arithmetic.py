"""Sums, differences, products with constants, means and sums over axes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from gpu.tracing.builder import GraphBuilder
from gpu.tracing.constants import without_samples
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Unknown, Value
from linalg_cnn import Constant, Operation, PiecewiseOperation, ResampleTo, Scale, SumOver, WeightedSum
from linalg_cnn.types import Array, Shape

Node = torch.fx.Node

PRODUCTS = ("mul", "multiply", "div", "divide", "true_divide", "matmul", "mm", "bmm", "addmm", "baddbmm", "einsum",
            "dot", "mv", "inner", "outer", "linear", "bilinear", "tensordot", "kron", "addcmul", "addcdiv")  # fmt: skip
PRODUCT = "product of two values that depend on the data"


def check_product(name: str, args: Any) -> None:
    """Refuse a product in which several factors depend on the data; some of them may be unknown.

    Raises
    ------
    Refusal
        If the operation is such a product.
    """
    factors = args[1] if name == "einsum" else args
    if name.rstrip("_") in PRODUCTS and sum(isinstance(factor, (Value, Unknown)) for factor in factors) > 1:
        raise Refusal(PRODUCT)


def add(builder: GraphBuilder, node: Node, x: Any, y: Any, alpha: float = 1) -> Value:
    """``add``: x + alpha y."""
    return combine(builder, x, y, 1.0, float(alpha))


def sub(builder: GraphBuilder, node: Node, x: Any, y: Any, alpha: float = 1) -> Value:
    """``sub``: x - alpha y."""
    return combine(builder, x, y, 1.0, -float(alpha))


def rsub(builder: GraphBuilder, node: Node, x: Any, y: Any, alpha: float = 1) -> Value:
    """``rsub``: y - alpha x."""
    return combine(builder, x, y, -float(alpha), 1.0)


def combine(builder: GraphBuilder, x: Any, y: Any, a: float, b: float) -> Value:
    """Return a x + b y, broadcast by torch's rules."""
    if isinstance(x, Value) and isinstance(y, Value):
        x, y = broadcast(builder, x, y)
        return builder.add(WeightedSum([a, b]), x, y, shape=x.shape)
    if isinstance(y, Value):
        x, y, a, b = y, x, b, a
    return scale(builder, x, a, _real(y) * b)


def mul(builder: GraphBuilder, node: Node, x: Any, y: Any) -> Value:
    """``mul`` by a constant.

    Raises
    ------
    Refusal
        If both factors depend on the data.
    """
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refusal(PRODUCT)
    if isinstance(y, Value):
        x, y = y, x
    return scale(builder, x, y, 0.0)


def div(builder: GraphBuilder, node: Node, x: Any, y: Any, rounding_mode: str | None = None) -> Value:
    """``div`` by a constant.

    Raises
    ------
    Refusal
        If the divisor depends on the data, or the quotient is rounded.
    """
    if isinstance(y, Value):
        raise Refusal("division by a value that depends on the data")
    if rounding_mode is not None:
        raise Refusal(f"division rounded by {rounding_mode}")
    return scale(builder, x, 1 / _real(y), 0.0)


def power(builder: GraphBuilder, node: Node, x: Any, exponent: Any) -> Value:
    """``pow`` and ``float_power`` with exponent 1, which are the identity.

    Raises
    ------
    Refusal
        If the exponent is another number, or depends on the data.
    """
    if not isinstance(x, Value) or isinstance(exponent, Value) or not (_real(exponent) == 1).all():
        raise Refusal(f"{name_of(node).rstrip('_')} is not {'piecewise linear' if builder.piecewise else 'affine'}")
    return scale(builder, x, exponent, 0.0)


def neg(builder: GraphBuilder, node: Node, x: Any) -> Value:
    """``neg``."""
    return scale(builder, x, -1.0, 0.0)


def lerp(builder: GraphBuilder, node: Node, x: Any, y: Any, weight: Any) -> Value:
    """``lerp``: x + weight (y - x), with a constant weight.

    Raises
    ------
    Refusal
        If the weight depends on the data.
    """
    if isinstance(weight, Value):
        raise Refusal(PRODUCT)
    factor = _real(weight)
    first, second = (
        scale(builder, term, share, 0.0) if isinstance(term, Value) else term * share
        for term, share in ((x, 1 - factor), (y, factor))
    )
    return combine(builder, first, second, 1.0, 1.0)


def scale(builder: GraphBuilder, x: Value, weight: Any, shift: Any) -> Value:
    """Return weight * x + shift for constants, broadcast with ``x`` in either direction."""

    def make(factors: Array, shifts: Array) -> Scale:
        return Scale(factors, shifts if np.any(shifts) else None)

    return with_constants(builder, make, x, weight, shift)


def constant_like(builder: GraphBuilder, x: Value, value: Any) -> Value:
    """Return a constant, broadcast with ``x`` in either direction and laid out like it.

    It is no multiple of ``x`` by 0, which would be NaN where ``x`` is infinite.
    """
    return with_constants(builder, Constant, x, value, whole=True)


def with_constants(
    builder: GraphBuilder,
    make: Callable[..., Operation | PiecewiseOperation],
    x: Value,
    *constants: Any,
    whole: bool = False,
) -> Value:
    """Append ``make(*arrays)``, which acts entry by entry, for constants broadcast with ``x`` in either direction.

    If ``whole``, the arrays have the shape of the result, rather than one that broadcasts to it.
    """
    tensors = tuple(map(_real, constants))
    if x.slices > 1 and max(c.ndim for c in tensors) <= x.rank:  # each slice may have constants of its own
        slices = (_of_slices(c, x, builder.samples) for c in tensors)
        y = with_constants(builder, make, Value(x.number, x.whole, 0), *slices, whole=whole)
        return replace(x, number=y.number)
    tensors = tuple(_once(c, x) for c in tensors)
    x = spread(builder, x, tuple(torch.broadcast_shapes(*(c.shape for c in tensors), _tensor_shape(x))))
    arrays = [_of_one_sample(c, x) for c in tensors]
    if whole:
        arrays = [np.broadcast_to(array, x.shape or (1,)) for array in arrays]
    return builder.add(make(*arrays), x, shape=x.shape)


def _real(c: Any) -> torch.Tensor:
    if isinstance(c, complex) or (isinstance(c, torch.Tensor) and c.is_complex()):
        raise Refusal("complex numbers")
    # torch would round a Python number such as 0.7 to float32 first
    return torch.as_tensor(c, dtype=torch.float64)


def _once(c: torch.Tensor, x: Value) -> torch.Tensor:
    """Return a constant that was expanded along the batch axis as it was before."""
    axis = c.ndim - (x.rank - x.batch)
    return c if axis < 0 else without_samples(c, axis)


def _of_slices(c: torch.Tensor, x: Value, samples: int) -> torch.Tensor:
    """Return a constant that broadcasts to a value with folds as one that broadcasts to its whole samples."""
    c = c.reshape((1,) * (x.rank - c.ndim) + tuple(c.shape)).movedim(x.batch, 0)
    if len(c) > 1:
        outer, inner = x.folds
        c = without_samples(c.reshape(outer, samples, inner, *c.shape[1:]), 1).flatten(0, 2)
    return c if x.shape else c.unsqueeze(1)


def _tensor_shape(x: Value) -> Shape:
    """Return the shape of the tensor for a single sample, batch axis included."""
    return (*x.shape[: x.batch], 1, *x.shape[x.batch :])


def _of_one_sample(c: torch.Tensor, x: Value) -> Array:
    """Return a constant that broadcasts to a tensor as one that broadcasts to a single sample."""
    c = c.reshape((1,) * (x.rank - c.ndim) + tuple(c.shape))
    sample: Array = c.select(x.batch, 0).numpy()
    # an array of one axis stands for the channels, and has to be as long
    return np.broadcast_to(sample, x.shape or (1,)) if len(x.shape) <= 1 else sample


def spread(builder: GraphBuilder, x: Value, shape: Shape) -> Value:
    """Return ``x`` broadcast to the shape of a tensor whose batch axis has length 1."""
    batch = x.batch + len(shape) - x.rank
    goal = (*shape[:batch], *shape[batch + 1 :])
    aligned = (1,) * (len(goal) - len(x.shape)) + x.shape
    x = builder.reshape(x, aligned, batch)
    if goal == aligned:
        return x
    return builder.add(ResampleTo(goal), x, shape=goal)  # from 1 to n entries, it repeats the entry


def broadcast(builder: GraphBuilder, x: Value, y: Value) -> tuple[Value, Value]:
    """Return two values broadcast to each other.

    Raises
    ------
    Refusal
        If the batch axis of one is aligned with another axis of the other.
    """
    if x.rank - x.batch != y.rank - y.batch:
        raise Refusal("mixes the samples of the batch: they meet another axis")
    shape = tuple(torch.broadcast_shapes(_tensor_shape(x), _tensor_shape(y)))
    return spread(builder, x, shape), spread(builder, y, shape)


def reduce(
    builder: GraphBuilder, node: Node, x: Any, dims: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Value:
    """``mean`` and ``sum`` over axes other than the batch axis."""
    dims = [dims] if isinstance(dims, int) else list(dims or range(x.rank))
    axes = sorted({x.axis(dim) for dim in dims})
    kept = [1 if axis in axes else n for axis, n in enumerate(x.shape)]
    left = tuple(kept if keepdim else (n for axis, n in enumerate(x.shape) if axis not in axes))
    batch = x.batch if keepdim else x.batch - sum(axis < x.batch for axis in axes)
    y = builder.add(SumOver(tuple(axes), mean=name_of(node) == "mean"), x, shape=tuple(kept))
    return builder.reshape(y, left, batch)


def addcmul(builder: GraphBuilder, node: Node, x: Any, y: Any, z: Any, *, value: float = 1) -> Value:
    """``addcmul``: x + value y z, where y or z is a constant."""
    product = mul(builder, node, y, z) if isinstance(y, Value) or isinstance(z, Value) else _real(y) * _real(z)
    return combine(builder, x, product, 1.0, float(value))


def addcdiv(builder: GraphBuilder, node: Node, x: Any, y: Any, z: Any, *, value: float = 1) -> Value:
    """``addcdiv``: x + value y / z, where z is a constant."""
    ratio = div(builder, node, y, z) if isinstance(y, Value) or isinstance(z, Value) else _real(y) / _real(z)
    return combine(builder, x, ratio, 1.0, float(value))


HANDLERS: dict[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "subtract": sub,
    "rsub": rsub,
    "mul": mul,
    "multiply": mul,
    "div": div,
    "divide": div,
    "true_divide": div,
    "pow": power,
    "float_power": power,
    "neg": neg,
    "negative": neg,
    "_neg_view": neg,
    "lerp": lerp,
    "mean": reduce,
    "sum": reduce,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
}
