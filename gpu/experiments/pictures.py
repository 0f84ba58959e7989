"""Records as pictures with a text alternative, for notebooks."""

from typing import Any

import numpy as np

from gpu.experiments.figures import PAPER_NAMES, describe, figure_of
from gpu.experiments.paper_numbers import paper_figure
from linalg_cnn.display.picture import Picture, figure_picture


def record_picture(record: dict[str, Any]) -> Picture:
    """Return the figure of a record, the paper's points beside ours, and the same in words.

    Parameters
    ----------
    record : dict
        What ``linalg-cnn experiment`` writes: ``figure1``, ``figure2``, ``figure3``, ``timing`` or ``distillation``.

    Returns
    -------
    Picture
        Its text alternative says where each curve starts, where it is highest, and where it ends.

    Examples
    --------
    >>> epochs = [{"epoch": n, "t": 0.5, "validation_accuracy": a} for n, a in [(1, 0.6), (2, 0.9)]]
    >>> settings = {"dataset": "mnist", "images": 4000, "epochs": 2, "trials": 1, "held_out_images": 2000}
    >>> record = {"experiment": "figure3", "settings": settings, "hardware": {"processor": "Xeon", "cores": 2},
    ...           "series": [{"name": "Static t", "trials": [{"epochs": epochs}]}]}
    >>> print(record_picture(record).alt)
    Validation accuracy by epoch. Static t: 60.0 % at 1, 90.0 % at 2 (the paper's: 96.2 % at 1, 98.6 % at 10). \
mnist, 4,000 images, 2 epochs, 1 trials, validated on 2,000; Xeon, 2 cores.
    """
    return figure_picture(figure_of(record), _in_words(record))


def _in_words(record: dict[str, Any]) -> str:
    measured = f" {describe(record)}."
    if record["experiment"] == "timing":
        rows = (
            f"{row['network']}, {row['variant']}: {row['microseconds_per_image']:,.3g}"
            + (f" (the paper's: {row['paper']:,.3g})" if row["paper"] else "")
            for row in record["rows"]
        )
        return "Microseconds per image. " + "; ".join(rows) + "." + measured
    against = "t" if record["experiment"] == "figure2" else "epoch"
    names = PAPER_NAMES.get(record["experiment"], {})
    curves = []
    for series in record["series"]:
        words = f"{series['name']}: {_ends(_means(series, against))}"
        if series["name"] in names:
            paper = paper_figure(record["experiment"])
            words += f" (the paper's: {_ends(dict(zip(paper[against], paper[names[series['name']]], strict=True)))})"
        curves.append(words)
    what = "after the last epoch by t" if against == "t" else "by epoch"
    return f"Validation accuracy {what}. {'; '.join(curves)}.{measured}"


def _means(series: dict[str, Any], against: str) -> dict[float, float]:
    """Return the mean accuracy of a curve by epoch, or by t after the last epoch."""
    found: dict[float, list[float]] = {}
    for trial in series["trials"]:
        for epoch in trial["epochs"] if against == "epoch" else trial["epochs"][-1:]:
            found.setdefault(epoch[against], []).append(epoch["validation_accuracy"])
    return {place: float(np.mean(values)) for place, values in sorted(found.items())}


def _ends(curve: dict[float, float]) -> str:
    """Return where a curve starts, where it is highest, and where it ends."""
    places = list(curve)
    shown = sorted({places[0], max(places, key=lambda place: curve[place]), places[-1]}) if places else []
    return ", ".join(f"{100 * curve[place]:.1f} % at {place:g}" for place in shown) or "none"
