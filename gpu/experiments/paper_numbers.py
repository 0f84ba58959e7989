"""The numbers of the paper's figures and timings.

Source: Joyce & Verschelde 2024. The csv files in ``paper/`` are read off the authors' published SVG figures, marker
coordinates against axis ticks; the third decimal is sure. The timings are those of the text, sections 5.2 and 5.3.
"""

import csv
from importlib.resources import files

FILES = {
    "figure1": "figure1_linear_networks.csv",
    "figure2": "figure2_resnet34_t_vs_accuracy.csv",
    "figure3": "figure3_static_vs_scheduled_t.csv",
}

TIMING_HARDWARE = "NVIDIA GeForce RTX 2060 Mobile, batch 64"
TIMINGS = {
    ("ResNet34, linear", "network"): 104.91,
    ("3-layer CNN, linear", "network"): 12.05,
    ("perceptron", "network"): 2.06,
    ("ResNet34", "with skips"): 106.83,
    ("ResNet34", "skips removed"): 83.1,
    ("6-layer CNN", "with skips"): 30.72,
    ("6-layer CNN", "skips removed"): 16.44,
}
"""Microseconds per image, by network and variant."""


def paper_figure(name: str) -> dict[str, list[float]]:
    """Return the columns of a figure: ``epoch`` or ``t``, then one per curve, accuracies in [0, 1].

    Examples
    --------
    >>> paper_figure("figure3")["Static t"][:2]
    [0.9619, 0.9768]
    """
    text = (files("gpu.experiments") / "paper" / FILES[name]).read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return {column: [float(row[column]) for row in rows] for column in rows[0]}
