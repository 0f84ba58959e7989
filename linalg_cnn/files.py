"""Files that are written whole or not at all, and JSON records that carry the SHA-256 of their content."""

import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any

SEAL = "sha256"
"""Key of the SHA-256 in a record."""


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path``, flush it to the disk, and move it into place.

    ``path`` holds the whole old content or the whole new content, also after a crash or on a full disk. A file that is
    replaced keeps its permissions, and its owner and group where the system allows it. A symbolic link stays: the file
    that it points to is replaced. What is no regular file (a device, a FIFO) is written to, and not replaced.

    A process that is killed leaves its temporary file, ``.HEX.tmp``, which the next writer of the same path removes: a
    writer holds a lock on its file, and what nobody holds is abandoned. Where there are no locks, it stays.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written; the error names ``path``. A regular file is then unchanged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a.txt", b"whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    try:
        old = _status(path)
        if old is None or stat.S_ISREG(old.st_mode):
            _replace(Path(os.path.realpath(path)), content, old)
        else:
            with open(path, "wb") as file:
                file.write(content)
    except OSError as error:
        if error.errno is None:
            raise
        # The system names the temporary file, or none where the disk is full.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _status(path: str | os.PathLike[str]) -> os.stat_result | None:
    """Return the status of the file that a path leads to, or None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        return Path(path).stat()
    return None


def lock(descriptor: int, *, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed, and return whether that was done.

    False means that another open file holds the lock, which is not waited for without ``wait``; None means that the
    system (Windows) or the file system has no such locks. The system releases them when a process ends.
    """
    try:
        import fcntl  # here: Windows has none

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return None
    return True


def _replace(target: Path, content: bytes, old: os.stat_result | None) -> None:
    """Write a temporary file and move it to ``target``, with the permissions and the owner of the old file."""
    # a name that is short, however long the target's is
    start = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"
    _remove_abandoned(target.parent, start)
    while not _written_and_moved(target.parent / f"{start}{secrets.token_hex(4)}.tmp", target, content, old):
        pass


def _written_and_moved(temporary: Path, target: Path, content: bytes, old: os.stat_result | None) -> bool:
    """Write a temporary file and move it to ``target``, or leave nothing.

    It returns False if another writer has removed the file, as abandoned, before it was locked.
    """
    mode = 0o666 if old is None else 0o600
    with contextlib.ExitStack() as until_moved:
        try:
            with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
                if lock(file.fileno(), wait=True):
                    # Windows, which does not lock, could not move a file that is still open
                    until_moved.callback(os.close, os.dup(file.fileno()))
                    if not os.fstat(file.fileno()).st_nlink:
                        return False
                if old is not None:
                    _keep_access(temporary, old)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException as error:
            if not isinstance(error, FileExistsError):  # a file of that name is another writer's
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise
    return True


def _remove_abandoned(folder: Path, start: str) -> None:
    """Remove the temporary files of a target that no process holds, where the system tells."""
    for path in folder.glob(f"{start}*.tmp"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if lock(file.fileno()):
                path.unlink()


def _keep_access(path: Path, old: os.stat_result) -> None:
    """Give a file the group, the owner and the permissions of an old one, as far as the system allows it."""
    for user, group in ((-1, old.st_gid), (old.st_uid, -1)):
        with contextlib.suppress(OSError, AttributeError):  # AttributeError: Windows has no chown
            os.chown(path, user, group)
    with contextlib.suppress(OSError):  # a file system without permissions
        path.chmod(stat.S_IMODE(old.st_mode))


def write_json(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write a record as indented JSON with a final newline, with the guarantees of `write_atomically`.

    The last entry, ``sha256``, is the SHA-256 of the others, which `read_json` checks. It guards against accidents:
    whoever changes a record on purpose can compute it anew.

    Parameters
    ----------
    path : str or path
    record : mapping
        Values that JSON has, by name; an entry ``sha256`` is replaced.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written. ``path`` is then unchanged.
    ValueError
        If the record holds NaN or infinity, which JSON does not have, or two names that are one in JSON, such as 1 and
        "1". Nothing is written then.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "record.json"
    >>> write_json(path, {"epochs": 10})
    >>> print(path.read_text(), end="")
    {
      "epochs": 10,
      "sha256": "d54d5ba4cb5a3266f948eb4683f443bc809a3484076838c182e4cf51ba1a457d"
    }
    """
    content = json.loads(json.dumps(dict(record), allow_nan=False), object_pairs_hook=_different)  # as it will be read
    content.pop(SEAL, None)
    content[SEAL] = _digest(_canonical(content))
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of pairs.

    Raises
    ------
    ValueError
        If two of them have the same name.
    """
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError(f"record: expected names that differ as strings, got {[name for name, _ in pairs]}")
    return content


def read_json(
    path: str | os.PathLike[str], what: str = "a record", fields: Mapping[str, type | UnionType] | None = None
) -> dict[str, Any]:
    """Return the record in a file, without its SHA-256. A record that carries none is not checked against one.

    Parameters
    ----------
    path : str or path
    what : str
        What the file should hold, for the error.
    fields : mapping, optional
        Types of the entries that the record must have, by name.

    Raises
    ------
    OSError
        If the file does not exist or cannot be read.
    ValueError
        If the file is truncated, altered, no JSON object, or lacks one of the fields. The message names the path.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "record.json"
    >>> write_json(path, {"epochs": 10})
    >>> read_json(path, "the result of a trial", {"epochs": int})
    {'epochs': 10}
    """
    name = os.fspath(path)
    try:
        content: Any = json.loads(Path(path).read_bytes())
        stored = content.pop(SEAL, None) if isinstance(content, dict) else None
        canonical = _canonical(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: expected {what}, got no whole JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected {what}, got the JSON {canonical[:40]}")  # noqa: TRY004 - a bad file
    if stored is not None and stored != _digest(canonical):
        raise ValueError(
            f"{name}: the content was altered: expected SHA-256 {str(stored)[:64]}, got {_digest(canonical)}"
        )
    wrong = [key for key, kind in (fields or {}).items() if not isinstance(content.get(key, ...), kind)]
    if wrong:
        raise ValueError(f"{name}: expected {what}, got one whose {', '.join(wrong)} are missing or of another type")
    return content


def _canonical(content: object) -> str:
    """Return JSON in a form that does not depend on the order of names and on blanks."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _digest(canonical: str) -> str:
    return hashlib.sha256(canonical.encode()).hexdigest()
