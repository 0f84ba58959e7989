"""The time of modules on one batch, in turn, so that a disturbance of the machine hits all of them."""

import math
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

LEAST_SECONDS = 2e-3
"""Seconds of a sample, at least: a module that takes less is called several times."""
ROUNDS = 9
"""Number of rounds, each of which times every module once."""
FEW_ROUNDS = 3
"""Number of rounds for the segments of a stretch, whose fastest sequence is timed again."""
HOPELESS = 2.0
"""A module that takes this many times as long as the fastest one in a first round is not timed again."""


class Latency(NamedTuple):
    """The time of a call.

    Attributes
    ----------
    seconds : float
        Median of the rounds.
    ratio : float
        Median, over the rounds, of the time as a multiple of that of the first module in the same round.
    low, high : float
        Quartiles of these multiples: three quarters of the rounds are above ``low``, and three quarters below ``high``.
    """

    seconds: float
    ratio: float
    low: float
    high: float


@torch.inference_mode()
def latencies(
    modules: Mapping[str, Callable[[torch.Tensor], Any]], x: torch.Tensor, rounds: int = ROUNDS
) -> dict[str, Latency]:
    """Return the time of modules on a batch, by name.

    Parameters
    ----------
    modules : mapping of str to callable
        The modules. The first one is the one that the others are compared with.
    x : tensor (N, ...)
        Batch, on the device of the modules.
    rounds : int
        Number of rounds, each of which times every module once.

    Examples
    --------
    >>> found = latencies({"identity": torch.nn.Identity(), "sum": torch.sum}, torch.ones(2, 3))
    >>> list(found), found["identity"].ratio
    (['identity', 'sum'], 1.0)
    """
    for module in modules.values():
        module(x)  # the first call allocates and chooses kernels
    once = {name: _seconds(module, x, 1) for name, module in modules.items()}
    calls = {name: max(1, math.ceil(LEAST_SECONDS / max(taken, 1e-9))) for name, taken in once.items()}
    first = {name: _seconds(module, x, min(calls[name], 3)) for name, module in modules.items()}
    fastest, reference = min(first.values()), next(iter(modules))
    kept = {name for name, taken in first.items() if taken <= HOPELESS * fastest} | {reference}
    timed: dict[str, list[float]] = {name: [] for name in modules if name in kept}
    for _ in range(rounds):
        for name in timed:
            timed[name].append(_seconds(modules[name], x, calls[name]))
    found = {}
    for name in modules:
        taken = timed.get(name, [first[name]] * rounds)
        ratios = [mine / theirs for mine, theirs in zip(taken, timed[reference], strict=True)]
        low, high = np.percentile(ratios, (25, 75))
        found[name] = Latency(median(taken), median(ratios), float(low), float(high))
    return found


def _seconds(module: Callable[[torch.Tensor], Any], x: torch.Tensor, calls: int) -> float:
    """Return the seconds of a call, from several in a row."""
    start = time.perf_counter()
    for _ in range(calls):
        module(x)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return (time.perf_counter() - start) / calls
