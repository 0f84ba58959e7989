"""Pictures of the regions of a piecewise-linear network in a plane."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import NamedTuple

import numpy as np
import scipy.spatial

from linalg_cnn.checks import check_array, check_choice
from linalg_cnn.display.classes import (
    MOST_COLORS,
    class_colors,
    color_key,
    halo_text,
    input_picture,
    is_image,
    output_names,
    palette,
    softened,
)
from linalg_cnn.display.colors import EMPTY, INK, PAPER
from linalg_cnn.display.frame import count_words, decimal, dot
from linalg_cnn.display.picture import Picture, move, stacked
from linalg_cnn.display.plane import SIDE, Plane, Sides, depths_in, path_of
from linalg_cnn.display.svg import NO_POINTER, number, text_width
from linalg_cnn.piecewise.polygons import area
from linalg_cnn.piecewise.slices import SHAPES, SliceRegions
from linalg_cnn.types import Array

SEVERAL = 7
"""Number of colours that many regions have in turn."""

MOST_HOVERED = 400
"""Number of regions above which they have no hover texts, and all of one colour are one path."""

ROOM = 8.0
"""Distance in pixels to the nearest other colour below which a name, however short, is in the key instead."""

THUMBNAIL = 44.0
"""Side of the image of a marked input, in pixels."""

CORNERS = {"origin": (0.0, 0.0), "origin + u": (1.0, 0.0), "origin + v": (0.0, 1.0)}

COLORINGS = ("auto", "class", "piece")


class Part(NamedTuple):
    """A convex polygon of one colour: a region, or the part of a region in which one output is the largest."""

    region: int
    group: int
    corners: Array


def slice_picture(
    regions: SliceRegions,
    *,
    color: str = "auto",
    labels: Sequence[str] | None = None,
    marks: Mapping[str, Sequence[float]] | None = None,
    title: str | None = None,
) -> Picture:
    """Return the regions of a network in a plane, coloured by the largest output or by piece.

    Distances in the picture are those between inputs, up to a factor: u and v have their lengths and their angle.
    Slices of which one side would be shorter than a quarter of the other are drawn with u and v as a unit square.

    Parameters
    ----------
    regions : SliceRegions
        Regions as `linalg_cnn.slice_regions` returns them.
    color : {"auto", "class", "piece"}
        ``class`` has one colour for each output, where it is the largest: the same colour as in `segment_picture`.
        ``piece`` tells the regions apart: up to 18 regions have different colours and their numbers, more have seven
        colours in turn. ``auto`` is ``class`` if the network has several outputs.
    labels : sequence of str, optional
        Names of the outputs; by default their numbers.
    marks : mapping {name: (a, b)}, optional
        Points in coordinates of u and v, such as ``{"a seven": (0, 0), "a three": (1, 0)}``. Where inputs are images of
        one or three channels, the input is drawn beside its mark. By default the origin and the ends of u and v.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture
        The SVG stays below 1 MB for 10,000 regions: above 400 regions, all polygons of one colour are one path, whose
        coordinates are integers (tenths of a pixel) relative to the corner before; polygons that vanish at this
        resolution are left out.

    Raises
    ------
    ValueError
        If the colouring is unknown, there is not one label per output, or a mark is not a pair of finite numbers.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU, slice_regions
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0)
    >>> regions = slice_regions(graph, [-1.0, -1.0], [2.0, 0.0], [0.0, 2.0])
    >>> slice_picture(regions, marks={"x": (0.5, 0.75)}).alt
    '4 regions of a rectangle, coloured by the largest output: 0 on 62.5 %, 1 on 37.5 %. Marks: x at (0.5, 0.75).'
    """
    check_choice("color", color, COLORINGS)
    out_size = regions.coefficients.shape[2]
    names = output_names(labels, out_size)
    by_class = color == "class" or (color == "auto" and out_size > 1)
    plane = Plane(regions)
    parts = list(_class_parts(regions) if by_class else _pieces(regions))
    if by_class:
        colors = class_colors(out_size, sorted({part.group for part in parts}))
        shown = {group: names[group] for group in colors}
    else:
        few = len(regions) <= MOST_COLORS
        colors = dict(enumerate(palette(len(regions) if few else SEVERAL)))
        shown = {group: str(group) for group in colors} if few else {}
    placed = [part._replace(corners=plane.at(part.corners)) for part in parts]
    outline = plane.at(SHAPES[regions.shape])
    body = f'<path d="{path_of([outline])}" fill="{EMPTY}"/>' + _fills(placed, colors, names if by_class else None)
    walls = path_of([plane.at(polygon) for polygon in regions.polygons])
    width = number(min(max(300 / len(regions) ** 0.5, 1.6), 7))  # in tenths of a pixel
    body += f'<path d="{walls}" fill="none" stroke="{INK}" stroke-width="{width}" stroke-opacity="0.6" {NO_POINTER}/>'
    body += f'<path d="{path_of([outline])}" fill="none" stroke="{INK}" stroke-width="12" {NO_POINTER}/>'
    spots = _spots(placed, outline) if shown else {}
    fitting = {k for k in spots if spots[k][2] >= max(ROOM, 0.3 * text_width(shown[k], 14))}
    if by_class and not regions.complete:  # where the known regions end is not known
        fitting.clear()
    written = "".join(halo_text(shown[k], *spots[k][:2], 14) for k in spots if k in fitting)
    given = {name: _coordinates(name, point) for name, point in (CORNERS if marks is None else marks).items()}
    drawn = _with_marks(f'<g transform="scale(0.1)">{body}</g>{written}', plane, outline, given, regions)
    hidden = [(shown[k], softened(colors[k])) for k in spots if k not in fitting] if by_class else []
    drawn = stacked(drawn, color_key(hidden, SIDE), gap=8) if hidden else drawn
    drawn = drawn if plane.to_scale else drawn.captioned("u and v are not drawn to scale")
    if not regions.complete:
        drawn = drawn.captioned(f"incomplete: the regions of {percent(regions.covered)} of the {regions.shape}")
    return drawn.with_alt(_words(regions, parts, names if by_class else None, given)).with_title(title)


def _class_parts(regions: SliceRegions) -> Iterable[Part]:
    """Yield the parts of the regions in each of which one output is the largest."""
    for region, (polygon, (B, first, second)) in enumerate(zip(regions.polygons, regions.coefficients, strict=True)):
        scores = B + polygon[:, :1] * first + polygon[:, 1:] * second
        largest = scores.argmax(axis=1)
        if (largest == largest[0]).all():  # the largest at all corners is the largest between them
            yield Part(region, int(largest[0]), polygon)
        else:
            # what is below some output at all corners is the largest nowhere; this leaves few of a thousand outputs
            able = np.flatnonzero(scores.max(axis=0) >= scores.min(axis=0).max())
            contest = replace(regions[region], W=np.stack([first, second], axis=1)[able], B=B[able])
            yield from (Part(region, int(able[k]), corners) for k, corners in contest.classes())


def _pieces(regions: SliceRegions) -> Iterable[Part]:
    few = len(regions) <= MOST_COLORS
    for region, polygon in enumerate(regions.polygons):
        yield Part(region, region if few else region % SEVERAL, polygon)


def _fills(parts: Sequence[Part], colors: Mapping[int, str], names: Sequence[str] | None) -> str:
    """Return the polygons: each with a hover text, or, of many, all of one colour as one path."""
    shades = {group: softened(color) for group, color in colors.items()}
    # a line of the same colour closes the seams between polygons
    fill = {group: f'fill="{shade}" stroke="{shade}" stroke-width="3"' for group, shade in shades.items()}
    if len(parts) <= MOST_HOVERED:
        return "".join(
            f'<path d="{path_of([part.corners])}" {fill[part.group]}><title>{_hover(part, names)}</title></path>'
            for part in parts
        )
    return "".join(
        f'<path d="{path_of([part.corners for part in parts if part.group == group])}" {fill[group]}/>'
        for group in fill
    )


def _hover(part: Part, names: Sequence[str] | None) -> str:
    return escape(f"region {part.region}: {names[part.group]}" if names else f"region {part.region}")


def _spots(parts: Sequence[Part], outline: Array) -> dict[int, tuple[float, float, float]]:
    """Return where each colour has most room for its name: (x, y, distance to another colour or to the outline)."""
    sides = Sides.of([part.corners for part in parts])
    groups = np.array([part.group for part in parts])
    middles = sides.sums(sides.starts) / sides.counts[:, np.newaxis]
    # the corners of other colours and the middles of their sides stand for their outlines
    around = np.concatenate([sides.starts, (sides.starts + sides.ends) / 2])
    owners = np.tile(np.repeat(groups, sides.counts), 2)
    room = depths_in(middles, outline)
    spots = {}
    for group in np.unique(groups).tolist():
        own = np.flatnonzero(groups == group)
        distances = room[own]
        others = around[owners != group]
        if len(others):
            distances = np.minimum(distances, scipy.spatial.KDTree(others).query(middles[own])[0])
        best = own[distances.argmax()]
        spots[group] = (float(middles[best, 0]), float(middles[best, 1]), float(distances.max()))
    return spots


def _coordinates(name: str, point: Sequence[float]) -> tuple[float, float]:
    coordinates = check_array(f"marks[{name!r}]", point, ndim=1)
    if coordinates.shape != (2,) or coordinates.dtype == object:
        raise ValueError(f"marks[{name!r}]: expected coordinates (a, b), got {point!r}")
    return float(coordinates[0]), float(coordinates[1])


def _with_marks(
    body: str, plane: Plane, outline: Array, marks: Mapping[str, tuple[float, float]], regions: SliceRegions
) -> Picture:
    """Return the slice with dots at the marks, and their names and images beside them, away from the middle."""
    drawn_as_images = is_image(regions.graph.in_shape)
    middle = outline.mean(axis=0)
    boxes = [(0.0, 0.0, *plane.size)]
    for name, point in marks.items():
        x, y = plane.at(point)
        body += dot(x, y, 3.5, PAPER, title=escape(f"{name}: {_point(point)}"))
        label = Picture(halo_text(name, text_width(name, 12) / 2, 8, 12), text_width(name, 12), 16, "")
        if drawn_as_images:
            label = stacked(input_picture(regions.input_at(point), THUMBNAIL), label, gap=1)
        away = np.array([x, y]) - middle
        away = away / np.hypot(*away) if away.any() else np.array([0.0, 1.0])
        # along that direction, the box of name and image begins 8 pixels from the mark
        reach = 8 + (np.array([label.width, label.height]) / 2 / np.maximum(np.abs(away), 1e-9)).min()
        left, top = x + reach * away[0] - label.width / 2, y + reach * away[1] - label.height / 2
        body += move(label.body, left, top)
        boxes.append((left, top, left + label.width, top + label.height))
    low, high = np.min([box[:2] for box in boxes], axis=0), np.max([box[2:] for box in boxes], axis=0)
    return Picture(move(body, -low[0], -low[1]), float(high[0] - low[0]), float(high[1] - low[1]), "")


def _point(point: tuple[float, float]) -> str:
    return f"({decimal(point[0])}, {decimal(point[1])})"


def _words(
    regions: SliceRegions,
    parts: Sequence[Part],
    names: Sequence[str] | None,
    marks: Mapping[str, tuple[float, float]],
) -> str:
    """Return what the picture shows."""
    count = f"{count_words(len(regions), 'region')} of a {regions.shape}"
    count += "" if regions.complete else f", which cover {percent(regions.covered)} of it"
    each = Sides.of([part.corners for part in parts]).areas() / area(SHAPES[regions.shape])
    if names:
        shares = np.bincount([part.group for part in parts], each, len(names))
        largest_first = [group for group in np.argsort(-shares, kind="stable").tolist() if shares[group] > 0]
        spelled = [f"{names[group]} on {percent(shares[group])}" for group in largest_first]
        words = f"{count}, coloured by the largest output: {', '.join(spelled)}."
    else:
        words = f"{count}, coloured by piece; the largest covers {percent(each.max())}."
    spelled = [f"{name} at {_point(point)}" for name, point in marks.items()]
    return words + (f" Marks: {', '.join(spelled)}." if spelled else "")


def percent(share: float) -> str:
    """Return a share in percent with three digits.

    Examples
    --------
    >>> percent(0.625), percent(0.00012)
    ('62.5 %', '0.012 %')
    """
    return f"{decimal(100 * share)} %"
