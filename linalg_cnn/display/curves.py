"""Curves of numbers, such as spectra, accuracies and schedules; they need matplotlib."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from linalg_cnn.checks import check_int
from linalg_cnn.display.colors import CURVE_COLORS, INK, MUTED
from linalg_cnn.display.ends import name_ends
from linalg_cnn.display.picture import Picture, figure_picture

MARKERS = "os^Dvx"
"""One marker for each curve: colour alone does not tell curves apart for every reader."""

SPELLED = 12
"""Number of points above which the text alternative gives only the ends and the extremes of a curve."""


def curves_picture(
    curves: Mapping[str, Any],
    *,
    x: str,
    y: str,
    log: bool = False,
    log_x: bool = False,
    start: int = 1,
    title: str | None = None,
) -> Picture:
    """Return a picture of curves, each with a colour and a marker of its own, and its name at its end.

    Parameters
    ----------
    curves : mapping {name: points}
        Values at ``start``, ``start`` + 1, ..., or a pair (positions, values).
    x, y : str
        Labels of the axes.
    log : bool
        Whether the values have a logarithmic scale, which shows positive values only.
    log_x : bool
        Whether the positions have a logarithmic scale, which shows short curves beside long ones.
    start : int
        Position of the first value of a curve without positions; 1 by default.
    title : str, optional
        Title above the curves.

    Returns
    -------
    Picture
        The text alternative lists the points; of a long curve, the ends and the extremes.

    Raises
    ------
    ValueError
        If there are no curves or more than six, or if a curve has not as many values as positions.

    Examples
    --------
    >>> curves_picture({"first": [1.0, 0.5], "second": ([0, 4], [0.25, 1])}, x="epoch", y="t").alt
    'Curves of t against epoch. first: 1 at 1, 0.5 at 2. second: 0.25 at 0, 1 at 4.'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    check_int("start", start, 0)
    if not 1 <= len(curves) <= len(MARKERS):
        raise ValueError(f"curves: expected one to {len(MARKERS)} curves, got {len(curves)}")
    figure = Figure(figsize=(5.6, 3.1), layout="constrained")
    axes = figure.subplots()
    words, ends = [], []
    for before, ((name, points), color, marker) in enumerate(zip(curves.items(), CURVE_COLORS, MARKERS, strict=False)):
        positions, values = _points(name, points, start)
        crowded = len(positions) > 60
        # a curve is thinner than those below it, which are seen on both sides of it where they coincide
        width, size = 2.4 - 0.3 * before, 8 - 0.8 * before
        axes.plot(positions, values, "-" if crowded else marker + "-", color=color, lw=width, ms=size, mfc="none")
        ends.append((name, positions[-1], values[-1], color))
        words.append(f"{name}: {_in_words(positions, values)}.")
        if not log_x and all(float(position).is_integer() for position in positions):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axes.set_yscale("log")
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(x, color=MUTED)
    axes.set_ylabel(y, color=MUTED)
    axes.grid(alpha=0.3)
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(False)
    if len(curves) > 1:
        name_ends(axes, ends)
    if title:
        axes.set_title(title, color=INK)
    subject = f"{title}: curves of" if title else "Curves of"
    return figure_picture(figure, " ".join([f"{subject} {y} against {x}.", *words]))


def _points(name: str, points: Any, start: int) -> tuple[Any, Any]:
    paired = isinstance(points, tuple) and len(points) == 2 and np.ndim(points[0]) == np.ndim(points[1]) == 1
    positions, values = points if paired else (np.arange(start, start + len(points)), points)
    positions, values = np.asarray(positions, np.float64), np.asarray(values, np.float64)
    if positions.ndim != 1 or positions.shape != values.shape or len(positions) == 0:
        raise ValueError(
            f"curves[{name!r}]: expected as many values as positions, at least one, "
            f"got values of shape {values.shape} and positions of shape {positions.shape}"
        )
    return positions, values


def _in_words(positions: Any, values: Any) -> str:
    shown = range(len(positions)) if len(positions) <= SPELLED else sorted({0, *_extremes(values), len(positions) - 1})
    return ", ".join(f"{values[i]:.3g} at {positions[i]:g}" for i in shown)


def _extremes(values: Any) -> tuple[int, int]:
    return int(np.argmin(values)), int(np.argmax(values))
