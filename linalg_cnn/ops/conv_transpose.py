"""Transposed convolution: its matrix is the transpose of that of a convolution."""

from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np

from linalg_cnn.arrays import parameter_like
from linalg_cnn.checks import check_array, check_bias, check_int, check_per_axis, check_shape
from linalg_cnn.ops.taps import TapOperation, Windows, cropped, in_torch, tap_by_tap
from linalg_cnn.rules import NOTHING, AxisRule, check_table
from linalg_cnn.types import Array, Shape, index_dtype


def conv_transpose_rule(
    size: int, taps: int, stride: int, padding: int, output_padding: int, dilation: int
) -> AxisRule:
    """Return which input each output position reads with each tap; the rule's taps are numbered from the last one.

    Counted from the first one, tap t adds input i to output i stride - padding + t dilation. Output d therefore reads
    input (d + padding - t dilation) / stride with tap t if that is a position of the input, and nothing otherwise.

    Raises
    ------
    ValueError
        If the padding leaves no output position.
    """
    out_size = (size - 1) * stride - 2 * padding + dilation * (taps - 1) + output_padding + 1
    if out_size < 1:
        raise ValueError(
            f"padding: expected to leave at least one position, got {padding} on an axis of {size}, "
            f"which gives {out_size}"
        )
    # Tap t reads something only if t dilation = d + padding modulo the stride: every `period`-th tap, from `first`.
    common = gcd(stride, dilation)
    period = stride // common
    columns = -(-taps // period)
    check_table(out_size, columns)
    reach = np.arange(out_size)[:, np.newaxis] + padding
    first = reach // common * (pow(dilation // common, -1, period) if period > 1 else 0) % period
    tap = first + np.arange(columns)[::-1] * period  # with the last tap first, the inputs are read in their order
    sources = (reach - tap * dilation) // stride
    sources[(reach % common != 0) | (tap >= taps) | (sources < 0) | (sources >= size)] = NOTHING
    index = index_dtype(size, taps)
    return AxisRule(size, sources.astype(index), taps=(taps - 1 - tap).astype(index))


@dataclass(frozen=True, eq=False)
class ConvTranspose(TapOperation):
    """A transposed convolution. `conv_transpose_matrix` describes A.

    Parameters
    ----------
    kernel : array_like (C_in, C_out / groups, *k)
    bias : array_like (C_out,), optional
    stride, padding, output_padding, dilation : int or one int per spatial axis
    groups : int

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If an argument is malformed or the arguments do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> layer = ConvTranspose(np.array([[[1.0, 10.0]]]), stride=2)
    >>> layer(np.array([[[3.0, 4.0]]]))
    array([[[ 3., 30.,  4., 40.]]])
    """

    kernel: Any
    bias: Any = None
    stride: Any = field(default=1, kw_only=True)
    padding: Any = field(default=0, kw_only=True)
    output_padding: Any = field(default=0, kw_only=True)
    dilation: Any = field(default=1, kw_only=True)
    groups: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        kernel = check_array("kernel", self.kernel, copy=False)  # `tap_by_tap` copies it
        if kernel.ndim < 3:
            raise ValueError(
                f"kernel: expected (C_in, C_out / groups, *k) with one spatial axis or more, got {kernel.shape}"
            )
        axes = kernel.ndim - 2
        groups = check_int("groups", self.groups, 1)
        if kernel.shape[0] % groups:
            raise ValueError(f"groups: expected a divisor of the {kernel.shape[0]} input channels, got {groups}")
        bias = check_bias(self.bias, kernel.shape[1] * groups, "output channel")
        stride = check_per_axis("stride", self.stride, axes, 1)
        dilation = check_per_axis("dilation", self.dilation, axes, 1)
        output_padding = check_per_axis("output_padding", self.output_padding, axes, 0)
        for extra, step, spread in zip(output_padding, stride, dilation, strict=True):
            if extra >= max(step, spread):
                raise ValueError(
                    f"output_padding: expected less than the stride {step} or the dilation {spread}, got {extra}"
                )
        for name, value in (
            ("kernel", tap_by_tap(kernel)),
            ("bias", bias),
            ("stride", stride),
            ("padding", check_per_axis("padding", self.padding, axes, 0)),
            ("output_padding", output_padding),
            ("dilation", dilation),
            ("groups", groups),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Show the shapes and options, without the weights."""
        return (
            f"ConvTranspose(kernel {self.kernel.shape} {self.kernel.dtype}, bias={self.bias is not None}, "
            f"stride={self.stride}, padding={self.padding}, output_padding={self.output_padding}, "
            f"dilation={self.dilation}, groups={self.groups})"
        )

    @property
    def weights(self) -> Array:
        """Kernel as (C_out, C_in / groups, *k), with the last tap first."""
        c_in, per_group, *taps = self.kernel.shape
        grouped = self.kernel.reshape(self.groups, c_in // self.groups, per_group, *taps)
        swapped = grouped.swapaxes(1, 2).reshape(self.groups * per_group, c_in // self.groups, *taps)
        return np.flip(swapped, axis=tuple(range(2, self.kernel.ndim)))

    def convolve(self, x: Any) -> Any:
        """Return A x for a torch tensor by torch's own transposed convolution."""
        kernel, windows = self.live_kernel(tuple(x.shape[1:]))
        padding, output_padding = tuple(axis.padding for axis in windows), tuple(axis.rest for axis in windows)
        options = (None, self.stride, padding, output_padding, self.groups, self.dilation)
        return in_torch(x, len(windows), transposed=True)(x, parameter_like(kernel, x), *options)

    def convolve_back(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y for a torch tensor by torch's convolution; more windows than inputs fit a wide output padding."""
        kernel, windows = self.live_kernel(in_shape)
        options = (None, self.stride, tuple(axis.padding for axis in windows), self.dilation, self.groups)
        x = in_torch(y, len(windows), transposed=False)(y, parameter_like(kernel, y), *options)
        return cropped(x, (0,) * len(windows), in_shape[1:])

    def windows(self, in_shape: Shape) -> list[Windows]:
        """Return the windows of the convolution whose transpose this is, over the output: one for each input."""
        axes = zip(
            in_shape[1:],
            self.kernel.shape[2:],
            self.stride,
            self.padding,
            self.output_padding,
            self.dilation,
            strict=True,
        )
        return [
            Windows(size, (size - 1) * stride + dilation * (taps - 1) + 1 + rest - 2 * padding, padding, rest)
            for size, taps, stride, padding, rest, dilation in axes
        ]

    rule = staticmethod(conv_transpose_rule)

    def axes(self, in_shape: Shape) -> list[tuple[Any, ...]]:
        """Return the arguments of the rule for each spatial axis.

        Raises
        ------
        ValueError
            If the input's shape does not fit the kernel.
        """
        channels, *sizes = check_shape("in_shape", in_shape, axes=self.kernel.ndim - 2)
        if channels != self.kernel.shape[0]:
            raise ValueError(
                f"in_shape: expected {self.kernel.shape[0]} channels for a kernel of shape {self.kernel.shape}, "
                f"got {tuple(in_shape)}"
            )
        options = (self.kernel.shape[2:], self.stride, self.padding, self.output_padding, self.dilation)
        return list(zip(sizes, *options, strict=True))


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
) -> Any:
    r"""Return the matrix of a transposed convolution.

    The entry in the row of (c_out, d) and the column of (c_in, i) is kernel[c_in, c_out, t] where
    d = i stride - padding + t dilation along each axis. This is the transpose of `conv_matrix` with the same kernel and
    options. For a 1-D image of two pixels, the kernel (a, b) and strides 1 and 2::

        [a 0]        [a 0]
        [b a]        [b 0]
        [0 b]        [0 a]
                     [0 b]

    Parameters
    ----------
    kernel : array_like or sympy array, shape (C_in, C_out / groups, *k)
        Kernel, which torch calls the weight. Its zeros are stored in the matrix.
    in_shape : tuple of int
        Shape of the input, (C_in, *spatial).
    stride, dilation : int or one int per spatial axis
    padding : int or one int per spatial axis
        Number of positions that are removed on both sides of the output.
    output_padding : int or one int per spatial axis
        Number of further positions at the end, fewer than the stride or the dilation.
    groups : int
        Number of groups of channels; the outputs of a group read the inputs of that group only.
    max_bytes : int, optional
        Limit on the size of the matrix in bytes; half of the machine's memory if not given.

    Returns
    -------
    csr_array of shape (out_size, in_size), or sympy.Matrix for a sympy kernel
        Matrix that acts on C-order ravels of (channels, *spatial). float32 and float64 are kept, and integers become
        float64.

    Raises
    ------
    TypeError
        If the kernel has another dtype.
    ValueError
        If an argument is malformed, no output position is left, or an entry is not finite.
    MemoryError
        If the matrix would take more than ``max_bytes``.

    Notes
    -----
    Source: ``torch.nn.functional.conv_transpose1d``, ``conv_transpose2d``, ``conv_transpose3d``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> rng = np.random.default_rng(0)
    >>> kernel, x = rng.standard_normal((3, 4, 2, 2)), rng.standard_normal((3, 5, 4))
    >>> A = conv_transpose_matrix(kernel, (3, 5, 4), stride=2, output_padding=1)
    >>> theirs = torch.nn.functional.conv_transpose2d(
    ...     torch.from_numpy(x), torch.from_numpy(kernel), stride=2, output_padding=1
    ... )
    >>> np.allclose(A @ x.ravel(), theirs.numpy().ravel())
    True
    """
    layer = ConvTranspose(
        kernel, stride=stride, padding=padding, output_padding=output_padding, dilation=dilation, groups=groups
    )
    return layer.matrix(in_shape, max_bytes)
