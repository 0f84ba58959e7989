"""Dense layers, batch normalisation, scaling, sums over axes, and constants."""

from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional

from linalg_cnn import AxisDense, AxisSparse, BatchNorm, Constant, Dense, Scale, SumOver, WeightedSumOver
from operations.row import OperationInfo, flat, integers, ones, positions, shapes


@st.composite
def batch_norm(draw, in_shape=None):
    in_shape = in_shape or draw(shapes())
    channels = in_shape[0]
    variance = 4.0 ** integers(draw, (channels,), -1, 1)  # its root is exact
    weight = integers(draw, (channels,)) if draw(st.booleans()) else None
    bias = integers(draw, (channels,)) if draw(st.booleans()) else None
    return BatchNorm(weight, bias, integers(draw, (channels,)), variance, eps=0.0), in_shape


def torch_batch_norm(operation, x):
    mean, variance, weight, bias = (
        torch.from_numpy(values)
        for values in (operation.running_mean, operation.running_var, operation.weight, operation.bias)
    )
    return functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=operation.eps)


def loops_batch_norm(operation, in_shape):
    per_channel = prod(in_shape[1:])
    return np.diag([
        w / v**0.5 for w, v in zip(operation.weight, operation.running_var, strict=True) for _ in range(per_channel)
    ])


BATCH_NORM = OperationInfo(
    "batch_norm",
    BatchNorm,
    batch_norm,
    torch_batch_norm,
    loops_batch_norm,
    ((lambda: BatchNorm(None, None, [0, 0], [1, 1]).out_shape((3, 4)), "in_shape: expected 2 channels"),),
)


@st.composite
def dense(draw, in_shape=None):
    in_shape = in_shape or draw(st.one_of(shapes(longest=4), st.tuples(st.integers(1, 9))))
    out = draw(st.integers(1, 4))
    bias = integers(draw, (out,)) if draw(st.booleans()) else None
    return Dense(integers(draw, (out, prod(in_shape))), bias), in_shape


def torch_dense(operation, x):
    bias = None if operation.bias is None else torch.from_numpy(operation.bias)
    return functional.linear(x.flatten(1), torch.from_numpy(operation.weight), bias)


DENSE = OperationInfo(
    "dense",
    Dense,
    dense,
    torch_dense,
    lambda op, shape: op.weight,
    ((lambda: Dense(ones(2, 3)).out_shape((2, 2)), "in_shape: expected 3 entries in all"),),
)


@st.composite
def axis_dense(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    axis, out = draw(st.integers(0, len(in_shape) - 1)), draw(st.integers(1, 4))
    bias = integers(draw, (out,)) if draw(st.booleans()) else None
    return AxisDense(integers(draw, (out, in_shape[axis])), bias, axis), in_shape


def torch_axis_dense(operation, x):
    bias = None if operation.bias is None else torch.from_numpy(operation.bias)
    axis = operation.axis + 1
    return functional.linear(x.movedim(axis, -1), torch.from_numpy(operation.weight), bias).movedim(-1, axis)


def loops_axis_dense(operation, in_shape):
    axis = operation.axis
    before, after = prod(in_shape[:axis]), prod(in_shape[axis + 1 :])
    return np.kron(np.kron(np.eye(before), operation.weight), np.eye(after))


AXIS_DENSE = OperationInfo(
    "axis_dense",
    AxisDense,
    axis_dense,
    torch_axis_dense,
    loops_axis_dense,
    (
        (lambda: AxisDense(ones(2, 3), axis=1).out_shape((3, 4)), "in_shape: expected 3 entries along axis 1"),
        (lambda: AxisDense(ones(2, 3), axis=1).out_shape((3,)), "in_shape: expected 3 entries along axis 1"),
        (lambda: AxisDense(ones(2, 3), ones(3)), r"bias: expected one entry per output feature \(2\)"),
    ),
)


@st.composite
def axis_sparse(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2), longest=4))
    axis, out, count = draw(st.integers(0, len(in_shape) - 1)), draw(st.integers(1, 4)), draw(st.integers(0, 9))
    rows, columns = (integers(draw, (count,), 0, size - 1).astype(int) for size in (out, in_shape[axis]))
    return AxisSparse(rows, columns, integers(draw, (count,)), (out, in_shape[axis]), axis), in_shape


