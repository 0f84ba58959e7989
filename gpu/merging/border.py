"""An affine stretch as one convolution, exact everywhere or corrected near the border of the image."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from linalg_cnn import AffineGraph, Conv
from linalg_cnn.central_kernel import central_convolution, central_strides
from linalg_cnn.memory import check_memory
from linalg_cnn.types import Array, Shape, size_of

PROBES = 2
"""Number of random images whose outputs show where a convolution differs from a stretch."""
TOLERANCE = 1e-10
"""Largest difference, relative to the largest output of a channel or entry of a row, that rounding explains."""
ROUNDING = 1e-15
"""The same relative to the largest of all: where large numbers cancel, a small channel has their rounding."""
ENTRIES = 2**24
"""Number of entries of all operations up to which rows of W are products of sparse matrices; they are local."""
SPARSE_COST = 50
"""Time of a multiplication in a product of sparse matrices, in those of the dense operations."""
CHUNK = 2**22
"""Number of entries of the rows that are pulled back at once."""

Box = list[tuple[int, int]]
"""First position and length along each spatial axis."""


class Correction(NamedTuple):
    """What a box of output positions needs in addition to a convolution.

    Attributes
    ----------
    box : list of (int, int)
        First position and length along each spatial axis.
    sources : int array (k,)
        Numbers of the entries of the input that matter.
    W : float64 array (channels x box, k)
    B : float64 array (channels x box,)
    """

    box: Box
    sources: Array
    W: Array
    B: Array


class RowsOf:
    """Rows of the composed W of a graph, without the others.

    Parameters
    ----------
    graph : AffineGraph
    """

    def __init__(self, graph: AffineGraph) -> None:
        self.graph = graph
        self.in_size, self.out_size = size_of(graph.in_shape), size_of(graph.out_shape)
        counts = {id(node): node.operation.count_entries(*graph.input_shapes(node)) for node in graph.nodes}
        total = sum(counts.values())
        self.local = total <= ENTRIES and SPARSE_COST * self._sparse_work(counts) <= total
        self.known: dict[int, Any] = {}

    def _sparse_work(self, counts: dict[int, int]) -> float:
        """Return about how many multiplications the row of an output in the middle takes with sparse matrices.

        ``counts`` are the entries of each node's matrices, by the identity of the node.
        """
        shape, work = self.graph.out_shape, 0.0
        middle = np.zeros((1, *shape))
        middle[0, *(size // 2 for size in shape)] = 1

        def count(node: Any, cotangent: Array) -> None:
            nonlocal work
            work += np.count_nonzero(cotangent) * counts[id(node)] / cotangent[0].size

        self.graph.pull(middle, count)
        return work

    def __call__(self, numbers: Array) -> Any:
        """Return the rows of these outputs, csr_array (len(numbers), in_size)."""
        ones = np.ones(len(numbers))
        chosen = scipy.sparse.csr_array((ones, (np.arange(len(numbers)), numbers)), (len(numbers), self.out_size))
        if self.local:
            return scipy.sparse.csr_array(self.graph.walk_back(chosen, self._through))
        parts, step = [], max(1, CHUNK // max(self.in_size, self.out_size))
        for start in range(0, len(numbers), step):
            units = chosen[start : start + step].toarray().reshape(-1, *self.graph.out_shape)
            parts.append(scipy.sparse.csr_array(self.graph.pull(units).reshape(len(units), -1)))
        return scipy.sparse.csr_array(scipy.sparse.vstack(parts))

    def _through(self, node: Any, state: Any) -> list[Any]:
        """Return rows in terms of the inputs of a node from those in terms of its output."""
        if id(node) not in self.known:
            self.known[id(node)] = node.operation.matrices(*self.graph.input_shapes(node), exact=False)
        return [state @ matrix for matrix in self.known[id(node)]]


def central_multiply_adds(graph: AffineGraph, rows: RowsOf) -> int:
    """Return the MACs of a convolution that weighs as many entries at each position as a graph does in the middle."""
    numbers: Any = np.arange(rows.out_size).reshape(graph.out_shape)
    middle = tuple(size // 2 for size in graph.out_shape[1:])
    return int(rows(numbers[:, *middle]).nnz) * size_of(graph.out_shape[1:])


def central_conv(graph: AffineGraph, rows: RowsOf) -> Conv:
    """Return the convolution that a graph between images is in their middle.

    Parameters
    ----------
    graph : AffineGraph
        Graph from (C_in, *in) to (C_out, *out).
    rows : RowsOf
        Its rows.
    """
    numbers: Any = np.arange(rows.out_size).reshape(graph.out_shape)
    found: dict[Shape, Array] = {}

    def at(position: Shape) -> Array:
        if position not in found:
            found[position] = rows(numbers[:, *position]).toarray().reshape(-1, *graph.in_shape)
        return found[position]

    middle = tuple(size // 2 for size in graph.out_shape[1:])
    allowed = TOLERANCE * float(np.abs(at(middle)).max(initial=0))
    strides = tuple(choices[0] for choices in central_strides(at, graph.in_shape, graph.out_shape, allowed))
    B: Any = graph(np.zeros(graph.in_shape))
    return central_convolution(at, graph.in_shape, graph.out_shape, strides, B[:, *middle], allowed)


def differing_positions(graph: AffineGraph, conv: Conv) -> Array:
    """Return the output positions (*out), as bools, at which a convolution differs from a graph.

    Random images show it: two maps that differ give different outputs, except with probability zero.
    """
    x = np.random.default_rng(0).standard_normal((PROBES, *graph.in_shape))
    expected = graph(x)
    sizes = np.abs(expected)
    by_channel = sizes.max(axis=tuple(axis for axis in range(expected.ndim) if axis != 1), keepdims=True)
    off = np.abs(conv(x) - expected) > TOLERANCE * by_channel + ROUNDING * sizes.max() + 1e-300
    wrong: Array = off.any(axis=(0, 1))
    return wrong


def interior(wrong: Array) -> Box | None:
    """Return a largest box of positions around the middle at which nothing is wrong; None if the middle is wrong.

    Examples
    --------
    >>> wrong = np.ones((4, 5), bool)
    >>> wrong[1:, 1:4] = False
    >>> interior(wrong)
    [(1, 3), (1, 3)]
    """
    starts = [size // 2 for size in wrong.shape]
    stops = [start + 1 for start in starts]

    def is_right(lows: list[int], highs: list[int]) -> bool:
        return not wrong[tuple(slice(low, high) for low, high in zip(lows, highs, strict=True))].any()

    if not is_right(starts, stops):
        return None
    growing = True
    while growing:
        growing = False
        for axis, size in enumerate(wrong.shape):
            for bounds, step, end in ((starts, -1, 0), (stops, 1, size)):
                if bounds[axis] != end:
                    bounds[axis] += step
                    if is_right(starts, stops):
                        growing = True
                    else:
                        bounds[axis] -= step
    return [(start, stop - start) for start, stop in zip(starts, stops, strict=True)]


def boxes_around(inner: Box, shape: Shape) -> list[Box]:
    """Return boxes that cover every position of a shape outside a box once: two slabs per axis, as layers of an onion.

    Examples
    --------
    >>> boxes_around([(1, 3), (0, 5)], (4, 5))
    [[(0, 1), (0, 5)]]
    """
    found: list[Box] = []
    for axis, ((start, length), size) in enumerate(zip(inner, shape, strict=True)):
        for low, high in ((0, start), (start + length, size)):
            if low < high:
                rest = [(0, other) for other in shape[axis + 1 :]]
                found.append([*inner[:axis], (low, high - low), *rest])
    return found


def corrections(
    graph: AffineGraph, rows: RowsOf, conv: Conv, boxes: list[Box], accept: Callable[[int], bool], max_bytes: int
) -> list[Correction] | None:
    """Return what boxes of output positions need in addition to a convolution.

    Parameters
    ----------
    graph : AffineGraph
        Graph between images.
    rows : RowsOf
        Its rows.
    conv : Conv
        The convolution.
    boxes : list of boxes
        Boxes of output positions.
    accept : callable
        Takes the number of entries so far and returns whether to go on.
    max_bytes : int
        Limit on the rows of one box.

    Returns
    -------
    list of Correction, or None
        None if the corrections would have more entries than are accepted.

    Raises
    ------
    MemoryError
        If the rows of a box take more than ``max_bytes``.
    """
    numbers: Any = np.arange(rows.out_size).reshape(graph.out_shape)
    of_conv = AffineGraph(graph.in_shape)
    of_conv.add(conv, 0)
    conv_rows = RowsOf(of_conv)
    B: Any = graph(np.zeros(graph.in_shape)) - of_conv(np.zeros(graph.in_shape))

    def off_by(chosen: Array) -> Any:
        """Return what rows of the convolution lack, csr_array (len(chosen), in_size)."""
        exact = rows(chosen)
        off = exact - conv_rows(chosen)
        by_row = abs(exact).max(axis=1).toarray().ravel()
        allowed = TOLERANCE * by_row + ROUNDING * by_row.max(initial=0)
        off.data[np.abs(off.data) <= np.repeat(allowed, np.diff(off.indptr))] = 0
        off.eliminate_zeros()
        return off

    places = [(slice(None), *(slice(start, start + length) for start, length in box)) for box in boxes]
    # a few rows of each box already say that most corrections are too large
    few = [numbers[at].ravel()[[0, -1]] for at in places]
    least = np.diff(off_by(np.concatenate(few)).indptr).reshape(-1, 2).max(axis=1) if boxes else np.zeros(0)
    if not accept(sum(numbers[at].size * int(entries) for at, entries in zip(places, least, strict=True))):
        return None
    found, count = [], 0
    for box, at in zip(boxes, places, strict=True):
        chosen = numbers[at].ravel()
        check_memory("a correction at the border", 16 * len(chosen) * rows.in_size, max_bytes)
        off = off_by(chosen)
        sources = np.unique(off.indices) if off.nnz else np.zeros(1, np.int64)  # a bias alone may differ
        count += len(chosen) * len(sources)
        if not accept(count):
            return None
        found.append(Correction(box, sources, off[:, sources].toarray(), B[at].ravel()))
    return found
