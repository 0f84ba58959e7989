"""Batches of local maps: vectors carried through a piecewise-linear graph at the pieces of each input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from linalg_cnn.arrays import like
from linalg_cnn.chunks import fit_chunks
from linalg_cnn.memory import check_memory, memory_limit
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.types import Array, size_of

if TYPE_CHECKING:
    from linalg_cnn.piecewise_graph import PiecewiseGraph, PiecewiseNode


def batch_pieces(graph: "PiecewiseGraph", xs: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the values (N, *out_shape) of a batch, and its pieces.

    The pieces are one array (N, *piece_shape) for each piecewise operation in the order of the nodes.

    Parameters
    ----------
    graph : PiecewiseGraph
    xs : ndarray or torch tensor (N, *in_shape)
        Inputs that are checked.

    Raises
    ------
    TypeError
        If ``xs`` or a threshold hold sympy expressions that cannot be compared.
    """
    pieces: list[Any] = []

    def step(node: "PiecewiseNode", states: list[Any]) -> Any:
        operation = node.operation
        if not isinstance(operation, PiecewiseOperation):
            return _affine(graph, node, states)
        try:
            pieces.append(operation.pieces(*states))
        except TypeError as error:
            raise TypeError(f"{node.name}: expected numbers that can be compared: {error}") from error
        return operation.at(pieces[-1], *states)

    values = graph.walk(xs, step)
    return values, tuple(pieces)


def push_at(graph: "PiecewiseGraph", pieces: Sequence[Any], xs: Any) -> Any:
    """Return W x at the pieces of each input.

    Parameters
    ----------
    graph : PiecewiseGraph
    pieces : sequence of arrays (N, *piece_shape)
        As `batch_pieces` gives them.
    xs : ndarray or torch tensor (N k, *in_shape)
        Vectors, of which k that follow each other are at the pieces of one input. They are not checked.

    Returns
    -------
    ndarray or torch tensor (N k, *out_shape)
    """
    at = _by_node(graph, pieces)

    def step(node: "PiecewiseNode", states: list[Any]) -> Any:
        if isinstance(node.operation, PiecewiseOperation):
            return node.operation.push_at(at[id(node)], *states)
        return node.operation.push(*states)

    return graph.walk(xs, step)


def pull_at(graph: "PiecewiseGraph", pieces: Sequence[Any], ys: Any) -> Any:
    """Return W' y at the pieces of each input: vectors (N k, *out_shape) as those of `push_at`."""
    at = _by_node(graph, pieces)

    def step(node: "PiecewiseNode", cotangent: Any) -> Sequence[Any]:
        shapes = graph.input_shapes(node)
        if isinstance(node.operation, PiecewiseOperation):
            pulled = node.operation.pull_at(at[id(node)], cotangent, *shapes)
        else:
            pulled = node.operation.pull(cotangent, *shapes)
        return pulled if isinstance(pulled, tuple) else (pulled,)

    return graph.walk_back(ys, step)


def _by_node(graph: "PiecewiseGraph", pieces: Sequence[Any]) -> dict[int, Any]:
    return {id(node): array for node, array in zip(graph.piecewise_nodes, pieces, strict=True)}


def _affine(graph: "PiecewiseGraph", node: "PiecewiseNode", states: list[Any]) -> Any:
    """Return A x + b of an affine operation, for numpy arrays and torch tensors alike."""
    operation: Any = node.operation
    y = operation.push(*states)
    offset = operation.offset(*graph.input_shapes(node))
    return y if offset is None else y + like(offset, y)


def local_maps(graph: "PiecewiseGraph", xs: Any, max_bytes: int | None = None) -> tuple[Array, Array]:
    """Return the affine maps (N, out_size, in_size), (N, out_size) around each input: `PiecewiseGraph.local_maps`.

    Raises
    ------
    TypeError
        If the graph or ``xs`` hold sympy expressions.
    ValueError
        If ``xs`` does not have the shape (N, *in_shape), an entry is NaN or infinite, or ``max_bytes`` is not an int of
        at least 0.
    MemoryError
        If the maps and the vectors of one input would take more than ``max_bytes``.
    """
    batch = as_floats(graph, xs)
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    direction = "forward" if in_size < out_size else "adjoint"
    samples, vectors = _plan(graph, len(batch), direction, max_bytes)
    W, outputs = np.empty((len(batch), out_size, in_size)), np.empty((len(batch), out_size))
    units = np.eye(min(in_size, out_size)).reshape(-1, *(graph.in_shape if direction == "forward" else graph.out_shape))
    for start in range(0, len(batch), samples):
        chunk = batch[start : start + samples]
        values, pieces = batch_pieces(graph, chunk)
        stop = start + len(chunk)
        for low in range(0, len(units), vectors):
            part = units[low : low + vectors]
            high = low + len(part)
            carried = np.broadcast_to(part, (len(chunk), *part.shape)).reshape(-1, *part.shape[1:])
            if direction == "forward":
                columns = push_at(graph, pieces, carried).reshape(len(chunk), len(part), out_size)
                W[start:stop, :, low:high] = columns.transpose(0, 2, 1)
            else:
                W[start:stop, low:high] = pull_at(graph, pieces, carried).reshape(len(chunk), len(part), in_size)
        outputs[start:stop] = values.reshape(len(chunk), out_size)
    return W, offsets(W, outputs, batch)


def as_floats(graph: "PiecewiseGraph", xs: Any) -> Array:
    """Return inputs (N, *in_shape) of a graph of numbers in float64, checked.

    Raises
    ------
    TypeError
        If the graph or ``xs`` hold sympy expressions.
    ValueError
        If ``xs`` does not have the shape (N, *in_shape), or an entry is NaN or infinite.
    """
    if graph.symbolic:
        raise TypeError("local_maps: expected numbers, got sympy expressions; compose graph.at(x) instead")
    batch = graph.batch("xs", xs)
    if batch.dtype == object:
        raise TypeError("xs: expected numbers, got sympy expressions; compose graph.at(x) instead")
    return batch.astype(np.float64, copy=False)


def offsets(W: Array, values: Array, xs: Array) -> Array:
    """Return B (N, out_size) such that W x + B are the values (N, out_size) of the inputs (N, *in_shape)."""
    products: Array = np.einsum("noi,ni->no", W, xs.reshape(len(xs), W.shape[2]))
    return values - products


def _plan(graph: "PiecewiseGraph", count: int, direction: str, max_bytes: int | None) -> tuple[int, int]:
    """Return how many inputs, and how many vectors of each, are carried at once.

    Raises
    ------
    MemoryError
        If the maps, and the pieces and one vector of one input exceed the limit.
    """
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    vectors = min(in_size, out_size)
    maps = 8 * count * out_size * (in_size + 1)
    per_vector = 8 * max(graph.largest_state(direction), graph.largest_state("forward"))
    pieces = 8 * sum(
        size_of(node.operation.piece_shape(*graph.input_shapes(node)))
        for node in graph.nodes
        if isinstance(node.operation, PiecewiseOperation)
    )
    check_memory(
        f"{count:,} local maps of {in_size:,} inputs to {out_size:,} outputs, {per_vector + pieces:,} bytes "
        "for a vector,",
        maps + per_vector + pieces,
        max_bytes,
    )
    largest = 8 * max(size_of(shape) for shape in graph.shapes)
    left = memory_limit(max_bytes) - maps - pieces
    at_once = fit_chunks((count * vectors,), per_vector + -(-pieces // vectors), largest, left, alone=True).size
    return max(1, at_once // vectors), min(at_once, vectors)
