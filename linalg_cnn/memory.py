"""How much memory a result may take, and the refusal of one that would take more."""

import os
from functools import cache

from linalg_cnn.checks import as_index

CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container may use: control groups of version 2, and of version 1."""

UNKNOWN = 16 * 2**30
"""Bytes that a machine which does not tell its memory is taken to have."""


def check_memory(what: str, n_bytes: int, max_bytes: int | None = None) -> None:
    """Refuse a result that would not fit into memory, before memory is allocated.

    Parameters
    ----------
    what : str
        Name of the result, for the message.
    n_bytes : int
        Size of the result, computed from the shapes.
    max_bytes : int, optional
        Limit on the size; half of the machine's memory if not given.

    Raises
    ------
    MemoryError
        If the result is larger than the limit.
    ValueError
        If ``max_bytes`` is not an int of at least 0.
    """
    limit = memory_limit(max_bytes)
    if n_bytes > limit:
        raise MemoryError(
            f"{what} needs {n_bytes:,} bytes ({n_bytes / 2**30:.1f} GiB), more than the limit of {limit:,} bytes"
        )


def memory_limit(max_bytes: int | None = None) -> int:
    """Return the largest allowed size of a result in bytes: ``max_bytes``, or half of the machine's memory.

    In a container, the machine's memory is what the container may use, if that is less. The system would end a process
    that took more, without an error that says why.

    Raises
    ------
    ValueError
        If ``max_bytes`` is not an int of at least 0.
    """
    if max_bytes is not None:
        limit = as_index(max_bytes)
        if limit is None or limit < 0:
            raise ValueError(f"max_bytes: expected an int of at least 0, got {max_bytes!r}")
        return limit
    try:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        machine = UNKNOWN
    return min([machine, *container_limits(CGROUP_FILES)]) // 2


@cache  # it is asked for each index table, and a running process keeps its container
def container_limits(files: tuple[str, ...]) -> tuple[int, ...]:
    """Return the limits in bytes that files of control groups state; one that is missing or says "max" states none."""
    limits = []
    for file in files:
        try:
            with open(file, encoding="ascii") as lines:
                limits.append(int(lines.read()))
        except (OSError, ValueError):
            continue
    return tuple(limits)
