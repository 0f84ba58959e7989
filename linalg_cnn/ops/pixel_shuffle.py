"""Pixel shuffle and its inverse, which move channels into pixels and back."""

from dataclasses import dataclass
from typing import Any

from linalg_cnn.checks import check_int
from linalg_cnn.ops.rearrange import Rearrangement
from linalg_cnn.types import Array


@dataclass(frozen=True)
class PixelShuffle(Rearrangement):
    """Rearrangement of channels into pixels: (C r^n, *spatial) to (C, *(r spatial)) for n spatial axes.

    Output (c, p) reads channel c r^n + (p mod r, as a number in base r) at position floor(p / r).

    Parameters
    ----------
    factor : int
        Number r; torch calls it ``upscale_factor``.

    Raises
    ------
    ValueError
        If ``factor`` is not a positive int.

    Notes
    -----
    Source: ``torch.nn.PixelShuffle``, which has n = 2.

    Examples
    --------
    >>> import numpy as np
    >>> PixelShuffle(2)(np.arange(4.0).reshape(1, 4, 1, 1))
    array([[[[0., 1.],
             [2., 3.]]]])
    >>> PixelShuffle(2).matrix((2, 2)).toarray().astype(int)
    array([[1, 0, 0, 0],
           [0, 0, 1, 0],
           [0, 1, 0, 0],
           [0, 0, 0, 1]])
    >>> import torch
    >>> x = torch.arange(48.0).reshape(1, 8, 2, 3)
    >>> np.array_equal(PixelShuffle(2)(x), torch.nn.functional.pixel_shuffle(x, 2))
    True
    """

    factor: Any

    def __post_init__(self) -> None:
        check_int("factor", self.factor, 1)

    def move(self, x: Array) -> Array:
        """Return the batch with channels spread over pixels.

        Raises
        ------
        ValueError
            If the channels are not a multiple of r^n.
        """
        n, channels, *sizes = x.shape
        axes, r = len(sizes), self.factor
        if channels % r**axes:
            raise ValueError(
                f"in_shape: expected a multiple of {r**axes} channels for factor {r}, got {tuple(x.shape[1:])}"
            )
        split = x.reshape(n, channels // r**axes, *(r,) * axes, *sizes)
        order = [0, 1]
        for axis in range(axes):
            order += [2 + axes + axis, 2 + axis]
        return split.transpose(order).reshape(n, channels // r**axes, *(r * size for size in sizes))


@dataclass(frozen=True)
class PixelUnshuffle(Rearrangement):
    """Rearrangement of pixels into channels: (C, *(r spatial)) to (C r^n, *spatial), the inverse of `PixelShuffle`.

    Parameters
    ----------
    factor : int
        Number r; torch calls it ``downscale_factor``.

    Raises
    ------
    ValueError
        If ``factor`` is not a positive int.

    Notes
    -----
    Source: ``torch.nn.PixelUnshuffle``, which has n = 2.

    Examples
    --------
    >>> PixelUnshuffle(2).matrix((1, 4)).toarray().astype(int)
    array([[1, 0, 0, 0],
           [0, 0, 1, 0],
           [0, 1, 0, 0],
           [0, 0, 0, 1]])
    >>> import numpy as np, torch
    >>> x = torch.arange(48.0).reshape(1, 2, 4, 6)
    >>> np.array_equal(PixelUnshuffle(2)(x), torch.nn.functional.pixel_unshuffle(x, 2))
    True
    """

    factor: Any

    def __post_init__(self) -> None:
        check_int("factor", self.factor, 1)

    def move(self, x: Array) -> Array:
        """Return the batch with pixels gathered into channels.

        Raises
        ------
        ValueError
            If a size is not a multiple of r.
        """
        n, channels, *sizes = x.shape
        axes, r = len(sizes), self.factor
        if any(size % r for size in sizes):
            raise ValueError(f"in_shape: expected sizes that are multiples of {r}, got {tuple(x.shape[1:])}")
        split = x.reshape(n, channels, *(part for size in sizes for part in (size // r, r)))
        order = [0, 1, *(3 + 2 * axis for axis in range(axes)), *(2 + 2 * axis for axis in range(axes))]
        return split.transpose(order).reshape(n, channels * r**axes, *(size // r for size in sizes))
