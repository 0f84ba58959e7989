"""The parts that the rows of the table share: its columns, random shapes and numbers, and helpers of the loops."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from linalg_cnn import Operation


@dataclass(frozen=True)
class OperationInfo:
    """A row of the table: how an operation is drawn, what it must agree with, and what it refuses.

    Attributes
    ----------
    name : name of the row in the names of the tests
    kind : class of the operation; one class may have several rows
    draw : strategy of (operation, *in_shapes)
    torch : function of the operation and one tensor (N, *in_shape) per input; what torch computes
    loops : function of the operation and its in_shapes; its matrix, those of several inputs side by side
    errors : pairs of a call and the message of the ValueError that it raises
    rtol : tolerance for weights that are not powers of two; 0 compares bit for bit
    """

    name: str
    kind: type[Operation]
    draw: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    loops: Callable[..., np.ndarray]
    errors: tuple[tuple[Callable[[], Any], str], ...]
    rtol: float = 0.0


def integers(draw, shape, low=-3, high=3):
    """Return small integers as float64, drawn from a seed because Hypothesis is slow for large arrays."""
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True).astype(np.float64)


def shapes(ranks=(1, 2, 3), longest=6):
    return st.sampled_from(ranks).flatmap(lambda rank: st.tuples(st.integers(1, 4), *[st.integers(1, longest)] * rank))


def ones(*shape):
    return np.ones(shape)


def flat(position, shape):
    index = 0
    for p, n in zip(position, shape, strict=True):
        index = index * n + p
    return index


def positions(shape):
    return product(*(range(n) for n in shape))


def shown(q, n, mode, crop=(0, 0)):
    """Return the input position that padded position q reads on an axis of n, or None for a padded zero."""
    if mode == "circular":  # wrap around the part that cropping leaves
        left = list(range(crop[0], n - crop[1]))
        while q < left[0]:
            q += len(left)
        while q > left[-1]:
            q -= len(left)
        return q
    if 0 <= q < n:
        return q
    if mode == "zeros":
        return None
    if mode == "symmetric":  # mirror at the outer edges of the borders, as often as it takes
        while not 0 <= q < n:
            q = -1 - q if q < 0 else 2 * n - 1 - q
        return q
    if mode == "reflect":
        return -q if q < 0 else 2 * (n - 1) - q
    return 0 if q < 0 else n - 1  # replicate


def numpy_symmetric(pairs, x):
    """Return the images with the border of numpy's mode "symmetric", which torch lacks; negative padding crops."""
    wide = [(max(before, 0), max(after, 0)) for before, after in pairs]
    padded = np.pad(x.numpy(), [(0, 0), (0, 0), *wide], mode="symmetric")
    ends = zip(padded.shape[2:], pairs, strict=True)
    kept = tuple(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in ends)
    return torch.from_numpy(padded[(..., *kept)].copy())


def rearrangement_loops(in_shape, out_shape, source):
    """Return a matrix with a 1 for each output position, in the column of the input position ``source(position)``."""
    A = np.zeros((prod(out_shape), prod(in_shape)))
    for p in positions(out_shape):
        A[flat(p, out_shape), flat(source(p), in_shape)] = 1
    return A
