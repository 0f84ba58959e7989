"""Whether a copy of a module works with its own parts, or with those of the module."""

from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from gpu.models.linearizing.functions import tensors_in


class SharedPartsError(ValueError):
    """A copy of a module works with parts of the module: the two cannot be trained or changed one by one."""


class UsesOf(TorchFunctionMode):
    """A mode of torch that notes which parameters and buffers of a module are used while a copy of it runs.

    Parameters
    ----------
    module : nn.Module
        The module that was copied.

    Examples
    --------
    >>> layer = nn.Linear(2, 1)
    >>> x, uses = layer.weight.new_ones(1, 2), UsesOf(layer)
    >>> with uses:
    ...     y = nn.Linear(2, 1)(x)
    >>> uses.check()
    >>> with uses:
    ...     y = layer(x)
    >>> uses.check()
    Traceback (most recent call last):
        ...
    gpu.models.own_parts.SharedPartsError: model: expected a copy that works with its own parts, got one that ...
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        tensors = (*module.named_parameters(), *module.named_buffers())
        self.names = {id(tensor): name for name, tensor in tensors}
        self.used: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and note the module's tensors among its arguments."""
        for tensor in tensors_in((args, kwargs)):
            if id(tensor) in self.names:
                self.used[self.names[id(tensor)]] = None
        return func(*args, **(kwargs or {}))

    def check(self) -> None:
        """Refuse a module whose copy works with its parts.

        Raises
        ------
        SharedPartsError
            If one of them was used.
        """
        if self.used:
            raise SharedPartsError(
                "model: expected a copy that works with its own parts, got one that works with "
                f"{', '.join(list(self.used)[:3])} of the model itself, because its class names it in a global or in a "
                "closure, or finds it in a registry; reach it by an attribute of self"
            )
