"""The affine stretches of a network: the largest parts between nonlinearities that read one value and give one.

A stretch begins at a `root`: the input, the output of a nonlinearity, or a value that several parts read. Skips that
begin and end inside of it are part of it. A sum of values that come from different roots, as a skip across a
nonlinearity makes it, is a `join`: it stays as it is, and its result is a root again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from linalg_cnn import AffineGraph, Constant, Operation


@dataclass(frozen=True, eq=False)
class Stretch:
    """A part of a network that is affine, and reads one value.

    Attributes
    ----------
    start, end : int
        Numbers of the value that it reads and of the value that it gives.
    graph : AffineGraph
        The operations.
    """

    start: int
    end: int
    graph: AffineGraph

    @property
    def place(self) -> str:
        """Where it stands in the module: the names of its first and its last operation."""
        names = [node.name for node in self.graph.nodes]
        return names[0] if names[0] == names[-1] else f"{names[0]} to {names[-1]}"


Step = Stretch | int
"""A stretch, or the number of a value whose operation stays: a nonlinearity or a join."""


def steps_of(graph: Any) -> list[Step]:
    """Return the parts of a network in the order in which they are computed; parts that nothing reads are left out.

    Parameters
    ----------
    graph : PiecewiseGraph or AffineGraph

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU
    >>> graph = PiecewiseGraph((2,))
    >>> first = graph.add(Dense(np.eye(2)), graph.add(Dense(np.ones((2, 2))), 0))
    >>> output = graph.add(Dense(np.ones((1, 2))), graph.add(ReLU(), first))
    >>> for step in steps_of(graph):
    ...     print(step if isinstance(step, int) else step.graph)
    AffineGraph((2,) -> (2,), 2 operations)
    3
    AffineGraph((2,) -> (1,), 1 operations)
    """
    live = _live(graph)
    constants = constants_of(graph)
    roots, kept = _roots(graph, live, constants)
    steps: list[Step] = []
    for value in sorted(live):
        if value in kept:
            steps.append(value)
        elif value in roots and value != 0:
            steps.append(part_of(graph, value, roots, constants))
    return steps


def _live(graph: Any) -> set[int]:
    """Return the values that the output depends on."""
    found, pending = set(), [len(graph.nodes)]
    while pending:
        value = pending.pop()
        if value not in found:
            found.add(value)
            pending += graph.nodes[value - 1].inputs if value else ()
    return found


def constants_of(graph: Any) -> set[int]:
    """Return the values that do not depend on the input; each stretch that reads one computes it by itself."""
    found: set[int] = set()
    for number, node in enumerate(graph.nodes, start=1):
        constant = isinstance(node.operation, Constant)
        if isinstance(node.operation, Operation) and (constant or found.issuperset(node.inputs)):
            found.add(number)
    return found


def _roots(graph: Any, live: set[int], constants: set[int]) -> tuple[set[int], set[int]]:
    """Return the values at which stretches begin or end, and those whose operation stays as it is."""
    nonlinear = {v for v in live if v and not isinstance(graph.nodes[v - 1].operation, Operation)}
    readers: dict[int, list[int]] = {v: [] for v in live}
    for v in sorted(live - {0}):
        for value in set(graph.nodes[v - 1].inputs):
            readers[value].append(v)
    output = len(graph.nodes)
    roots, kept = {0, output} | nonlinear, set(nonlinear)
    while True:
        known = (len(roots), len(kept))
        kept |= _joins(graph, live, constants, roots)
        roots |= kept
        goals: dict[int, int] = {}
        for v in sorted(live, reverse=True):
            reached = {None if reader in kept else goals[reader] for reader in readers[v]}
            if None in reached or (len(reached) > 1 and v not in constants):
                roots.add(v)  # several parts read it; each of them computes a constant by itself
            goals[v] = v if v in roots or len(reached) != 1 else next(iter(reached))  # type: ignore[assignment]
        if (len(roots), len(kept)) == known:
            return roots, kept


def _joins(graph: Any, live: set[int], constants: set[int], roots: set[int]) -> set[int]:
    """Return the values of affine operations that read values from several roots."""
    found: set[int] = set()
    root: dict[int, int] = {0: 0}
    for v in sorted(live - {0}):
        read = {root[value] for value in graph.nodes[v - 1].inputs if value not in constants}
        if v in constants:
            continue
        if isinstance(graph.nodes[v - 1].operation, Operation) and len(read) > 1:
            found.add(v)
        root[v] = v if v in roots or v in found else next(iter(read))
    return found


def part_of(graph: Any, end: int, roots: set[int], constants: set[int]) -> Stretch:
    """Return the part of a graph that gives a value and begins at a root.

    Parameters
    ----------
    graph : PiecewiseGraph or AffineGraph
    end : int
        Number of the value.
    roots : set of int
        Values at which parts begin; the part depends on one of them.
    constants : set of int
        Values that do not depend on the input, see `constants_of`.
    """
    inside = sorted(_inside(graph, end, roots, constants))
    starts = {
        value
        for v in inside
        for value in graph.nodes[v - 1].inputs
        if value not in inside and not isinstance(graph.nodes[v - 1].operation, Constant)
    }
    start = starts.pop() if starts else 0
    made = AffineGraph(graph.shapes[start])
    numbers = {start: 0}
    for v in inside:
        node = graph.nodes[v - 1]
        constant = isinstance(node.operation, Constant)
        inputs = (0,) if constant else tuple(numbers[value] for value in node.inputs)
        numbers[v] = made.add(node.operation, *inputs, name=node.name)
    return Stretch(start, end, made)


def _inside(graph: Any, end: int, roots: set[int], constants: set[int]) -> Iterator[int]:
    """Yield the values of a stretch, its end among them, each once."""
    found, pending = {end}, [end]
    while pending:
        value = pending.pop()
        yield value
        if isinstance(graph.nodes[value - 1].operation, Constant):
            continue
        for read in graph.nodes[value - 1].inputs:
            if read not in found and (read in constants or read not in roots):
                found.add(read)
                pending.append(read)
