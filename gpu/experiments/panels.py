"""Panels of a figure that stay legible on a phone: few curves in each, with their names at their ends."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from linalg_cnn.display.colors import CURVE_COLORS, MUTED
from linalg_cnn.display.ends import NAME_SIZE, name_ends

WIDTH = 4.8
"""Width of a figure in inches. On a phone of 390 pixels, a letter of 9 points is then as high as one of 9 pixels."""

HEIGHT = 2.1
"""Height of a panel, in inches."""

MOST = 4
"""Largest number of curves in a panel."""


@dataclass(frozen=True)
class Curve:
    """A curve with a name: the mean of some values, and their smallest and largest.

    Attributes
    ----------
    name : str
        Name at the curve's end.
    points : dict {float: list of float}
        Values at each position.
    number : int
        Number of its colour; a curve and what it is compared with have the same.
    reference : bool
        Whether it is what others are compared with; it is then dashed, and its markers are hollow.
    labels : dict {float: str}
        Texts beside some points.
    """

    name: str
    points: dict[float, list[float]]
    number: int = 0
    reference: bool = False
    labels: dict[float, str] = field(default_factory=dict)

    @property
    def color(self) -> str:
        """Colour of the curve."""
        return CURVE_COLORS[self.number % len(CURVE_COLORS)]

    @property
    def means(self) -> list[float]:
        """Means of the values, in the order of the positions."""
        return [float(np.mean(values)) for values in self.points.values()]


def in_panels(groups: Sequence[Sequence[Curve]]) -> list[list[Curve]]:
    """Return groups of curves in as few panels as four curves in each allow, filled alike; a group stays together.

    Examples
    --------
    >>> curves = [[Curve(name, {})] for name in "abcde"]
    >>> ["".join(curve.name for curve in panel) for panel in in_panels(curves)]
    ['abc', 'de']
    """
    fewest = max(1, -(-sum(map(len, groups)) // MOST))
    limit = max(-(-sum(map(len, groups)) // fewest), max(map(len, groups), default=0))
    panels: list[list[Curve]] = [[]]
    for group in groups:
        if len(panels[-1]) + len(group) > limit:
            panels.append([])
        panels[-1] += group
    return panels


def draw_panels(
    figure: Figure, panels: Sequence[Sequence[Curve]], titles: Sequence[str] = (), *, bars: bool = False
) -> list[Axes]:
    """Draw panels below each other, each with the names of its curves at their ends, and return their axes.

    Parameters
    ----------
    figure : Figure
        Empty figure, whose size is set.
    panels : sequence of sequences of Curve
        Curves of each panel.
    titles : sequence of str
        Title of each panel; none by default.
    bars : bool
        Whether the smallest and largest values are bars at each point, instead of a band along the curve.
    """
    figure.set_size_inches(WIDTH, HEIGHT * len(panels) + 0.6)
    grid = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
    for axes, curves in zip(grid, panels, strict=True):
        for place, curve in enumerate(curves):
            _draw_curve(axes, curve, bars, place)
        axes.grid(alpha=0.3)
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axes.tick_params(labelsize=NAME_SIZE)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        ends = [(curve.name, list(curve.points)[-1], curve.means[-1], curve.color) for curve in curves if curve.points]
        name_ends(axes, ends)
    for axes, title in zip(grid, titles, strict=False):
        axes.set_title(title, fontsize=9, loc="left")
    return grid


def below(figure: Figure, label: str, conditions: str) -> None:
    """Write the label of the horizontal axis and the conditions of the record below a figure."""
    figure.supxlabel("\n".join([label, *textwrap.wrap(conditions, 72)]), fontsize=NAME_SIZE, color=MUTED)


def _draw_curve(axes: Axes, curve: Curve, bars: bool, before: int) -> None:
    """Draw the mean as a line, and the smallest and largest values as bars or as a band.

    Each curve is thinner than the ``before`` curves below it, which are seen on both sides of it where they coincide.
    """
    xs, means = list(curve.points), curve.means
    marker = "osD^"[curve.number % 4]
    style: dict[str, Any] = {"color": curve.color, "ms": 6 - before, "lw": 2.4 - 0.5 * before}
    style |= {"mfc": "white", "ls": "--"} if curve.reference else {"ls": "-"}
    low, high = ([pick(values) for values in curve.points.values()] for pick in (min, max))
    if bars:
        errors = np.abs(np.array([low, high]) - means)
        axes.errorbar(xs, means, errors, marker=marker, capsize=2, **style)
    else:
        axes.plot(xs, means, marker=marker, **style)
        axes.fill_between(xs, low, high, color=curve.color, alpha=0.15, lw=0)
    for x, words in curve.labels.items():
        axes.annotate(words, (x, np.mean(curve.points[x])), (3, 4), textcoords="offset points", fontsize=7)
