"""Pictures of a piecewise-linear network along a segment."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from linalg_cnn.display.classes import (
    class_colors,
    color_key,
    halo_text,
    input_picture,
    is_image,
    output_names,
    softened,
)
from linalg_cnn.display.colors import EMPTY, INK, LINE, MUTED
from linalg_cnn.display.frame import count_words, decimal, joined
from linalg_cnn.display.picture import Picture, move, stacked
from linalg_cnn.display.svg import lines, number, rect, text, text_width
from linalg_cnn.piecewise.segment import Path
from linalg_cnn.types import Array

WIDTH = 360.0
"""Width of the segment, in pixels."""

HEIGHT = 180.0
"""Height of the panel of scores, in pixels."""

HEADROOM = 22.0
"""Height above the largest output, where its name is."""

COLUMN = 0.5
"""Width in pixels of the columns in which at most one point of a curve is drawn."""

BAR = 2.0
"""Width of a bar, in pixels."""

MOST_TICKS = 120
"""Number of breaks up to which each is a tick; more are counted in bars."""

MOST_CURVES = 20
"""Number of outputs that are drawn at most; those that are the largest somewhere come first."""

SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Positions of the inputs that are drawn below the segment."""


class Stretch(NamedTuple):
    """A part of the segment along which one output is the largest."""

    low: float
    high: float
    output: int


def segment_picture(path: Path, *, labels: Sequence[str] | None = None, title: str | None = None) -> Picture:
    """Return the outputs of a network along a segment, with the breaks and the largest output below them.

    Parameters
    ----------
    path : Path
        Path as `linalg_cnn.segment` returns it.
    labels : sequence of str, optional
        Names of the outputs; by default their numbers.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture
        At the top are the outputs along the segment; those that are the largest somewhere have colours, the same as in
        `slice_picture`, and the others are grey. Of more than 20 outputs, those with the largest values are drawn. A
        band shows which output is the largest. Below it, each break is a tick; more than 120 are counted in bars of
        equal width. Where inputs are images of one or three channels, five of them are at the bottom.

    Raises
    ------
    ValueError
        If there is not one label per output.

    Examples
    --------
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU, segment
    >>> graph = PiecewiseGraph((1,))
    >>> output = graph.add(ReLU(), graph.add(Dense([[1.0], [-1.0]], [-0.25, 0.75]), 0))
    >>> segment_picture(segment(graph, [0.0], [1.0])).alt.split(". ")[1:]
    ['Breaks at t = 0.25 and 0.75', 'The largest output: 1 from 0 to 0.5 and 0 from 0.5 to 1.']
    """
    values = path.values.reshape(len(path.values), -1)
    names = output_names(labels, values.shape[1])
    stretches = _stretches(path, values)
    colors = class_colors(len(names), sorted({stretch.output for stretch in stretches}))
    rows = [_scores(path, values, colors, _longest(stretches), names)]
    if len(names) > 1:
        rows.append(_band(stretches, colors, names))
        unnamed = [k for k, longest in _longest(stretches).items() if not _fits(longest, names)]
        rows += [color_key([(names[k], colors[k]) for k in unnamed], WIDTH)] if unnamed else []
    rows.append(_breaks(path))
    rows += [_inputs(path)] if is_image(path.start.shape) else []
    picture = stacked(*rows, gap=6)
    if not path.complete:
        picture = picture.captioned(f"incomplete: the breaks up to t = {decimal(path.reached)}")
    return picture.with_alt(_words(path, values, stretches, names)).with_title(title)


def _stretches(path: Path, values: Array) -> list[Stretch]:
    """Return the parts of the segment with the same largest output."""
    changes = path.class_changes
    ends = [0.0, *(change.t for change in changes), path.reached]
    # an output that is the largest everywhere has the largest sum, even where others equal it in places
    first = changes[0].before if changes else int(values.sum(axis=0).argmax())
    outputs = [first, *(change.after for change in changes)]
    return [Stretch(*part) for part in zip(ends[:-1], ends[1:], outputs, strict=True)]


def _longest(stretches: Sequence[Stretch]) -> dict[int, Stretch]:
    """Return the longest stretch of each output that is the largest somewhere."""
    by_length = sorted(stretches, key=lambda stretch: stretch.high - stretch.low)
    return {stretch.output: stretch for stretch in by_length}


def _fits(stretch: Stretch, names: Sequence[str]) -> bool:
    """Return whether the name of an output fits into its part of the band."""
    return WIDTH * (stretch.high - stretch.low) >= text_width(names[stretch.output], 12) + 6


