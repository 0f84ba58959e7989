"""The two types that everything speaks of."""

from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""float32, float64, or object with sympy expressions."""

IntArray = npt.NDArray[np.signedinteger[Any]]

Shape = tuple[int, ...]
"""(channels, *spatial), or (features,) after a dense layer."""


def size_of(shape: Shape) -> int:
    """Return the number of entries of an array of this shape: the length of its C-order ravel."""
    return prod(shape)
