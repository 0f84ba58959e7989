"""What the experiments train: each one a list of trials."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from gpu.experiments.paper_numbers import paper_figure
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
    ScheduleFunction,
    SkipSchedule,
)
from gpu.settings import ExperimentSettings

SHALLOW = {"3-layer CNN": three_layer_cnn, "6-layer CNN": six_layer_cnn}


@dataclass(frozen=True)
class Trial:
    """One network to be trained once, and everything that decides what comes out.

    Attributes
    ----------
    network : str
        ``ResNet18``, ``ResNet34``, ..., ``3-layer CNN``, ``6-layer CNN``, ``perceptron``.
    seed : int
        Of the weights and of the order of the images.
    t : float or str
        The strength of the skips, or the name of its schedule in `SCHEDULES`.
    activation, stem_pool : str
        See `gpu.resnet`; shallow networks have no stem.
    teacher : Trial, optional
        What is trained before, for this one to learn from.
    epochs, batch_size, images, held_out, dataset, learning_rate, precision
        See `gpu.settings.ExperimentSettings`.
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

    @property
    def key(self) -> str:
        """A name for files that no other trial has."""
        content = json.dumps(asdict(self), sort_keys=True)
        name = f"{self.network} {self.activation} t {self.t} seed {self.seed}".lower().replace(" ", "-")
        return f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def model(self) -> nn.Module:
        """Return the network, freshly initialised from the seed."""
        start: Any = self.t if isinstance(self.t, float) else self.schedule_function()(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.network == "perceptron":
                return perceptron(seed=self.seed)
            if self.network in SHALLOW:
                return SHALLOW[self.network](t=start, activation=self.activation, seed=self.seed)  # type: ignore[arg-type]
            depth = int(self.network.removeprefix("ResNet"))
            options: dict[str, Any] = {"activation": self.activation, "stem_pool": self.stem_pool}
            model: nn.Module = resnet(depth, t=start, **options)
            return model

    def schedule_function(self) -> ScheduleFunction:
        """Return t as a function of the epoch, counted from 0."""
        return SCHEDULES[self.t](self.epochs) if isinstance(self.t, str) else Constant(self.t)

    def schedule(self, model: nn.Module) -> SkipSchedule | None:
        """Return the schedule of the skips of a network; None if it has none."""
        return None if self.network == "perceptron" else SkipSchedule(model, self.schedule_function())


def stretched(values: Sequence[float]) -> Callable[[int], Listed]:
    """Return a list for ten epochs as one for any number of them, which ends where it ends.

    Examples
    --------
    >>> stretched((0.9, 0.5, 0.1, 0.0))(2)
    Listed(values=(0.9, 0.0))
    """
    return lambda epochs: Listed((*(values[e * len(values) // epochs] for e in range(epochs - 1)), values[-1]))


SCHEDULES: dict[str, Callable[[int], ScheduleFunction]] = {
    "paper from 0.9": stretched(PAPER_FROM_09),
    "paper from 0.5": stretched(PAPER_FROM_05),
    "paper from 0.5 as printed": stretched(PAPER_FROM_05_AS_PRINTED),
    "linear": lambda epochs: Linear(0.5, max(epochs - 1, 1)),
    "cosine": lambda epochs: Cosine(0.5, max(epochs - 1, 1)),
    "exponential": lambda epochs: Exponential(0.5, 0.5, max(epochs - 1, 1)),
}
"""Schedules by name, as functions of the number of epochs; t is 0 in the last one."""


def plan(settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return the trials of an experiment by the name of their series.

    Raises
    ------
    ValueError
        If a series is asked for that the experiment does not have.

    Examples
    --------
    >>> from pathlib import Path
    >>> plans = plan(ExperimentSettings("figure3", Path("out"), trials=2))
    >>> [(name, len(trials)) for name, trials in plans.items()]
    [('Static t', 2), ('Scheduled t starting at 0.9', 2), ('Scheduled t starting at 0.5', 2)]
    """
    series = PLANS[settings.name](_trial(settings), settings)
    chosen = settings.series or tuple(series)
    unknown = sorted(set(chosen) - set(series))
    if unknown:
        raise ValueError(f"series: expected some of {', '.join(series)}; got {', '.join(unknown)}")
    seeds = range(settings.seed, settings.seed + settings.trials)
    return {name: [_seeded(trial, seed) for trial in series[name] for seed in seeds] for name in chosen}


def _seeded(trial: Trial, seed: int) -> Trial:
    teacher = None if trial.teacher is None else replace(trial.teacher, seed=seed)
    return replace(trial, seed=seed, teacher=teacher)


def _trial(settings: ExperimentSettings) -> Trial:
    """Return what all trials have in common: ResNet34 with ReLU and max pooling."""
    return Trial(
        network="ResNet34",
        seed=settings.seed,
        t=0.5,
        activation="relu",
        stem_pool="max",
        epochs=DEFAULT_EPOCHS[settings.name] if settings.epochs is None else settings.epochs,
        batch_size=settings.batch_size,
        images=settings.subset,
        held_out=settings.held_out,
        dataset=settings.dataset,
        learning_rate=settings.learning_rate,
        precision=settings.precision,
    )


def _figure1(base: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    linear = replace(base, activation="identity")
    return {
        "ResNet34, linear, max pooling (not affine)": [linear],
        "ResNet34, linear, average pooling": [replace(linear, stem_pool="avg")],
        "3-layer CNN with skip connections": [replace(linear, network="3-layer CNN")],
        "Single-layer perceptron": [replace(linear, network="perceptron")],
    }


def _figure2(base: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    strengths = settings.t or tuple(paper_figure("figure2")["t"])
    kinds = {
        "ResNet34": base,
        "ResNet18": replace(base, network="ResNet18"),
        "ResNet34, linear": replace(base, activation="identity", stem_pool="avg"),
        "ResNet18, linear": replace(base, network="ResNet18", activation="identity", stem_pool="avg"),
    }
    for name in SHALLOW:
        kinds[name] = replace(base, network=name)
        kinds[f"{name}, linear"] = replace(base, network=name, activation="identity")
    return {name: [replace(trial, t=t) for t in strengths] for name, trial in kinds.items()}


def _figure3(base: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    return {
        "Static t": [base],
        "Scheduled t starting at 0.9": [replace(base, t="paper from 0.9")],
        "Scheduled t starting at 0.5": [replace(base, t="paper from 0.5")],
    }


def _distillation(base: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    return {
        "Teacher, t = 0.5": [base],
        "Scheduled t starting at 0.9": [replace(base, t="paper from 0.9")],
        "No skips from the start": [replace(base, t=0.0)],
        "No skips, taught": [replace(base, t=0.0, teacher=base)],
        "Scheduled t starting at 0.9, taught": [replace(base, t="paper from 0.9", teacher=base)],
    }


PLANS = {"figure1": _figure1, "figure2": _figure2, "figure3": _figure3, "distillation": _distillation}
DEFAULT_EPOCHS = {"figure1": 10, "figure2": 2, "figure3": 10, "distillation": 10}
