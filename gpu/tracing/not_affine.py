"""`NotAffineError`: the operations of a module that are not affine, with their places and remedies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpu.models.nonlinearities import nonlinearity_of

LINEARIZE = ", as gpu.linearize does"

DISCONTINUOUS = ("hardshrink", "sign", "threshold", "_threshold")
"""Operations that are affine on pieces, but jump between them; a threshold does unless its two numbers are equal."""


def remedy_of(name: str, args: Sequence[Any] = ()) -> str | None:
    """Return what to do about an operation that is known not to be affine, "" if nothing; None if it is unknown.

    Parameters
    ----------
    name : str
        Name of the operation in ATen, without the underscore of in-place variants.
    args : sequence
        Arguments of the call.
    """
    row = nonlinearity_of(name)
    if row is None:
        return None
    dilated = name.startswith("max_pool") and any(step != 1 for dilation in args[4:5] for step in dilation)
    return row.remedy + LINEARIZE * (row.module is not None and not dilated)


def reason_of(name: str, kind: str) -> str | None:
    """Return why an operation without a handler is refused; None if it is unknown.

    Parameters
    ----------
    name : str
        Name of the operation in ATen, without the underscore of in-place variants.
    kind : {"affine", "piecewise linear"}
        What was expected.
    """
    row = nonlinearity_of(name)
    if row is None:
        return None
    if kind == "affine" or not row.piecewise_linear:
        return f"{name} is not {kind}"
    if name in DISCONTINUOUS:
        return f"{name} is not continuous: it jumps between its pieces"
    return f"{name} is piecewise linear, but not followed"


@dataclass(frozen=True)
class Obstacle:
    """One operation that is not affine, or not known to be.

    Attributes
    ----------
    place : str
        Path and class of the module that the operation stands in, ``layer1.0.relu: ReLU``, followed by file and line
        if the operation stands in a forward that is not torch's.
    reason : str
        Why the operation is refused.
    remedy : str
        What to do about it; empty if nothing is known.
    times : int
        Number of times that the forward pass runs the operation.
    """

    place: str
    reason: str
    remedy: str = ""
    times: int = 1

    def __str__(self) -> str:
        """Return the operation's line in the message."""
        often = f", {self.times} times" if self.times > 1 else ""
        return f"{self.place}: {self.reason}{often}" + (f"; {self.remedy}" if self.remedy else "")


class NotAffineError(ValueError):
    """Raised for a module that is not of the form W x + B, or not known to be; or that is not piecewise of this form.

    Parameters
    ----------
    obstacles : sequence of Obstacle
        All operations that are not affine; also an attribute.
    expected : str
        What was expected of all operations.

    Examples
    --------
    >>> raise NotAffineError([Obstacle("1: ReLU", "relu is not affine", "replace it by the identity")])
    Traceback (most recent call last):
        ...
    gpu.tracing.not_affine.NotAffineError: module: expected affine operations only, got 1 that are not:
      1: ReLU: relu is not affine; replace it by the identity
    """

    def __init__(self, obstacles: Sequence[Obstacle], expected: str = "affine") -> None:
        self.obstacles = tuple(obstacles)
        lines = "".join(f"\n  {obstacle}" for obstacle in self.obstacles)
        super().__init__(f"module: expected {expected} operations only, got {len(self.obstacles)} that are not:{lines}")
