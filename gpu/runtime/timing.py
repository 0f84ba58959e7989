"""The time of a prediction per image, and of consecutive steps."""

import logging
import time
import timeit
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

Predict = Callable[[torch.Tensor], Any]
"""Takes a batch and computes its scores, in whatever form the runtime returns them."""

LEAST_RUNS = 3
"""Smallest number of timed runs, after one that warms up."""


@torch.inference_mode()
def microseconds_per_image(
    model: Callable[[torch.Tensor], Any],
    batch: torch.Tensor,
    statement: str = "model(batch)",
    min_run_time: float = 0.5,
    least_runs: int = LEAST_RUNS,
) -> dict[str, float]:
    """Time a model on one batch that is already on its device, without loading: the paper's section 5.1.

    `torch.utils.benchmark` warms up, synchronises and chooses the number of runs.

    Parameters
    ----------
    model : nn.Module, or another callable
        The model, which takes the batch.
    batch : tensor (N, ...)
        The batch, on the device of the model.
    statement : str
        Python code to time, in terms of ``model`` and ``batch``.
    min_run_time : float
        Seconds to spend on timed runs, at least.
    least_runs : int
        Smallest number of timed runs, after one that warms up.

    Returns
    -------
    dict
        ``median`` and interquartile range ``iqr`` of the measurements, in microseconds per image.

    Examples
    --------
    >>> measured = microseconds_per_image(torch.nn.Flatten(), torch.zeros(4, 1, 28, 28), min_run_time=0.01)
    >>> sorted(measured)
    ['iqr', 'median']
    """
    benchmark = _torch_benchmark()
    given = {"model": model, "batch": batch}
    # torch's timers wait for the current device, which need not be that of the batch
    with torch.cuda.device(batch.device) if batch.is_cuda else nullcontext():
        timer = benchmark.Timer(statement, globals=given, num_threads=torch.get_num_threads())
        if least_runs > 1:
            once = timeit.timeit(statement, globals=given, number=1, timer=benchmark.timer)
            min_run_time = max(min_run_time, least_runs * once)
        measured = timer.blocked_autorange(min_run_time=min_run_time)
    scale = 1e6 / len(batch)
    return {"median": measured.median * scale, "iqr": measured.iqr * scale}


def median_and_iqr(values: Sequence[float]) -> tuple[float, float]:
    """Return the median and the interquartile range of several measurements.

    Examples
    --------
    >>> median_and_iqr([1.0, 2.0, 3.0, 4.0, 5.0])
    (3.0, 2.0)
    """
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float(middle), float(high - low)


class Stopwatch:
    """The seconds that consecutive steps take.

    Attributes
    ----------
    seconds : dict of str to float
        Seconds of each step, in order.

    Examples
    --------
    >>> watch = Stopwatch()
    >>> watch.lap("waiting")
    >>> list(watch.seconds)
    ['waiting']
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Record the time since the last lap, or since the start, as that of a step."""
        now = time.perf_counter()
        self.seconds[step] = now - self._last
        self._last = now


def _torch_benchmark() -> Any:
    """Return `torch.utils.benchmark`, imported without the warnings about missing CUDA toolkits."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils import benchmark
    finally:
        logger.setLevel(before)
    return benchmark
