"""The device of a computation, and full float32 precision on it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def resolve_device(name: str | None) -> torch.device:
    """Return the named device, or without a name CUDA where there is one and the CPU otherwise.

    Raises
    ------
    ValueError
        If there is no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: expected a device of this machine, got {name!r}: {reason}") from error
    return device


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep cuDNN from computing convolutions in TF32, its default on CUDA, whose mantissa has 10 bits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
