"""CUDA without a card: tensors on the CPU that say they are on CUDA, and streams and graphs that keep a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode


def fake_streams(monkeypatch, device=None):
    """Replace the streams and graphs of torch.cuda; the log returned names what happens, and on which stream.

    ``device`` replaces the context manager ``torch.cuda.device``, which only writes to the log if it is not given.
    """
    events = []

    class Stream:
        def __init__(self, device=None):
            self.name = f"stream {sum(event.startswith('new') for event in events)}"
            events.append(f"new {self.name}")

        def wait_stream(self, other):
            events.append(f"{self.name} waits for {other.name}")

    class Main(Stream):
        def __init__(self):
            self.name = "main"

    class Graph:
        def replay(self):
            events.append("replay")

    @contextmanager
    def entered(name):
        events.append(f"enter {name}")
        yield
        events.append(f"leave {name}")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: Main())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: entered(stream.name))
    monkeypatch.setattr(torch.cuda, "device", device or (lambda device: entered(str(device))))

    def captured(graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"  # other threads use the device meanwhile
        return entered(f"capture on {stream.name}")

    monkeypatch.setattr(torch.cuda, "graph", captured)
    return events


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
    log = fake_streams(monkeypatch, cuda.device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: cuda.current)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(multi_processor_count=132))
    monkeypatch.setattr("gpu.predict.triton_backend.import_module", lambda name: kernels)
    with cuda:
        yield SimpleNamespace(cuda=cuda, kernels=kernels, log=log)
