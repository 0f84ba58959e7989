"""The networks of `linalg_cnn` as torch modules: training, prediction and timing, on CUDA where there is one.

This package depends on `linalg_cnn`, never the other way round. Its names are loaded at their first use, so that
commands that do without torch need not wait for it, or have it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.convert import NearestResample
    from gpu.modules import SkipCNN
    from gpu.networks import three_layer_cnn

__all__ = ["NearestResample", "SkipCNN", "three_layer_cnn"]

_HOME = {"NearestResample": "gpu.convert", "SkipCNN": "gpu.modules", "three_layer_cnn": "gpu.networks"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gpu' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
