"""Theorem 3.1: a network of affine operations is one matrix W and one vector B.

W is what comes out when the identity is pushed forward through the network without its biases: in_size columns.
It is also what comes back when the identity is pulled through the adjoints: out_size rows, which for a classifier
are far fewer. B is the network's answer to the zero input.
"""

import operator
from functools import reduce
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy.sparse
from sympy.polys.domains import ZZ
from sympy.polys.matrices import DomainMatrix

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_choice, check_memory
from linalg_cnn.exact import add, from_domain, to_domain
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.types import size_of

DIRECTIONS = ("auto", "forward", "adjoint")
FORMS = ("dense", "sparse", "sympy")


@runtime_checkable
class HasGraph(Protocol):
    """A network that can be wired as a graph: `SkipNetwork`."""

    graph: AffineGraph


def compose(network: AffineGraph | HasGraph, direction: str = "auto", form: str | None = None) -> AffineMap:
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

    Returns
    -------
    AffineMap
        W of shape (out_size, in_size) and B of shape (out_size,), a column if symbolic. float64, whatever the
        parameters' dtype is; sympy entries are exact and expanded.

    Raises
    ------
    TypeError
        If ``network`` is neither.
    ValueError
        If ``direction`` or ``form`` is unknown, or numbers are asked for from a network of symbols.
    MemoryError
        If the vectors to carry would take more than half of the machine's memory.

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
    check_choice("direction", direction, DIRECTIONS)
    if form is None:
        form = "sympy" if graph.symbolic else "dense"
    check_choice("form", form, FORMS)
    if graph.symbolic and form != "sympy":
        raise ValueError(f'form: expected "sympy" for a network that holds sympy expressions, got {form!r}')
    if direction == "auto":
        direction = "forward" if size_of(graph.in_shape) < size_of(graph.out_shape) else "adjoint"
    if form == "dense":
        W, B = _dense_forward(graph) if direction == "forward" else _dense_adjoint(graph), _answer_to_zero(graph)
    else:
        W, B = _by_matrices(graph, direction, exact=form == "sympy")
    return AffineMap(W, B, graph.in_shape, graph.out_shape)


def _answer_to_zero(graph: AffineGraph) -> Any:
    return graph(np.zeros(graph.in_shape)).ravel()


def _check_states(graph: AffineGraph, vectors: int, direction: str) -> None:
    widest = max(size_of(shape) for shape in graph.shapes)
    check_memory(f"composing by {direction}, which carries {vectors} vectors,", 2 * 8 * vectors * widest)


def _dense_forward(graph: AffineGraph) -> Any:
    """Return W: column by column, what the network without its biases makes of the unit vectors."""
    in_size = size_of(graph.in_shape)
    _check_states(graph, in_size, "forward")
    units = np.eye(in_size).reshape(in_size, *graph.in_shape)
    columns = graph.push(units, lambda node, xs: node.operation.forward(*xs))
    return columns.reshape(in_size, -1).T


def _dense_adjoint(graph: AffineGraph) -> Any:
    """Return W: row by row, what the adjoints make of the unit vectors of the output."""
    out_size = size_of(graph.out_shape)
    _check_states(graph, out_size, "adjoint")
    units = np.eye(out_size).reshape(out_size, *graph.out_shape)

    def step(node: Node, state: Any) -> Any:
        back = node.operation.adjoint(state, *graph.input_shapes(node))
        return back if isinstance(back, tuple) else (back,)

    rows = graph.pull(units, step)
    return rows.reshape(out_size, -1)


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
