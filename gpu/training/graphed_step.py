"""A training step as a CUDA graph."""

from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 3
"""Batches before the step is captured: cuDNN chooses its algorithms on them."""


class GraphedStep:
    """A training step as a CUDA graph: one launch instead of some thousand.

    Parameters
    ----------
    step : callable
        Takes the index of the images of a batch, (N,) int64 on the device, and trains on them.
    optimizer : torch.optim.Optimizer
        The step's, made with ``capturable=True``.
    batch_size : int
        Of the batches to capture; others are taken without the graph.
    device : torch.device
        A CUDA device.
    """

    def __init__(
        self,
        step: Callable[[torch.Tensor], None],
        optimizer: torch.optim.Optimizer,
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.step, self.optimizer, self.device = step, optimizer, device
        self.index = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self.seen = 0
        self.graph: Any = None

    def __call__(self, index: torch.Tensor) -> None:
        """Take a step: by itself on the first batches and on one that is smaller, else by replaying the graph."""
        if len(index) != len(self.index):
            self.step(index)
            return
        if self.seen < WARM_UP:  # on another stream, as CUDA graphs want it
            stream = torch.cuda.Stream(self.device)
            stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(stream):
                self.step(index)
            torch.cuda.current_stream(self.device).wait_stream(stream)
            self.seen += 1
            return
        self.index.copy_(index)
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.device(self.device), torch.cuda.graph(self.graph, stream=torch.cuda.Stream(self.device)):
                self.step(self.index)  # recorded, not run
        self.graph.replay()
