"""Freed memory, kept by the process while it is timed."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Of ``mallopt``, in ``malloc.h``."""
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}
AS_EVER = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}
"""glibc's default, and what its two thresholds, which move until one of them is set, come to in a process that has
freed large blocks."""


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let the C library keep the memory that is freed inside, and give it back to the system at the end.

    By default glibc gives a large block back to the system when it is freed, and takes a new one for the next call,
    whose pages the system clears one by one: more than half of the time of an operation that only reads and writes its
    block. Allocators that keep memory are what PyTorch's tuning guide recommends for the CPU.

    Yields
    ------
    bool
        Whether memory is kept: with glibc alone.

    Notes
    -----
    Source: ``man 3 mallopt``; https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html.

    Examples
    --------
    >>> with kept_memory() as kept:
    ...     kept in (True, False)  # what is timed here keeps the memory that it frees
    True
    """
    library = _glibc()
    if library is None:
        yield False
        return
    for option, value in KEPT.items():
        library.mallopt(option, value)
    try:
        yield True
    finally:
        for option, value in AS_EVER.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return this process's C library if it is glibc."""
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
