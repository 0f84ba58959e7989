"""Convolution: the paper's matrix W^(i) of a convolutional layer, with its padding P^(i) built in."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from linalg_cnn.arrays import computed_once, library, parameter_like
from linalg_cnn.checks import check_array, check_bias, check_choice, check_int, check_per_axis, check_shape
from linalg_cnn.ops.pad import PADDING_MODES, Pad, Pairs, pad_rule
from linalg_cnn.ops.taps import TapOperation, Windows, cropped, in_torch, tap_by_tap
from linalg_cnn.rules import AxisRule, check_table
from linalg_cnn.types import Array, Shape


def conv_rule(
    size: int, taps: int, stride: int, before: int, after: int, dilation: int, mode: str = "zeros"
) -> AxisRule:
    """Return which input each output position reads with each tap: windows over the padded axis.

    With tap t, output p reads the padded position p stride + t dilation. Inside the input, this is its position
    p stride - before + t dilation; in the border, it is what `linalg_cnn.ops.pad.pad_rule` says.

    Raises
    ------
    ValueError
        If the kernel is larger than the padded input, or the padding does not fit its mode.
    """
    shown = pad_rule(size, before, after, mode).sources[:, 0]
    reach = dilation * (taps - 1) + 1
    if reach > len(shown):
        raise ValueError(
            f"kernel: expected at most {len(shown)} positions on an axis of {size} padded by {(before, after)}, "
            f"got {reach} ({taps} taps, dilation {dilation})"
        )
    p = np.arange((len(shown) - reach) // stride + 1, dtype=shown.dtype)[:, np.newaxis]
    check_table((len(shown) - reach) // stride + 1, taps)
    # A step longer than the axis is never taken, but would overflow the index dtype.
    stride, dilation = min(stride, len(shown)), min(dilation, len(shown))
    windows = p * shown.dtype.type(stride) + np.arange(taps, dtype=shown.dtype) * shown.dtype.type(dilation)
    return AxisRule(size, shown[windows])


@dataclass(frozen=True, eq=False)
class Conv(TapOperation):
    """A convolutional layer (cross-correlation, as everywhere in this library). `conv_matrix` describes A.

    Parameters
    ----------
    kernel : array_like (C_out, C_in / groups, *k)
    bias : array_like (C_out,), optional
    stride, dilation : int or one int per spatial axis
    padding : int, one int per spatial axis, "same" or "valid"
    groups : int
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If an argument is malformed or the arguments do not fit each other.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Conv(np.array([[[1.0, -1.0]]]), bias=[10.0])
    >>> layer(np.array([[[1.0, 4.0, 9.0]]]))
    array([[[7., 5.]]])
    """

    kernel: Any
    bias: Any = None
    stride: Any = field(default=1, kw_only=True)
    padding: Any = field(default=0, kw_only=True)
    dilation: Any = field(default=1, kw_only=True)
    groups: int = field(default=1, kw_only=True)
    padding_mode: str = field(default="zeros", kw_only=True)

    def __post_init__(self) -> None:
        kernel = check_array("kernel", self.kernel, copy=False)  # `tap_by_tap` copies it
        if kernel.ndim < 3:
            raise ValueError(
                f"kernel: expected (C_out, C_in / groups, *k) with one spatial axis or more, got {kernel.shape}"
            )
        axes = kernel.ndim - 2
        groups = check_int("groups", self.groups, 1)
        if kernel.shape[0] % groups:
            raise ValueError(f"groups: expected a divisor of the {kernel.shape[0]} output channels, got {groups}")
        bias = check_bias(self.bias, kernel.shape[0], "output channel")
        stride = check_per_axis("stride", self.stride, axes, 1)
        if isinstance(self.padding, str):
            padding: Any = check_choice("padding", self.padding, ("same", "valid"))
            if padding == "same" and stride != (1,) * axes:
                raise ValueError(f'stride: expected 1 with padding="same", got {stride}')
        else:
            padding = check_per_axis("padding", self.padding, axes, 0)
        for name, value in (
            ("kernel", tap_by_tap(kernel)),
            ("bias", bias),
            ("stride", stride),
            ("padding", padding),
            ("dilation", check_per_axis("dilation", self.dilation, axes, 1)),
            ("groups", groups),
            ("padding_mode", check_choice("padding_mode", self.padding_mode, PADDING_MODES)),
        ):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Show the shapes and options, without the weights."""
        return (
            f"Conv(kernel {self.kernel.shape} {self.kernel.dtype}, bias={self.bias is not None}, "
            f"stride={self.stride}, padding={self.padding!r}, dilation={self.dilation}, groups={self.groups}, "
            f"padding_mode={self.padding_mode!r})"
        )

    @property
    def padding_pairs(self) -> Pairs:
        """Padding as one (before, after) pair per spatial axis; for "same", an odd zero goes after."""
        taps = self.kernel.shape[2:]
        if self.padding == "valid":
            return ((0, 0),) * len(taps)
        if self.padding == "same":
            totals = [step * (k - 1) for k, step in zip(taps, self.dilation, strict=True)]
            return tuple((total // 2, total - total // 2) for total in totals)
        return tuple((width, width) for width in self.padding)

    rule = staticmethod(conv_rule)

    def axes(self, in_shape: Shape) -> list[tuple[Any, ...]]:
        """Return the arguments of the rule for each spatial axis.

        Raises
        ------
        ValueError
            If the input's shape does not fit the kernel.
        """
        channels, *sizes = check_shape("in_shape", in_shape, axes=self.kernel.ndim - 2)
        expected = self.kernel.shape[1] * self.groups
        if channels != expected:
            raise ValueError(
                f"in_shape: expected {expected} channels for a kernel of shape {self.kernel.shape} "
                f"with groups={self.groups}, got {tuple(in_shape)}"
            )
        return [
            (size, taps, stride, *pair, dilation, self.padding_mode)
            for size, taps, stride, pair, dilation in zip(
                sizes, self.kernel.shape[2:], self.stride, self.padding_pairs, self.dilation, strict=True
            )
        ]

    @property
    def weights(self) -> Array:
        """Kernel."""
        kernel: Array = self.kernel
        return kernel

    def push(self, x: Any) -> Any:
        """Return A x; a padding mode that copies pixels is applied as an operation before the convolution."""
        if self.padding_mode == "zeros":
            return super().push(x)
        pad, conv = computed_once(self, "pad then conv", self._pad_then_conv)
        return conv.push(pad.push(x))

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y; a padding mode that copies pixels is transposed as an operation after the convolution."""
        if self.padding_mode == "zeros":
            return super().pull(y, in_shape)
        pad, conv = computed_once(self, "pad then conv", self._pad_then_conv)
        return pad.pull(conv.pull(y, pad.out_shape(in_shape)), in_shape)

    def convolve(self, x: Any) -> Any:
        """Return A x for a torch tensor by torch's own convolution; an odd zero of "same" is padded first."""
        kernel, windows = self.live_kernel(tuple(x.shape[1:]))
        if any(axis.rest < 0 for axis in windows):
            missing = [max(0, -axis.rest) for axis in reversed(windows)]
            x = library(x).nn.functional.pad(x, [width for after in missing for width in (0, after)])
        options = (None, self.stride, tuple(axis.padding for axis in windows), self.dilation, self.groups)
        return in_torch(x, len(windows), transposed=False)(x, parameter_like(kernel, x), *options)

    def convolve_back(self, y: Any, in_shape: Shape) -> Any:
        """Return A' y for a torch tensor by torch's transposed convolution, which pads what no window has reached."""
        kernel, windows = self.live_kernel(in_shape)
        padding, unread = tuple(axis.padding for axis in windows), tuple(max(0, axis.rest) for axis in windows)
        options = (None, self.stride, padding, unread, self.groups, self.dilation)
        x = in_torch(y, len(windows), transposed=True)(y, parameter_like(kernel, y), *options)
        return cropped(x, (0,) * len(windows), in_shape[1:])

    def windows(self, in_shape: Shape) -> list[Windows]:
        """Return the windows along each axis, with the zeros before it on both sides: an odd zero of "same" is missing.

        Padding that copies pixels is no part of it: `push` and `pull` apply it beside the convolution.
        """
        axes = zip(in_shape[1:], self.kernel.shape[2:], self.stride, self.dilation, self.padding_pairs, strict=True)
        windows = []
        for size, taps, stride, dilation, (before, after) in axes:
            steps, rest = divmod(size + before + after - dilation * (taps - 1) - 1, stride)
            windows.append(Windows(steps + 1, size, before, rest + before - after))
        return windows

    def _pad_then_conv(self) -> tuple[Pad, "Conv"]:
        """Return the padding as an operation, and the convolution without padding that follows it."""
        return (
            Pad(self.padding_pairs, self.padding_mode),
            replace(self, bias=None, padding=0, padding_mode="zeros"),
        )


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
) -> Any:
    r"""Return the matrix of a convolution (cross-correlation, as in torch and in the paper).

    The entry in the row of (c_out, p) and the column of (c_in, q) is kernel[c_out, c_in, t] where tap t of output p
    reads pixel q, which is q = p stride - padding + t dilation along each axis. A tap on a padded zero has no entry.
    For a 1-D image (x, y, z), the kernel (a, b) and stride 1, with no padding and with one zero on each side::

        [a b 0]  [x]     [ax + by]          [b 0 0]           [bx]
        [0 a b]  [y]  =  [ay + bz]          [a b 0]  [x]      [ax + by]
                 [z]                        [0 a b]  [y]  =   [ay + bz]
                                            [0 0 a]  [z]      [az]

    For one pair of channels and stride 1, the matrix is a (doubly block) Toeplitz matrix. A larger stride drops rows of
    it, and several channels make a block matrix of such blocks.

    Parameters
    ----------
    kernel : array_like or sympy array, shape (C_out, C_in / groups, *k)
        Kernel, which torch calls the weight. Its zeros are stored in the matrix.
    in_shape : tuple of int
        Shape of the input, (C_in, *spatial).
    stride, dilation : int or one int per spatial axis
    padding : int, one int per spatial axis, "same" or "valid"
        Number of zeros on both sides. "same" keeps the size, and puts an odd zero last.
    groups : int
        Number of groups of channels; the outputs of a group read the inputs of that group only.
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}
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
        If an argument is malformed, the kernel is larger than the padded input, or an entry is not finite.
    MemoryError
        If the matrix would take more than ``max_bytes``.

    Notes
    -----
    Source: the paper's section 2; ``torch.nn.functional.conv1d``, ``conv2d``, ``conv3d``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> rng = np.random.default_rng(0)
    >>> kernel, x = rng.standard_normal((4, 3, 2, 2)), rng.standard_normal((3, 6, 5))
    >>> A = conv_matrix(kernel, (3, 6, 5), stride=(2, 1), padding=1)
    >>> theirs = torch.nn.functional.conv2d(
    ...     torch.from_numpy(x), torch.from_numpy(kernel), stride=(2, 1), padding=1
    ... )
    >>> np.allclose(A @ x.ravel(), theirs.numpy().ravel())
    True

    With letters for entries:

    >>> import sympy
    >>> a, b = sympy.symbols("a b")
    >>> conv_matrix([[[a, b]]], (1, 3))
    Matrix([
    [a, b, 0],
    [0, a, b]])
    """
    layer = Conv(kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode)
    return layer.matrix(in_shape, max_bytes)
