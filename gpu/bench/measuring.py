"""Medians of several runs, with their spread."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch


class Timing(NamedTuple):
    """Seconds: the median of several runs, and the spread, which is the width of their middle half."""

    median: float
    spread: float


def timing_of(seconds: list[float]) -> Timing:
    """Return the median and the spread of several runs.

    Examples
    --------
    >>> timing_of([1.0, 2.0, 3.0, 4.0, 5.0])
    Timing(median=3.0, spread=2.0)
    """
    low, middle, high = np.percentile(seconds, (25, 50, 75))
    return Timing(float(middle), float(high - low))


def run_seconds(function: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of one run, until the device is done; giving the result back is not part of it."""
    start = time.perf_counter()
    result = function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    del result
    return seconds


def time_runs(function: Callable[[], Any], runs: int, device: torch.device) -> Timing:
    """Time several runs after one that does not count; a single one for ``runs=1``, which has no spread."""
    if runs > 1:
        run_seconds(function, device)
    return timing_of([run_seconds(function, device) for _ in range(runs)])


def time_in_turn(
    ways: Mapping[str, Callable[[], Any]], runs: int, device: torch.device, done: Callable[[], Any]
) -> dict[str, list[float]]:
    """Return the seconds of each way in several runs, one way after the other in each, after a run to warm up.

    What disturbs the machine meanwhile disturbs all ways, so that ratios within a run hold.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(runs + 1):
        for way, function in ways.items():
            taken = run_seconds(function, device)
            if run:
                seconds[way].append(taken)
            done()
    return seconds


def in_a_line(error: Exception) -> str:
    r"""Return what kind of error it is, and the first line that it says.

    Examples
    --------
    >>> in_a_line(ValueError("no such thing\nand much more"))
    'ValueError: no such thing'
    """
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
