"""The definition of an experiment: the networks that it trains or its measurement, and the view of its record."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from gpu.experiments.trial import Trial
from gpu.settings import DIGITS, ExperimentSettings

Record = dict[str, Any]
"""The JSON object that ``linalg-cnn experiment`` writes."""


class View(ABC):
    """Shows the records of an experiment, with the paper's numbers beside the measured ones."""

    @abstractmethod
    def conditions(self, record: Record) -> str:
        """Return the data and the machine of a record in one line."""

    @abstractmethod
    def draw(self, figure: Figure, record: Record) -> None:
        """Draw a record into an empty figure, and set the figure's size."""

    @abstractmethod
    def tables(self, record: Record) -> list[str]:
        """Return the lines of the Markdown tables of a record."""

    @abstractmethod
    def words(self, record: Record) -> str:
        """Return the numbers of the figure in words, for its text alternative."""


def machine_of(record: Record) -> str:
    """Return the GPU that a record was measured on, or else the processor and its number of cores."""
    hardware = record["hardware"]
    return hardware.get("gpu") or f"{hardware.get('processor')}, {hardware.get('cores')} cores"


def finished_trials(series: Record) -> list[Record]:
    """Return the trials of a series that were trained to the end: one that diverged has no accuracy to count.

    Examples
    --------
    >>> finished_trials({"trials": [{"seed": 0}, {"seed": 1, "stopped": "training diverged"}]})
    [{'seed': 0}]
    """
    return [trial for trial in series["trials"] if trial.get("stopped") is None]


def label_of(series: Record) -> str:
    """Return the name of a series, and how many of its trials diverged, where any did.

    Examples
    --------
    >>> label_of({"name": "ResNet34", "trials": [{"seed": 0}, {"seed": 1, "stopped": "training diverged"}]})
    'ResNet34 (1 of 2 diverged)'
    """
    trials = len(series["trials"])
    diverged = trials - len(finished_trials(series))
    return f"{series['name']} ({diverged} of {trials} diverged)" if diverged else str(series["name"])


def dataset_of(settings: ExperimentSettings) -> str:
    """Return the data set of an experiment that takes the 5,000 digits where MNIST has no folder."""
    return "mnist-5k" if (settings.dataset, settings.data_root) == ("mnist", None) else settings.dataset


def training_settings(settings: ExperimentSettings) -> dict[str, Any]:
    """Return what a record says of a training, as far as the settings decide it."""
    return {
        "trials": settings.trials,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
        "optimizer": "Adam",
        "learning_rate": settings.learning_rate,
        "precision": settings.precision,
        "recalibration": "layer by layer",
    }


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment: either ``series`` of networks that it trains, or a ``measure`` that it takes.

    Attributes
    ----------
    view : View
        View of its records.
    series : callable, optional
        Returns the trials of each series, by the name of the series. Its arguments are a Trial with all common
        settings, and the `gpu.settings.ExperimentSettings`. `plan` repeats each trial with every seed.
    measure : callable, optional
        Returns the record, given the `gpu.settings.ExperimentSettings`.
    epochs : int
        Number of epochs that a network is trained for if the settings do not say.
    options : tuple of str
        Names of the settings that it takes and not all experiments take.
    keep_weights : bool
        Whether trained weights are kept beside the results.
    datasets : tuple of str
        Names of the data sets that it can train on; the networks of the paper take digits.

    Raises
    ------
    ValueError
        If neither or both of ``series`` and ``measure`` are given.
    """

    view: View
    series: Callable[[Trial, ExperimentSettings], Mapping[str, list[Trial]]] | None = None
    measure: Callable[[ExperimentSettings], Record] | None = None
    epochs: int = 10
    options: tuple[str, ...] = ()
    keep_weights: bool = False
    datasets: tuple[str, ...] = DIGITS

    def __post_init__(self) -> None:
        if (self.series is None) == (self.measure is None):
            got = "neither" if self.series is None else "both"
            raise ValueError(f"experiment: expected one of series and measure, got {got}")

    def plan(self, settings: ExperimentSettings) -> dict[str, list[Trial]]:
        """Return the trials of the chosen series with all seeds, by the name of the series.

        Raises
        ------
        ValueError
            If the settings name a series that the experiment does not have.

        Examples
        --------
        >>> from pathlib import Path
        >>> from gpu.experiments.figure3 import EXPERIMENT
        >>> plan = EXPERIMENT.plan(ExperimentSettings("figure3", Path("out"), trials=2))
        >>> [(name, len(trials)) for name, trials in plan.items()]
        [('Static t', 2), ('Scheduled t starting at 0.9', 2), ('Scheduled t starting at 0.5', 2)]
        """
        series = {} if self.series is None else self.series(self._common(settings), settings)
        chosen = settings.series or tuple(series)
        unknown = sorted(set(chosen) - set(series))
        if unknown:
            raise ValueError(f"series: expected some of {', '.join(series)}; got {', '.join(unknown)}")
        seeds = range(settings.seed, settings.seed + settings.trials)
        return {name: [trial.seeded(seed) for trial in series[name] for seed in seeds] for name in chosen}

    def _common(self, settings: ExperimentSettings) -> Trial:
        """Return the trial that those of a series are variants of: a ResNet34 with ReLU and max pooling."""
        return Trial(
            network="ResNet34",
            seed=settings.seed,
            t=0.5,
            activation="relu",
            stem_pool="max",
            epochs=self.epochs if settings.epochs is None else settings.epochs,
            batch_size=settings.batch_size,
            images=settings.subset,
            held_out=settings.held_out,
            dataset=settings.dataset,
            learning_rate=settings.learning_rate,
            precision=settings.precision,
            stem_stride=settings.stem_stride,
        )
