"""Resampling to a given size: the paper's matrix R, equations (6) and (7)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.checks import check_choice, check_per_axis, check_shape
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import AxisRule, identity_rule
from linalg_cnn.types import Shape

RESAMPLE_MODES = ("nearest", "nearest-exact")


def nearest_rule(in_size: int, out_size: int, mode: str = "nearest") -> AxisRule:
    """Return which input each output position shows, with PyTorch's float32 index arithmetic.

    With s = float32(in_size) / float32(out_size), output d shows input min(floor(float32(d s)), in_size - 1), or
    floor(float32((d + 1/2) s)) in mode ``nearest-exact``. The rounding to float32 is part of the rule: the integer
    formula d * in_size // out_size first differs for 26 -> 22. Equal sizes and doubling are exact.
    """
    step = np.float32(in_size) / np.float32(out_size)
    d = np.arange(out_size)
    if mode == "nearest-exact":
        sources = np.floor((d.astype(np.float32) + np.float32(0.5)) * step).astype(np.int64)
    elif out_size == in_size:
        sources = d
    elif out_size == 2 * in_size:
        sources = d // 2
    else:
        sources = np.floor(d.astype(np.float32) * step).astype(np.int64)
    return AxisRule(in_size, np.minimum(sources, in_size - 1)[:, np.newaxis])


@dataclass(frozen=True)
class Resample(Separable):
    """Resampling of the spatial axes to ``size``, a layer of its own. See `resample_matrix`.

    Parameters
    ----------
    size : int or one int per spatial axis
    mode : {"nearest", "nearest-exact"}

    Raises
    ------
    ValueError
        If a size is not a positive int, or the mode is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> Resample(4)(np.array([[[1.0, 2.0]]]))
    array([[[1., 1., 2., 2.]]])
    """

    size: Any
    mode: str = "nearest"

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, RESAMPLE_MODES)
        axes = len(self.size) if isinstance(self.size, (tuple, list, np.ndarray)) else 1
        sizes = check_per_axis("size", self.size, axes, 1)
        object.__setattr__(self, "size", sizes if isinstance(self.size, (tuple, list, np.ndarray)) else sizes[0])

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the resampling rule of each spatial axis; the channels are left alone."""
        channels, *sizes = check_shape("in_shape", in_shape)
        targets = check_per_axis("size", self.size, len(sizes), 1)
        return [
            identity_rule(channels),
            *(nearest_rule(n, o, self.mode) for n, o in zip(sizes, targets, strict=True)),
        ]


@dataclass(frozen=True)
class ResampleTo(Separable):
    """Resampling of every axis, channels too, to ``shape``: the paper's R^(k,j), which fits a skip to its goal.

    Parameters
    ----------
    shape : tuple of int
        What comes out, (channels, *spatial).
    mode : {"nearest", "nearest-exact"}

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
        check_choice("mode", self.mode, RESAMPLE_MODES)
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


def resample_matrix(in_shape: Shape, size: Any, mode: str = "nearest") -> Any:
    r"""Return the matrix that resamples images to ``size``.

    The row of output position d and channel c has one entry: a 1 in the column of the pixel (c, source(d)) that it
    shows. For a 1-D image (a, b) brought to three pixels, in mode ``nearest`` and ``nearest-exact``::

        [1 0]  [a]     [a]          [1 0]  [a]     [a]
        [1 0]  [b]  =  [a]          [0 1]  [b]  =  [b]
        [0 1]          [b]          [0 1]          [b]

    The paper's equation (6) has the second, although the first is PyTorch's default (see the errata).

    Parameters
    ----------
    in_shape : tuple of int
        (channels, *spatial).
    size : int or one int per spatial axis
        The spatial size that comes out.
    mode : {"nearest", "nearest-exact"}
        As in ``torch.nn.functional.interpolate(..., size=size)``, in float32 index arithmetic.

    Returns
    -------
    csr_array, float64, shape (out_size, in_size)
        Acts on C-order ravels of (channels, *spatial).

    Raises
    ------
    ValueError
        If an argument is malformed.

    Notes
    -----
    Source: the paper's equations (6) and (7); ``torch.nn.functional.interpolate``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> R = resample_matrix((1, 5, 7), (8, 4))
    >>> x = np.arange(35, dtype=np.float32).reshape(1, 1, 5, 7)
    >>> theirs = torch.nn.functional.interpolate(torch.from_numpy(x), size=(8, 4), mode="nearest")
    >>> np.array_equal(R @ x.ravel(), theirs.numpy().ravel())
    True
    """
    return Resample(size, mode).matrix(in_shape)
