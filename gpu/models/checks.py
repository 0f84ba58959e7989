"""The check that an argument is a torch module."""

from torch import nn


def check_module(name: str, value: object) -> None:
    """Refuse an argument that is not a module of torch.

    Raises
    ------
    TypeError
        If it is not; the message names the argument.
    """
    if not isinstance(value, nn.Module):
        raise TypeError(f"{name}: expected an nn.Module, got {type(value).__name__}")
