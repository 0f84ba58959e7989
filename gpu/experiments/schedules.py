"""Ways to a network without skips, compared over several seeds: schedules, none, and a teacher."""

import textwrap
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from gpu.experiments.accuracy import AS_TRAINED, AccuracyByEpoch, spread
from gpu.experiments.experiment import Experiment, Record, finished_trials, label_of
from gpu.experiments.panels import WIDTH, below
from gpu.experiments.trial import Trial
from gpu.runtime.tables import markdown_table
from gpu.settings import ExperimentSettings
from linalg_cnn.display.colors import CURVE_COLORS
from linalg_cnn.display.ends import NAME_SIZE, NAME_WIDTH

WITH_SKIPS = "Static t = 0.5, with skips"


def ways_to_no_skips(common: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return a network that keeps its skips, which is the teacher as well, and the ways to one without."""
    common = replace(common, network=f"ResNet{settings.depth}")
    scheduled = {
        "Scheduled t starting at 0.9": "paper from 0.9",
        "Cosine from 0.5": "cosine",
        "One skip at a time": "one at a time",
        "Whenever the error is halved": "threshold",
    }
    return {
        WITH_SKIPS: [common],
        "No skips from the start": [replace(common, t=0.0)],
        **{name: [replace(common, t=schedule)] for name, schedule in scheduled.items()},
        "No skips, taught": [replace(common, t=0.0, teacher=common)],
    }


class WaysToNoSkips(AccuracyByEpoch):
    """Validation accuracy after the last epoch: every trial, and its difference to the network with skips."""

    title = "after the last epoch"

    def conditions(self, record: Record) -> str:
        """Return the network as well."""
        return f"{record['settings']['network']}, {super().conditions(record)}"

    def draw(self, figure: Figure, record: Record) -> None:
        """Draw each trial as a point and the mean of each way as a line, one row per way."""
        figure.set_size_inches(WIDTH, 3.6)
        axes = figure.subplots()
        names = [label_of(series) for series in record["series"]]
        for row, series in enumerate(record["series"]):
            if found := list(_last(series).values()):
                colour = CURVE_COLORS[row % len(CURVE_COLORS)]
                axes.plot(found, [row] * len(found), "o", color=colour, ms=6, alpha=0.6)
                axes.plot([np.mean(found)] * 2, [row - 0.3, row + 0.3], color=colour, lw=2)
        axes.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(name, NAME_WIDTH)) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)  # the first row on top
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.tick_params(labelsize=NAME_SIZE)
        below(figure, "validation accuracy of each trial, and the mean (line)", self.conditions(record))
        axes.grid(axis="x", alpha=0.3)

    def tables(self, record: Record) -> list[str]:
        """Return one row for each way to a network without skips; trials that diverged are counted beside its name."""
        reference = next((_last(series) for series in record["series"] if series["name"] == WITH_SKIPS), {})
        rows = []
        for series in record["series"]:
            last = _last(series)
            differences = [100 * (last[seed] - reference[seed]) for seed in last if seed in reference]
            finished = finished_trials(series)
            without = [epoch for trial in finished if (epoch := _first_without_skips(trial)) is not None]
            rows.append([
                label_of(series),
                f"{len(without)} of {len(finished)}",
                f"{np.mean(without):.1f}" if without else "",
                spread(list(last.values())),
                f"{np.std(list(last.values()), ddof=1):.2%}" if len(last) > 1 else "",
                "" if series["name"] == WITH_SKIPS else _signed(differences),
                spread(list(_last(series, AS_TRAINED).values())),
            ])
        header = [
            "way",
            "end without skips",
            "first epoch without",
            "validation accuracy",
            "standard deviation",
            "points more than with skips, same seeds",
            "with the statistics that training left",
        ]
        return markdown_table(header, rows)

    def words(self, record: Record) -> str:
        """Return mean, smallest and largest accuracy of each way."""
        ways = [f"{label_of(series)}: {spread(list(_last(series).values())) or 'none'}" for series in record["series"]]
        return f"Validation accuracy {self.title}. {'; '.join(ways)}."


def _last(series: Record, kind: str = "validation_accuracy") -> dict[int, float]:
    """Return the accuracy after the last epoch by the seed of the trial, where a finished trial has this kind."""
    last = {trial["seed"]: trial["epochs"][-1] for trial in finished_trials(series) if trial["epochs"]}
    return {seed: epoch[kind] for seed, epoch in last.items() if kind in epoch}


def _first_without_skips(trial: Record) -> int | None:
    """Return the first epoch from which on t was 0 in all epochs; None if it was not in the last."""
    first = None
    for epoch in reversed(trial["epochs"]):
        t = epoch["t"]
        if any(t.values() if isinstance(t, dict) else [t]):
            break
        first = epoch["epoch"]
    return first


def _signed(points: list[float]) -> str:
    """Return the mean of some differences, and the smallest and the largest."""
    return f"{np.mean(points):+.1f} ({min(points):+.1f} to {max(points):+.1f})" if points else ""


EXPERIMENT = Experiment(
    series=ways_to_no_skips, view=WaysToNoSkips(), options=("depth", "stem_stride"), keep_weights=True
)
