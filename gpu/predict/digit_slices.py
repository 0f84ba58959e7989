"""W as integers, cut into planes of 8 bits: what makes a product with bytes exact."""

from dataclasses import dataclass

import numpy as np

from linalg_cnn.types import Array

BRIGHTEST = 255
MOST_PLANES = 5
LIT = ((0.9, 1.0), (0.5, 6.0))
"""Which share of a row's weights is lit, the lightest ones, and how many times float32's rounding is allowed then.

With six times, trained networks for digits get three planes, as most do, and come nearer to the exact scores than
float32, on digits and on random pixels; with twice, they would get four, which take a fifth longer.
"""
SMALLEST_SCALE = 1e-290
"""A row whose weights are all smaller is rounded to zero: its scale would leave float64's range."""
UNIT_ROUNDOFF = 2.0**-24
"""Of float32."""


@dataclass(frozen=True, eq=False)
class Planes:
    """W, rounded to integers times one factor per row, and these integers as digits.

    Row i of W is about ``sum(unit[p, i] * digits[p, i] for p in range(planes))``.

    Attributes
    ----------
    digits : int8 array (planes, out_size, in_size)
        The lowest first; each in [-2^(bits - 1), 2^(bits - 1)).
    unit : float64 array (planes, out_size)
        What a digit 1 of each plane and row is worth.
    error : float64 array (out_size,)
        How far W times an image of bytes can be from what the planes make of it.
    bits : int
        Of a digit.
    """

    digits: Array
    unit: Array
    error: Array
    bits: int

    def __str__(self) -> str:
        """Name the number of planes and of bits."""
        return f"W as {len(self.digits)} planes of {self.bits} bits"


def largest_integer(bits: int, planes: int) -> int:
    """Return the largest integer that has so many balanced digits of so many bits.

    Examples
    --------
    >>> largest_integer(8, 1), largest_integer(8, 2)
    (127, 32639)
    """
    base = 1 << bits
    return (base // 2 - 1) * ((1 << bits * planes) - 1) // (base - 1)


def quantum(W: Array, bits: int, planes: int) -> Array:
    """Return the distance of the numbers that each row's entries are rounded to, float64 (out_size,)."""
    largest = np.abs(W).max(axis=1)
    return np.where(largest > SMALLEST_SCALE, largest, 1.0) / largest_integer(bits, planes)


def split(W: Array, bits: int, planes: int) -> Planes:
    """Return a matrix as planes of integers.

    Parameters
    ----------
    W : float64 array (out_size, in_size)
    bits : int
        Of a digit: 8, or 7 where the product of bytes and 8-bit integers saturates.
    planes : int
        How many digits an entry gets.

    Examples
    --------
    >>> planes = split(np.array([[1.0, -0.5, 0.001]]), bits=8, planes=3)
    >>> np.einsum("pi,pij->ij", planes.unit, planes.digits).round(6)
    array([[ 1.   , -0.5  ,  0.001]])
    """
    step = quantum(W, bits, planes)
    base, half = 2**bits, 2 ** (bits - 1)
    rest = np.rint(W / step[:, None]).astype(np.int64)
    difference = W - rest * step[:, None]
    digits = np.empty((planes, *W.shape), dtype=np.int8)
    for plane in digits:
        plane[:] = (rest + half) % base - half
        rest = (rest - plane) // base
    unit = step * float(base) ** np.arange(planes)[:, None]
    above, below = (np.maximum(sign * difference, 0).sum(axis=1) for sign in (1, -1))
    return Planes(digits, unit, BRIGHTEST * np.maximum(above, below), bits)


def planes_needed(W: Array, bits: int) -> int | None:
    """Return the fewest planes that round no worse than float32 would, or None where `MOST_PLANES` are too few.

    A row's integers share one factor, so a few huge weights make all the others coarse, which shows on images where
    their pixels are dark. So the two roundings are compared with the heaviest tenth of the weights dark, and, where
    six times float32's is allowed, with the heavier half. For n weights of root mean square r, float32's running sum
    takes n steps that round by up to 2^-24 of a sum that has grown like a random walk: as an error per weight,
    2^-24 r sqrt(n / 2) (N. Higham and T. Mary, A new approach to probabilistic rounding error analysis, 2019).

    Parameters
    ----------
    W : float64 array (out_size, in_size)
    bits : int
        Of a digit.

    Examples
    --------
    >>> planes_needed(np.array([[0.01] * 784]), bits=8)
    3
    >>> planes_needed(np.array([[100] + [0.01] * 783]), bits=8)
    5
    >>> planes_needed(np.array([[1e9] + [0.01] * 783]), bits=8)
    """
    magnitudes = np.abs(W)
    largest = magnitudes.max(axis=1, keepdims=True)
    relative = np.sort(magnitudes / np.where(largest > SMALLEST_SCALE, largest, 1.0), axis=1)
    used = np.count_nonzero(relative, axis=1)
    squares = np.cumsum(relative**2, axis=1)  # of the lightest weights, zeros first
    allowed = np.full(len(W), np.inf)
    for share, times in LIT:
        lit = np.maximum(np.rint(share * used), 1).astype(int)
        last = np.clip(W.shape[1] - used + lit, 1, None) - 1
        typical = np.sqrt(squares[np.arange(len(W)), last.clip(max=W.shape[1] - 1)] / lit)
        allowed = np.minimum(allowed, times * UNIT_ROUNDOFF * typical * np.sqrt(np.maximum(lit, 2) / 2))
    for planes in range(1, MOST_PLANES + 1):
        if ((1 / largest_integer(bits, planes) <= allowed) | (used == 0)).all():
            return planes
    return None
