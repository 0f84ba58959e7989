"""The samples on which a map is compared with its network."""

import torch

from gpu.collapsing.casting import dtype_name
from linalg_cnn.types import Shape

BATCHES = (1, 2, 5)
"""Sizes of the first batches that are compared."""
LATER_BATCHES = 4
"""Size of the batches that follow, except the last, which may be smaller."""
LARGE = 2.0**10
"""Size of large numbers, and one over that of tiny ones."""
HUGE = {torch.float16: 2.0**8}
"""Size of huge numbers where the range of a dtype is smaller than that of bfloat16."""


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


def unusual_samples(in_shape: Shape, dtype: torch.dtype, *, pixels: bool, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return batches of unusual sizes, which show whether a network branches on how large its input is.

    Large numbers exceed the usual thresholds, but do not hide a constant that a branch adds. Huge ones exceed what
    marks missing values; scores rarely overflow, since they are about the square root of the dtype's largest number.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of a sample.
    dtype : torch.dtype
        Dtype of the network.
    pixels : bool
        Whether the samples are pixels 0 to 255: then none is larger, and none negative.
    seed : int
        Seed of the samples.

    Returns
    -------
    dict of str to float64 tensor (N, *in_shape), on the CPU
        Batches of one sample, or of a positive and a negative one, which is half as large: the means differ from zero.

    Examples
    --------
    >>> samples = unusual_samples((3,), torch.float16, pixels=False)
    >>> {kind: bool(sample.abs().max() > 100) for kind, sample in samples.items()}
    {'a tiny': False, 'a large': True, 'a huge': True, 'a one-hot': False}
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(1, *in_shape, generator=generator, dtype=torch.float64)
    one_hot = torch.zeros(1, *in_shape, dtype=torch.float64)
    one_hot.view(-1)[one_hot.numel() // 2] = 255 if pixels else 1
    if pixels:
        return {"a dark": drawn.round(), "a bright": 255 - drawn.round(), "a one-hot": one_hot}
    huge = HUGE.get(dtype, LARGE**6)
    large = min(LARGE, huge) * (drawn + 1)
    return {
        "a tiny": (2 * drawn - 1) / LARGE,
        "a large": torch.cat([large, -large / 2]),
        "a huge": -huge * (drawn + 1),
        "a one-hot": one_hot,
    }


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
