"""Resampling to a given size: the paper's matrix R, equations (6) and (7)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.checks import check_bool, check_choice, check_image, check_per_axis, check_shape, check_sizes
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import NOTHING, AxisRule, check_table, identity_rule
from linalg_cnn.types import Shape, index_dtype

NEAREST_MODES = ("nearest", "nearest-exact", "pillow", "scikit-image")
RESAMPLE_MODES = (*NEAREST_MODES, "linear")


def nearest_rule(in_size: int, out_size: int, mode: str = "nearest") -> AxisRule:
    """Return which input each output position reads, in the floating-point arithmetic of the library of the mode.

    With s = in_size / out_size, output d reads input

    - ``nearest``: floor(d s) in float32, as in PyTorch, and exactly for equal and doubled sizes;
    - ``nearest-exact``: floor((d + 1/2) s) in float32, as in PyTorch;
    - ``pillow``: floor(s / 2 + s + ... + s) with d terms s, added in float64, as in Pillow's NEAREST;
    - ``scikit-image``: floor(((d + 1/2) s - 1/2) + 1/2) in float64, as in its resize of order 0;

    and at most in_size - 1. The rounding is part of the rules: the integer formula d * in_size // out_size first
    differs from ``nearest`` for 26 -> 22, and at exact ties the half-pixel rules differ from each other.
    """
    check_table(out_size, 1)
    d = np.arange(out_size)
    if mode == "pillow":
        step = in_size / out_size
        sources = np.cumsum(np.concatenate([[step * 0.5], np.full(out_size - 1, step)]))
    elif mode == "scikit-image":
        sources = ((d + 0.5) * (in_size / out_size) - 0.5) + 0.5
    else:
        step32 = np.float32(in_size) / np.float32(out_size)
        shift = np.float32(0.5 if mode == "nearest-exact" else 0)
        sources = (d.astype(np.float32) + shift) * step32
        if mode == "nearest" and out_size in (in_size, 2 * in_size):
            sources = d * in_size // out_size
    floors = np.minimum(np.floor(sources), in_size - 1).astype(index_dtype(in_size))
    return AxisRule(in_size, floors[:, np.newaxis])


def linear_rule(in_size: int, out_size: int, align_corners: bool = False) -> AxisRule:
    """Return which two inputs each output position interpolates, and their exact weights.

    Output d has position r = max((d + 1/2) in_size / out_size - 1/2, 0) in the input, or
    r = d (in_size - 1) / (out_size - 1) if the corners are aligned. With a = floor(r), its value is
    (1 - (r - a)) x[a] + (r - a) x[a + 1], or x[a] alone if r = a or a is the last input.
    """
    check_table(out_size, 6)
    d = np.arange(out_size)
    if align_corners:
        numerator, denominator = d * (in_size - 1), max(out_size - 1, 1)
    else:
        numerator, denominator = np.maximum((2 * d + 1) * in_size - out_size, 0), 2 * out_size
    a, rest = np.divmod(numerator, denominator)
    a = np.minimum(a, in_size - 1)
    rest[a == in_size - 1] = 0
    index = index_dtype(in_size, denominator)
    return AxisRule(
        in_size,
        sources=np.stack([a, np.where(rest > 0, a + 1, NOTHING)], axis=1).astype(index),
        numerators=np.stack([denominator - rest, rest], axis=1).astype(index),
        denominators=np.broadcast_to(np.array(denominator, index), (out_size, 2)),
    )


@dataclass(frozen=True)
class Resample(Separable):
    """Resampling of the spatial axes to ``size``, as a layer. `resample_matrix` describes A.

    Parameters
    ----------
    size : int or one int per spatial axis
    mode : {"nearest", "nearest-exact", "pillow", "scikit-image", "linear"}
    align_corners : bool
        Whether the first and the last pixels keep their positions; for mode ``linear``.

    Raises
    ------
    ValueError
        If a size is not a positive int, the mode is unknown, or corners are to be aligned in another mode.

    Examples
    --------
    >>> import numpy as np
    >>> Resample(4)(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    >>> Resample(4, "linear")(np.array([[[1.0, 2.0]]]))
    array([[[1.  , 1.25, 1.75, 2.  ]]])
    """

    size: Any
    mode: str = "nearest"
    align_corners: bool = False

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, RESAMPLE_MODES)
        check_bool("align_corners", self.align_corners)
        if self.align_corners and self.mode != "linear":
            raise ValueError(f"align_corners: expected False in mode {self.mode!r}, got {self.align_corners!r}")
        object.__setattr__(self, "size", check_sizes("size", self.size))

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the resampling rule of each spatial axis; the channels are unchanged."""
        channels, sizes = check_image("in_shape", in_shape)
        targets = check_per_axis("size", self.size, len(sizes), 1)
        return [
            identity_rule(channels),
            *(
                linear_rule(n, o, self.align_corners) if self.mode == "linear" else nearest_rule(n, o, self.mode)
                for n, o in zip(sizes, targets, strict=True)
            ),
        ]


@dataclass(frozen=True)
class ResampleTo(Separable):
    """Resampling of all axes, that of the channels included, to ``shape``: the paper's R^(k,j) of a skip connection.

    Parameters
    ----------
    shape : tuple of int
        Shape of the output, (channels, *spatial).
    mode : {"nearest", "nearest-exact", "pillow", "scikit-image"}

    Raises
    ------
    ValueError
        If the shape or the mode is malformed.

    Examples
    --------
    >>> import numpy as np
    >>> ResampleTo((2, 3))(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2.],
            [1., 1., 2.]]])
    """

    shape: Shape
    mode: str = "nearest"

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, NEAREST_MODES)
        object.__setattr__(self, "shape", check_shape("shape", self.shape))

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the resampling rule of each axis.

        Raises
        ------
        ValueError
            If the input has another number of axes.
        """
        if len(in_shape) != len(self.shape):
            raise ValueError(
                f"a skip can be resampled only between shapes of the same rank: expected {len(self.shape)} axes "
                f"to reach {self.shape}, got {in_shape}"
            )
        return [nearest_rule(n, o, self.mode) for n, o in zip(in_shape, self.shape, strict=True)]


def resample_matrix(
    in_shape: Shape, size: Any, mode: str = "nearest", align_corners: bool = False, *, max_bytes: int | None = None
) -> Any:
    r"""Return the matrix that resamples images to ``size``.

    In the nearest-neighbour modes, the row of output position d and channel c has a single 1, in the column of the
    pixel (c, source(d)) that it reads (`linalg_cnn.ops.resample.nearest_rule`). For a 1-D image (a, b) and three output
    pixels, in mode ``nearest`` and ``nearest-exact``::

        [1 0]  [a]     [a]          [1 0]  [a]     [a]
        [1 0]  [b]  =  [a]          [0 1]  [b]  =  [b]
        [0 1]          [b]          [0 1]          [b]

    The paper's equation (6) has the second matrix, although the first is PyTorch's default (see the errata). In mode
    ``linear`` an output interpolates two pixels along each axis (`linalg_cnn.ops.resample.linear_rule`). Without and
    with aligned corners::

        [ 1   0 ]            [ 1   0 ]
        [1/2 1/2]            [1/2 1/2]
        [ 0   1 ]            [ 0   1 ]

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).
    size : int or one int per spatial axis
        Spatial size of the output.
    mode : {"nearest", "nearest-exact", "linear", "pillow", "scikit-image"}
        Rule of the sources. The first three are those of ``torch.nn.functional.interpolate(..., size=size)``, where
        ``linear`` stands for linear, bilinear and trilinear. ``pillow`` is Pillow's NEAREST, and ``scikit-image``
        is its resize of order 0.
    align_corners : bool
        Whether the first and the last pixels keep their positions; for mode ``linear``.
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
    Source: the paper's equations (6) and (7); ``torch.nn.functional.interpolate``; ``PIL.Image.resize``;
    ``skimage.transform.resize``. At exact ties of ``nearest-exact``, builds of torch disagree with each other.

    Examples
    --------
    >>> import numpy as np, torch
    >>> R = resample_matrix((1, 5, 7), (8, 4))
    >>> x = np.arange(35, dtype=np.float32).reshape(1, 1, 5, 7)
    >>> theirs = torch.nn.functional.interpolate(torch.from_numpy(x), size=(8, 4), mode="nearest")
    >>> np.array_equal(R @ x.ravel(), theirs.numpy().ravel())
    True
    >>> R = resample_matrix((1, 5, 7), (8, 4), mode="linear")
    >>> theirs = torch.nn.functional.interpolate(torch.from_numpy(x), size=(8, 4), mode="bilinear")
    >>> np.allclose(R @ x.ravel(), theirs.numpy().ravel())
    True
    """
    return Resample(size, mode, align_corners).matrix(in_shape, max_bytes)
