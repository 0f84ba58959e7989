"""Schedules of the skip strength t: the homotopy from a network with skips to one without.

A `gpu.SkipSchedule` or a `gpu.ThresholdSchedule` sets t in a network while it is trained (`schedule.py`). The first
follows a function of the step, such as `Linear` (`functions.py`).
"""

from gpu.schedules.functions import (
    PAPER_FROM_05,
    PAPER_FROM_05_AS_PRINTED,
    PAPER_FROM_09,
    Constant,
    Cosine,
    Exponential,
    Linear,
    Listed,
    OneAtATime,
    ScheduleFunction,
)
from gpu.schedules.schedule import SkipSchedule, ThresholdSchedule

__all__ = [
    "PAPER_FROM_05",
    "PAPER_FROM_05_AS_PRINTED",
    "PAPER_FROM_09",
    "Constant",
    "Cosine",
    "Exponential",
    "Linear",
    "Listed",
    "OneAtATime",
    "ScheduleFunction",
    "SkipSchedule",
    "ThresholdSchedule",
]
