"""Numbers as curves: spectra, accuracies, schedules. Needs matplotlib."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from linalg_cnn.checks import check_int
from linalg_cnn.display.colors import CURVE_COLORS, INK, MUTED
from linalg_cnn.display.picture import Picture, figure_picture

MARKERS = "os^Dvx"
"""One for each curve, so that colour is not all that tells them apart."""

SPELLED = 12
"""A curve with more points than this is told by its ends and its extremes."""


def curves_picture(
    curves: Mapping[str, Any],
    *,
    x: str,
    y: str,
    log: bool = False,
    start: int = 1,
    title: str | None = None,
) -> Picture:
    """Return some curves, each in a colour and a marker of its own.

    Parameters
    ----------
    curves : mapping {name: points}
        The points are the values at ``start``, ``start`` + 1, ..., or a pair (places, values).
    x, y : str
        What the axes stand for.
    log : bool
        Whether the values have a logarithmic scale, on which only positive ones show.
    start : int
    title : str, optional

    Returns
    -------
    Picture
        Its text alternative has the numbers; of a long curve the ends and the extremes.

    Raises
    ------
    ValueError
        If there are no curves, more than six, or the values do not fit the places.

    Examples
    --------
    >>> curves_picture({"first": [1.0, 0.5], "second": ([0, 4], [0.25, 1])}, x="epoch", y="t").alt
    't by epoch. first: 1 at 1, 0.5 at 2. second: 0.25 at 0, 1 at 4.'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    check_int("start", start, 0)
    if not 1 <= len(curves) <= len(MARKERS):
        raise ValueError(f"curves: expected one to {len(MARKERS)} of them, got {len(curves)}")
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    words = []
    for (name, points), color, marker in zip(curves.items(), CURVE_COLORS, MARKERS, strict=False):
        places, values = _points(name, points, start)
        crowded = len(places) > 60
        axes.plot(places, values, "-" if crowded else marker + "-", color=color, lw=1.4, ms=6, mfc="none", label=name)
        words.append(f"{name}: {_in_words(places, values)}.")
        if all(float(place).is_integer() for place in places):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
    axes.set_xlabel(x, color=MUTED)
    axes.set_ylabel(y, color=MUTED)
    axes.grid(alpha=0.3)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    if len(curves) > 1:
        axes.legend(frameon=False)
    if title:
        axes.set_title(title, color=INK)
    return figure_picture(figure, " ".join([f"{title}: {y} by {x}." if title else f"{y} by {x}.", *words]))


def _points(name: str, points: Any, start: int) -> tuple[Any, Any]:
    paired = isinstance(points, tuple) and len(points) == 2 and np.ndim(points[0]) == np.ndim(points[1]) == 1
    places, values = points if paired else (np.arange(start, start + len(points)), points)
    places, values = np.asarray(places, np.float64), np.asarray(values, np.float64)
    if places.ndim != 1 or places.shape != values.shape or len(places) == 0:
        raise ValueError(
            f"curves[{name!r}]: expected as many values as places, at least one, got {values.shape} and {places.shape}"
        )
    return places, values


def _in_words(places: Any, values: Any) -> str:
    shown = range(len(places)) if len(places) <= SPELLED else sorted({0, *_extremes(values), len(places) - 1})
    return ", ".join(f"{values[i]:.3g} at {places[i]:g}" for i in shown)


def _extremes(values: Any) -> tuple[int, int]:
    return int(np.argmin(values)), int(np.argmax(values))
