"""Bytes to scores, or to classes, in one kernel on tensor cores. Imports triton."""

from contextlib import nullcontext

import numpy as np
import torch
import triton
import triton.language as tl

from gpu.predict.backends import Linear, UnavailableError
from gpu.predict.digit_slices import Planes, planes_needed, split
from gpu.predict.layers import Layers
from linalg_cnn.types import Array

BITS = 8
PLANES = (4, 8)
"""Triton's blocks have powers of two for sizes; four planes have 32 bits."""
BLOCK_ROWS, BLOCK_INPUTS = 128, 64
FEWEST_OUTPUTS, MOST_COLUMNS = 16, 256
"""Tensor cores take no fewer outputs; more columns do not fit into the registers of a block."""
MOST_INPUTS = (2**31 - 1) // 128**2 // BLOCK_INPUTS * BLOCK_INPUTS
"""As many products of signed 8-bit integers fit into 32 bits together."""


@triton.jit  # type: ignore[untyped-decorator]
def _kernel(  # type: ignore[no-untyped-def]
    pixels,
    digits,
    units,
    bias,
    result,
    rows,
    inputs: tl.constexpr,
    outputs: tl.constexpr,
    planes: tl.constexpr,
    width: tl.constexpr,
    block_rows: tl.constexpr,
    block_inputs: tl.constexpr,
    classes: tl.constexpr,
):
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, planes * width)
    sums = tl.zeros((block_rows, planes * width), dtype=tl.int32)
    for first in range(0, inputs, block_inputs):
        position = first + tl.arange(0, block_inputs)
        inside = (row[:, None] < rows) & (position[None, :] < inputs)
        block = tl.load(pixels + row[:, None].to(tl.int64) * inputs + position[None, :], mask=inside, other=0)
        # tensor cores multiply signed integers: a pixel less 128 is its bits with the highest one flipped
        signed = (block ^ 0x80).to(tl.int8, bitcast=True)
        digit = tl.load(
            digits + position[:, None] * (planes * width) + column[None, :], mask=position[:, None] < inputs, other=0
        )
        sums = tl.dot(signed, digit, sums, out_dtype=tl.int32)
    output = tl.arange(0, width)
    unit = tl.load(units + column)
    parts = tl.reshape(sums.to(tl.float64) * unit[None, :], (block_rows, planes, width))
    scores = tl.sum(parts, axis=1) + tl.load(bias + output)[None, :]
    if classes:
        scores = tl.where(output[None, :] < outputs, scores.to(tl.float32), float("-inf"))
        best = tl.argmax(scores, axis=1, tie_break_left=True)
        tl.store(result + row, best.to(tl.int64), mask=row < rows)
    else:
        place = row[:, None].to(tl.int64) * outputs + output[None, :]
        tl.store(result + place, scores.to(tl.float32), mask=(row[:, None] < rows) & (output[None, :] < outputs))


def planes_for_tensor_cores(W: Array) -> Planes:
    """Return W as a number of planes that is a power of two.

    Raises
    ------
    UnavailableError
        If the map is not of a size that the kernel is for, or a row needs more planes.
    """
    out_size, in_size = W.shape
    if in_size > MOST_INPUTS:
        raise UnavailableError(f"it takes up to {MOST_INPUTS:,} inputs, here are {in_size:,}")
    needed = planes_needed(W, BITS)
    count = next((count for count in PLANES if needed is not None and count >= needed), None)
    if count is None:
        raise UnavailableError("a weight is so large beside the others of its row that planes round worse than float32")
    if count * padded(out_size) > MOST_COLUMNS:
        raise UnavailableError(f"it takes up to {MOST_COLUMNS // count} outputs in {count} planes, here are {out_size}")
    return split(W, BITS, count)


def padded(outputs: int) -> int:
    """Return the number of outputs, rounded up to a power of two that tensor cores take.

    Examples
    --------
    >>> padded(10), padded(17)
    (16, 32)
    """
    return max(FEWEST_OUTPUTS, int(triton.next_power_of_2(outputs)))


class TritonProducts:
    """Bytes times planes of 8-bit integers, exactly, put together in float64, all in one kernel.

    Parameters
    ----------
    planes : Planes
        Of the innermost layer.
    bias : float64 array
        Its bias.
    rest : Layers
        What follows, on the device.
    device : torch.device
        CUDA; the CPU under Triton's interpreter.
    """

    def __init__(self, planes: Planes, bias: Array, rest: Layers, device: torch.device) -> None:
        self.planes: Planes | None = planes
        self.device = device
        self.count, self.outputs, self.inputs = planes.digits.shape
        self.width = padded(self.outputs)
        digits = np.zeros((self.inputs, self.count, self.width), dtype=np.int8)
        digits[:, :, : self.outputs] = planes.digits.transpose(2, 0, 1)
        units, biases = np.zeros((self.count, self.width)), np.zeros(self.width)
        units[:, : self.outputs] = planes.unit
        ones = (planes.unit * planes.digits.sum(axis=2, dtype=np.int64)).sum(axis=0)
        biases[: self.outputs] = bias + 128 * ones  # what the kernel takes from every pixel
        self.black_and_white = np.stack([bias, bias + 255 * ones])
        self.digits, self.units, self.bias = (torch.from_numpy(part).to(device) for part in (digits, units, biases))
        self.rest = Linear(rest) if rest else None

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images, uint8."""
        scores = torch.empty(len(flat), self.outputs, dtype=torch.float32, device=self.device)
        self._launch(flat, scores, classes=False)
        return scores if self.rest is None else self.rest(scores)

    def classes(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the class of each flat image, int64 (N,), without writing the scores where there is one layer."""
        if self.rest is not None:
            return self(flat).argmax(1)
        best = torch.empty(len(flat), dtype=torch.int64, device=self.device)
        self._launch(flat, best, classes=True)
        return best

    def check(self) -> None:
        """Run the kernel on a black image and on a white one.

        Raises
        ------
        ArithmeticError
            If the scores are not what the planes make of them.
        """
        expected = torch.from_numpy(self.black_and_white)
        images = torch.tensor([[0], [255]], dtype=torch.uint8, device=self.device).expand(2, self.inputs)
        scores = torch.empty(2, self.outputs, dtype=torch.float32, device=self.device)
        self._launch(images, scores, classes=False)
        error = (scores.cpu() - expected).abs().max()
        if not error <= 2.0**-23 * expected.abs().max():
            raise ArithmeticError(f"expected the scores {expected.tolist()}, got {scores.tolist()}")

    def _launch(self, flat: torch.Tensor, result: torch.Tensor, *, classes: bool) -> None:
        if not len(flat):
            return
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            _kernel[(triton.cdiv(len(flat), BLOCK_ROWS),)](
                flat.contiguous(),
                self.digits,
                self.units,
                self.bias,
                result,
                len(flat),
                self.inputs,
                self.outputs,
                self.count,
                self.width,
                BLOCK_ROWS,
                BLOCK_INPUTS,
                classes,
            )

    def __str__(self) -> str:
        """Say what it does."""
        return f"{self.planes}, in one kernel"
