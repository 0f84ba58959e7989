"""Checkpoints: written all or nothing, with a SHA-256, read without running code."""

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from linalg_cnn.files import write_atomically

MAGIC = b"linalg_cnn checkpoint 1 "


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Write a state of tensors, numbers, strings, lists and dicts: a line with its SHA-256, then torch's own format.

    Raises
    ------
    OSError
        If the file cannot be written; what stood there before is then untouched.

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
    """Read a state that `save_checkpoint` wrote, to a device or to the CPU. No code in the file is run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is truncated, altered, or something else; the message names the path.
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
