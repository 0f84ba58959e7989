"""Checks of the inputs of a piecewise-linear graph."""

import numpy as np
import numpy.typing as npt

from linalg_cnn.checks import as_numbers, check_finite
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.types import Array


def check_inputs(graph: PiecewiseGraph, **inputs: npt.ArrayLike) -> list[Array]:
    """Return inputs (*in_shape) of a graph as float64; their names are for the messages.

    Raises
    ------
    TypeError
        If the graph or an input holds sympy expressions.
    ValueError
        If an input has another shape, or is not finite.
    """
    if graph.symbolic:
        raise TypeError("graph: expected numbers, got sympy expressions")
    arrays = []
    for name, x in inputs.items():
        array = as_numbers(x, name)
        if array.dtype == object:
            raise TypeError(f"{name}: expected numbers, got sympy expressions")
        if array.shape != graph.in_shape:
            raise ValueError(f"{name}: expected one input of shape {graph.in_shape}, got {array.shape}")
        check_finite(name, array)
        arrays.append(array.astype(np.float64))
    return arrays
