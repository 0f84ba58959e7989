"""The backend on tensor cores: exact products of bytes with digit slices in Triton kernels.

Triton is imported with the kernels, when a predictor tries to build this backend.
"""

import os
from importlib import import_module
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from gpu.predict.backend import BYTES, Backend, Source, UnavailableError
from gpu.predict.backends import Linear
from gpu.predict.digit_slices import DigitSlices, slice_digits, slices_needed
from gpu.predict.layers import Layers
from gpu.runtime.cuda_graphs import to_be_captured
from linalg_cnn.types import Array

BITS = 8
SLICES = (4, 8)
"""Possible numbers of slices, padded with zeros: the sizes of Triton's blocks are powers of two."""


class Tile(NamedTuple):
    """The work of one program of a kernel.

    Attributes
    ----------
    rows, inputs : int
        Numbers of images and of inputs that are multiplied at a time.
    split : bool
        Whether each block of inputs has programs of its own, whose sums a second kernel adds up.
    """

    rows: int
    inputs: int
    split: bool = False


MANY, FEW, SPLIT = Tile(128, 64), Tile(16, 128), Tile(16, 128, split=True)
"""Tiles for images that keep the device busy; for few, in one launch; and for few, where launches cost little."""
FEWEST_OUTPUTS, MOST_COLUMNS = 16, 256
"""Fewest outputs that tensor cores take, and most columns that fit into the registers of a block."""
MOST_INPUTS = (2**31 - 1) // 128**2 // MANY.inputs * MANY.inputs
"""Number of products of signed 8-bit integers whose sum fits into 32 bits."""


