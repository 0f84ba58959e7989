"""What linearising did to a network, line by line."""

from dataclasses import dataclass, field

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
        Line and file of the call in words; empty for a module.
    reason : str
        Why it stays, and what to do about it.
    """

    path: str
    name: str
    line: str
    reason: str

    def __str__(self) -> str:
        """Return the line of the report."""
        where = f" in {self.line}" if self.line else ""
        return f"{self.path or 'the model'}: {self.name}{where} stays: {self.reason}"


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
    """

    model: nn.Module
    changes: list[str] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
