"""What an object that a user's code may change is like before a run, and how it is made like that again afterwards."""

import array
import functools
import gc
import itertools
import random
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from gpu.models.containers import entries_of, own_class

ABSENT = object()
"""Stands for the value of a name that is not bound."""

MAX_BYTES = 2**26
"""Size of the tensors and arrays that are copied, in all."""


class Snapshot(Protocol):
    """An object as it was at one time."""

    def put_back(self) -> bool:
        """Make the object what it was, and return whether that was possible."""


class Budget:
    """The bytes that copies of tensors and arrays may still take."""

    def __init__(self, bytes_left: int = MAX_BYTES) -> None:
        self.bytes_left = bytes_left

    def allows(self, size: int) -> bool:
        """Return whether a copy of ``size`` bytes fits, and count it if it does."""
        if size > self.bytes_left:
            return False
        self.bytes_left -= size
        return True


class Entries:
    """Which objects a list, dict, set, deque or bytearray holds, in their order; not what these are like."""

    def __init__(self, container: Any, budget: Budget) -> None:
        self.container = container
        self.before = entries_of(container)

    def put_back(self) -> bool:
        """Refill the container unless it holds the same objects in the same order."""
        if _same_objects(entries_of(self.container), self.before):
            return True
        own: Any = own_class(self.container)
        own.clear(self.container)
        if isinstance(self.before, dict):
            for key, value in self.before.items():
                own.__setitem__(self.container, key, value)
        else:
            fill = own.update if own is set else own.extend
            fill(self.container, self.before)
        return True


