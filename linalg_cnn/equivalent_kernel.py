"""The kernel of an affine map, if the map is one convolution, and where it is not if it is none.

In a convolution of stride s, output position p weighs input position q by the kernel's entry at the offset q - p s. A
map is one convolution if all its outputs agree on these entries. Two padded convolutions in a row are none: the second
reads zeros around the first one's output, where a single convolution would read values.
"""

from itertools import islice, product
from typing import Any

import numpy as np
import scipy.sparse

from linalg_cnn.affine import AffineMap
from linalg_cnn.central_kernel import Rows, central_convolution, central_strides, vanishes
from linalg_cnn.exact import to_sympy
from linalg_cnn.ops.conv import Conv
from linalg_cnn.types import Array, Shape

ROUNDINGS = 2**12
"""Tolerance in units of the machine epsilon: entries of a composed map are sums of products, rounded many times."""

MOST_STRIDES = 64
"""Largest number of strides that are tried; there are several only where the rows compared are mostly zeros."""


def equivalent_kernel(affine_map: AffineMap, *, tolerance: float | None = None) -> Conv:
    """Return the one convolution that a map is, with the stride, padding, dilation and groups found in its entries.

    Parameters
    ----------
    affine_map : AffineMap
        Map between images, with ``in_shape`` (C_in, *in) and ``out_shape`` (C_out, *out). W may be dense, sparse or
        exact.
    tolerance : float, optional
        Largest difference between entries that count as equal, as a fraction of the largest entry. By default 4096
        times the machine epsilon of W, since entries of a composed map are rounded. Exact maps have no tolerance.

    Returns
    -------
    Conv
        Convolution whose matrix is W and whose bias is B, up to the tolerance. Torch pads an axis by the same width
        on both sides: where a map reads further to one side than to the other, and ``padding="same"`` does not suit
        it, taps of zeros make up for it. Groups are found where the channels separate. The stride is smaller than the
        input, along each axis, except for a single output: with a larger one no two outputs share a weight, so that
        every map would be a convolution.

    Raises
    ------
    TypeError
        If ``affine_map`` is not an AffineMap.
    ValueError
        If the map lacks ``in_shape`` or ``out_shape``, or they do not have the same number of spatial axes, at least
        one; if the map is not one convolution: the error says which output and which entry differ most from the
        convolution in the middle of the image, by how much, and at how many positions there is a difference; or if
        ``tolerance`` is negative.

    Examples
    --------
    >>> from linalg_cnn import SkipNetwork
    >>> blur, edge = Conv([[[1.0, 2.0, 1.0]]]), Conv([[[-1.0, 1.0]]], stride=2)
    >>> found = equivalent_kernel(SkipNetwork((1, 9), [blur, edge]).compose())
    >>> found.kernel, found.stride
    (array([[[-1., -1.,  1.,  1.]]]), (2,))

    With padding in between, it is one convolution except at the border:

    >>> padded = Conv([[[1.0, 2.0, 1.0]]], padding=1)
    >>> equivalent_kernel(SkipNetwork((1, 9), [padded, padded]).compose())
    Traceback (most recent call last):
        ...
    ValueError: affine_map: expected a map that is one convolution, got one that differs from it at 2 of 9 output \
positions, most by -1 at output channel 0, position (0,): the weight of input channel 0, position (0,) is 5, where the \
convolution in the middle of the image, of stride (1,), has 6
    """
    in_shape, out_shape = _image_shapes(affine_map)
    allowed = _allowed(affine_map, tolerance)
    rows = rows_of_map(affine_map.W, in_shape, out_shape)
    B = affine_map.B
    bias: Any = (np.array(B.tolist(), object) if affine_map.symbolic else B).reshape(out_shape)
    middle = tuple(size // 2 for size in out_shape[1:])
    candidates = product(*central_strides(rows, in_shape, out_shape, allowed))
    errors: list[ValueError] = []
    for strides in islice(candidates, MOST_STRIDES):
        conv = central_convolution(rows, in_shape, out_shape, strides, bias[:, *middle], allowed)
        try:
            _check_weights(affine_map, conv, in_shape, out_shape, allowed)
            _check_bias(bias, conv, allowed)
        except ValueError as error:
            errors.append(error)
        else:
            return conv
    raise errors[0]


def _image_shapes(affine_map: AffineMap) -> tuple[Shape, Shape]:
    """Return the shapes of a map between images.

    Raises
    ------
    TypeError
        If it is not a map.
    ValueError
        If it has no shapes, or their axes do not correspond.
    """
    if not isinstance(affine_map, AffineMap):
        raise TypeError(f"affine_map: expected an AffineMap, got {type(affine_map).__name__}")
    in_shape, out_shape = affine_map.in_shape, affine_map.out_shape
    for name, shape in (("in_shape", in_shape), ("out_shape", out_shape)):
        if shape is None:
            raise ValueError(
                f"affine_map: expected a map with {name}, which says what its vectors are, got None; make it with "
                "AffineMap(W, B, in_shape, out_shape)"
            )
    if in_shape is None or out_shape is None or len(in_shape) != len(out_shape) or len(in_shape) < 2:
        raise ValueError(
            "affine_map: expected in_shape and out_shape (channels, *spatial) with the same spatial axes, got "
            f"{in_shape} and {out_shape}"
        )
    return in_shape, out_shape


def _allowed(affine_map: AffineMap, tolerance: float | None) -> float:
    """Return the largest difference of entries that count as equal.

    Raises
    ------
    ValueError
        If the tolerance is not a number of at least 0.
    """
    if tolerance is not None and not (isinstance(tolerance, (int, float, np.number)) and tolerance >= 0):
        raise ValueError(f"tolerance: expected a number of at least 0, got {tolerance!r}")
    if affine_map.symbolic:
        return 0.0
    W = affine_map.W
    if tolerance is None:
        tolerance = ROUNDINGS * float(np.finfo(W.dtype).eps)
    data = W.data if affine_map.sparse else W
    largest = max(float(np.abs(data).max(initial=0)), float(np.abs(affine_map.B).max(initial=0)))
    return tolerance * largest


def rows_of_map(W: Any, in_shape: Shape, out_shape: Shape) -> Rows:
    """Return the function that gives the rows of a dense, sparse or sympy W for one output position."""
    numbers: Any = np.arange(np.prod(out_shape)).reshape(out_shape)

    def rows(position: Shape) -> Array:
        chosen = numbers[:, *position]
        if isinstance(W, np.ndarray):
            part = W[chosen]
        elif scipy.sparse.issparse(W):
            part = W[chosen].toarray()
        else:
            part = np.array(W.extract(chosen.tolist(), list(range(W.cols))).tolist(), object)
        return np.asarray(part.reshape(out_shape[0], *in_shape))

    return rows


def _check_weights(affine_map: AffineMap, conv: Conv, in_shape: Shape, out_shape: Shape, allowed: float) -> None:
    """Refuse a map with another W than the matrix of a convolution.

    Raises
    ------
    ValueError
        If an entry differs.
    """
    expected: Any = conv.matrix(in_shape)
    if affine_map.symbolic:
        off = np.array((affine_map.W - to_sympy(expected)).tolist(), object)
        wrong = ~vanishes(off, allowed)
        if not wrong.any():
            return
        rows, columns = np.nonzero(wrong)
        row, column = int(rows[0]), int(columns[0])
    else:
        off = scipy.sparse.coo_array(scipy.sparse.csr_array(affine_map.W) - expected)
        wrong = ~vanishes(off.data, allowed)
        if not wrong.any():
            return
        worst = int(np.argmax(np.abs(off.data)))
        rows, row, column = off.row[wrong], int(off.row[worst]), int(off.col[worst])
    c_out, *position = map(int, np.unravel_index(row, out_shape))
    c_in, *pixel = map(int, np.unravel_index(column, in_shape))
    positions = np.prod(out_shape[1:])
    found, wanted = affine_map.W[row, column], expected[row, column]
    raise ValueError(
        f"affine_map: expected a map that is one convolution, got one that differs from it at "
        f"{len(np.unique(rows % positions))} of {positions} output positions, most by {_shown(found - wanted)} at "
        f"output channel {c_out}, position {tuple(position)}: the weight of input channel {c_in}, position "
        f"{tuple(pixel)} is {_shown(found)}, where the convolution in the middle of the image, of stride "
        f"{conv.stride}, has {_shown(wanted)}"
    )


def _check_bias(bias: Any, conv: Conv, allowed: float) -> None:
    """Refuse a bias (C_out, *out) that is not the same at all positions of a channel.

    Raises
    ------
    ValueError
        If it is not.
    """
    axes = (1,) * (bias.ndim - 1)
    wanted = np.zeros(1, bias.dtype) if conv.bias is None else conv.bias.reshape(-1, *axes)
    off: Any = np.broadcast_to(bias - wanted, bias.shape)
    wrong = ~vanishes(off, allowed)
    if wrong.any():
        at = np.argmax(np.abs(off)) if off.dtype != object else np.argmax(wrong)
        channel, *position = map(int, np.unravel_index(at, bias.shape))
        raise ValueError(
            "affine_map: expected a map that is one convolution, whose bias is the same at all positions of a "
            f"channel, got one that differs by {_shown(off[channel, *position])} at output channel {channel}, "
            f"position {tuple(position)}"
        )


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, (float, np.floating)) else str(value)
