"""W as integers, cut into slices of 8-bit digits, whose products with bytes are exact."""

from dataclasses import dataclass

import numpy as np
import torch

from gpu.collapsing.rounding import unit_roundoff
from linalg_cnn.types import Array

BRIGHTEST = 255
"""The largest value of a byte."""
MOST_SLICES = 5
LIT = ((0.9, 1.0), (0.5, 6.0))
"""Pairs (share, factor) for images in which only this share of a row's weights, the smallest, have lit pixels: the
rounding error allowed on such images is the factor times float32's.

With a factor of six, trained networks for digits get three slices, as most networks do, and come nearer to the exact
scores than float32, on digits and on random pixels. With a factor of two they would get four, and be a fifth slower.
"""
SMALLEST_SCALE = 1e-200
"""A row whose weights are all smaller, which float32 has not, is rounded to zero: a bias in its quanta would leave
float64's range."""
EXACT_SLICES = 3
"""Number of slices whose sums over up to 2^22 bytes combine to an integer below 2^53, exact in float64 in any order."""
UNIT_ROUNDOFF = unit_roundoff(torch.float32)


@dataclass(frozen=True, eq=False)
class DigitSlices:
    """W, rounded to integers times one factor per row, with the digits of these integers.

    Row i of W is about ``sum(unit[s, i] * digits[s, i] for s in range(slices))``.

    Every backend that multiplies up to 2^22 bytes with these slices returns the same bits: with the sums of all slices
    as one integer, rounded to float64 (see `powers`), the score is ``(integer + bias / step) * step`` in float64,
    rounded to float32. No product that is rounded is added to anything, so that a fused multiply-add, which rounds
    once instead of twice, cannot make a difference between processors.

    Attributes
    ----------
    digits : int8 array (slices, out_size, in_size)
        The digits, the lowest slice first; each lies in [-2^(bits - 1), 2^(bits - 1)).
    unit : float64 array (slices, out_size)
        Value of the digit 1 in each slice and row.
    error : float64 array (out_size,)
        Largest distance between the scores of W and of its slices over all images of bytes.
    bits : int
        Number of bits in a digit.
    """

    digits: Array
    unit: Array
    error: Array
    bits: int

    @property
    def step(self) -> Array:
        """Step of the grid that the entries of a row are rounded to, float64 (out_size,)."""
        step: Array = self.unit[0]
        return step

    @property
    def powers(self) -> list[Array]:
        """What the sums of the slices are multiplied by, in exact groups: float64 arrays (slices,), other slices 0.

        The sums of a group combine to an integer that float64 holds, in whatever order they are added up. There are at
        most two groups, so that adding them up rounds the integer of all slices once.
        """
        number = np.arange(len(self.digits))
        powers = float(2**self.bits) ** number
        low = number < EXACT_SLICES
        return [np.where(low, powers, 0.0)] + [np.where(low, 0.0, powers)] * (not low.all())

    def __str__(self) -> str:
        """Name the number of slices, under the public name of their backend, and of bits."""
        return f"W as {len(self.digits)} planes of {self.bits} bits"


def largest_integer(bits: int, slices: int) -> int:
    """Return the largest integer that has this number of balanced digits.

    Parameters
    ----------
    bits : int
        Number of bits in a digit.
    slices : int
        Number of digits.

    Examples
    --------
    >>> largest_integer(8, 1), largest_integer(8, 2)
    (127, 32639)
    """
    base = 1 << bits
    return (base // 2 - 1) * ((1 << bits * slices) - 1) // (base - 1)


def quantum(W: Array, bits: int, slices: int) -> Array:
    """Return the step of the grid to which each row's entries are rounded, float64 (out_size,)."""
    largest = np.abs(W).max(axis=1)
    return np.where(largest > SMALLEST_SCALE, largest, 1.0) / largest_integer(bits, slices)


def slice_digits(W: Array, bits: int, slices: int) -> DigitSlices:
    """Return a matrix as slices of integers.

    Parameters
    ----------
    W : float64 array (out_size, in_size)
        The matrix.
    bits : int
        Number of bits in a digit: 8, or 7 where the product of bytes and 8-bit integers saturates.
    slices : int
        Number of digits of an entry.

    Notes
    -----
    Source: K. Ozaki, T. Ogita, S. Oishi and S. Rump, Error-free transformations of matrix multiplication by using fast
    routines of matrix multiplication and its applications, 2012; here the slices are integers.

    Examples
    --------
    >>> slices = slice_digits(np.array([[1.0, -0.5, 0.001]]), bits=8, slices=3)
    >>> np.einsum("si,sij->ij", slices.unit, slices.digits).round(6)
    array([[ 1.   , -0.5  ,  0.001]])
    """
    step = quantum(W, bits, slices)
    base, half = 2**bits, 2 ** (bits - 1)
    rest = np.rint(W / step[:, None]).astype(np.int64)
    difference = W - rest * step[:, None]
    digits = np.empty((slices, *W.shape), dtype=np.int8)
    for digit in digits:
        digit[:] = (rest + half) % base - half
        rest = (rest - digit) // base
    unit = step * float(base) ** np.arange(slices)[:, None]
    above, below = (np.maximum(sign * difference, 0).sum(axis=1) for sign in (1, -1))
    return DigitSlices(digits, unit, BRIGHTEST * np.maximum(above, below), bits)


def slices_needed(W: Array, bits: int) -> int | None:
    """Return the fewest slices that round no worse than float32 would, or None where `MOST_SLICES` are too few.

    A row's integers share one factor, so a few huge weights make all the others coarse, which shows on images whose
    pixels are dark there. The two roundings are therefore compared with the heaviest tenth of the weights dark, and,
    where six times float32's error is allowed, with the heavier half dark. For n weights of root mean square r,
    float32's running sum takes n steps that round by up to 2^-24 of a sum that has grown like a random walk: as an
    error per weight, 2^-24 r sqrt(n / 2).

    Parameters
    ----------
    W : float64 array (out_size, in_size)
        The matrix.
    bits : int
        Number of bits in a digit.

    Notes
    -----
    Source: N. Higham and T. Mary, A new approach to probabilistic rounding error analysis, 2019.

    Examples
    --------
    >>> slices_needed(np.array([[0.01] * 784]), bits=8)
    3
    >>> slices_needed(np.array([[100] + [0.01] * 783]), bits=8)
    5
    >>> slices_needed(np.array([[1e9] + [0.01] * 783]), bits=8)
    """
    magnitudes = np.abs(W)
    largest = magnitudes.max(axis=1, keepdims=True)
    relative = np.sort(magnitudes / np.where(largest > SMALLEST_SCALE, largest, 1.0), axis=1)
    used = np.count_nonzero(relative, axis=1)
    squares = np.cumsum(relative**2, axis=1)  # of the smallest weights, zeros first
    allowed = np.full(len(W), np.inf)
    for share, times in LIT:
        lit = np.maximum(np.rint(share * used), 1).astype(int)
        last = np.clip(W.shape[1] - used + lit, 1, None) - 1
        typical = np.sqrt(squares[np.arange(len(W)), last.clip(max=W.shape[1] - 1)] / lit)
        allowed = np.minimum(allowed, times * UNIT_ROUNDOFF * typical * np.sqrt(np.maximum(lit, 2) / 2))
    for slices in range(1, MOST_SLICES + 1):
        if ((1 / largest_integer(bits, slices) <= allowed) | (used == 0)).all():
            return slices
    return None
