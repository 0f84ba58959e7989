"""`linearize`: a network without its nonlinearities, with the identity and average pooling in their place."""

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import fx, nn
from torch.nn import functional

from gpu.models.copying import copy_of
from gpu.models.nonlinearities import BY_FUNCTION, BY_MODULE, Nonlinearity

POOL_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "output_size")
"""Attributes of max pooling that average pooling takes, in the order of its arguments, adaptive pooling included."""

MAX_POOL_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
"""Arguments of the functions for max pooling after the input, in their order."""


def linearize(model: nn.Module) -> tuple[nn.Module, list[str]]:
    r"""Return a copy of a network without its nonlinearities, and a list of the changes.

    Activations become the identity, and max pooling becomes average pooling of the same windows. Both modules and
    functions in a ``forward`` are replaced. The copy computes another function than the network: train it before use.
    Other operations that are not affine stay; `gpu.trace` names them.

    Parameters
    ----------
    model : nn.Module
        The network; it is not changed.

    Returns
    -------
    model : nn.Module
        The copy, in the same mode (training or evaluation). Parameters, buffers and their names stay, and the hooks of
        replaced modules move to their replacements.
    changes : list of str
        One line for each change; it ends with the mode if the change is made in one mode only.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If ``model`` cannot be copied.

    Notes
    -----
    ``torch.fx`` finds the functions in a forward. If it cannot follow the forward, or the forward draws random numbers
    of its own, the functions stay. A forward is rewritten for training mode and for evaluation mode separately; the
    mode of the whole model decides which one runs. Save such a model by its state_dict: pickle does not find a
    rewritten forward.

    Examples
    --------
    >>> model, changes = linearize(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)))
    >>> print(*changes, sep="\n")
    1: ReLU -> Identity
    2: MaxPool2d -> AvgPool2d
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    model = copy_of(model)
    changes: list[str] = []
    stand_ins: dict[nn.Module, nn.Module] = {}
    for name, part in model.named_modules():
        stand_in = _stand_in(part)
        if stand_in is not None:
            stand_ins[part] = stand_in.train(part.training)
            vars(stand_in).update({name: value for name, value in vars(part).items() if "hooks" in name})
            changes.append(f"{name or 'the model'}: {type(part).__name__} -> {type(stand_in).__name__}")
    for part in list(model.modules()):
        for name, child in part._modules.items():
            if child in stand_ins:
                part._modules[name] = stand_ins[child]
    model = stand_ins.get(model, model)
    return model, changes + _rewrite_forward(model)


def _stand_in(part: nn.Module) -> nn.Module | None:
    """Return the module that replaces a part of a network, or None if the part stays."""
    row = BY_MODULE.get(type(part))
    if row is None:
        return None
    given, kind = cast(Any, part), cast(Any, row.linear_module)
    if getattr(given, "return_indices", False) or set(_axes(getattr(given, "dilation", 1))) != {1}:
        return None
    stand_in: nn.Module = kind(*(getattr(given, name) for name in POOL_OPTIONS if hasattr(given, name)))
    return stand_in


def _axes(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _rewrite_forward(model: nn.Module) -> list[str]:
    """Replace the functions in the forward of a model, in place, and return a line for each change."""
    modes = [(part, part.training) for part in model.modules()]
    found = {training: _without_functions(model.train(training)) for training in (True, False)}
    for part, training in modes:
        part.training = training
    forwards = {training: forward for training, (forward, _) in found.items()}
    if not any(forwards.values()):
        return []
    kind = type(model)

    @functools.wraps(kind.forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return (forwards[self.training] or kind.forward)(self, *args, **kwargs)

    model.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})
    in_training, in_evaluation = (Counter(lines) for _, lines in found.values())
    return [
        *(in_training & in_evaluation).elements(),
        *(f"{line}, in training only" for line in (in_training - in_evaluation).elements()),
        *(f"{line}, in evaluation only" for line in (in_evaluation - in_training).elements()),
    ]


def _without_functions(model: nn.Module) -> tuple[Callable[..., Any] | None, list[str]]:
    """Return a forward without nonlinear functions, for the model's present mode, and the changes; None if none."""
    graph = _graph_of(model)
    if graph is None:
        return None, []
    changes = []
    for node in list(graph.nodes):
        stand_in = _rewritten(graph, node)
        if stand_in is None:
            continue
        before = node.target if isinstance(node.target, str) else _function_name(node.target)
        after = "identity" if stand_in in node.all_input_nodes else _function_name(stand_in.target)
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path = stack[-1][0] if stack else ""
        changes.append(f"{path or 'the model'}: {before} in forward -> {after}")
        node.replace_all_uses_with(stand_in)
        graph.erase_node(node)
    return (type(fx.GraphModule(model, graph)).forward, changes) if changes else (None, [])


def _graph_of(model: nn.Module) -> fx.Graph | None:
    """Return the graph of a forward in the model's present mode, or None if it cannot be rewritten."""
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        try:
            graph = fx.Tracer().trace(model)
        except Exception:  # fx cannot follow the forward, which may raise any error on the proxies
            return None
        # the rewritten forward would repeat the random numbers that were drawn just now
        return graph if torch.equal(torch.get_rng_state(), state) else None


def _function_name(function: Any) -> str:
    for name in ("max_pool1d", "max_pool2d", "max_pool3d"):
        if function is getattr(functional, name):  # its own __name__ is that of a dispatcher
            return name
    return str(getattr(function, "__name__", function))


def _rewritten(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Return the node whose result replaces that of a nonlinear function, or None if the node stays."""
    if node.op not in {"call_function", "call_method"} or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    row = _row_of(node.target)
    if row is None:
        return None
    if row.linear_function is None:
        return node.args[0]
    options = dict(zip(MAX_POOL_ARGUMENTS, node.args[1:], strict=False)) | node.kwargs
    if options.pop("return_indices", False) or set(_axes(options.pop("dilation", 1))) != {1}:
        return None
    with graph.inserting_before(node):
        return graph.call_function(row.linear_function, (node.args[0],), options)


def _row_of(target: Any) -> Nonlinearity | None:
    """Return the row of a method, by its name, or of a function of torch."""
    if isinstance(target, str):
        return BY_FUNCTION.get(target.rstrip("_"))
    if target in BY_FUNCTION:
        return BY_FUNCTION[target]
    module = getattr(target, "__module__", "") or ""
    from_torch = module.startswith(("torch", "_VariableFunctions"))
    return BY_FUNCTION.get(_function_name(target).rstrip("_")) if from_torch else None
