"""The time of a prediction per image, and of consecutive steps."""

import logging
import math
import time
import timeit
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.runtime.modes import in_evaluation_mode
from linalg_cnn.checks import as_float, check_int

Predict = Callable[[torch.Tensor], Any]
"""Takes a batch and computes its scores, in whatever form the runtime returns them."""

LEAST_RUNS = 3
"""Smallest number of timed runs, after one that warms up."""


@torch.inference_mode()
def microseconds_per_image(
    model: Callable[[torch.Tensor], Any],
    batch: torch.Tensor,
    *,
    min_run_time: float = 0.5,
    least_runs: int = LEAST_RUNS,
) -> dict[str, float]:
    """Time a model on one batch that is already on its device, without loading: the paper's section 5.1.

    `torch.utils.benchmark` warms up, synchronises and chooses the number of runs.

    Parameters
    ----------
    model : nn.Module, or another callable
        The model, which takes the batch. A module is timed in evaluation mode, in which its running statistics stay as
        they are; each of its parts has its own mode again afterwards. Another callable is called as it is.
    batch : tensor (N, ...)
        The batch, on the device of the model.
    min_run_time : float
        Seconds to spend on timed runs, at least.
    least_runs : int
        Smallest number of timed runs, after one that warms up.

    Returns
    -------
    dict
        ``median`` and interquartile range ``iqr`` of the measurements, in microseconds per image.

    Raises
    ------
    TypeError
        If ``model`` cannot be called, or ``batch`` is not a tensor.
    ValueError
        If there is no image in the batch, ``min_run_time`` is not a finite number of at least 0, or ``least_runs`` not
        an int of at least 1.

    Examples
    --------
    >>> measured = microseconds_per_image(torch.nn.Flatten(), torch.zeros(4, 1, 28, 28), min_run_time=0.01)
    >>> sorted(measured)
    ['iqr', 'median']
    """
    if not callable(model):
        raise TypeError(f"model: expected an nn.Module or another callable, got {type(model).__name__}")
    if not isinstance(batch, torch.Tensor):
        raise TypeError(f"batch: expected a tensor, got {type(batch).__name__}")
    if not batch.ndim or not len(batch):
        raise ValueError(f"batch: expected at least one image (N, ...), got shape {tuple(batch.shape)}")
    seconds = _check_seconds("min_run_time", min_run_time)
    check_int("least_runs", least_runs, 1)
    benchmark = _torch_benchmark()
    statement, given = "model(batch)", {"model": model, "batch": batch}
    evaluated = in_evaluation_mode(model) if isinstance(model, nn.Module) else nullcontext()
    # torch's timers wait for the current device, which need not be that of the batch
    with evaluated, torch.cuda.device(batch.device) if batch.is_cuda else nullcontext():
        timer = benchmark.Timer(statement, globals=given, num_threads=torch.get_num_threads())
        if least_runs > 1:
            once = timeit.timeit(statement, globals=given, number=1, timer=benchmark.timer)
            seconds = max(seconds, least_runs * once)
        measured = timer.blocked_autorange(min_run_time=seconds)
    scale = 1e6 / len(batch)
    return {"median": measured.median * scale, "iqr": measured.iqr * scale}


def _check_seconds(name: str, value: object) -> float:
    """Return a number of seconds.

    Raises
    ------
    ValueError
        If it is not a finite number of at least 0.
    """
    number = as_float(value)
    if not 0 <= number < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r}")
    return number


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
