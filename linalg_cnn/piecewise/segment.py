"""Every break of a piecewise-linear network along a straight line, layer by layer."""

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_int
from linalg_cnn.chunks import Progress, check_progress
from linalg_cnn.compose import compose
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.notebook import Drawn
from linalg_cnn.piecewise.carrying import Carried, Percents, carried
from linalg_cnn.piecewise.contests import TOLERANCE, changes_on_lines, check_held, tolerance_of
from linalg_cnn.piecewise.inputs import check_inputs
from linalg_cnn.piecewise_graph import PiecewiseGraph, PiecewiseNode
from linalg_cnn.types import Array, IntArray

STATE_BYTES = 2**25
"""Bytes that the values at the points carried at once may take. More points are carried in several parts."""

CLOSEST = 2.0**-48
"""Distance in t below which two breaks are one."""


class ClassChange(NamedTuple):
    """A point of a segment at which another output becomes the largest.

    Attributes
    ----------
    t : float
    before, after : int
        Numbers of the largest output on both sides.

    Examples
    --------
    >>> from linalg_cnn import Dense, PiecewiseGraph, segment
    >>> graph = PiecewiseGraph((1,))
    >>> output = graph.add(Dense([[1.0], [-1.0]], [-0.25, 0.25]), 0)
    >>> segment(graph, [0.0], [1.0]).class_changes
    (ClassChange(t=0.25, before=1, after=0),)
    """

    t: float
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Path(Drawn):
    """A network along the segment from one input to another: affine between each break and the next.

    Attributes
    ----------
    graph : PiecewiseGraph
    start, end : ndarray (*in_shape)
    t : ndarray (breaks,)
        Breaks in (0, 1) in increasing order: where pieces change. The input there is ``(1 - t) start + t end``.
    values : ndarray (breaks + 2, *out_shape)
        Outputs at the start, at each break, and at the end.
    class_changes : tuple of ClassChange
        Where another output becomes the largest; exact, at breaks and between them.
    reached : float
        The breaks up to there are known: 1 if the path is complete.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU, segment
    >>> graph = PiecewiseGraph((1,))
    >>> output = graph.add(ReLU(), 0)
    >>> path = segment(graph, [-1.0], [3.0])
    >>> path, path.points, path.input_at(0.5)
    (Path(2 regions, 0 changes of the largest output), array([0.  , 0.25, 1.  ]), array([1.]))
    """

    graph: PiecewiseGraph
    start: Array
    end: Array
    t: Array
    values: Array
    class_changes: tuple[ClassChange, ...]
    reached: float

    @property
    def complete(self) -> bool:
        """Whether all breaks are known."""
        return self.reached == 1

    @property
    def regions(self) -> int:
        """Number of regions that the segment is known to pass through."""
        return len(self.t) + 1

    @property
    def points(self) -> Array:
        """Positions (breaks + 2,) of `values`: the start, the breaks, and the end or how far the path reaches."""
        return np.concatenate([[0.0], self.t, [self.reached]])

    def input_at(self, t: float) -> Array:
        """Return the input (*in_shape) at a position."""
        x: Array = (1 - t) * self.start + t * self.end
        return x

    def local_map(self, number: int) -> AffineMap:
        """Return the affine map of a region, counted from 0 at the start.

        Raises
        ------
        IndexError
            If there are not as many regions.
        """
        if not 0 <= number < self.regions:
            raise IndexError(f"number: expected a region from 0 to {self.regions - 1}, got {number}")
        low, high = self.points[number : number + 2]
        return compose(self.graph.at(self.input_at((low + high) / 2)))

    def __repr__(self) -> str:
        """Show the numbers of regions and of changes of the class."""
        reached = "" if self.complete else f", complete up to t = {self.reached:.6g} only"
        return f"Path({self.regions:,} regions, {len(self.class_changes)} changes of the largest output{reached})"


