"""Checkpoints: written completely or not at all, with a SHA-256, and read without running code or filling the memory.

The SHA-256 guards against accidents. Whoever makes a file on purpose can compute it, so what a file asks torch to make
is checked, too.
"""

import hashlib
import io
import os
import pickletools
import re
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from linalg_cnn.checks import as_float
from linalg_cnn.files import write_atomically

MAGIC = b"linalg_cnn checkpoint 1 "
HEAD = len(MAGIC) + 64
"""Length of the first line, which ends in the SHA-256 of the rest as hexadecimal digits."""
MADE = re.compile(
    r"collections OrderedDict|torch\._utils _rebuild_(tensor_v2|tensor_v3|parameter)|torch (Size|device)"
    r"|torch\.storage UntypedStorage|torch (\w+Storage|u?int\d+|b?float\d\w*|complex\d+|bool)"
)
"""What the pickle in a checkpoint may name. torch allows more, such as a bytearray of any size."""
EXPECTED = "expected tensors, numbers, strings, lists and dicts"


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, strings, lists and dicts: a line with its SHA-256, then torch's own format.

    The file is replaced only when the new one is complete.

    Raises
    ------
    ValueError
        If the state holds something else, which could not be read again. Nothing is written then.
    OSError
        If the file cannot be written. A file that is already there is then unchanged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/last.ckpt", {"epoch": 3, "weights": torch.ones(2)})
    ...     load_checkpoint(f"{folder}/last.ckpt")
    {'epoch': 3, 'weights': tensor([1., 1.])}
    """
    content = _as_bytes(state)
    write_atomically(path, MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def _as_bytes(state: object) -> bytes:
    """Return a state in torch's own format.

    Raises
    ------
    ValueError
        If the state is no dict, or holds something that could not be read again.
    MemoryError
        If there is not enough memory for it.
    """
    if not isinstance(state, dict):
        raise ValueError(f"state: expected a dict, got {type(state).__name__}")  # noqa: TRY004 - documented so
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
    except MemoryError:
        raise
    except Exception as error:  # an object may raise anything when it is pickled, or have no way to be
        raise ValueError(f"state: {EXPECTED}, got something that cannot be pickled: {error}") from error
    with zipfile.ZipFile(buffer) as archive:
        forbidden = _forbidden_name(archive)
    if forbidden is not None:
        raise ValueError(f"state: {EXPECTED}, got {forbidden}")
    return buffer.getvalue()


def load_checkpoint(path: str | os.PathLike[str], device: torch.device | None = None) -> dict[str, Any]:
    """Read a state that `save_checkpoint` wrote, to the CPU or another device, without running code from the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, altered, or no checkpoint; the message names the path.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        head = file.read(HEAD + 1)
        if not head.startswith(MAGIC):
            raise ValueError(f"{name}: expected a checkpoint, got a file that starts with {head[:32]!r}")
        content = file.read()
    stored, computed = head[len(MAGIC) : HEAD].decode("ascii", "replace"), hashlib.sha256(content).hexdigest()
    if stored != computed or head[HEAD:] != b"\n":
        raise ValueError(f"{name}: the content was altered: expected SHA-256 {stored}, got {computed}")
    try:
        state = torch.load(_checked(content), map_location=device or "cpu", weights_only=True)
    except Exception as error:  # in a file that was made on purpose, anything can be wrong
        raise ValueError(f"{name}: expected tensors and plain values, got: {str(error) or repr(error)}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{name}: expected a dict of values, got {type(state).__name__}")  # noqa: TRY004 - a bad file
    return state


def _checked(content: bytes) -> io.BytesIO:
    """Return the parts of one of torch's archives as a new archive, which takes no more memory than the file.

    torch reads the new archive and not the file, in which it might find other parts than those that were checked here.

    Raises
    ------
    ValueError
        If a part is compressed, parts overlap, or the pickle names something that a state does not need.
    """
    copied = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(copied, "w") as copy:
        parts = archive.infolist()
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
            raise ValueError("a compressed archive, which torch does not write")
        size = sum(max(part.file_size, part.compress_size) for part in parts)
        if size > len(content) or len(set(archive.namelist())) < len(parts):
            raise ValueError(f"an archive of {len(content):,} bytes with {size:,} bytes in {len(parts)} parts")
        forbidden = _forbidden_name(archive)
        if forbidden is not None:
            raise ValueError(forbidden)
        for part in parts:
            copy.writestr(part.filename, archive.read(part))
    copied.seek(0)
    return copied


