"""Every region of a piecewise-linear network in a triangle or a rectangle of a plane, layer by layer."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from linalg_cnn.checks import check_choice, check_int
from linalg_cnn.chunks import Progress, check_progress
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.notebook import Drawn
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise.carrying import Carried, Percents, carried
from linalg_cnn.piecewise.contests import TOLERANCE, check_held, tolerance_of
from linalg_cnn.piecewise.inputs import check_inputs
from linalg_cnn.piecewise.polygons import Polygon, area, cells, centroid, divided
from linalg_cnn.piecewise.probing import row_lengths
from linalg_cnn.piecewise.segment import STATE_BYTES
from linalg_cnn.piecewise_graph import Pieces, PiecewiseGraph, PiecewiseNode
from linalg_cnn.types import Array, IntArray

SHAPES: dict[str, Polygon] = {
    "rectangle": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)],
    "triangle": [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)],
}


@dataclass(frozen=True, eq=False)
class SliceRegion:
    """A convex polygon of a slice in which a network is affine.

    Attributes
    ----------
    vertices : ndarray (corners, 2)
        Coordinates (a, b) of the inputs ``origin + a u + b v``, counterclockwise.
    W : ndarray (out_size, 2)
    B : ndarray (out_size,)
        The network in the polygon, as a function of the coordinates: W (a, b) + B.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU, slice_regions
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0)
    >>> first = slice_regions(graph, [-1.0, 0.0], [2.0, 0.0], [0.0, 1.0])[0]
    >>> first.area, first.center, first.pieces[0]
    (0.5, array([0.25, 0.5 ]), array([0, 1], dtype=int8))
    """

    slice: "SliceRegions"
    vertices: Array
    W: Array
    B: Array

    @property
    def area(self) -> float:
        """Area in coordinates; the rectangle has 1, the triangle 1/2."""
        return area(self.vertices.tolist())

    @property
    def center(self) -> Array:
        """Coordinates (2,) of a point inside: the mean of the corners."""
        return centroid(self.vertices.tolist())

    @property
    def pieces(self) -> Pieces:
        """Pieces that the network takes inside, computed anew: see `PiecewiseGraph.pieces`."""
        return self.slice.graph.pieces(self.slice.input_at(self.center))

    def classes(self) -> list[tuple[int, Array]]:
        """Return the parts in each of which one output is the largest: its number and the corners (corners, 2)."""
        functions = [(float(b), float(w[0]), float(w[1])) for w, b in zip(self.W, self.B, strict=True)]
        tolerance = TOLERANCE * float(np.abs(self.W).max() + np.abs(self.B).max())
        parts = cells([(a, b) for a, b in self.vertices.tolist()], functions, tolerance)
        return [(number, np.array(part)) for number, part in parts]


@dataclass(frozen=True, eq=False)
class SliceRegions(Drawn, Sequence[SliceRegion]):
    """The regions of a network in a part of a plane; a sequence of `SliceRegion`.

    Attributes
    ----------
    graph : PiecewiseGraph
    origin, u, v : ndarray (*in_shape)
        The input with the coordinates (a, b) is ``origin + a u + b v``.
    shape : {"rectangle", "triangle"}
        Rectangle: a and b in [0, 1]. Triangle: also a + b <= 1.
    complete : bool
        Whether the regions cover the shape; otherwise the search ended at ``max_regions``.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU, slice_regions
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0)
    >>> regions = slice_regions(graph, [-1.0, 0.0], [2.0, 0.0], [0.0, 1.0])
    >>> len(regions), regions.covered, regions.input_at((0.5, 1.0))
    (2, 1.0, array([0., 1.]))
    """

    graph: PiecewiseGraph
    origin: Array
    u: Array
    v: Array
    shape: str
    polygons: tuple[Array, ...]
    coefficients: Array
    complete: bool

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.polygons)

    @overload
    def __getitem__(self, number: int) -> SliceRegion: ...
    @overload
    def __getitem__(self, number: slice) -> list[SliceRegion]: ...
    def __getitem__(self, number: int | slice) -> SliceRegion | list[SliceRegion]:
        """Return a region, or a list of some."""
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        vertices, (B, first, second) = self.polygons[number], self.coefficients[number]
        return SliceRegion(self, vertices, np.stack([first, second], axis=1), B)

    def input_at(self, coordinates: npt.ArrayLike) -> Array:
        """Return the input (*in_shape) with given coordinates (a, b)."""
        a, b = np.asarray(coordinates, np.float64)
        x: Array = self.origin + a * self.u + b * self.v
        return x

    @cached_property
    def covered(self) -> float:
        """Share of the shape that the regions cover: 1 up to rounding if the slice is complete."""
        return sum(region.area for region in self) / area(SHAPES[self.shape])

    def __repr__(self) -> str:
        """Show the number of regions."""
        known = "" if self.complete else f", incomplete: {self.covered:.1%} of the {self.shape}"
        return f"SliceRegions({len(self):,} regions of a {self.shape}{known})"


def slice_regions(
    graph: PiecewiseGraph | HasGraph,
    origin: npt.ArrayLike,
    u: npt.ArrayLike,
    v: npt.ArrayLike,
    *,
    shape: Literal["rectangle", "triangle"] = "rectangle",
    max_regions: int | None = None,
    progress: Progress | None = None,
) -> SliceRegions:
    """Return every region of a network in a rectangle or a triangle of the plane through an input.

    Layer by layer, each polygon is cut by the lines on which an operation changes its piece. Memory is bounded: where
    there are many polygons, groups of them are carried through the graph one after the other.

    Parameters
    ----------
    graph : PiecewiseGraph, or a network that holds one as its ``graph``, such as a SkipNetwork with a ReLU
        Any wiring: skips, max pooling.
    origin : array_like (*in_shape)
    u, v : array_like (*in_shape)
        Two directions that are not parallel. For the triangle of three inputs x, y and z, take x, y - x and z - x.
    shape : {"rectangle", "triangle"}
        The inputs ``origin + a u + b v`` with a and b in [0, 1], or those of them with a + b <= 1.
    max_regions : int, optional
        Number of regions after which the search ends; the slice is then incomplete.
    progress : callable, optional
        Wrapper of the percents of the area, such as ``tqdm.tqdm``.

    Returns
    -------
    SliceRegions
        Regions are told apart by the pieces of all operations: neighbours may have the same affine map. Lines along
        which all compared values differ by less than 1e-12 of the largest value of their layer do not cut. An entry
        that lies on a threshold in a whole polygon (a tie, as of background pixels) does not cut it either.

    Raises
    ------
    TypeError
        If ``graph`` is neither of the two, it or an input holds sympy expressions, or ``progress`` cannot be called.
    ValueError
        If an input has another shape or is not finite, values of the network overflow, u and v are parallel or zero,
        ``shape`` is unknown, or ``max_regions`` is not an int of at least 1.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0)
    >>> regions = slice_regions(graph, [-1.0, -1.0], [2.0, 0.0], [0.0, 2.0])
    >>> regions, [region.area for region in regions]
    (SliceRegions(4 regions of a rectangle), [0.25, 0.25, 0.25, 0.25])
    >>> regions[3].W, regions[3].B
    (array([[2., 0.],
           [0., 2.]]), array([-1., -1.]))
    """
    graph = graph_of("graph", graph, PiecewiseGraph)
    start, first, second = check_inputs(graph, origin=origin, u=u, v=v)
    check_choice("shape", shape, tuple(SHAPES))
    if max_regions is not None:
        check_int("max_regions", max_regions, 1)
    check_progress(progress)
    if first.size == 1 or _are_parallel(first, second):
        raise ValueError("v: expected a direction that is not parallel to u, and neither to be zero")
    percents, seen, whole = Percents(progress), 0.0, area(SHAPES[shape])
    polygons: list[Array] = []
    coefficients: list[Array] = []
    states = {0: np.stack([start, first, second])[np.newaxis]}
    group = _Group(graph=graph, states=states, polygons=[SHAPES[shape]], parents=np.zeros(1, int))
    with closing(carried(group, STATE_BYTES)) as groups:
        for group in groups:
            polygons += [np.array(polygon) for polygon in group.polygons]
            coefficients.append(group.states[len(graph.nodes)].reshape(len(group), 3, -1))
            seen += sum(area(polygon) for polygon in group.polygons)
            percents.show(seen / whole)
            if max_regions is not None and len(polygons) > max_regions:
                break
    percents.close()
    found = np.concatenate(coefficients)
    check_held([found], "the output")
    complete = max_regions is None or len(polygons) <= max_regions
    kept = slice(None if complete else max_regions)
    return SliceRegions(graph, start, first, second, shape, tuple(polygons[kept]), found[kept], complete)


def _are_parallel(u: Array, v: Array) -> bool:
    """Return whether two directions are parallel, whatever their lengths are, or one of them is zero."""
    directions = np.stack([u.ravel(), v.ravel()])
    lengths = row_lengths(directions)
    if not lengths.all():
        return True
    return bool(np.linalg.svd(directions / lengths[:, np.newaxis], compute_uv=False)[-1] <= TOLERANCE)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group(Carried):
    """Polygons on their way through the graph.

    Attributes
    ----------
    polygons : list of polygons
    parents : int array (polygons,)
        Number of the state of each polygon. States are arrays (parents, 3, *shape), which hold a value at the origin
        and its change along u and v.
    """

    polygons: list[Polygon]
    parents: IntArray
    vectors = 3

    def __len__(self) -> int:
        """Return the number of polygons."""
        return len(self.polygons)

    def filled(self) -> "_Group":
        """Return the group with a state for each polygon."""
        own = np.arange(len(self))
        if np.array_equal(self.parents, own):
            return self
        states = {value: state[self.parents] for value, state in self.states.items()}
        return replace(self, states=states, parents=own)

    def parts(self, size: int) -> "list[_Group]":
        """Return groups of at most some polygons."""
        return [self._part(slice(start, start + size)) for start in range(0, len(self), size)]

    def _part(self, kept: slice) -> "_Group":
        parents, numbers = np.unique(self.parents[kept], return_inverse=True)
        states = {value: state[parents] for value, state in self.states.items()}
        return replace(self, polygons=self.polygons[kept], states=states, parents=numbers)

    def values(self, node: PiecewiseNode, xs: list[Array]) -> Array:
        """Return the output (polygons, 3, *shape) of a node."""
        operation: Any = node.operation
        flat = [x.reshape(-1, *x.shape[2:]) for x in xs]
        if isinstance(operation, PiecewiseOperation):
            inner = np.stack([centroid(polygon) for polygon in self.polygons])
            pieces = operation.pieces(*(_at(x, inner) for x in xs))
            y, offset = operation.push_at(pieces, *flat), operation.offset_at(pieces, xs[0])
        else:
            y, offset = operation.push(*flat), operation.offset(*self.graph.input_shapes(node))
        made: Array = y.reshape(len(self), 3, *y.shape[1:])
        if offset is not None:
            made = made.copy()  # an operation may return a view of its input
            made[:, 0] += offset
        return made

    def divided(self, node: PiecewiseNode) -> "_Group":
        """Return the group with its polygons cut where a node changes its pieces."""
        operation: Any = node.operation
        xs = [self.states[value] for value in node.inputs]
        counts = np.array([len(polygon) for polygon in self.polygons])
        owner, starts = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
        corners = np.array([point for polygon in self.polygons for point in polygon])
        at_corners = [_at(x, corners, owner) for x in xs]
        pieces = operation.pieces(*at_corners)
        # each corner is compared with the first of its polygon
        differ = operation.differ(pieces, pieces[starts[owner]], *self.graph.input_shapes(node))
        polygon, output = np.nonzero(np.logical_or.reduceat(differ, starts))
        if not len(polygon):
            return self
        tolerance = tolerance_of(at_corners, node.name)
        basis = [[x[:, 0], x[:, 0] + x[:, 1], x[:, 0] + x[:, 2]] for x in xs]
        at_zero, at_u, at_v = (
            operation.candidates(polygon, output, *(points[k] for points in basis)) for k in range(3)
        )
        functions = np.stack([at_zero, at_u - at_zero, at_v - at_zero], axis=-1)
        first_of = np.searchsorted(polygon, np.arange(len(counts) + 1))
        polygons: list[Polygon] = []
        parents: list[int] = []
        for parent, whole in enumerate(self.polygons):
            parts = divided(whole, functions[first_of[parent] : first_of[parent + 1]], tolerance)
            polygons += parts
            parents += [parent] * len(parts)
        return replace(self, polygons=polygons, parents=np.array(parents))


def _at(states: Array, coordinates: Array, numbers: IntArray | slice = slice(None)) -> Array:
    """Return values (points, *shape) at coordinates (points, 2), each from one of the states (parents, 3, *shape).

    ``numbers`` are those of the points' states; without them, the states are in the order of the points.
    """
    a, b = coordinates.T.reshape(2, -1, *(1,) * (states.ndim - 2))
    x: Array = states[:, 0][numbers] + a * states[:, 1][numbers]
    x += b * states[:, 2][numbers]
    return x
