"""CUDA without a card: tensors on the CPU that say they are on CUDA, and streams and graphs that keep a log."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda:0")


class FakeStreams:
    """The streams and graphs of torch.cuda, replaced for a test; each thread has its own current stream.

    ``log`` names what happens; ``made`` lists the streams, and ``captures`` and ``replays`` the names of the streams
    that were current, and for a capture of that which was captured. ``device`` replaces ``torch.cuda.device``; if it is
    not given, tensors that are asked for on CUDA are plain ones.
    """

    def __init__(self, monkeypatch, device=None):
        self.log, self.made, self.captures, self.replays = [], [], [], []
        self._local = threading.local()
        fake, zeros = self, torch.zeros

        class Stream:
            def __init__(self, device=None):
                self.name = f"stream {len(fake.made)}"
                fake.made.append(self)
                fake.log.append(f"new {self.name}")

            def wait_stream(self, other):
                fake.log.append(f"{self.name} waits for {other.name}")

            def synchronize(self):
                fake.synchronized(self)

        class Main(Stream):
            def __init__(self):
                self.name = "main"

        class Graph:
            def replay(self):
                fake.log.append("replay")
                fake.replays.append(fake.current().name)

        self.main = Main()

        def graph_of(graph, stream, capture_error_mode):
            assert capture_error_mode == "thread_local"  # other threads use the device meanwhile
            assert stream is not fake.main, "the default stream cannot be captured"
            fake.captures.append((fake.current().name, stream.name))
            return self.entered(f"capture on {stream.name}", stream)

        monkeypatch.setattr(torch, "__version__", "2.7.0")
        if device is None:
            device = lambda device: self.entered(str(device), self.current())
            monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **how: zeros(*shape, **how))
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "default_stream", lambda device=None: self.main)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.current())
        monkeypatch.setattr(torch.cuda, "set_stream", self.set_current)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: self.entered(stream.name, stream))
        monkeypatch.setattr(torch.cuda, "device", device)
        monkeypatch.setattr(torch.cuda, "graph", graph_of)

    def current(self):
        return getattr(self._local, "current", self.main)

    def set_current(self, stream):
        self._local.current = stream

    def synchronized(self, stream):
        self.log.append(f"synchronize {stream.name}")

    @contextmanager
    def entered(self, name, stream):
        before = self.current()
        self.log.append(f"enter {name}")
        self.set_current(stream)
        yield
        self.set_current(before)
        self.log.append(f"leave {name}")


class FakeOptimizer:
    """Notes that gradients are freed, as a capture needs it."""

    def __init__(self, log):
        self.log = log

    def zero_grad(self, set_to_none):
        assert set_to_none
        self.log.append("zero_grad")


class FakeCuda(TorchFunctionMode):
    """Tensors on CUDA that lie on the CPU: they keep a device of their own, with an index, as those on CUDA do.

    Attributes
    ----------
    current : int
        Index of the current device, which a bare "cuda" stands for.
    """

    def __init__(self):
        super().__init__()
        self.current = 0

    @contextmanager
    def device(self, device):
        """Stand for the context manager ``torch.cuda.device``: a device without an index changes nothing."""
        before, index = self.current, torch.device(device).index
        self.current = before if index is None else index
        yield
        self.current = before

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.device:
            return func(*args, **kwargs)
        if getattr(func, "__self__", None) is torch.Tensor.device:
            return getattr(args[0], "fake_device", None) or func(*args)
        placed = []

        def on_cpu(argument):
            if not isinstance(argument, str | torch.device) or not str(argument).startswith(("cpu", "cuda")):
                return argument
            named = torch.device(argument)
            bare = named.type == "cuda" and named.index is None
            placed.append(torch.device("cuda", self.current) if bare else named)
            return torch.device("cpu")

        devices = {tensor.fake_device for tensor in tensors(args) if hasattr(tensor, "fake_device")}
        result = func(*map(on_cpu, args), **{name: on_cpu(value) for name, value in kwargs.items()})
        if func is torch.Tensor.cpu:
            placed.append(torch.device("cpu"))
        if placed and args and result is args[0]:
            result = result.detach()  # a copy to another device is another tensor
        if not placed:
            assert len(devices) <= 1, f"{func.__name__}: tensors on {devices}"
        for tensor in tensors([result]):
            tensor.fake_device = next(iter(placed or devices), torch.device("cpu"))
        return result


def tensors(values) -> Iterator[torch.Tensor]:
    """Yield the tensors among values and lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors(value)


class FakeKernels:
    """Stands for `gpu.predict.triton_kernel`: writes the scores or classes of a map, and notes the current device.

    Attributes
    ----------
    launches : list of (str, int)
        Name of the kernel, and index of the device that was current, for each launch.
    """

    def __init__(self, cuda, affine):
        self.cuda, self.affine, self.launches = cuda, affine, []
        self.kernel = Launcher(self._all)
        self.part_kernel = Launcher(self._part)
        self.sum_kernel = Launcher(self._sum)

    def _all(self, pixels, *others):
        self._part(pixels)
        self._sum(*others[1:])
        self.launches[-2:] = [("kernel", self.cuda.current)]

    def _part(self, pixels, *others):
        self.pixels = pixels
        self.launches.append(("part_kernel", self.cuda.current))

    def _sum(self, *arguments):
        self.launches.append(("sum_kernel", self.cuda.current))
        result, classes = next(a for a in arguments[::-1] if isinstance(a, torch.Tensor)), arguments[-1]
        scores = torch.from_numpy(self.affine(self.pixels.double().numpy()))
        result.copy_((scores.argmax(1) if classes else scores).to(result.device))


class Launcher:
    """A kernel: ``launcher[grid](*arguments)``."""

    def __init__(self, function):
        self.function = function

    def __getitem__(self, grid):
        assert min(grid) >= 1
        return self.function


@contextmanager
def fake_cuda(monkeypatch, affine):
    """Pretend that there is a CUDA device with Triton, whose kernels compute the scores of a map.

    It yields a namespace of the fake device (``cuda``), its kernels and the log of its streams and graphs.
    """
    cuda = FakeCuda()
    kernels = FakeKernels(cuda, affine)
    log = FakeStreams(monkeypatch, cuda.device).log
    monkeypatch.setattr(torch.cuda, "current_device", lambda: cuda.current)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=132))
    monkeypatch.setattr("gpu.predict.triton_backend.import_module", lambda name: kernels)
    with cuda:
        yield SimpleNamespace(cuda=cuda, kernels=kernels, log=log)
