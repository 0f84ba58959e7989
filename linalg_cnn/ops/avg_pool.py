"""Average pooling: the affine stand-in for max pooling."""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from linalg_cnn.checks import check_int, check_per_axis, check_shape
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import NOTHING, AxisRule, identity_rule
from linalg_cnn.types import Shape


def avg_pool_rule(
    size: int, taps: int, stride: int, padding: int, ceil_mode: bool, count_include_pad: bool
) -> AxisRule:
    """Return which inputs each output position averages along one axis, and their weights.

    Window p starts at h = p stride - padding and ends before min(h + taps, size + padding). Its weight is one over
    its length, or over the number of inputs in it where the padding does not count. With ``ceil_mode`` a last
    window may hang over the end, but must start before size + padding.

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
    starts = np.arange(windows)[:, np.newaxis] * stride - padding
    q = starts + np.arange(taps)
    inside = (q >= 0) & (q < size)
    lengths = np.minimum(starts + taps, size + padding) - starts
    counts = lengths if count_include_pad else np.maximum(inside.sum(axis=1, keepdims=True), 1)
    shares = np.array([[Fraction(1, count)] * taps for count in counts[:, 0].tolist()], dtype=object)
    return AxisRule(size, np.where(inside, q, NOTHING), shares)


@dataclass(frozen=True)
class AvgPool(Separable):
    """Average pooling of the spatial axes. See `avg_pool_matrix`.

    Parameters
    ----------
    kernel_size : int or one int per spatial axis
    stride : int or one int per spatial axis, optional
        As the kernel if not given.
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
            value = getattr(self, name)
            axes = len(value) if isinstance(value, (tuple, list, np.ndarray)) else 1
            check_per_axis(name, value, axes, minimum)
        if self.divisor_override is not None:
            check_int("divisor_override", self.divisor_override, 1)

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the averaging rule of each spatial axis; the channels are left alone.

        Raises
        ------
        ValueError
            If the options do not fit the input.
        """
        channels, *sizes = check_shape("in_shape", in_shape)
        if not sizes:
            raise ValueError(f"in_shape: expected (channels, *spatial) with a spatial axis, got {tuple(in_shape)}")
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
            sums = [AxisRule(rule.in_size, rule.sources) for rule in rules]
            shares = np.full(sums[0].sources.shape, Fraction(1, self.divisor_override))
            rules = [AxisRule(sums[0].in_size, sums[0].sources, shares), *sums[1:]]
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
) -> Any:
    r"""Return the matrix of average pooling.

    The entry in the row of (c, p) and the column of (c, q) is one over the window's size where window p holds pixel
    q. For a 1-D image of four pixels and windows of two::

        [1/2 1/2  0   0 ]
        [ 0   0  1/2 1/2]

    Parameters
    ----------
    in_shape : tuple of int
        (channels, *spatial).
    kernel_size : int or one int per spatial axis
    stride : int or one int per spatial axis, optional
        As the kernel if not given.
    padding : int or one int per spatial axis
        Zeros on both sides, at most half of the kernel.
    ceil_mode : bool
        Whether a last window may hang over the end.
    count_include_pad : bool
        Whether the padded zeros count in the divisor.
    divisor_override : int, optional
        Divide by this instead.

    Returns
    -------
    csr_array, float64, shape (out_size, in_size)
        Acts on C-order ravels of (channels, *spatial).

    Raises
    ------
    ValueError
        If an argument is malformed or does not fit the input.

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
    return pool.matrix(in_shape)
