"""Operations wired in order: what affine and piecewise-linear graphs have in common."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np

from linalg_cnn.checks import as_exact, as_numbers, check_shape
from linalg_cnn.notebook import Drawn
from linalg_cnn.types import Array, Shape, size_of

State = TypeVar("State")
Kind = TypeVar("Kind", covariant=True)

TEMPORARIES = 2
"""Upper bound on an operation's temporary memory, in multiples of the size of its inputs and its output.

It was measured over all operations.
"""


@dataclass(frozen=True)
class NodeOf(Generic[Kind]):
    """One operation of a graph, and the values that it reads.

    Attributes
    ----------
    operation : Operation, or in a PiecewiseGraph also PiecewiseOperation
    inputs : tuple of int
        Numbers of the values: 0 is the input of the graph, i + 1 the output of node i.
    name : str
        Name of the operation in the network, for messages.
    """

    operation: Kind
    inputs: tuple[int, ...]
    name: str


NodeType = TypeVar("NodeType", bound=NodeOf[Any])


class Graph(Drawn, ABC, Generic[NodeType]):
    """Operations wired in order, where each reads values made before it.

    A subclass says which operations it takes (`_check`) and how it holds them (`_node`).

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).

    Attributes
    ----------
    nodes : list of nodes
    shapes : list of tuple of int
        Shape of every value, beginning with the input.

    Raises
    ------
    ValueError
        If ``in_shape`` is not a shape.
    """

    def __init__(self, in_shape: Shape) -> None:
        self.nodes: list[NodeType] = []
        self.shapes: list[Shape] = [check_shape("in_shape", in_shape)]

    def add(self, operation: Any, *inputs: int, name: str = "") -> int:
        """Append an operation that reads the values ``inputs``; return the number of its output.

        Raises
        ------
        TypeError
            If the graph does not hold operations of this kind, or a number of a value is no int.
        ValueError
            If a value does not exist yet, the operation reads another number of values, or their shapes do not fit.
            The message names the operation.
        """
        where = name or f"node {len(self.nodes)} ({type(operation).__name__})"
        self._check(operation, where)
        self._check_values(where, inputs)
        if len(inputs) > 1 and not operation.merges:
            raise ValueError(f"{where}: expected to read one value, got {inputs}")
        try:
            shape: Shape = operation.out_shape(*(self.shapes[value] for value in inputs))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        self.nodes.append(self._node(operation, inputs, where))
        self.shapes.append(shape)
        return len(self.nodes)

    def extend(self, other: "Graph[Any]", start: int) -> int:
        """Append another graph, whose input is the value ``start``; return the number of its output.

        Raises
        ------
        TypeError
            If this graph does not hold operations of a kind that the other has, or ``start`` is no int.
        ValueError
            If that value does not exist, or does not have the shape of the other graph's input.
        """
        self._check_values("start", (start,))
        if self.shapes[start] != other.in_shape:
            raise ValueError(f"start: expected a value of shape {other.in_shape}, got {self.shapes[start]}")
        numbers = [start]
        for node in other.nodes:
            numbers.append(self.add(node.operation, *(numbers[value] for value in node.inputs), name=node.name))
        return numbers[-1]

    def _check_values(self, where: str, values: tuple[Any, ...]) -> None:
        """Refuse anything but numbers of values that exist; a bool is taken for a mistake.

        Raises
        ------
        TypeError
            If one is no int.
        ValueError
            If there is no value of that number, or no number at all.
        """
        if not all(isinstance(value, (int, np.integer)) and not isinstance(value, bool) for value in values):
            raise TypeError(f"{where}: expected numbers of values, got {values}")
        if not values or not all(0 <= value < len(self.shapes) for value in values):
            raise ValueError(f"{where}: expected to read values 0 to {len(self.shapes) - 1}, got {values}")

    @abstractmethod
    def _check(self, operation: object, where: str) -> None:
        """Refuse an operation that the graph does not hold; ``where`` names it."""

    @abstractmethod
    def _node(self, operation: Any, inputs: tuple[int, ...], name: str) -> NodeType:
        """Return the node of an operation that was checked."""

    def __repr__(self) -> str:
        """Show the shapes and the number of operations."""
        return f"{type(self).__name__}({self.in_shape} -> {self.out_shape}, {len(self.nodes)} operations)"

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

    def input_shapes(self, node: NodeType) -> tuple[Shape, ...]:
        """Return the shapes of the values that a node reads."""
        return tuple(self.shapes[value] for value in node.inputs)

    def __call__(self, x: Any) -> Array:
        """Evaluate the graph operation by operation; this defines the map that it stands for.

        Parameters
        ----------
        x : array_like (..., *in_shape)
            Integers become float64. A graph with symbols, and exact data, are computed with exact numbers.

        Returns
        -------
        ndarray (..., *out_shape)

        Raises
        ------
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        """
        x = self.checked(x)
        exact = self.symbolic or x.dtype == object
        split = x.ndim - len(self.in_shape)

        def step(node: NodeType, xs: list[Array]) -> Array:
            y: Array = (node.operation.exact() if exact else node.operation)(*xs)
            return y

        count = size_of(x.shape[:split])
        y: Array = self.walk(x.reshape(count, *self.in_shape), step)
        y = y.copy() if np.may_share_memory(x, y) else y  # the caller may write to the result
        return y.reshape(*x.shape[:split], *self.out_shape)

    def checked(self, x: Any) -> Array:
        """Return data of shape (..., *in_shape) as an array to compute with.

        Raises
        ------
        TypeError
            If they are neither numbers nor sympy expressions.
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        """
        array = as_exact(x) if self.symbolic else as_numbers(x)
        split = array.ndim - len(self.in_shape)
        if array.shape[split:] != self.in_shape:  # which is shorter if axes are missing
            raise ValueError(f"x: expected shape (..., {', '.join(map(str, self.in_shape))}), got {array.shape}")
        return array

    def largest_state(self, direction: str) -> int:
        """Return an upper bound on the number of entries held at once while one vector passes through the graph.

        An operation's inputs and its output exist at the same time, beside every value that is still to be read, and
        beside `TEMPORARIES` times as many entries of temporary memory.

        Parameters
        ----------
        direction : {"forward", "adjoint"}
        """
        sizes = [size_of(shape) for shape in self.shapes]
        largest = sizes[0]  # all that a graph without operations holds
        if direction == "forward":
            last_reader = self._last_readers()
            alive = {0}
            for number, node in enumerate(self.nodes):
                alive.add(number + 1)
                working = sizes[number + 1] + sum(sizes[value] for value in set(node.inputs))
                largest = max(largest, sum(sizes[value] for value in alive) + TEMPORARIES * working)
                alive -= {value for value in node.inputs if last_reader[value] == number}
            return largest
        alive = {len(self.nodes)}
        for number in reversed(range(len(self.nodes))):
            if number + 1 in alive:
                inputs = self.nodes[number].inputs
                read = sum(sizes[value] for value in inputs)
                working = sizes[number + 1] + read
                largest = max(largest, sum(sizes[value] for value in alive) + read + TEMPORARIES * working)
                alive = (alive - {number + 1}) | set(inputs)
        return largest

    def walk(self, start: State, step: Callable[[NodeType, list[State]], State]) -> State:
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
        step: Callable[[NodeType, State], Sequence[State]],
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
