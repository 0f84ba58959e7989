"""Operations that merge several values."""

from math import prod

import numpy as np
import scipy.linalg
import torch
from hypothesis import strategies as st

from linalg_cnn import Blend, Concatenate, Dense, PerSlice, WeightedSum
from operations.row import OperationInfo, integers, shapes
from operations.sampling import PAD
from operations.taps import CONV
from operations.weighting import CONSTANT, DENSE


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


@st.composite
def blend(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    count = draw(st.integers(1, 3))
    return Blend(integers(draw, (count, *in_shape)) / 4), *([in_shape] * count)


def torch_blend(operation, *xs):
    return sum(torch.from_numpy(weights) * x for weights, x in zip(operation.weights, xs, strict=True))


BLEND = OperationInfo(
    "blend",
    Blend,
    blend,
    torch_blend,
    lambda op, *in_shapes: np.hstack([np.diag(weights.ravel()) for weights in op.weights]),
    (
        (lambda: Blend([[1.0, 2.0]]).out_shape((3,)), r"blend: expected 1 inputs of shape \(2,\), got \[\(3,\)\]"),
        (lambda: Blend([[1.0, 2.0]]).out_shape((2,), (2,)), r"blend: expected 1 inputs of shape \(2,\)"),
        (lambda: Blend([1.0, 2.0]), "weights: expected a shape"),
    ),
)


SLICED = {row.kind: row for row in (CONCATENATE, WEIGHTED_SUM, CONSTANT, DENSE, CONV, PAD)}
"""Operations with several inputs, without entries, with a bias, and whose columns are in no order."""


@st.composite
def per_slice(draw):
    count, row = draw(st.integers(1, 3)), draw(st.sampled_from(list(SLICED.values())))
    operation, *in_shapes = draw(row.draw())
    return PerSlice(operation), *((count, *shape) for shape in in_shapes)


def torch_per_slice(operation, *xs):
    inner = operation.operation
    slices = [SLICED[type(inner)].torch(inner, *(x[:, k] for x in xs)) for k in range(xs[0].shape[1])]
    return torch.stack(slices, dim=1)


def loops_per_slice(operation, *in_shapes):
    inner, count = operation.operation, in_shapes[0][0]
    sizes = [prod(shape[1:]) for shape in in_shapes]
    blocks = np.split(SLICED[type(inner)].loops(inner, *(shape[1:] for shape in in_shapes)), np.cumsum(sizes)[:-1], 1)
    return np.hstack([scipy.linalg.block_diag(*[block] * count) for block in blocks])


PER_SLICE = OperationInfo(
    "per_slice",
    PerSlice,
    per_slice,
    torch_per_slice,
    loops_per_slice,
    (
        (lambda: PerSlice(Dense([[1.0]])).out_shape((1,)), "in_shape: expected a number of slices, and the shape"),
        (lambda: PerSlice(WeightedSum([1, 2])).out_shape((2, 3), (3, 3)), "in_shape: expected a number of slices"),
    ),
)


ROWS = (
    CONCATENATE,
    WEIGHTED_SUM,
    BLEND,
    PER_SLICE,
)
