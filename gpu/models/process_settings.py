"""Settings of the process that a forward may change: torch's, numpy's and Python's, and how they are put back."""

import gc
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch._tensor_str import PRINT_OPTS

from gpu.runtime.precision import precision, set_precision

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]
"""A function that returns the value of a setting, and one that sets it."""

SMALLEST = 5e-324
"""The smallest positive float64, which is subnormal."""

DEVICE_TYPES = ("cpu", "cuda")
"""Types of devices whose autocast state is kept."""


def _attribute(owner: Any, name: str) -> Setting:
    """Return the setting that is an attribute of an object."""
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _default_device() -> torch.device | None:
    """Return the device of `torch.set_default_device`, None without one; that of a ``with`` does not count."""
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return None if context is None else context.device


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _set_environment(before: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(before)


def _set_warning_filters(before: list[Any]) -> None:
    warnings.resetwarnings()  # Python hears of changes only by functions
    warnings.filters.extend(before)  # type: ignore[attr-defined]


def _autocast(device_type: str) -> tuple[Setting, ...]:
    return (
        (
            lambda: torch.is_autocast_enabled(device_type),
            lambda enabled: torch.set_autocast_enabled(device_type, enabled),
        ),
        (lambda: torch.get_autocast_dtype(device_type), lambda dtype: torch.set_autocast_dtype(device_type, dtype)),
    )


SETTINGS: tuple[Setting, ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (precision, set_precision),
    (_anomaly, lambda before: torch.set_anomaly_enabled(*before)),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (lambda: SMALLEST * 1.0 == 0, torch.set_flush_denormal),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled),
    *(_attribute(torch.backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
    _attribute(torch.backends.opt_einsum, "strategy"),
    *(setting for device_type in DEVICE_TYPES for setting in _autocast(device_type)),
    (torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled),
    (lambda: dict(vars(PRINT_OPTS)), lambda before: vars(PRINT_OPTS).update(before)),
    (np.geterr, lambda before: np.seterr(**before)),
    (np.get_printoptions, lambda before: np.set_printoptions(**before)),
    (lambda: dict(os.environ), _set_environment),
    (lambda: list(sys.path), lambda before: sys.path.__setitem__(slice(None), before)),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: list(warnings.filters), _set_warning_filters),
    (gc.isenabled, lambda enabled: gc.enable() if enabled else gc.disable()),
)
"""The settings that are put back. The working directory, signal handlers and context variables are not among them."""
