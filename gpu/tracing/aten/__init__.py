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
    complex_parts,
    fourier,
    layers,
    movement,
    piecewise,
    products,
    resampling,
    sampling,
    scattering,
    strided,
)
from gpu.tracing.aten.arithmetic import check_product
from gpu.tracing.aten.complex_parts import in_parts, is_traced
from gpu.tracing.aten.piecewise import POSITIONS

__all__ = ["HANDLERS", "PIECEWISE_HANDLERS", "POSITIONS", "check_product", "is_traced"]

OF_REAL_VALUES: Mapping[str, Callable[..., Any]] = (
    layers.HANDLERS
    | resampling.HANDLERS
    | antialiasing.HANDLERS
    | sampling.HANDLERS
    | arithmetic.HANDLERS
    | products.HANDLERS
    | movement.HANDLERS
    | scattering.HANDLERS
    | strided.HANDLERS
    | by_autograd.HANDLERS
)

HANDLERS: Mapping[str, Callable[..., Any]] = (
    {name: in_parts(name, handler) for name, handler in OF_REAL_VALUES.items()}
    | complex_parts.HANDLERS
    | fourier.HANDLERS
)

PIECEWISE_HANDLERS: Mapping[str, Callable[..., Any]] = {**HANDLERS, **piecewise.HANDLERS}
"""The handlers of ``gpu.trace(piecewise=True)``."""
