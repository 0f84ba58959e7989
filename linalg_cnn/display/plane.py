"""Where the polygons of a slice are in its picture, and many polygons at once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from linalg_cnn.piecewise.slices import SHAPES, SliceRegions
from linalg_cnn.types import Array, IntArray

SIDE = 320.0
"""Longest side of a slice, in pixels."""

FLATTEST = 0.25
"""Ratio of the sides below which a slice is not drawn to scale."""


class Plane:
    """Where the point with coordinates (a, b) is in the picture, in pixels."""

    def __init__(self, regions: SliceRegions) -> None:
        _, sides = np.linalg.qr(np.stack([regions.u.ravel(), regions.v.ravel()], axis=1))
        self.sides = np.sign(np.diag(sides))[:, np.newaxis] * sides  # columns: u to the right, v upwards
        self.corner = np.zeros(2)
        extent = self._extent(regions.shape)
        self.to_scale = bool(extent.min() >= FLATTEST * extent.max())
        if not self.to_scale:
            self.sides = np.eye(2)
        self.sides = self.sides * SIDE / self._extent(regions.shape).max()
        self.sides[1] *= -1
        points = self.at(SHAPES[regions.shape])
        self.corner = -points.min(axis=0)
        self.size = np.ptp(points, axis=0)

    def _extent(self, shape: str) -> Array:
        extent: Array = np.ptp(self.at(SHAPES[shape]), axis=0)
        return extent

    def at(self, points: Any) -> Array:
        """Return points (..., 2) in pixels."""
        placed: Array = self.corner + np.asarray(points, np.float64) @ self.sides.T
        return placed


class Sides(NamedTuple):
    """The sides of many polygons, one after the other."""

    starts: Array
    ends: Array
    counts: IntArray

    @classmethod
    def of(cls, polygons: Sequence[Array]) -> "Sides":
        """Return the sides of some polygons."""
        starts, counts = np.concatenate(polygons), np.array([len(polygon) for polygon in polygons])
        following = np.arange(1, 1 + len(starts))
        following[np.cumsum(counts) - 1] -= counts
        return cls(starts, starts[following], counts)

    def sums(self, values: Array) -> Array:
        """Return the sum of the values of each polygon's sides."""
        sums: Array = np.add.reduceat(values, np.cumsum(self.counts) - self.counts)
        return sums

    def areas(self) -> Array:
        """Return the area of each polygon."""
        (a, b), (c, d) = self.starts.T, self.ends.T
        return self.sums(a * d - b * c) / 2


def depths_in(points: Array, outline: Array) -> Array:
    """Return the distances of points (points, 2) inside a convex polygon to its sides."""
    sides = np.roll(outline, -1, axis=0) - outline
    away = points[:, np.newaxis] - outline
    depths = np.abs(sides[:, 0] * away[..., 1] - sides[:, 1] * away[..., 0]) / np.hypot(*sides.T)
    nearest: Array = depths.min(axis=1)
    return nearest


def path_of(polygons: Sequence[Array]) -> str:
    """Return polygons as one path in tenths of a pixel: a corner, and the steps from each corner to the next."""
    found = []
    corners = (10 * np.concatenate(polygons)).round().astype(int).tolist()
    start = 0
    for polygon in polygons:
        stop = start + len(polygon)
        x, y = first = corners[start]
        steps = ""
        sides = 0
        for corner in corners[start + 1 : stop]:
            if corner not in (first, [x, y]):
                steps += f" {corner[0] - x} {corner[1] - y}"
                sides += 1
                x, y = corner
        if sides > 1:  # the others are points and lines at this resolution
            found.append(f"M{first[0]} {first[1]}l{steps[1:].replace(' -', '-')}z")
        start = stop
    return "".join(found)
