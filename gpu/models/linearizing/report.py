"""What linearising did to a network, line by line."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Kept:
    """An activation or a pooling that stays.

    Attributes
    ----------
    path : str
        Path of the module, or of the module in whose forward it is called.
    name : str
        Name of the module's class, or of the function.
    line : str
        Line and file of the call in words; empty for a module, and for a call in torch's own code.
    reason : str
        Why it stays, and what to do about it.
    line_of_forward : str
        Line and file of the forward from which the call is reached.
    """

    path: str
    name: str
    line: str
    reason: str
    line_of_forward: str = ""

    def __str__(self) -> str:
        """Return the line of the report."""
        where = f" in {self.line or 'forward'}" if self.name.islower() else ""
        return f"{self.path or 'the model'}: {self.name}{where} stays: {self.reason}"


class Changes(list[str]):
    """The lines that `gpu.linearize` returns: a list of str, which also says what the changes cost.

    Attributes
    ----------
    accuracy : dict or None
        See `gpu.models.predictions.accuracies`; None if no inputs were given, or the network has no scores for classes.
    """

    def __init__(self, lines: Iterable[str] = (), accuracy: dict[str, Any] | None = None) -> None:
        super().__init__(lines)
        self.accuracy = accuracy


@dataclass
class Linearized:
    """A linearised network, and what was done to it.

    Attributes
    ----------
    model : nn.Module
        The network.
    changes : list of str
        A line for each change.
    kept : list of Kept
        The activations and poolings that stay.
    notes : list of str
        Lines on what could not be compared.
    replaced : set of pairs of str
        Where something is replaced: the path of a module, and line and file of a call in its forward, "" for a module
        that is replaced itself.
    """

    model: nn.Module
    changes: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    replaced: set[tuple[str, str]] = field(default_factory=set)
