"""Theorem 3.1: a network of affine operations is one matrix W and one vector B.

W is what comes out when the identity is pushed forward through the network without its biases: in_size columns.
It is also what comes back when the identity is pulled through the adjoints: out_size rows, which for a classifier
are far fewer. B is the network's answer to the zero input.
"""

import operator
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
from sympy.polys.domains import ZZ
from sympy.polys.matrices import DomainMatrix
from threadpoolctl import threadpool_info, threadpool_limits

from linalg_cnn.affine import AffineMap
from linalg_cnn.arrays import like, to_pixels, zeros
from linalg_cnn.checks import check_choice, check_memory, memory_limit
from linalg_cnn.exact import add, from_domain, to_domain
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.types import Array, size_of

Progress = Callable[[Iterable[int]], Iterable[int]]

DIRECTIONS = ("auto", "forward", "adjoint")
FORMS = ("dense", "sparse", "sympy")


@runtime_checkable
class HasGraph(Protocol):
    """A network that can be wired as a graph: `SkipNetwork`."""

    graph: AffineGraph


def compose(
    network: AffineGraph | HasGraph,
    direction: str = "auto",
    form: str | None = None,
    *,
    max_bytes: int | None = None,
    progress: Progress | None = None,
    place: Callable[[Array], Any] | None = None,
) -> AffineMap:
    """Return a network as one affine map: theorem 3.1.

    Parameters
    ----------
    network : AffineGraph or SkipNetwork
    direction : {"auto", "forward", "adjoint"}
        ``forward`` pushes in_size columns of the identity through the network, ``adjoint`` pulls out_size rows back.
        Both give the same map; ``auto`` takes the one with fewer vectors to carry.
    form : {"dense", "sparse", "sympy"}, optional
        ``dense`` works without building any operation's matrix. ``sparse`` and ``sympy`` multiply the matrices, as
        csr_array or exactly. Dense if not given, sympy for a network that holds sympy expressions.
    max_bytes : int, optional
        The most memory that a dense composition may take; half of the machine's if not given.
    progress : callable, optional
        Wraps the sequence of chunks that a dense composition works through, as ``tqdm.tqdm`` does.
    place : callable, optional
        Brings an array to where a dense composition is to be computed and returns it as a torch tensor:
        ``lambda array: torch.from_numpy(array).cuda()``.

    Returns
    -------
    AffineMap
        W of shape (out_size, in_size) and B of shape (out_size,), a column if symbolic. float64, whatever the
        parameters' dtype is; sympy entries are exact and expanded.

    Raises
    ------
    TypeError
        If ``network`` is neither, or ``progress`` cannot be called.
    ValueError
        If ``direction`` or ``form`` is unknown, or numbers are asked for from a network of symbols.
    MemoryError
        If W and the vectors on their way would take more than ``max_bytes``; nothing has been computed then.

    Examples
    --------
    >>> import sympy
    >>> from linalg_cnn import Conv, SkipNetwork, compose
    >>> a, b, t = sympy.symbols("a b t")
    >>> layer = Conv([[[a, b]]], padding="same")
    >>> net = SkipNetwork((1, 2), [layer, layer], skip_weights={(0, 1): t, (1, 1): 1 - t})
    >>> compose(net).W
    Matrix([
    [-a**2*t + a**2 + a*t, -2*a*b*t + 2*a*b + b*t],
    [                   0,   -a**2*t + a**2 + a*t]])
    """
    if not isinstance(network, (AffineGraph, HasGraph)):
        raise TypeError(f"network: expected an AffineGraph or a SkipNetwork, got {type(network).__name__}")
    graph = network if isinstance(network, AffineGraph) else network.graph
    if progress is not None and not callable(progress):
        raise TypeError(f"progress: expected something to call, such as tqdm.tqdm, got {type(progress).__name__}")
    check_choice("direction", direction, DIRECTIONS)
    if form is None:
        form = "sympy" if graph.symbolic else "dense"
    check_choice("form", form, FORMS)
    if graph.symbolic and form != "sympy":
        raise ValueError(f'form: expected "sympy" for a network that holds sympy expressions, got {form!r}')
    if direction == "auto":
        direction = "forward" if size_of(graph.in_shape) < size_of(graph.out_shape) else "adjoint"
    if form == "dense":
        W, B = _dense(graph, direction, max_bytes, progress, place)
    else:
        W, B = _by_matrices(graph, direction, exact=form == "sympy")
    return AffineMap(W, B, graph.in_shape, graph.out_shape)