def torch_axis_sparse(operation, x):
    places = torch.from_numpy(np.stack([operation.rows, operation.columns]))
    matrix = torch.sparse_coo_tensor(places, torch.from_numpy(operation.weight), operation.shape, check_invariants=True)
    first = x.movedim(operation.axis + 1, 0)
    y = torch.sparse.mm(matrix, first.reshape(len(first), -1))
    return y.reshape(-1, *first.shape[1:]).movedim(0, operation.axis + 1)


def loops_axis_sparse(operation, in_shape):
    matrix = np.zeros(operation.shape)
    for i, q, value in zip(operation.rows, operation.columns, operation.weight, strict=True):
        matrix[i, q] += value
    before, after = prod(in_shape[: operation.axis]), prod(in_shape[operation.axis + 1 :])
    return np.kron(np.kron(np.eye(before), matrix), np.eye(after))


AXIS_SPARSE = OperationInfo(
    "axis_sparse",
    AxisSparse,
    axis_sparse,
    torch_axis_sparse,
    loops_axis_sparse,
    (
        (lambda: AxisSparse([0], [0], [1], (2, 3), 1).out_shape((3, 4)), "in_shape: expected 3 entries along axis 1"),
        (lambda: AxisSparse([2], [0], [1], (2, 3)), "rows: expected numbers from 0 to 1, got 2 to 2"),
        (lambda: AxisSparse([0], [-1], [1], (2, 3)), "columns: expected numbers from 0 to 2, got -1 to -1"),
        (
            lambda: AxisSparse([0, 1], [0], [1, 2], (2, 3)),
            r"columns: expected one number per entry of the weight \(2\), got shape",
        ),
        (lambda: AxisSparse([0], [0], [np.nan], (2, 3)), "weight: expected finite entries, got nan"),
        (lambda: AxisSparse([0, 0], [0, 0], [1e308, 1e308], (2, 3)), "weight: expected finite entries, got inf"),
        (lambda: AxisSparse([0], [0], [1], (2, 0)), r"shape\[1\]: expected an int of at least 1, got 0"),
    ),
)


def spread(values, axes):
    return values.reshape(-1, *(1,) * (axes - 1)) if values.ndim == 1 else values


@st.composite
def scale(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))

    def parameter():
        if len(in_shape) == 1 or draw(st.booleans()):
            return integers(draw, in_shape[:1])
        return integers(draw, tuple(draw(st.sampled_from([1, n])) for n in in_shape))

    weight = parameter()
    return Scale(weight, parameter() if draw(st.booleans()) else None), in_shape


def torch_scale(operation, x):
    y = x * torch.from_numpy(spread(operation.weight, x.ndim - 1))
    return y if operation.bias is None else y + torch.from_numpy(spread(operation.bias, x.ndim - 1))


def loops_scale(operation, in_shape):
    weight = spread(operation.weight, len(in_shape))
    indices = [tuple(0 if n == 1 else i for i, n in zip(p, weight.shape, strict=True)) for p in np.ndindex(in_shape)]
    return np.diag([weight[index] for index in indices])


SCALE = OperationInfo(
    "scale",
    Scale,
    scale,
    torch_scale,
    loops_scale,
    (
        (lambda: Scale([1, 2]).out_shape((3, 4)), r"in_shape: expected 2 channels, got \(3, 4\)"),
        (lambda: Scale([1, 2, 3]).out_shape((1, 4)), r"in_shape: expected 3 channels, got \(1, 4\)"),
        (lambda: Scale([1, 2], [1]), r"bias: expected one entry per channel \(2\), got shape \(1,\)"),
        (lambda: Scale(ones(2, 3)).out_shape((2, 4)), r"in_shape: expected a shape that \(2, 3\) broadcasts to"),
        (lambda: Scale(ones(2, 3)).out_shape((2, 3, 1)), r"in_shape: expected a shape that \(2, 3\) broadcasts to"),
        (lambda: Scale(ones(1, 3), ones(2, 1)).out_shape((3, 3)), r"in_shape: expected a shape that \(2, 1\)"),
        (lambda: Scale(3.0), r"weight: expected a shape"),
        (lambda: Scale([1.0], 3.0), r"bias: expected a shape"),
    ),
)