def _forbidden_name(archive: zipfile.ZipFile) -> str | None:
    """Return a name in the pickle of one of torch's archives that is not in `MADE`; None if all are."""
    for part in archive.namelist():
        if not part.lower().endswith(".pkl"):
            continue
        for operation, argument, _ in pickletools.genops(archive.read(part)):
            if operation.name == "LONG4":
                return "an int of more than 2,039 bits"  # torch writes it, but does not read it
            # In protocol 2, in which torch writes, GLOBAL is the only operation with a name that is used.
            named = operation.name in {"GLOBAL", "STACK_GLOBAL", "INST"} or operation.name.startswith("EXT")
            if named and not (operation.name == "GLOBAL" and MADE.fullmatch(str(argument))):
                return str(argument or operation.name)
    return None


def _check_seconds(value: object) -> float:
    """Return a number of seconds, which may be infinite, as Python's float.

    Raises
    ------
    ValueError
        If it is no number of at least 0.
    """
    seconds = as_float(value)
    if not seconds >= 0:
        raise ValueError(f"every_seconds: expected a number of at least 0, got {value!r}")
    return seconds


class Autosave:
    """A checkpoint file that is written again when some time has passed.

    Parameters
    ----------
    path : path, optional
        The file; nothing is ever due without it.
    every_seconds : float
        Seconds after which the file is due to be written.

    Raises
    ------
    ValueError
        If ``every_seconds`` is no number of at least 0.
    """

    def __init__(self, path: str | os.PathLike[str] | None, every_seconds: float) -> None:
        self.path, self.every_seconds = None if path is None else Path(path), _check_seconds(every_seconds)
        self.written = time.monotonic()

    def check(self, state: Callable[[], dict[str, Any]]) -> None:
        """Check that a state can be written, and that the file can be, before the work.

        Parameters
        ----------
        state : callable
            Returns a state like those that are written later on; called only if there is a path.

        Raises
        ------
        ValueError
            If the state holds something that could not be read again; the error names the path.
        OSError
            If the file cannot be written; the error names the path.
        """
        if self.path is None:
            return
        try:
            _as_bytes(state())
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        if self.path.exists() and not self.path.is_file():
            return  # a device, which is written to, and not replaced
        try:
            with tempfile.TemporaryFile(dir=Path(os.path.realpath(self.path)).parent):
                pass
        except OSError as error:  # which names the temporary file
            raise OSError(error.errno, error.strerror, os.fspath(self.path)) from error

    def resume(self, load: Callable[[dict[str, Any]], None]) -> bool:
        """Pass the state in the file to a function, and return True; return False if there is no file.

        Raises
        ------
        ValueError
            If the file is damaged, or the function refuses the state; the message names the path.
        """
        if self.path is None or not self.path.exists():
            return False
        state = load_checkpoint(self.path)
        try:
            load(state)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        except (RuntimeError, TypeError, AttributeError, LookupError) as error:
            raise ValueError(f"{self.path}: expected the state of this training, got: {error!r}") from error
        return True

    def exists(self) -> bool:
        """Return whether there is a file to resume from."""
        return self.path is not None and self.path.exists()

    def is_due(self, *, at_once: bool = False) -> bool:
        """Return whether the file is to be written now, because the time has passed or ``at_once`` is set."""
        return self.path is not None and (at_once or time.monotonic() - self.written >= self.every_seconds)

    def write(self, state: dict[str, Any]) -> None:
        """Write a state, if there is a path.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        if self.path is not None:
            save_checkpoint(self.path, state)
            self.written = time.monotonic()