CHUNK_BYTES = 2**24
"""How many bytes the vectors that are carried together may take: what fits the cache."""

ARRAY_BYTES = 7 * 2**22
"""How large a network's values may make them nevertheless. Memory of up to 32 MiB is given back to the next array of
that size; beyond, the system brings fresh pages for every array, which costs as much as a third of the products."""


def _dense(
    graph: AffineGraph,
    direction: str,
    max_bytes: int | None,
    progress: Progress | None,
    place: Callable[[Array], Any] | None,
) -> tuple[Any, Any]:
    """Return W and B by carrying the unit vectors through the network, as many at a time as the cache holds.

    Where there are many chunks, each core carries one of its own: the many products between small arrays do not gain
    from several cores each.
    """
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    per_vector = 8 * graph.largest_state(direction)
    shape = graph.in_shape if direction == "forward" else graph.out_shape
    count = size_of(shape)
    limit = memory_limit(max_bytes)
    largest = 8 * max(size_of(value) for value in graph.shapes)
    fitting = max(1, (limit - 8 * in_size * out_size) // per_vector)
    chunk = min(max(CHUNK_BYTES // per_vector, ARRAY_BYTES // largest, 1), count, fitting)
    alone = place is not None or count < 2 * chunk
    workers = 1 if alone else max(1, min(_cores(), count // chunk, fitting // chunk))
    check_memory(
        f"composing {in_size:,} inputs to {out_size:,} outputs by {direction}, {workers * chunk:,} vectors at a time,",
        # a byte each to see that W is finite
        8 * in_size * out_size + max(per_vector * chunk * workers, in_size * out_size),
        max_bytes,
    )
    W, B = np.empty((out_size, in_size)), np.zeros(out_size)

    def carry(start: int) -> None:
        some = slice(start, min(start + chunk, count))
        units = np.zeros((some.stop - start, count))
        units[np.arange(len(units)), np.arange(start, some.stop)] = 1
        vectors = units.reshape(-1, *shape) if place is None else place(units.reshape(-1, *shape))
        if direction == "forward":
            W[:, some] = _as_numpy(push_columns(graph, vectors)).T
        else:
            W[some], B[some] = map(_as_numpy, pull_rows(graph, vectors))

    starts = range(0, count, chunk)
    wrapped = iter(starts if progress is None else progress(starts))
    if workers == 1:
        for start in wrapped:
            carry(start)
    else:
        with threadpool_limits(1, user_api="blas"):
            pool = ThreadPoolExecutor(workers)
            try:
                for _ in pool.map(carry, starts):
                    next(wrapped)
                next(wrapped, None)  # so that a progress bar sees its end
            finally:
                pool.shutdown(cancel_futures=True)
    return W, graph(np.zeros(graph.in_shape)).ravel() if direction == "forward" else B


def _cores() -> int:
    """Return how many threads numpy's products may use: what the user or the machine lets them."""
    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def _as_numpy(x: Any) -> Array:
    array: Array = x if isinstance(x, np.ndarray) else x.cpu().numpy()
    return array


def push_columns(graph: AffineGraph, x: Any) -> Any:
    """Return what a network without its biases makes of a batch: of unit vectors, columns of W.

    Parameters
    ----------
    graph : AffineGraph
    x : ndarray or torch tensor (n, *in_shape)

    Returns
    -------
    ndarray or torch tensor (n, out_size)
    """
    y = graph.push(x, lambda node, xs: node.operation.push(*xs))
    return y.reshape(len(x), -1)


def pull_rows(graph: AffineGraph, y: Any) -> tuple[Any, Any]:
    """Return what the adjoints make of a batch: of unit vectors, rows of W and the entries of B beside them.

    What arrives at an operation's output is how much each row hears of it, hence of its bias.

    Parameters
    ----------
    graph : AffineGraph
    y : ndarray or torch tensor (n, *out_shape)

    Returns
    -------
    (n, in_size), (n,) : of the kind of ``y``
    """
    B = zeros((len(y),), y)

    def hears(node: Node, state: Any) -> None:
        nonlocal B
        offset = node.operation.offset(*graph.input_shapes(node))
        if offset is not None:
            B = B + _pair(state, like(offset, state))

    rows = graph.pull_back(y, hears)
    return rows.reshape(len(y), -1), B


def _pair(state: Any, offset: Any) -> Any:
    """Return the inner product of each vector of a batch with an offset that broadcasts to it."""
    count = len(state)
    offset = offset.reshape(*(1,) * (state.ndim - 1 - offset.ndim), *offset.shape)
    if len(offset) == state.shape[1] and all(size == 1 for size in offset.shape[1:]):  # one entry per channel
        # pixel by pixel as they lie in memory: numpy's sum over the last axes of a view is ten times slower
        return to_pixels(state).reshape(-1, count * len(offset)).sum(0).reshape(count, -1) @ offset.reshape(-1)
    same = tuple(axis for axis in range(1, state.ndim) if offset.shape[axis - 1] == 1 != state.shape[axis])
    summed = state.sum(same) if same else state
    return summed.reshape(count, -1) @ offset.reshape(-1)


def _by_matrices(graph: AffineGraph, direction: str, exact: bool) -> tuple[Any, Any]:
    """Return W and B by multiplying the operations' matrices, sparse or exact: equation (10) as it is printed."""
    kept: dict[int, list[Any]] = {}

    def matrices(node: Node) -> list[Any]:
        # The walks for W and for B each ask once. Exact matrices are small and slow to make, sparse ones the reverse.
        if id(node) in kept:
            return kept.pop(id(node))
        found = node.operation.matrices(*graph.input_shapes(node), exact=exact)
        if not exact:
            return list(found)
        kept[id(node)] = [to_domain(matrix) for matrix in found]
        return kept[id(node)]

    def identity(size: int) -> Any:
        return DomainMatrix.eye(size, ZZ) if exact else scipy.sparse.eye_array(size, format="csr")

    def linear(node: Node, states: list[Any]) -> Any:
        return reduce(plus, (_times(matrix, state) for matrix, state in zip(matrices(node), states, strict=True)))

    def affine(node: Node, states: list[Any]) -> Any:
        operation = node.operation.exact() if exact else node.operation
        bias = operation.bias_vector(*graph.input_shapes(node))
        image = linear(node, states)
        if bias is None:
            return image
        return plus(image, to_domain(bias.reshape(-1, 1)) if exact else bias)

    def adjoint(node: Node, state: Any) -> list[Any]:
        return [_times(state, matrix) for matrix in matrices(node)]

    plus = add if exact else operator.add
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    W = (
        graph.push(identity(in_size), linear)
        if direction == "forward"
        else graph.pull(identity(out_size), adjoint, plus)
    )
    zero = DomainMatrix.zeros((in_size, 1), ZZ) if exact else np.zeros(in_size)
    B = graph.push(zero, affine)
    return (from_domain(W), from_domain(B)) if exact else (W, B)


def _times(left: Any, right: Any) -> Any:
    # DomainMatrix multiplies matrices by *, unifying the two domains; numpy and scipy by @.
    return left * right if isinstance(left, DomainMatrix) else left @ right
