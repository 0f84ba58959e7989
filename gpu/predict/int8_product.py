"""The exact product of bytes and 8-bit integers, and the test whether it is exact here."""

from functools import cache

import torch

LARGEST_SUM = 2**31 - 1
"""The largest integer of 32 bits."""
TEST_ROWS = 64
"""Number of rows of the product that is tested."""


def int8_product(pixels: torch.Tensor, digits: torch.Tensor) -> torch.Tensor:
    """Return the product of uint8 (N, n) and int8 (n, columns), int32 (N, columns).

    torch has no public function for it; `is_exact` tests whether the private one computes it here.
    """
    if pixels.stride(1) != 1 or pixels.stride(0) < pixels.shape[1]:  # oneDNN fails for these without an error in torch
        pixels = pixels.clone(memory_format=torch.contiguous_format)
    product: torch.Tensor = torch._int_mm(pixels, digits)
    return product


@cache
def is_exact(inputs: int, columns: int, bits: int) -> bool:
    """Return whether the product is exact on this processor.

    Without 8-bit dot products (VNNI), oneDNN adds pairs of products in 16 bits, which saturate without an error unless
    the integers are within [-64, 63]. The test multiplies the largest pixels and random ones by the largest integers
    and by random ones, and compares the product with the same one in float64.

    Parameters
    ----------
    inputs, columns : int
        Sizes of the matrices to be multiplied: the library may use other code for other sizes.
    bits : int
        Number of bits of the integers, 8 or 7.
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
    """Return the number of products of bytes and integers whose sum fits into 32 bits, as a multiple of 64.

    Parameters
    ----------
    bits : int
        Number of bits of the integers.

    Examples
    --------
    >>> longest_sum(8), longest_sum(7)
    (65792, 131584)
    """
    return LARGEST_SUM // (255 << bits - 1) // 64 * 64
