"""A trial: one network to be trained once, described completely before it runs."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from gpu.models.homotopy import skip_strengths
from gpu.models.resnets import resnet
from gpu.models.shallow import perceptron, six_layer_cnn, three_layer_cnn
from gpu.schedules import (
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
    SkipSchedule,
    ThresholdSchedule,
)

LATER_FIELDS = {"stem_stride": 2}
"""Defaults of the fields of a trial that were added after trials had been run."""

SHALLOW = {"3-layer CNN": three_layer_cnn, "6-layer CNN": six_layer_cnn}


@dataclass(frozen=True)
class Trial:
    """One network to be trained once, and all settings that determine its result.

    Attributes
    ----------
    network : str
        ``ResNet18``, ``ResNet34``, ..., ``3-layer CNN``, ``6-layer CNN`` or ``perceptron``.
    seed : int
        Seed of the initial weights and of the order of the images.
    t : float or str
        Strength of the skips, or the name of its schedule in `SCHEDULES`.
    activation, stem_pool, stem_stride
        Options of `gpu.resnet`; a shallow network has no stem.
    epochs, batch_size, images, held_out, dataset, learning_rate, precision
        Settings as in `gpu.settings.ExperimentSettings`; ``images`` is its ``subset``.
    teacher : Trial, optional
        Trial whose trained network this one learns from.
    """

    network: str
    seed: int
    t: float | str
    activation: str
    stem_pool: str
    epochs: int
    batch_size: int
    images: int | None
    held_out: int | None
    dataset: str
    learning_rate: float
    precision: str
    teacher: "Trial | None" = None
    stem_stride: int = 2

    @property
    def key(self) -> str:
        """Name of the trial's folder, which no other trial has.

        It ends in a hash of all fields. Fields that were added later count only if they are not at their default, so
        that folders of earlier trials keep their names, and can be resumed.
        """
        content = json.dumps(_without_later_defaults(asdict(self)), sort_keys=True)
        name = f"{self.network} {self.activation} t {self.t} seed {self.seed}".lower().replace(" ", "-")
        return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def seeded(self, seed: int) -> "Trial":
        """Return the same trial, and its teacher, with another seed."""
        teacher = None if self.teacher is None else replace(self.teacher, seed=seed)
        return replace(self, seed=seed, teacher=teacher)

    def model(self) -> nn.Module:
        """Return the network, freshly initialised from the seed, with the strengths of the first epoch."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self._initialised()
        self.schedule(model)  # sets the strengths
        return model

    def _initialised(self) -> nn.Module:
        """Return the network with random weights and any strengths."""
        if self.network == "perceptron":
            return perceptron(seed=self.seed)
        if self.network in SHALLOW:
            return SHALLOW[self.network](activation=self.activation, seed=self.seed)  # type: ignore[arg-type]
        depth = int(self.network.removeprefix("ResNet"))
        names = ("activation", "stem_pool", "stem_stride")
        options: dict[str, Any] = {name: getattr(self, name) for name in names}
        model: nn.Module = resnet(depth, **options)
        return model

    def schedule(self, model: nn.Module) -> SkipSchedule | ThresholdSchedule | None:
        """Return a new schedule of the skips of the trial's network; None for the perceptron, which has no skips."""
        if self.network == "perceptron":
            return None
        if isinstance(self.t, str):
            return SCHEDULES[self.t](model, self.epochs)
        return SkipSchedule(model, Constant(self.t))


def _without_later_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a trial, and of its teacher, except those that were added later and have their default."""
    kept = {name: value for name, value in fields.items() if (name, value) not in LATER_FIELDS.items()}
    if kept["teacher"] is not None:
        kept["teacher"] = _without_later_defaults(kept["teacher"])
    return kept


def stretched(values: Sequence[float], epochs: int) -> Listed:
    """Return a list of strengths that is fitted to a number of epochs and keeps its last value.

    Examples
    --------
    >>> stretched((0.9, 0.5, 0.1, 0.0), 2)
    Listed(values=(0.9, 0.0))
    """
    return Listed((*(values[e * len(values) // epochs] for e in range(epochs - 1)), values[-1]))


def one_at_a_time(model: nn.Module, epochs: int) -> SkipSchedule:
    """Remove the skips one after the other, from the input on, spread evenly over the epochs.

    If there are more skips than epochs, several are removed before an epoch.

    Examples
    --------
    >>> schedule = one_at_a_time(six_layer_cnn(t=0.5), epochs=3)
    >>> for epoch in range(3):
    ...     print(list(skip_strengths(schedule.model).values()))
    ...     schedule.step()
    [0.5, 0.5, 0.5, 0.5]
    [0.0, 0.0, 0.5, 0.5]
    [0.0, 0.0, 0.0, 0.0]
    """
    names = list(skip_strengths(model))
    removal = OneAtATime(names, 0.5, every=max(epochs - 1, 1))
    return SkipSchedule(model, lambda epoch: removal(epoch * len(names)))


def threshold(model: nn.Module, epochs: int) -> ThresholdSchedule:
    """Lower t to the next value when the validation error has been halved: below 1/2, 1/4 and 1/8."""
    return ThresholdSchedule(model, values=(0.9, 0.5, 0.2, 0.0), thresholds=(0.5, 0.75, 0.875))


def _by_epoch(function_for: Callable[[int], ScheduleFunction]) -> Callable[[nn.Module, int], SkipSchedule]:
    """Return the schedule that sets all skips to a function of the epoch, given the function for a number of epochs."""
    return lambda model, epochs: SkipSchedule(model, function_for(epochs))


SCHEDULES: dict[str, Callable[[nn.Module, int], SkipSchedule | ThresholdSchedule]] = {
    "paper from 0.9": _by_epoch(lambda epochs: stretched(PAPER_FROM_09, epochs)),
    "paper from 0.5": _by_epoch(lambda epochs: stretched(PAPER_FROM_05, epochs)),
    "paper from 0.5 as printed": _by_epoch(lambda epochs: stretched(PAPER_FROM_05_AS_PRINTED, epochs)),
    "linear": _by_epoch(lambda epochs: Linear(0.5, max(epochs - 1, 1))),
    "cosine": _by_epoch(lambda epochs: Cosine(0.5, max(epochs - 1, 1))),
    "exponential": _by_epoch(lambda epochs: Exponential(0.5, 0.5, max(epochs - 1, 1))),
    "one at a time": one_at_a_time,
    "threshold": threshold,
}
"""Schedules by name, for a network and a number of epochs; with two epochs or more, t is 0 in the last one of each,
except for ``threshold``, where it is 0 once the validation accuracy has reached 87.5 %."""
