"""Ways to the scores of flat images. Each takes (N, in_size) and returns (N, out_size)."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch.nn.functional import linear

from gpu.predict.digit_slices import Planes
from gpu.predict.int8_product import int8_product, longest_sum
from gpu.predict.layers import Layers
from linalg_cnn.types import Array

BLOCK_BYTES = 3 * 2**20
"""A block of images of this size stays in the caches from one operation to the next."""
FEWEST_ROWS = 64
MANY_ROWS = 256
"""From here on, a pass for each plane is faster than one small product: it does without a float64 copy of the sums."""
COLUMNS = 16
"""Matrix products are at their best for multiples of this many columns."""


class UnavailableError(Exception):
    """A way cannot be taken, or does not pay; the message says why."""


class Way(Protocol):
    """A way to the scores.

    Attributes
    ----------
    planes : Planes or None
        What it multiplies bytes by, exactly, instead of W in float32.
    """

    planes: Planes | None

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images."""

    def __str__(self) -> str:
        """Say what it does."""


class Linear:
    """One linear layer after the other, on all images at once, in the dtype of the layers."""

    planes: Planes | None = None

    def __init__(self, layers: Layers) -> None:
        (self.weight, self.bias), *self.rest = layers
        self.dtype = self.weight.dtype
        self.cast = torch.Tensor.float if self.dtype == torch.float32 else torch.Tensor.double

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images."""
        y = linear(self.cast(flat), self.weight, self.bias)
        for weight, bias in self.rest:
            y = linear(y, weight, bias)
        return y

    def __str__(self) -> str:
        """Say what it does."""
        return f"{str(self.dtype).removeprefix('torch.')}, the whole batch at once"


class Blocks:
    """The same in blocks of images that stay in the caches, the first weight padded to whole vectors of outputs."""

    planes: Planes | None = None

    def __init__(self, layers: Layers) -> None:
        (weight, bias), *rest = layers
        self.width = len(bias)
        padding = whole(self.width) - self.width
        self.weight = torch.cat([weight, weight.new_zeros(padding, weight.shape[1])])
        self.bias = torch.cat([bias, bias.new_zeros(padding)])
        self.rest = Linear(rest) if rest else None
        self.out_size = len(layers[-1][1])
        self.rows = rows_of_a_block(weight.element_size() * weight.shape[1])

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images."""
        return in_blocks(self._block, flat, self.rows, self.out_size)

    def _block(self, block: torch.Tensor) -> torch.Tensor:
        y = linear(block.float(), self.weight, self.bias)[:, : self.width]
        return y.contiguous() if self.rest is None else self.rest(y)

    def __str__(self) -> str:
        """Say what it does."""
        return f"float32, in blocks of {self.rows:,}"


class PlaneProducts:
    """Bytes times planes of 8-bit integers, exactly, put together in float64.

    Parameters
    ----------
    planes : Planes
        Of the innermost layer.
    bias : float64 array
        Its bias.
    rest : Layers
        What follows.
    """

    def __init__(self, planes: Planes, bias: Array, rest: Layers) -> None:
        count, self.width, inputs = planes.digits.shape
        self.planes: Planes | None = planes
        digits = torch.zeros(inputs, whole(count * self.width), dtype=torch.int8, device="cpu")
        digits[:, : count * self.width] = torch.from_numpy(planes.digits).reshape(-1, inputs).T
        longest = longest_sum(planes.bits)  # of inputs: a longer sum would not fit into 32 bits
        self.parts: list[tuple[slice | None, torch.Tensor]] = [(None, digits)]
        if inputs > longest:
            parts = [slice(start, start + longest) for start in range(0, inputs, longest)]
            self.parts = [(part, digits[part]) for part in parts]
        self.units = list(torch.from_numpy(planes.unit))
        self.together = torch.zeros(digits.shape[1], self.width, dtype=torch.float64, device="cpu")
        self.together[: count * self.width] = torch.cat([unit.diag() for unit in self.units])
        self.bias = torch.from_numpy(bias)
        self.rest = Linear(rest) if rest else None
        self.out_size = len(rest[-1][1]) if rest else self.width
        self.rows = rows_of_a_block(inputs)

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images, uint8."""
        return in_blocks(self._block, flat, self.rows, self.out_size)

    def _block(self, block: torch.Tensor) -> torch.Tensor:
        y = self.bias
        for part, digits in self.parts:
            y = self._add(y, int8_product(block if part is None else block[:, part], digits))
        return y.float() if self.rest is None else self.rest(y)

    def _add(self, y: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        """Return y, or a row of it for every image, with what the sums of all planes are worth."""
        if len(sums) < MANY_ROWS:
            return torch.addmm(y, sums.double(), self.together)
        for plane, unit in enumerate(self.units):
            y = torch.addcmul(y, sums[:, plane * self.width : (plane + 1) * self.width], unit)
        return y

    def __str__(self) -> str:
        """Say what it does."""
        return f"{self.planes}, in blocks of {self.rows:,}"


def in_blocks(
    scores_of: Callable[[torch.Tensor], torch.Tensor], flat: torch.Tensor, rows: int, out_size: int
) -> torch.Tensor:
    """Return the float32 scores of flat images, block by block; those of a single block as they are."""
    if len(flat) <= rows:
        return scores_of(flat)
    scores = torch.empty(len(flat), out_size, dtype=torch.float32, device=flat.device)
    for start in range(0, len(flat), rows):
        scores[start : start + rows] = scores_of(flat[start : start + rows])
    return scores


def whole(columns: int) -> int:
    """Return the number of columns, rounded up to what matrix products are fast for.

    Examples
    --------
    >>> whole(1), whole(16), whole(17)
    (16, 16, 32)
    """
    return -(-columns // COLUMNS) * COLUMNS


def rows_of_a_block(bytes_of_a_row: int) -> int:
    """Return how many images make a block."""
    return max(FEWEST_ROWS, BLOCK_BYTES // bytes_of_a_row)
