"""Average pooling, which replaces max pooling in an affine network."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from linalg_cnn.checks import check_bool, check_image, check_int, check_per_axis, check_sizes
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import NOTHING, AxisRule, check_table, identity_rule
from linalg_cnn.types import IntArray, Shape, index_dtype


def avg_pool_rule(
    size: int, taps: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool
) -> AxisRule:
    """Return which inputs each output position averages along one axis, and their weights.

    Window p starts at h = p stride - padding and ends before min(h + taps, size + padding). Each input in it has the
    weight one over the window's length, or one over its number of inputs if the padding does not count. With
    ``ceil_mode`` the last window may extend over the end, but must start before size + padding.

    Raises
    ------
    ValueError
        If the window is larger than the padded input.
    """
    if taps > size + 2 * padding:
        raise ValueError(
            f"kernel_size: expected at most {size + 2 * padding} on an axis of {size} padded by {padding}, got {taps}"
        )
    overhang = stride - 1 if ceil_mode else 0
    windows = (size + 2 * padding - taps + overhang) // stride + 1
    if ceil_mode and (windows - 1) * stride >= size + padding:
        windows -= 1
    check_table(windows, taps)
    index = index_dtype(windows * stride + taps + padding)
    starts = np.arange(windows, dtype=index)[:, np.newaxis] * index(min(stride, size + 2 * padding)) - index(padding)
    q = starts + np.arange(taps, dtype=index)
    inside = (q >= 0) & (q < size)
    lengths = np.minimum(starts + taps, size + padding) - starts
    counts = lengths if count_include_pad else inside.sum(axis=1, keepdims=True)
    return mean_rule(size, np.where(inside, q, NOTHING), counts)


def mean_rule(size: int, sources: IntArray, counts: IntArray) -> AxisRule:
    """Return the rule that divides by ``counts``, which broadcast to the sources."""
    ones = np.broadcast_to(np.array(1, np.int32), sources.shape)  # a view, which takes no memory
    return AxisRule(size, sources, ones, np.broadcast_to(counts, sources.shape))


def adaptive_avg_pool_rule(size: int, out_size: int) -> AxisRule:
    """Return which inputs each output position averages, and their weights.

    With s = size / out_size, output d averages the inputs from floor(d s) to before ceil((d + 1) s).
    """
    check_table(out_size, 1)
    d = np.arange(out_size)
    starts, ends = d * size // out_size, -(-(d + 1) * size // out_size)
    counts = ends - starts
    check_table(out_size, int(counts.max()))
    index = index_dtype(2 * size)
    q = starts[:, np.newaxis].astype(index) + np.arange(counts.max(), dtype=index)
    return mean_rule(size, np.where(q < ends[:, np.newaxis], q, NOTHING), counts[:, np.newaxis])


@dataclass(frozen=True)
class AvgPool(Separable):
    """Average pooling of the spatial axes. See `avg_pool_matrix`.

    Parameters
    ----------
    kernel_size : int or one int per spatial axis
    stride : int or one int per spatial axis, optional
        Equal to ``kernel_size`` if not given.
    padding : int or one int per spatial axis
    ceil_mode, count_include_pad : bool
    divisor_override : int, optional

    Raises
    ------
    ValueError
        If an argument is malformed.

    Examples
    --------
    >>> import numpy as np
    >>> AvgPool(2)(np.array([[[1.0, 3.0, 5.0, 7.0]]]))
    array([[[2., 6.]]])
    """

    kernel_size: Any
    stride: Any = field(default=None, kw_only=True)
    padding: Any = field(default=0, kw_only=True)
    ceil_mode: bool = field(default=False, kw_only=True)
    count_include_pad: bool = field(default=True, kw_only=True)
    divisor_override: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        for name, minimum in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            object.__setattr__(self, name, check_sizes(name, getattr(self, name), minimum))
        check_bool("ceil_mode", self.ceil_mode)
        check_bool("count_include_pad", self.count_include_pad)
        if self.divisor_override is not None:
            check_int("divisor_override", self.divisor_override, 1)

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the averaging rule of each spatial axis; the channels are unchanged.

        Raises
        ------
        ValueError
            If the options do not fit the input.
        """
        channels, sizes = check_image("in_shape", in_shape)
        kernel_size = check_per_axis("kernel_size", self.kernel_size, len(sizes), 1)
        stride = check_per_axis("stride", self.stride, len(sizes), 1)
        padding = check_per_axis("padding", self.padding, len(sizes), 0)
        for width, taps in zip(padding, kernel_size, strict=True):
            if 2 * width > taps:
                raise ValueError(f"padding: expected at most half of the kernel size {taps}, got {width}")
        rules = [
            avg_pool_rule(*per_axis, self.ceil_mode, self.count_include_pad)
            for per_axis in zip(sizes, kernel_size, stride, padding, strict=True)
        ]
        if self.divisor_override is not None:
            divisors = [self.divisor_override] + [1] * (len(rules) - 1)
            rules = [
                mean_rule(rule.in_size, rule.sources, np.array(divisor))
                for rule, divisor in zip(rules, divisors, strict=True)
            ]
        return [identity_rule(channels), *rules]


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
) -> Any:
    r"""Return the matrix of average pooling.

    The entry in the row of (c, p) and the column of (c, q) is one over the size of window p if it contains
    pixel q. For a 1-D image of four pixels and windows of two::

        [1/2 1/2  0   0 ]
        [ 0   0  1/2 1/2]

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).
    kernel_size : int or one int per spatial axis
    stride : int or one int per spatial axis, optional
        Equal to ``kernel_size`` if not given.
    padding : int or one int per spatial axis
        Number of zeros on both sides, at most half of the kernel size.
    ceil_mode : bool
        Whether the last window may extend over the end. A window must fit into the padded image in either case; torch
        accepts a larger one in one and two dimensions.
    count_include_pad : bool
        Whether the divisor counts the padded zeros.
    divisor_override : int, optional
        Divisor of every window, in place of its size.
    max_bytes : int, optional
        Limit on the size of the matrix in bytes; half of the machine's memory if not given.

    Returns
    -------
    csr_array, float64, shape (out_size, in_size)
        Matrix that acts on C-order ravels of (channels, *spatial).

    Raises
    ------
    ValueError
        If an argument is malformed or does not fit the input.
    MemoryError
        If the matrix would take more than ``max_bytes``.

    Notes
    -----
    Source: ``torch.nn.functional.avg_pool1d``, ``avg_pool2d``, ``avg_pool3d``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> A = avg_pool_matrix((1, 5, 6), 2, padding=1, ceil_mode=True)
    >>> x = np.arange(30.0).reshape(1, 5, 6)
    >>> theirs = torch.nn.functional.avg_pool2d(torch.from_numpy(x), 2, padding=1, ceil_mode=True)
    >>> np.allclose(A @ x.ravel(), theirs.numpy().ravel())
    True
    """
    pool = AvgPool(
        kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )
    return pool.matrix(in_shape, max_bytes)


