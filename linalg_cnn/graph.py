"""Affine operations wired in order: the form in which every network is evaluated and composed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator

from linalg_cnn.checks import as_numbers
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, size_of
from linalg_cnn.wiring import Graph, NodeOf


@dataclass(frozen=True)
class Node(NodeOf[Operation]):
    """One operation of a graph, and the values that it reads.

    Attributes
    ----------
    operation : Operation
    inputs : tuple of int
        Numbers of the values: 0 is the input of the graph, i + 1 the output of node i.
    name : str
        Name of the operation in the network, for messages.
    """


class AffineGraph(Graph[Node]):
    """Affine operations wired in order, where each reads values made before it.

    Value 0 is the input, every `add` makes the next one, and the last one is the output. A graph without operations is
    the identity.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).

    Attributes
    ----------
    nodes : list of Node
    shapes : list of tuple of int
        Shape of every value, beginning with the input.

    Raises
    ------
    ValueError
        If ``in_shape`` is not a shape.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Conv, WeightedSum
    >>> graph = AffineGraph((1, 3))
    >>> blurred = graph.add(Conv([[[1.0, 2.0, 1.0]]], padding=1), 0)
    >>> mixed = graph.add(WeightedSum([0.5, 0.5]), 0, blurred)
    >>> graph(np.array([[1.0, 0.0, 0.0]]))
    array([[1.5, 0.5, 0. ]])
    """

    def _check(self, operation: object, where: str) -> None:
        if not isinstance(operation, Operation):
            raise TypeError(
                f"{where}: expected an affine Operation, got {type(operation).__name__}; a PiecewiseGraph holds those "
                "that are piecewise linear"
            )

    def _node(self, operation: Operation, inputs: tuple[int, ...], name: str) -> Node:
        return Node(operation, inputs, name)

    def linear_operator(self) -> LinearOperator:
        """Return the linear part as a scipy ``LinearOperator``, which multiplies by W and W' without building W.

        The norms, spectra and solvers of ``scipy.sparse.linalg`` take it, also where W would be too large to
        build. The bias is ``graph(zeros)``.

        Returns
        -------
        LinearOperator of shape (out_size, in_size), float64

        Raises
        ------
        TypeError
            If the graph holds sympy expressions.

        Examples
        --------
        >>> import numpy as np, scipy.sparse.linalg
        >>> from linalg_cnn import Conv
        >>> graph = AffineGraph((1, 64, 64))
        >>> blurred = graph.add(Conv(np.full((1, 1, 3, 3), 1 / 9), padding=1), 0)
        >>> blur = graph.linear_operator()
        >>> largest = scipy.sparse.linalg.eigsh(blur, k=1, return_eigenvectors=False, v0=np.ones(64 * 64))
        >>> largest.round(3)  # close to 1: a blur loses light at the border only
        array([0.998])
        """
        if self.symbolic:
            raise TypeError("linear_operator: expected numbers, got sympy expressions")
        in_shape, out_shape = self.in_shape, self.out_shape

        def forward(columns: Array) -> Array:
            x = as_numbers(columns).T.reshape(-1, *in_shape)
            y = self.push(x.astype(np.float64))
            return np.asarray(y.reshape(len(x), size_of(out_shape)).T)

        def adjoint(columns: Array) -> Array:
            y = as_numbers(columns).T.reshape(-1, *out_shape)
            return np.asarray(self.pull(y.astype(np.float64)).reshape(len(y), size_of(in_shape)).T)

        return LinearOperator(
            (size_of(out_shape), size_of(in_shape)),
            dtype=np.float64,
            matvec=lambda x: forward(x).ravel(),
            rmatvec=lambda y: adjoint(y).ravel(),
            matmat=forward,
            rmatmat=adjoint,
        )

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-accumulates (MACs) in one evaluation.

        These are the entries of the matrices of all operations that have a kernel or a weight. Taps that fall on
        padding have no entries and do not count.
        """
        weighted = [node for node in self.nodes if node.operation.weighted]
        return sum(node.operation.count_entries(*self.input_shapes(node)) for node in weighted)

    def push(self, x: Any) -> Any:
        """Return W x, without the bias, for a numpy array or a torch tensor (N, *in_shape) that is not checked."""
        return self.walk(x, lambda node, xs: node.operation.push(*xs))

    def pull(self, y: Any, visit: Callable[[Node, Any], None] | None = None) -> Any:
        """Return W' y for a numpy array or a torch tensor (N, *out_shape) that is not checked.

        ``visit(node, cotangent)`` is called for each node with the cotangent at its output.
        """

        def step(node: Node, cotangent: Any) -> Sequence[Any]:
            if visit is not None:
                visit(node, cotangent)
            pulled = node.operation.pull(cotangent, *self.input_shapes(node))
            return pulled if isinstance(pulled, tuple) else (pulled,)

        return self.walk_back(y, step)
