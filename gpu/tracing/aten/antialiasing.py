"""Antialiased resampling of images, bilinear and bicubic: a filter along each axis that widens as the image shrinks."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value, images
from linalg_cnn import AxisSparse
from linalg_cnn.types import Array

Node = torch.fx.Node


def antialiased(builder: GraphBuilder, node: Node, x: Any, size: Any, corners: bool, *scales: Any) -> Value:
    """``_upsample_bilinear2d_aa``, ``_upsample_bicubic2d_aa``: one matrix for the rows, and one for the columns.

    Raises
    ------
    Refusal
        If the images are resampled by factors that the sizes do not express, or torch does not follow its rule.
    """
    out = tuple(node.meta["val"].shape[2:])
    y = images(x, len(out))
    sizes, name = y.shape[1:], name_of(node)
    given = [scale for scale in pytree.tree_leaves(scales) if scale is not None]
    if given and any(n * scale != o for n, scale, o in zip(sizes, given, out, strict=True)):
        reason = f"{name} by scale_factor={tuple(given)}: torch's gradient is not that of what it computes"
        raise Refusal(reason, f"pass size={out}")
    kernel, reach = (triangle, 1) if "bilinear" in name else (cubic, 2)
    matrices = [antialiasing_matrix(n, o, corners, kernel, reach) for n, o in zip(sizes, out, strict=True)]
    _check_torch(node, matrices, size, corners, *scales)
    for axis, matrix in enumerate(matrices, 1):
        rows, columns = np.nonzero(matrix)
        y = builder.add(AxisSparse(rows, columns, matrix[rows, columns], matrix.shape, axis), y)
    return y


def _check_torch(node: Node, matrices: list[Array], *arguments: Any) -> None:
    """Refuse a resampling in which torch computes something else than its rule.

    Raises
    ------
    Refusal
        If this happens: some versions do for pictures of width 1, whose rows they do not filter.
    """
    target: Any = node.target
    rows, columns = matrices
    probe = np.cos(np.arange(rows.shape[1] * columns.shape[1])).reshape(rows.shape[1], columns.shape[1])
    theirs = target(torch.from_numpy(probe)[None, None], *arguments)[0, 0].numpy()
    if not np.allclose(theirs, rows @ probe @ columns.T, rtol=0, atol=1e-10):
        size = (len(rows), len(columns))
        raise Refusal(f"{name_of(node)} to {size}: torch does not follow its own rule", "resample to a larger width")


def antialiasing_matrix(n: int, o: int, corners: bool, kernel: Callable[[Array], Array], reach: int) -> Array:
    """Return the matrix (o, n) of torch's antialiased resampling along one axis.

    Output d reads the pixels around its centre (d + 1/2) s, where s is the number of inputs per output. The kernel is
    stretched by s if it is larger than 1, and the weights of each output are divided by their sum.

    Parameters
    ----------
    n, o : int
        Numbers of inputs and outputs.
    corners : bool
        Whether s is (n - 1) / (o - 1) instead of n / o.
    kernel : callable
        The kernel, a function of the distance from its centre.
    reach : int
        Distance beyond which the kernel is zero.

    Notes
    -----
    Source: Pillow's ``Image.resize``; torch's ATen/native/cpu/UpSampleKernel.cpp.

    Examples
    --------
    >>> antialiasing_matrix(4, 2, False, triangle, 1).round(3)
    array([[0.429, 0.429, 0.143, 0.   ],
           [0.   , 0.143, 0.429, 0.429]])
    """
    if o == n:  # torch copies the pixels
        return np.eye(n)
    step = ((n - 1) / (o - 1) if o > 1 else 0.0) if corners else n / o
    stretch = max(step, 1.0)
    centre = step * (np.arange(o)[:, np.newaxis] + 0.5)
    pixels = np.arange(n)
    first = np.maximum(np.trunc(centre - reach * stretch + 0.5), 0)
    end = np.minimum(np.trunc(centre + reach * stretch + 0.5), n)
    weights = np.where((pixels >= first) & (pixels < end), kernel((pixels - centre + 0.5) / stretch), 0.0)
    matrix: Array = weights / weights.sum(axis=1, keepdims=True)
    return matrix


def triangle(x: Array) -> Array:
    """Return the kernel of linear interpolation."""
    kernel: Array = np.maximum(1 - np.abs(x), 0)
    return kernel


def cubic(x: Array) -> Array:
    """Return Keys' cubic kernel with a = -1/2, as in Pillow; torch takes it where it antialiases."""
    x, a = np.abs(x), -0.5
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    kernel: Array = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    return kernel


HANDLERS: dict[str, Callable[..., Any]] = dict.fromkeys(
    ("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), antialiased
)