@dataclass(frozen=True)
class AdaptiveAvgPool(Separable):
    """Average pooling to a given size of the spatial axes. See `adaptive_avg_pool_matrix`.

    Parameters
    ----------
    size : int or one int per spatial axis

    Raises
    ------
    ValueError
        If a size is not a positive int.

    Examples
    --------
    >>> import numpy as np
    >>> AdaptiveAvgPool(1)(np.array([[[1.0, 3.0, 8.0]]]))
    array([[[4.]]])
    """

    size: Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", check_sizes("size", self.size))

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the averaging rule of each spatial axis; the channels are unchanged."""
        channels, sizes = check_image("in_shape", in_shape)
        targets = check_per_axis("size", self.size, len(sizes), 1)
        return [
            identity_rule(channels),
            *(adaptive_avg_pool_rule(n, o) for n, o in zip(sizes, targets, strict=True)),
        ]


def adaptive_avg_pool_matrix(in_shape: Shape, size: Any, *, max_bytes: int | None = None) -> Any:
    r"""Return the matrix of average pooling to a given size.

    The entry in the row of (c, d) and the column of (c, q) is one over the size of window d if it contains pixel q. The
    window reaches from floor(d n / o) to before ceil((d + 1) n / o) along each axis; windows may overlap. For a 1-D
    image of three pixels and size 2::

        [1/2 1/2  0 ]
        [ 0  1/2 1/2]

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).
    size : int or one int per spatial axis
        Spatial size of the output.
    max_bytes : int, optional
        Limit on the size of the matrix in bytes; half of the machine's memory if not given.

    Returns
    -------
    csr_array, float64, shape (out_size, in_size)
        Matrix that acts on C-order ravels of (channels, *spatial).

    Raises
    ------
    ValueError
        If an argument is malformed.
    MemoryError
        If the matrix would take more than ``max_bytes``.

    Notes
    -----
    Source: ``torch.nn.functional.adaptive_avg_pool1d``, ``adaptive_avg_pool2d``, ``adaptive_avg_pool3d``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> A = adaptive_avg_pool_matrix((1, 5, 7), (2, 3))
    >>> x = np.arange(35.0).reshape(1, 5, 7)
    >>> theirs = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), (2, 3))
    >>> np.allclose(A @ x.ravel(), theirs.numpy().ravel())
    True
    """
    return AdaptiveAvgPool(size).matrix(in_shape, max_bytes)
