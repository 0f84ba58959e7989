"""Functions that work with the parts of a module, made to work with those of its copy: `copy.deepcopy` shares them."""

import functools
import weakref
from types import CellType, FunctionType, MethodType
from typing import Any

from torch import nn

from gpu.models.containers import entries_of
from gpu.models.reachable import names_in


def rebind(copied: nn.Module, copies: dict[int, Any]) -> None:
    """Make the functions among the attributes and hooks of a copy work with its own parts, in place.

    Parameters
    ----------
    copied : nn.Module
        A deep copy of a module.
    copies : dict
        The copies of all objects by the ids of these, as `copy.deepcopy` notes them.

    Examples
    --------
    >>> import copy
    >>> layer = nn.Linear(2, 2)
    >>> original = layer.forward
    >>> layer.forward = lambda x: original(2 * x)
    >>> copies = {}
    >>> copied = copy.deepcopy(layer, copies)
    >>> rebind(copied, copies)
    >>> copied.forward.__globals__["original"].__self__ is copied
    True
    """
    own = {id(value) for value in copies.values()}  # a __deepcopy__ of the user's may share the others with the module
    containers: list[Any] = [vars(part) for part in copied.modules() if id(part) in own]
    for container in containers:
        entries = entries_of(container)
        for key, value in entries.items() if isinstance(entries, dict) else enumerate(entries):
            if issubclass(type(value), (dict, list)) and id(value) in own:
                own.discard(id(value))
                containers.append(value)
                continue
            made = rebound(value, copies)
            if made is not value:
                container[key] = made


def rebound(value: Any, copies: dict[int, Any], within: tuple[int, ...] = ()) -> Any:
    """Return what a function, method or weak reference is in the copy of a module; other objects as they are.

    Parameters
    ----------
    value : object
        A function of the module, which its copy shares.
    copies : dict
        As in `rebind`.
    within : tuple of int
        The ids of the functions in whose closures it is.
    """

    def held(part: Any) -> Any:
        return rebound(copies.get(id(part), part), copies, (*within, id(value)))

    if id(value) in within:
        return value
    if isinstance(value, MethodType):
        made: Any = MethodType(held(value.__func__), held(value.__self__))
        return value if (made.__func__, id(made.__self__)) == (value.__func__, id(value.__self__)) else made
    if isinstance(value, weakref.ref):
        target = copies.get(id(value()))
        return value if target is None else weakref.ref(target)
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, tuple(value.keywords.values()))
        func, args, keywords = map(held, parts)
        if all(mine is theirs for mine, theirs in zip(parts[:2], (func, args), strict=True)) and keywords is parts[2]:
            return value
        return functools.partial(func, *args, **dict(zip(value.keywords, keywords, strict=True)))
    if type(value) in {list, tuple}:
        entries = [held(part) for part in value]
        changed = any(mine is not theirs for mine, theirs in zip(entries, value, strict=True))
        return type(value)(entries) if changed else value
    if isinstance(value, FunctionType):
        return _function(value, held)
    return value


def _function(function: FunctionType, held: Any) -> FunctionType:
    """Return a function with the closure, defaults and globals that ``held`` gives, or itself if none differs."""
    cells = tuple(_cell(cell, held) for cell in function.__closure__ or ())
    defaults, keywords = held(function.__defaults__), function.__kwdefaults__ or {}
    named = {name: held(value) for name, value in keywords.items()}
    names, _ = names_in(function.__code__)
    values = {name: function.__globals__.get(name) for name in names}
    # not of functions: that search would have no end; in a notebook, original = conv.forward is a global
    parts = {name: held(value) for name, value in values.items() if isinstance(value, (nn.Module, MethodType))}
    changed = {name: value for name, value in parts.items() if value is not values[name]}
    if (
        not changed
        and defaults is function.__defaults__
        and all(mine is theirs for mine, theirs in zip(cells, function.__closure__ or (), strict=True))
        and all(named[name] is keywords[name] for name in named)
    ):
        return function
    namespace = {**function.__globals__, **changed} if changed else function.__globals__
    made = FunctionType(function.__code__, namespace, function.__name__, defaults, cells or None)
    made.__kwdefaults__, made.__qualname__, made.__doc__ = named or None, function.__qualname__, function.__doc__
    vars(made).update(vars(function))
    return made


def _cell(cell: CellType, held: Any) -> CellType:
    """Return a new cell for what differs in the copy; others stay, with the variables that functions share by them."""
    try:
        contents = cell.cell_contents
    except ValueError:  # nothing is assigned to the variable
        return cell
    made = held(contents)
    return cell if made is contents else CellType(made)
