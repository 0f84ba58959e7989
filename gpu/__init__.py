"""The networks of `linalg_cnn` as torch modules: training, prediction and timing, on CUDA where there is one.

This package depends on `linalg_cnn`, never the other way round. Its names are loaded at their first use, so that
commands that do without torch need not wait for it, or have it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.collapsing import collapse
    from gpu.convert import NearestResample
    from gpu.linearizing import linearize
    from gpu.modules import SkipCNN
    from gpu.networks import three_layer_cnn
    from gpu.not_affine import NotAffineError
    from gpu.tracing import trace

__all__ = ["NearestResample", "NotAffineError", "SkipCNN", "collapse", "linearize", "three_layer_cnn", "trace"]

_HOME = {
    "NearestResample": "gpu.convert",
    "NotAffineError": "gpu.not_affine",
    "SkipCNN": "gpu.modules",
    "collapse": "gpu.collapsing",
    "linearize": "gpu.linearizing",
    "three_layer_cnn": "gpu.networks",
    "trace": "gpu.tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gpu' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
