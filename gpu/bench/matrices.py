"""``bench matrices``: the time to build matrices, compared with copying them and with other constructions."""

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse
import torch
from torch.nn import functional

from gpu.bench.measuring import time_runs
from gpu.runtime.progress import Progress
from gpu.runtime.run import CPU, Run
from linalg_cnn import (
    adaptive_avg_pool_matrix,
    avg_pool_matrix,
    conv_matrix,
    conv_transpose_matrix,
    pad_matrix,
    resample_matrix,
)

Build = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A matrix to build, and other constructions of it.

    Attributes
    ----------
    name : str
        Description of the matrix.
    build : callable
        Builds the matrix.
    others : tuple of (str, callable)
        Names of other constructions, with functions that return their seconds.
    """

    name: str
    build: Build
    others: tuple[tuple[str, Callable[[], float]], ...] = ()


def seconds(build: Build, runs: int) -> float:
    """Return the median seconds of several runs."""
    return time_runs(build, runs, CPU).seconds


def kron_sum(kernel: Any, in_shape: tuple[int, int, int], padding: int) -> Any:
    """Build a convolution matrix as textbooks do: the sum over taps of kron(channels, kron(rows, columns))."""
    _, height, width = in_shape

    def shift(size: int, taps: int, tap: int) -> Any:
        out = size + 2 * padding - taps + 1
        return scipy.sparse.eye_array(out, size, k=tap - padding, format="csr")

    total: Any = 0
    for i, j in product(*(range(k) for k in kernel.shape[2:])):
        spatial = scipy.sparse.kron(shift(height, kernel.shape[2], i), shift(width, kernel.shape[3], j), format="csr")
        total = total + scipy.sparse.kron(kernel[:, :, i, j], spatial, format="csr")
    return total


def unit_vectors(kernel: Any, in_shape: tuple[int, int, int], padding: int, columns: int) -> float:
    """Return the seconds that pushing all unit images through torch takes, extrapolated from some of the columns."""
    size = int(np.prod(in_shape))
    weight = torch.from_numpy(kernel)
    start = time.perf_counter()
    units = torch.zeros(columns, size, dtype=weight.dtype)
    units[torch.arange(columns), torch.arange(columns)] = 1
    images = functional.conv2d(units.reshape(columns, *in_shape), weight, padding=padding).flatten(1)
    scipy.sparse.csr_array(images.numpy())
    return (time.perf_counter() - start) * size / columns


def pylops_seconds(name: str, runs: int) -> Callable[[], float]:
    """Return a function that times PyLops' conversion to a matrix, which applies the operator to every unit vector."""

    def measure() -> float:
        import pylops

        operators = {
            "convolution": lambda: pylops.signalprocessing.Convolve2D((28, 28), np.ones((3, 3)), offset=(1, 1)),
            "padding": lambda: pylops.Pad((28, 28), ((1, 1), (1, 1))),
        }
        return seconds(lambda: operators[name]().tosparse(), runs)

    return measure


