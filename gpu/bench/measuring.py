"""The time of functions: medians of several runs, with their spread."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gpu.bench.measurements import Measured
from gpu.runtime.timing import median_and_iqr


def measured_of(seconds: Sequence[float]) -> Measured:
    """Return what several runs have measured: their median, and their interquartile range as its spread.

    Examples
    --------
    >>> measured_of([1.0, 2.0, 3.0, 4.0, 5.0])
    Measured(seconds=3.0, spread=2.0)
    """
    return Measured(*median_and_iqr(seconds))


def run_seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one run, until the device has finished; freeing the result is not counted."""
    start = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    del result
    return seconds


def time_runs(function: Callable[[], Any], runs: int, device: torch.device) -> Measured:
    """Time several runs after one that warms up; with ``runs=1`` a single cold run, whose spread is 0."""
    if runs > 1:
        run_seconds(function, device)
    return measured_of([run_seconds(function, device) for _ in range(runs)])


def time_in_turn(
    functions: Mapping[str, Callable[[], Any]], runs: int, device: torch.device, done: Callable[[], Any]
) -> dict[str, list[float]]:
    """Return the seconds of each function in several rounds, each of which runs all functions in turn.

    A disturbance of the machine then slows all functions, so that ratios within a round hold.

    Parameters
    ----------
    functions : mapping of str to callable
        The functions, by name.
    runs : int
        Number of rounds that count, after one that warms up.
    device : torch.device
        Device that the functions use.
    done : callable
        Called after every run, for a progress bar.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(runs + 1):
        for name, function in functions.items():
            taken = run_seconds(function, device)
            if run:
                seconds[name].append(taken)
            done()
    return seconds