def segment(
    graph: PiecewiseGraph | HasGraph,
    start: npt.ArrayLike,
    end: npt.ArrayLike,
    *,
    max_regions: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Return every break of a network along the segment from one input to another.

    Layer by layer, the values at the breaks found so far are carried through the graph; between two neighbours each
    value is affine, so that new breaks are where thresholds are crossed and where maxima change. Memory is bounded:
    where there are many breaks, parts of the segment are carried one after the other.

    Parameters
    ----------
    graph : PiecewiseGraph, or a network that holds one as its ``graph``, such as a SkipNetwork with a ReLU
        Any wiring: skips, max pooling.
    start, end : array_like (*in_shape)
        Two different inputs.
    max_regions : int, optional
        Number of regions after which the search ends; the path is then incomplete.
    progress : callable, optional
        Wrapper of the percents of the way, such as ``tqdm.tqdm``.

    Returns
    -------
    Path
        Breaks are where the pieces of an operation change, also where the output does not notice. Breaks at which all
        compared values differ by less than 1e-12 of the largest value of their layer are left out, and those closer
        than 4e-15 in t are one.

    Raises
    ------
    TypeError
        If ``graph`` is neither of the two, it or an input holds sympy expressions, or ``progress`` cannot be called.
    ValueError
        If an input has another shape, is not finite, or both are equal; if values of the network overflow; or if
        ``max_regions`` is not an int of at least 1.

    Notes
    -----
    Source: the exact restriction of a network to a line, Sotoudeh and Thakur 2019, here for any graph.

    Examples
    --------
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU
    >>> graph = PiecewiseGraph((1,))
    >>> hidden = graph.add(ReLU(), graph.add(Dense([[1.0], [-1.0]], [-0.25, 0.75]), 0))
    >>> output = graph.add(Dense([[1.0, 1.0]]), hidden)
    >>> path = segment(graph, [0.0], [1.0])
    >>> path.t, path.values.ravel()
    (array([0.25, 0.75]), array([0.75, 0.5 , 0.5 , 0.75]))
    >>> path.local_map(1).W
    array([[0.]])
    """
    graph = graph_of("graph", graph, PiecewiseGraph)
    first, last = check_inputs(graph, start=start, end=end)
    if (first == last).all():
        raise ValueError("end: expected another input than the start, got the same: a segment of length zero")
    if max_regions is not None:
        check_int("max_regions", max_regions, 1)
    check_progress(progress)
    percents = Percents(progress)
    ts, values, done = [np.zeros(1)], [graph(first)[np.newaxis]], 0
    whole = _Stretch(graph=graph, states={0: np.stack([first, last])}, t=np.array([0.0, 1.0]))
    with closing(carried(whole, STATE_BYTES)) as stretches:
        for stretch in stretches:
            ts.append(stretch.t[1:])
            values.append(stretch.states[len(graph.nodes)][1:])
            done += len(stretch.t) - 1
            percents.show(float(stretch.t[-1]))
            if max_regions is not None and done > max_regions:
                break
    percents.close()
    points, outputs = np.concatenate(ts), np.concatenate(values)
    check_held([outputs], "the output")
    if max_regions is not None:
        points, outputs = points[: max_regions + 1], outputs[: max_regions + 1]
    changes = _class_changes(points, outputs.reshape(len(outputs), -1))
    return Path(graph, first, last, points[1:-1], outputs, changes, float(points[-1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stretch(Carried):
    """Neighbouring points of the segment on their way through the graph.

    Attributes
    ----------
    t : array (points,)
    between : (int array, array), optional
        For each point, the number of the state before it and the position between that state and the next. Without it,
        each state, of shape (points, *shape), belongs to a point.
    """

    t: Array
    between: tuple[IntArray, Array] | None = None
    vectors = 1

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.t)

    def filled(self) -> "_Stretch":
        """Return the stretch with a state for each point."""
        if self.between is None:
            return self
        before, position = self.between
        states = {value: _interpolated(state, before, position) for value, state in self.states.items()}
        return replace(self, states=states, between=None)

    def parts(self, size: int) -> "list[_Stretch]":
        """Return parts of at most some points, of which each begins where the one before ends."""
        starts = range(0, max(len(self.t) - 1, 1), size - 1)
        return [self._part(slice(start, start + size)) for start in starts]

    def _part(self, points: slice) -> "_Stretch":
        if self.between is None:
            states = {value: state[points] for value, state in self.states.items()}
            return replace(self, t=self.t[points], states=states)
        before, position = (array[points] for array in self.between)
        low, high = int(before[0]), int(before[-1]) + 2
        states = {value: state[low:high] for value, state in self.states.items()}
        return replace(self, t=self.t[points], states=states, between=(before - low, position))

    def values(self, node: PiecewiseNode, xs: list[Array]) -> Array:
        """Return the output (points, *shape) of a node."""
        y: Array = node.operation(*xs)
        return y

    def divided(self, node: PiecewiseNode) -> "_Stretch":
        """Return a stretch with the breaks of a node as further points."""
        operation: Any = node.operation
        xs = [self.states[value] for value in node.inputs]
        pieces = operation.pieces(*xs)
        line, output = np.nonzero(operation.differ(pieces[:-1], pieces[1:], *self.graph.input_shapes(node)))
        if not len(line):
            return self
        tolerance = tolerance_of(xs, node.name)
        first, last = (operation.candidates(points, output, *xs) for points in (line, line + 1))
        changes = changes_on_lines(first, last, tolerance)
        before = np.concatenate([np.arange(len(self.t)), line[changes.line]])
        position = np.concatenate([np.zeros(len(self.t)), changes.position])
        following = np.minimum(before + 1, len(self.t) - 1)
        t = self.t[before] + position * (self.t[following] - self.t[before])
        order = np.lexsort((position > 0, t))  # of equal points, those that have a state come first
        before, position, t = before[order], position[order], t[order]
        own = position == 0
        # a break is left out beside another break, and beside a point that has a state
        apart = own | (np.diff(t, prepend=-1.0) > CLOSEST)
        apart &= own | ~np.append(own[1:] & (np.diff(t) <= CLOSEST), False)
        return replace(self, t=t[apart], between=(before[apart], position[apart]))


def _interpolated(states: Array, before: IntArray, position: Array) -> Array:
    """Return the values at positions between neighbouring states, exactly the state itself where the position is 0."""
    filled = states[before]
    inside = np.flatnonzero(position)
    s = position[inside].reshape(-1, *(1,) * (states.ndim - 1))
    filled[inside] = (1 - s) * filled[inside] + s * states[before[inside] + 1]
    return filled


def _class_changes(t: Array, values: Array) -> tuple[ClassChange, ...]:
    """Return where the largest of the outputs (points, out_size) changes.

    An output stays the largest while no other is larger; where several are equal at a break, it is one of them still.
    """
    tolerance = TOLERANCE * float(np.abs(values).max())
    behind = values.max(axis=1, keepdims=True) - values > tolerance
    ends = np.append(behind, np.ones((1, values.shape[1]), dtype=bool), axis=0).argmax(axis=0)
    # of several that are equal at the start, the one that leads after it
    leader = max(np.flatnonzero(~behind[0]), key=lambda output: (ends[output], values[1, output]))
    found: list[ClassChange] = []
    point = 0
    while len(later := np.flatnonzero(behind[point:, leader])):
        point += int(later[0])
        line = slice(point - 1, point), slice(point, point + 1)
        changes = changes_on_lines(values[line[0]], values[line[1]], tolerance, np.array([leader]))
        where = t[point - 1] + changes.position * (t[point] - t[point - 1])
        changed = zip(where.tolist(), changes.before.tolist(), changes.after.tolist(), strict=True)
        found += (ClassChange(*change) for change in changed)
        leader = changes.after[-1]
    return tuple(found)
