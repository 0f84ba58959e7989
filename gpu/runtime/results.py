"""The folder that a command writes its results into."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def check_output_folder(out: Path, names: Sequence[str]) -> None:
    """Make a folder for results, and check that files of the given names can be written into it.

    Raises
    ------
    OSError
        If the folder cannot be made, or nothing can be written into it.
    IsADirectoryError
        If a folder has the name of one of the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    for name in names:
        if (out / name).is_dir():
            raise IsADirectoryError(f"{out / name}: expected a file to write, got a folder")


@contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Keep other processes and threads that lock the same folder waiting; a context manager.

    The lock is that of a file ``.lock`` in the folder, which stays. The system releases it when a process ends, also
    when it is killed. On Windows, and on file systems without such locks, nobody waits.

    Raises
    ------
    OSError
        If the file cannot be made.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> with folder_locked(folder):
    ...     (folder / "record").touch()
    """
    with open(folder / ".lock", "ab") as file:
        with suppress(ImportError, OSError):
            import fcntl  # here: Windows has none

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
