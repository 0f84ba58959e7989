"""Views that are given by positions in memory: ``as_strided``."""

from collections.abc import Callable
from typing import Any

import torch

from gpu.tracing.aten.by_autograd import called
from gpu.tracing.aten.movement import move
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.values import Refusal

Node = torch.fx.Node


def as_strided(
    builder: GraphBuilder, node: Node, x: Any, size: Any, stride: Any, storage_offset: int | None = None
) -> Any:
    """``as_strided`` of a tensor that fills its memory in C-order.

    Raises
    ------
    Refusal
        If the tensor lies otherwise in memory, such as a transpose or a slice.
    """
    read: Any = node.args[0]
    val = read.meta["val"]
    if not val.is_contiguous() or val.untyped_storage().nbytes() != val.numel() * val.element_size():
        raise Refusal("as_strided of a view, which reads the memory of another tensor", "call contiguous() before it")
    positions = torch.arange(val.numel()).as_strided(size, stride, storage_offset or 0)
    return move(builder, called(node, torch.ops.aten.take.default), x, positions)


HANDLERS: dict[str, Callable[..., Any]] = {"as_strided": as_strided}
