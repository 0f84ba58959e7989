"""What containers hold, read as Python's own classes do: a class of the user may do something else when it is read."""

from collections import OrderedDict, deque
from typing import Any

CONTAINERS = (OrderedDict, dict, list, tuple, set, frozenset, deque, bytearray)
"""Python's own containers, of which a user's may be derived."""


def entries_of(container: Any) -> dict[Any, Any] | list[Any]:
    """Return what a container holds: a dict of the entries of a dict, a list of those of any other.

    They are read with the methods of Python's own class. A class that is derived from it may make what it gives at
    every call, or import it.

    Parameters
    ----------
    container : dict, list, tuple, set, frozenset, deque, bytearray
        A container, also of a class derived from one of these.

    Examples
    --------
    >>> class Doubling(dict):
    ...     def __getitem__(self, key):
    ...         return 2 * super().__getitem__(key)
    >>> entries_of(Doubling(a=1))
    {'a': 1}
    """
    own: Any = own_class(container)
    return dict(own.items(container)) if issubclass(own, dict) else list(own.__iter__(container))


def own_class(container: Any) -> type:
    """Return the class of Python's own that a container's is, or is derived from."""
    return next(kind for kind in CONTAINERS if issubclass(type(container), kind))
