"""Networks as their users would run them on CUDA: memory layout, precision and cuDNN's choice, as labelled variants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gpu.models.copying import copy_of
from gpu.runtime.precision import full_float32


@dataclass(frozen=True)
class Tuning:
    """A precision of a network whose images lie channels last, with the fastest of cuDNN's algorithms.

    Attributes
    ----------
    name : str
        Name of the precision.
    dtype : torch.dtype
        Dtype of the weights and of the images.
    tf32 : bool
        Whether products of float32 numbers are computed in TF32, whose mantissa has 10 bits.

    Examples
    --------
    >>> layer = TUNINGS["bfloat16"].network(nn.Conv2d(2, 2, 3))
    >>> layer.weight.dtype, layer.weight.is_contiguous(memory_format=torch.channels_last)
    (torch.bfloat16, True)
    """

    name: str
    dtype: torch.dtype = torch.float32
    tf32: bool = False

    def network(self, module: nn.Module) -> nn.Module:
        """Return a copy of a network with this precision and layout."""
        copy: Any = copy_of(module)
        tuned: nn.Module = copy.to(dtype=self.dtype, memory_format=torch.channels_last)
        return tuned

    def images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return images (N, C, H, W) with this precision and layout."""
        return batch.to(self.dtype, memory_format=torch.channels_last)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let cuDNN choose its algorithms by measuring them, and products of float32 numbers use TF32 if this does."""
        cudnn = torch.backends.cudnn
        before = cudnn.benchmark
        cudnn.benchmark = True
        try:
            with full_float32():
                if self.tf32:
                    cudnn.allow_tf32 = True
                    torch.set_float32_matmul_precision("high")
                yield
        finally:
            cudnn.benchmark = before


TUNINGS = {
    tuning.name: tuning for tuning in (Tuning("float32"), Tuning("TF32", tf32=True), Tuning("bfloat16", torch.bfloat16))
}
"""The precisions that are timed, by name."""
