"""Records as Markdown tables, the paper's own numbers beside ours."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpu.experiments.figures import PAPER_NAMES, describe
from gpu.experiments.paper_numbers import TIMING_HARDWARE, paper_figure


def format_experiment(record: dict[str, Any]) -> str:
    """Return the tables of a record, with what it was measured on beneath."""
    if record["experiment"] == "timing":
        lines = _timing(record)
    elif record["experiment"] == "figure2":
        lines = _against(record, "t", lambda trial, t: trial["epochs"][-1]["t"] == t)
    else:
        lines = _against(record, "epoch", lambda trial, epoch: True)
        lines += ["", *_afterwards(record)]
    stopped = [f"{series['name']}, seed {trial['seed']}: {trial['stopped']}"
               for series in record.get("series", []) for trial in series["trials"] if "stopped" in trial]  # fmt: skip
    return "\n".join([*lines, "", *stopped, f"{describe(record)}."])


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _against(record: dict[str, Any], what: str, belongs: Callable[[dict[str, Any], Any], bool]) -> list[str]:
    """Return validation accuracy by epoch or by t: mean, then smallest and largest of the trials, then the paper's."""
    names = PAPER_NAMES.get(record["experiment"], {})
    whole = {s["name"]: [trial for trial in s["trials"] if trial["epochs"]] for s in record["series"]}
    paper = paper_figure(record["experiment"]) if names else {}
    epochs = [epoch for trials in whole.values() for trial in trials for epoch in trial["epochs"]]
    heads = [cell for name in whole for cell in ([name, "the paper"] if name in names else [name])]
    lines = [_row(what, *heads), "|---:" * (1 + len(heads)) + "|"]
    for value in sorted({epoch[what] for epoch in epochs if what in epoch}):
        cells = []
        for name, trials in whole.items():
            found = [
                epoch["validation_accuracy"]
                for trial in trials
                if belongs(trial, value)
                for epoch in trial["epochs"][0 if what == "epoch" else -1 :]
                if epoch.get(what) == value
            ]
            cells.append(_spread(found))
            if name in names:
                columns = dict(zip(paper[what], paper[names[name]], strict=True))
                cells.append(f"{columns[value]:.2%}" if value in columns else "")
        lines.append(_row(f"{value:g}", *cells))
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.2%}"
    return f"{np.mean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def _afterwards(record: dict[str, Any]) -> list[str]:
    """Return what became of the trained networks: without their skips, or collapsed."""
    lines = []
    for series in record["series"]:
        for kind, label in (("skips_removed", "skips removed"), ("collapsed", "collapsed")):
            found = [trial[kind] for trial in series["trials"] if kind in trial]
            if found and "refused" in found[0]:
                lines.append(_row(series["name"], label, "refused: not affine", "", ""))
            elif found:
                agree, compared = (sum(f[name] for f in found) for name in ("predictions_agree", "images_compared"))
                accuracy = float(np.mean([f["validation_accuracy"] for f in found]))
                largest = max(f["largest_difference"] for f in found)
                lines.append(
                    _row(series["name"], label, f"{agree:,} of {compared:,}", f"{largest:.1g}", f"{accuracy:.2%}")
                )
    head = [
        _row("network", "then", "same class", "largest difference of a score", "accuracy"),
        "|---|---|---:|---:|---:|",
    ]
    return head + lines if lines else []


def _timing(record: dict[str, Any]) -> list[str]:
    lines = [
        _row("network", "variant", "parameters", "us per image", "middle half", f"the paper's ({TIMING_HARDWARE})"),
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in record["rows"]:
        paper = "" if row["paper"] is None else f"{row['paper']:.2f}"
        measured = (f"{row['microseconds_per_image']:,.2f}", f"{row['spread']:,.2f}")
        lines.append(_row(row["network"], row["variant"], f"{row['parameters']:,}", *measured, paper))
    return lines