def cases(quick: bool, runs: int) -> list[Case]:
    """Return the matrices to measure; small ones if ``quick``."""
    rng = np.random.default_rng(0)
    channels, side = (8, 14) if quick else (64, 28)
    kernel = rng.standard_normal((channels, channels, 3, 3))
    shape = (channels, side, side)
    single, plane = rng.standard_normal((1, 1, 3, 3)), (1, 28, 28)
    depthwise = rng.standard_normal((channels, 1, 3, 3))
    wide = (channels, 4 * side, 4 * side)
    half = (2 * side, 2 * side)
    line = rng.standard_normal(9)
    return [
        Case(
            f"conv {channels} -> {channels}, 3x3, padding 1, {side}x{side}",
            lambda: conv_matrix(kernel, shape, padding=1),
            (
                ("sum of scipy.sparse.kron", lambda: seconds(lambda: kron_sum(kernel, shape, 1), 1)),
                ("unit images through torch", lambda: unit_vectors(kernel, shape, 1, min(64, channels))),
            ),
        ),
        Case("the same with stride 2", lambda: conv_matrix(kernel, shape, padding=1, stride=2)),
        Case("the same, padding_mode reflect", lambda: conv_matrix(kernel, shape, padding=1, padding_mode="reflect")),
        Case(
            f"depthwise conv, {channels} channels, 3x3, {wide[1]}x{wide[2]}",
            lambda: conv_matrix(depthwise, wide, padding=1, groups=channels),
        ),
        Case(
            "conv 1 -> 1, 3x3, padding 1, 28x28",
            lambda: conv_matrix(single, plane, padding=1),
            (
                ("sum of scipy.sparse.kron", lambda: seconds(lambda: kron_sum(single, plane, 1), runs)),
                ("PyLops Convolve2D(...).tosparse()", pylops_seconds("convolution", 1)),
            ),
        ),
        Case(
            "conv 1 -> 1, 9 taps, 4096 pixels in a line",
            lambda: conv_matrix(line.reshape(1, 1, 9), (1, 4096)),
            (
                (
                    "scipy.linalg.convolution_matrix (dense)",
                    lambda: seconds(lambda: scipy.linalg.convolution_matrix(line, 4096, "valid"), runs),
                ),
            ),
        ),
        Case(
            f"transposed conv {channels} -> {channels}, 3x3, stride 2, {side}x{side}",
            lambda: conv_transpose_matrix(kernel, shape, stride=2, padding=1, output_padding=1),
        ),
        Case(f"pad {channels} channels, {wide[1]}x{wide[2]} by 3", lambda: pad_matrix(wide, 3)),
        Case(
            "pad 28x28 by 1",
            lambda: pad_matrix(plane, 1),
            (("PyLops Pad(...).tosparse()", pylops_seconds("padding", 1)),),
        ),
        Case(
            f"nearest, {channels} channels, {side}x{side} to {half[0]}x{half[1]}", lambda: resample_matrix(shape, half)
        ),
        Case(
            f"bilinear, {channels} channels, {side}x{side} to {half[0]}x{half[1]}",
            lambda: resample_matrix(shape, half, "linear"),
        ),
        Case(
            f"average pool, {channels} channels, 3x3, stride 2, {wide[1]}x{wide[2]}",
            lambda: avg_pool_matrix(wide, 3, stride=2, padding=1),
        ),
        Case(
            f"adaptive average pool, {channels} channels, {wide[1]}x{wide[2]} to 7x7",
            lambda: adaptive_avg_pool_matrix(wide, 7),
        ),
    ]


def copy_of(matrix: Any, runs: int) -> tuple[int, int, float]:
    """Return the number of entries and bytes of a matrix, and the seconds that numpy takes to copy it."""
    parts = [matrix.data, matrix.indices, matrix.indptr]
    copying = seconds(lambda: [part.copy() for part in parts], runs)
    return int(matrix.nnz), sum(part.nbytes for part in parts), copying


def measure(case: Case, runs: int) -> dict[str, Any]:
    """Return a row of the record: seconds, their ratio to those of a copy, and peak memory over the result's size."""
    entries, n_bytes, copying = copy_of(case.build(), runs)
    building, spread = time_runs(case.build, runs, CPU)
    tracemalloc.start()
    case.build()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    row: dict[str, Any] = {
        "matrix": case.name,
        "entries": entries,
        "seconds": building,
        "spread": spread,
        "times_copying_it": building / copying,
        "peak_over_result": peak / n_bytes,
    }
    try:
        row["others_times_slower"] = {name: other() / building for name, other in case.others}
    except ModuleNotFoundError as error:
        row["others_left_out"] = f"{error.name} is not installed"
    return row


def scaling_row(entries: int, runs: int) -> dict[str, Any]:
    """Return the nanoseconds per entry of a 16 -> 16 convolution: they are constant if the time is linear in its size.

    Parameters
    ----------
    entries : int
        Approximate number of entries of the matrix.
    runs : int
        Number of runs.
    """
    kernel = np.random.default_rng(0).standard_normal((16, 16, 3, 3))
    side = max(3, round((entries / (16 * 16 * 9)) ** 0.5))
    build = partial(conv_matrix, kernel, (16, side, side), padding=1)
    count, _, copying = copy_of(build(), runs)
    taken, spread = time_runs(build, runs, CPU)
    return {
        "entries": count,
        "seconds": taken,
        "spread": spread,
        "nanoseconds_per_entry": 1e9 * taken / count,
        "times_copying_it": taken / copying,
    }


def bench_matrices(
    *, quick: bool = False, keep: Path | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    keep : Path, optional
        File of the parts measured so far; a run with the same conditions goes on from it (see `Run`).
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    runs = 3 if quick else 7
    all_cases = cases(quick, runs)
    sizes = [10**power for power in range(4, 6 if quick else 9)]
    settings = {"runs": runs, "quick": quick, "dtype": "float64"}
    run = Run("bench matrices", settings, CPU, len(all_cases) + len(sizes), keep, progress)
    rows = []
    for case in all_cases:
        rows.append(run.part(case.name, partial(measure, case, runs)))
        run.bar.done(case.name)
    by_size = []
    for entries in sizes:
        by_size.append(run.part(f"{entries:,} entries", partial(scaling_row, entries, runs)))
        run.bar.done()
    left_out = sorted({f"other ways: {row['others_left_out']}" for row in rows if "others_left_out" in row})
    return run.record(left_out, rows=rows, scaling=by_size)
