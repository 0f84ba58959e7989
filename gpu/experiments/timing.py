"""Sections 5.2 and 5.3: the time of a prediction with skips, without them, and as one matrix."""

from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from gpu.collapsing.collapse import collapse
from gpu.experiments.experiment import Experiment, Record, View, machine_of
from gpu.experiments.panels import WIDTH, below
from gpu.experiments.paper_numbers import TIMING_HARDWARE, TIMINGS
from gpu.models.homotopy import set_skip_strength
from gpu.models.nonlinearities import Activation
from gpu.models.removal import remove_skips
from gpu.models.resnets import resnet, set_stem_channels, set_stem_stride
from gpu.models.shallow import perceptron, six_layer_cnn, three_layer_cnn
from gpu.runtime.devices import resolve_device
from gpu.runtime.run import Run, unfinished
from gpu.runtime.tables import markdown_table
from gpu.runtime.timing import microseconds_per_image
from gpu.settings import ExperimentSettings
from linalg_cnn.display.colors import CURVE_COLORS
from linalg_cnn.display.ends import NAME_SIZE

IN_SHAPE = (1, 28, 28)
ACTIVATIONS: tuple[Activation, ...] = ("identity", "relu")
"""Activations of the 6-layer CNN: the paper times the one with ReLU."""
SECONDS = 3.0
"""Seconds for which each network is timed."""


def networks(seed: int, stem_stride: Literal[1, 2] = 2) -> list[tuple[str, str, nn.Module]]:
    """Return (network, variant, module). The weights are random: latency does not depend on their values.

    torchvision's own ResNet34, which adds x + F(x) without t, shows how much of the time saved by removing skips is
    the time of the multiplication by t.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = resnet(34, activation="identity", stem_pool="avg", stem_stride=stem_stride).eval()
        deep = resnet(34, t=0.0, stem_stride=stem_stride).eval()
        plain = _plain_resnet34(stem_stride).eval()
    shallow = three_layer_cnn(seed=seed).eval()
    found: list[tuple[str, str, nn.Module]] = [
        ("ResNet34, linear", "network", linear),
        ("ResNet34, linear", "collapsed", collapse(linear, IN_SHAPE).module),
        ("3-layer CNN, linear", "network", shallow),
        ("3-layer CNN, linear", "collapsed", collapse(shallow, IN_SHAPE).module),
        ("perceptron", "network", perceptron(seed=seed).eval()),
        ("ResNet34", "torchvision's x + F(x)", plain),
        ("ResNet34", "with skips", deep),
        ("ResNet34", "skips removed", remove_skips(deep)),
    ]
    for activation in ACTIVATIONS:
        six = six_layer_cnn(t=0.5, activation=activation, seed=seed).eval()
        set_skip_strength(six, 0.0)
        name = "6-layer CNN" + (", linear" if activation == "identity" else "")
        found += [(name, "with skips", six), (name, "skips removed", remove_skips(six))]
    return found


def _plain_resnet34(stem_stride: int) -> nn.Module:
    from torchvision.models import ResNet, resnet34

    model: ResNet = resnet34(num_classes=10)
    set_stem_channels(model, 1)
    set_stem_stride(model, stem_stride)
    return cast(nn.Module, model)


def time_networks(settings: ExperimentSettings) -> Record:
    """Return the record: medians of the microseconds per image at the batch size, with their interquartile ranges.

    As in the paper's section 5.1, the time to load and transform images is not counted. The time of each network is
    kept in a file, ``timing.json.unfinished`` in the folder ``out``: a run that was stopped goes on from there.

    Raises
    ------
    ValueError
        If there is no such device on this machine.
    OSError
        If what was measured cannot be written.
    """
    device = resolve_device(settings.device)
    batch = torch.rand(settings.batch_size, *IN_SHAPE, device=device)
    made = networks(settings.seed, cast(Literal[1, 2], settings.stem_stride))
    run = Run(
        "timing",
        {
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "seconds_each": SECONDS,
            "stem_stride": settings.stem_stride,
        },
        device,
        len(made),
        unfinished(settings.out / "timing.json"),
        settings.progress,
    )
    rows = []
    for network, variant, module in made:
        name = f"{network}, {variant}"
        measured = run.part(name, partial(_time, module, batch))
        run.bar.done(name)
        rows.append({
            "network": network,
            "variant": variant,
            "batch_size": settings.batch_size,
            "device": str(device),
            "microseconds_per_image": measured["median"],
            "spread": measured["iqr"],
            "parameters": sum(p.numel() for p in module.parameters()),
            "paper": TIMINGS.get((network, variant)),
        })
    return run.record([], rows=rows)


def _time(module: nn.Module, batch: torch.Tensor) -> dict[str, float]:
    return microseconds_per_image(module.to(batch.device), batch, min_run_time=SECONDS)


class TimingView(View):
    """Microseconds per image of each network and variant."""

    def conditions(self, record: Record) -> str:
        """Return machine and batch size."""
        return f"{machine_of(record)}; batch {record['settings']['batch_size']}"

    def draw(self, figure: Figure, record: Record) -> None:
        """Draw a point for each network and variant, and one for the paper's time, each with its number."""
        rows = record["rows"]
        figure.set_size_inches(WIDTH, 0.34 * len(rows) + 1.2)
        axes = figure.subplots()
        measured, spreads = [row["microseconds_per_image"] for row in rows], [row["spread"] / 2 for row in rows]
        paper = [row["paper"] or np.nan for row in rows]
        for values, spread, shift, color, marker in (
            (measured, spreads, -0.17, CURVE_COLORS[0], "o"),
            (paper, None, 0.17, CURVE_COLORS[1], "D"),
        ):
            heights = np.arange(len(rows)) + shift
            axes.errorbar(values, heights, xerr=spread, fmt=marker, ms=4, color=color)
            for value, height in zip(values, heights, strict=True):
                axes.annotate(f"{value:,.3g}", (value, height), (6, -3), textcoords="offset points", fontsize=7)
        axes.set_yticks(range(len(rows)), [f"{row['network']}:\n{row['variant']}" for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
        axes.set_xscale("log")
        axes.margins(x=0.15)
        axes.tick_params(labelsize=NAME_SIZE)
        axes.grid(axis="x", alpha=0.3)
        figure.legend(["measured", f"the paper's: {TIMING_HARDWARE}"], fontsize=NAME_SIZE, loc="outside upper center")
        below(figure, "microseconds per image", self.conditions(record))

    def tables(self, record: Record) -> list[str]:
        """Return a row for each network and variant."""
        header = ["network", "variant", "parameters", "us per image", "IQR, us", f"the paper's ({TIMING_HARDWARE})"]
        rows = [
            [
                row["network"],
                row["variant"],
                f"{row['parameters']:,}",
                f"{row['microseconds_per_image']:,.2f}",
                f"{row['spread']:,.2f}",
                "" if row["paper"] is None else f"{row['paper']:.2f}",
            ]
            for row in record["rows"]
        ]
        return markdown_table(header, rows, text_columns=2)

    def words(self, record: Record) -> str:
        """Return the time of each network and variant."""
        rows = (
            f"{row['network']}, {row['variant']}: {row['microseconds_per_image']:,.3g}"
            + (f" (the paper's: {row['paper']:,.3g})" if row["paper"] else "")
            for row in record["rows"]
        )
        return f"Microseconds per image. {'; '.join(rows)}."


EXPERIMENT = Experiment(measure=time_networks, view=TimingView(), options=("stem_stride",))
