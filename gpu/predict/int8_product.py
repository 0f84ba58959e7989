"""Bytes times 8-bit integers, summed exactly."""

from functools import cache

import torch

LARGEST_SUM = 2**31 - 1
TEST_ROWS = 64


def int8_product(pixels: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    """Return uint8 (N, n) times int8 (n, columns), as int32.

    torch has no public function for this: `is_exact` finds out whether the private one does it here.
    """
    if pixels.stride(1) != 1 or pixels.stride(0) < pixels.shape[1]:  # oneDNN refuses these, and torch does not notice
        pixels = pixels.clone(memory_format=torch.contiguous_format)
    product: torch.Tensor = torch._int_mm(pixels, digits)
    return product


@cache
def is_exact(inputs: int, columns: int, bits: int) -> bool:
    """Return whether the product is exact on this processor for integers of so many bits.

    Without 8-bit dot products (VNNI), oneDNN adds pairs of products in 16 bits, which saturates, silently, unless the
    integers are within [-64, 63]. So the largest pixels are multiplied with the largest integers, of one sign and of
    random ones, and compared with the same product in float64.

    Parameters
    ----------
    inputs, columns : int
        Of the matrices that will be multiplied: other sizes may take another way through the library.
    bits : int
        8 or 7.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    half = 2 ** (bits - 1)
    pixels = torch.randint(0, 256, (TEST_ROWS, inputs), generator=generator, device="cpu").to(torch.uint8)
    digits = torch.randint(-half, half, (inputs, columns), generator=generator, device="cpu").to(torch.int8)
    pixels[::2] = 255
    digits[:, 0::4], digits[:, 1::4] = -half, half - 1
    try:
        product = int8_product(pixels, digits)
    except (AttributeError, RuntimeError):  # torch without the function, or without it for these dtypes
        return False
    return bool(torch.equal(product.double(), pixels.double() @ digits.double()))


def longest_sum(bits: int) -> int:
    """Return how many products of bytes with integers of so many bits fit into 32 bits together.

    Examples
    --------
    >>> longest_sum(8), longest_sum(7)
    (65792, 131584)
    """
    return LARGEST_SUM // (255 << bits - 1) // 64 * 64
