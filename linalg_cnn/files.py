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


def _replace(target: Path, content: bytes, old: os.stat_result | None) -> None:
    """Write a temporary file and move it to ``target``, with the permissions and the owner of the old file."""
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")  # a name that is short, however long the target's is
    private_at_first = 0o666 if old is None else 0o600
    try:
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, private_at_first)) as file:
            if old is not None:
                _keep_access(temporary, old)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


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
