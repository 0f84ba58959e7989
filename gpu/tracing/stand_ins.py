"""The stand-ins for tensors that a forward is called with to record it: whether any of them are left afterwards."""

import functools
import gc
import sys
import traceback
import types
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from gpu.models.linearizing.calls import TORCH_FOLDER
from gpu.models.surroundings import LOCK

CONTAINERS = (list, tuple, dict, set, deque, types.CellType)
"""Types of objects that are named by what holds them."""

FROZEN_BY_PYTHON = 1000 if sys.version_info[:2] == (3, 12) else 0
"""More objects than Python itself has frozen: 3.12 starts with 375. Whoever calls `gc.freeze` freezes thousands."""

MOST, DEPTH = 20, 4
"""Number of stand-ins whose holders are looked for, and of steps from a container to what holds it."""


@contextmanager
def stand_ins_found() -> Iterator[None]:
    """Find, at the end of the context, the stand-ins that were made in it and are still held by something.

    Caches of functions that hold some are emptied. An error that passes through loses the variables of its frames,
    among which are stand-ins.

    Warns
    -----
    RuntimeWarning
        If anything else holds some; the warning names it.
    """
    with LOCK:
        if gc.get_freeze_count() > FROZEN_BY_PYTHON:  # somebody has frozen objects, and keeps them so
            yield
            return
        handled = sys.exc_info()[1]  # the caller may be in an except clause
        gc.freeze()  # only what is made from here on is looked at, which is quick
        try:
            yield
        finally:
            ended = _forget_variables(sys.exc_info()[1], handled)
            left = _left()
            gc.unfreeze()
            places = _holders_of(left, ended) if left else ()
            if places:
                warnings.warn(
                    f"module: recording it left stand-ins for tensors in {', '.join(sorted(places))}, where they have "
                    "to be replaced by tensors before the next use",
                    RuntimeWarning,
                    stacklevel=4,
                )


def _forget_variables(error: BaseException | None, handled: BaseException | None) -> list[types.FrameType]:
    """Clear the variables in the frames of an error and of those that it was raised from, up to the one ``handled``.

    Returns the frames.
    """
    frames: list[types.FrameType] = []
    while error is not None and error is not handled:
        traceback.clear_frames(error.__traceback__)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            frames.append(frame)
            frame.f_locals  # noqa: B018 - before Python 3.13, what was read from it once is kept until it is read again
        vars(error).pop("partial_fx_graph", None)  # torch adds it to what a forward raises
        error = error.__cause__ or error.__context__
    return frames


def _left() -> list[FakeTensor]:
    """Return the stand-ins that are alive, of those made since `gc.freeze`."""
    proxies: Any = sys.modules.get("torch.fx.experimental.proxy_tensor")
    getattr(proxies, "_FAKE_TENSOR_ID_TO_PROXY_MAP_FOR_EXPORT", {}).clear()  # torch keeps the last program there
    if _alive():
        _empty_caches_of_torch()
    return _alive()[:MOST]


def _alive() -> list[FakeTensor]:
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is FakeTensor]


def _empty_caches_of_torch() -> None:
    """Empty what torch remembers of numbers that depend on the data, and with them of the inputs of the forward."""
    FakeTensorMode.cache_clear()
    shapes: Any = sys.modules.get("torch.fx.experimental.symbolic_shapes")
    for method in vars(getattr(shapes, "ShapeEnv", object)).values():
        if hasattr(method, "cache_clear"):
            method.cache_clear()


def _holders_of(things: list[Any], ended: list[types.FrameType]) -> set[str]:
    """Return the names of what holds any of some objects, also in containers, and empty caches of functions instead.

    What torch itself holds does not count, nor functions that only frames hold which have ended.
    """
    names, lists = set[str](), [things]
    passed = {id(lists), id(things)}
    for _ in range(DEPTH):
        if not lists[-1]:
            break
        found, containers = gc.get_referrers(*lists[-1]), list[Any]()
        for holder in found:
            kind = type(holder)
            if id(holder) in passed or issubclass(kind, (types.FrameType, BaseException)):
                continue
            passed.add(id(holder))
            if issubclass(kind, functools._lru_cache_wrapper):
                holder.cache_clear()
            elif issubclass(kind, CONTAINERS):
                containers.append(holder)
            elif not _is_of_torch(holder) and not _is_only_in(holder, [found, *ended]):
                names.add(str(getattr(holder, "__qualname__", None) or getattr(holder, "__name__", kind.__qualname__)))
        lists += [found, containers]  # they hold the containers, too
        passed |= {id(found), id(containers)}
    return names


def _is_only_in(holder: Any, known: list[Any]) -> bool:
    """Return whether an object is a function that nothing holds except some objects, and the frame that asks."""
    if not isinstance(holder, types.FunctionType):
        return False
    known = [*known, sys._getframe(), sys._getframe(1)]
    return all(any(other is one for one in known) for other in gc.get_referrers(holder))


def _is_of_torch(holder: Any) -> bool:
    """Return whether an object is torch's, or a function in a file of torch, which may have no module."""
    if isinstance(holder, types.FunctionType):
        return holder.__code__.co_filename.startswith(TORCH_FOLDER)
    return str(getattr(holder, "__module__", None) or getattr(holder, "__name__", "")).startswith("torch")
