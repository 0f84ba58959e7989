"""The folder that a command writes its results into."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from linalg_cnn.files import lock


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
def output_folder(out: Path, names: Sequence[str]) -> Iterator[None]:
    """Make a folder for the results of one run, see `check_output_folder`, and refuse it to other runs meanwhile.

    The files of a result belong together: those of two runs at the same time would replace each other one by one.

    Raises
    ------
    OSError
        If the folder cannot be made, nothing can be written into it, or another run has locked it.
    """
    check_output_folder(out, names)
    with folder_locked(out, wait=False):
        yield


@contextmanager
def folder_locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep other processes and threads that lock the same folder waiting; a context manager.

    The lock is that of a file ``.lock`` in the folder, which is removed at the end. The system releases it when a
    process ends, also when it is killed. On Windows, and on file systems without such locks, nobody waits.

    Parameters
    ----------
    folder : Path
        Folder to lock.
    wait : bool
        Whether to wait until the folder is free, rather than to raise an error.

    Raises
    ------
    OSError
        If the file cannot be made.
    BlockingIOError
        If the folder is locked, and that is not waited for.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> with folder_locked(folder):
    ...     (folder / "record").touch()
    >>> [file.name for file in folder.iterdir()]
    ['record']
    """
    path = folder / ".lock"
    with ExitStack() as held:
        while True:
            file = held.enter_context(open(path, "ab"))
            is_locked = lock(file.fileno(), wait=wait)
            if is_locked is False:
                raise BlockingIOError(
                    f"{folder}: expected a folder that no other run writes its results into, got one that another run "
                    "has locked; wait for its end, or use another folder"
                )
            if is_locked is None or os.fstat(file.fileno()).st_nlink:
                break  # otherwise its owner has removed it at the end, and who comes now makes a new one
        try:
            yield
        finally:
            with suppress(OSError):  # Windows removes no open file
                path.unlink()


def check_record(record: object, command: str) -> None:
    """Refuse a record that is no dict.

    Parameters
    ----------
    record : object
    command : str
        The command that writes such records, for the message.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(record, dict):
        raise TypeError(f"record: expected a dict that {command} wrote, got {type(record).__name__}")


@contextmanager
def record_read(command: str) -> Iterator[None]:
    """Name the record in errors that come of its entries, within the context.

    Parameters
    ----------
    command : str
        The command that writes such records, for the message.

    Raises
    ------
    ValueError
        If entries of the record are missing, or of another kind.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"record: expected one as {command} wrote it, got one with other entries ({type(error).__name__}: {error})"
        ) from error
