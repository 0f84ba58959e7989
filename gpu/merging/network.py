"""The whole network as one torch module: its stretches in their forms, with nonlinearities and joins in between."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.fx
from torch import nn

from gpu.merging import nonlinear as nonlinear  # teaches the writer the nonlinearities
from gpu.merging.layers import Bordered, CheckedInput, Matrices, Reshaped
from gpu.merging.stretches import Step, Stretch
from gpu.merging.writing import Writer
from linalg_cnn import WeightedSum
from linalg_cnn.types import Shape

IN_PLACE = {torch.relu: torch.relu_}
"""Functions that may write into their input, where nothing else reads it."""


def network_of(
    graph: Any, steps: Sequence[Step], modules: Mapping[Stretch, nn.Module], out_shape: Shape, max_bytes: int
) -> torch.fx.GraphModule:
    """Return a network with a module for each of its stretches, float64 where its other operations have numbers.

    Parameters
    ----------
    graph : PiecewiseGraph or AffineGraph
        The network.
    steps : sequence of Stretch and int
        Its parts, see `gpu.merging.stretches.steps_of`.
    modules : mapping of Stretch to nn.Module
        Module of each stretch; the parts of the result are these modules, not copies.
    out_shape : tuple of int
        Shape of a sample of the output, which may be ().
    max_bytes : int
        Limit on the matrix of a join that torch has no function for.

    Raises
    ------
    MemoryError
        If the matrix of such a join is too large.
    """
    writer = Writer(max_bytes)
    values = {0: writer.call(CheckedInput(graph.in_shape), writer.input, name="input")}
    readers = Counter(step.start for step in steps if isinstance(step, Stretch))
    readers.update(value for step in steps if not isinstance(step, Stretch) for value in graph.nodes[step - 1].inputs)
    fresh: set[int] = set()
    for step in steps:
        if isinstance(step, Stretch):
            module = modules[step]
            values[step.end] = writer.call(module, values[step.start], name="stretch")
            if _makes_new_tensor(module):
                fresh.add(step.end)
        else:
            node = graph.nodes[step - 1]
            values[step] = writer.write(node.operation, [values[v] for v in node.inputs], graph.input_shapes(node))
            if isinstance(node.operation, WeightedSum):
                fresh.add(step)
            target: Any = values[step].target
            if target in IN_PLACE and node.inputs[0] in fresh and readers[node.inputs[0]] == 1:
                values[step].target = IN_PLACE[target]
    output = values[len(graph.nodes)]
    if tuple(graph.out_shape) != tuple(out_shape):
        output = writer.call(Reshaped(out_shape), output)
    return writer.finish(output)


def _makes_new_tensor(module: nn.Module) -> bool:
    """Return whether a module's result certainly shares no memory with its input."""
    last = list(module.modules())[-1] if isinstance(module, torch.fx.GraphModule) else module
    return isinstance(last, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, Bordered, Matrices))
