"""Operations that merge several values."""

from math import prod

import numpy as np
import torch
from hypothesis import strategies as st

from linalg_cnn import Concatenate, WeightedSum
from operations.row import OperationInfo, integers, shapes


@st.composite
def concatenate(draw):
    first = draw(shapes(ranks=(0, 1, 2)))
    axis = draw(st.integers(0, len(first) - 1))
    lengths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    return Concatenate(axis), *((*first[:axis], n, *first[axis + 1 :]) for n in lengths)


def loops_concatenate(operation, *in_shapes):
    """Build the matrix column by column, from the output for a single 1 in one input."""
    columns = []
    for k, shape in enumerate(in_shapes):
        for q in np.ndindex(shape):
            parts = [np.zeros(other) for other in in_shapes]
            parts[k][q] = 1
            columns.append(np.concatenate(parts, axis=operation.axis).ravel())
    return np.array(columns).T


CONCATENATE = OperationInfo(
    "concatenate",
    Concatenate,
    concatenate,
    lambda op, *xs: torch.cat(xs, dim=op.axis + 1),
    loops_concatenate,
    (
        (
            lambda: Concatenate().out_shape((2, 3), (2, 4)),
            "concatenate: expected shapes that differ along axis 0 only",
        ),
        (lambda: Concatenate(1).out_shape((2,), (2,)), "concatenate: expected shapes that differ along axis 1 only"),
        (lambda: Concatenate().out_shape(), "concatenate: expected shapes that differ along axis 0 only"),
    ),
)


@st.composite
def weighted_sum(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    count = draw(st.integers(1, 3))
    return WeightedSum(integers(draw, (count,)) / 4), *([in_shape] * count)


def torch_weighted_sum(operation, *xs):
    return sum(weight * x for weight, x in zip(operation.weights, xs, strict=True))


WEIGHTED_SUM = OperationInfo(
    "weighted_sum",
    WeightedSum,
    weighted_sum,
    torch_weighted_sum,
    lambda op, *in_shapes: np.hstack([weight * np.eye(prod(in_shapes[0])) for weight in op.weights]),
    (
        (lambda: WeightedSum([1, 2]).out_shape((2,), (3,)), r"weighted sum: expected 2 inputs of one shape"),
        (lambda: WeightedSum([1, 2]).out_shape((2,)), r"weighted sum: expected 2 inputs of one shape"),
        (lambda: WeightedSum([1]).out_shape((2,), (2,)), r"weighted sum: expected 1 inputs of one shape"),
    ),
)


ROWS = (
    CONCATENATE,
    WEIGHTED_SUM,
)
