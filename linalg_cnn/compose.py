"""Theorem 3.1: a network of affine operations is one matrix W and one vector B.

W is the image of the identity, pushed forward through the network without its biases: in_size columns. It is also the
image of the identity pulled back through the adjoints: out_size rows, which are far fewer for a classifier. B is the
output of the network for the zero input.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from linalg_cnn.affine import AffineMap
from linalg_cnn.arithmetic import EXACT, SPARSE, Arithmetic
from linalg_cnn.arrays import (
    as_numpy,
    computed_once,
    concatenate,
    free_bytes,
    parameter_like,
    parameters_stay,
    sums_like,
    zeros,
)
from linalg_cnn.checks import check_choice
from linalg_cnn.chunks import Progress, carry_chunks, check_progress, plan_chunks, sums_kept
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.types import Array, size_of

DIRECTIONS = ("auto", "forward", "adjoint")
FORMS = ("dense", "sparse", "sympy")


def compose(
    network: AffineGraph | HasGraph,
    direction: str = "auto",
    form: str | None = None,
    *,
    max_bytes: int | None = None,
    progress: Progress | None = None,
    to_device: Callable[[Array], Any] | None = None,
) -> AffineMap:
    """Return a network as one affine map: theorem 3.1.

    Parameters
    ----------
    network : AffineGraph, or a network that holds one as its ``graph``, such as a SkipNetwork of affine layers
    direction : {"auto", "forward", "adjoint"}
        ``forward`` pushes in_size columns of the identity through the network, ``adjoint`` pulls out_size rows back.
        Both give the same map; ``auto`` takes the one with fewer vectors.
    form : {"dense", "sparse", "sympy"}, optional
        ``dense`` works without building the matrix of any operation. ``sparse`` and ``sympy`` multiply these
        matrices, as ``csr_array`` or exactly. The default is dense, or sympy for a network with sympy expressions.
    max_bytes : int, optional
        Limit on the memory of a dense composition; half of the machine's memory if not given. The vectors of a chunk
        also take at most half of what is free on a CUDA device.
    progress : callable, optional
        Wrapper of the sequence of chunks of a dense composition, such as ``tqdm.tqdm``.
    to_device : callable, optional
        Function that copies an array to the device of a dense composition and returns it as a torch tensor:
        ``lambda array: torch.from_numpy(array).cuda()``.

    Returns
    -------
    AffineMap
        W of shape (out_size, in_size) and B of shape (out_size,), a column if symbolic. Numbers are float64, whatever
        the dtype of the parameters; sympy entries are exact and expanded.

    Raises
    ------
    TypeError
        If ``network`` is neither of the two or holds piecewise-linear operations, or ``progress`` or ``to_device``
        cannot be called.
    ValueError
        If ``direction`` or ``form`` is unknown, ``form`` is not "sympy" for a network with sympy expressions, or
        ``max_bytes`` is not an int of at least 0.
    MemoryError
        If W and the vectors of one chunk would take more than ``max_bytes``. This is checked before anything is
        computed.

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
    graph = graph_of("network", network, AffineGraph)
    check_progress(progress)
    if to_device is not None and not callable(to_device):
        raise TypeError(f"to_device: expected a function of an array, got {type(to_device).__name__}")
    check_choice("direction", direction, DIRECTIONS)
    if form is None:
        form = "sympy" if graph.symbolic else "dense"
    check_choice("form", form, FORMS)
    if graph.symbolic and form != "sympy":
        raise ValueError(f'form: expected "sympy" for a network that holds sympy expressions, got {form!r}')
    if direction == "auto":
        direction = "forward" if size_of(graph.in_shape) < size_of(graph.out_shape) else "adjoint"
    if form == "dense":
        W, B = _by_vectors(graph, direction, max_bytes, progress, to_device)
    else:
        W, B = _by_matrices(graph, direction, EXACT if form == "sympy" else SPARSE)
    return AffineMap(W, B, graph.in_shape, graph.out_shape)


def push_columns(graph: AffineGraph, x: Any) -> Any:
    """Return the images W x of a batch: for unit vectors, these are columns of W.

    Parameters
    ----------
    graph : AffineGraph
    x : ndarray or torch tensor (n, *in_shape)

    Returns
    -------
    ndarray or torch tensor (n, out_size)
    """
    return graph.push(x).reshape(len(x), -1)


