"""Chunks of unit vectors: plans judged by hand, and what is carried judged by the identity matrix."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from linalg_cnn import AffineGraph, Concatenate, Conv, Dense, chunks
from linalg_cnn.chunks import Chunks, carry_chunks, fit_chunks, plan_chunks


@pytest.mark.parametrize(
    ("shape", "per_vector", "largest", "left", "expected"),
    [
        pytest.param((4, 5), 10, 5, 10**6, (10, 2), id="as many as the cache holds, and a core for each chunk"),
        pytest.param((4, 5), 50, 5, 10**6, (6, 3), id="more than the cache holds where each array is small"),
        pytest.param((4, 5), 1000, 1000, 10**6, (1, 4), id="one that the cache does not hold, on all cores"),
        pytest.param((4, 5), 30, 10, 10**6, (3, 4), id="whole vectors only"),
        pytest.param((3,), 10, 5, 10**6, (3, 1), id="no more than there are"),
        pytest.param((19,), 10, 5, 10**6, (10, 1), id="one core for less than two chunks"),
        pytest.param((4, 5), 10, 5, 35, (3, 1), id="smaller chunks where memory ends"),
        pytest.param((4, 5), 50, 5, 650, (6, 2), id="fewer cores where memory ends"),
        pytest.param((4, 5), 10, 5, 0, (1, 1), id="one where not even that fits"),
        pytest.param((4, 5), 10, 5, -1000, (1, 1), id="one where the result alone is too large"),
    ],
)
def test_a_plan_is_that_made_by_hand(monkeypatch, shape, per_vector, largest, left, expected):
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 100)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 30)
    monkeypatch.setattr(chunks, "cores", lambda: 4)
    assert fit_chunks(shape, per_vector, largest, left) == Chunks(shape, *expected)
    assert fit_chunks(shape, per_vector, largest, left, alone=True) == Chunks(shape, expected[0], 1)


@pytest.mark.parametrize(
    ("direction", "shape", "vector"),
    [("forward", (3,), 3 + 6 + 2 * (3 + 6)), ("adjoint", (6,), (3 + 3) + 6 + 2 * (3 + 3 + 6) + 6 // 4)],
)
def test_a_limit_holds_the_map_and_one_vector_to_the_byte(direction, shape, vector):
    """W has 6 x 3 entries. A vector is read twice and stored once, but sends two cotangents back, and keeps sums."""
    graph = AffineGraph((3,))
    graph.add(Concatenate(), 0, 0)
    least = 8 * (6 * 3 + vector)
    assert plan_chunks(graph, direction, least, alone=False) == Chunks(shape, 1, 1)
    with pytest.raises(
        MemoryError,
        match=rf"composing 3 inputs to 6 outputs by {direction}, 1 vectors at a time, needs {least:,} bytes",
    ):
        plan_chunks(graph, direction, least - 1, alone=False)
    assert plan_chunks(graph, direction, least + 8 * vector - 1, alone=False).size == 1
    assert plan_chunks(graph, direction, least + 8 * vector, alone=True).size == 2


def test_a_limit_holds_the_check_that_the_map_is_finite():
    """It takes a byte for each of the 10**6 entries, more than the vectors that fit beside W."""
    graph = AffineGraph((1, 1000))
    graph.add(Conv([[[1.0]]]), 0)
    assert plan_chunks(graph, "forward", 9 * 10**6, alone=True).size == 10**6 // (8 * 6 * 1000)
    with pytest.raises(MemoryError, match="needs 9,000,000 bytes"):
        plan_chunks(graph, "forward", 9 * 10**6 - 1, alone=True)


def test_a_plan_counts_the_largest_value_between_the_ends_and_the_cores(monkeypatch):
    """The values have 2, 8 and 6 entries: the largest takes 64 bytes, and two vectors fit into 128."""
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 128)
    monkeypatch.setattr(chunks, "cores", lambda: 2)
    graph = AffineGraph((2,))
    graph.add(Dense(np.ones((6, 8))), graph.add(Concatenate(), 0, 0, 0, 0))
    assert plan_chunks(graph, "adjoint", None, alone=False) == Chunks((6,), 2, 2)
    assert plan_chunks(graph, "adjoint", None, alone=True) == Chunks((6,), 2, 1)
    monkeypatch.setattr(chunks, "ARRAY_BYTES", 127)
    assert plan_chunks(graph, "adjoint", None, alone=False) == Chunks((6,), 1, 2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("size", [2, 4, 6])
def test_the_unit_vectors_of_all_chunks_are_the_identity(workers, size):
    found, lock = {}, threading.Lock()

    def carry(chunk, units):
        with lock:
            found[chunk.start, chunk.stop] = units

    carry_chunks(carry, Chunks((2, 3), size, workers))
    assert sorted(found) == [(start, min(start + size, 6)) for start in range(0, 6, size)]
    for (start, stop), units in found.items():
        assert units.shape == (stop - start, 2, 3)
        np.testing.assert_array_equal(units.reshape(-1, 6), np.eye(6)[start:stop])


@pytest.mark.parametrize("workers", [1, 2])
def test_progress_is_told_of_each_chunk_and_of_the_end(workers):
    told = []

    def progress(starts):
        for start in starts:
            told.append(start)
            yield start
        told.append("end")

    carry_chunks(lambda chunk, units: None, Chunks((5,), 2, workers), progress)
    assert told == [0, 2, 4, "end"]


def test_chunks_on_several_cores_leave_one_thread_to_each_product():
    seen = set()
    with threadpool_limits(2, user_api="blas"):
        carry_chunks(lambda chunk, units: seen.add(chunks.cores()), Chunks((4,), 1, 2))
        assert seen == {1}
        assert chunks.cores() == 2
        carry_chunks(lambda chunk, units: seen.add(chunks.cores()), Chunks((4,), 1, 1))
        assert seen == {1, 2}  # the products of a single worker may take all cores


@pytest.mark.parametrize("where", ["chunk", "progress"])
def test_no_chunk_is_begun_after_one_or_the_progress_has_failed(where):
    """Each chunk is held for some time, so that the failure is seen long before the last."""
    begun = []

    def carry(chunk, units):
        begun.append(chunk.start)
        if where == "chunk" and chunk.start == 0:
            raise FloatingPointError
        time.sleep(0.01)

    def progress(starts):
        yield starts[0]
        raise FloatingPointError

    with pytest.raises(FloatingPointError):
        carry_chunks(carry, Chunks((300,), 1, 2), progress if where == "progress" else None)
    assert len(begun) < 300


def test_as_many_chunks_as_there_are_workers_are_carried_at_once():
    both, lock, active, most = threading.Barrier(2, timeout=60), threading.Lock(), [], []

    def carry(chunk, units):
        with lock:
            active.append(chunk.start)
            most.append(len(active))
        both.wait()  # for the chunk of the other worker
        with lock:
            active.remove(chunk.start)

    carry_chunks(carry, Chunks((12,), 1, 2))
    assert max(most) == 2


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        pytest.param([], 1, id="one if nothing is known"),
        pytest.param([("openmp", 8)], 1, id="threads of other libraries do not count"),
        pytest.param([("openmp", 8), ("blas", 2), ("blas", 3)], 3, id="the most that one library of products has"),
    ],
)
def test_cores_are_counted_from_the_libraries_that_multiply(monkeypatch, pools, expected):
    known = [{"user_api": api, "num_threads": count} for api, count in pools]
    monkeypatch.setattr(chunks, "threadpool_info", lambda: known)
    assert chunks.cores() == expected
