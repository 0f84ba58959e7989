"""What makes a network not affine: names, places, remedies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

EVALUATE = "call .eval() first"
IDENTITY = "replace it by the identity"
AVERAGE = "replace it by average pooling"
LINEARIZE = ", as gpu.linearize does"

REMEDIES = (
    (r"max_pool\dd", AVERAGE, "anywhere"),
    (r"adaptive_max_pool\dd", AVERAGE, "module"),
    (r"fractional_max_pool\dd|max_pool\dd_with_indices", AVERAGE, ""),
    (
        r"relu|relu6|hardtanh|leaky_relu|prelu|rrelu.*|elu|celu|selu|gelu|silu|mish|hardswish|hardsigmoid|hardshrink|"
        r"softshrink|tanhshrink|sigmoid|tanh|softplus|softsign",
        IDENTITY,
        "anywhere",
    ),
    (r"threshold|log_sigmoid.*", IDENTITY, "module"),
    (r"glu", "", ""),
    (r"(native_|feature_|alpha_|feature_alpha_)?dropout|bernoulli", EVALUATE, ""),
    (r"(layer|group|instance|rms|native_layer|native_group)_norm", "train with batch normalisation instead", ""),
    (r"(_?log)?_?softmax|_safe_softmax", "leave it off: it does not change which score is the largest", ""),
    (
        r"clamp.*|abs|sign|exp|log.*|sqrt|rsqrt|pow|reciprocal|sin|cos|square|erf|floor|ceil|round|trunc|frac|fmod",
        "",
        "",
    ),
    (r"(scaled_dot_product|multi_head|_native_multi_head).*", "", ""),
    (r"(a?max|a?min|arg.*|sort|topk|median|mode|var.*|std.*|.*norm|prod|cumprod|logsumexp|nonzero|_?unique.*)", "", ""),
    (r"(eq|ne|lt|le|gt|ge|logical_.*|bitwise_.*|isnan|isinf)", "", ""),
)
"""For operations that are never affine: the pattern of their names in torch, what to do about them, and whether
gpu.linearize does that of modules, or anywhere, also of functions in a forward."""


def remedy_of(name: str, args: Sequence[Any] = (), module: bool = True) -> str | None:
    """Return what to do about an operation of torch that is known not to be affine; None if it is not known.

    Parameters
    ----------
    name : str
    args : sequence
        What it was called with.
    module : bool
        Whether it is a module of torch, and not a function in a forward.
    """
    for pattern, remedy, linearized in REMEDIES:
        if re.fullmatch(pattern, name):
            dilated = name.startswith("max_pool") and any(step != 1 for dilation in args[4:5] for step in dilation)
            does = not dilated and (linearized == "anywhere" or (linearized == "module" and module))
            return remedy + LINEARIZE * does
    return None


@dataclass(frozen=True)
class Obstacle:
    """One operation that is not affine, or not known to be.

    Attributes
    ----------
    place : str
        In the module: ``layer1.0.relu: ReLU``, or with file and line where it stands in a forward.
    reason : str
    remedy : str
        What to do about it; empty if nothing is known.
    times : int
        How often it is passed.
    """

    place: str
    reason: str
    remedy: str = ""
    times: int = 1

    def __str__(self) -> str:
        """Return the line of the message."""
        often = f", {self.times} times" if self.times > 1 else ""
        return f"{self.place}: {self.reason}{often}" + (f"; {self.remedy}" if self.remedy else "")


class NotAffineError(ValueError):
    """A module is not of the form W x + B, or not known to be.

    Parameters
    ----------
    obstacles : sequence of Obstacle
        All operations that stand in the way; also kept as an attribute.

    Examples
    --------
    >>> raise NotAffineError([Obstacle("1: ReLU", "relu is not affine", "replace it by the identity")])
    Traceback (most recent call last):
        ...
    gpu.tracing.not_affine.NotAffineError: module: expected affine operations only, got 1 that are not:
      1: ReLU: relu is not affine; replace it by the identity
    """

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        self.obstacles = tuple(obstacles)
        lines = "".join(f"\n  {obstacle}" for obstacle in self.obstacles)
        super().__init__(f"module: expected affine operations only, got {len(self.obstacles)} that are not:{lines}")
