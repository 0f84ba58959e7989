"""A training step as a CUDA graph."""

from collections.abc import Callable
from functools import partial

import torch

from gpu.runtime.cuda_graphs import WARM_UP, CudaGraph, warm_up
from gpu.runtime.devices import measured_convolutions
from gpu.runtime.tables import in_a_line
from gpu.runtime.turns import turn_taken


class GraphedStep:
    """A training step as a CUDA graph: a single launch in place of about a thousand.

    Parameters
    ----------
    step : callable
        Trains on the images of a batch, given their indices, (N,) int64 on the device.
    optimizer : torch.optim.Optimizer
        Optimizer that the step uses, made with ``capturable=True``.
    batch_size : int
        Size of the batches to capture; batches of other sizes are trained on without the graph.
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
        self.graph: CudaGraph | None = None

    def __call__(self, index: torch.Tensor) -> None:
        """Train on a batch: directly for the first batches and for smaller ones, by replaying the graph for others.

        Only a replay does not depend on the settings of the process, and needs no turn (`gpu.runtime.turns`).

        Raises
        ------
        RuntimeError
            If the step cannot be captured.
        """
        if len(index) != len(self.index):
            with turn_taken(self.device):
                self.step(index)
            return
        if self.seen < WARM_UP:
            with turn_taken(self.device), measured_convolutions():
                warm_up(partial(self.step, index), self.device)
            self.seen += 1
            return
        self.index.copy_(index)
        if self.graph is None:
            with turn_taken(self.device), measured_convolutions():
                self.optimizer.zero_grad(set_to_none=True)  # the capture allocates the gradients in the graph's memory
                self.graph = self._captured()
        self.graph()

    def _captured(self) -> CudaGraph:
        """Return the step as a graph.

        Raises
        ------
        OutOfMemoryError
            If the device has no room for it; it is a RuntimeError.
        RuntimeError
            If it cannot be captured.
        """
        try:
            return CudaGraph(partial(self.step, self.index), self.device)
        except torch.OutOfMemoryError:  # which says what there is to say
            raise
        except Exception as error:
            raise RuntimeError(
                "model: expected a training step that can be captured as a CUDA graph, got "
                f"{in_a_line(error)}; a forward that waits for numbers from the device, such as "
                "a branch on them, boolean indexing or nn.BatchNorm2d(momentum=None), can be trained on the CPU"
            ) from error
