"""Temporary files of writers that were killed are removed by the next one, and those of living writers never."""

import itertools
import os
import subprocess
import sys
import threading

import pytest

from linalg_cnn import files
from linalg_cnn.files import write_atomically

pytest.importorskip("fcntl", reason="Windows has no such locks")

SLOW_WRITER = """
import os, runpy, sys, time
os.fsync = lambda descriptor: (print("written", flush=True), time.sleep(600))
files = runpy.run_path(sys.argv[1])  # the package would import scipy and sympy
files["write_atomically"](sys.argv[2], b"of the killed process")
"""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def killed_while_writing(path):
    process = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, files.__file__, str(path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"written\n"
    process.kill()
    process.communicate()


def test_what_a_killed_writer_left_is_removed_by_the_next_one_of_the_same_path_only(tmp_path):
    path = tmp_path / "map"
    killed_while_writing(path)
    (left,) = names_in(tmp_path)
    assert left.startswith(".")
    assert left.endswith(".tmp")
    write_atomically(tmp_path / "other", b"another path")
    assert names_in(tmp_path) == [left, "other"]
    write_atomically(path, b"whole")
    assert names_in(tmp_path) == ["map", "other"]
    assert path.read_bytes() == b"whole"


def test_a_writer_that_still_writes_keeps_its_file(tmp_path, monkeypatch):
    path, flush = tmp_path / "map", os.fsync
    writing, go_on = threading.Event(), threading.Event()

    def slow(descriptor):
        flush(descriptor)
        if threading.current_thread() is first:
            writing.set()
            assert go_on.wait(60)

    monkeypatch.setattr(os, "fsync", slow)
    first = threading.Thread(target=write_atomically, args=(path, b"first, and last to be moved"))
    first.start()
    assert writing.wait(60)
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert len(names_in(tmp_path)) == 2
    go_on.set()
    first.join()
    assert path.read_bytes() == b"first, and last to be moved"
    assert names_in(tmp_path) == ["map"]


def test_a_file_that_is_removed_between_its_making_and_its_locking_is_made_anew(tmp_path, monkeypatch):
    lock, tries = files.lock, []

    def removed_at_first(descriptor, **options):
        if options and not tries:
            tries.append(names_in(tmp_path))
            files._remove_abandoned(tmp_path, ".")
            assert names_in(tmp_path) == []
        return lock(descriptor, **options)

    monkeypatch.setattr(files, "lock", removed_at_first)
    write_atomically(tmp_path / "map", b"whole")
    assert len(tries) == 1
    assert names_in(tmp_path) == ["map"]


def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch):
    killed_while_writing(tmp_path / "map")
    (left,) = names_in(tmp_path)
    monkeypatch.setitem(sys.modules, "fcntl", None)
    write_atomically(tmp_path / "map", b"whole")
    assert names_in(tmp_path) == [left, "map"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a file that Python closes, unasked
@pytest.mark.parametrize("existing", [False, True])
def test_a_writer_that_is_interrupted_anywhere_leaves_the_old_file_or_the_new_one_and_nothing_else(tmp_path, existing):
    """Ctrl-C may come before any line; it came between the making of the temporary file and its writing."""
    path, line, interrupted = tmp_path / "map", 0, True

    def interrupt_at(number):
        lines = itertools.count(1)

        def trace(frame, event, argument):
            if frame.f_code.co_filename != files.__file__:
                return None
            if event == "line" and next(lines) == number:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        return trace

    while interrupted:
        line += 1
        path.unlink(missing_ok=True)
        if existing:
            path.write_bytes(b"old")
        tracing = sys.gettrace()
        sys.settrace(interrupt_at(line))
        try:
            write_atomically(path, b"new")
            interrupted = False
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(tracing)
        assert names_in(tmp_path) in ([["map"]] if existing else [[], ["map"]])
        assert not path.exists() or path.read_bytes() in ({b"old", b"new"} if existing else {b"new"})
    assert line > 20
    assert path.read_bytes() == b"new"
