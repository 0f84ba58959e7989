"""Names of curves at their ends, instead of a legend; they need matplotlib."""

import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

NAME_SIZE = 8
"""Size of the names, in points."""

NAME_WIDTH = 19
"""Number of characters after which a name goes on in the next line."""


def name_ends(axes: Any, ends: Sequence[tuple[str, float, float, str]]) -> None:
    """Write names to the right of the axes, each with a line to the end of its curve; the limits stay as they are.

    Parameters
    ----------
    axes : matplotlib Axes
        Axes with curves.
    ends : sequence of (name, x, y, colour)
        Name, last point and colour of each curve.
    """
    figure = axes.get_figure()
    axes.set_ylim(axes.get_ylim())
    to_axes = axes.transData + axes.transAxes.inverted()
    height = 72 * figure.get_figheight() * axes.get_position().height  # in points
    names = ["\n".join(textwrap.wrap(name, NAME_WIDTH, break_on_hyphens=False)) for name, *_ in ends]
    heights = [1.3 * NAME_SIZE * (1 + name.count("\n")) / height for name in names]
    centres = [float(to_axes.transform((x, y))[1]) for _, x, y, _ in ends]
    for name, (_, x, y, color), centre in zip(names, ends, apart(centres, heights), strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.06, centre),
            textcoords="axes fraction",
            color=color,
            fontsize=NAME_SIZE,
            va="center",
            linespacing=1.0,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "lw": 0.6, "alpha": 0.6, "relpos": (0, 0.5)},
        )


def apart(centres: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Return positions near some others, so far apart that things of these heights do not overlap, and below 1.

    Examples
    --------
    >>> apart([0.5, 0.5, 0.1], [0.2, 0.2, 0.2])
    [0.5, 0.7, 0.1]
    >>> [round(position, 3) for position in apart([0.95, 1.0], [0.2, 0.2])]
    [0.7, 0.9]
    """
    order = sorted(range(len(centres)), key=lambda i: centres[i])
    found = list(centres)
    for lower, upper in pairwise(order):
        found[upper] = max(found[upper], found[lower] + (heights[lower] + heights[upper]) / 2)
    ceiling = 1.0
    for i in reversed(order):
        found[i] = min(found[i], ceiling - heights[i] / 2)
        ceiling = found[i] - heights[i] / 2
    return found
