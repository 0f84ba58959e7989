"""Pictures of networks: boxes and arrows, with the weights of the skips."""

from itertools import pairwise
from typing import Any, NamedTuple

import sympy

from linalg_cnn.display.colors import INK, INPUT_BOX, LAYER_BOX, LIT, MUTED
from linalg_cnn.display.picture import Picture
from linalg_cnn.display.svg import NO_POINTER, number, rect, text, text_width
from linalg_cnn.display.words import abridged, plain
from linalg_cnn.ops.weighted_sum import WeightedSum
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import Shape
from linalg_cnn.wiring import Graph

MOST_BOXES = 10
"""Largest number of boxes, dots included."""

WIDTH, HEIGHT = 84.0, 46.0
"""Size of a box, in pixels."""

ARC = 24.0
"""Height that an arc gains with each box that it passes, in pixels."""


class Box(NamedTuple):
    """A layer with the texts of its box."""

    name: str
    shape: Shape
    title: str


class Arrow(NamedTuple):
    """An arrow from one box to a later one, by their numbers, with its weight."""

    start: int
    end: int
    weight: Any


def network_picture(network: SkipNetwork | Graph[Any], *, title: str | None = None) -> Picture:
    """Return a network as a row of boxes, one per layer or operation, with an arrow from each of its inputs.

    Skips are arcs with their weights t^(k,j). A long network is drawn without the boxes in its middle.

    Parameters
    ----------
    network : SkipNetwork, AffineGraph or PiecewiseGraph
        The network.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture

    Examples
    --------
    >>> from linalg_cnn import Conv
    >>> layers = [Conv([[[1.0, 1.0]]]), Conv([[[1.0, -1.0]]])]
    >>> network_picture(SkipNetwork((1, 4), layers, {(0, 1): 0.25, (1, 1): 0.75})).alt.split(". ")[1:]
    ['Conv 1 of shape (1, 3) reads x', 'Conv 2 of shape (1, 2) reads 0.25 times x and 0.75 times Conv 1.']
    """
    boxes, arrows = _layers(network) if isinstance(network, SkipNetwork) else _nodes(network)
    shown = abridged(len(boxes), MOST_BOXES)
    positions = {box: position for position, box in enumerate(shown) if box is not None}
    visible = [arrow for arrow in arrows if arrow.start in positions and arrow.end in positions]
    beside = [arrow for arrow in visible if _level(positions, arrow) == 0 and not bool(arrow.weight == 1)]
    gap = max([34.0] + [text_width(_weight(arrow.weight), 11) + 14 for arrow in beside])
    top = max([ARC * _level(positions, arrow) for arrow in visible] + [0.0]) + 16
    parts = []
    for position, box in enumerate(shown):
        x = position * (WIDTH + gap)
        if box is None:
            hidden = len(boxes) - len(positions)
            parts.append(text("…", x + WIDTH / 2, top + HEIGHT / 2 - 4, 22))
            parts.append(text(f"{hidden} more", x + WIDTH / 2, top + HEIGHT / 2 + 14, 11, color=MUTED))
        else:
            parts.append(_draw_box(boxes[box], x, top))
    parts.extend(_draw_arrow(positions, arrow, top, gap) for arrow in visible)
    for position, (left, right) in enumerate(pairwise(shown)):
        if left is None or right is None:
            parts.append(_straight(position, top, gap))
    picture = Picture("".join(parts), len(shown) * (WIDTH + gap) - gap, top + HEIGHT + 4, _words(boxes, arrows))
    return picture.with_title(title)


def _layers(network: SkipNetwork) -> tuple[list[Box], list[Arrow]]:
    boxes = [Box("x", network.in_shape, "the input f(0)")]
    boxes += [
        Box(type(layer).__name__, shape, f"layer {i}: {layer!r}")
        for i, (layer, shape) in enumerate(zip(network.layers, network.shapes[1:], strict=True), start=1)
    ]
    arrows = [Arrow(k, j + 1, weight) for (k, j), weight in sorted(network.skip_weights.items()) if weight != 0]
    return boxes, arrows


