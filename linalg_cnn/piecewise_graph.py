"""Affine and piecewise-linear operations wired in order: a network that is affine on each of finitely many pieces."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linalg_cnn.checks import as_array, check_finite, check_items
from linalg_cnn.graph import AffineGraph
from linalg_cnn.ops.base import Operation
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise.local_maps import batch_pieces, local_maps
from linalg_cnn.types import Array, IntArray
from linalg_cnn.wiring import Graph, NodeOf

Pieces = tuple[IntArray, ...]
"""The pieces of one sample: an array for each piecewise operation, in the order of the nodes."""


@dataclass(frozen=True)
class PiecewiseNode(NodeOf[Operation | PiecewiseOperation]):
    """One operation of a graph, and the values that it reads.

    Attributes
    ----------
    operation : Operation or PiecewiseOperation
    inputs : tuple of int
        Numbers of the values: 0 is the input of the graph, i + 1 the output of node i.
    name : str
        Name of the operation in the network, for messages.
    """


class PiecewiseGraph(Graph[PiecewiseNode]):
    """Affine and piecewise-linear operations wired in order, where each reads values made before it.

    It is built as an `AffineGraph` is, and evaluated in the same way. Around each input it is an affine map:
    ``graph.at(x)`` is the AffineGraph of the pieces that x takes.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).

    Attributes
    ----------
    nodes : list of PiecewiseNode
    shapes : list of tuple of int
        Shape of every value, beginning with the input.

    Raises
    ------
    ValueError
        If ``in_shape`` is not a shape.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Dense, ReLU, compose
    >>> graph = PiecewiseGraph((2,))
    >>> hidden = graph.add(ReLU(), graph.add(Dense([[1.0, 1.0], [1.0, -1.0]], [0.0, 1.0]), 0))
    >>> output = graph.add(Dense([[1.0, 2.0]]), hidden)
    >>> graph(np.array([1.0, 3.0]))  # the second unit is off
    array([4.])
    >>> local = compose(graph.at(np.array([1.0, 3.0])))
    >>> local.W, local.B
    (array([[1., 1.]]), array([0.]))
    """

    def _check(self, operation: object, where: str) -> None:
        if not isinstance(operation, (Operation, PiecewiseOperation)):
            raise TypeError(f"{where}: expected an Operation or a PiecewiseOperation, got {type(operation).__name__}")

    def _node(self, operation: Operation | PiecewiseOperation, inputs: tuple[int, ...], name: str) -> PiecewiseNode:
        return PiecewiseNode(operation, inputs, name)

    def checked(self, x: Any) -> Array:
        """Return data of shape (..., *in_shape) as an array to compute with.

        Raises
        ------
        TypeError
            If they are neither numbers nor sympy expressions.
        ValueError
            If the last axes of ``x`` are not ``in_shape``, or an entry is NaN or infinite.
        """
        array = super().checked(x)
        if array.dtype != object:
            check_finite("x", array)
        return array

    @property
    def piecewise_nodes(self) -> list[PiecewiseNode]:
        """Nodes of the piecewise-linear operations, in order."""
        return [node for node in self.nodes if isinstance(node.operation, PiecewiseOperation)]

    def exact(self) -> "PiecewiseGraph":
        """Return the same graph with sympy parameters; a float becomes the binary fraction that it is."""
        graph = PiecewiseGraph(self.in_shape)
        for node in self.nodes:
            graph.add(node.operation.exact(), *node.inputs, name=node.name)
        return graph

    def pieces(self, x: npt.ArrayLike) -> Pieces:
        """Return the pieces that an input takes.

        Where x lies on several pieces of an operation, torch's gradient decides which one counts.

        Parameters
        ----------
        x : array_like (*in_shape)
            One sample.

        Returns
        -------
        tuple of int arrays
            One for each piecewise operation, in the order of `piecewise_nodes`. What the numbers mean is said by its
            class: a `ReLU` has 0 and 1, a `MaxPool` the number of the pixel that each output copies.

        Raises
        ------
        TypeError
            If ``x`` holds neither numbers nor sympy expressions that can be compared.
        ValueError
            If ``x`` does not have the shape ``in_shape``, or an entry is NaN or infinite.

        Examples
        --------
        >>> from linalg_cnn import ReLU
        >>> graph = PiecewiseGraph((3,))
        >>> output = graph.add(ReLU(), 0)
        >>> graph.pieces([-1.0, 0.0, 2.0])
        (array([0, 0, 1], dtype=int8),)
        """
        array = self.checked(x)
        if array.shape != self.in_shape:
            raise ValueError(f"x: expected one sample of shape {self.in_shape}, got {array.shape}")
        graph = self.exact() if array.dtype == object else self
        return tuple(pieces[0] for pieces in batch_pieces(graph, array[np.newaxis])[1])

    def at(self, x: npt.ArrayLike) -> AffineGraph:
        """Return the affine graph that equals this one around an input.

        Parameters
        ----------
        x : array_like (*in_shape)
            One sample.

        Returns
        -------
        AffineGraph
            With as many nodes, of the same names. It is exact: each piecewise operation is replaced by its affine
            operation at the pieces of x.

        Raises
        ------
        TypeError, ValueError
            As `pieces` does.
        """
        return self.affine_at(self.pieces(x))

    def at_pieces(self, pieces: Iterable[npt.ArrayLike]) -> AffineGraph:
        """Return the affine graph that equals this one where it takes some pieces.

        Parameters
        ----------
        pieces : iterable of int array_likes
            One for each piecewise operation, in the order of `piecewise_nodes`, as `pieces` gives them. Whether some
            input takes all of them at once is not checked.

        Returns
        -------
        AffineGraph
            With as many nodes, of the same names.

        Raises
        ------
        TypeError
            If ``pieces`` is not iterable, or an array does not hold integers; a bool is taken for a mistake.
        ValueError
            If there is not one array for each piecewise operation, one has another shape, or there is no such piece:
            an entry outside its window for a `MaxPool`, or a number other than 0 and 1 for a `ReLU`.

        Examples
        --------
        >>> from linalg_cnn import ReLU, compose
        >>> graph = PiecewiseGraph((2,))
        >>> output = graph.add(ReLU(), 0)
        >>> compose(graph.at_pieces([[0, 1]])).W
        array([[0., 0.],
               [0., 1.]])
        """
        nodes = self.piecewise_nodes
        given = check_items("pieces", pieces, "one int array per piecewise operation")
        if len(given) != len(nodes):
            raise ValueError(f"pieces: expected {len(nodes)} arrays, one per piecewise operation, got {len(given)}")
        return self.affine_at(tuple(map(self._checked_pieces, nodes, given)))

    def _checked_pieces(self, node: PiecewiseNode, given: npt.ArrayLike) -> IntArray:
        operation: Any = node.operation
        array, shapes = as_array("pieces", given), self.input_shapes(node)
        if array.dtype.kind not in "iu":
            raise TypeError(f"pieces: expected integers for {node.name}, got dtype {array.dtype}")
        if array.shape != operation.piece_shape(*shapes):
            raise ValueError(
                f"pieces: expected shape {operation.piece_shape(*shapes)} for {node.name}, got {array.shape}"
            )
        try:
            operation.check_pieces(array, *shapes)
        except ValueError as error:
            raise ValueError(f"pieces: {node.name}: {error}") from error
        return array

    def affine_at(self, pieces: Pieces) -> AffineGraph:
        """Return the affine graph at pieces of one sample that are not checked, as `pieces` gives them."""
        given = iter(pieces)
        graph = AffineGraph(self.in_shape)
        for node in self.nodes:
            operation = node.operation
            if isinstance(operation, PiecewiseOperation):
                operation = operation.affine(next(given), *self.input_shapes(node), exact=self.symbolic)
            graph.add(operation, *node.inputs, name=node.name)
        return graph

    def local_maps(self, xs: npt.ArrayLike, max_bytes: int | None = None) -> tuple[Array, Array]:
        """Return the affine maps that equal the graph around each input of a batch.

        Parameters
        ----------
        xs : array_like (N, *in_shape)
        max_bytes : int, optional
            Limit on the memory of the maps and of what is computed at once; half of the machine's memory if not
            given.

        Returns
        -------
        W : ndarray (N, out_size, in_size), float64
            Jacobians at each input, those of torch's gradient where pieces meet.
        B : ndarray (N, out_size), float64

        Raises
        ------
        TypeError
            If the graph or ``xs`` hold sympy expressions.
        ValueError
            If ``xs`` does not have the shape (N, *in_shape), an entry is NaN or infinite, or ``max_bytes`` is not an
            int of at least 0.
        MemoryError
            If the maps and the vectors of one input would take more than ``max_bytes``. This is checked before
            anything is computed.

        Examples
        --------
        >>> import numpy as np
        >>> from linalg_cnn import ReLU
        >>> graph = PiecewiseGraph((2,))
        >>> output = graph.add(ReLU(), 0)
        >>> W, B = graph.local_maps(np.array([[1.0, -1.0], [2.0, 3.0]]))
        >>> W.shape, B.shape
        ((2, 2, 2), (2, 2))
        >>> W[0]
        array([[1., 0.],
               [0., 0.]])
        """
        return local_maps(self, xs, max_bytes)

    def batch(self, name: str, xs: Any) -> Array:
        """Return inputs (N, *in_shape) as an array to compute with, checked.

        Raises
        ------
        TypeError
            If they are neither numbers nor sympy expressions.
        ValueError
            If they have another shape, or an entry is NaN or infinite.
        """
        array = self.checked(xs)
        if array.ndim != 1 + len(self.in_shape):
            raise ValueError(f"{name}: expected shape (N, {', '.join(map(str, self.in_shape))}), got {array.shape}")
        return array
