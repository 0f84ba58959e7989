"""``bench regions``: local maps, walls, segments and slices of ReLU networks with skips and max pooling."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path as File
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

import gpu
from gpu.bench.measuring import measured_of, run_seconds, time_in_turn
from gpu.bench.memory import peak_bytes
from gpu.runtime.progress import Progress
from gpu.runtime.run import CPU, Run
from linalg_cnn import Path, PiecewiseGraph, Region, region, segment, slice_regions
from linalg_cnn.piecewise.local_maps import batch_pieces
from linalg_cnn.types import Array, IntArray

Result = TypeVar("Result")
IMAGES = 200
"""Number of images from which the running statistics are estimated."""

FAILURE = 1e-9
"""Probability with which the distances that random directions find may be those of another wall."""


class Block(nn.Module):
    """A residual block of `SmallResNet`."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.skip = nn.Sequential()
        if stride > 1:
            projection = nn.Conv2d(channels, out_channels, 1, stride, bias=False)
            self.skip = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        return torch.relu(self.main(x) + self.skip(x))


def small_resnet() -> nn.Sequential:
    """Return a ResNet with max pooling and three blocks of 8, 16 and 32 channels."""
    stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(stem, Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2), head)


SMALL = "small ResNet"
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    SMALL: small_resnet,
    "ResNet18": partial(gpu.resnet, 18),
    "ResNet34": partial(gpu.resnet, 34),
}


