"""The records of benchmarks as pictures. Needs matplotlib."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpu.bench.measurements import Measured, Record
from gpu.runtime.machine import describe_machine
from linalg_cnn.display import INK, MUTED, OKABE_ITO, Picture, figure_picture
from linalg_cnn.display.colors import GRID

ORANGE, SKY_BLUE, GREEN, _, _, VERMILION, PURPLE = OKABE_ITO
MARKS = {
    "eager": ("o", INK, "eager"),
    "torch.compile": ("s", INK, "torch.compile"),
    "CUDA graph": ("P", INK, "CUDA graph"),
    "batch norm folded, eager": ("o", SKY_BLUE, "batch norm folded, eager"),
    "batch norm folded, torch.compile": ("s", SKY_BLUE, "batch norm folded, torch.compile"),
    "batch norm folded, CUDA graph": ("P", SKY_BLUE, "batch norm folded, CUDA graph"),
    "channels_last, float32, CUDA graph": ("h", INK, "channels_last, float32, CUDA graph"),
    "channels_last, TF32, CUDA graph": ("h", SKY_BLUE, "channels_last, TF32, CUDA graph"),
    "channels_last, bfloat16, CUDA graph": ("h", PURPLE, "channels_last, bfloat16, CUDA graph"),
    "channels_last, float32, max-autotune": ("p", INK, "channels_last, float32, max-autotune"),
    "channels_last, bfloat16, max-autotune": ("p", PURPLE, "channels_last, bfloat16, max-autotune"),
    "onnxruntime": ("^", GREEN, "onnxruntime"),
    "collapsed, nn.Linear": ("D", ORANGE, "collapsed: nn.Linear, floats"),
    "collapsed, Predictor, floats": ("v", VERMILION, "collapsed: Predictor, floats"),
    "collapsed, Predictor, bytes": ("*", VERMILION, "collapsed: Predictor, bytes"),
}
"""Marker, colour and label of each variant, from the top of a network's band to its bottom."""


def predict_figure(record: Record) -> Figure:
    """Return ``bench predict`` as a figure: microseconds per image, with a panel for each batch size."""
    rows = record["rows"]
    sizes = record["settings"]["batch_sizes"]
    names = list(dict.fromkeys(row["network"] for row in rows if row["variant"] in MARKS))
    across = min(2, len(sizes))
    down = -(-len(sizes) // across)
    figure = Figure(figsize=(6.2 * across + 1, 3.1 * down + 1.6), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    handles: dict[str, Any] = {}
    for axes, size in zip(grid.flat, sizes, strict=False):
        for row in rows:
            if row["batch_size"] == size:
                handles |= _draw_row(axes, record, row, names)
        axes.set_title(f"batch of {size:,}", fontsize=11, color=INK)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in grid.flat[len(sizes) :]:
        axes.set_axis_off()
    grid[0, 0].invert_yaxis()  # the first network at the top
    for axes in grid[-1]:
        axes.set_xlabel("microseconds per image (length of a line: range of the copies)", color=MUTED)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"Latency of a prediction\n{describe_machine(record)}.", color=INK, fontsize=11)
    return figure


def _draw_row(axes: Any, record: Record, row: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Draw one row of the record and return what it adds to the legend, by label."""
    value = row["microseconds_per_image"]
    if row["variant"] not in MARKS:
        return {"floor: reading the bytes": axes.axvline(value, color=MUTED, linestyle="--", linewidth=1.2)}
    marker, colour, label = MARKS[row["variant"]]
    height = names.index(row["network"]) + 0.07 * (list(MARKS).index(row["variant"]) - len(MARKS) / 2)
    spread = [[min(row["spread"] / 2, 0.9 * value)], [row["spread"] / 2]]
    markersize = 9 if marker == "*" else 6
    handles = {
        label: axes.errorbar(value, height, xerr=spread, fmt=marker, color=colour, markersize=markersize, linestyle="")
    }
    if row["paper"] is not None:
        paper = "the paper's, " + record["paper_hardware"]
        handles[paper] = axes.plot(row["paper"], height, marker="X", markersize=8, color=PURPLE, linestyle="")[0]
    return handles


def predict_picture(record: Record) -> Picture:
    """Return the picture of ``bench predict``, with its numbers as a text alternative, for notebooks.

    Examples
    --------
    >>> row = {"network": "ResNet34", "variant": "eager", "batch_size": 64, "microseconds_per_image": 670.0,
    ...        "spread": 49.0, "paper": None}
    >>> record = {"settings": {"batch_sizes": [64]}, "rows": [row], "versions": {"python": "3.11", "numpy": "2.4",
    ...           "scipy": "1.17", "torch": "2.14"}, "hardware": {"processor": "Xeon", "cores": 2, "threads": 2}}
    >>> print(predict_picture(record).alt)
    Microseconds per image by batch size. ResNet34, eager: 670 at 64. \
Xeon, 2 cores, 2 threads; Python 3.11, numpy 2.4, scipy 1.17, torch 2.14.
    """
    found: dict[str, list[str]] = {}
    for row in record["rows"]:
        number = f"{row['microseconds_per_image']:,.3g} at {row['batch_size']:,}"
        found.setdefault(f"{row['network']}, {row['variant']}", []).append(number)
    lines = "; ".join(f"{name}: {', '.join(numbers)}" for name, numbers in found.items())
    words = f"Microseconds per image by batch size. {lines}. {describe_machine(record)}."
    return figure_picture(predict_figure(record), words)


def measurements_figure(record: Record, measurements: Mapping[str, Measured]) -> Figure:
    """Return the measurements of any benchmark as a figure: seconds, with a line as long as the spread of the runs.

    Parameters
    ----------
    record : dict
        Record that names the benchmark and the machine.
    measurements : mapping of str to Measured
        The measurements of the record, by name.
    """
    figure = Figure(figsize=(11, 0.26 * len(measurements) + 1.7), layout="constrained")
    axes = figure.subplots()
    heights = np.arange(len(measurements))
    values = np.array([measured.seconds for measured in measurements.values()])
    spreads = np.array([measured.spread / 2 for measured in measurements.values()])
    errors = [np.minimum(spreads, 0.9 * values).tolist(), spreads.tolist()]
    axes.errorbar(values, heights, xerr=errors, fmt="o", color=INK, markersize=5)
    axes.set_yticks(heights, list(measurements), fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("seconds (length of a line: spread of the runs)", color=MUTED)
    figure.suptitle(f"{record['experiment']}\n{describe_machine(record)}.", color=INK, fontsize=11)
    return figure
