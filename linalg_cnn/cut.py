"""The cheapest cut of a network into two parts, whose maps are then kept as two factors.

W = W2 W1 takes width (in_size + out_size) multiply-accumulates (MACs), where width is the number of entries that cross
the cut, and W takes in_size out_size. Two factors are cheaper where a network narrows below both ends.
"""

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from linalg_cnn.graph import AffineGraph
from linalg_cnn.ops.concatenate import Concatenate
from linalg_cnn.ops.constant import Constant
from linalg_cnn.ops.rearrange import Flatten, Reshape, Slice
from linalg_cnn.types import size_of

UNBOUNDED = np.iinfo(np.int32).max


def cheapest_cut(graph: AffineGraph) -> tuple[int, ...] | None:
    """Return the values that separate the input from the output and have the fewest entries in total.

    The input and the output themselves do not count. The cut is found from the shapes alone, as a minimum cut by
    ``scipy.sparse.csgraph.maximum_flow``. Of several, the one closest to the input is returned.

    Returns
    -------
    tuple of int, or None
        Numbers of the values in the graph; None if no values between input and output separate them, or if the output
        does not depend on the input.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Dense
    >>> graph = AffineGraph((9,))
    >>> narrow = graph.add(Dense(np.ones((2, 9))), 0)
    >>> wide = graph.add(Dense(np.ones((7, 2))), narrow)
    >>> cheapest_cut(graph)
    (1,)
    """
    values = len(graph.shapes)
    last = values - 1
    # Value v is an edge from node v to node v + values, with its number of entries as capacity.
    tails, heads, widths = list(range(values)), [v + values for v in range(values)], []
    for v, shape in enumerate(graph.shapes):
        widths.append(UNBOUNDED if v in {0, last} else min(size_of(shape), UNBOUNDED - 1))
    for number, node in enumerate(graph.nodes):
        if isinstance(node.operation, Constant):  # its output does not depend on the input
            continue
        for v in set(node.inputs):
            tails.append(v + values)
            heads.append(number + 1)
            widths.append(UNBOUNDED)
    edges = (np.array(widths, np.int32), (np.array(tails, np.int32), np.array(heads, np.int32)))
    capacity = scipy.sparse.csr_array(edges, shape=(2 * values, 2 * values))
    flow = maximum_flow(capacity, 0, last + values)
    if flow.flow_value == 0 or flow.flow_value >= UNBOUNDED - 1:
        return None
    residual = scipy.sparse.csr_array(capacity - flow.flow)
    residual.eliminate_zeros()
    reached = set(breadth_first_order(residual, 0, return_predecessors=False).tolist())
    return tuple(v for v in range(values) if v in reached and v + values not in reached)


def split(graph: AffineGraph, cut: tuple[int, ...]) -> tuple[AffineGraph, AffineGraph]:
    """Return (outer, inner): the graph from a cut's joined values to the output, and the one from the input to them.

    Raises
    ------
    ValueError
        If a path from the input to the output avoids the cut.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Dense, compose
    >>> graph = AffineGraph((9,))
    >>> narrow = graph.add(Dense(np.ones((2, 9)), [1, 0]), 0)
    >>> wide = graph.add(Dense(np.ones((7, 2))), narrow)
    >>> outer, inner = split(graph, cheapest_cut(graph))
    >>> (compose(outer) @ compose(inner)).W.shape, compose(inner).W.shape
    ((7, 9), (2, 9))
    """
    inner = AffineGraph(graph.in_shape)
    numbers = _copy(graph, inner, {0: 0}, cut)
    parts = [inner.add(Flatten(), numbers[v]) for v in cut]
    if len(parts) > 1:
        inner.add(Concatenate(), *parts)
    outer = AffineGraph(inner.out_shape)
    start, known = 0, {}
    for v in cut:
        size = size_of(graph.shapes[v])
        part = outer.add(Slice(start, start + size), 0) if len(cut) > 1 else 0
        known[v] = outer.add(Reshape(graph.shapes[v]), part)
        start += size
    _copy(graph, outer, known, (len(graph.nodes),))
    return outer, inner


def _copy(graph: AffineGraph, to: AffineGraph, known: dict[int, int], wanted: tuple[int, ...]) -> dict[int, int]:
    """Append to another graph the operations that the ``wanted`` values need, and return the values' numbers there.

    ``known`` maps the values that the other graph already has to their numbers there.

    Raises
    ------
    ValueError
        If a wanted value needs the input, and the input is not known.
    """
    needed: set[int] = set()
    pending = list(wanted)
    while pending:
        v = pending.pop()
        if v in known or v in needed:
            continue
        if v == 0:
            raise ValueError("cut: expected values that every path from the input to the output passes")
        needed.add(v)
        if not isinstance(graph.nodes[v - 1].operation, Constant):
            pending += graph.nodes[v - 1].inputs
    numbers = dict(known)
    for v in sorted(needed):
        node = graph.nodes[v - 1]
        constant = isinstance(node.operation, Constant)
        inputs = (0,) if constant else tuple(numbers[value] for value in node.inputs)
        numbers[v] = to.add(node.operation, *inputs, name=node.name)
    return numbers
