"""Complex numbers that depend on the data, as pairs of real values: a linear operation acts on the parts.

A `Complex` arises from a Fourier transform, from a product with a complex constant, or from ``torch.complex``, and
becomes real again by ``.real``, by an inverse transform, and so on. Everything between is linear over the real numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gpu.tracing.aten.arithmetic import PRODUCT, combine, mul, scale
from gpu.tracing.aten.by_autograd import called
from gpu.tracing.aten.movement import INDICES, MOVEMENTS, SCALARS, move
from gpu.tracing.aten.products import matmul
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value

Node = torch.fx.Node
Handler = Callable[..., Any]

LINEAR = {*MOVEMENTS, "cat", "pad", "sum", "mean", "add", "sub", "subtract", "rsub", "neg",
          "negative", "clone", "contiguous", "alias", "detach", "resolve_conj", "resolve_neg", "positive", "scatter",
          "index_put", "index_copy", "index_fill", "index_add", "scatter_add", "expand_as", "view_as", "reshape_as",
          "zeros_like", "fill", "cumsum", "diff"}  # fmt: skip
"""Operations that are linear in all their tensors taken together, with real coefficients."""

PRODUCTS = {"mul", "multiply", "matmul", "mm", "bmm", "einsum", "tensordot", "outer", "mv", "inner"}
"""Operations that are linear in each of their tensors."""

LAYERS = {
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
}
"""Operations of a value, a kernel and a bias, which are the first three arguments."""

SUMS = {"addmm", "baddbmm"}
"""Operations of a bias and the two factors of a product."""

CASTS = {"_to_copy", "to", "type_as"}
DIVISIONS = {"div", "divide", "true_divide"}


@dataclass(frozen=True)
class Complex:
    """A complex tensor that depends on the input.

    Attributes
    ----------
    real, imag : Value
        Its parts, with the same shape and the same batch axis.
    """

    real: Value
    imag: Value


def is_traced(leaf: Any) -> bool:
    """Return whether an argument depends on the data."""
    return isinstance(leaf, (Value, Complex))


def _is_complex(leaf: Any) -> bool:
    return isinstance(leaf, (Complex, complex)) or (isinstance(leaf, torch.Tensor) and leaf.is_complex())


def component(number: Any, part: str) -> Any:
    """Return the part "real" or "imag" of a complex number, tensor or value."""
    found = getattr(number, part)
    # torch leaves the sign of a conjugate's imaginary part pending, and numpy cannot read such a tensor
    return found.resolve_neg() if isinstance(found, torch.Tensor) else found


def in_parts(name: str, handler: Handler) -> Handler:
    """Return a handler of real values as one that also takes complex ones, by their parts.

    It raises a `Refusal` where the operation is not known to act on the parts.
    """

    @wraps(handler)
    def handle(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Any:
        if name in CASTS:
            return _as_complex(builder, node, handler(builder, node, *args, **kwargs))
        if not any(_is_complex(leaf) for leaf in pytree.tree_leaves((args, kwargs))):
            return handler(builder, node, *args, **kwargs)
        if name in LINEAR:
            return _by_parts(handler, builder, node, args, kwargs)
        if name in DIVISIONS:
            return _divide(builder, node, *args, **kwargs)
        if name in PRODUCTS:
            return _product(handler, builder, node, args, kwargs)
        if name in LAYERS:
            return _layer(handler, builder, node, *args, **kwargs)
        if name in SUMS:
            return _sum(builder, node, *args, **kwargs)
        raise Refusal(f"{name} of complex numbers is not known to be affine")

    return handle


def _as_complex(builder: GraphBuilder, node: Node, x: Any) -> Any:
    """Return the result of a cast, which may be complex; the walker refuses casts that round or drop a part."""
    widened = isinstance(x, Value) and node.meta["val"].is_complex()
    return Complex(x, scale(builder, x, 0.0, 0.0)) if widened else x


def _by_parts(handler: Handler, builder: GraphBuilder, node: Node, args: Any, kwargs: Any) -> Any:
    """Return what an operation that is linear in all its tensors gives on the real parts, and on the imaginary ones."""
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]

    def given(part: str) -> Any:
        def of(name: str, argument: Any) -> Any:
            if name in INDICES:
                return argument
            if name in SCALARS and isinstance(argument, (int, float, complex)):
                return getattr(complex(argument), part)
            return pytree.tree_map(lambda leaf: _part(builder, leaf, part), argument)

        positional = [of(name, argument) for name, argument in zip(names, args, strict=False)]
        return handler(builder, node, *positional, **{name: of(name, argument) for name, argument in kwargs.items()})

    real, imag = given("real"), given("imag")
    return [_paired(*pair) for pair in zip(real, imag, strict=True)] if isinstance(real, list) else _paired(real, imag)


def _paired(real: Any, imag: Any) -> Any:
    """Return two parts as one complex value, or as a constant if only the shape of the data counts."""
    return Complex(real, imag) if isinstance(real, Value) else torch.complex(real, imag)


def _part(builder: GraphBuilder, leaf: Any, part: str) -> Any:
    """Return the real or the imaginary part of a tensor; anything else stays."""
    if _is_complex(leaf):
        return component(leaf, part)
    if part == "real":
        return leaf
    if isinstance(leaf, Value):
        return scale(builder, leaf, 0.0, 0.0)
    return torch.zeros_like(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _product(handler: Handler, builder: GraphBuilder, node: Node, args: Any, kwargs: Any) -> Any:
    """Return a product of one value and one constant, of which at least one is complex.

    Raises
    ------
    Refusal
        If several factors depend on the data, or there are several constants.
    """
    leaves = pytree.tree_leaves(args)
    traced = [leaf for leaf in leaves if is_traced(leaf)]
    constants = [leaf for leaf in leaves if isinstance(leaf, (torch.Tensor, complex, float))]
    if len(traced) > 1:
        raise Refusal(PRODUCT)
    if len(constants) > 1:
        raise Refusal(f"{name_of(node)} of several complex constants is not known to be affine")

    def times(part: str, constant_part: str) -> Value:
        def of(leaf: Any) -> Any:
            chosen = part if is_traced(leaf) else constant_part
            return component(leaf, chosen) if _is_complex(leaf) else leaf

        value: Value = handler(builder, node, *pytree.tree_map(of, args), **kwargs)
        return value

    if not isinstance(traced[0], Complex):
        return Complex(times("real", "real"), times("real", "imag"))
    if not (constants and _is_complex(constants[0])):
        return Complex(times("real", "real"), times("imag", "real"))
    real = combine(builder, times("real", "real"), times("imag", "imag"), 1.0, -1.0)
    return Complex(real, combine(builder, times("real", "imag"), times("imag", "real"), 1.0, 1.0))


def _layer(
    handler: Handler,
    builder: GraphBuilder,
    node: Node,
    x: Any,
    weight: Any,
    bias: Any = None,
    *rest: Any,
    **options: Any,
) -> Complex:
    """Return a layer with a complex kernel as four with real ones, of which two have a part of the bias.

    Raises
    ------
    Refusal
        If the input is real, which torch does not take either, except where it only records the forward.
    """
    if any(isinstance(given, Value) for given in (x, weight, bias)):
        raise Refusal(f"{name_of(node)} of complex numbers is not known to be affine where some of them are real")

    def times(part: str, kernel_part: str, bias_part: str | None = None) -> Value:
        shift = None if bias is None or bias_part is None else component(bias, bias_part)
        parts = component(x, part), component(weight, kernel_part)
        value: Value = handler(builder, node, *parts, shift, *rest, **options)
        return value

    real = combine(builder, times("real", "real", "real"), times("imag", "imag"), 1.0, -1.0)
    return Complex(real, combine(builder, times("real", "imag", "imag"), times("imag", "real"), 1.0, 1.0))


def _sum(builder: GraphBuilder, node: Node, bias: Any, x: Any, y: Any, *, beta: Any = 1, alpha: Any = 1) -> Complex:
    """``addmm``, ``baddbmm``: beta bias + alpha x y.

    Raises
    ------
    Refusal
        If a factor of the sum is complex.
    """
    if isinstance(beta, complex) or isinstance(alpha, complex):
        raise Refusal(f"{name_of(node)} with a complex alpha or beta is not known to be affine")
    product = _product(matmul, builder, node, (x, y), {}) if is_traced(x) or is_traced(y) else x @ y
    parts = ((component(bias, part), component(product, part)) for part in ("real", "imag"))
    return Complex(*(combine(builder, *pair, float(beta), float(alpha)) for pair in parts))


def _divide(builder: GraphBuilder, node: Node, x: Any, y: Any, **options: Any) -> Any:
    """``div`` of a complex value by a constant, or of a real value by a complex constant.

    Raises
    ------
    Refusal
        If the divisor depends on the data, or the quotient is rounded.
    """
    if is_traced(y) or options:
        raise Refusal("division of complex numbers that is not by a constant")
    return _product(mul, builder, node, (x, 1 / torch.as_tensor(y, dtype=torch.complex128)), {})


def real(builder: GraphBuilder, node: Node, x: Any) -> Value:
    """``real``."""
    part: Value = x.real if isinstance(x, Complex) else x
    return part


def imag(builder: GraphBuilder, node: Node, x: Complex) -> Value:
    """``imag``, which torch refuses for real tensors."""
    return x.imag


def conj(builder: GraphBuilder, node: Node, x: Any) -> Any:
    """``conj``, in torch's several names."""
    return Complex(x.real, scale(builder, x.imag, -1.0, 0.0)) if isinstance(x, Complex) else x


def from_parts(builder: GraphBuilder, node: Node, x: Any, y: Any) -> Complex:
    """``complex`` of two parts, one of which may be constant."""
    first, second = (
        part if isinstance(part, Value) else combine(builder, scale(builder, other, 0.0, 0.0), part, 1.0, 1.0)
        for part, other in ((x, y), (y, x))
    )
    return Complex(first, second)


def view_as_real(builder: GraphBuilder, node: Node, x: Complex) -> Value:
    """``view_as_real``: the parts along another last axis."""
    parts: Value = move(builder, called(node, torch.ops.aten.stack.default), [x.real, x.imag], -1)
    return parts


def view_as_complex(builder: GraphBuilder, node: Node, x: Value) -> Complex:
    """``view_as_complex``: the last axis has the parts."""
    select = called(node, torch.ops.aten.select.int)
    return Complex(*(move(builder, select, x, -1, part) for part in (0, 1)))


HANDLERS: dict[str, Handler] = {
    "real": real,
    "imag": imag,
    **dict.fromkeys(("_conj", "conj_physical", "_conj_physical"), conj),
    "complex": from_parts,
    "view_as_real": view_as_real,
    "view_as_complex": view_as_complex,
}
"""Operations that lead from real numbers to complex ones and back."""
