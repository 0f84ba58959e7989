"""Benchmarks as pictures. Needs matplotlib."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gpu.bench.compare import measurements
from gpu.runtime.machine import describe_machine
from linalg_cnn.display import INK, MUTED, Picture, figure_picture

MARKS = {
    "eager": ("o", "#1b4965", "eager"),
    "torch.compile": ("s", "#1b4965", "torch.compile"),
    "CUDA graph": ("P", "#1b4965", "CUDA graph"),
    "batch norm folded, eager": ("o", "#56b4e9", "batch norm folded, eager"),
    "batch norm folded, torch.compile": ("s", "#56b4e9", "batch norm folded, torch.compile"),
    "batch norm folded, CUDA graph": ("P", "#56b4e9", "batch norm folded, CUDA graph"),
    "onnxruntime": ("^", "#009e73", "onnxruntime"),
    "collapsed, nn.Linear": ("D", "#e69f00", "collapsed: nn.Linear, floats"),
    "collapsed, Predictor, floats": ("v", "#d55e00", "collapsed: Predictor, floats"),
    "collapsed, Predictor, bytes": ("*", "#d55e00", "collapsed: Predictor, bytes"),
}
"""Marker, colour and label of each variant; colours of Okabe and Ito, told apart with any colour blindness."""


def predict_figure(record: dict[str, Any]) -> Figure:
    """Return ``bench predict`` as a picture: microseconds per image, a panel for each batch size."""
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
            if row["batch_size"] != size:
                continue
            value = row["microseconds_per_image"]
            if row["variant"] not in MARKS:
                handles["floor: reading the bytes"] = axes.axvline(value, color=MUTED, linestyle="--", linewidth=1.2)
                continue
            marker, colour, label = MARKS[row["variant"]]
            order = list(MARKS).index(row["variant"])
            place = names.index(row["network"]) + 0.07 * (order - len(MARKS) / 2)
            spread = [[min(row["spread"] / 2, 0.9 * value)], [row["spread"] / 2]]
            handles[label] = axes.errorbar(
                value, place, xerr=spread, fmt=marker, color=colour, markersize=9 if marker == "*" else 6, linestyle=""
            )
            if row["paper"] is not None:
                handles["the paper's, " + record["paper_hardware"]] = axes.plot(
                    row["paper"], place, marker="X", markersize=8, color="#cc79a7", linestyle=""
                )[0]
        axes.set_title(f"batch of {size:,}", fontsize=11, color=INK)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e3e6e8", linewidth=0.6)
        axes.set_axisbelow(True)
    for axes in grid.flat[len(sizes) :]:
        axes.set_axis_off()
    grid[0, 0].invert_yaxis()  # the first network at the top
    for axes in grid[-1]:
        axes.set_xlabel("microseconds per image (length of a line: how far apart copies are)", color=MUTED)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.suptitle(f"What a prediction costs\n{describe_machine(record)}.", color=INK, fontsize=11)
    return figure


def predict_picture(record: dict[str, Any]) -> Picture:
    """Return the picture of ``bench predict`` with the same in words, for notebooks.

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


def measurements_figure(record: dict[str, Any]) -> Figure:
    """Return the measurements of any benchmark as a picture: seconds, each with the middle half of its runs."""
    found = measurements(record)
    figure = Figure(figsize=(11, 0.26 * len(found) + 1.7), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(found))
    values = np.array([measured.seconds for measured in found.values()])
    spreads = np.array([measured.spread / 2 for measured in found.values()])
    errors = [np.minimum(spreads, 0.9 * values).tolist(), spreads.tolist()]
    axes.errorbar(values, places, xerr=errors, fmt="o", color=INK, markersize=5)
    axes.set_yticks(places, list(found), fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.grid(color="#e3e6e8", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("seconds (middle half of the runs as a line)", color=MUTED)
    figure.suptitle(f"{record['experiment']}\n{describe_machine(record)}.", color=INK, fontsize=11)
    return figure
