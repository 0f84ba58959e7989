"""The unit vectors of a dense composition in chunks: on several cores, and within a limit of memory."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from linalg_cnn.graph import AffineGraph
from linalg_cnn.memory import check_memory, memory_limit
from linalg_cnn.types import Array, Shape, size_of

Progress = Callable[[Iterable[int]], Iterable[int]]
"""Wrapper of the sequence of chunks, such as ``tqdm.tqdm``."""


def check_progress(progress: object) -> None:
    """Refuse a wrapper that cannot be called; None stands for no wrapper.

    Raises
    ------
    TypeError
        If it cannot be called.
    """
    if progress is not None and not callable(progress):
        raise TypeError(f"progress: expected a callable, such as tqdm.tqdm, got {type(progress).__name__}")


CHUNK_BYTES = 2**24
"""Bytes that the vectors of one chunk may take, so that they fit the cache."""

ARRAY_BYTES = 7 * 2**22
"""Bytes that one value of the network may take even if the whole chunk then exceeds `CHUNK_BYTES`.

The allocator reuses memory of up to 32 MiB for the next array of that size. A larger array gets fresh pages every
time, and the page faults cost as much as a third of the products.
"""


class Chunks(NamedTuple):
    """A plan of how the unit vectors pass through the graph.

    Attributes
    ----------
    shape : tuple of int
        Shape of a vector as a value of the network; there are as many vectors as it has entries.
    size : int
        Number of vectors in a chunk.
    workers : int
        Number of chunks that are computed at the same time, each on a core of its own.
    """

    shape: Shape
    size: int
    workers: int


def plan_chunks(
    graph: AffineGraph, direction: str, max_bytes: int | None, *, alone: bool, free: int | None = None
) -> Chunks:
    """Return chunks of as many vectors as the cache holds, or fewer if the memory limit requires it.

    Where there are many chunks, each core computes chunks of its own, because a product of small arrays gains little
    from several cores.

    Parameters
    ----------
    graph : AffineGraph
    direction : {"forward", "adjoint"}
    max_bytes : int or None
        Limit on the memory of W and of the vectors; half of the machine's memory if None.
    alone : bool
        Whether to compute one chunk at a time, because an accelerator does the work instead of the cores.
    free : int, optional
        Free memory of an accelerator, of which a chunk takes half: what is computed in one call should be large.

    Raises
    ------
    MemoryError
        If W and one vector exceed the limit.
    """
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    per_vector = 8 * (graph.largest_state(direction) + (sums_kept(graph) if direction == "adjoint" else 0))
    largest = 8 * max(size_of(value) for value in graph.shapes)
    left = memory_limit(max_bytes) - 8 * in_size * out_size
    shape = graph.in_shape if direction == "forward" else graph.out_shape
    if free is None:
        chunks = fit_chunks(shape, per_vector, largest, left, alone)
    else:
        chunks = Chunks(shape, max(1, min(size_of(shape), min(left, free // 2) // per_vector)), workers=1)
    at_once = chunks.size * chunks.workers
    check_memory(
        f"composing {in_size:,} inputs to {out_size:,} outputs by {direction}, {at_once:,} vectors at a time,",
        # The check that W is finite takes one byte per entry.
        8 * in_size * out_size + max(per_vector * at_once, in_size * out_size),
        max_bytes,
    )
    return chunks


def sums_kept(graph: AffineGraph) -> int:
    """Return how many sums of a cotangent's entries may wait to be multiplied by biases together.

    They take memory beside the values of the network: a quarter of the largest one.
    """
    return max(size_of(value) for value in graph.shapes) // 4


def fit_chunks(shape: Shape, per_vector: int, largest: int, left: int, alone: bool = False) -> Chunks:
    """Return chunks of as many unit vectors of a shape as the cache holds, or fewer if they would not fit.

    Parameters
    ----------
    shape : tuple of int
    per_vector : int
        Bytes that one vector takes while it passes through the graph.
    largest : int
        Bytes of the largest value of one vector.
    left : int
        Bytes that all vectors may take; a single one is planned even if it takes more.
    alone : bool
        Whether to compute one chunk at a time.
    """
    count, fitting = size_of(shape), max(1, left // per_vector)
    size = min(max(CHUNK_BYTES // per_vector, ARRAY_BYTES // largest, 1), count, fitting)
    workers = 1 if alone or count < 2 * size else min(cores(), count // size, fitting // size)
    return Chunks(shape, size, workers)


def carry_chunks(carry: Callable[[slice, Array], None], chunks: Chunks, progress: Progress | None = None) -> None:
    """Call ``carry(chunk, units)`` for every chunk: a slice of numbers, and their unit vectors (n, *shape).

    Each call runs in the caller's context or in a copy of it, so that workers share what `parameters_stay` keeps.
    """
    shape, size, workers = chunks
    count = size_of(shape)
    starts = range(0, count, size)
    wrapped = iter(starts if progress is None else progress(starts))

    def carry_from(start: int) -> None:
        chunk = slice(start, min(start + size, count))
        units = np.zeros((chunk.stop - start, count))
        units[np.arange(len(units)), np.arange(start, chunk.stop)] = 1
        carry(chunk, units.reshape(-1, *shape))

    if workers == 1:
        for start in wrapped:
            carry_from(start)
        return
    with threadpool_limits(1, user_api="blas"):
        pool = ThreadPoolExecutor(workers)
        try:
            # A context cannot be entered by two threads at once: each chunk has a copy of its own.
            runs = [copy_context().run for _ in starts]
            for _ in pool.map(lambda run, start: run(carry_from, start), runs, starts):
                next(wrapped)
            next(wrapped, None)  # a progress bar closes when its sequence ends
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Return the number of threads that the user or the machine allows for numpy's products."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
