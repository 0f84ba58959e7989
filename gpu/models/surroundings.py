"""`surroundings_kept`: what runs of copies of a user's module leave in the process is undone or named."""

import functools
import random
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.models.process_settings import SETTINGS
from gpu.models.reachable import shared_with_copies
from gpu.models.snapshots import Snapshot

LOCK = threading.RLock()
"""Held while copies run: what is put back belongs to the whole process, in which other threads may run copies, too."""

RANDOM_STATES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (random.getstate, random.setstate),
    (functools.partial(np.random.get_state, legacy=False), np.random.set_state),
    (torch.get_rng_state, torch.set_rng_state),
)
"""The random generators of the process, except those of CUDA, which there may be none of."""


@contextmanager
def surroundings_kept(module: nn.Module) -> Iterator[None]:
    """Put back, at the end of the context, what runs of copies of a module have changed beside the copies.

    These are the random states, the settings of `SETTINGS`, and the globals, closures, class attributes, caches and
    objects that the code of the module and of its hooks can reach and that a copy shares with the module. Iterators
    cannot go back. Changes inside objects of extensions and in files are not seen. Only one thread at a time is in the
    context.

    Parameters
    ----------
    module : nn.Module
        The user's module, or a copy of it.

    Warns
    -----
    RuntimeWarning
        If something was changed that cannot be put back; the warning names it.

    Examples
    --------
    >>> from gpu.models.copying import copy_of
    >>> class Counting(nn.Module):
    ...     calls = []
    ...
    ...     def forward(self, x):
    ...         self.calls.append(x)
    ...         return x
    >>> net = Counting()
    >>> with surroundings_kept(net):
    ...     y = copy_of(net)(torch.ones(2))
    >>> net.calls
    []
    """
    left: list[str] = []
    with LOCK:
        try:
            with _process_kept():
                snapshots = shared_with_copies(module)
                try:
                    yield
                finally:
                    left += (place for place, snapshot in snapshots if not _is_put_back(snapshot))
        finally:  # a forward may have switched warnings off
            if left:
                warnings.warn(
                    f"module: running a copy changed {', '.join(dict.fromkeys(left))}, which cannot be undone",
                    RuntimeWarning,
                    stacklevel=4,
                )


def _is_put_back(snapshot: Snapshot) -> bool:
    try:
        return snapshot.put_back()
    except Exception:  # setting an attribute may run the user's code, which may raise anything
        return False


@contextmanager
def _process_kept() -> Iterator[None]:
    """Put back the random states and the settings, and let functions that torch compiles run as written."""
    states = [(put, get()) for get, put in RANDOM_STATES]
    if torch.cuda.is_initialized():
        states.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    settings = [(get, put, get()) for get, put in SETTINGS]
    compiled = "torch._dynamo" in sys.modules  # importing it takes seconds
    try:
        with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
            yield
    finally:
        for get, put, before in settings:
            if get() != before:
                put(before)
        for put, state in states:
            put(state)
