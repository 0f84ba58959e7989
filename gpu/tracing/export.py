"""A torch module as ``torch.export`` records it, without operations that work in place, and where each one stands."""

import io
import logging
import os
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import torch
from torch import nn

from gpu.tracing.not_affine import NotAffineError, Obstacle
from gpu.tracing.values import like_of, name_of
from linalg_cnn.types import Shape

TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"

FRESH = ("conv", "batch_norm", "linear", "add", "cat", "avg_pool")
"""How the names of operations begin whose result is no view of anything."""

TALKATIVE = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch.export._trace")
"""The loggers that tell of errors which are raised as well."""


def export(module: nn.Module, in_shape: Shape, samples: int) -> torch.export.ExportedProgram:
    """Return what ``torch.export`` records of a module for some number of samples.

    Operations that work in place and regions without gradients are rewritten, as `torch.export` itself does it.

    Raises
    ------
    NotAffineError
        If the forward branches on data.
    ValueError
        If it cannot be recorded: the input does not fit, or the forward does what cannot be exported.
    """
    example = like_of(module).new_zeros(samples, *in_shape)
    try:
        # With gradients, since torch cannot rewrite what a forward does in place after it switched them on.
        with torch.enable_grad(), _silence():
            program = torch.export.export(module, (example,), strict=False)
            return program if _is_plain(program) else program.run_decompositions({})
    except Exception as error:  # export lets through whatever the forward raises, and has many errors of its own
        place = _place_in_traceback(error, module)
        if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__:
            reason = "branches on the data or on a parameter, or reads a number from them"
            raise NotAffineError([Obstacle(place, reason)]) from error
        message = str(error).strip().partition("\n")[0]
        if "fake tensor in the exported program constant" in message:
            message = "it reads or writes x.data, which torch.export does not follow; use x.detach()"
        raise ValueError(
            f"module: expected a forward that takes ({samples}, {', '.join(map(str, in_shape))}) and that torch.export "
            f"can record, got {type(error).__name__} in {place}: {message}"
        ) from error


@contextmanager
def _silence() -> Iterator[None]:
    """Keep torch from writing about what it cannot record: the error says it."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        # what was recorded before an error, torch prints
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _is_plain(program: torch.export.ExportedProgram) -> bool:
    """Return whether no operation changes a tensor that anything else could see, and none holds a graph of its own."""
    return all(_is_plain_node(node) for node in program.graph.nodes)


def _is_plain_node(node: torch.fx.Node) -> bool:
    if node.op == "get_attr":  # the graph inside a higher-order operation
        return False
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.is_mutable:
        return True
    changed = node.args[0]
    if not name_of(node).endswith("_") or not isinstance(changed, torch.fx.Node) or len(changed.users) != 1:
        return False
    return changed.op == "call_function" and name_of(changed).startswith(FRESH)


def owner_of(node: torch.fx.Node) -> tuple[str, str]:
    """Return the path and the class of the module in whose forward an operation stands."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return re.sub(r"@\d+", "", path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def place_of(node: torch.fx.Node) -> str:
    """Return where an operation stands: ``layer1.0.relu: ReLU``, or module, class, file and line."""
    path, kind = owner_of(node)
    label = f"{path or 'the module'}: {kind.rpartition('.')[2]}"
    if kind.startswith("torch.nn.modules."):
        return label
    lines = re.findall(r'File "([^"]+)", line (\d+), in \w+', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not file.startswith(TORCH_FOLDER)]
    return f"{label} ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else label


def _place_in_traceback(error: BaseException, module: nn.Module) -> str:
    """Return the module and the line of its forward in which an error came up."""
    names = {id(part): name for name, part in module.named_modules()}
    place = "the module"
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if id(owner) not in names:
            continue
        label = f"{names[id(owner)] or 'the module'}: {type(owner).__name__}"
        if not code.co_filename.startswith(TORCH_FOLDER):
            place = f"{label} ({Path(code.co_filename).name}, line {line})"
        elif code.co_name == "forward":
            place = label
    return place
