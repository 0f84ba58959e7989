"""The backends in torch: one linear layer, the same in blocks, and exact products with slices of 8-bit digits."""

from collections.abc import Callable
from typing import Self

import numpy as np
import torch
from torch.nn.functional import linear

from gpu.collapsing.casting import dtype_name
from gpu.predict.backend import BYTES, FLOATS, Backend, Source, UnavailableError
from gpu.predict.digit_slices import MOST_SLICES, DigitSlices, slice_digits, slices_needed
from gpu.predict.int8_product import int8_product, is_exact, longest_sum
from gpu.predict.layers import Layers
from linalg_cnn.types import Array

BLOCK_BYTES = 3 * 2**20
"""Size of a block of images that stays in the caches from one operation to the next."""
FEWEST_ROWS = 64
"""Least number of images in a block."""
MANY_ROWS = 256
"""Number of images from which a pass per slice is faster than one small product, which copies the sums to float64."""
COLUMNS = 16
"""Matrix products are fastest for multiples of this many columns."""
LEAST_INPUTS, MOST_COLUMNS = 128, 64
"""Fewest inputs and most columns for which `SliceProducts` is faster than `Blocks`: two cores, AVX-512 and VNNI."""


class Linear(Backend):
    """One linear layer after the other, on all images at once, in the dtype of the layers."""

    name = "linear"
    dtypes = (*BYTES, *FLOATS, torch.float64)

    def __init__(self, layers: Layers) -> None:
        (self.weight, self.bias), *self.rest = layers
        self.dtype = self.weight.dtype
        self.cast = torch.Tensor.float if self.dtype == torch.float32 else torch.Tensor.double

    @classmethod
    def build(cls, source: Source, *, forced: bool) -> Self:
        """Return the backend for a map."""
        return cls(source.layers)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images."""
        y = linear(self.cast(flat), self.weight, self.bias)
        for weight, bias in self.rest:
            y = linear(y, weight, bias)
        return y

    def __str__(self) -> str:
        """Describe the computation."""
        return f"{dtype_name(self.dtype)}, the whole batch at once"


class Blocks(Backend):
    """Linear layers on blocks of images that stay in the caches, with the first weight padded to whole vectors."""

    name = "blocks"
    dtypes = (*BYTES, *FLOATS)
    device_type = "cpu"
    images_from = 64  # below, one linear layer on the whole batch is faster: on two cores with AVX-512

    def __init__(self, layers: Layers) -> None:
        (weight, bias), *rest = layers
        self.width = len(bias)
        padding = whole_columns(self.width) - self.width
        self.weight = torch.cat([weight, weight.new_zeros(padding, weight.shape[1])])
        self.bias = torch.cat([bias, bias.new_zeros(padding)])
        self.rest = Linear(rest) if rest else None
        self.out_size = len(layers[-1][1])
        self.rows = rows_per_block(weight.element_size() * weight.shape[1])

    @classmethod
    def build(cls, source: Source, *, forced: bool) -> Self:
        """Return the backend for a map."""
        return cls(source.layers)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images."""
        return in_blocks(self._block, flat, self.rows, self.out_size)

    def _block(self, block: torch.Tensor) -> torch.Tensor:
        y = linear(block.float(), self.weight, self.bias)[:, : self.width]
        return y.contiguous() if self.rest is None else self.rest(y)

    def __str__(self) -> str:
        """Describe the computation."""
        return f"float32, in blocks of {self.rows:,}"


