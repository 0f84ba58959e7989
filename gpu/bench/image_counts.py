"""How many images a benchmark of predictions takes: enough for the device, and no more than fit its memory."""

import math

import torch

from gpu.experiments.timing import IN_SHAPE
from linalg_cnn.memory import memory_limit
from linalg_cnn.types import size_of

PIXELS = size_of(IN_SHAPE)
SHARE_OF_COPYING = 0.02
"""Bytes of the pixels, as a share of those that the device copies in a second: launches then take next to no time."""
BYTES_PER_PIXEL, BYTES_PER_PIXEL_IN_FLOATS = 3, 12
"""Memory that a pixel takes: its byte and a copy, with a margin; and, in a way that computes with floats, two values in
float32 at the same time."""
LEAST_IMAGES = 100_000


def images_for(copied: float, device: torch.device) -> int:
    """Return the number of images whose pixels are `SHARE_OF_COPYING` of what a device copies in a second.

    There are at most as many as fit its memory with a copy of them.

    Parameters
    ----------
    copied : float
        Bytes that the device copies in a second.
    device : torch.device

    Examples
    --------
    >>> images_for(1e10, torch.device("cpu"))  # 10 GB/s
    260000
    """
    wanted = math.ceil(SHARE_OF_COPYING * copied / PIXELS / 10_000) * 10_000
    return max(LEAST_IMAGES, min(wanted, _fitting(BYTES_PER_PIXEL, device)))


def fitting_in_floats(device: torch.device) -> int:
    """Return how many images a way that computes with floats may take at once."""
    return max(LEAST_IMAGES, _fitting(BYTES_PER_PIXEL_IN_FLOATS, device))


def _fitting(bytes_per_pixel: int, device: torch.device) -> int:
    """Return how many images fit the memory that is free on a device."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory_limit()
    return int(free / (bytes_per_pixel * PIXELS)) // 10_000 * 10_000