def _same_objects(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return _same_objects(list(a), list(b)) and _same_objects(list(a.values()), list(b.values()))
    return len(a) == len(b) and all(mine is theirs for mine, theirs in zip(a, b, strict=True))


class Names:
    """What names are bound to: globals of a function, attributes of a class, slots of an object, a closure's cell.

    Parameters
    ----------
    names : callable
        Returns the names to look at. It is called before and afterwards, since there may be others then.
    read : callable
        Returns what a name is bound to, `ABSENT` if it is not bound.
    bind, unbind : callable
        Bind a name to a value; remove a name.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        read: Callable[[str], Any],
        bind: Callable[[str, Any], None],
        unbind: Callable[[str], None],
    ) -> None:
        self.names, self.read, self.bind, self.unbind = names, read, bind, unbind
        self.before = {name: read(name) for name in names()}

    def put_back(self) -> bool:
        """Bind the names to what they were bound to, except to modules that have been imported meanwhile."""
        for name in {**self.before, **dict.fromkeys(self.names())}:
            before, now = self.before.get(name, ABSENT), self.read(name)
            if now is before or isinstance(now, types.ModuleType):  # an import happens once, and cannot be undone
                continue
            if before is ABSENT:
                self.unbind(name)
            else:
                self.bind(name, before)
        return True


def names_in_dict(namespace: dict[str, Any], names: Iterable[str]) -> Names:
    """Return a snapshot of some names of a dict, such as the globals that a function uses."""
    names = tuple(names)
    return Names(lambda: names, lambda name: namespace.get(name, ABSENT), namespace.__setitem__, namespace.__delitem__)


def names_in_class(kind: type) -> Names:
    """Return a snapshot of the attributes that a class itself has; Python's own, such as ``__doc__``, do not count."""
    return Names(
        lambda: [name for name in vars(kind) if not (name.startswith("__") and name.endswith("__"))],
        lambda name: vars(kind).get(name, ABSENT),
        functools.partial(setattr, kind),
        functools.partial(delattr, kind),
    )


def names_in_slots(thing: Any, slots: Mapping[str, Any]) -> Names:
    """Return a snapshot of what an object, or the cell of a closure, keeps in slots, given by name with descriptors."""

    def read(name: str) -> Any:
        try:
            return slots[name].__get__(thing)
        except (AttributeError, ValueError):  # a cell without contents raises a ValueError
            return ABSENT

    return Names(
        lambda: slots,
        read,
        lambda name, value: slots[name].__set__(thing, value),
        lambda name: slots[name].__delete__(thing),
    )


def code_of(function: types.FunctionType) -> Names:
    """Return a snapshot of the code of a function and of its default arguments."""
    names = ("__code__", "__defaults__", "__kwdefaults__")
    bind = functools.partial(setattr, function)
    return Names(lambda: names, functools.partial(getattr, function), bind, lambda name: bind(name, None))


class Numbers:
    """The numbers in a tensor or an array, copied if the budget allows it, and the gradient of a parameter.

    They are written into the memory that holds them, which views and other libraries may share.
    """

    def __init__(self, held: Any, budget: Budget) -> None:
        self.held, self.copy, self.gradient = held, None, None
        self.version = self._version()
        if not isinstance(held, torch.Tensor):
            self.copy = held.copy() if budget.allows(held.nbytes) else None
            return
        if held.is_leaf and held.grad is not None:
            self.gradient = Numbers(held.grad, budget)
        # the numbers of sparse and nested tensors are in several places, and those on the meta device in none
        dense = held.layout == torch.strided and not held.is_nested and not held.is_meta
        if dense and budget.allows(held.nbytes):
            self.copy = held.detach().clone()
            self.memory = held.data  # has a version of its own: that of a tensor that waits for its backward pass stays

    def _version(self) -> int | None:
        """Return how often torch has written into the tensor; torch does not count that of all tensors."""
        counted = isinstance(self.held, torch.Tensor) and not self.held.is_inference()
        return self.held._version if counted else None

    def put_back(self) -> bool:
        """Copy the numbers back if they are others."""
        written = self._version() != self.version
        gradient_is_back = self._put_gradient_back()
        if self.copy is None:
            return not written and gradient_is_back
        if isinstance(self.held, np.ndarray):
            if not _same_entries(self.held, self.copy):
                self.held[...] = self.copy
            return True
        if _where(self.held) != _where(self.memory):
            self.held.data = self.memory
        if not torch.equal(self.memory, self.copy):
            with torch.inference_mode():  # which writes into tensors that were made in it, too
                self.memory.copy_(self.copy)
        return gradient_is_back

    def _put_gradient_back(self) -> bool:
        """Give a tensor the gradient that it had, and return whether that was possible."""
        if not isinstance(self.held, torch.Tensor) or not self.held.is_leaf:
            return True
        before = None if self.gradient is None else self.gradient.held
        if self.held.grad is not before:
            self.held.grad = before
        return self.gradient is None or self.gradient.put_back()


def _where(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Return which memory a tensor is in, and how."""
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _same_entries(a: Any, b: Any) -> bool:
    """Return whether two arrays hold the same numbers, or the same objects."""
    return _same_objects(list(a.flat), list(b.flat)) if a.dtype.hasobject else np.array_equal(a, b)


class State:
    """The state of a random generator, which has one function that returns it and another that sets it."""

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        self.before, self.put = get(), put

    def put_back(self) -> bool:
        """Set the state."""
        self.put(self.before)
        return True


class Cache:
    """What a function with `functools.lru_cache` has remembered.

    Real numbers that were computed meanwhile may stay, since the function would compute them again. Stand-ins for
    tensors, which are left by an export, and copies of modules, which would live as long as the cache, may not: then
    the cache is emptied. It is also emptied if it was empty.
    """

    def __init__(self, function: Any, budget: Budget) -> None:
        self.function, self.before = function, function.cache_info()

    def put_back(self) -> bool:
        """Empty the cache if it must be."""
        if self.function.cache_info().misses == self.before.misses:
            return True
        if not self.before.currsize or holds(gc.get_referents(self.function), (FakeTensor, nn.Module)):
            self.function.cache_clear()
        return True


def holds(things: Iterable[Any], kinds: Any, depth: int = 3) -> bool:
    """Return whether an object of some types is among some objects, or in containers among them."""
    for thing in things:
        if isinstance(thing, kinds):
            return True
        if depth and issubclass(type(thing), (list, tuple, set, dict)):
            entries = entries_of(thing)
            parts = itertools.chain(entries, entries.values()) if isinstance(entries, dict) else entries
            if holds(parts, kinds, depth - 1):
                return True
    return False


class Position:
    """How far an iterator or a generator has come, which only goes forward."""

    def __init__(self, iterator: Any, budget: Budget) -> None:
        self.iterator, self.before = iterator, _position(iterator)

    def put_back(self) -> bool:
        """Return whether it is still there."""
        return bool(_position(self.iterator) == self.before)


def _position(thing: Any, depth: int = 4) -> Any:
    """Return what changes in an iterator when it goes on, in a form that can be compared."""
    if isinstance(thing, types.GeneratorType):
        frame = thing.gi_frame
        return None if frame is None else (frame.f_lasti, _Variables(frame.f_locals.values()))
    if isinstance(thing, itertools.count):
        return repr(thing)
    if depth and isinstance(thing, tuple):
        return tuple(_position(part, depth - 1) for part in thing)
    if isinstance(thing, (list, int, range)):  # a range is what is left of it, from Python 3.12 on
        return len(thing) if isinstance(thing, list) else thing
    if depth and isinstance(thing, Iterator) and type(thing).__module__ in {"builtins", "itertools"}:
        with warnings.catch_warnings(), suppress(TypeError):  # later versions of Python do not tell
            warnings.simplefilter("ignore")
            return _position(thing.__reduce__(), depth)
    return type(thing)


class _Variables:
    """The values of variables, which are equal to the same objects only."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = list(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Variables) and _same_objects(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]


KINDS: tuple[tuple[Any, Callable[[Any, Budget], Snapshot]], ...] = (
    ((list, dict, set, deque, bytearray), Entries),
    ((torch.Tensor, np.ndarray), Numbers),
    (functools._lru_cache_wrapper, Cache),
    (array.array, lambda held, budget: State(lambda: held[:], functools.partial(held.__setitem__, slice(None)))),
    (Iterator, Position),
    (torch.Generator, lambda held, budget: State(held.get_state, held.set_state)),
    (random.Random, lambda held, budget: State(held.getstate, held.setstate)),  # noqa: S311 - it is not used
    (np.random.RandomState, lambda held, budget: State(held.get_state, held.set_state)),
    (
        np.random.Generator,
        lambda held, budget: State(
            lambda: held.bit_generator.state, functools.partial(setattr, held.bit_generator, "state")
        ),
    ),
)
"""How the objects of each kind are remembered."""


def snapshot_of(thing: Any, budget: Budget) -> Snapshot | None:
    """Return a snapshot of an object, or None if its kind is not known to be changed in place.

    Examples
    --------
    >>> seen = [1, 2]
    >>> snapshot = snapshot_of(seen, Budget())
    >>> seen.append(3)
    >>> snapshot.put_back(), seen
    (True, [1, 2])
    """
    return next((make(thing, budget) for kinds, make in KINDS if issubclass(type(thing), kinds)), None)
