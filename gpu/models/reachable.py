"""What a copy of a module shares with the module: globals, closures, classes and objects that its code can reach."""

import dis
import functools
import gc
import logging
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as global_hooks

from gpu.models.containers import entries_of
from gpu.models.snapshots import Budget, Snapshot, code_of, names_in_class, names_in_dict, names_in_slots, snapshot_of

LIBRARIES = sys.stdlib_module_names | {
    "linalg_cnn",
    "numpy",
    "scipy",
    "sympy",
    "mpmath",
    "torch",
    "torchvision",
    "pytest",
    "_pytest",
    # what classes for models of the Hugging Face hub lead to: thousands of objects, which a search has no room for
    "huggingface_hub",
    "httpx",
    "jinja2",
    "filelock",
    "yaml",
    "tqdm",
    "packaging",
    "requests",
    "PIL",
    "pandas",
    "matplotlib",
    "sklearn",
}
"""Packages whose functions and classes are not looked at: they keep nothing of what a forward computes."""

MAX_OBJECTS = 20_000
"""Number of objects after which the search ends. It looks at the nearest ones first."""

NOTHING_WITHIN = (str, bytes, int, float, complex, type(None), range, types.ModuleType, logging.Logger)
"""Types of objects that are not looked at: a number leads nowhere, a logger leads everywhere."""

WRAPPERS = (
    staticmethod,
    classmethod,
    property,
    functools.partial,
    functools.partialmethod,
    functools.cached_property,
    functools._lru_cache_wrapper,
)
"""Types of objects that hold functions, and where they do so:"""
WRAPPED = ("__func__", "__wrapped__", "fget", "fset", "fdel", "func", "args", "keywords")


CELL = {"cell_contents": vars(types.CellType)["cell_contents"]}
"""The slot of a variable in a closure."""

GLOBAL = ("LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL", "LOAD_NAME", "IMPORT_NAME")
"""Instructions whose argument is the name of a global, or of a module to import."""

DYNAMIC = {"globals", "exec", "eval", "vars"}
"""Names of functions that work with any global of the module in which they are called."""


def shared_with_copies(module: nn.Module) -> list[tuple[str, Snapshot]]:
    """Return snapshots of what a run of a copy of a module can change beside the copy, each with its place.

    `copy.deepcopy` copies the attributes of a module and the objects in them. It does not copy functions and classes,
    and therefore not their globals, defaults, closures and class attributes, nor what these lead to.

    Parameters
    ----------
    module : nn.Module
        The module, or a copy of it.
    """
    search = _Search()
    search.add("the module", module, shared=False)
    for name, parameter in module.named_parameters():
        search.add(f"a hook of {name}", parameter._backward_hooks, shared=True)
    hooks = (value for name, value in vars(global_hooks).items() if name.startswith("_global_") and "hooks" in name)
    for hook in hooks:
        search.add("the hooks of all modules", hook, shared=True)
    return search.run()


