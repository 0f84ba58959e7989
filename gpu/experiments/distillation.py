"""Distillation, which the paper does not have: networks that lose their skips, with and without a teacher."""

from dataclasses import replace

from gpu.experiments.accuracy import AccuracyByEpoch
from gpu.experiments.experiment import Experiment
from gpu.experiments.trial import Trial
from gpu.settings import ExperimentSettings


def taught_and_untaught(common: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return the teacher, and networks that end without skips, by themselves and taught by it."""
    return {
        "Teacher, t = 0.5": [common],
        "Scheduled t starting at 0.9": [replace(common, t="paper from 0.9")],
        "No skips from the start": [replace(common, t=0.0)],
        "No skips, taught": [replace(common, t=0.0, teacher=common)],
        "Scheduled t starting at 0.9, taught": [replace(common, t="paper from 0.9", teacher=common)],
    }


EXPERIMENT = Experiment(series=taught_and_untaught, view=AccuracyByEpoch(), options=("stem_stride",), keep_weights=True)
