"""Convex polygons in the plane, cut by lines and divided by which of several affine functions is the largest."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linalg_cnn.types import Array

Point = tuple[float, float]
Polygon = list[Point]
Function = tuple[float, float, float]
"""An affine function of the plane, as its values at (0, 0), (1, 0) and (0, 1) less the first of them."""


class Sides(NamedTuple):
    """The two parts of a polygon; one is empty if the line does not pass through it."""

    below: Polygon
    above: Polygon


def value(function: Function, point: Point) -> float:
    """Return the value of an affine function at a point."""
    return function[0] + function[1] * point[0] + function[2] * point[1]


def cut(polygon: Polygon, function: Function, tolerance: float) -> Sides:
    """Return the parts of a convex polygon where a function is negative and where it is positive.

    A polygon in which the function is nowhere above, or nowhere below, the tolerance is not cut.

    Examples
    --------
    >>> below, above = cut([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)], (-0.25, 1.0, 0.0), 1e-12)
    >>> below
    [(0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0)]
    """
    values = [value(function, point) for point in polygon]
    if max(values) <= tolerance:
        return Sides(polygon, [])
    if min(values) >= -tolerance:
        return Sides([], polygon)
    below: Polygon = []
    above: Polygon = []
    for number, (point, here) in enumerate(zip(polygon, values, strict=True)):
        before, there = polygon[number - 1], values[number - 1]
        if here * there < 0:
            s = there / (there - here)
            crossing = (before[0] + s * (point[0] - before[0]), before[1] + s * (point[1] - before[1]))
            below.append(crossing)
            above.append(crossing)
        if here <= 0:
            below.append(point)
        if here >= 0:
            above.append(point)
    return Sides(below, above)


def cells(polygon: Polygon, functions: Sequence[Function], tolerance: float) -> list[tuple[int, Polygon]]:
    """Return the parts of a convex polygon in each of which one of several functions is the largest, with its number.

    Of functions that are equal in the whole polygon, the first one counts.

    Examples
    --------
    >>> square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    >>> parts = cells(square, [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 0.0, 0.0)], 1e-12)
    >>> [(number, area(part)) for number, part in parts]
    [(0, 0.375), (1, 0.375), (2, 0.25)]
    """
    kept = [0, 1] if len(functions) == 2 else _undominated(polygon, functions, tolerance)
    if len(kept) == 2:
        first, second = kept
        sides = cut(polygon, _difference(functions[second], functions[first]), tolerance)
        return [(number, part) for number, part in ((first, sides.below), (second, sides.above)) if part]
    parts: list[tuple[int, Polygon]] = []
    for number in kept:
        part = polygon
        for other in kept:
            if other == number or not part:
                continue
            # both cells are cut by the same function, so that where the two are equal, the first one counts
            later, earlier = max(number, other), min(number, other)
            sides = cut(part, _difference(functions[later], functions[earlier]), tolerance)
            part = sides.above if number == later else sides.below
        if part:
            parts.append((number, part))
    return parts


def divided(polygon: Polygon, contests: Array, tolerance: float) -> list[Polygon]:
    """Return the parts of a convex polygon in each of which the same function of every contest is the largest.

    Parameters
    ----------
    polygon : list of points
    contests : array (contests, functions, 3)
        Several functions each, as `Function`.
    tolerance : float

    Examples
    --------
    >>> square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    >>> signs = np.array([[[0.0, 0.0, 0.0], [-0.5, 1.0, 0.0]], [[0.0, 0.0, 0.0], [-0.5, 0.0, 1.0]]])
    >>> [area(part) for part in divided(square, signs, 1e-12)]
    [0.25, 0.25, 0.25, 0.25]
    """
    parts: list[Polygon] = []
    waiting = [(polygon, contests)]
    while waiting:
        part, left = waiting.pop()
        if len(left):
            values = left @ np.array([(1.0, a, b) for a, b in part]).T
            # the largest function at all corners is the largest everywhere between them
            decided = (values >= values.max(axis=1, keepdims=True) - tolerance).all(axis=2).any(axis=1)
            left = left[~decided]
        if not len(left):
            parts.append(part)
            continue
        found = cells(part, [(f, a, b) for f, a, b in left[0].tolist()], tolerance)
        waiting += [(cell, left[1:]) for _, cell in reversed(found)]
    return parts


def _undominated(polygon: Polygon, functions: Sequence[Function], tolerance: float) -> list[int]:
    """Return the numbers of the functions that no other function reaches in the whole polygon."""
    values = [[value(function, point) for point in polygon] for function in functions]
    kept: list[int] = []
    for number, own in enumerate(values):
        for rival, others in enumerate(values):
            ahead = [other - here for other, here in zip(others, own, strict=True)]
            if rival != number and min(ahead) >= -tolerance and (max(ahead) > tolerance or rival < number):
                break
        else:
            kept.append(number)
    return kept


def _difference(function: Function, other: Function) -> Function:
    return (function[0] - other[0], function[1] - other[1], function[2] - other[2])


def area(polygon: Polygon) -> float:
    """Return the area of a polygon whose corners are given counterclockwise.

    Examples
    --------
    >>> area([(0.0, 0.0), (2.0, 0.0), (0.0, 1.0)])
    1.0
    """
    x, y = np.array(polygon).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def centroid(polygon: Polygon) -> Array:
    """Return a point inside a convex polygon: the mean of its corners."""
    mean: Array = np.array(polygon).mean(axis=0)
    return mean
