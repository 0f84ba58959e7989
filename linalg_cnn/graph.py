"""Affine operations wired in order: the form in which every network is evaluated and composed."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
from scipy.sparse.linalg import LinearOperator

from linalg_cnn.checks import as_exact, as_numbers, check_shape
from linalg_cnn.notebook import Drawn
from linalg_cnn.ops.base import MergingOperation, Operation
from linalg_cnn.types import Array, Shape, size_of

State = TypeVar("State")

TEMPORARIES = 2
"""Upper bound on an operation's temporary memory, in multiples of the size of its inputs and its output.

It was measured over all operations.
"""


@dataclass(frozen=True)
class Node:
    """One operation of a graph, and the values that it reads.

    Attributes
    ----------
    operation : Operation
    inputs : tuple of int
        Numbers of the values: 0 is the input of the graph, i + 1 the output of node i.
    name : str
        Name of the operation in the network, for messages.
    """

    operation: Operation
    inputs: tuple[int, ...]
    name: str


class AffineGraph(Drawn):
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

    def __init__(self, in_shape: Shape) -> None:
        self.nodes: list[Node] = []
        self.shapes: list[Shape] = [check_shape("in_shape", in_shape)]

    def add(self, operation: Operation, *inputs: int, name: str = "") -> int:
        """Append an operation that reads the values ``inputs``; return the number of its output.

        Raises
        ------
        ValueError
            If a value does not exist yet, the operation reads another number of values, or their shapes do not fit.
            The message names the operation.
        """
        where = name or f"node {len(self.nodes)} ({type(operation).__name__})"
        if not inputs or not all(0 <= value < len(self.shapes) for value in inputs):
            raise ValueError(f"{where}: expected to read values 0 to {len(self.shapes) - 1}, got {inputs}")
        if len(inputs) > 1 and not isinstance(operation, MergingOperation):
            raise ValueError(f"{where}: expected to read one value, got {inputs}")
        try:
            shape = operation.out_shape(*(self.shapes[value] for value in inputs))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        self.nodes.append(Node(operation, inputs, where))
        self.shapes.append(shape)
        return len(self.nodes)

    def extend(self, other: "AffineGraph", start: int) -> int:
        """Append another graph, whose input is the value ``start``; return the number of its output.

        Raises
        ------
        ValueError
            If that value does not have the shape of the other graph's input.
        """
        if self.shapes[start] != other.in_shape:
            raise ValueError(f"start: expected a value of shape {other.in_shape}, got {self.shapes[start]}")
        numbers = [start]
        for node in other.nodes:
            numbers.append(self.add(node.operation, *(numbers[value] for value in node.inputs), name=node.name))
        return numbers[-1]

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
            matvec=lambda x: forward(x.reshape(-1, 1)).ravel(),
            rmatvec=lambda y: adjoint(y.reshape(-1, 1)).ravel(),
            matmat=forward,
            rmatmat=adjoint,
        )

    def __repr__(self) -> str:
        """Show the shapes and the number of operations."""
        return f"AffineGraph({self.in_shape} -> {self.out_shape}, {len(self.nodes)} operations)"

    @property
    def in_shape(self) -> Shape:
        """Shape of the input."""
        return self.shapes[0]

    @property
    def out_shape(self) -> Shape:
        """Shape of the output."""
        return self.shapes[-1]

    @property
    def symbolic(self) -> bool:
        """Whether an operation holds sympy expressions."""
        return any(node.operation.symbolic for node in self.nodes)

    @property
    def multiply_adds(self) -> int:
        """Number of multiply-accumulates (MACs) in one evaluation.

        These are the entries of the matrices of all operations that have a kernel or a weight. Taps that fall on
        padding have no entries and do not count.
        """
        weighted = [node for node in self.nodes if node.operation.weighted]
        return sum(node.operation.count_entries(*self.input_shapes(node)) for node in weighted)

    def input_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes of the values that a node reads."""
        return tuple(self.shapes[value] for value in node.inputs)

    def __call__(self, x: Any) -> Array:
        """Evaluate the graph operation by operation; this defines the map that it stands for.

        Parameters
        ----------
        x : array_like (..., *in_shape)
            Integers become float64. A graph with symbols computes with exact numbers.

        Returns
        -------
        ndarray (..., *out_shape)

        Raises
        ------
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        """
        symbolic = self.symbolic
        x = as_exact(x) if symbolic else as_numbers(x)
        split = x.ndim - len(self.in_shape)
        if split < 0 or x.shape[split:] != self.in_shape:
            raise ValueError(f"x: expected shape (..., {', '.join(map(str, self.in_shape))}), got {x.shape}")

        def step(node: Node, xs: list[Array]) -> Array:
            return (node.operation.exact() if symbolic else node.operation)(*xs)

        count = size_of(x.shape[:split])
        y: Array = self.walk(x.reshape(count, *self.in_shape), step)
        y = y.copy() if np.may_share_memory(x, y) else y  # the caller may write to the result
        return y.reshape(*x.shape[:split], *self.out_shape)

    def largest_state(self, direction: str) -> int:
        """Return an upper bound on the number of entries held at once while one vector passes through the graph.

        An operation's inputs and its output exist at the same time, beside every value that is still to be read, and
        beside `TEMPORARIES` times as many entries of temporary memory.

        Parameters
        ----------
        direction : {"forward", "adjoint"}
        """
        sizes = [size_of(shape) for shape in self.shapes]
        largest = 0
        if direction == "forward":
            last_reader = self._last_readers()
            alive = {0}
            for number, node in enumerate(self.nodes):
                alive.add(number + 1)
                working = sizes[number + 1] + sum(sizes[value] for value in set(node.inputs))
                largest = max(largest, sum(sizes[value] for value in alive) + TEMPORARIES * working)
                alive -= {value for value in node.inputs if last_reader[value] == number}
            return max(largest, sizes[0])
        alive = {len(self.nodes)}
        for number in reversed(range(len(self.nodes))):
            if number + 1 in alive:
                inputs = self.nodes[number].inputs
                read = sum(sizes[value] for value in inputs)
                working = sizes[number + 1] + read
                largest = max(largest, sum(sizes[value] for value in alive) + read + TEMPORARIES * working)
                alive = (alive - {number + 1}) | set(inputs)
        return max(largest, sizes[-1])

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

    def walk(self, start: State, step: Callable[[Node, list[State]], State]) -> State:
        """Carry a state from the input to the output.

        ``step(node, states)`` returns the state of a node's output from those of its inputs. A state is dropped after
        its last reader.
        """
        last_reader = self._last_readers()
        states = {0: start}
        for number, node in enumerate(self.nodes):
            states[number + 1] = step(node, [states[value] for value in node.inputs])
            for value in set(node.inputs):
                if last_reader[value] == number:
                    del states[value]
        return states[len(self.nodes)]

    def walk_back(
        self,
        start: State,
        step: Callable[[Node, State], Sequence[State]],
        plus: Callable[[Any, Any], Any] = operator.add,
    ) -> State:
        """Carry a state from the output back to the input.

        ``step(node, state)`` returns one state per input of a node from that of its output. The states that several
        readers of a value return are added by ``plus``.
        """
        states: dict[int, Any] = {len(self.nodes): start}
        for number in reversed(range(len(self.nodes))):
            node = self.nodes[number]
            if number + 1 not in states:  # the output does not depend on it
                continue
            for value, state in zip(node.inputs, step(node, states.pop(number + 1)), strict=True):
                states[value] = plus(states[value], state) if value in states else state
        return cast(State, states[0])

    def _last_readers(self) -> dict[int, int]:
        """Return the number of the last node that reads each value."""
        return {value: number for number, node in enumerate(self.nodes) for value in node.inputs}
