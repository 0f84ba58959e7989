"""What torch's functions are to linearising: activations, products, layers with weights, functions of the shape."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gpu.models.nonlinearities import BY_FUNCTION, Nonlinearity

POOL_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "output_size")
"""Attributes of max pooling that average pooling takes, in the order of its arguments, adaptive pooling included."""

MAX_POOL_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
"""Arguments of the functions for max pooling after the input, in their order."""

ADAPTIVE_POOL_ARGUMENTS = ("output_size", "return_indices")
"""Arguments of the functions for adaptive max pooling after the input, in their order."""

PRODUCTS = re.compile(
    r"_*r?i?(mul|div|truediv|true_divide|divide|multiply|lerp)_*|_foreach_mul_?"
    r"|outer|ger|kron|cross|linalg_cross|grid_sample"
)
"""Names of operations that multiply their operands entry by entry, or read one of them at the positions in another."""

POWERS = re.compile(r"_*r?i?(pow|float_power)_*|square_?|(cum)?prod_?")
"""Names of operations that multiply entries of one operand with each other."""

ADDED_PRODUCTS = re.compile(r"addcmul_?|addcdiv_?|addr_?")
"""Names of products of the second and the third operand that are added to the first."""

CONTRACTIONS = re.compile(
    r"_*r?i?matmul_*|mm|bmm|mv|dot|vdot|inner|linalg_(multi_dot|vecdot|matmul)|einsum|tensordot|chain_matmul|bilinear"
    r"|scaled_dot_product_attention|linear|conv(_transpose)?\dd|conv(olution|_tbc)"
    r"|(batch|layer|group|instance|rms)_norm|embedding(_bag)?"
)
"""Names of operations that are layers with weights if all operands but one are constants, and products otherwise."""

ADDED_CONTRACTIONS = re.compile(r"(addmm|addmv|addbmm|baddbmm|sspaddmm)_?")
"""Names of matrix products of the second and the third operand that are added to the first."""

LAYERS = re.compile(r"(lstm|gru|rnn_tanh|rnn_relu)(_cell)?|multi_head_attention_forward")
"""Names of layers with weights whatever their operands are."""

OF_SHAPES = re.compile(r"new_(zeros|ones|empty|full|empty_strided)|\w+_like")
"""Names of operations whose result depends on the shape of their first operand only."""

OF_FIRST = re.compile(r"\w+_as|to")
"""Names of operations whose result has entries of their first operand only."""


@dataclass(frozen=True)
class Function:
    """What a function of torch, as a mode of torch hands it over, is to linearising.

    Attributes
    ----------
    name : str
        Its name, as reports give it.
    row : Nonlinearity, optional
        The row of the table, if it is an activation or a pooling that can be replaced.
    in_place : bool
        Whether it changes its first argument.
    returns_indices : bool
        Whether it is a pooling that returns indices, too, whatever its arguments are.
    factors : slice, optional
        The tensors among its arguments that it multiplies with each other; None if it does not.
    multiplies_itself : bool
        Whether it multiplies entries of one tensor with each other.
    interpolates : bool
        Whether its factors are two summands and, third, the weight that they are multiplied with, if it is a tensor.
    is_layer : bool
        Whether it is a layer with weights where all factors but one are constants.
    reads : slice
        The tensors among its arguments whose entries its result depends on.
    """

    name: str
    row: Nonlinearity | None
    in_place: bool
    returns_indices: bool
    factors: slice | None
    multiplies_itself: bool
    interpolates: bool
    is_layer: bool
    reads: slice


@functools.lru_cache(maxsize=4096)
def function_of(function: Any) -> Function:
    """Return what a function is to linearising.

    Examples
    --------
    >>> function_of(torch.relu).row.module
    <class 'torch.nn.modules.activation.ReLU'>
    >>> function_of(torch.Tensor.mul).factors
    slice(None, None, None)
    """
    packet = getattr(function, "overloadpacket", function)
    name = str(getattr(packet, "__name__", packet))
    module = getattr(packet, "__module__", None) or "torch"
    row = BY_FUNCTION.get(name.rstrip("_")) if re.match(r"torch\b(?!\._ops\.(?!aten))", module) else None
    returns_indices = name.endswith("_with_indices")
    if row is not None:
        name = row.functions[0] + "_" * name.endswith("_")
    whole = PRODUCTS.fullmatch(name) or CONTRACTIONS.fullmatch(name) or POWERS.fullmatch(name)
    added = ADDED_PRODUCTS.fullmatch(name) or ADDED_CONTRACTIONS.fullmatch(name)
    return Function(
        name,
        row,
        in_place=(name.endswith("_") and not name.endswith("__")) or name in {"__setitem__", "__set__"},
        returns_indices=returns_indices,
        factors=slice(None) if whole else slice(1, 3) if added else None,
        multiplies_itself=bool(POWERS.fullmatch(name)),
        interpolates=name.strip("_") == "lerp",
        is_layer=any(pattern.fullmatch(name) for pattern in (CONTRACTIONS, ADDED_CONTRACTIONS, LAYERS)),
        reads=slice(0) if OF_SHAPES.fullmatch(name) else slice(1) if OF_FIRST.fullmatch(name) else slice(None),
    )


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in nested tuples, lists and dicts."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)


def axes(value: Any) -> tuple[Any, ...]:
    """Return the numbers of an argument that is one number, or one per axis."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def replaced(
    function: Function, args: tuple[Any, ...], kwargs: Mapping[str, Any], alias: bool
) -> Callable[[], Any] | None:
    """Return what computes the replacement of an activation or a pooling, or None if there is none.

    Parameters
    ----------
    function : Function
        A function with a row in the table.
    args, kwargs : tuple, mapping
        Arguments of the call.
    alias : bool
        Return the argument of an activation itself. Otherwise it is copied: a result of the activation shares no
        memory with its argument either, and one of the two may be written into later.
    """
    row, options = function.row, dict(kwargs)
    x = args[0] if args else options.pop("input", None)
    if row is None or not isinstance(x, torch.Tensor) or not x.is_floating_point():
        return None
    if row.linear_function is None:
        out = options.get("out")
        if out is not None:
            return lambda: torch.mul(x, 1, out=out)
        if works_in_place(function, kwargs):
            return lambda: x
        return (lambda: _passed_on(x)) if alias else (lambda: x.clone())
    adaptive = row.functions[0].startswith("adaptive")
    names = ADAPTIVE_POOL_ARGUMENTS if adaptive else MAX_POOL_ARGUMENTS
    options |= dict(zip(names, args[1:], strict=False))
    with_indices = options.pop("return_indices", False) or function.returns_indices
    if with_indices or set(axes(options.pop("dilation", 1))) != {1}:
        return None
    pool = row.linear_function
    return lambda: pool(x, **options)


def _passed_on(x: torch.Tensor) -> torch.Tensor:
    """Return the argument of an activation as its result, without a history where gradients are off."""
    return x if torch.is_grad_enabled() or not x.requires_grad else x.detach()


def works_in_place(function: Function, kwargs: Mapping[str, Any]) -> bool:
    """Return whether a call of an activation changes its argument."""
    return function.in_place or bool(kwargs.get("inplace"))
