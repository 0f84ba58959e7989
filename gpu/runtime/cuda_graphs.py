"""CUDA graphs: the launches of a function, recorded once and replayed with a single launch."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from gpu.runtime.timing import Predict

WARM_UP = 3
"""Number of runs before a graph is captured, by us or by ``torch.compile``; cuDNN chooses its algorithms in them."""

_to_be_captured: ContextVar[bool] = ContextVar("to_be_captured", default=False)


def to_be_captured() -> bool:
    """Return whether the present call is captured as a CUDA graph, or warms up for that: launches will cost little."""
    return _to_be_captured.get()


def _as_captured(function: Callable[[], Any]) -> Any:
    token = _to_be_captured.set(True)
    try:
        return function()
    finally:
        _to_be_captured.reset(token)


def stream_to_capture(device: torch.device) -> torch.cuda.Stream:
    """Return the current stream or, where that is the default one, which cannot be captured, another stream.

    A thread that was given a stream of its own stays on it: torch has 32 streams for a device, and hands out the same
    ones again. The stream that it would hand out here may be one on which another thread replays its graph.
    """
    current = torch.cuda.current_stream(device)
    return torch.cuda.Stream(device) if current == torch.cuda.default_stream(device) else current


def warm_up(function: Callable[[], Any], device: torch.device, times: int = 1) -> torch.cuda.Stream:
    """Run a function on a stream that can be captured before it is, and return that stream (see `stream_to_capture`).

    Kernels are compiled, libraries set up and cuDNN's algorithms chosen in these runs: none of this can be captured.

    Parameters
    ----------
    function : callable
        The function, without arguments.
    device : torch.device
        A CUDA device.
    times : int
        Number of runs.

    Notes
    -----
    Source: the warm-up that ``torch.cuda.graph`` asks for.
    """
    stream = stream_to_capture(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(times):
            _as_captured(function)
    torch.cuda.current_stream(device).wait_stream(stream)
    return stream


class CudaGraph:
    """A function as a CUDA graph, which reads and writes the same memory at every replay.

    It is captured in a mode in which other threads may use the device meanwhile, as long as they only launch.

    The graph holds a reference to the function: the tensors that the function reads must not be freed.

    Parameters
    ----------
    function : callable
        The function, without arguments, warmed up (see `warm_up`). It is called once; its launches are recorded, not
        run.
    device : torch.device
        A CUDA device.
    stream : torch.cuda.Stream, optional
        Stream of the capture; that of `stream_to_capture` if not given.

    Attributes
    ----------
    result : object
        Result of the function, written at every replay.

    Raises
    ------
    Exception
        Whatever the function raises, among others because torch cannot capture what it does.

    Notes
    -----
    Source: ``torch.cuda.CUDAGraph``.
    """

    def __init__(
        self, function: Callable[[], Any], device: torch.device, stream: torch.cuda.Stream | None = None
    ) -> None:
        self._function = function
        self._graph: Any = torch.cuda.CUDAGraph()
        stream = stream_to_capture(device) if stream is None else stream
        failed: Exception | None = None
        # the outer stream is current again where ending a failed capture raises, which leaves its own stream entered
        with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
            try:
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    try:
                        self.result = _as_captured(function)
                    except Exception as error:
                        failed = error
                        raise
            except Exception as error:
                try:
                    raise failed or error  # rather than that of the end, which only says that the capture failed
                finally:
                    failed = None  # whose traceback refers to this frame

    def __call__(self) -> Any:
        """Replay the graph, and return the result, which the next replay overwrites."""
        self._graph.replay()
        return self.result


def graphed(module: nn.Module, batch: torch.Tensor) -> Predict:
    """Return a network as a CUDA graph that reads this batch in place."""
    predict = torch.no_grad()(lambda: module(batch))
    warm_up(predict, batch.device, times=WARM_UP)
    graph = CudaGraph(predict, batch.device)
    return lambda _: graph()
