"""Writing files atomically: a reader finds the old content or the new, never a part."""

import contextlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path``, flush it to the disk, and move it into place.

    ``path`` holds the whole old content or the whole new content, also after a crash or on a full disk.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written. ``path`` is then unchanged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> write_atomically(folder / "a.txt", b"whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a value as indented JSON with a final newline, with the guarantees of `write_atomically`.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written. ``path`` is then unchanged.
    ValueError
        If the value holds NaN or infinity, which JSON does not have. Nothing is written then.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "record.json"
    >>> write_json(path, {"epochs": 10})
    >>> print(path.read_text(), end="")
    {
      "epochs": 10
    }
    """
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())
