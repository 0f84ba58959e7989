"""How long a prediction takes, and on what."""

import importlib.metadata
import logging
import os
import platform
import time
import timeit
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")
LEAST_RUNS = 3


@torch.inference_mode()
def microseconds_per_image(
    model: Callable[[torch.Tensor], Any],
    batch: torch.Tensor,
    statement: str = "model(batch)",
    min_run_time: float = 0.5,
    least_runs: int = LEAST_RUNS,
) -> dict[str, float]:
    """Time a model on one batch that is already on its device, without any loading: the paper's section 5.1.

    Warm-up, synchronisation and the choice of the number of runs are `torch.utils.benchmark`'s.

    Parameters
    ----------
    model : nn.Module, or another callable
    batch : tensor (N, ...)
    statement : str
        What is timed.
    min_run_time : float
        Seconds to spend; more where a single run takes that long.
    least_runs : int
        How many runs are timed at least, after one to warm up.

    Returns
    -------
    dict
        ``median`` and ``iqr`` (the spread: the middle half of the measurements), in microseconds per image.

    Examples
    --------
    >>> measured = microseconds_per_image(torch.nn.Flatten(), torch.zeros(4, 1, 28, 28), min_run_time=0.01)
    >>> sorted(measured)
    ['iqr', 'median']
    """
    Timer = _benchmark_timer()
    given = {"model": model, "batch": batch}
    timer = Timer(statement, globals=given, num_threads=torch.get_num_threads())
    if least_runs > 1:
        min_run_time = max(min_run_time, least_runs * timeit.timeit(statement, globals=given, number=1))
    measured = timer.blocked_autorange(min_run_time=min_run_time)
    scale = 1e6 / len(batch)
    return {"median": measured.median * scale, "iqr": measured.iqr * scale}


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


def _benchmark_timer() -> Any:
    """Return `torch.utils.benchmark.Timer`, imported without a word on the CUDA toolkits that it looks for."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from torch.utils.benchmark import Timer
    finally:
        logger.setLevel(before)
    return Timer


def describe_hardware(device: torch.device) -> dict[str, Any]:
    """Return what a timing was measured on: processor, cores, threads, and the accelerator if one was used."""
    hardware: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device),
    }
    if device.type == "cuda":
        hardware["gpu"] = torch.cuda.get_device_name(device)
    return hardware


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    packages = ("linalg_cnn", "numpy", "scipy", "sympy", "torch", "torchvision")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def describe_machine(record: dict[str, Any], packages: Sequence[str] = ("numpy", "scipy", "torch")) -> str:
    """Return on what machine, and with what versions of these packages, a record was measured."""
    hardware, versions = record["hardware"], record["versions"]
    place = hardware.get("gpu", hardware["processor"])
    if "cpu_capability" in hardware:
        place += f" ({hardware['cpu_capability']})"
    numbers = ", ".join(f"{name} {versions[name]}" for name in packages)
    return f"{place}, {hardware['cores']} cores, {hardware['threads']} threads; Python {versions['python']}, {numbers}"


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
