"""Records of validation accuracies as figures, tables and words: accuracy by epoch, and accuracy by t."""

from abc import abstractmethod
from dataclasses import dataclass
from itertools import cycle
from typing import Any, ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gpu.experiments.experiment import Record, View, machine_of
from gpu.experiments.paper_numbers import PaperFigure
from gpu.runtime.tables import counted, markdown_table
from linalg_cnn.display.colors import CURVE_COLORS

AS_TRAINED = "validation_accuracy_running"
"""Key of the accuracy with the running statistics that training left, where they were recalibrated afterwards."""


@dataclass(frozen=True)
class AccuracyView(View):
    """Validation accuracy of each series of trials against ``x``.

    Attributes
    ----------
    paper : PaperFigure, optional
        The paper's curves, if it has any.
    x : str
        Key of an epoch in the record whose value is the horizontal axis.
    x_label : str
        Label of the horizontal axis.
    title : str
        Words that follow "Validation accuracy" in the text alternative.
    """

    paper: PaperFigure | None = None
    x: ClassVar[str]
    x_label: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def epochs_of(self, trial: Record) -> list[Record]:
        """Return the epochs of a trial that are shown."""

    def accuracies(self, series: Record, kind: str = "validation_accuracy") -> dict[float, list[float]]:
        """Return the accuracies of the trials of a series by x, in the order of x, where a record has this kind."""
        found: dict[float, list[float]] = {}
        for trial in series["trials"]:
            for epoch in self.epochs_of(trial):
                if kind in epoch:
                    found.setdefault(epoch[self.x], []).append(epoch[kind])
        return dict(sorted(found.items()))

    def paper_curve(self, name: str) -> dict[float, float]:
        """Return the paper's accuracies, by x, for a series; {} where the paper has no such curve."""
        return {} if self.paper is None else self.paper.curve(name)

    def conditions(self, record: Record) -> str:
        """Return data set, numbers of images, epochs and trials, and machine."""
        settings = record["settings"]
        return (
            f"{settings['dataset']}, {counted(settings['images'], 'image')}, {counted(settings['epochs'], 'epoch')}, "
            f"{counted(settings['trials'], 'trial')}, validated on {settings['held_out_images']:,}; "
            f"{machine_of(record)}"
        )

    def tables(self, record: Record) -> list[str]:
        """Return accuracy by x: mean, then smallest and largest of the trials, then the paper's.

        Where the running statistics were recalibrated, a second table has the accuracies with those that training left.
        """
        measured = {series["name"]: self.accuracies(series) for series in record["series"]}
        header = [self.x]
        rows = {x: [f"{x:g}"] for x in sorted({x for found in measured.values() for x in found})}
        for name, found in measured.items():
            header.append(name)
            for x, cells in rows.items():
                cells.append(spread(found.get(x, [])))
            if paper := self.paper_curve(name):
                header.append("the paper")
                for x, cells in rows.items():
                    cells.append(f"{paper[x]:.2%}" if x in paper else "")
        lines = markdown_table(header, rows.values(), text_columns=0)
        as_trained = {series["name"]: self.accuracies(series, AS_TRAINED) for series in record["series"]}
        as_trained = {name: found for name, found in as_trained.items() if found}
        if not as_trained:
            return lines
        left = [[f"{x:g}", *(spread(found.get(x, [])) for found in as_trained.values())] for x in rows]
        return [
            *lines,
            "",
            "With the running statistics that training left:",
            "",
            *markdown_table([self.x, *as_trained], left, text_columns=0),
        ]

    def words(self, record: Record) -> str:
        """Return where each curve starts, where it is highest, and where it ends."""
        curves = []
        for series in record["series"]:
            means = {x: float(np.mean(found)) for x, found in self.accuracies(series).items()}
            curve = f"{series['name']}: {_ends(means)}"
            if paper := self.paper_curve(series["name"]):
                curve += f" (the paper's: {_ends(paper)})"
            curves.append(curve)
        return f"Validation accuracy {self.title}. {'; '.join(curves)}."

    def finish(self, axes: Axes, record: Record) -> None:
        """Label the axes of a figure and add its legend."""
        axes.set_xlabel(f"{self.x_label}\n{self.conditions(record)}", fontsize=9)
        axes.set_ylabel("validation accuracy")
        axes.grid(alpha=0.3)
        axes.figure.legend(fontsize=8, loc="outside upper center", ncols=2)


