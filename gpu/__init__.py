"""The networks of `linalg_cnn` as torch modules: training, prediction and timing, on CUDA where there is one.

This package depends on `linalg_cnn`, never the other way round. Each name below is imported at its first use, so that a
command which needs no torch neither waits for it nor requires it.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu import predict, schedules
    from gpu.bench.memory import kept_memory
    from gpu.bench.pictures import predict_picture
    from gpu.collapsing.collapse import collapse
    from gpu.collapsing.report import CollapseReport
    from gpu.collapsing.result import Collapsed
    from gpu.collapsing.verification import VerificationError
    from gpu.experiments.pictures import record_picture
    from gpu.merging.merge import merge
    from gpu.models.activations import activation_slopes, remove_activations, set_activation_slope
    from gpu.models.conversion import NearestResample
    from gpu.models.homotopy import set_skip_strength, skip_strengths
    from gpu.models.linearization import linearize
    from gpu.models.removal import remove_skips
    from gpu.models.resnets import resnet
    from gpu.models.shallow import perceptron, six_layer_cnn, three_layer_cnn
    from gpu.models.skip_cnn import SkipCNN
    from gpu.models.torchvision_resnets import from_torchvision
    from gpu.runtime.timing import microseconds_per_image
    from gpu.schedules.schedule import SkipSchedule, SlopeSchedule, ThresholdSchedule
    from gpu.tracing.not_affine import NotAffineError
    from gpu.tracing.trace import trace
    from gpu.training.data import Digits, load_digits
    from gpu.training.distillation import Teacher
    from gpu.training.evaluation import accuracy_of, predict_scores
    from gpu.training.labelled import LabelledImages
    from gpu.training.recalibration import recalibrate
    from gpu.training.train import train
    from gpu.training.trainer import Trainer

__all__ = [
    "CollapseReport",
    "Collapsed",
    "Digits",
    "LabelledImages",
    "NearestResample",
    "NotAffineError",
    "SkipCNN",
    "SkipSchedule",
    "SlopeSchedule",
    "Teacher",
    "ThresholdSchedule",
    "Trainer",
    "VerificationError",
    "accuracy_of",
    "activation_slopes",
    "collapse",
    "from_torchvision",
    "kept_memory",
    "linearize",
    "load_digits",
    "merge",
    "microseconds_per_image",
    "perceptron",
    "predict",
    "predict_picture",
    "predict_scores",
    "recalibrate",
    "record_picture",
    "remove_activations",
    "remove_skips",
    "resnet",
    "schedules",
    "set_activation_slope",
    "set_skip_strength",
    "six_layer_cnn",
    "skip_strengths",
    "three_layer_cnn",
    "trace",
    "train",
]

_HOME = {
    "CollapseReport": "gpu.collapsing.report",
    "Collapsed": "gpu.collapsing.result",
    "Digits": "gpu.training.data",
    "LabelledImages": "gpu.training.labelled",
    "NearestResample": "gpu.models.conversion",
    "NotAffineError": "gpu.tracing.not_affine",
    "SkipCNN": "gpu.models.skip_cnn",
    "SkipSchedule": "gpu.schedules.schedule",
    "SlopeSchedule": "gpu.schedules.schedule",
    "Teacher": "gpu.training.distillation",
    "ThresholdSchedule": "gpu.schedules.schedule",
    "Trainer": "gpu.training.trainer",
    "VerificationError": "gpu.collapsing.verification",
    "accuracy_of": "gpu.training.evaluation",
    "activation_slopes": "gpu.models.activations",
    "collapse": "gpu.collapsing.collapse",
    "from_torchvision": "gpu.models.torchvision_resnets",
    "kept_memory": "gpu.bench.memory",
    "linearize": "gpu.models.linearization",
    "load_digits": "gpu.training.data",
    "merge": "gpu.merging.merge",
    "microseconds_per_image": "gpu.runtime.timing",
    "perceptron": "gpu.models.shallow",
    "predict_picture": "gpu.bench.pictures",
    "predict_scores": "gpu.training.evaluation",
    "recalibrate": "gpu.training.recalibration",
    "record_picture": "gpu.experiments.pictures",
    "remove_activations": "gpu.models.activations",
    "remove_skips": "gpu.models.removal",
    "resnet": "gpu.models.resnets",
    "set_activation_slope": "gpu.models.activations",
    "set_skip_strength": "gpu.models.homotopy",
    "six_layer_cnn": "gpu.models.shallow",
    "skip_strengths": "gpu.models.homotopy",
    "three_layer_cnn": "gpu.models.shallow",
    "trace": "gpu.tracing.trace",
    "train": "gpu.training.train",
}
"""The module in which each public name is defined."""

_NAMESPACES = ("predict", "schedules")
"""Subpackages that are public as a whole: ``gpu.predict.Predictor``, ``gpu.schedules.Cosine``."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("linalg_cnn")
    if name in _NAMESPACES:
        return import_module(f"gpu.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'gpu' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
