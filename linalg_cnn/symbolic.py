"""The same constructors under the same names, with exact sympy entries instead of floating-point numbers.

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

from typing import Any

import sympy

from linalg_cnn.checks import as_array, check_exact
from linalg_cnn.ops.avg_pool import AdaptiveAvgPool, AvgPool
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.conv_transpose import ConvTranspose
from linalg_cnn.ops.pad import Pad
from linalg_cnn.ops.resample import Resample
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


def conv_matrix(
    kernel: Any,
    in_shape: Shape,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    max_bytes: int | None = None,
) -> sympy.Matrix:
    """Return `linalg_cnn.conv_matrix` with exact entries; floats are taken for the binary fractions they are.

    Examples
    --------
    >>> conv_matrix([[[0.5, 3]]], (1, 2), padding=1)
    Matrix([
    [  3,   0],
    [1/2,   3],
    [  0, 1/2]])
    """
    layer = Conv(
        _exact_kernel(kernel),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        padding_mode=padding_mode,
    )
    return layer.exact_matrix(in_shape, max_bytes)


def conv_transpose_matrix(
    kernel: Any,
    in_shape: Shape,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    max_bytes: int | None = None,
) -> sympy.Matrix:
    """Return `linalg_cnn.conv_transpose_matrix` with exact entries.

    Examples
    --------
    >>> conv_transpose_matrix(symbols("k", (1, 1, 2)), (1, 2))
    Matrix([
    [k_0_0_0,       0],
    [k_0_0_1, k_0_0_0],
    [      0, k_0_0_1]])
    """
    layer = ConvTranspose(
        _exact_kernel(kernel),
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
    return layer.exact_matrix(in_shape, max_bytes)


def pad_matrix(in_shape: Shape, padding: Any, mode: str = "zeros", *, max_bytes: int | None = None) -> sympy.Matrix:
    """Return `linalg_cnn.pad_matrix` with exact entries.

    Examples
    --------
    >>> pad_matrix((1, 1), 1)
    Matrix([
    [0],
    [1],
    [0]])
    """
    return Pad(padding, mode).exact_matrix(in_shape, max_bytes)


def resample_matrix(
    in_shape: Shape, size: Any, mode: str = "nearest", align_corners: bool = False, *, max_bytes: int | None = None
) -> sympy.Matrix:
    """Return `linalg_cnn.resample_matrix` with exact entries; those of ``linear`` are exact fractions.

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
    return Resample(size, mode, align_corners).exact_matrix(in_shape, max_bytes)


def avg_pool_matrix(
    in_shape: Shape,
    kernel_size: Any,
    *,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    max_bytes: int | None = None,
) -> sympy.Matrix:
    """Return `linalg_cnn.avg_pool_matrix` with exact entries.

    Examples
    --------
    >>> avg_pool_matrix((1, 4), 3, stride=1)
    Matrix([
    [1/3, 1/3, 1/3,   0],
    [  0, 1/3, 1/3, 1/3]])
    """
    pool = AvgPool(
        kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    return pool.exact_matrix(in_shape, max_bytes)


def adaptive_avg_pool_matrix(in_shape: Shape, size: Any, *, max_bytes: int | None = None) -> sympy.Matrix:
    """Return `linalg_cnn.adaptive_avg_pool_matrix` with exact entries.

    Examples
    --------
    >>> adaptive_avg_pool_matrix((1, 4), 3)
    Matrix([
    [1/2, 1/2,   0,   0],
    [  0, 1/2, 1/2,   0],
    [  0,   0, 1/2, 1/2]])
    """
    return AdaptiveAvgPool(size).exact_matrix(in_shape, max_bytes)


def symbols(name: str, shape: Shape) -> Array:
    """Return an object array of symbols ``name_0_0``, ``name_0_1``, ...: a kernel or an image in letters.

    Examples
    --------
    >>> symbols("x", (2,))
    array([x_0, x_1], dtype=object)
    """
    array: Array = sympy.symarray(name, shape)
    return array


def _exact_kernel(kernel: Any) -> Any:
    """Return integers and fractions of any size as sympy numbers, before they could become float64."""
    array = as_array("kernel", kernel)
    return check_exact("kernel", array) if array.dtype.kind in "iuO" else kernel
