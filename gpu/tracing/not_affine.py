"""What makes a network not affine: names, places, remedies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpu.models.nonlinearities import nonlinearity_of

LINEARIZE = ", as gpu.linearize does"


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
    row = nonlinearity_of(name)
    if row is None:
        return None
    dilated = name.startswith("max_pool") and any(step != 1 for dilation in args[4:5] for step in dilation)
    return row.remedy + LINEARIZE * (row.is_linearized(module) and not dilated)


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
