"""The region of a piecewise-linear network around an input: its pieces, its walls, and the nearest of them."""

from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from linalg_cnn.checks import as_float, check_array, check_choice
from linalg_cnn.chunks import CHUNK_BYTES, Progress
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.piecewise.probing import PROBES, SAME, dual_length, likely_nearest, row_lengths
from linalg_cnn.piecewise.walls import Distance, Inequalities, System, Wall
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.types import Array, IntArray, size_of


class Region:
    """The inputs around one input for which a piecewise-linear network is the same affine map; `region` makes it.

    It is the polyhedron of the inequalities that keep each operation on its piece, walls included. Inequalities that
    others imply are among them. Those that hold whatever the input is, such as the comparison of two entries that a
    ReLU set to 0, are not.

    Attributes
    ----------
    graph : PiecewiseGraph
    x : ndarray (*in_shape), float64
        The input.
    tolerance : float
        Relative tolerance of `ties` and `contains`.
    pieces : tuple of int arrays
        Pieces that x takes, as `PiecewiseGraph.pieces` gives them.
    affine : AffineGraph
        The affine graph that equals the network in the region: ``graph.at(x)``.
    ties : int array
        Numbers of the inequalities whose walls x lies on: of those that x fulfils by at most ``tolerance`` times
        the largest of the values that the operation compares.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU, region
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), graph.add(Dense([[1.0, 1.0], [3.0, -4.0]], [0.0, 5.0]), 0))
    >>> around = region(graph, [1.0, 3.0])
    >>> around
    Region(2 walls, 0 through x)
    >>> around.walls()  # x_1 + x_2 is positive, and 3 x_1 - 4 x_2 + 5 is not
    (array([[ 3., -4.],
           [-1., -1.]]), array([-5.,  0.]))
    >>> around.distance()
    0.8
    """

    def __init__(self, graph: PiecewiseGraph, x: Array, tolerance: float) -> None:
        self.graph, self.x, self.tolerance = graph, x, tolerance
        self.pieces = graph.pieces(x)
        self._inequalities = Inequalities(graph, self.pieces)
        self.affine = self._inequalities.affine
        self._slack, ties = np.empty(len(self)), np.zeros(len(self), bool)
        self._lengths: dict[str, Array] = {}

        def visit(system: System, slack: Array, scale: Array) -> None:
            if not np.isfinite(slack).all():
                name = graph.nodes[system.node].name
                raise ValueError(f"x: expected values of the network that float64 holds, got larger ones at {name}")
            self._slack[system.rows], ties[system.rows] = slack[0], slack[0] <= tolerance * scale[0]

        self._inequalities.visit_slacks(x[np.newaxis], visit)
        self.ties: IntArray = np.flatnonzero(ties)

    def __len__(self) -> int:
        """Return the number of walls."""
        return self._inequalities.count

    def __repr__(self) -> str:
        """Show the number of walls, and of those through the input."""
        return f"Region({len(self):,} walls, {len(self.ties):,} through x)"

    def contains(self, x: npt.ArrayLike) -> Any:
        """Return whether inputs fulfil the inequalities, and thus lie in the region or on its walls.

        Within rounding errors, the network is `affine` there. An input on a wall belongs to the regions on both sides,
        whichever pieces it takes. Values may violate an inequality by ``tolerance`` times the largest value that the
        operation compares.

        Parameters
        ----------
        x : array_like (..., *in_shape)

        Returns
        -------
        bool, or bool array (...)

        Raises
        ------
        TypeError
            If ``x`` does not hold numbers.
        ValueError
            If its last axes are not ``in_shape``, or an entry is NaN or infinite.

        Examples
        --------
        >>> from linalg_cnn import PiecewiseGraph, ReLU, region
        >>> graph = PiecewiseGraph((2,))
        >>> output = graph.add(ReLU(), 0)
        >>> region(graph, [1.0, -1.0]).contains([[2.0, -3.0], [2.0, 0.0], [2.0, 1.0]])
        array([ True,  True, False])
        """
        array = _numbers(self.graph, x)
        split = array.ndim - len(self.graph.in_shape)
        xs = array.reshape(-1, *self.graph.in_shape)
        inside = np.ones(len(xs), bool)

        at_once = max(1, CHUNK_BYTES // (8 * self.affine.largest_state("forward")))
        for start in range(0, len(xs), at_once):
            part = inside[start : start + at_once]  # a view

            def visit(system: System, slack: Array, scale: Array, part: Array = part) -> None:
                part &= (slack >= -self.tolerance * scale).all(axis=1)

            self._inequalities.visit_slacks(xs[start : start + at_once], visit)
        return inside.reshape(array.shape[:split]) if split else bool(inside[0])

    def walls(self, max_bytes: int | None = None, *, progress: Progress | None = None) -> tuple[Array, Array]:
        """Return the inequalities ``A @ x.ravel() <= b`` of the region.

        Parameters
        ----------
        max_bytes : int, optional
            Limit on the memory of A and of the vectors that are computed at once; half of the machine's memory if not
            given.
        progress : callable, optional
            Wrapper of the sequence of chunks, such as ``tqdm.tqdm``.

        Returns
        -------
        A : ndarray (walls, in_size), float64
        b : ndarray (walls,), float64

        Raises
        ------
        MemoryError
            If they would take more than ``max_bytes``. This is checked before anything is computed.
        TypeError
            If ``progress`` cannot be called.
        ValueError
            If ``max_bytes`` is not an int of at least 0.
        """
        size = size_of(self.graph.in_shape)
        what = f"the {len(self):,} walls of the region in {size:,} inputs"
        chunks = self._inequalities.plan_columns(what, 8 * len(self) * (size + 1), max_bytes)
        A = np.empty((len(self), size))

        def fill(rows: slice, columns: slice, block: Array) -> None:
            A[rows, columns] = block

        self._inequalities.visit_columns(fill, chunks, progress)
        return A, self._slack + A @ self.x.ravel()

    def wall(self, number: int) -> Wall:
        """Return one wall, pulled back from its operation to the input.

        Parameters
        ----------
        number : int
            Number of its inequality: its row in `walls`, or an entry of `ties`.

        Raises
        ------
        ValueError
            If there is no such wall.
        """
        return self._inequalities.wall(number)

    def distance(
        self,
        norm: str = "l2",
        *,
        failure_probability: float = 0.0,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Distance:
        """Return how far away the nearest wall is that x does not lie on.

        Walls through x, which have distance 0, are skipped: `ties` counts them, and closer to x than the distance
        other regions may begin there. Where there are none, the open ball of this radius lies in the region.

        This is geometry, not a certificate of robustness: beyond a wall the map is another one, but it is continuous,
        and the class usually changes much farther away.

        Parameters
        ----------
        norm : {"l2", "linf"}
            Euclidean distance, or the largest change of an entry.
        failure_probability : float
            Probability, below 1, with which a nearer wall may be missed. If it is not 0, random directions choose the
            walls that are measured, where the input has many entries: 1e-9 then takes a fraction of the time. The
            distance is that of a wall in any case.
        max_bytes : int, optional
            Limit on the memory of the vectors that are computed at once; half of the machine's memory if not given.
        progress : callable, optional
            Wrapper of the sequence of chunks, such as ``tqdm.tqdm``.

        Returns
        -------
        Distance
            A float with the attributes ``wall`` and ``point``, the nearest wall (the first of those at an equal
            distance) and its point nearest to x. It is infinite, and they are None, if there is no such wall.

        Raises
        ------
        MemoryError
            If the vectors would take more than ``max_bytes``. This is checked before anything is computed.
        TypeError
            If ``progress`` cannot be called.
        ValueError
            If ``norm`` is unknown, ``failure_probability`` is not in [0, 1), or ``max_bytes`` is not an int of at least
            0.

        Notes
        -----
        The distance to a wall is its slack b - a x divided by the norm of a, or by the dual norm: the sum of absolute
        entries for "linf". All unit vectors are pushed through the affine graph to get the norms of all walls at
        once. They are kept: the other norm then takes no time. With a ``failure_probability``, 64 random directions
        bound them (`linalg_cnn.piecewise.probing`), and only walls that may be the nearest are measured.

        Examples
        --------
        >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU, region
        >>> graph = PiecewiseGraph((2,))
        >>> output = graph.add(ReLU(), graph.add(Dense([[3.0, 4.0]], [5.0]), 0), name="hidden")
        >>> nearest = region(graph, [0.0, 0.0]).distance("linf")
        >>> round(nearest, 3), nearest.point.round(3), nearest.wall
        (0.714, array([-0.714, -0.714]), Wall(0: hidden at (0,)))
        """
        check_choice("norm", norm, ("l2", "linf"))
        if not 0 <= as_float(failure_probability) < 1:
            raise ValueError(f"failure_probability: expected a number in [0, 1), got {failure_probability!r}")
        slack = self._slack.copy()
        slack[self.ties] = np.inf
        wall = None
        if failure_probability and len(self) and not self._lengths and self.x.size > 2 * PROBES:
            at_once = self._inequalities.plan_columns("the random directions", 0, max_bytes).size
            wall = likely_nearest(self._inequalities, slack, norm, failure_probability, at_once)
        if wall is None:
            if not self._lengths:
                self._lengths = self._measure(max_bytes, progress)
            distances = np.full(len(self), np.inf)
            lengths = self._lengths[norm]
            np.divide(slack, lengths, out=distances, where=lengths > 0)
            if not np.isfinite(distances).any():
                return Distance(np.inf)
            wall = self.wall(int((distances <= distances.min() * (1 + SAME)).argmax()))
        normal, length = wall.normal, dual_length(wall.normal, norm)
        distance = float(self._slack[wall.number]) / length
        step = normal / length if norm == "l2" else np.sign(normal)
        return Distance(distance, wall, self.x + distance * step)

    def _measure(self, max_bytes: int | None, progress: Progress | None) -> dict[str, Array]:
        """Return the norm of each wall's normal by which its slack is divided, for each norm of distances."""
        chunks = self._inequalities.plan_columns(f"the distances of {len(self):,} walls", 32 * len(self), max_bytes)
        sums, lengths, lock = np.zeros(len(self)), np.zeros(len(self)), Lock()

        def add(rows: slice, columns: slice, block: Array) -> None:
            length, absolute = row_lengths(block), np.abs(block).sum(axis=1)
            with lock:
                lengths[rows] = np.hypot(lengths[rows], length)
                sums[rows] += absolute

        self._inequalities.visit_columns(add, chunks, progress)
        return {"l2": lengths, "linf": sums}


def _numbers(graph: PiecewiseGraph, x: npt.ArrayLike) -> Array:
    """Return inputs (..., *in_shape) as float64.

    Raises
    ------
    TypeError
        If they, or the parameters of the graph, are sympy expressions.
    """
    array = graph.checked(x)
    if array.dtype == object:
        raise TypeError("region: expected a graph and an x of numbers, got sympy expressions")
    return array.astype(np.float64, copy=False)


def region(graph: PiecewiseGraph | HasGraph, x: npt.ArrayLike, *, tolerance: float = 1e-9) -> Region:
    """Return the region of a piecewise-linear network around an input.

    Parameters
    ----------
    graph : PiecewiseGraph, or a network that holds one as its ``graph``, such as a SkipNetwork with a ReLU
    x : array_like (*in_shape)
        One sample. Where it lies on several pieces, torch's gradient decides which count.
    tolerance : float
        How closely x has to meet a wall to count as lying on it, relative to the largest of the values that the
        operation compares.

    Returns
    -------
    Region

    Raises
    ------
    TypeError
        If ``graph`` is not piecewise linear, or it, ``x`` or ``tolerance`` do not hold numbers.
    ValueError
        If ``x`` is not one sample of shape ``in_shape``, an entry is NaN or infinite, values of the network overflow,
        or ``tolerance`` is negative or not finite.

    Notes
    -----
    Clean images lie on many walls: where the background is constant, the entries that a max pooling compares are
    equal. ``region(graph, x).ties`` has them all.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import MaxPool, PiecewiseGraph, region
    >>> graph = PiecewiseGraph((1, 4))
    >>> output = graph.add(MaxPool(2), 0)
    >>> around = region(graph, np.array([[0.0, 0.0, 3.0, 1.0]]))
    >>> around.ties, around.wall(0).entries
    (array([0]), ((0, 0), (0, 1)))
    >>> around.distance("linf").point
    array([[0., 0., 2., 2.]])
    """
    graph = graph_of("graph", graph, PiecewiseGraph)
    limit = check_array("tolerance", tolerance, ndim=0)
    if limit.dtype == object or limit < 0:
        raise ValueError(f"tolerance: expected a number of at least 0, got {tolerance!r}")
    with np.errstate(over="ignore", invalid="ignore"):  # reported as an error
        return Region(graph, _numbers(graph, x).copy(), float(limit))
