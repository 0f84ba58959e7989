"""What torch's operations are as affine operations: one handler for each, by its name in ATen.

A handler takes the builder, the node and the operation's arguments, of which some are `gpu.tracing.values.Value`; it
returns what comes out, or raises `gpu.tracing.values.Refusal`. What has no handler is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gpu.tracing.aten import arithmetic, by_autograd, layers, movement, resampling
from gpu.tracing.aten.arithmetic import check_product

__all__ = ["HANDLERS", "check_product"]

HANDLERS: Mapping[str, Callable[..., Any]] = (
    layers.HANDLERS | resampling.HANDLERS | arithmetic.HANDLERS | movement.HANDLERS | by_autograd.HANDLERS
)
