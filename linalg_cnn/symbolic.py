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

from linalg_cnn.ops import AvgPool, Conv, Pad, Resample
from linalg_cnn.types import Array, Shape

__all__ = ["avg_pool_matrix", "conv_matrix", "pad_matrix", "resample_matrix", "symbols"]


def conv_matrix(kernel: Any, in_shape: Shape, **options: Any) -> sympy.Matrix:
    """Return `linalg_cnn.conv_matrix` with exact entries; floats are taken for the binary fractions they are.

    Examples
    --------
    >>> conv_matrix([[[0.5, 3]]], (1, 2), padding=1)
    Matrix([
    [  3,   0],
    [1/2,   3],
    [  0, 1/2]])
    """
    return Conv(kernel, **options).exact_matrix(in_shape)


def pad_matrix(in_shape: Shape, padding: Any, mode: str = "zeros") -> sympy.Matrix:
    """Return `linalg_cnn.pad_matrix` with exact entries.

    Examples
    --------
    >>> pad_matrix((1, 1), 1)
    Matrix([
    [0],
    [1],
    [0]])
    """
    return Pad(padding, mode).exact_matrix(in_shape)


def resample_matrix(in_shape: Shape, size: Any, mode: str = "nearest") -> sympy.Matrix:
    """Return `linalg_cnn.resample_matrix` with exact entries.

    Examples
    --------
    >>> resample_matrix((1, 2), 3)
    Matrix([
    [1, 0],
    [1, 0],
    [0, 1]])
    """
    return Resample(size, mode).exact_matrix(in_shape)


def avg_pool_matrix(in_shape: Shape, kernel_size: Any, **options: Any) -> sympy.Matrix:
    """Return `linalg_cnn.avg_pool_matrix` with exact entries.

    Examples
    --------
    >>> avg_pool_matrix((1, 4), 3, stride=1)
    Matrix([
    [1/3, 1/3, 1/3,   0],
    [  0, 1/3, 1/3, 1/3]])
    """
    return AvgPool(kernel_size, **options).exact_matrix(in_shape)


def symbols(name: str, shape: Shape) -> Array:
    """Return an object array of symbols ``name_0_0``, ``name_0_1``, ...: a kernel or an image in letters.

    Examples
    --------
    >>> symbols("x", (2,))
    array([x_0, x_1], dtype=object)
    """
    array: Array = sympy.symarray(name, shape)
    return array
