"""What is captured as a CUDA graph, in which order, and what stays alive; a fake of torch.cuda keeps a log."""

import gc
import weakref
from contextlib import contextmanager

import pytest
import torch
from fake_cuda import CUDA, FakeOptimizer, FakeStreams
from torch import nn

from gpu.runtime.cuda_graphs import CudaGraph, graphed, warm_up
from gpu.training.graphed_step import WARM_UP, GraphedStep

CPU = torch.device("cpu")


@pytest.fixture
def log(monkeypatch):
    """Replace the streams and graphs of torch.cuda; the log names what happens, and on which stream."""
    return FakeStreams(monkeypatch).log


def test_a_warm_up_runs_on_a_side_stream_between_two_waits(log):
    stream = warm_up(lambda: log.append("run"), CPU, times=2)
    assert stream.name == "stream 0"
    assert log == [
        "new stream 0",
        "stream 0 waits for main",
        "enter stream 0",
        "run",
        "run",
        "leave stream 0",
        "main waits for stream 0",
    ]


def test_a_function_is_captured_once_and_then_replayed(log):
    def function():
        log.append("run")
        return "result"

    graph = CudaGraph(function, CPU)
    assert log == [
        "new stream 0",
        "enter cpu",
        "enter main",
        "enter capture on stream 0",
        "run",
        "leave capture on stream 0",
        "leave main",
        "leave cpu",
    ]
    assert [graph(), graph()] == ["result", "result"]
    assert log[8:] == ["replay", "replay"]


@pytest.fixture
def failing_end(monkeypatch):
    """Streams and graphs as `log` has them, and the end of a failed capture raises on the stream of the capture."""
    fake = FakeStreams(monkeypatch)

    @contextmanager
    def stream_of(stream):
        before = fake.current()
        fake.set_current(stream)
        try:
            yield
        finally:
            fake.set_current(before)

    class Capture:
        def __init__(self, graph, stream, capture_error_mode):
            self.stream = stream

        def __enter__(self):
            fake.set_current(self.stream)

        def __exit__(self, *raised):
            raise RuntimeError("operation failed due to a previous error during capture")

    monkeypatch.setattr(torch.cuda, "stream", stream_of)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    return fake


def test_a_capture_that_fails_says_what_failed_and_leaves_the_stream_as_it_was(failing_end):
    def function():
        raise ValueError("what failed")

    with pytest.raises(ValueError, match="what failed"):
        CudaGraph(function, CPU)
    assert failing_end.current() is failing_end.main
    with pytest.raises(RuntimeError, match="during capture"):
        CudaGraph(lambda: None, CPU)
    assert failing_end.current() is failing_end.main


def test_a_step_that_cannot_be_captured_says_what_to_do(failing_end):
    seen = []

    def step(index):
        seen.append(len(index))
        if len(seen) > WARM_UP:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    graphed_step = GraphedStep(step, FakeOptimizer([]), 4, CPU)
    for _ in range(WARM_UP):
        graphed_step(torch.arange(4))
    message = r"as a CUDA graph, got RuntimeError: operation not permitted when stream is capturing; a forward that"
    with pytest.raises(RuntimeError, match=message):
        graphed_step(torch.arange(4))


def test_a_given_stream_is_captured_on(log):
    CudaGraph(lambda: None, CPU, warm_up(lambda: None, CPU))
    assert "enter capture on stream 0" in log
    assert "new stream 1" not in log


def test_a_thread_with_a_stream_of_its_own_warms_up_and_captures_on_it(monkeypatch):
    fake = FakeStreams(monkeypatch)
    own = torch.cuda.Stream()
    with torch.cuda.stream(own):
        step = GraphedStep(lambda index: None, FakeOptimizer(fake.log), 4, CUDA)
        for _ in range(WARM_UP + 2):
            step(torch.arange(4))
        assert warm_up(lambda: None, CUDA) is own
    assert fake.made == [own]
    assert fake.captures == [("stream 0", "stream 0")]
    assert fake.replays == ["stream 0"] * 2


def test_a_step_that_finds_no_room_says_so_and_nothing_else(failing_end):
    seen = []

    def step(index):
        seen.append(len(index))
        if len(seen) > WARM_UP:
            raise torch.OutOfMemoryError("CUDA out of memory")

    graphed_step = GraphedStep(step, FakeOptimizer([]), 4, CPU)
    for _ in range(WARM_UP):
        graphed_step(torch.arange(4))
    with pytest.raises(torch.OutOfMemoryError, match="^CUDA out of memory$"):
        graphed_step(torch.arange(4))


def test_a_graph_keeps_what_its_function_reads(log):
    read = torch.ones(3)
    alive = weakref.ref(read)
    graph = CudaGraph(lambda read=read: read.sum(), CPU)
    del read
    gc.collect()
    assert alive() is not None
    del graph
    gc.collect()
    assert alive() is None


def test_a_step_is_captured_after_its_warm_up_without_gradients(log):
    trained = []
    step = GraphedStep(lambda index: trained.append(index), FakeOptimizer(log), 4, CPU)
    batches = [torch.arange(4) + number for number in range(WARM_UP + 2)]
    for batch in batches:
        step(batch)
    assert trained[:WARM_UP] == batches[:WARM_UP]
    (captured,) = trained[WARM_UP:]
    assert captured.tolist() == batches[-1].tolist()  # the graph's own index, which each batch is copied to
    capture = log.index("zero_grad")
    assert [event for event in log[capture:] if not event.startswith(("enter", "leave", "new"))] == [
        "zero_grad",
        "replay",
        "replay",
    ]
    assert any(event.startswith("enter capture") for event in log[capture:])


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_measures_while_a_step_warms_up_and_is_captured(log, monkeypatch, deterministic):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", deterministic)
    seen = []
    step = GraphedStep(lambda index: seen.append(torch.backends.cudnn.benchmark), FakeOptimizer(log), 4, CPU)
    for _ in range(WARM_UP + 2):
        step(torch.arange(4))
        assert not torch.backends.cudnn.benchmark, "the setting of the process is as it was"
    step(torch.arange(3))
    assert seen == [not deterministic] * (WARM_UP + 1) + [False]


def test_smaller_batches_are_trained_on_without_the_graph(log):
    trained = []
    step = GraphedStep(lambda index: trained.append(len(index)), FakeOptimizer(log), 4, CPU)
    for _ in range(WARM_UP + 2):
        step(torch.arange(3))
    assert trained == [3] * (WARM_UP + 2)
    assert log == []


def test_a_step_that_is_let_go_gives_its_graph_back_at_once(log):
    """It does not wait for the garbage collector: the next graph needs the memory."""
    step = GraphedStep(lambda index: None, FakeOptimizer(log), 4, CPU)
    for _ in range(WARM_UP + 1):
        step(torch.arange(4))
    graph = weakref.ref(step.graph)
    gc.disable()
    try:
        del step
        assert graph() is None
    finally:
        gc.enable()


def test_a_network_is_captured_without_gradients(log):
    network, batch, results = nn.Linear(3, 2), torch.ones(4, 3), []
    network.register_forward_hook(lambda module, given, result: results.append(result))
    predict = graphed(network, batch)
    assert len(results) == 4  # three to warm up, one that is captured
    assert not any(result.requires_grad for result in results)
    predict(batch)
    assert log[-1] == "replay"
