"""A stretch in several segments: where to cut it, given how long each segment takes in its fastest form."""

from collections.abc import Callable
from typing import TypeVar

from gpu.merging.stretches import constants_of, part_of
from linalg_cnn import AffineGraph

Found = TypeVar("Found")

MOST_UNITS = 12
"""Number of units up to which all segments of a stretch are considered; their number grows with its square."""


def cuts_of(graph: AffineGraph) -> list[int]:
    """Return the values at which a stretch may be cut, from its input to its output.

    Everything after such a value depends on it alone, and between two of them there is a kernel or a weight. Everything
    else, as a pooling or the flattening, belongs to the unit before it.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import AvgPool, Conv, Dense
    >>> graph = AffineGraph((1, 8))
    >>> pooled = graph.add(AvgPool(2), graph.add(Conv(np.ones((1, 1, 3))), 0))
    >>> output = graph.add(Dense(np.ones((2, 3))), pooled)
    >>> cuts_of(graph)
    [0, 2, 3]
    """
    count = len(graph.nodes)
    constants = constants_of(graph)
    last_reader = {value: number for number, node in enumerate(graph.nodes, start=1) for value in node.inputs}
    cuts, weighted = [0], False
    for value in range(1, count):
        weighted = weighted or graph.nodes[value - 1].operation.weighted
        alone = all(last_reader.get(before, 0) <= value for before in range(value) if before not in constants)
        read = [node for node in graph.nodes[value:] if value in node.inputs]
        if alone and weighted and value not in constants and any(node.operation.weighted for node in read):
            cuts.append(value)
            weighted = False
    if not (weighted or graph.nodes[-1].operation.weighted) and len(cuts) > 1:
        cuts.pop()
    return [*cuts, count]


def segment_of(graph: AffineGraph, start: int, end: int) -> AffineGraph:
    """Return the part of a stretch from one of its cuts to another."""
    return part_of(graph, end, {start}, constants_of(graph)).graph


def fastest_cuts(
    cuts: list[int], measure: Callable[[int, int], tuple[float, Found]]
) -> list[tuple[tuple[int, int], Found]]:
    """Return the segments that take the least time in total.

    Parameters
    ----------
    cuts : list of int
        Values at which the stretch may be cut, with its input and its output.
    measure : callable
        Takes the two ends of a segment; returns the seconds that it takes, infinite if it cannot be computed, and how
        it is then computed.

    Returns
    -------
    list of ((start, end), found)
        The segments in order.

    Notes
    -----
    Source: dynamic programming over the ends, as in Kim et al., Efficient latency-aware CNN depth compression (ICML
    2023).

    Examples
    --------
    >>> seconds = {(0, 1): 2.0, (1, 2): 2.0, (2, 3): 5.0, (0, 2): 1.0, (1, 3): 6.0, (0, 3): 9.0}
    >>> fastest_cuts([0, 1, 2, 3], lambda start, end: (seconds[start, end], "form"))
    [((0, 2), 'form'), ((2, 3), 'form')]
    """
    best: dict[int, tuple[float, list[tuple[tuple[int, int], Found]]]] = {cuts[0]: (0.0, [])}
    for number, end in enumerate(cuts[1:], start=1):
        choices = []
        for start in cuts[:number]:
            seconds, found = measure(start, end)
            before, segments = best[start]
            choices.append((before + seconds, [*segments, ((start, end), found)]))
        best[end] = min(choices, key=lambda choice: choice[0])
    return best[cuts[-1]][1]
