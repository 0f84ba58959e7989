"""The inequalities that keep each operation of a piecewise-linear graph on its piece, seen from the graph's input."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import scipy.sparse

from linalg_cnn.checks import check_int
from linalg_cnn.chunks import Chunks, Progress, carry_chunks, check_progress, fit_chunks
from linalg_cnn.compose import compose
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.memory import check_memory, memory_limit
from linalg_cnn.ops.concatenate import Concatenate
from linalg_cnn.ops.dense import Dense
from linalg_cnn.ops.rearrange import Flatten
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise_graph import Pieces, PiecewiseGraph
from linalg_cnn.types import Array, IntArray, Shape, size_of

CONSTANT = 1e-12
"""Change of an inequality, relative to the values that it compares, which counts as a rounding error."""


@dataclass(frozen=True, eq=False)
class Wall:
    """A wall of a region: the inputs x with ``(normal * x).sum() == bound``. The region lies where it is less.

    Attributes
    ----------
    number : int
        Number of the inequality: its row in `Region.walls`.
    node : str
        Name of the piecewise-linear operation whose pieces meet at the wall.
    entries : tuple of tuple of int
        Positions in the operation's input of the entry that meets a threshold there, or of the two that are equal.
        Those of several inputs have the same position.
    normal : ndarray (*in_shape), float64
    bound : float

    Examples
    --------
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU, region
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), graph.add(Dense([[3.0, 4.0]], [5.0]), 0), name="hidden")
    >>> wall = region(graph, [0.0, 0.0]).wall(0)
    >>> wall, wall.normal, wall.bound
    (Wall(0: hidden at (0,)), array([-3., -4.]), 5.0)
    """

    number: int
    node: str
    entries: tuple[Shape, ...]
    normal: Array
    bound: float

    def __repr__(self) -> str:
        """Show where the wall comes from, without its normal."""
        return f"Wall({self.number}: {self.node} at {', '.join(map(str, self.entries))})"


class Distance(float):
    """A distance to the nearest wall, which is a float.

    Attributes
    ----------
    wall : Wall or None
        The nearest wall; None if no wall is at a finite distance.
    point : ndarray (*in_shape) or None
        Point of the wall that is nearest to the input, or one of them.

    Examples
    --------
    >>> from linalg_cnn import PiecewiseGraph, ReLU, region
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0, name="hidden")
    >>> distance = region(graph, [3.0, -2.0]).distance()
    >>> distance, distance.wall, distance.point
    (2.0, Wall(0: hidden at (1,)), array([3., 0.]))
    """

    wall: Wall | None
    point: Array | None

    def __new__(cls, value: float, wall: Wall | None = None, point: Array | None = None) -> Self:
        """Return the number with its wall and its point."""
        distance = super().__new__(cls, value)
        distance.wall, distance.point = wall, point
        return distance


class System(NamedTuple):
    """The inequalities G v <= h in the inputs v of one piecewise operation.

    Attributes
    ----------
    node : int
        Number of the operation's node.
    first : int
        Number of its first inequality among those of all operations.
    G : csr_array (inequalities, entries)
    h : ndarray (inequalities,)
    """

    node: int
    first: int
    G: scipy.sparse.csr_array
    h: Array

    @property
    def rows(self) -> slice:
        """Numbers of its inequalities among those of all operations."""
        return slice(self.first, self.first + len(self.h))


class Inequalities:
    """The inequalities of all operations of a graph at given pieces, as far as they depend on the graph's input.

    They are kept in the inputs of the operations, where each has one entry or two.

    Parameters
    ----------
    graph : PiecewiseGraph
    pieces : tuple of int arrays
        As `PiecewiseGraph.pieces` gives them.

    Attributes
    ----------
    affine : AffineGraph
        The graph at these pieces.
    systems : list of System
    count : int
        Number of inequalities.
    """

    def __init__(self, graph: PiecewiseGraph, pieces: Pieces) -> None:
        self.graph = graph
        self.affine = graph.affine_at(pieces)
        numbers = [n for n, node in enumerate(graph.nodes) if isinstance(node.operation, PiecewiseOperation)]
        operations: Any = [graph.nodes[number].operation for number in numbers]
        shapes = [graph.input_shapes(graph.nodes[number]) for number in numbers]
        every = [
            System(number, 0, *operation.walls(array, *in_shapes))
            for number, operation, array, in_shapes in zip(numbers, operations, pieces, shapes, strict=True)
        ]
        self.count = 0
        self.systems: list[System] = []
        for system, kept in zip(every, self._moving(every), strict=True):
            self.systems.append(System(system.node, self.count, system.G[kept], system.h[kept].astype(np.float64)))
            self.count += len(kept)

    def _moving(self, systems: list[System]) -> list[IntArray]:
        """Return which inequalities of each operation change along two random directions, beyond rounding errors."""
        moving: list[IntArray] = []

        def visit(system: System, v: Array) -> None:
            change, compared = np.abs(system.G @ v.T), abs(system.G) @ np.abs(v.T)
            moving.append(np.flatnonzero(change.max(axis=1) > CONSTANT * compared.max(axis=1)))

        directions = np.random.default_rng(0).standard_normal((2, *self.graph.in_shape))
        self._walk(directions, systems, visit, bias=False)
        return moving

    def _walk(self, xs: Array, systems: list[System], visit: Callable[[System, Array], None], *, bias: bool) -> None:
        of_node = {id(self.affine.nodes[system.node]): system for system in systems}

        def step(node: Node, states: list[Array]) -> Array:
            system = of_node.get(id(node))
            if system is not None:
                flat = [state.reshape(len(state), size_of(state.shape[1:])) for state in states]
                visit(system, np.concatenate(flat, axis=1))
            y: Array = node.operation(*states) if bias else node.operation.push(*states)
            return y

        self.affine.walk(xs, step)

    def visit_slacks(self, xs: Array, visit: Callable[[System, Array, Array], None]) -> None:
        """Call ``visit(system, slack, scale)`` for each operation.

        Parameters
        ----------
        xs : ndarray (N, *in_shape)
        visit : callable
            Gets by how much each input fulfils each inequality, h - G v (N, rows), and the largest of the values that
            the operation compares (N, rows).
        """

        def compare(system: System, v: Array) -> None:
            largest = np.abs(v).max(axis=1, keepdims=True)
            visit(system, system.h - (system.G @ v.T).T, np.maximum(largest, np.abs(system.h)))

        self._walk(xs, self.systems, compare, bias=True)

    def plan_columns(self, what: str, n_bytes: int, max_bytes: int | None) -> Chunks:
        """Return how many unit vectors `visit_columns` pushes at once, beside a result of ``n_bytes``.

        Raises
        ------
        MemoryError
            If the result and one vector would take more than ``max_bytes``; ``what`` names the result.
        ValueError
            If ``max_bytes`` is not an int of at least 0.
        """
        widest = max((sum(system.G.shape) for system in self.systems), default=0)
        per_vector = 8 * (self.affine.largest_state("forward") + 3 * widest)
        check_memory(f"{what}, beside one vector at a time,", n_bytes + per_vector, max_bytes)
        largest = 8 * max(size_of(shape) for shape in self.affine.shapes)
        return fit_chunks(self.graph.in_shape, per_vector, largest, memory_limit(max_bytes) - n_bytes)

    def visit_columns(
        self, visit: Callable[[slice, slice, Array], None], chunks: Chunks, progress: Progress | None
    ) -> None:
        """Compute the matrix A of the inequalities A x <= b by pushing all unit vectors through the affine graph.

        Parameters
        ----------
        visit : callable
            Gets rows, columns and ``A[rows, columns]``, block by block, from several threads.
        chunks : Chunks
            What `plan_columns` returns.
        progress : callable or None

        Raises
        ------
        TypeError
            If ``progress`` cannot be called.
        """
        check_progress(progress)

        def carry(columns: slice, units: Array) -> None:
            def multiply(system: System, v: Array) -> None:
                visit(system.rows, columns, system.G @ np.ascontiguousarray(v.T))

            self._walk(units, self.systems, multiply, bias=False)

        carry_chunks(carry, chunks, progress)

    def squares(self, directions: Array) -> Array:
        """Return the sum of (a d)^2 over directions d (N, *in_shape), for the normal a of each inequality."""
        squares = np.zeros(self.count)

        def add(system: System, v: Array) -> None:
            block = system.G @ np.ascontiguousarray(v.T)
            squares[system.rows] = np.einsum("ij,ij->i", block, block)

        self._walk(directions, self.systems, add, bias=False)
        return squares

    def wall(self, number: int) -> Wall:
        """Return the wall of one inequality, which is pulled back from its operation: `Region.wall`.

        Raises
        ------
        ValueError
            If there is no such inequality.
        """
        if check_int("number", number, 0) >= self.count:
            raise ValueError(f"number: expected the number of one of {self.count:,} walls, got {number}")
        system = next(system for system in self.systems if system.rows.start <= number < system.rows.stop)
        row, node = system.G[[number - system.first]], self.graph.nodes[system.node]
        compared = AffineGraph(self.graph.in_shape)
        for earlier in self.affine.nodes[: system.node]:
            compared.add(earlier.operation, *earlier.inputs, name=earlier.name)
        inputs = [compared.add(Flatten(), value) for value in node.inputs]
        compared.add(Dense(row.toarray()), compared.add(Concatenate(), *inputs))
        affine = compose(compared)
        return Wall(
            int(number),
            node.name,
            tuple(_position(int(column), self.graph.input_shapes(node)) for column in row.indices),
            affine.W.reshape(self.graph.in_shape),
            float(system.h[number - system.first] - affine.B[0]),
        )


def _position(column: int, shapes: tuple[Shape, ...]) -> Shape:
    """Return the position, in its input, of an entry of several inputs one after the other."""
    ends = np.cumsum([size_of(shape) for shape in shapes])
    number = int(np.searchsorted(ends, column, side="right"))
    shape = shapes[number]
    return tuple(int(index) for index in np.unravel_index(column - ends[number] + size_of(shape), shape))