class SliceProducts(Backend):
    """Exact products of bytes with slices of 8-bit digits, added up in float64.

    Parameters
    ----------
    slices : DigitSlices
        Slices of the innermost layer.
    bias : float64 array (out_size,)
        Bias of the innermost layer.
    rest : Layers
        The layers that follow.
    """

    name = "planes"
    dtypes = BYTES
    device_type = "cpu"
    images_from = 32  # below, one linear layer on the whole batch is faster: on two cores with AVX-512 and VNNI

    def __init__(self, slices: DigitSlices, bias: Array, rest: Layers) -> None:
        count, self.width, inputs = slices.digits.shape
        self.slices = slices
        digits = torch.zeros(inputs, whole_columns(count * self.width), dtype=torch.int8, device="cpu")
        digits[:, : count * self.width] = torch.from_numpy(slices.digits).reshape(-1, inputs).T
        longest = longest_sum(slices.bits)  # a longer sum may not fit into 32 bits
        self.parts: list[tuple[slice | None, torch.Tensor]] = [(None, digits)]
        if inputs > longest:
            parts = [slice(start, start + longest) for start in range(0, inputs, longest)]
            self.parts = [(part, digits[part]) for part in parts]
        columns = [slice(number * self.width, (number + 1) * self.width) for number in range(count)]
        self.terms = [
            [pair for pair in zip(columns, group.tolist(), strict=True) if pair[1]] for group in slices.powers
        ]
        self.together = torch.zeros(digits.shape[1], len(self.terms) * self.width, dtype=torch.float64, device="cpu")
        groups = np.kron(np.transpose(slices.powers), np.eye(self.width))
        self.together[: count * self.width] = torch.from_numpy(groups)
        self.step = torch.from_numpy(slices.step)
        self.bias = torch.from_numpy(bias / slices.step)
        self.rest = Linear(rest) if rest else None
        self.out_size = len(rest[-1][1]) if rest else self.width
        self.rows = rows_per_block(inputs)

    @classmethod
    def build(cls, source: Source, *, forced: bool) -> Self:
        """Return the backend for a map, with digits of 7 bits where products of 8 bits are not exact.

        Raises
        ------
        UnavailableError
            If the product is not exact on this processor, a row needs more slices than pay, or, unless forced, the map
            is not of a size for which the backend pays.
        """
        W = source.innermost.W
        out_size, in_size = W.shape
        if not forced and in_size < LEAST_INPUTS:
            raise UnavailableError(f"it pays from {LEAST_INPUTS} inputs on, here are {in_size}")
        if not forced and "AVX" not in torch.backends.cpu.get_cpu_capability():
            raise UnavailableError("it pays on x86 processors with AVX2 or AVX-512")
        if not forced and whole_columns(out_size) > MOST_COLUMNS:
            raise UnavailableError(f"it pays for up to {MOST_COLUMNS} columns, here are {out_size} outputs")
        for bits in (8, 7):
            count = slices_needed(W, bits)
            if count is None:
                raise UnavailableError(
                    f"a weight is so large beside the others of its row that {MOST_SLICES} planes round worse than "
                    "float32"
                )
            columns = whole_columns(count * out_size)
            if not forced and columns > MOST_COLUMNS:
                raise UnavailableError(
                    f"it pays for up to {MOST_COLUMNS} columns, here are {columns} in {count} planes"
                )
            if is_exact(min(in_size, longest_sum(bits)), columns, bits):
                return cls(slice_digits(W, bits, count), source.innermost.B, source.layers[1:])
        raise UnavailableError("torch's product of 8-bit integers is not exact here")

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images, uint8."""
        return in_blocks(self._block, flat, self.rows, self.out_size)

    def _block(self, block: torch.Tensor) -> torch.Tensor:
        groups: list[torch.Tensor] = []
        for part, digits in self.parts:
            integers = self._integers(int8_product(block if part is None else block[:, part], digits))
            groups = [sum_ + more for sum_, more in zip(groups, integers, strict=True)] if groups else integers
        y = groups[0] if len(groups) == 1 else groups[0] + groups[1]
        y = y.add_(self.bias).mul_(self.step).float()
        return y if self.rest is None else self.rest(y)

    def _integers(self, sums: torch.Tensor) -> list[torch.Tensor]:
        """Return the integers, float64 (N, width), that the sums of the slices combine to in each group of powers."""
        if len(sums) < MANY_ROWS:
            product = torch.mm(sums.double(), self.together)
            # splitting takes as long as the product of a small batch
            return [product] if len(self.terms) == 1 else list(product.split(self.width, 1))
        integers = []
        for (first, least), *others in self.terms:
            integer = sums[:, first].double()
            if least != 1:
                integer.mul_(least)
            for columns, power in others:
                integer.add_(sums[:, columns], alpha=power)
            integers.append(integer)
        return integers

    def __str__(self) -> str:
        """Describe the computation."""
        return f"{self.slices}, in blocks of {self.rows:,}"


def in_blocks(
    scores_of: Callable[[torch.Tensor], torch.Tensor], flat: torch.Tensor, rows: int, out_size: int
) -> torch.Tensor:
    """Return the float32 scores of flat images, block by block; a single block's scores are not copied."""
    if len(flat) <= rows:
        return scores_of(flat)
    scores = torch.empty(len(flat), out_size, dtype=torch.float32, device=flat.device)
    for start in range(0, len(flat), rows):
        scores[start : start + rows] = scores_of(flat[start : start + rows])
    return scores


def whole_columns(columns: int) -> int:
    """Return the number of columns, rounded up to a multiple for which matrix products are fast.

    Examples
    --------
    >>> whole_columns(1), whole_columns(16), whole_columns(17)
    (16, 16, 32)
    """
    return -(-columns // COLUMNS) * COLUMNS


def rows_per_block(bytes_per_row: int) -> int:
    """Return the number of images in a block."""
    return max(FEWEST_ROWS, BLOCK_BYTES // bytes_per_row)
