"""The device of a computation, and how cuDNN chooses its algorithms there."""

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
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:  # each backend has its own
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise ValueError(
            f"device: expected a device of this machine, got {name!r}: {reason}; it has {', '.join(_usable())}"
        ) from error
    return device


def wait_for_stream(device: torch.device) -> None:
    """Wait until the current stream of a CUDA device has done all that was launched on it; elsewhere do nothing."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def with_index(device: torch.device) -> torch.device:
    """Return the device as tensors name it, with its index where they have one: "cuda" is not equal to "cuda:0"."""
    return torch.empty(0, device=device).device


def _usable() -> list[str]:
    """Return the devices that torch can use here, of the kinds that it supports in all its builds."""
    on_apple = ["mps"] * torch.backends.mps.is_available()
    return ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count())), *on_apple]


@contextmanager
def measured_convolutions() -> Iterator[None]:
    """Let cuDNN measure its algorithms for each new convolution and take the fastest, as ``cudnn.benchmark`` does.

    The choice may differ from run to run, and with it the last bits of results. Where the process asks for
    deterministic algorithms, nothing is changed.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = before or not (cudnn.deterministic or torch.are_deterministic_algorithms_enabled())
    try:
        yield
    finally:
        cudnn.benchmark = before