class _Search:
    """A search through the objects that lead to each other, each of which is looked at once.

    An object is ``shared`` if a copy of the module would have it in common with the module.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[int, Any], Any] = {}  # holds the objects, so that no id is used again
        self.pending: deque[tuple[str, Any, bool]] = deque()
        self.found: list[tuple[str, Snapshot]] = []
        self.budget = Budget()

    def add(self, place: str, thing: Any, shared: bool) -> None:
        """Look at an object later, unless that has been done."""
        shared = shared or _is(thing, (types.FunctionType, type, weakref.ref, functools._lru_cache_wrapper))
        if _is(thing, NOTHING_WITHIN) or (id(thing), True) in self.seen or (id(thing), shared) in self.seen:
            return
        if not shared and (_is(thing, torch.Tensor) or (_is(thing, dict) and not dict.__len__(thing))):
            return  # most of what a module consists of
        if len(self.seen) < MAX_OBJECTS:
            self.seen[id(thing), shared] = thing
            self.pending.append((place, thing, shared))

    def run(self) -> list[tuple[str, Snapshot]]:
        """Return the snapshots of all shared objects."""
        while self.pending:
            place, thing, shared = self.pending.popleft()
            if _is(thing, types.FunctionType):
                self._function(thing)
            elif _is(thing, type):
                self._class(thing)
            else:
                with suppress(Exception):  # an object of a user's class may refuse to be looked at
                    self._object(place, thing, shared or _copies_itself(type(thing)))
        return self.found

    def _function(self, function: types.FunctionType) -> None:
        """Look at the closure, the defaults and the attributes of a function, and at the globals that it names."""
        name, own = function.__qualname__, not _is_library(function.__globals__.get("__name__"))
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            contents = names_in_slots(cell, CELL)
            if own:
                self.found.append((f"{variable} in {name}", contents))
            self.add(f"{variable} in {name}", contents.before["cell_contents"], shared=True)
        for held in (function.__defaults__, function.__kwdefaults__, vars(function)):
            self.add(f"a default or an attribute of {name}", held, shared=True)
        if own:
            self.found.append((name, code_of(function)))
            names, attributes = names_in(function.__code__)
            if not DYNAMIC.isdisjoint(names) or ("sys" in names and "modules" in attributes):
                names = tuple(dict.fromkeys((*names, *function.__globals__)))
            self._globals(function.__globals__, names, attributes)

    def _globals(self, namespace: dict[str, Any], names: tuple[str, ...], attributes: tuple[str, ...]) -> None:
        """Look at globals of a module, and at attributes of the modules that are among them."""
        module = namespace.get("__name__", "a module")
        self.found.append((f"globals of {module}", names_in_dict(namespace, names)))
        for name in names:
            value: Any = namespace.get(name, sys.modules.get(name))
            if not _is(value, types.ModuleType):
                self.add(f"{name} in {module}", value, shared=True)
            elif _is_library(value.__name__):
                self.found.append((f"attributes of {value.__name__}", names_in_dict(vars(value), attributes)))
            elif (id(value), attributes) not in self.seen:
                self.seen[id(value), attributes] = value
                self._globals(vars(value), attributes, attributes)

    def _class(self, kind: type) -> None:
        """Look at the attributes of a class and of the classes that it is derived from."""
        for base in kind.__mro__:
            if not _is_library(base.__module__) and (base is kind or (id(base), True) not in self.seen):
                self.seen[id(base), True] = base
                self.found.append((f"attributes of the class {base.__name__}", names_in_class(base)))
                for name, value in list(vars(base).items()):
                    self.add(f"{base.__name__}.{name}", value, shared=True)

    def _object(self, place: str, thing: Any, shared: bool) -> None:
        """Look at an object of any other type, and at its parts."""
        if shared:
            snapshot = snapshot_of(thing, self.budget)
            if snapshot is not None:
                self.found.append((place, snapshot))
            slots = _slots_of(type(thing))
            if slots:
                self.found.append((place, names_in_slots(thing, slots)))
        for name, part in _parts_of(thing):
            self.add(f"{place}.{name}" if name else f"an entry of {place}", part, shared)
        self.add(place, type(thing), shared=True)


def _is(thing: Any, kinds: Any) -> bool:
    """Return whether an object is of a type, without asking the object, which may pass for another type."""
    return issubclass(type(thing), kinds)


def _is_library(module: Any) -> bool:
    if not isinstance(module, str):
        return False
    # what this module remembers of code is no part of the user's
    return module.partition(".")[0] in LIBRARIES or module.startswith(("gpu.models.linearizing.", __name__))


def _copies_itself(kind: type) -> bool:
    """Return whether objects of a type decide themselves what their copies are: often they are the objects."""
    return any("__deepcopy__" in vars(base) and not _is_library(base.__module__) for base in kind.__mro__)


@functools.lru_cache(maxsize=8192)
def names_in(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of globals and of attributes in the code of a function and of the functions within it."""
    codes, names, attributes = [code], dict[str, None](), dict[str, None]()
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        used = {instruction.argval for instruction in dis.get_instructions(code) if instruction.opname in GLOBAL}
        names.update(dict.fromkeys(sorted(used)))
        attributes.update(dict.fromkeys(name for name in code.co_names if name not in used))
    return tuple(names), tuple(attributes)


def _parts_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield the objects that an object holds, with the names of attributes, or "" for entries."""
    if _is(thing, (dict, list, tuple, set, frozenset, deque)):
        entries = entries_of(thing)
        yield from (("", part) for part in (entries.values() if isinstance(entries, dict) else entries))
    elif _is(thing, weakref.ref):
        yield "", thing()
    elif _is(thing, np.ndarray) and thing.dtype.hasobject:
        yield from (("", part) for part in thing.flat)
    elif _is(thing, (types.BuiltinMethodType, types.MethodWrapperType)):  # kept.append
        yield "", thing.__self__
    elif _is(thing, types.MethodType):
        yield from (("", part) for part in (thing.__func__, thing.__self__))
    elif _is(thing, WRAPPERS):
        yield from (("", getattr(thing, name)) for name in WRAPPED if hasattr(thing, name))
        if _is(thing, functools._lru_cache_wrapper):
            yield from (("", part) for part in _remembered(thing))
    yield from ((name, getattr(thing, name, None)) for name in _slots_of(type(thing)))
    if not _is(thing, torch.Tensor):
        yield "", getattr(thing, "__dict__", None)


def _remembered(function: Any) -> Iterator[Any]:
    """Yield what a function with `functools.lru_cache` has remembered, but not the dict that it remembers it in."""
    info = function.cache_info()
    for part in gc.get_referents(function) if info.currsize else ():
        if type(part) is not dict:
            yield part
        elif info.maxsize is None:  # of such caches, only their own dict is given, and the function's attributes
            yield from part.values()
        elif not any(type(value).__name__ == "_lru_list_elem" for value in part.values()):
            yield part


def _slots_of(kind: type) -> dict[str, Any]:
    """Return the descriptors of the slots of a class by name, except those of libraries."""
    bases = (base for base in kind.__mro__ if "__slots__" in vars(base) and not _is_library(base.__module__))
    attributes = (item for base in bases for item in vars(base).items())
    return {name: value for name, value in attributes if _is(value, types.MemberDescriptorType)}
