"""The samples on which a map is compared with its network."""

import torch

from gpu.collapsing.casting import dtype_name
from linalg_cnn.types import Shape

BATCHES = (1, 2, 5)
"""Sizes of the first batches that are compared."""
LATER_BATCHES = 4
"""Size of the batches that follow, except the last, which may be smaller."""


def check_inputs(inputs: torch.Tensor | None, in_shape: Shape, dtype: torch.dtype) -> torch.Tensor | None:
    """Return the user's samples if they fit the network.

    Raises
    ------
    TypeError
        If they are not a tensor.
    ValueError
        If they have another shape, or hold anything but finite real numbers in the network's dtype.
    """
    if inputs is None:
        return None
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs: expected a tensor, got {type(inputs).__name__}")
    if tuple(inputs.shape[1:]) != in_shape:
        raise ValueError(f"inputs: expected shape (N, {', '.join(map(str, in_shape))}), got {tuple(inputs.shape)}")
    if inputs.is_complex() or not torch.isfinite(inputs.to(dtype)).all():
        raise ValueError(f"inputs: expected finite real numbers that fit {dtype_name(dtype)}, got others")
    return inputs


def draw_samples(
    in_shape: Shape, *, pixels: bool, given: torch.Tensor | None, count: int = sum(BATCHES), seed: int = 0
) -> torch.Tensor:
    """Return random samples, followed by the user's.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of a sample.
    pixels : bool
        Whether the random samples are pixels 0 to 255, rather than normally distributed.
    given : tensor (N, *in_shape), optional
        The user's samples.
    count : int
        Number of random samples.
    seed : int
        Seed of the random samples.

    Returns
    -------
    float64 tensor (count + N, *in_shape), on the CPU
    """
    generator = torch.Generator().manual_seed(seed)
    if pixels:
        drawn = torch.randint(0, 256, (count, *in_shape), generator=generator).double()
    else:
        drawn = torch.randn(count, *in_shape, generator=generator, dtype=torch.float64)
    return drawn if given is None else torch.cat([drawn, given.detach().cpu().double()])


def in_batches(samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return samples as batches of 1, 2, 5 and then 4, since a network may depend on the size of the batch.

    Examples
    --------
    >>> [len(batch) for batch in in_batches(torch.zeros(14, 3))]
    [1, 2, 5, 4, 2]
    """
    rest = len(samples) - sum(BATCHES)
    later = (min(LATER_BATCHES, rest - start) for start in range(0, rest, LATER_BATCHES))
    batches: tuple[torch.Tensor, ...] = samples.split([*BATCHES, *later])
    return batches