class AccuracyByEpoch(AccuracyView):
    """Validation accuracy by epoch, and the networks without their skips or collapsed."""

    x = "epoch"
    x_label = "epoch"
    title = "by epoch"

    def epochs_of(self, trial: Record) -> list[Record]:
        """Return all epochs."""
        epochs: list[Record] = trial["epochs"]
        return epochs

    def draw(self, axes: Axes, record: Record) -> None:
        """Draw the mean over the trials as a line, and their smallest and largest accuracy as a band."""
        for colour, series in zip(cycle(CURVE_COLORS), record["series"], strict=False):
            if found := self.accuracies(series):
                means, low, high = ([pick(values) for values in found.values()] for pick in (np.mean, min, max))
                axes.plot(list(found), means, "o-", color=colour, ms=4, label=series["name"])
                axes.fill_between(list(found), low, high, color=colour, alpha=0.2, lw=0)
            if self.paper is not None and series["name"] in self.paper.curves:
                curve, label = self.paper.curve(series["name"]), f"the paper's {self.paper.curves[series['name']]}"
                style = {"color": colour, "mfc": "white", "ms": 4, "lw": 0.8}
                axes.plot(list(curve), list(curve.values()), "s--", label=label, **style)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        self.finish(axes, record)

    def tables(self, record: Record) -> list[str]:
        """Return the table of accuracies, and one of the networks without their skips or collapsed."""
        return [*super().tables(record), "", *_afterwards(record)]


class AccuracyByT(AccuracyView):
    """Validation accuracy after the last epoch by the strength t of the skips."""

    x = "t"
    x_label = "t, the strength of the skips"
    title = "after the last epoch by t"

    def epochs_of(self, trial: Record) -> list[Record]:
        """Return the last epoch, if there is one."""
        epochs: list[Record] = trial["epochs"][-1:]
        return epochs

    def draw(self, axes: Axes, record: Record) -> None:
        """Draw the mean over the trials as a line, and their smallest and largest accuracy as bars."""
        for colour, series in zip(cycle(CURVE_COLORS), record["series"], strict=False):
            if found := self.accuracies(series):
                means = np.array([np.mean(values) for values in found.values()])
                bars = np.abs(np.array([[min(values), max(values)] for values in found.values()]).T - means)
                style = {"color": colour, "ms": 4, "lw": 1, "capsize": 2}
                axes.errorbar(list(found), means, bars, fmt="o-", label=series["name"], **style)
        for name in () if self.paper is None else self.paper.curves:
            curve, label = self.paper_curve(name), f"the paper's {name}, 5 trials"
            axes.plot(list(curve), list(curve.values()), "s", color="gray", mfc="white", ms=4, label=label)
        self.finish(axes, record)


def spread(values: list[float]) -> str:
    """Return the mean of some accuracies, and their smallest and largest."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.2%}"
    return f"{np.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def _ends(curve: dict[float, float]) -> str:
    """Return the first, the highest and the last point of a curve in words."""
    xs = list(curve)
    shown = sorted({xs[0], max(xs, key=lambda x: curve[x]), xs[-1]}) if xs else []
    return ", ".join(f"{100 * curve[x]:.1f} % at {x:g}" for x in shown) or "none"


def _afterwards(record: Record) -> list[str]:
    """Return the table that compares trained networks with the same without skips, and with their collapsed maps."""
    rows = []
    for series in record["series"]:
        for kind, label in (("skips_removed", "skips removed"), ("collapsed", "collapsed")):
            found = [trial[kind] for trial in series["trials"] if kind in trial]
            if found:
                rows.append([series["name"], label, *_comparison(found)])
    header = ["network", "then", "same class", "largest difference of a score", "accuracy"]
    return markdown_table(header, rows, text_columns=2) if rows else []


def _comparison(found: list[dict[str, Any]]) -> list[str]:
    """Return the cells of a row that compares the trials of a series with what they were turned into."""
    if "refused" in found[0]:
        return ["refused: not affine", "", ""]
    agree, compared = (sum(part[name] for part in found) for name in ("predictions_agree", "images_compared"))
    accuracy = float(np.mean([part["validation_accuracy"] for part in found]))
    largest = max(part["largest_difference"] for part in found)
    return [f"{agree:,} of {compared:,}", f"{largest:.1g}", f"{accuracy:.2%}"]
