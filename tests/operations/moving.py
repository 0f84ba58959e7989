"""Operations that move entries and change none."""

from math import prod

import numpy as np
import torch
from hypothesis import strategies as st
from torch.nn import functional

from linalg_cnn import Flatten, Permute, PixelShuffle, PixelUnshuffle, Reshape, Slice, Take
from operations.row import OperationInfo, flat, integers, rearrangement_loops, shapes


@st.composite
def reshape(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    factors = [f for n in in_shape for f in ((2, n // 2) if n % 2 == 0 else (n,))]
    shape = draw(st.permutations(factors))
    if draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = -1
    return Reshape(shape), in_shape


RESHAPE = OperationInfo(
    "reshape",
    Reshape,
    reshape,
    lambda op, x: x.reshape(len(x), *op.shape),
    lambda op, shape: np.eye(prod(shape)),
    (
        (
            lambda: Reshape((2, 3)).out_shape((7,)),
            r"in_shape: expected a shape that can become \(2, 3\), got \(7,\)",
        ),
        (lambda: Reshape((3,)).out_shape((6,)), r"in_shape: expected a shape that can become \(3,\), got \(6,\)"),
        (lambda: Reshape((2, -1)).out_shape((7,)), "in_shape: expected a shape that can become"),
        (lambda: Reshape((-1, -1)), "shape: expected at most one -1"),
        (lambda: Reshape((0, 2)), r"shape\[0\]: expected an int of at least 1, got 0"),
    ),
)


@st.composite
def flatten(draw):
    return Flatten(), draw(shapes(ranks=(0, 1, 2, 3)))


FLATTEN = OperationInfo(
    "flatten", Flatten, flatten, lambda op, x: x.flatten(1), lambda op, shape: np.eye(prod(shape)), ()
)


@st.composite
def permute(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    return Permute(tuple(draw(st.permutations(range(len(in_shape)))))), in_shape


def loops_permute(operation, in_shape):
    out_shape = tuple(in_shape[axis] for axis in operation.order)
    return rearrangement_loops(
        in_shape, out_shape, lambda p: tuple(p[operation.order.index(axis)] for axis in range(len(in_shape)))
    )


PERMUTE = OperationInfo(
    "permute",
    Permute,
    permute,
    lambda op, x: x.permute(0, *(axis + 1 for axis in op.order)),
    loops_permute,
    (
        (lambda: Permute((0, 2)), r"order: expected a permutation of 0 to 1, got \(0, 2\)"),
        (lambda: Permute((1, 0)).out_shape((2, 3, 4)), "in_shape: expected 2 axes for the order"),
        (lambda: Permute((1, 0)).out_shape((2,)), "in_shape: expected 2 axes for the order"),
    ),
)


@st.composite
def cut(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2, 3)))
    axis = draw(st.integers(0, len(in_shape) - 1))
    start = draw(st.integers(0, in_shape[axis] - 1))
    stop = draw(st.integers(start + 1, in_shape[axis]))
    return Slice(start, stop, draw(st.sampled_from([None, 1, 2])), axis), in_shape


def torch_cut(operation, x):
    return x[(slice(None),) * (operation.axis + 1) + (slice(operation.start, operation.stop, operation.step),)]


def loops_cut(operation, in_shape):
    kept = range(operation.start, operation.stop, operation.step or 1)
    axis = operation.axis
    out_shape = (*in_shape[:axis], len(kept), *in_shape[axis + 1 :])
    return rearrangement_loops(in_shape, out_shape, lambda p: (*p[:axis], kept[p[axis]], *p[axis + 1 :]))


SLICE = OperationInfo(
    "slice",
    Slice,
    cut,
    torch_cut,
    loops_cut,
    (
        (lambda: Slice(step=0), "step: expected an int other than 0, got 0"),
        (lambda: Slice(axis=-1), "axis: expected an int of at least 0, got -1"),
        (lambda: Slice(axis=2).out_shape((2, 3)), "in_shape: expected more than 2 axes"),
        (lambda: Slice(axis=3).out_shape((2, 3)), "in_shape: expected more than 3 axes"),
        (lambda: Slice(2, 2).out_shape((4,)), "slice: expected to leave something of axis 0"),
    ),
)


def loops_pixels(source):
    return lambda op, shape: rearrangement_loops(shape, op.out_shape(shape), lambda p: source(p, op.factor))


def pixel_shuffle_source(p, factor):
    c, *position = p
    inner = flat([q % factor for q in position], [factor] * len(position))
    return (c * factor ** len(position) + inner, *(q // factor for q in position))


@st.composite
def pixel_shuffle(draw):
    factor, channels, *sizes = (draw(st.integers(1, 3)) for _ in range(4))
    return PixelShuffle(factor), (channels * factor**2, *sizes)


PIXEL_SHUFFLE = OperationInfo(
    "pixel_shuffle",
    PixelShuffle,
    pixel_shuffle,
    lambda op, x: functional.pixel_shuffle(x, op.factor),
    loops_pixels(pixel_shuffle_source),
    ((lambda: PixelShuffle(2).out_shape((2, 3, 3)), "in_shape: expected a multiple of 4 channels for factor 2"),),
)


def pixel_unshuffle_source(p, factor):
    c, *position = p
    digits, rest = [], c
    for _ in position:
        digits.append(rest % factor)
        rest //= factor
    return (rest, *(q * factor + digit for q, digit in zip(position, reversed(digits), strict=True)))


@st.composite
def pixel_unshuffle(draw):
    factor, channels, *sizes = (draw(st.integers(1, 3)) for _ in range(4))
    return PixelUnshuffle(factor), (channels, *(factor * size for size in sizes))


PIXEL_UNSHUFFLE = OperationInfo(
    "pixel_unshuffle",
    PixelUnshuffle,
    pixel_unshuffle,
    lambda op, x: functional.pixel_unshuffle(x, op.factor),
    loops_pixels(pixel_unshuffle_source),
    ((lambda: PixelUnshuffle(2).out_shape((2, 3, 4)), "in_shape: expected sizes that are multiples of 2"),),
)


@st.composite
def take(draw):
    in_shape = draw(shapes(ranks=(0, 1, 2)))
    table = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    return Take(integers(draw, table, -1, prod(in_shape) - 1).astype(np.int64)), in_shape


def torch_take(operation, x):
    with_zero = torch.cat([x.flatten(1), torch.zeros(len(x), 1, dtype=x.dtype)], dim=1)  # index -1 reads the zero
    return with_zero[:, torch.from_numpy(operation.sources).long()]


def loops_take(operation, in_shape):
    return np.array([[float(q == source) for q in range(prod(in_shape))] for source in operation.sources.ravel()])


TAKE = OperationInfo(
    "take",
    Take,
    take,
    torch_take,
    loops_take,
    (
        (lambda: Take([-2]), "sources: expected numbers of entries, or -1 for a zero, got -2"),
        (lambda: Take([0, 6]).out_shape((2, 3)), r"in_shape: expected at least 7 entries, .* got \(2, 3\)"),
        (lambda: Take([0, 7]).out_shape((2, 3)), r"in_shape: expected at least 8 entries, .* got \(2, 3\)"),
        (lambda: Take(3), r"sources: expected a shape"),
    ),
)


ROWS = (
    RESHAPE,
    FLATTEN,
    PERMUTE,
    SLICE,
    PIXEL_SHUFFLE,
    PIXEL_UNSHUFFLE,
    TAKE,
)
