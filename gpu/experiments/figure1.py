"""Figure 1: the paper's linear networks by epoch. Its ResNet34 keeps max pooling and is not affine (erratum 4)."""

from dataclasses import replace

from gpu.experiments.accuracy import AccuracyByEpoch
from gpu.experiments.experiment import Experiment
from gpu.experiments.paper_numbers import PaperFigure
from gpu.experiments.trial import Trial
from gpu.settings import ExperimentSettings


def linear_networks(common: Trial, settings: ExperimentSettings) -> dict[str, list[Trial]]:
    """Return the networks of the figure, and beside them a ResNet34 that is affine."""
    linear = replace(common, activation="identity")
    return {
        "ResNet34, linear, max pooling (not affine)": [linear],
        "ResNet34, linear, average pooling": [replace(linear, stem_pool="avg")],
        "3-layer CNN with skip connections": [replace(linear, network="3-layer CNN")],
        "Single-layer perceptron": [replace(linear, network="perceptron")],
    }


EXPERIMENT = Experiment(
    series=linear_networks,
    options=("stem_stride",),
    view=AccuracyByEpoch(
        PaperFigure(
            "figure1_linear_networks.csv",
            {
                "ResNet34, linear, max pooling (not affine)": "ResNet34 (linearized)",
                "3-layer CNN with skip connections": "3-layer CNN with skip connections",
                "Single-layer perceptron": "Single-layer perceptron",
            },
        )
    ),
)
