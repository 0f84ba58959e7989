"""Handlers that turn operations of torch into affine operations: one for each name in ATen.

A handler takes the builder, the node, and the arguments of the call, some of which are `gpu.tracing.values.Value`. It
returns the result, or raises `gpu.tracing.values.Refusal`. An operation without a handler is refused.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gpu.tracing.aten import (
    antialiasing,
    arithmetic,
    by_autograd,
    layers,
    movement,
    resampling,
    sampling,
    scattering,
    strided,
)
from gpu.tracing.aten.arithmetic import check_product

__all__ = ["HANDLERS", "check_product"]

HANDLERS: Mapping[str, Callable[..., Any]] = (
    layers.HANDLERS
    | resampling.HANDLERS
    | antialiasing.HANDLERS
    | sampling.HANDLERS
    | arithmetic.HANDLERS
    | movement.HANDLERS
    | scattering.HANDLERS
    | strided.HANDLERS
    | by_autograd.HANDLERS
)
