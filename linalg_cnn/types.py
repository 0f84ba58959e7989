"""The types that all modules share."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""An array of dtype float32, float64, or object with sympy expressions."""

IntArray = npt.NDArray[np.signedinteger[Any]]

Shape = tuple[int, ...]
"""The shape of a value: (channels, *spatial), or (features,) after a dense layer."""


def index_dtype(*sizes: int) -> type[np.signedinteger[Any]]:
    """Return int32 if it can index all of these sizes, int64 otherwise."""
    return np.int32 if max(sizes) <= np.iinfo(np.int32).max else np.int64


def size_of(shape: Shape) -> int:
    """Return the number of entries of an array of this shape: the length of its C-order ravel."""
    return prod(shape)
