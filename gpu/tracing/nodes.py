"""What a node of an exported program says about itself: its operation, the module it belongs to, and its place."""

import os
import re
from pathlib import Path

import torch

from gpu.models import sloped
from gpu.models.linearizing.calls import OWN_FOLDER, TORCH_FOLDER

OURS = (TORCH_FOLDER, f"{Path(__file__).parent}{os.sep}", OWN_FOLDER, str(sloped.__file__))
"""Folders and a file with code in which a user has nothing to look for."""


def name_of(node: torch.fx.Node) -> str:
    """Return the name of a node's operation without its overload: ``conv2d``."""
    target = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def full_name_of(node: torch.fx.Node) -> str:
    """Return the name of a node's operation with its library: ``mylib::add``."""
    library = getattr(node.target, "namespace", "")
    return f"{library}::{name_of(node)}" if library else name_of(node)


def owner_of(node: torch.fx.Node) -> tuple[str, str]:
    """Return the path and the class of the module in whose forward an operation stands."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return re.sub(r"@\d+", "", path), kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"


def place_of(node: torch.fx.Node) -> str:
    """Return the place of an operation: ``layer1.0.relu: ReLU``, with file and line if the forward is not torch's."""
    path, kind = owner_of(node)
    label = f"{path or 'the module'}: {kind.rpartition('.')[2]}"
    if kind.startswith("torch.nn.modules."):
        return label
    lines = re.findall(r'File "([^"]+)", line (\d+), in \w+', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not file.startswith(OURS)]
    return f"{label} ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else label
