"""The records of benchmarks as pictures. Needs matplotlib."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gpu.bench.measurements import Measured, Record
from gpu.runtime.machine import describe_machine
from gpu.runtime.results import check_record, record_read
from linalg_cnn.display import INK, MUTED, Picture, figure_picture
from linalg_cnn.display.colors import CURVE_COLORS, GRID

LABELS = {
    "eager": "eager",
    "torch.compile": "torch.compile",
    "CUDA graph": "CUDA graph",
    "batch norm folded, eager": "batch norms folded, eager",
    "batch norm folded, torch.compile": "batch norms folded, torch.compile",
    "batch norm folded, CUDA graph": "batch norms folded, CUDA graph",
    "channels_last, float32, CUDA graph": "channels_last, float32, CUDA graph",
    "channels_last, TF32, CUDA graph": "channels_last, TF32, CUDA graph",
    "channels_last, bfloat16, CUDA graph": "channels_last, bfloat16, CUDA graph",
    "channels_last, float32, max-autotune": "channels_last, float32, max-autotune",
    "channels_last, bfloat16, max-autotune": "channels_last, bfloat16, max-autotune",
    "onnxruntime": "onnxruntime",
    "collapsed, nn.Linear": "collapsed: nn.Linear, floats",
    "collapsed, Predictor, floats": "collapsed: Predictor, floats",
    "collapsed, Predictor, bytes": "collapsed: Predictor, bytes",
}
"""Label of each variant, from the top of a network's panel to its bottom."""

WIDTH = 4.8
"""Width of the figure in inches, which a phone shows with letters of at least 7 pixels."""


def predict_figure(record: Record) -> Figure:
    """Return ``bench predict`` as a figure: a panel for each network, a row for each variant, a mark per batch size."""
    sizes = record["settings"]["batch_sizes"]
    named = [row for row in record["rows"] if row["variant"] in LABELS]
    networks = list(dict.fromkeys(row["network"] for row in named))
    variants = [
        [variant for variant in LABELS if any((row["network"], row["variant"]) == (name, variant) for row in named)]
        for name in networks
    ]
    counts = [len(shown) for shown in variants]
    figure = Figure(figsize=(WIDTH, 0.23 * sum(counts) + 0.45 * len(networks) + 1.4), layout="constrained")
    panels = figure.subplots(len(networks), 1, sharex=True, squeeze=False, height_ratios=[n + 1 for n in counts])[:, 0]
    for axes, name, shown in zip(panels, networks, variants, strict=True):
        for row in named:
            if row["network"] == name:
                number = sizes.index(row["batch_size"])
                beside = 0.5 * (number / max(1, len(sizes) - 1) - 0.5)  # so that equal times do not cover each other
                _draw_row(axes, row, shown.index(row["variant"]) + beside, number)
        floors = [row["microseconds_per_image"] for row in record["rows"] if row["variant"] not in LABELS]
        if floors:
            axes.axvline(min(floors), color=MUTED, linestyle="--", linewidth=1)
        axes.set_title(name, fontsize=9, color=INK, loc="left")
        axes.set_xscale("log")
        axes.set_yticks(range(len(shown)), [LABELS[variant] for variant in shown], fontsize=7.5)
        axes.set_ylim(len(shown) - 0.4, -0.6)  # the first variant at the top
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_axisbelow(True)
    marks = [Line2D([], [], linestyle="", **_mark(number)) for number in range(len(sizes))]
    names = [f"batch of {size:,}" for size in sizes]
    figure.legend(marks, names, loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    words = [
        "Microseconds per image; length of a line: range of the copies.",
        "Dashed line: reading the bytes.",
        f"Hollow: the paper's, {record['paper_hardware']}.",
        f"{describe_machine(record)}.",
    ]
    figure.supxlabel("\n".join(textwrap.wrap(" ".join(words), 72)), fontsize=8, color=MUTED)
    return figure


def _mark(number: int) -> dict[str, Any]:
    """Return the marker and the colour of a batch size, given its number."""
    return {"marker": "osD^v"[number % 5], "color": CURVE_COLORS[number % len(CURVE_COLORS)], "markersize": 4.5}


def _draw_row(axes: Axes, row: dict[str, Any], height: float, number: int) -> None:
    """Draw a measurement, with a line for its spread, and the paper's hollow mark if it has one."""
    value, mark = row["microseconds_per_image"], _mark(number)
    spread = [[min(row["spread"] / 2, 0.9 * value)], [row["spread"] / 2]]
    axes.errorbar(value, height, xerr=spread, linestyle="", **mark)
    if row["paper"] is not None:
        axes.plot(row["paper"], height, linestyle="", mfc="white", **mark)


def predict_picture(record: Record) -> Picture:
    """Return the picture of ``bench predict``, with its numbers as a text alternative, for notebooks.

    Parameters
    ----------
    record : dict
        Record that ``linalg-cnn bench predict`` wrote.

    Raises
    ------
    TypeError
        If the record is not a dict.
    ValueError
        If its entries are not those that the picture shows, as in the records of other benchmarks.

    Examples
    --------
    >>> row = {"network": "ResNet34", "variant": "eager", "batch_size": 64, "microseconds_per_image": 670.0,
    ...        "spread": 49.0, "paper": None}
    >>> record = {"settings": {"batch_sizes": [64]}, "rows": [row], "paper_hardware": "RTX 2060",
    ...           "versions": {"python": "3.11", "numpy": "2.4",
    ...           "scipy": "1.17", "torch": "2.14"}, "hardware": {"processor": "Xeon", "cores": 2, "threads": 2}}
    >>> print(predict_picture(record).alt)
    Microseconds per image by batch size. ResNet34, eager: 670 at 64. \
Xeon, 2 cores, 2 threads; Python 3.11, numpy 2.4, scipy 1.17, torch 2.14.
    """
    check_record(record, "linalg-cnn bench predict")
    with record_read("linalg-cnn bench predict"):
        return figure_picture(predict_figure(record), _in_words(record))


def _in_words(record: Record) -> str:
    """Return the numbers of a record of ``bench predict``, and the machine that they were measured on."""
    found: dict[str, list[str]] = {}
    for row in record["rows"]:
        number = f"{row['microseconds_per_image']:,.3g} at {row['batch_size']:,}"
        found.setdefault(f"{row['network']}, {row['variant']}", []).append(number)
    lines = "; ".join(f"{name}: {', '.join(numbers)}" for name, numbers in found.items())
    return f"Microseconds per image by batch size. {lines}. {describe_machine(record)}."


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
