"""Figure 2: accuracy after two epochs against a fixed strength t of the skips."""

from dataclasses import replace

from gpu.experiments.accuracy import AccuracyByT
from gpu.experiments.experiment import Experiment
from gpu.experiments.paper_numbers import PaperFigure
from gpu.experiments.trial import SHALLOW, Trial
from gpu.settings import ExperimentSettings

PAPER = PaperFigure("figure2_resnet34_t_vs_accuracy.csv", {"ResNet34": "Validation set last epoch (mean)"})


def networks_by_strength(common: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return each network with every strength: the paper's ResNet34, and others, with ReLU and linear."""
    strengths = settings.t or tuple(PAPER.columns()["t"])
    networks = {
        "ResNet34": common,
        "ResNet18": replace(common, network="ResNet18"),
        "ResNet34, linear": replace(common, activation="identity", stem_pool="avg"),
        "ResNet18, linear": replace(common, network="ResNet18", activation="identity", stem_pool="avg"),
    }
    for name in SHALLOW:
        networks[name] = replace(common, network=name)
        networks[f"{name}, linear"] = replace(common, network=name, activation="identity")
    return {name: [replace(trial, t=t) for t in strengths] for name, trial in networks.items()}


EXPERIMENT = Experiment(series=networks_by_strength, view=AccuracyByT(PAPER), epochs=2, options=("t", "stem_stride"))
