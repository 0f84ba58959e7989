"""Activations with a slope, as classes derived from those of the activations, and what they are at a given slope."""

from functools import cache
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch.nn import functional

from gpu.models.copying import copy_of
from gpu.models.exact import KeptExactly


class Sloped(KeptExactly):
    """An activation with a slope s: (1 - s) act(x) + s x. It is mixed into the class of the activation.

    Attributes
    ----------
    activation_class : type
        Class of the activation.
    slope : tensor ()
        The slope, as the forward reads it.
    exact_slope : float
        The slope in double precision.
    """

    exact_name, tensor_name = "exact_slope", "slope"
    activation_class: ClassVar[type[nn.Module]]
    exact_slope: float
    slope: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation of x between ReLU, or whichever it is, and the identity; NaN where x is infinite."""
        activated: torch.Tensor = super().forward(x)
        return (1 - self.slope) * activated + self.slope * x

    def extra_repr(self) -> str:
        """Return the slope as text, after what the activation says of itself."""
        return ", ".join(filter(None, (super().extra_repr(), f"slope={held_slope(self):g}")))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Let pickle and copy find the class, which is made when it is needed, by that of the activation."""
        return _empty, (self.activation_class,), self.__getstate__()


ATTRIBUTES = ("slope", "exact_slope")
"""Names of the attributes that an activation gets with its slope."""


class _AtSlope(nn.Module):
    """An activation at the slope that it has now: what `trace` follows. It is mixed into the class with a slope."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same as with a slope, by fewer operations: the activation, the identity or leaky ReLU."""
        part = cast(Sloped, self)
        slope = held_slope(part)
        if slope == 1:
            return x.clone()  # what works in place on the result must not change x
        if slope == 0:
            return cast(torch.Tensor, part.activation_class.forward(part, x))
        if part.activation_class is nn.ReLU:
            return functional.leaky_relu(x, slope)
        return cast(torch.Tensor, super().forward(x))


@cache
def sloped_class(kind: type[nn.Module]) -> type[Sloped]:
    """Return the class that adds a slope to a class of activations; instances of it are instances of both."""
    return type(f"Sloped{kind.__name__}", (Sloped, kind), {"activation_class": kind, "__module__": __name__})


@cache
def _class_at_slope(kind: type[nn.Module]) -> type[Sloped]:
    """Return the class of `_AtSlope` for a class of activations, by whose name refusals call it."""
    return type(kind.__name__, (_AtSlope, sloped_class(cast(Any, kind))), {"__module__": kind.__module__})


def _empty(kind: type[nn.Module]) -> Sloped:
    made = sloped_class(cast(Any, kind))
    return made.__new__(made)


def class_of(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module; of an activation with a slope, the class that it has without.

    Examples
    --------
    >>> import gpu
    >>> model = nn.Sequential(nn.ReLU())
    >>> gpu.set_activation_slope(model, 0.5)
    >>> type(model[0]).__name__, class_of(model[0]).__name__
    ('SlopedReLU', 'ReLU')
    """
    return module.activation_class if isinstance(module, Sloped) else type(module)


def slope_of(part: nn.Module) -> float:
    """Return the slope of an activation, which is 0 if it was never set."""
    return float(part.exact_numbers()) if isinstance(part, Sloped) else 0.0


def held_slope(part: nn.Module) -> float:
    """Return the slope of an activation as it computes with it, rounded to its dtype; 0 if it was never set."""
    return float(part.held_numbers()) if isinstance(part, Sloped) else 0.0


def is_sloped(part: nn.Module) -> bool:
    """Return whether a module computes what the class of an activation with a slope does, and nothing else."""
    return isinstance(part, Sloped) and type(part) is sloped_class(cast(Any, part.activation_class))


def drop_slope(part: Sloped) -> None:
    """Make an activation a module of its own class again, in place."""
    del part.slope, part.exact_slope
    cast(Any, part).__class__ = part.activation_class


def without_slopes(model: nn.Module) -> nn.Module:
    """Return a copy of a network in which the activations have no slopes; a network without slopes itself."""
    if not any(map(is_sloped, model.modules())):
        return model
    copied = copy_of(model)
    for part in copied.modules():
        if isinstance(part, Sloped) and is_sloped(part):
            drop_slope(part)
    return copied


def at_their_slopes(model: nn.Module) -> None:
    """Let the activations of a network compute directly what they are at their slopes, in place.

    Their classes are still derived from those of the activations, since a forward may ask for that.

    Parameters
    ----------
    model : nn.Module
        A copy of the user's network, whose slopes stay as they are from now on.
    """
    for part in model.modules():
        if is_sloped(part):
            part.__class__ = _class_at_slope(cast(Any, class_of(part)))