def _nodes(graph: Graph[Any]) -> tuple[list[Box], list[Arrow]]:
    boxes = [Box("x", graph.in_shape, "the input")]
    arrows = []
    for value, (node, shape) in enumerate(zip(graph.nodes, graph.shapes[1:], strict=True), start=1):
        boxes.append(Box(type(node.operation).__name__, shape, f"{node.name}: {node.operation!r}"))
        weights = node.operation.weights if isinstance(node.operation, WeightedSum) else None
        for index, start in enumerate(node.inputs):
            arrows.append(Arrow(start, value, 1 if weights is None else weights[index]))
    return boxes, arrows


def _level(positions: dict[int, int], arrow: Arrow) -> int:
    """Return the level of an arc, which is higher the more boxes the arc passes; arcs then do not cover each other."""
    jump = positions[arrow.end] - positions[arrow.start]
    return 0 if jump <= 1 else min(jump - 1, 4)


def _draw_box(box: Box, x: float, y: float) -> str:
    channels, *spatial = map(str, box.shape)
    size = ", ".join([channels, " x ".join(spatial)] if spatial else [channels])
    more = f'rx="6" stroke="{INK}" stroke-width="1.2"'
    body = rect(x, y, WIDTH, HEIGHT, LAYER_BOX if box.name != "x" else INPUT_BOX, more=more, title=box.title)
    letters = min(13.0, 1.45 * WIDTH / max(len(box.name), 1))
    body += text(box.name, x + WIDTH / 2, y + 16, letters, more=NO_POINTER)
    return body + text(size, x + WIDTH / 2, y + 34, 10.5, color=MUTED, more=NO_POINTER)


def _draw_arrow(positions: dict[int, int], arrow: Arrow, top: float, gap: float) -> str:
    level = _level(positions, arrow)
    weighted = not bool(arrow.weight == 1)
    if level == 0:
        x = positions[arrow.start] * (WIDTH + gap) + WIDTH
        label = text(_weight(arrow.weight), x + gap / 2 - 2, top + HEIGHT / 2 - 10, 11, color=INK) if weighted else ""
        return _straight(positions[arrow.start], top, gap) + label
    start = positions[arrow.start] * (WIDTH + gap) + WIDTH * 0.62
    end = positions[arrow.end] * (WIDTH + gap) + WIDTH * 0.38
    high = top - ARC * level
    path = f"M{number(start)} {number(top)}C{number(start)} {number(high)} {number(end)} {number(high)} "
    path += f"{number(end)} {number(top - 5)}"
    body = f'<path d="{path}" stroke="{LIT}" stroke-width="1.6" fill="none"/>' + _head(end, top, down=True)
    if weighted:
        body += text(_weight(arrow.weight), (start + end) / 2, top - 0.75 * ARC * level - 9, 12, color=LIT)
    return body


def _weight(weight: Any) -> Any:
    return weight if len(plain(weight)) <= 14 else plain(weight)[:12] + "…"


def _straight(position: int, top: float, gap: float) -> str:
    x, y = position * (WIDTH + gap) + WIDTH, top + HEIGHT / 2
    line = f'<path d="M{number(x)} {number(y)}H{number(x + gap - 5)}" stroke="{INK}" stroke-width="1.4"/>'
    return line + _head(x + gap, y, down=False)


def _head(x: float, y: float, *, down: bool) -> str:
    a, b = ((x - 4, y - 7), (x + 4, y - 7)) if down else ((x - 7, y - 4), (x - 7, y + 4))
    points = f"{number(x)},{number(y)} {number(a[0])},{number(a[1])} {number(b[0])},{number(b[1])}"
    return f'<polygon points="{points}" fill="{LIT if down else INK}"/>'


def _words(boxes: list[Box], arrows: list[Arrow]) -> str:
    if len(boxes) > 2 * MOST_BOXES:
        return f"A network of {len(boxes) - 1} operations from shape {boxes[0].shape} to shape {boxes[-1].shape}."
    sentences = [f"A network with input x of shape {boxes[0].shape}."]
    for i, box in enumerate(boxes[1:], start=1):
        reads = [
            _times(arrow.weight) + ("x" if arrow.start == 0 else f"{boxes[arrow.start].name} {arrow.start}")
            for arrow in arrows
            if arrow.end == i
        ]
        sentences.append(f"{box.name} {i} of shape {box.shape} reads {' and '.join(reads) or 'nothing'}.")
    return " ".join(sentences)


def _times(weight: Any) -> str:
    """Return a weight in words; nothing for a weight of 1."""
    if weight == 1:
        return ""
    return f"({weight}) times " if isinstance(weight, sympy.Add) else f"{plain(weight)} times "
