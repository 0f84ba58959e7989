"""The costs of a prediction before and after collapsing: parameters, multiply-accumulates, bytes, rank, time."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

from linalg_cnn import AffineGraph, AffineMap
from linalg_cnn.types import Array

BATCH_SIZES = (1, 64, 1024)
"""Batch sizes for which the time of a prediction is estimated."""
LARGEST_RANK_COST = 10**12
"""Multiply-accumulates above which the rank is not computed."""
RATE_BYTES = 2**25
"""Size of the array whose reading is timed: larger than the caches."""


@dataclass(frozen=True)
class Costs:
    """The costs of a prediction.

    Attributes
    ----------
    parameters : int
        Number of parameters.
    multiply_adds : int
        Multiply-accumulates (MACs) per sample, without those with the zeros of a padding: good kernels omit them.
    bytes : int
        Size of the parameters and buffers in memory.
    """

    parameters: int
    multiply_adds: int
    bytes: int


def costs_of_network(module: nn.Module, graph: AffineGraph) -> Costs:
    """Return the costs of a network, with the MACs of its graph, which no implementation can avoid."""
    parameters = list(module.parameters())
    held = {id(t): t for t in [*parameters, *module.buffers()]}.values()
    return Costs(
        sum(p.numel() for p in parameters), graph.multiply_adds, sum(t.numel() * t.element_size() for t in held)
    )


def costs_of_factors(shapes: Sequence[tuple[int, int]], itemsize: int) -> Costs:
    """Return the costs of matrices (out_size, in_size), each with its bias vector."""
    products = sum(rows * columns for rows, columns in shapes)
    parameters = products + sum(rows for rows, _ in shapes)
    return Costs(parameters, products, parameters * itemsize)


def rank_of(factors: Sequence[AffineMap], max_bytes: float = math.inf) -> int | None:
    """Return the numerical rank of W, or None where its computation would take too long or too much memory.

    The tolerance is that of `numpy.linalg.matrix_rank`.

    Parameters
    ----------
    factors : sequence of AffineMap
        One factor, or two with the outer one first.
    max_bytes : float
        Memory that the computation may take.
    """
    # W = W2 R' Q' with the QR of the inner factor: the singular values are those of the small W2 R'.
    matrices = [factor.W for factor in factors]
    rows, columns = len(matrices[0]), matrices[-1].shape[1]
    width = min(min(matrix.shape) for matrix in matrices)
    inner = min(matrices[-1].shape)
    if width**2 * (rows + columns) > LARGEST_RANK_COST or 8 * (rows + 8 * inner) * inner > max_bytes:
        return None
    small = matrices[-1]
    if small.shape[0] < small.shape[1]:
        small = _triangle(small.T).T
    for matrix in reversed(matrices[:-1]):
        small = matrix @ small
    if small.shape[0] > small.shape[1]:
        small = _triangle(small)
    values = np.linalg.svd(small, compute_uv=False)
    return int(np.sum(values > values.max() * max(rows, columns) * np.finfo(np.float64).eps))


def _triangle(tall: Array) -> Array:
    """Return R of the QR decomposition of a tall matrix, block by block of its rows, without a copy of the whole."""
    columns = tall.shape[1]
    r: Array = np.empty((0, columns))
    step = max(columns, 1024)
    for start in range(0, len(tall), step):
        r = np.asarray(np.linalg.qr(np.concatenate([r, tall[start : start + step]]), mode="r"))
    return r


def machine_rates(dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Return this machine's rates: MAC/s of a large matrix product, and bytes/s of reading an array.

    They are measured once in a process for each dtype, device and number of threads.
    """
    return _measured_rates(dtype, device, torch.get_num_threads())


@cache
def _measured_rates(dtype: torch.dtype, device: torch.device, threads: int) -> tuple[float, float]:
    n = 512
    a = torch.ones(n, n, dtype=dtype, device=device)
    block = torch.ones(RATE_BYTES // a.element_size(), dtype=dtype, device=device)

    def fastest(function: Any) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return best

    return n**3 / fastest(lambda: a @ a), RATE_BYTES / fastest(block.sum)


def verdict_of(before: Costs, after: Costs, rates: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Return the estimated microseconds per image before and after, and whether they decrease, by batch size.

    A batch takes at least as long as its MACs at the rate of a large matrix product, and at least as long as reading
    the parameters once. A network of many small layers exceeds this bound by more than a single product does, so the
    estimate favours the network.

    Parameters
    ----------
    before, after : Costs
        Costs of the network and of what replaces it.
    rates : pair of floats
        MAC/s and bytes/s, see `machine_rates`.

    Examples
    --------
    >>> verdict_of(Costs(10, 2000, 80), Costs(20, 20, 160), (1e9, 1e9))["1"]
    {'before': 2.0, 'after': 0.16, 'cheaper': True}
    """

    def microseconds(costs: Costs, batch: int) -> float:
        return 1e6 * max(costs.multiply_adds / rates[0], costs.bytes / rates[1] / batch)

    table = {}
    for size in BATCH_SIZES:
        old, new = (round(microseconds(costs, size), 6) for costs in (before, after))
        table[str(size)] = {"before": old, "after": new, "cheaper": new < old}
    return table
