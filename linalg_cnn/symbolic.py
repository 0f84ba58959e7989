"""The matrix constructors under the same names, with exact sympy entries instead of floating-point numbers.

Examples
--------
The paper's equation (6):

>>> from linalg_cnn import symbolic
>>> symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact")[:4, :]
Matrix([
[1, 0, 0, 0],
[1, 0, 0, 0],
[0, 1, 0, 0],
[0, 1, 0, 0]])

A convolution in letters:

>>> symbolic.conv_matrix(symbolic.symbols("k", (1, 1, 2)), (1, 3))
Matrix([
[k_0_0_0, k_0_0_1,       0],
[      0, k_0_0_0, k_0_0_1]])
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import sympy

from linalg_cnn.checks import as_array, check_exact
from linalg_cnn.ops import avg_pool, conv, conv_transpose, pad, resample
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape

__all__ = [
    "adaptive_avg_pool_matrix",
    "avg_pool_matrix",
    "conv_matrix",
    "conv_transpose_matrix",
    "pad_matrix",
    "resample_matrix",
    "symbols",
]

P = ParamSpec("P")


def _exact(numeric: Callable[P, Any]) -> Callable[[Callable[..., Operation]], Callable[P, sympy.Matrix]]:
    """Return a decorator that makes an exact constructor, with the signature of a numeric one.

    What it decorates returns the operation for the options of the constructor: its arguments without ``in_shape`` and
    ``max_bytes``.
    """
    signature = inspect.signature(numeric)

    def decorate(operation: Callable[..., Operation]) -> Callable[P, sympy.Matrix]:
        @wraps(numeric)
        def exact(*args: P.args, **kwargs: P.kwargs) -> sympy.Matrix:
            options = signature.bind(*args, **kwargs).arguments
            in_shape, max_bytes = options.pop("in_shape"), options.pop("max_bytes", None)
            if "kernel" in options:
                options["kernel"] = _exact_kernel(options["kernel"])
            return operation(**options).exact_matrix(in_shape, max_bytes)

        exact.__module__, exact.__doc__ = operation.__module__, operation.__doc__
        return exact

    return decorate


def _exact_kernel(kernel: Any) -> Any:
    """Return integers and fractions of any size as sympy numbers, before they could become float64."""
    array = as_array("kernel", kernel)
    return check_exact("kernel", array) if array.dtype.kind in "iuO" else kernel


@_exact(conv.conv_matrix)
def conv_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.conv_matrix` with exact entries; a float becomes the binary fraction that it is.

    Examples
    --------
    >>> conv_matrix([[[0.5, 3]]], (1, 2), padding=1)
    Matrix([
    [  3,   0],
    [1/2,   3],
    [  0, 1/2]])
    """
    return conv.Conv(**options)


@_exact(conv_transpose.conv_transpose_matrix)
def conv_transpose_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.conv_transpose_matrix` with exact entries.

    Examples
    --------
    >>> conv_transpose_matrix(symbols("k", (1, 1, 2)), (1, 2))
    Matrix([
    [k_0_0_0,       0],
    [k_0_0_1, k_0_0_0],
    [      0, k_0_0_1]])
    """
    return conv_transpose.ConvTranspose(**options)


@_exact(pad.pad_matrix)
def pad_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.pad_matrix` with exact entries.

    Examples
    --------
    >>> pad_matrix((1, 1), 1)
    Matrix([
    [0],
    [1],
    [0]])
    """
    return pad.Pad(**options)


@_exact(resample.resample_matrix)
def resample_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.resample_matrix` with exact entries; those of mode ``linear`` are exact fractions.

    Examples
    --------
    >>> resample_matrix((1, 2), 3)
    Matrix([
    [1, 0],
    [1, 0],
    [0, 1]])
    >>> resample_matrix((1, 3), 4, mode="linear")
    Matrix([
    [  1,   0,   0],
    [3/8, 5/8,   0],
    [  0, 5/8, 3/8],
    [  0,   0,   1]])
    """
    return resample.Resample(**options)


@_exact(avg_pool.avg_pool_matrix)
def avg_pool_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.avg_pool_matrix` with exact entries.

    Examples
    --------
    >>> avg_pool_matrix((1, 4), 3, stride=1)
    Matrix([
    [1/3, 1/3, 1/3,   0],
    [  0, 1/3, 1/3, 1/3]])
    """
    return avg_pool.AvgPool(**options)


@_exact(avg_pool.adaptive_avg_pool_matrix)
def adaptive_avg_pool_matrix(**options: Any) -> Operation:
    """Return `linalg_cnn.adaptive_avg_pool_matrix` with exact entries.

    Examples
    --------
    >>> adaptive_avg_pool_matrix((1, 4), 3)
    Matrix([
    [1/2, 1/2,   0,   0],
    [  0, 1/2, 1/2,   0],
    [  0,   0, 1/2, 1/2]])
    """
    return avg_pool.AdaptiveAvgPool(**options)


def symbols(name: str, shape: Shape) -> Array:
    """Return an object array of symbols ``name_0_0``, ``name_0_1``, ...: a kernel or an image in letters.

    Examples
    --------
    >>> symbols("x", (2,))
    array([x_0, x_1], dtype=object)
    """
    array: Array = sympy.symarray(name, shape)
    return array
