"""Figure 3: ResNet34 with a constant t, and with the paper's two schedules that take t to 0."""

from dataclasses import replace

from gpu.experiments.accuracy import AccuracyByEpoch
from gpu.experiments.experiment import Experiment
from gpu.experiments.paper_numbers import PaperFigure
from gpu.experiments.trial import Trial
from gpu.settings import ExperimentSettings

CURVES = ("Static t", "Scheduled t starting at 0.9", "Scheduled t starting at 0.5")


def static_and_scheduled(common: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return the three curves of the figure."""
    trials = (common, replace(common, t="paper from 0.9"), replace(common, t="paper from 0.5"))
    return {name: [trial] for name, trial in zip(CURVES, trials, strict=True)}


EXPERIMENT = Experiment(
    series=static_and_scheduled,
    options=("stem_stride",),
    view=AccuracyByEpoch(PaperFigure("figure3_static_vs_scheduled_t.csv", {name: name for name in CURVES})),
)