@st.composite
def sum_over(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    axes = draw(st.lists(st.integers(0, len(in_shape) - 1), unique=True))
    return SumOver(tuple(axes), draw(st.booleans())), in_shape


def torch_sum_over(operation, x):
    if not operation.axes:
        return x
    axes = tuple(axis + 1 for axis in operation.axes)
    return x.mean(axes, keepdim=True) if operation.mean else x.sum(axes, keepdim=True)


def loops_sum_over(operation, in_shape):
    out_shape = [1 if axis in operation.axes else n for axis, n in enumerate(in_shape)]
    weight = 1 / prod(in_shape[axis] for axis in operation.axes) if operation.mean else 1.0

    def reads(p, q):
        return all(axis in operation.axes or p[axis] == q[axis] for axis in range(len(in_shape)))

    return np.array([[weight * reads(p, q) for q in np.ndindex(in_shape)] for p in np.ndindex(*out_shape)])


SUM_OVER = OperationInfo(
    "sum_over",
    SumOver,
    sum_over,
    torch_sum_over,
    loops_sum_over,
    (
        (lambda: SumOver((1, 1)), r"axes: expected each axis once, got \(1, 1\)"),
        (lambda: SumOver(2).out_shape((1, 2)), r"in_shape: expected more than 2 axes, got \(1, 2\)"),
        (lambda: SumOver(3).out_shape((1, 2)), r"in_shape: expected more than 3 axes, got \(1, 2\)"),
        (lambda: SumOver((-1,)), r"axes\[0\]: expected an int of at least 0, got -1"),
        (lambda: SumOver((1,), 1), "mean: expected True or False, got 1"),
    ),
    rtol=1e-14,
)


@st.composite
def constant(draw):
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    return Constant(integers(draw, shape)), draw(shapes(ranks=(0, 1, 2)))


def torch_constant(operation, x):
    return torch.from_numpy(operation.value).expand(len(x), *operation.value.shape)


CONSTANT = OperationInfo(
    "constant",
    Constant,
    constant,
    torch_constant,
    lambda op, shape: np.zeros((op.value.size, prod(shape))),
    (
        (lambda: Constant(1.0), "value: expected a shape"),
        (lambda: Constant([np.nan]), "value: expected finite entries, got nan"),
    ),
)


@st.composite
def weighted_sum_over(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    axes = draw(st.lists(st.integers(0, len(in_shape) - 1), min_size=1, unique=True))
    return WeightedSumOver(integers(draw, in_shape) / 2, axes), in_shape


def torch_weighted_sum_over(operation, x):
    return (torch.from_numpy(operation.weight) * x).sum([axis + 1 for axis in operation.axes], keepdim=True)


def loops_weighted_sum_over(operation, in_shape):
    out_shape = tuple(1 if axis in operation.axes else n for axis, n in enumerate(in_shape))
    A = np.zeros((prod(out_shape), prod(in_shape)))
    for q in positions(in_shape):
        p = tuple(0 if axis in operation.axes else i for axis, i in enumerate(q))
        A[flat(p, out_shape), flat(q, in_shape)] = operation.weight[q]
    return A


WEIGHTED_SUM_OVER = OperationInfo(
    "weighted_sum_over",
    WeightedSumOver,
    weighted_sum_over,
    torch_weighted_sum_over,
    loops_weighted_sum_over,
    (
        (lambda: WeightedSumOver([1.0, 2.0], 0).out_shape((3,)), r"in_shape: expected \(2,\), the shape of the weight"),
        (lambda: WeightedSumOver([1.0, 2.0], 1), "in_shape: expected more than 1 axes"),
        (lambda: WeightedSumOver([1.0, 2.0], (0, 0)), "axes: expected at least one axis, and each once"),
        (lambda: WeightedSumOver([1.0, 2.0], ()), "axes: expected at least one axis, and each once"),
    ),
)


ROWS = (
    BATCH_NORM,
    DENSE,
    AXIS_DENSE,
    AXIS_SPARSE,
    SCALE,
    SUM_OVER,
    WEIGHTED_SUM_OVER,
    CONSTANT,
)
