"""The paper's figures, drawn from our records with the paper's own points beside."""

import io
from collections import defaultdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpu.experiments.paper_numbers import TIMING_HARDWARE, paper_figure
from linalg_cnn.display.colors import CURVE_COLORS

PAPER_NAMES = {
    "figure1": {
        "ResNet34, linear, max pooling (not affine)": "ResNet34 (linearized)",
        "3-layer CNN with skip connections": "3-layer CNN with skip connections",
        "Single-layer perceptron": "Single-layer perceptron",
    },
    "figure2": {"ResNet34": "Validation set last epoch (mean)"},
    "figure3": {name: name for name in ("Static t", "Scheduled t starting at 0.9", "Scheduled t starting at 0.5")},
}
"""Which of the paper's curves is beside which of ours."""


def draw(record: dict[str, Any]) -> bytes:
    """Return the figure of a record as PNG."""
    buffer = io.BytesIO()
    figure_of(record).savefig(buffer, format="png", dpi=144, metadata={"Description": describe(record)})
    return buffer.getvalue()


def figure_of(record: dict[str, Any]) -> Figure:
    """Return the figure of a record, the paper's points beside ours."""
    drawing = {"figure2": _against_t, "timing": _timing}.get(record["experiment"], _against_epochs)
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    drawing(figure.subplots(), record)
    return figure


def describe(record: dict[str, Any]) -> str:
    """Return what a figure was measured on, in a line."""
    settings, hardware = record["settings"], record["hardware"]
    machine = hardware.get("gpu") or f"{hardware.get('processor')}, {hardware.get('cores')} cores"
    if record["experiment"] == "timing":
        return f"{machine}; batch {settings['batch_size']}"
    return (
        f"{settings['dataset']}, {settings['images']:,} images, {settings['epochs']} epochs, "
        f"{settings['trials']} trials, validated on {settings['held_out_images']:,}; {machine}"
    )


def _against_epochs(axes: Axes, record: dict[str, Any]) -> None:
    """Draw validation accuracy by epoch: mean over the trials, and their smallest and largest as a band."""
    names = PAPER_NAMES.get(record["experiment"], {})
    for colour, series in zip(CURVE_COLORS, record["series"], strict=False):
        by_epoch: dict[int, list[float]] = defaultdict(list)
        for trial in series["trials"]:
            for epoch in trial["epochs"]:
                by_epoch[epoch["epoch"]].append(epoch["validation_accuracy"])
        if by_epoch:
            epochs = sorted(by_epoch)
            axes.plot(epochs, [np.mean(by_epoch[e]) for e in epochs], "o-", color=colour, ms=4, label=series["name"])
            low, high = ([pick(by_epoch[e]) for e in epochs] for pick in (min, max))
            axes.fill_between(epochs, low, high, color=colour, alpha=0.2, lw=0)
        if series["name"] in names:
            paper = paper_figure(record["experiment"])
            label = f"the paper's {names[series['name']]}"
            axes.plot(
                paper["epoch"],
                paper[names[series["name"]]],
                "s--",
                color=colour,
                mfc="white",
                ms=4,
                lw=0.8,
                label=label,
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _finish(axes, record, "epoch")


def _against_t(axes: Axes, record: dict[str, Any]) -> None:
    """Draw validation accuracy after the last epoch against t: mean over the trials, smallest and largest as bars."""
    for colour, series in zip(CURVE_COLORS, record["series"], strict=False):
        by_t: dict[float, list[float]] = defaultdict(list)
        for trial in series["trials"]:
            if trial["epochs"]:
                by_t[trial["epochs"][-1]["t"]].append(trial["epochs"][-1]["validation_accuracy"])
        if by_t:
            ts = sorted(by_t)
            means = np.array([np.mean(by_t[t]) for t in ts])
            bars = np.abs(np.array([[min(by_t[t]), max(by_t[t])] for t in ts]).T - means)
            axes.errorbar(ts, means, bars, fmt="o-", color=colour, ms=4, lw=1, capsize=2, label=series["name"])
    paper = paper_figure("figure2")
    column = PAPER_NAMES["figure2"]["ResNet34"]
    axes.plot(paper["t"], paper[column], "s", color="gray", mfc="white", ms=4, label="the paper's ResNet34, 5 trials")
    _finish(axes, record, "t, the strength of the skips")


def _timing(axes: Axes, record: dict[str, Any]) -> None:
    """Draw the time per image of each network and variant, beside the paper's."""
    rows = record["rows"]
    places = np.arange(len(rows))
    measured = [row["microseconds_per_image"] for row in rows]
    spread = [row["spread"] / 2 for row in rows]
    bars = axes.barh(places - 0.2, measured, 0.38, color=CURVE_COLORS[0], label="measured", xerr=spread)
    axes.bar_label(bars, [f"{value:,.3g}" for value in measured], fontsize=7, padding=4)
    paper = [row["paper"] or np.nan for row in rows]
    bars = axes.barh(places + 0.2, paper, 0.38, color=CURVE_COLORS[4], label=f"the paper's: {TIMING_HARDWARE}")
    axes.bar_label(bars, [f"{row['paper']:,.3g}" if row["paper"] else "" for row in rows], fontsize=7, padding=4)
    axes.set_yticks(places, [f"{row['network']}: {row['variant']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(f"microseconds per image\n{describe(record)}")
    axes.grid(axis="x", alpha=0.3)
    axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)


def _finish(axes: Axes, record: dict[str, Any], xlabel: str) -> None:
    axes.set_xlabel(f"{xlabel}\n{describe(record)}", fontsize=9)
    axes.set_ylabel("validation accuracy")
    axes.grid(alpha=0.3)
    axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)
