"""The numbers of the paper's figures and timings.

Source: Joyce & Verschelde 2024. The values in ``paper/*.csv`` were computed from the coordinates of markers and axis
ticks in the authors' published SVG figures; three decimals are certain. The timings are those of the text, sections 5.2
and 5.3.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

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


@dataclass(frozen=True)
class PaperFigure:
    """A figure of the paper, and the series of a record that its curves are compared with.

    Attributes
    ----------
    file : str
        Name of the csv file in ``paper/``. Its first column is the epoch or t, the others are curves.
    curves : mapping of str to str
        Column of the curve that is shown beside a series, by the name of the series.

    Examples
    --------
    >>> figure = PaperFigure("figure3_static_vs_scheduled_t.csv", {"Static t": "Static t"})
    >>> figure.curve("Static t")[1]
    0.9619
    >>> figure.curve("Teacher, t = 0.5")
    {}
    """

    file: str
    curves: Mapping[str, str]

    def columns(self) -> dict[str, list[float]]:
        """Return the columns: the epoch or t first, then the accuracies of each curve, in [0, 1]."""
        text = (files("gpu.experiments") / "paper" / self.file).read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines()))
        return {column: [float(row[column]) for row in rows] for column in rows[0]}

    def curve(self, series: str) -> dict[float, float]:
        """Return the curve for a series as accuracies by epoch or by t; {} where the paper has none."""
        if series not in self.curves:
            return {}
        columns = self.columns()
        x = next(iter(columns.values()))
        return dict(zip(x, columns[self.curves[series]], strict=True))
