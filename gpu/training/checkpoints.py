"""Checkpoints: written completely or not at all, with a SHA-256, and read without running code."""

import hashlib
import io
import os
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from linalg_cnn.files import write_atomically

MAGIC = b"linalg_cnn checkpoint 1 "


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, strings, lists and dicts: a line with its SHA-256, then torch's own format.

    The file is replaced only when the new one is complete.

    Raises
    ------
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
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    write_atomically(path, MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def load_checkpoint(path: str | os.PathLike[str], device: torch.device | None = None) -> dict[str, Any]:
    """Read a state that `save_checkpoint` wrote, to the CPU or another device, without running code from the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, altered, or no checkpoint; the message names the path.
    """
    head, _, content = Path(path).read_bytes().partition(b"\n")
    if not head.startswith(MAGIC):
        raise ValueError(f"{os.fspath(path)}: expected a checkpoint, got a file that starts with {head[:32]!r}")
    stored, computed = head[len(MAGIC) :].decode("ascii", "replace"), hashlib.sha256(content).hexdigest()
    if stored != computed:
        raise ValueError(f"{os.fspath(path)}: the content was altered: expected SHA-256 {stored}, got {computed}")
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location=device or "cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{os.fspath(path)}: expected tensors and plain values, got: {error}") from error
    return state


class Autosave:
    """A checkpoint file that is written again when some time has passed.

    Parameters
    ----------
    path : Path, optional
        The file; nothing is ever due without it.
    every_seconds : float
        Seconds after which the file is due to be written.
    """

    def __init__(self, path: Path | None, every_seconds: float) -> None:
        self.path, self.every_seconds = path, every_seconds
        self.written = time.monotonic()

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
