"""The record of the experiment `front` as a figure, tables and words."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from gpu.experiments.accuracy import spread
from gpu.experiments.experiment import Record, View, machine_of
from gpu.experiments.front_times import EAGER, MERGED, NETWORK, Plan
from gpu.experiments.front_trials import ARMS, DIRECT, WHOLE
from gpu.experiments.panels import Curve, below, draw_panels
from gpu.runtime.tables import counted, markdown_table

GOAL = 5.0
"""Times faster than the whole network that one network at least should be, at an accuracy within its spread."""


@dataclass(frozen=True)
class Point:
    """One arm with some number of activations left.

    Attributes
    ----------
    arm : str
        Name of the arm, with ", taught" where it learns from the whole network.
    left : int
        Number of activations that are left.
    times_faster : float
        Time of the whole network with folded batch normalisations, divided by that of this one, each in the runtime
        that is fastest for it.
    accuracies : list of float
        Test accuracies of the trials.
    """

    arm: str
    left: int
    times_faster: float
    accuracies: list[float]

    @property
    def mean(self) -> float:
        """Mean of the accuracies."""
        return float(np.mean(self.accuracies))

    @property
    def width(self) -> float:
        """Spread of the accuracies: largest minus smallest."""
        return max(self.accuracies) - min(self.accuracies)


def points_of(record: Record, network: str) -> list[Point]:
    """Return the points of a network, the whole one first; arms whose trials all stopped early have none."""
    best = {plan: _least(by_runtime) for plan, by_runtime in _by_plan(record, network).items()}
    reference = _reference(best)
    points = []
    for series in record["series"]:
        found = [trial["test_accuracy"] for trial in series["trials"] if "test_accuracy" in trial]
        if series["network"] != network or not found:
            continue
        row = best[DIRECT if series["arm"] == DIRECT else MERGED, series["left"]]
        faster = reference / row["microseconds_per_image"]
        points.append(Point(series["arm"] + ", taught" * series["taught"], series["left"], faster, found))
    return points


def _by_plan(record: Record, network: str) -> dict[Plan, dict[str, Record]]:
    """Return the rows of a network by plan and runtime; an old record has no runtimes, and the eager ones."""
    rows: dict[Plan, dict[str, Record]] = {}
    for row in record["rows"]:
        if row["network"] == network:
            rows.setdefault((row["variant"], row["left"]), {})[row.get("runtime", EAGER)] = row
    return rows


def _least(by_runtime: dict[str, Record]) -> Record:
    """Return the row of the runtime that is the fastest."""
    return min(by_runtime.values(), key=lambda row: row["microseconds_per_image"])


def _reference(best: dict[Plan, Record]) -> float:
    """Return the microseconds per image of the whole network, with which the others are compared."""
    return float(next(row["microseconds_per_image"] for (variant, _), row in best.items() if variant == NETWORK))


def nearest_to_goal(points: list[Point]) -> tuple[Point | None, Point | None]:
    """Return two points: the fastest within the spread of the whole network, and the best that reaches the goal.

    Within the spread means that the mean accuracy is at least the smallest of the whole network's trials.
    """
    others = [point for point in points if point.arm != WHOLE]
    whole = next((point for point in points if point.arm == WHOLE), None)
    within = [point for point in others if whole is not None and point.mean >= min(whole.accuracies)]
    fast = [point for point in others if point.times_faster >= GOAL]
    return (
        max(within, key=lambda point: point.times_faster, default=None),
        max(fast, key=lambda point: point.mean, default=None),
    )


def beaten(points: list[Point]) -> Iterator[tuple[Point, Point]]:
    """Yield each point that another beats by more than the wider spread of both at no more cost, and this other."""
    for point in points:
        better = [
            other
            for other in points
            if other.times_faster >= point.times_faster and other.mean - point.mean > max(other.width, point.width)
        ]
        if better:
            yield point, max(better, key=lambda other: other.mean)


class FrontView(View):
    """Test accuracy against the time of a prediction, a panel for each network."""

    def conditions(self, record: Record) -> str:
        """Return data set, numbers of images, epochs and trials, batch size, and machine."""
        settings = record["settings"]
        return (
            f"{settings['dataset']}, {counted(settings['images'], 'image')}, {counted(settings['epochs'], 'epoch')}, "
            f"{counted(settings['trials'], 'trial')}, chosen on {settings['held_out_images']:,}, tested on "
            f"{settings['test_images']:,}; batch {settings['batch_size']}; {machine_of(record)}"
        )

    def draw(self, figure: Figure, record: Record) -> None:
        """Draw a panel for each network, and one for its taught arms: mean accuracies, with their range as bars."""
        panels, titles = [], []
        for network in record["networks"]:
            points = points_of(record, network)
            for end in ("", ", taught"):
                curves = _curves(points, end)
                if len(curves) > 1 or not end:
                    panels.append(curves)
                    titles.append(f"{network}{end}")
        for axes in draw_panels(figure, panels, titles, bars=True):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
        figure.supylabel("test accuracy", fontsize=9)
        label = "times faster than the whole network; numbers are activations left"
        below(figure, label, self.conditions(record))

    def tables(self, record: Record) -> list[str]:
        """Return for each network a table of times, one of accuracies, and what they say about the goal."""
        lines: list[str] = []
        for network in record["networks"]:
            points = points_of(record, network)
            lines += [f"**{network}**", "", *_times(record, network), "", *_accuracies(points), ""]
            lines += [*_verdict(points), ""]
        lines += [f"Not timed: {sentence}." for sentence in record.get("left_out", [])]
        return lines if lines[-1] else lines[:-1]

    def words(self, record: Record) -> str:
        """Return for each network the mean accuracy and the speed of each arm, and the points nearest to the goal."""
        lines = ["Test accuracy against the time of a prediction."]
        for network in record["networks"]:
            points = points_of(record, network)
            for arm in dict.fromkeys(point.arm for point in points):
                found = (
                    f"{100 * point.mean:.1f} % and {point.times_faster:.1f} times faster with {point.left} left"
                    for point in points
                    if point.arm == arm
                )
                lines.append(f"{network}, {arm}: {', '.join(found)}.")
            lines += _verdict(points)
        return " ".join(lines)


def _curves(points: list[Point], end: str) -> list[Curve]:
    """Return the whole network and the arms whose names end so, from the most activations left to the fewest."""
    curves = []
    for number, name in enumerate([*(f"{arm}{end}" for arm in ARMS), WHOLE]):
        found = sorted((point for point in points if point.arm == name), key=lambda point: -point.left)
        if found:
            labelled = {point.times_faster: str(point.left) for point in found if name in {WHOLE, *ARMS[1:]}}
            accuracies = {point.times_faster: point.accuracies for point in found}
            curves.append(Curve(name, accuracies, number, labels=labelled))
    return curves


def _times(record: Record, network: str) -> list[str]:
    rows = _by_plan(record, network)
    best = {plan: _least(by_runtime) for plan, by_runtime in rows.items()}
    runtimes = list(dict.fromkeys(runtime for by_runtime in rows.values() for runtime in by_runtime))
    shown = {NETWORK: "network, batch norms folded", MERGED: "merged", DIRECT: "one layer per stretch, merged"}
    table = []
    for variant, left in sorted(rows, key=lambda plan: (-plan[1], list(shown).index(plan[0]))):
        row = best[variant, left]
        cells = [_time(rows[variant, left].get(runtime)) for runtime in runtimes]
        faster = f"{_reference(best) / row['microseconds_per_image']:.2f}"
        table.append([f"{left}", shown[variant], _counted(row["forms"]), f"{row['multiply_adds']:,}", *cells, faster])
    header = ["activations left", "variant", "forms", "MACs", *(f"{runtime}, us" for runtime in runtimes)]
    return markdown_table([*header, "times faster"], table, text_columns=[1, 2])


def _counted(forms: list[str]) -> str:
    """Return the names of forms, each once with its number.

    Examples
    --------
    >>> _counted(["chain", "chain", "dense matrix"])
    '2 x chain, dense matrix'
    """
    return ", ".join(f"{count} x {form}" if count > 1 else form for form, count in Counter(forms).items())


def _time(row: Record | None) -> str:
    """Return microseconds per image with their interquartile range."""
    return "" if row is None else f"{row['microseconds_per_image']:,.2f} ({row['spread']:,.2f})"


def _accuracies(points: list[Point]) -> list[str]:
    arms = list(dict.fromkeys(point.arm for point in points))
    cells = {(point.left, point.arm): spread(point.accuracies) for point in points}
    lefts = sorted({point.left for point in points}, reverse=True)
    table = [[f"{left}", *(cells.get((left, arm), "") for arm in arms)] for left in lefts]
    return markdown_table(["activations left", *arms], table, text_columns=0)


def _verdict(points: list[Point]) -> list[str]:
    """Return sentences: the whole network, the goal and what came nearest to it, and the arms that are beaten."""
    within, fast = nearest_to_goal(points)
    said = [f"The whole network has {spread(point.accuracies)}." for point in points if point.arm == WHOLE]
    if within is None:
        said.append("No network with fewer activations is within its spread.")
    else:
        said.append(
            f"Fastest within its spread: {within.arm} with {within.left} left, {within.times_faster:.1f} times faster, "
            f"{spread(within.accuracies)}."
        )
    if fast is not None:
        said.append(
            f"Most accurate at {GOAL:g} times or more: {fast.arm} with {fast.left} left, "
            f"{fast.times_faster:.1f} times faster, {spread(fast.accuracies)}."
        )
    lost = [f"{p.arm} with {p.left} by {q.arm} with {q.left}" for p, q in beaten(points)]
    if lost:
        said.append(f"Beaten by more than the spread at no more cost: {'; '.join(lost)}.")
    return said