def _scores(
    path: Path, values: Array, colors: Mapping[int, str], longest: Mapping[int, Stretch], names: Sequence[str]
) -> Picture:
    """Return the curves of the outputs; those that are the largest somewhere have colours and names."""
    by_height = np.argsort(-values.max(axis=0), kind="stable").tolist()
    others = [k for k in by_height if k not in colors][: max(MOST_CURVES - len(colors), 0)]
    low, high = float(values[:, [*others, *colors]].min()), float(values[:, [*others, *colors]].max())
    scale = (HEIGHT - HEADROOM) / ((high - low) or 1.0)
    ys = HEADROOM + scale * (high - values)
    # one point for each column of the picture, and the last one
    shown = np.unique((path.points * WIDTH / COLUMN).astype(int), return_index=True)[1]
    shown = np.union1d(shown, [len(path.points) - 1])
    xs = WIDTH * path.points[shown]
    body = rect(0, 0, WIDTH * path.reached, HEIGHT, EMPTY)
    if low < 0 < high:
        zero = HEADROOM + scale * high
        body += lines([(0, zero, WIDTH, zero)], LINE, 1) + text("0", WIDTH + 4, zero, 11, color=MUTED, anchor="start")
    body += lines([(WIDTH * change.t, 0, WIDTH * change.t, HEIGHT) for change in path.class_changes], LINE, 1)
    body += "".join(_curve(xs, ys[shown, k], MUTED, 0.8, names[k]) for k in others)
    for k, color in colors.items():  # a dark line below makes light colours visible
        body += _curve(xs, ys[shown, k], INK, 3.4, names[k]) + _curve(xs, ys[shown, k], color, 2, names[k])
    for k in [k for k, stretch in longest.items() if len(names) > 1 and _fits(stretch, names)]:
        t = (longest[k].low + longest[k].high) / 2
        y = float(np.interp(t, path.points, ys[:, k]))
        body += halo_text(names[k], WIDTH * t, y - 12, 13)
    body = text(f"↑ output: {decimal(low)} to {decimal(high)}", 0, 6, 11, color=MUTED, anchor="start") + move(
        body, 0, 18
    )
    return Picture(body, WIDTH, HEIGHT + 18, "")


def _curve(xs: Array, ys: Array, color: str, width: float, name: str) -> str:
    points = "L".join(f"{number(x)} {number(y)}" for x, y in zip(xs.round(1), ys.round(1), strict=True))
    style = f'stroke="{color}" stroke-width="{width}" stroke-linejoin="round" fill="none"'
    return f'<path d="M{points}" {style}><title>{escape(name)}</title></path>'


def _band(stretches: Sequence[Stretch], colors: Mapping[int, str], names: Sequence[str]) -> Picture:
    """Return which output is the largest along the segment."""
    body = ""
    for low, high, k in stretches:
        hover = f"{names[k]} from t = {decimal(low)} to {decimal(high)}"
        body += rect(WIDTH * low, 0, WIDTH * (high - low), 18, softened(colors[k]), title=hover)
    for stretch in stretches:
        if _fits(stretch, names):
            body += halo_text(names[stretch.output], WIDTH * (stretch.low + stretch.high) / 2, 9, 12)
    return Picture(body, WIDTH, 18, "")


def _breaks(path: Path) -> Picture:
    """Return a tick for each break, or bars that count many, above the axis."""
    height, words = 16.0, f"{count_words(len(path.t), 'break')}"
    if len(path.t) <= MOST_TICKS:
        body = lines([(WIDTH * t, 0, WIDTH * t, height) for t in path.t.tolist()], INK, 0.8)
    else:
        counts = np.histogram(path.t, int(WIDTH / BAR), (0.0, 1.0))[0]
        height, words = 32.0, f"{words}, up to {counts.max():,} in a bar"
        tall = height * counts / counts.max()
        body = "".join(
            rect(BAR * i, height - tall[i], BAR - 0.4, tall[i], INK) for i in np.flatnonzero(counts).tolist()
        )
    body += lines([(0, height, WIDTH, height)], LINE, 1)
    body += text(f"→ t: 0 to 1, {words}", 0, height + 9, 11, color=MUTED, anchor="start")
    return Picture(body, WIDTH, height + 16, "")


def _inputs(path: Path) -> Picture:
    """Return some of the inputs along the segment as images."""
    images = [input_picture(path.input_at(t), WIDTH / len(SHOWN) - 16) for t in SHOWN]
    body = "".join(move(image.body, t * (WIDTH - image.width), 0) for t, image in zip(SHOWN, images, strict=True))
    return Picture(body, WIDTH, images[0].height, "").captioned("inputs at t = 0, 1/4, 1/2, 3/4 and 1")


def _words(path: Path, values: Array, stretches: Sequence[Stretch], names: Sequence[str]) -> str:
    """Return what the picture shows."""
    what = f"The {len(names):,} outputs" if len(names) > 1 else "The output"
    words = f"{what} along a segment of {count_words(path.regions, 'region')}, "
    words += f"from {decimal(values.min())} to {decimal(values.max())}. "
    words += "" if path.complete else f"The regions are known up to t = {decimal(path.reached)}. "
    words += f"Breaks at t = {joined([decimal(t) for t in path.t.tolist()])}. " if len(path.t) else ""
    if len(names) > 1:
        spelled = [f"{names[k]} from {decimal(low)} to {decimal(high)}" for low, high, k in stretches]
        words += f"The largest output: {joined(spelled)}."
    return words.rstrip()