class TritonProducts(Backend):
    """Exact products of bytes with slices of 8-bit digits, added up in float64, all on the device.

    The scores of a single layer have the same bits for every `Tile`, and as those of
    `gpu.predict.backends.SliceProducts` with digits of 8 bits: see `gpu.predict.digit_slices.DigitSlices`.

    Parameters
    ----------
    slices : DigitSlices
        Slices of the innermost layer.
    bias : float64 array (out_size,)
        Bias of the innermost layer.
    rest : Layers
        The layers that follow, on the device.
    device : torch.device
        A CUDA device, or the CPU under Triton's interpreter.
    """

    name = "triton"
    dtypes = BYTES
    device_type = "cuda"

    def __init__(self, slices: DigitSlices, bias: Array, rest: Layers, device: torch.device) -> None:
        self.slices = slices
        needed, self.outputs, self.inputs = slices.digits.shape
        self.count, self.width = columns_of(needed, self.outputs)
        digits = np.zeros((self.count, self.width, -(-self.inputs // 16) * 16), dtype=np.int8)
        digits[:needed, : self.outputs, : self.inputs] = slices.digits
        ones = digits.sum(axis=2, dtype=np.int64)
        powers = np.zeros((len(slices.powers), self.count, self.width))
        powers[:, :needed] = np.stack(slices.powers)[:, :, None]
        steps, biases = np.ones(self.width), np.zeros(self.width)
        steps[: self.outputs], biases[: self.outputs] = slices.step, bias / slices.step
        white = bias + 255 * (slices.unit * ones[:needed, : self.outputs]).sum(axis=0)
        self.black_and_white = np.stack([bias, white])
        self.groups = len(powers)
        shifts = 128.0 * ones  # the kernel subtracts 128 from every pixel
        self.digits, *self.tables = (
            torch.from_numpy(part).to(device) for part in (digits, shifts, powers, biases, steps)
        )
        self.device = self.digits.device  # with its index, which `_launch` compares with the current device's
        self.rest = Linear(rest) if rest else None
        self.kernels: Any = import_module("gpu.predict.triton_kernel")
        on_cuda = device.type == "cuda"
        self.multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count if on_cuda else 1

    @classmethod
    def runs_on(cls, device: torch.device) -> bool:
        """Return whether the backend can be forced on a device: on CUDA, and anywhere under Triton's interpreter."""
        return cls.pays_on(device) or os.environ.get("TRITON_INTERPRET") == "1"

    @classmethod
    def build(cls, source: Source, *, forced: bool) -> Self:
        """Return the backend for a map, after a trial of its kernel.

        Raises
        ------
        UnavailableError
            If Triton is not installed, the map is not of a size that the kernel is for, or the kernel does not run, or
            not exactly.
        RecursionError
            If the trial meets a mistake of ours that would otherwise be taken for a kernel that does not run.
        """
        slices = slices_for_tensor_cores(source.innermost.W)
        try:
            products = cls(slices, source.innermost.B, source.layers[1:], source.device)
        except ModuleNotFoundError:
            raise UnavailableError("triton is not installed") from None
        try:
            products.check()
        except RecursionError:
            raise
        except Exception as error:  # without a C compiler or a driver that it knows, Triton raises many kinds of errors
            raise UnavailableError(f"its kernel does not run: {type(error).__name__}: {error}") from error
        return products

    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images, uint8."""
        scores = torch.empty(len(flat), self.outputs, dtype=torch.float32, device=self.device)
        self._launch(flat, scores, classes=False)
        return scores if self.rest is None else self.rest(scores)

    def classes(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the class of each flat image, int64 (N,), without writing the scores where there is one layer."""
        if self.rest is not None:
            return super().classes(flat)
        best = torch.empty(len(flat), dtype=torch.int64, device=self.device)
        self._launch(flat, best, classes=True)
        return best

    def check(self) -> None:
        """Run the kernels of every tile on a black image and on a white one, which compiles them.

        Raises
        ------
        ArithmeticError
            If the scores are not those of the slices.
        """
        expected = torch.from_numpy(self.black_and_white)
        images = torch.tensor([[0], [255]], dtype=torch.uint8, device=self.device).expand(2, self.inputs).contiguous()
        for tile in (MANY, FEW, SPLIT):
            scores = torch.empty(2, self.outputs, dtype=torch.float32, device=self.device)
            self._launch(images, scores, classes=False, tile=tile)
            error = (scores.cpu() - expected).abs().max()
            if not error <= 2.0**-23 * expected.abs().max():
                raise ArithmeticError(f"expected the scores {expected.tolist()}, got {scores.tolist()}")

    def tile_for(self, rows: int) -> Tile:
        """Return the work of one program for a batch of this size.

        The tile for many images is taken where these fill at least half of the device's multiprocessors. In a CUDA
        graph, a second launch costs less than a long sum; outside of one, it costs more.
        """
        if 2 * -(-rows // MANY.rows) >= self.multiprocessors:
            return MANY
        return SPLIT if to_be_captured() else FEW

    def _launch(self, flat: torch.Tensor, result: torch.Tensor, *, classes: bool, tile: Tile | None = None) -> None:
        rows = flat.shape[0]
        if not rows:
            return
        if self.device.type == "cuda" and torch.cuda.current_device() != self.device.index:
            with torch.cuda.device(self.device):
                self._launch(flat, result, classes=classes, tile=tile)
            return
        tile = tile or self.tile_for(rows)
        row_blocks, pixels = -(-rows // tile.rows), flat.contiguous()
        sizes = self.outputs, self.count, self.groups, self.width, tile.rows
        if not tile.split:
            self.kernels.kernel[(row_blocks,)](
                pixels, self.digits, *self.tables, result, rows, self.inputs, *sizes, tile.inputs, classes
            )
            return
        input_blocks, columns = -(-self.inputs // tile.inputs), self.count * self.width
        parts = torch.empty(input_blocks, rows, columns, dtype=torch.int32, device=self.device)
        self.kernels.part_kernel[(row_blocks, input_blocks)](
            pixels, self.digits, parts, rows, self.inputs, columns, tile.rows, tile.inputs
        )
        self.kernels.sum_kernel[(row_blocks,)](parts, *self.tables, result, rows, input_blocks, *sizes, classes)

    def __str__(self) -> str:
        """Describe the computation."""
        return f"{self.slices}, on tensor cores"


def slices_for_tensor_cores(W: Array) -> DigitSlices:
    """Return W as the number of slices that it needs, as on the CPU.

    Raises
    ------
    UnavailableError
        If the map is not of a size that the kernel is for, or a row needs more slices.
    """
    out_size, in_size = W.shape
    if in_size > MOST_INPUTS:
        raise UnavailableError(f"it takes up to {MOST_INPUTS:,} inputs, here are {in_size:,}")
    needed = slices_needed(W, BITS)
    if needed is None:
        raise UnavailableError("a weight is so large beside the others of its row that planes round worse than float32")
    count, width = columns_of(needed, out_size)
    if count * width > MOST_COLUMNS:
        raise UnavailableError(f"it takes up to {MOST_COLUMNS // count} outputs in {count} planes, here are {out_size}")
    return slice_digits(W, BITS, needed)


def columns_of(needed: int, outputs: int) -> tuple[int, int]:
    """Return the numbers of slices, the last ones zero, and of outputs of each that the kernels work on.

    Examples
    --------
    >>> columns_of(3, 10), columns_of(5, 17)
    ((4, 16), (8, 32))
    """
    return next(count for count in SLICES if count >= needed), padded(outputs)


def padded(outputs: int) -> int:
    """Return the number of outputs, rounded up to a power of two that tensor cores take.

    Examples
    --------
    >>> padded(10), padded(16), padded(17)
    (16, 16, 32)
    """
    return max(FEWEST_OUTPUTS, 1 << (outputs - 1).bit_length())
