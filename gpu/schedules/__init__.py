"""Schedules of the skip strength t: the homotopy from a network with skips to one without; and of activations' slopes.

A `gpu.SkipSchedule` or a `gpu.ThresholdSchedule` sets t in a network while it is trained, and a `gpu.SlopeSchedule`
takes activations to the identity (`schedule.py`). The first and the last follow a function of the step, such as
`Linear` (`functions.py`).
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
from gpu.schedules.schedule import SkipSchedule, SlopeSchedule, ThresholdSchedule

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
    "SlopeSchedule",
    "ThresholdSchedule",
]
