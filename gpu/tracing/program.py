"""`Program`: the operations of one run of a module, and the tensors of the module that they read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gpu.tracing.nodes import name_of

FRESH = (
    *("conv", "batch_norm", "group_norm", "layer_norm", "instance_norm", "linear", "add", "sub", "mul", "div", "mean"),
    *("clone", "cat", "avg_pool", "max_pool", "upsample"),
)
"""First parts of the names of operations whose result shares no memory with another tensor."""


@dataclass(frozen=True, eq=False)
class Program:
    """The operations of a forward in the order of a run, as nodes of ``torch.fx``.

    Attributes
    ----------
    graph : torch.fx.Graph
        The operations, which read each other's results and placeholders.
    input : str
        Name of the placeholder of the input.
    output : str
        Name of the node that gives the output.
    names : mapping of str to str
        Names of the parameters, buffers and constants, by the name of their placeholder.
    parts : set of str
        The names of placeholders of parameters and buffers.
    changed : set of str
        Names of the buffers that the forward changes.
    tensors : mapping of str to tensor
        Parameters, buffers and constants by name; a random generator may be among the constants.
    """

    graph: torch.fx.Graph
    input: str
    output: str
    names: Mapping[str, str]
    parts: frozenset[str]
    changed: frozenset[str]
    tensors: Mapping[str, Any]

    @classmethod
    def of_export(cls, exported: torch.export.ExportedProgram) -> "Program":
        """Return what ``torch.export`` recorded of a module that takes one tensor and returns one."""
        signature = exported.graph_signature
        parts = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = {**signature.inputs_to_lifted_tensor_constants, **signature.inputs_to_lifted_custom_objs}
        (given,), (output,) = signature.user_inputs, signature.user_outputs
        return cls(
            exported.graph,
            str(given),
            str(output),
            {**parts, **constants},
            frozenset(parts),
            frozenset(signature.buffers_to_mutate.values()),
            {**exported.state_dict, **exported.constants},
        )


def is_plain(graph: torch.fx.Graph) -> bool:
    """Return whether no operation changes a tensor that another operation reads, and none holds a graph of its own."""
    return all(_is_plain_node(node) for node in graph.nodes)


def _is_plain_node(node: torch.fx.Node) -> bool:
    if node.op == "get_attr":  # the graph inside a higher-order operation
        return False
    if "functorch" in getattr(node.target, "__module__", ""):  # torch.vmap, as functions that open and close an axis
        return False
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return True
    if name_of(node).endswith("dropout_"):  # changes nothing in evaluation mode, and is refused in training mode
        return True
    changed = node.args[0]
    if not name_of(node).endswith("_") or not isinstance(changed, torch.fx.Node) or len(changed.users) != 1:
        return False
    return changed.op == "call_function" and name_of(changed).startswith(FRESH)
