"""The table of torch's nonlinearities: their names, what makes them linear, and which of them are piecewise linear.

The networks here take their activations from it, `gpu.linearize` takes its replacements, and `gpu.trace` the remedies
that it names. To add a nonlinearity, add a row to `NONLINEARITIES`; to make networks with it, its name to `Activation`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from linalg_cnn.checks import check_choice

IDENTITY = "replace it by the identity"
PIECEWISE = "train with a piecewise linear activation, such as ReLU, instead"
AVERAGE = "replace it by average pooling"
EVALUATE = "call .eval() first"
BATCH_NORM = "train with batch normalisation instead"
LEAVE_OFF = "leave it off: it does not change which score is the largest"

Activation = Literal["identity", "relu"]
"""Names of the activations that the networks here can have: the identity, or one of the `functions` in a row of the
table whose module needs no arguments."""


@dataclass(frozen=True)
class Nonlinearity:
    """A row of the table: one nonlinear operation of torch, or several that are alike.

    Attributes
    ----------
    aten : str
        Regular expression that the operation's whole name in ATen matches, without the underscore of in-place variants.
    remedy : str
        What a refusal advises; empty if there is nothing to advise.
    module : type, optional
        The module that computes it.
    linear_module : type
        The module that `gpu.linearize` puts in its place.
    functions : tuple of str
        Names of the functions and methods of torch that `gpu.linearize` replaces in a forward, without the underscore
        of in-place variants; the first is the one that reports give.
    linear_function : callable, optional
        The function that it puts in their place; by default their input is passed on.
    piecewise_linear : bool
        Whether it is affine on each of finitely many polyhedra that cover its domain, in evaluation mode. It need not
        be continuous: hardshrink and sign jump between their pieces, and threshold does unless its two numbers are
        equal.
    """

    aten: str
    remedy: str = ""
    module: type[nn.Module] | None = None
    linear_module: type[nn.Module] = nn.Identity
    functions: tuple[str, ...] = ()
    linear_function: Callable[..., torch.Tensor] | None = None
    piecewise_linear: bool = False


def _activation(
    name: str,
    module: type[nn.Module],
    *,
    aten: str | None = None,
    aliases: tuple[str, ...] = (),
    piecewise_linear: bool = False,
) -> Nonlinearity:
    """Return the row of an activation, which becomes the identity as a module and in a forward."""
    return Nonlinearity(aten or name, IDENTITY, module, functions=(name, *aliases), piecewise_linear=piecewise_linear)


def _max_pools(rank: int) -> tuple[Nonlinearity, ...]:
    """Return the rows of max pooling and adaptive max pooling over some number of spatial axes."""
    name, adaptive = f"max_pool{rank}d", f"adaptive_max_pool{rank}d"
    return (
        Nonlinearity(
            name,
            AVERAGE,
            getattr(nn, f"MaxPool{rank}d"),
            getattr(nn, f"AvgPool{rank}d"),
            (name, f"{name}_with_indices"),
            getattr(functional, f"avg_pool{rank}d"),
            piecewise_linear=True,
        ),
        Nonlinearity(
            adaptive,
            AVERAGE,
            getattr(nn, f"AdaptiveMaxPool{rank}d"),
            getattr(nn, f"AdaptiveAvgPool{rank}d"),
            (adaptive, f"{adaptive}_with_indices"),
            getattr(functional, f"adaptive_avg_pool{rank}d"),
            piecewise_linear=True,
        ),
    )


NONLINEARITIES = (
    *(row for rank in (1, 2, 3) for row in _max_pools(rank)),
    Nonlinearity(r"fractional_max_pool\dd|max_pool\dd_with_indices", AVERAGE, piecewise_linear=True),
    _activation("relu", nn.ReLU, piecewise_linear=True),
    _activation("relu6", nn.ReLU6, piecewise_linear=True),
    _activation("hardtanh", nn.Hardtanh, piecewise_linear=True),
    _activation("leaky_relu", nn.LeakyReLU, piecewise_linear=True),
    _activation("prelu", nn.PReLU, piecewise_linear=True),
    _activation("rrelu", nn.RReLU, aten="rrelu.*", piecewise_linear=True),
    _activation("elu", nn.ELU),
    _activation("celu", nn.CELU),
    _activation("selu", nn.SELU),
    _activation("gelu", nn.GELU),
    _activation("silu", nn.SiLU),
    _activation("mish", nn.Mish),
    _activation("hardswish", nn.Hardswish),
    _activation("hardsigmoid", nn.Hardsigmoid, piecewise_linear=True),
    _activation("hardshrink", nn.Hardshrink, piecewise_linear=True),
    _activation("softshrink", nn.Softshrink, piecewise_linear=True),
    _activation("tanhshrink", nn.Tanhshrink),
    _activation("sigmoid", nn.Sigmoid, aliases=("special_expit",)),
    _activation("tanh", nn.Tanh),
    _activation("softplus", nn.Softplus),
    _activation("softsign", nn.Softsign),
    _activation("threshold", nn.Threshold, aliases=("_threshold",), piecewise_linear=True),
    _activation("logsigmoid", nn.LogSigmoid, aten=r"log_sigmoid.*", aliases=("log_sigmoid",)),
    Nonlinearity("glu"),
    Nonlinearity(r"(native_|feature_|alpha_|feature_alpha_)?dropout|bernoulli", EVALUATE),
    Nonlinearity(r"(layer|group|instance|rms|native_layer|native_group)_norm", BATCH_NORM),
    Nonlinearity(r"(_?log)?_?softmax|_safe_softmax", LEAVE_OFF),
    Nonlinearity(r"clamp.*|abs|sign", piecewise_linear=True),
    Nonlinearity(r"exp|log.*|sqrt|rsqrt|pow|reciprocal|sin|cos|square|erf|floor|ceil|round|trunc|frac|fmod"),
    Nonlinearity(r"(scaled_dot_product|multi_head|_native_multi_head).*"),
    Nonlinearity(r"a?max|a?min|sort|topk|median", piecewise_linear=True),
    Nonlinearity(r"arg.*|mode|var.*|std.*|.*norm|prod|cumprod|logsumexp|nonzero|_?unique.*"),
    Nonlinearity(r"eq|ne|lt|le|gt|ge|logical_.*|bitwise_.*|isnan|isinf"),
)
"""All nonlinearities that are known. Patterns of names may overlap: the first row that matches counts."""

BY_MODULE: Mapping[type[nn.Module], Nonlinearity] = {row.module: row for row in NONLINEARITIES if row.module}
BY_FUNCTION: Mapping[str, Nonlinearity] = {function: row for row in NONLINEARITIES for function in row.functions}


def nonlinearity_of(name: str) -> Nonlinearity | None:
    """Return the row of an operation by its name in ATen, without the underscore of in-place variants; None if unknown.

    Examples
    --------
    >>> nonlinearity_of("max_pool2d").linear_module
    <class 'torch.nn.modules.pooling.AvgPool2d'>
    >>> nonlinearity_of("conv2d") is None
    True
    """
    return next((row for row in NONLINEARITIES if re.fullmatch(row.aten, name)), None)


def activation_module(name: Activation) -> nn.Module:
    """Return the module of an activation: the identity, or a function of the table.

    Raises
    ------
    ValueError
        If ``name`` is not one of `Activation`.

    Examples
    --------
    >>> activation_module("relu")
    ReLU()
    """
    check_choice("activation", name, get_args(Activation))
    module = None if name == "identity" else BY_FUNCTION[name].module
    return nn.Identity() if module is None else module()
