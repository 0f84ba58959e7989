"""The piecewise-linear graph of a traced module, whose local maps torch's autograd computes where that is faster."""

from typing import Any

import numpy as np
import torch

from linalg_cnn import PiecewiseGraph
from linalg_cnn.arrays import parameters_stay
from linalg_cnn.memory import check_memory, memory_limit
from linalg_cnn.ops.taps import TapOperation
from linalg_cnn.piecewise.local_maps import as_floats, batch_pieces, offsets
from linalg_cnn.types import Array, size_of

NARROW = 16
"""Number of channels up to which torch's backward pass of a convolution is faster than the products of its taps."""

KEPT = 3
"""Arrays that the backward passes hold of each value: the value itself, what its operation keeps, and the gradient."""

AT_ONCE = 2**26
"""Bytes of such arrays for the inputs that are computed together."""


class TracedPiecewiseGraph(PiecewiseGraph):
    """The PiecewiseGraph that `gpu.trace` returns.

    It differs from any other in one way: where all convolutions have few channels, `local_maps` differentiates the
    graph by torch's autograd, on the CPU. The maps are the same, up to rounding.

    Examples
    --------
    >>> import gpu
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    >>> W, B = gpu.trace(net, (1, 4, 4), piecewise=True).local_maps(np.ones((5, 1, 4, 4)))
    >>> W.shape, B.shape
    ((5, 8, 16), (5, 8))
    """

    @property
    def is_narrow(self) -> bool:
        """Whether there are convolutions, all of at most `NARROW` channels, and no more outputs than inputs."""
        channels = [
            max(self.input_shapes(node)[0][0], node.operation.weights.shape[0])
            for node in self.nodes
            if isinstance(node.operation, TapOperation)
        ]
        return bool(channels) and max(channels) <= NARROW and size_of(self.out_shape) <= size_of(self.in_shape)

    def local_maps(self, xs: Any, max_bytes: int | None = None) -> tuple[Array, Array]:
        """Return the affine maps (N, out_size, in_size), (N, out_size) around each input of a batch (N, *in_shape).

        See `linalg_cnn.PiecewiseGraph.local_maps`, which computes them where the network is not narrow.

        Raises
        ------
        TypeError
            If ``xs`` holds sympy expressions.
        ValueError
            If ``xs`` does not have the shape (N, *in_shape), an entry is NaN or infinite, or ``max_bytes`` is not an
            int of at least 0.
        MemoryError
            If the maps and the values of one input would take more than ``max_bytes``.
        """
        return _by_autograd(self, xs, max_bytes) if self.is_narrow else super().local_maps(xs, max_bytes)


def _by_autograd(graph: PiecewiseGraph, xs: Any, max_bytes: int | None) -> tuple[Array, Array]:
    """Return the local maps of a batch by a forward pass of the graph and a backward pass for each output.

    Raises
    ------
    MemoryError
        If the maps and the values of one input would take more than ``max_bytes``.
    """
    batch = as_floats(graph, xs)
    count, in_size, out_size = len(batch), size_of(graph.in_shape), size_of(graph.out_shape)
    maps = 8 * count * out_size * (in_size + 1)
    per_input = 8 * KEPT * sum(map(size_of, graph.shapes))
    check_memory(
        f"{count:,} local maps of {in_size:,} inputs to {out_size:,} outputs, {per_input:,} bytes for an input,",
        maps + per_input,
        max_bytes,
    )
    samples = max(1, min(AT_ONCE, memory_limit(max_bytes) - maps) // per_input)
    W, values = np.empty((count, out_size, in_size)), np.empty((count, out_size))
    with torch.inference_mode(False), torch.enable_grad(), parameters_stay():
        for start in range(0, count, samples):
            part = slice(start, start + samples)
            x = torch.tensor(batch[part], dtype=torch.float64, device="cpu", requires_grad=True)
            # The sum of no entries lets outputs that do not depend on x have the gradient 0.
            y = batch_pieces(graph, x)[0].reshape(len(x), out_size) + x.reshape(len(x), in_size)[:, :0].sum(
                1, keepdim=True
            )
            values[part] = y.detach().numpy()
            for row in range(out_size):
                (gradient,) = torch.autograd.grad(y[:, row].sum(), x, retain_graph=True)
                W[part, row] = gradient.reshape(len(x), in_size).numpy()
    return W, offsets(W, values, batch)
