"""What may not fit into memory is refused before it is taken, also in a container that has less than the machine."""

import os

import numpy as np
import pytest

from linalg_cnn import conv_matrix, memory
from linalg_cnn.memory import check_memory, memory_limit

PHYSICAL = 2**36


@pytest.fixture
def machine(monkeypatch):
    """A machine of 64 GiB."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": PHYSICAL // 2**12}.__getitem__)


@pytest.fixture
def control_groups(monkeypatch, tmp_path):
    """The files in which a container's limits stand, which a test may write: of versions 2 and 1."""
    files = tuple(str(tmp_path / name) for name in ("memory.max", "memory.limit_in_bytes"))
    monkeypatch.setattr(memory, "CGROUP_FILES", files)
    return files


def write(file, text):
    with open(file, "w", encoding="ascii") as lines:
        lines.write(text)


def test_too_much_memory_is_refused_with_the_bytes():
    message = (
        r"the 67,108,864 x 67,108,864 matrix of Conv with 38,604,390,400 entries needs 618,207,117,320 bytes "
        r"\(575\.8 GiB\), more than the limit of [\d,]+ bytes"
    )
    with pytest.raises(MemoryError, match=message):
        conv_matrix(np.ones((64, 64, 3, 3)), (64, 1024, 1024), padding=1)
    with pytest.raises(MemoryError, match=r"^it needs 11 bytes \(0.0 GiB\), more than the limit of 10 bytes$"):
        check_memory("it", 11, max_bytes=10)
    check_memory("it", 10, max_bytes=10)


@pytest.mark.parametrize(
    ("second", "first", "expected"),
    [
        (None, None, PHYSICAL),
        ("max\n", None, PHYSICAL),
        (f"{2**31}\n", None, 2**31),
        (None, f"{2**30}\n", 2**30),
        (f"{2**31}\n", f"{2**30}\n", 2**30),
        (f"{2**40}\n", None, PHYSICAL),
        (None, "9223372036854771712\n", PHYSICAL),  # what version 1 writes where there is no limit
        ("not a number\n", "", PHYSICAL),
    ],
)
@pytest.mark.usefixtures("machine")
def test_a_container_may_use_half_of_its_own_memory(control_groups, second, first, expected):
    for file, text in zip(control_groups, (second, first), strict=True):
        if text is not None:
            write(file, text)
    assert memory_limit() == expected // 2
    assert memory_limit(3 * PHYSICAL) == 3 * PHYSICAL  # who names a limit knows better


@pytest.mark.usefixtures("machine")
def test_the_limits_of_a_container_are_read_once(control_groups):
    write(control_groups[0], "1000")
    assert memory_limit() == 500
    write(control_groups[0], "2000")
    assert memory_limit() == 500


@pytest.mark.usefixtures("control_groups")
def test_memory_limit_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.delattr("os.sysconf")
    with pytest.raises(MemoryError, match="more than the limit of 8,589,934,592 bytes"):
        check_memory("it", 2**33 + 1)
