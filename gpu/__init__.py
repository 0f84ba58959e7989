"""The networks of `linalg_cnn` as torch modules: training, prediction and timing, on CUDA where there is one.

This package depends on `linalg_cnn`, never the other way round. Its names are loaded at their first use, so that
commands that do without torch need not wait for it, or have it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.collapsing import collapse
    from gpu.convert import NearestResample
    from gpu.homotopy import remove_skips, set_skip_strength, skip_strengths
    from gpu.linearizing import linearize
    from gpu.modules import SkipCNN
    from gpu.networks import perceptron, six_layer_cnn, three_layer_cnn
    from gpu.not_affine import NotAffineError
    from gpu.resnets import from_torchvision, resnet
    from gpu.tracing import trace
    from gpu.verification import VerificationError

__all__ = [
    "NearestResample",
    "NotAffineError",
    "SkipCNN",
    "VerificationError",
    "collapse",
    "from_torchvision",
    "linearize",
    "perceptron",
    "remove_skips",
    "resnet",
    "set_skip_strength",
    "six_layer_cnn",
    "skip_strengths",
    "three_layer_cnn",
    "trace",
]

_HOME = {
    "NearestResample": "gpu.convert",
    "NotAffineError": "gpu.not_affine",
    "SkipCNN": "gpu.modules",
    "VerificationError": "gpu.verification",
    "collapse": "gpu.collapsing",
    "from_torchvision": "gpu.resnets",
    "linearize": "gpu.linearizing",
    "perceptron": "gpu.networks",
    "remove_skips": "gpu.homotopy",
    "resnet": "gpu.resnets",
    "set_skip_strength": "gpu.homotopy",
    "six_layer_cnn": "gpu.networks",
    "skip_strengths": "gpu.homotopy",
    "three_layer_cnn": "gpu.networks",
    "trace": "gpu.tracing",
}


def __getattr__(name: str) -> Any:
    if name == "predict":
        return import_module("gpu.predict")
    if name not in _HOME:
        raise AttributeError(f"module 'gpu' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
