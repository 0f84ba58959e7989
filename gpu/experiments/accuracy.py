"""Records of validation accuracies as figures, tables and words: accuracy by epoch, and accuracy by t."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gpu.experiments.experiment import Record, View, finished_trials, label_of, machine_of
from gpu.experiments.panels import Curve, below, draw_panels, in_panels
from gpu.experiments.paper_numbers import PaperFigure
from gpu.runtime.tables import counted, markdown_table

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
    bars : bool
        Whether the smallest and largest accuracy are bars at each point, instead of a band along the curve.
    """

    paper: PaperFigure | None = None
    x: ClassVar[str]
    x_label: ClassVar[str]
    title: ClassVar[str]
    bars: ClassVar[bool] = False

    @abstractmethod
    def epochs_of(self, trial: Record) -> list[Record]:
        """Return the epochs of a trial that are shown."""

    def accuracies(self, series: Record, kind: str = "validation_accuracy") -> dict[float, list[float]]:
        """Return the accuracies of a series by x, in the order of x, where a record has this kind.

        Trials that diverged do not count, also in the epochs before.
        """
        found: dict[float, list[float]] = {}
        for trial in finished_trials(series):
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
        Trials that diverged are counted beside the name of their series, and in nothing else.
        """
        measured = [self.accuracies(series) for series in record["series"]]
        header = [self.x]
        rows = {x: [f"{x:g}"] for x in sorted({x for found in measured for x in found})}
        for series, found in zip(record["series"], measured, strict=True):
            header.append(label_of(series))
            for x, cells in rows.items():
                cells.append(spread(found.get(x, [])))
            if paper := self.paper_curve(series["name"]):
                header.append("the paper")
                for x, cells in rows.items():
                    cells.append(f"{paper[x]:.2%}" if x in paper else "")
        lines = markdown_table(header, rows.values(), text_columns=0)
        as_trained = {label_of(series): self.accuracies(series, AS_TRAINED) for series in record["series"]}
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
            curve = f"{label_of(series)}: {_ends(means)}"
            if paper := self.paper_curve(series["name"]):
                curve += f" (the paper's: {_ends(paper)})"
            curves.append(curve)
        return f"Validation accuracy {self.title}. {'; '.join(curves)}."

    def draw(self, figure: Figure, record: Record) -> None:
        """Draw the mean of each series with the smallest and largest accuracy, and beside it the paper's curve."""
        groups = []
        for number, series in enumerate(record["series"]):
            curves = [Curve(label_of(series), self.accuracies(series), number)]
            if paper := self.paper_curve(series["name"]):
                points = {x: [accuracy] for x, accuracy in paper.items()}
                curves.append(Curve(f"the paper's {series['name']}", points, number, reference=True))
            groups.append(curves)
        panels = draw_panels(figure, in_panels(groups), bars=self.bars)
        panels[-1].xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=self.x == "epoch"))
        figure.supylabel("validation accuracy", fontsize=9)
        below(figure, self.x_label, self.conditions(record))


class AccuracyByEpoch(AccuracyView):
    """Validation accuracy by epoch, and the networks without their skips or collapsed."""

    x = "epoch"
    x_label = "epoch"
    title = "by epoch"

    def epochs_of(self, trial: Record) -> list[Record]:
        """Return all epochs."""
        epochs: list[Record] = trial["epochs"]
        return epochs

    def tables(self, record: Record) -> list[str]:
        """Return the table of accuracies, and one of the networks without their skips or collapsed."""
        return [*super().tables(record), "", *_afterwards(record)]


class AccuracyByT(AccuracyView):
    """Validation accuracy after the last epoch by the strength t of the skips."""

    x = "t"
    x_label = "t, the strength of the skips"
    title = "after the last epoch by t"
    bars = True

    def epochs_of(self, trial: Record) -> list[Record]:
        """Return the last epoch, if there is one."""
        epochs: list[Record] = trial["epochs"][-1:]
        return epochs


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
    """Return the cells of a row that compares the trials of a series with what they were turned into.

    Whether a map was refused depends on the trained weights: it can be the map of one trial alone.
    """
    refusals = [part["refused"] for part in found if "refused" in part]
    compared = [part for part in found if "refused" not in part]
    refused = f"{len(refusals)} of {len(found)} refused"
    if not compared:
        not_affine = all("expected affine operations only" in refusal for refusal in refusals)
        return ["refused: not affine" if not_affine else refused, "", ""]
    agree, images = (sum(part[name] for part in compared) for name in ("predictions_agree", "images_compared"))
    accuracy = float(np.mean([part["validation_accuracy"] for part in compared]))
    largest = max(part["largest_difference"] for part in compared)
    same = f"{agree:,} of {images:,}" + (f"; {refused}" if refusals else "")
    return [same, f"{largest:.1g}", f"{accuracy:.2%}"]
