"""Modules whose forward runs as its class has it, with the activations in it answered by `Following`."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any, ClassVar, cast

import torch
from torch import fx, nn
from torch._compile import _disable_dynamo
from torch.overrides import _get_current_function_mode_stack

from gpu.models.linearizing.calls import followed_forward
from gpu.models.linearizing.following import Answers, Following, parts_of
from gpu.models.linearizing.functions import tensors_in


class FollowedType(type):
    """The type of the classes that `follow` makes: what a forward sets on its class is set on the user's."""

    def __setattr__(cls, name: str, value: Any) -> None:
        """Set an attribute of the user's class, unless it is one that Python sets."""
        if name.startswith("__"):
            super().__setattr__(name, value)
        else:
            setattr(cast(Any, cls)._linearize_kind, name, value)

    def __delattr__(cls, name: str) -> None:
        """Delete an attribute of the user's class."""
        delattr(cast(Any, cls)._linearize_kind, name)


class Followed:
    """The first base of the classes that `follow` makes: their forward is the class's own, in a `Following` mode."""

    _linearize_answers: ClassVar[Answers]
    _linearize_kind: ClassVar[type[nn.Module]]
    _linearize_restores: ClassVar[bool]

    def __init_subclass__(cls) -> None:
        """Leave out what the user's class does with classes that are derived from it, such as registering them."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return how to pickle and copy the module: as one of its own class, which is then followed again."""
        made, kind = type(self), type(self)._linearize_kind
        make, args, *rest = cast("tuple[Any, ...]", super().__reduce_ex__(protocol))
        args = tuple(kind if arg is made else arg for arg in args)
        return (_remade, (dict(made._linearize_answers), made._linearize_restores, make, args), *rest)


def follow(module: nn.Module, answers: Answers, restores: bool = False) -> None:
    """Make the forward of a module run in a `Following` mode, in place: by its class, which becomes a derived one.

    Parameters
    ----------
    module : nn.Module
        The module; if it is followed already, the new answers replace its own.
    answers : mapping
        What to do at each site that is known. Activations at other sites are dropped, and refused if they are gates.
    restores : bool
        Run all activations after all, to compare the module with the original. False by default.

    Raises
    ------
    TypeError
        If the class does not allow that.
    """
    kind = getattr(type(module), "_linearize_kind", type(module))

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            return _outside_of_dynamo(self, args, kwargs)
        return _run(self, args, kwargs)

    # without functools.wraps: torch.jit.script would compile the function that it names, with the activations
    with contextlib.suppress(TypeError, ValueError):  # a forward that is not written in Python
        forward.__signature__ = inspect.signature(kind.forward)  # type: ignore[attr-defined]
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__doc__": kind.__doc__,
        "_linearize_answers": MappingProxyType(dict(answers)),
        "_linearize_kind": kind,
        "_linearize_restores": restores,
        "forward": forward,
    }
    names |= {name: _copying(name) for name in ("__copy__", "__deepcopy__") if hasattr(kind, name)}
    if issubclass(kind, fx.GraphModule):
        names["recompile"] = _recompile
    of_classes: Any = FollowedType
    if type(kind) is not type:
        of_classes = type(FollowedType.__name__, (FollowedType, type(kind)), {})
    module.__class__ = of_classes(kind.__name__, (Followed, kind), names)


def unfollow(module: Followed) -> None:
    """Give a followed module its own class back, in place."""
    cast(Any, module).__class__ = module._linearize_kind


def _run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run the forward of a followed module.

    Raises
    ------
    TypeError
        If torch.fx traces it: its stand-ins do not show the mode which function is called.
    """
    if any(isinstance(value, fx.Proxy) for value in (args, kwargs)) or any(
        isinstance(value, fx.Proxy) for value in (*args, *kwargs.values())
    ):
        raise TypeError(
            f"{type(module).__name__}: expected tensors, got a proxy of torch.fx, which cannot follow a forward that "
            "linearize has changed; use torch.export.export(..., strict=False)"
        )
    own = cast(Any, module)._linearize_kind.forward
    if any(isinstance(mode, Following) for mode in _get_current_function_mode_stack()):
        return followed_forward(module, own, args, kwargs)
    given = {id(tensor) for tensor in tensors_in((args, kwargs))}
    with Following(tensor for tensor in parts_of(module) if id(tensor) not in given):
        return followed_forward(module, own, args, kwargs)


_outside_of_dynamo = _disable_dynamo(_run)  # torch.compiler.disable imports all of it at once


def _remade(answers: Answers, restores: bool, make: Any, args: tuple[Any, ...]) -> nn.Module:
    """Return a new followed module, as pickle and copy make it."""
    module: nn.Module = make(*args)
    follow(module, answers, restores)
    return module


@contextlib.contextmanager
def _in_own_class(module: nn.Module) -> Iterator[None]:
    """Give a followed module its own class for a while: a method of the user's or of torch may look at the class."""
    made: Any = type(module)
    module.__class__ = made._linearize_kind
    try:
        yield
    finally:
        module.__class__ = made


def _copying(name: str) -> Callable[..., nn.Module]:
    """Return a method that copies a followed module by a method of its own class, and follows the copy, too."""

    def copying(module: nn.Module, *memo: Any) -> nn.Module:
        made: Any = type(module)
        with _in_own_class(module):
            copied: nn.Module = getattr(module, name)(*memo)
        follow(copied, made._linearize_answers, made._linearize_restores)
        return copied

    return copying


def _recompile(module: nn.Module) -> Any:
    """Generate the code of a graph anew; torch.fx makes it the forward of the class that the module has then."""
    with _in_own_class(module):
        return cast(Any, module).recompile()
