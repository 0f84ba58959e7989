"""Memory of the process: what it keeps when it is freed, while functions are timed, and its peak."""

import ctypes
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Options of glibc's ``mallopt``, from ``malloc.h``."""
KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}
RESTORED = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}
"""Values to restore: glibc's default of MMAP_MAX. The two thresholds are dynamic until one of them is set; they get the
values that they reach in a process that frees large blocks."""


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let the C library keep freed memory within the context, and return it to the system at the end.

    By default glibc returns a large block to the system when it is freed. The next call then gets a new block, whose
    pages the system clears at the first access to each. In an operation that only reads and writes its block, more than
    half of the time is spent on these page faults. PyTorch's tuning guide recommends allocators that keep freed memory.

    Yields
    ------
    bool
        Whether freed memory is kept, which only glibc can do.

    Notes
    -----
    Source: ``man 3 mallopt``; https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html.

    Examples
    --------
    >>> with kept_memory() as kept:
    ...     kept in (True, False)  # functions that are timed here keep the memory that they free
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
        for option, value in RESTORED.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def keeps_memory() -> bool:
    """Return whether `kept_memory` can let this process keep freed memory."""
    return _glibc() is not None


def peak_bytes() -> int:
    """Return the peak resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _glibc() -> ctypes.CDLL | None:
    """Return this process's C library if it is glibc."""
    try:
        library = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None