def network(name: str, images: Array) -> nn.Module:
    """Return a network with random weights, float64, in evaluation mode.

    Its running statistics are those of the images: otherwise its values vanish from block to block.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = NETWORKS[name]().double().eval().requires_grad_(False)
    gpu.recalibrate(module, torch.from_numpy(images))
    return module


def images_of(quick: bool) -> Array:
    """Return digits (N, 1, 28, 28) with values in [0, 1]; if ``quick``, noise of 7x7 pixels, which needs no reading."""
    if quick:
        return np.random.default_rng(0).random((IMAGES, 1, 7, 7))
    return np.asarray(gpu.load_digits()[0].images[:IMAGES], np.float64) / 255


def corner_of(images: Array, share: float) -> tuple[Array, Array, Array]:
    """Return an image, and a share of the ways to two others: the origin and the directions of a slice."""
    return images[0], share * (images[1] - images[0]), share * (images[2] - images[0])


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and numpy use one thread, and as many as before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


def local_maps_row(graph: PiecewiseGraph, module: nn.Module, images: Array, runs: int, bar: Progress) -> dict[str, Any]:
    """Return the seconds of a batch of local maps, in turn with autograd's Jacobians, and their agreement.

    Both have one thread.
    """
    xs = torch.from_numpy(images)
    autograd = torch.func.vmap(torch.func.jacrev(lambda x: module(x[None])[0]))
    with one_thread():
        taken = time_in_turn(
            {"local_maps": lambda: graph.local_maps(images), "autograd": lambda: autograd(xs)}, runs, CPU, lambda: None
        )
    W, B = graph.local_maps(images)
    scores = module(xs).numpy().reshape(B.shape)
    jacobian = autograd(xs).numpy().reshape(W.shape)
    error = np.abs((W @ images.reshape(len(images), -1, 1))[..., 0] + B - scores).max()
    bar.done("local maps")
    return {
        "images": len(images),
        "threads": 1,
        "seconds": {name: measured_of(values)._asdict() for name, values in taken.items()},
        "times_autograd": float(np.median(np.array(taken["autograd"]) / taken["local_maps"])),
        "relative_error": float(error / np.abs(scores).max()),
        "difference_from_autograd": float(np.abs(W - jacobian).max() / np.abs(jacobian).max()),
    }


def distance_row(
    graph: PiecewiseGraph, x: Array, norm: str, failure: float, runs: int, bar: Progress
) -> dict[str, Any]:
    """Return the seconds of the distance to the nearest wall in one norm, the region included, and what was found."""
    around: Region = region(graph, x)
    seconds = [
        run_seconds(lambda: region(graph, x).distance(norm, failure_probability=failure), CPU) for _ in range(runs)
    ]
    distance = around.distance(norm, failure_probability=failure)
    bar.done(norm)
    return {
        "norm": norm,
        "failure_probability": failure,
        **measured_of(seconds)._asdict(),
        "walls": len(around),
        "ties": len(around.ties),
        "distance": float(distance),
        "node": distance.wall.node if distance.wall is not None else "",
    }


def chosen_of(count: int) -> IntArray:
    """Return the numbers of the regions that are compared with the network: all, or 1,000 of them."""
    return np.unique(np.linspace(0, count - 1, min(count, 1000), dtype=int))


def largest_error(module: nn.Module, inputs: list[Array], outputs: Array) -> float:
    """Return the largest difference of outputs (N, out_size) from those of a network, relative to the largest of them.

    The batches are small: the peak memory that is recorded should not be torch's.
    """
    batches = torch.from_numpy(np.stack(inputs)).split(100)
    scores = torch.cat([module(batch) for batch in batches]).numpy()
    return float(np.abs(outputs - scores).max() / np.abs(scores).max())


def segment_row(name: str, module: nn.Module, path_of: Callable[[], Path], bar: Progress) -> dict[str, Any]:
    """Return the seconds of all breaks between two images and the error in the middle of regions."""
    seconds, path = timed(path_of)
    peak = peak_bytes()
    numbers = chosen_of(path.regions)
    middles = (path.points[numbers] + path.points[numbers + 1]) / 2
    bar.done(f"segment, {name}")
    return {
        "network": name,
        "regions": path.regions,
        "reached": path.reached,
        "seconds": seconds,
        "peak_bytes": peak,
        "class_changes": len(path.class_changes),
        "relative_error": largest_error(
            module, [path.input_at(t) for t in middles], (path.values[numbers] + path.values[numbers + 1]) / 2
        ),
    }


def sampling_row(path: Path, samples: int, bar: Progress) -> dict[str, Any]:
    """Return the seconds of a dense sampling of a segment, and how many of its regions have no sample."""

    def sample() -> int:
        found, last = 1, None
        for ts in np.array_split(np.linspace(0, 1, samples), -(-samples // 200)):
            xs = np.stack([path.input_at(t) for t in ts])
            pieces = [array.reshape(len(xs), -1) for array in batch_pieces(path.graph, xs)[1]]
            rows = pieces if last is None else [np.concatenate(pair) for pair in zip(last, pieces, strict=True)]
            changed = np.any([(row[1:] != row[:-1]).any(axis=1) for row in rows], axis=0)
            found, last = found + int(changed.sum()), [array[-1:] for array in pieces]
        return found

    seconds, found = timed(sample)
    bar.done("samples")
    return {"samples": samples, "seconds": seconds, "regions": found, "missed": path.regions - found}


def slice_row(
    name: str,
    graph: PiecewiseGraph,
    module: nn.Module,
    corner: tuple[Array, Array, Array],
    max_regions: int | None,
    bar: Progress,
) -> dict[str, Any]:
    """Return the seconds of the regions of a rectangle, the sum of their areas, and the error at their centers."""
    seconds, found = timed(lambda: slice_regions(graph, *corner, max_regions=max_regions))
    peak = peak_bytes()
    some = [found[number] for number in chosen_of(len(found))]
    outputs = np.stack([one.W @ one.center + one.B for one in some])
    bar.done(f"slice, {name}")
    return {
        "network": name,
        "regions": len(found),
        "complete": found.complete,
        "areas": found.covered,
        "seconds": seconds,
        "peak_bytes": peak,
        "relative_error": largest_error(module, [found.input_at(one.center) for one in some], outputs),
    }


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds of one run, and what it returned."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def bench_regions(*, quick: bool = False, keep: File | None = None, progress: bool | Progress = True) -> dict[str, Any]:
    """Run the benchmark and return its record.

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    keep : Path, optional
        File of the parts measured so far; a run with the same conditions goes on from it (see `Run`).
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    runs, images = 1 if quick else 5, images_of(quick)
    names = (SMALL, "ResNet18") if quick else tuple(NETWORKS)
    largest = names[-1]
    settings = {
        "runs": runs,
        "quick": quick,
        "dtype": "float64",
        "network": largest,
        "weights": "random",
        "in_shape": list(images.shape[1:]),
    }
    run = Run("bench regions", settings, CPU, 8 + len(names), keep, progress)
    bar = run.bar
    modules = {name: network(name, images) for name in names}
    graphs = {name: gpu.trace(module, images.shape[1:], piecewise=True) for name, module in modules.items()}

    @cache
    def path_of(name: str) -> Path:
        most = 50 if quick and name != SMALL else None
        return segment(graphs[name], images[0], images[1], max_regions=most)

    few = images[: 2 if quick else 20]
    maps = run.part("local maps", lambda: local_maps_row(graphs[largest], modules[largest], few, runs, bar))
    distances = [
        run.part(
            f"distance, {norm}, failure probability {failure}",
            partial(distance_row, graphs[largest], images[0], norm, failure, min(runs, 3), bar),
        )
        for norm in ("l2", "linf")
        for failure in (0.0, FAILURE)
    ]
    slices = [
        run.part(
            f"slice, {name}",
            partial(slice_row, name, graphs[name], modules[name], corner_of(images, share), most, bar),
        )
        for name, share, most in ((SMALL, 0.01, None), (largest, 0.001, 50 if quick else 10_000))
    ]
    segments = [
        run.part(f"segment, {name}", partial(segment_row, name, modules[name], partial(path_of, name), bar))
        for name in names
    ]
    samples = 500 if quick else 100_000
    sampling = run.part("sampling", lambda: {"network": SMALL, **sampling_row(path_of(SMALL), samples, bar)})
    return run.record([], local_maps=maps, distances=distances, segments=segments, sampling=sampling, slices=slices)
