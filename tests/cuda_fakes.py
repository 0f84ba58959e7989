"""A CUDA device that is not there: its tensors are on the CPU, and what its streams and graphs do is noted."""

import threading
from contextlib import contextmanager

import torch

CUDA = torch.device("cuda:0")


class FakeCuda:
    """The streams and graphs of torch.cuda, replaced for a test; each thread has its own current stream.

    ``log`` names what happens; ``made`` lists the streams, and ``captures`` and ``replays`` the names of the streams
    that were current, and for a capture of that which was captured.
    """

    def __init__(self, monkeypatch):
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
        monkeypatch.setattr(torch, "zeros", lambda *shape, device=None, **how: zeros(*shape, **how))
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "default_stream", lambda device=None: self.main)
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.current())
        monkeypatch.setattr(torch.cuda, "set_stream", self.set_current)
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: self.entered(stream.name, stream))
        monkeypatch.setattr(torch.cuda, "device", lambda device: self.entered(str(device), self.current()))
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
