"""Turns of threads: what changes or depends on the state of the whole process is done by one thread at a time.

Torch's random state, its settings, tracing and the capture of a CUDA graph belong to the process. Trials that run as
threads on one device therefore take turns, and give theirs up while they only replay graphs, which is most of the time.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpu.runtime.devices import wait_for_stream


class _Held(threading.local):
    """Whether this thread has the turn."""

    value = False


_lock = threading.Lock()
_held = _Held()


@contextmanager
def turn_taken(device: torch.device | None = None) -> Iterator[None]:
    """Wait for the turn, unless this thread has it already, and keep it within the context.

    Parameters
    ----------
    device : torch.device, optional
        A CUDA device whose current stream this thread waits for first. Hundreds of replays may still be queued on it:
        if the thread waited for them in its turn, all others would wait, too.

    Examples
    --------
    >>> with turn_taken(), turn_taken():
    ...     with turn_given_up():
    ...         pass  # another thread may have the turn
    """
    if _held.value:
        yield
        return
    if device is not None:
        wait_for_stream(device)
    with _lock:
        _held.value = True
        try:
            yield
        finally:
            _held.value = False


@contextmanager
def turn_given_up(device: torch.device | None = None) -> Iterator[None]:
    """Let other threads have the turn within the context, if this thread has it, and wait for it at the end.

    Parameters
    ----------
    device : torch.device, optional
        A CUDA device whose current stream this thread waits for before it takes the turn again (see `turn_taken`).
    """
    if not _held.value:
        yield
        return
    _held.value = False
    _lock.release()
    try:
        yield
    finally:
        try:
            if device is not None:
                wait_for_stream(device)
        finally:
            _lock.acquire()
            _held.value = True
