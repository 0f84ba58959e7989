"""What an object that a user's code may change is like before a run, and how it is made like that again afterwards."""

import functools
import gc
import itertools
import random
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensor

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
        self.before = self._copied()

    def _copied(self) -> Any:
        return dict(self.container) if isinstance(self.container, dict) else list(self.container)

    def put_back(self) -> bool:
        """Refill the container unless it holds the same objects in the same order."""
        if _same_objects(self._copied(), self.before):
            return True
        fill = self.container.update if isinstance(self.container, (dict, set)) else self.container.extend
        self.container.clear()
        fill(self.before)
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


class Numbers:
    """The numbers in a tensor or an array, copied if the budget allows it."""

    def __init__(self, held: Any, budget: Budget) -> None:
        self.held, self.copy = held, None
        self.version = self._version()
        if budget.allows(held.nbytes):
            self.copy = held.detach().clone() if isinstance(held, torch.Tensor) else held.copy()

    def _version(self) -> int | None:
        """Return how often torch has written into the tensor; torch does not count that of all tensors."""
        counted = isinstance(self.held, torch.Tensor) and not self.held.is_inference()
        return self.held._version if counted else None

    def put_back(self) -> bool:
        """Copy the numbers back if they are others."""
        written = self._version() != self.version
        if self.copy is None:
            return not written
        if isinstance(self.held, np.ndarray):
            if not np.array_equal(self.held, self.copy):
                self.held[...] = self.copy
        elif written or not torch.equal(self.held, self.copy):
            self.held.data = self.copy  # the version of a tensor that waits for its backward pass stays
        return True


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
    tensors, which are left by an export, may not: then the cache is emptied. It is also emptied if it was empty.
    """

    def __init__(self, function: Any, budget: Budget) -> None:
        self.function, self.before = function, function.cache_info()

    def put_back(self) -> bool:
        """Empty the cache if it must be."""
        if self.function.cache_info().misses == self.before.misses:
            return True
        if not self.before.currsize or holds_stand_ins(gc.get_referents(self.function)):
            self.function.cache_clear()
        return True


def holds_stand_ins(things: Iterable[Any], depth: int = 3) -> bool:
    """Return whether there is a stand-in for a tensor among some objects, or in containers among them."""
    for thing in things:
        if isinstance(thing, FakeTensor):
            return True
        if depth and isinstance(thing, (list, tuple, set, dict)):
            parts = thing.values() if isinstance(thing, dict) else thing
            if holds_stand_ins(parts, depth - 1):
                return True
    return False


class Count:
    """The next number of an `itertools.count`, which only goes forward."""

    def __init__(self, count: Any, budget: Budget) -> None:
        self.count, self.before = count, repr(count)

    def put_back(self) -> bool:
        """Return whether the next number is still the same."""
        return repr(self.count) == self.before


KINDS: tuple[tuple[Any, Callable[[Any, Budget], Snapshot]], ...] = (
    ((list, dict, set, deque, bytearray), Entries),
    ((torch.Tensor, np.ndarray), Numbers),
    (functools._lru_cache_wrapper, Cache),
    (itertools.count, Count),
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