def pull_rows(graph: AffineGraph, y: Any) -> tuple[Any, Any]:
    """Return W' y and the inner products B' y of a batch: for unit vectors, these are rows of W and entries of B.

    The cotangent at an operation's output is the row's sensitivity to it, and therefore to the operation's bias.

    Parameters
    ----------
    graph : AffineGraph
    y : ndarray or torch tensor (n, *out_shape)

    Returns
    -------
    (n, in_size), (n,) : ndarrays or torch tensors, as ``y``
    """
    products = _BiasProducts(graph, y)
    W = graph.pull(y, products.add).reshape(len(y), -1)
    return W, products.total()


class _BiasProducts:
    """Inner products of cotangents with biases: those of many operations are one product, one launch on a device."""

    def __init__(self, graph: AffineGraph, y: Any) -> None:
        self._graph, self._joined = graph, 0
        self._total = zeros((len(y),), y)
        self._sums: list[Any] = []
        self._offsets: list[Array] = []
        self._left = sums_kept(graph)

    def add(self, node: Node, cotangent: Any) -> None:
        """Note the inner products with the bias of a node, if it has one."""
        offset = computed_once(node, "offset", lambda: node.operation.offset(*self._graph.input_shapes(node)))
        if offset is None:
            return
        self._sums.append(sums_like(cotangent, offset.shape))
        self._offsets.append(offset.ravel())
        self._left -= offset.size
        if self._left < 0:
            self._join()

    def total(self) -> Any:
        """Return the sum over all operations, (n,)."""
        if self._sums:
            self._join()
        return self._total

    def _join(self) -> None:
        offsets, sums = self._offsets, self._sums[0] if len(self._sums) == 1 else concatenate(self._sums, 1)
        joint = computed_once(self._graph, ("biases", self._joined), lambda: np.concatenate(offsets))
        self._total = self._total + sums @ parameter_like(joint, sums)
        self._sums, self._offsets, self._left = [], [], sums_kept(self._graph)
        self._joined += 1


def _by_vectors(
    graph: AffineGraph,
    direction: str,
    max_bytes: int | None,
    progress: Progress | None,
    to_device: Callable[[Array], Any] | None,
) -> tuple[Array, Array]:
    """Return W and B from the unit vectors, chunk by chunk, without the matrix of any operation."""
    free = None if to_device is None else free_bytes(to_device(np.zeros(0)))
    chunks = plan_chunks(graph, direction, max_bytes, alone=to_device is not None, free=free)
    W, B = np.empty((size_of(graph.out_shape), size_of(graph.in_shape))), np.zeros(size_of(graph.out_shape))

    def carry(chunk: slice, units: Array) -> None:
        vectors = units if to_device is None else to_device(units)
        if direction == "forward":
            W[:, chunk] = as_numpy(push_columns(graph, vectors)).T
        else:
            W[chunk], B[chunk] = map(as_numpy, pull_rows(graph, vectors))

    with parameters_stay():
        carry_chunks(carry, chunks, progress)
    return W, graph(np.zeros(graph.in_shape)).ravel() if direction == "forward" else B


def _by_matrices(graph: AffineGraph, direction: str, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """Return W and B by multiplying the operations' matrices, sparse or exact: equation (10) as it is printed."""
    times, plus = arithmetic.times, arithmetic.plus
    matrices = arithmetic.matrices_of(graph)

    def linear(node: Node, states: list[Any]) -> Any:
        return reduce(plus, (times(A, state) for A, state in zip(matrices(node), states, strict=True)))

    def affine(node: Node, states: list[Any]) -> Any:
        bias = arithmetic.bias(node.operation, graph.input_shapes(node))
        return linear(node, states) if bias is None else plus(linear(node, states), bias)

    def adjoint(node: Node, state: Any) -> list[Any]:
        return [times(state, A) for A in matrices(node)]

    if direction == "forward":
        W = graph.walk(arithmetic.identity(size_of(graph.in_shape)), linear)
    else:
        W = graph.walk_back(arithmetic.identity(size_of(graph.out_shape)), adjoint, plus)
    B = graph.walk(arithmetic.zero(size_of(graph.in_shape)), affine)
    return arithmetic.result(W), arithmetic.result(B)
