"""``bench collapse``: the time to compose a network, compared with autograd, unit images and a lower bound."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torchvision
from torch import nn

from gpu.bench.measurements import Measured
from gpu.bench.measuring import measured_of, time_runs
from gpu.bench.memory import keeps_memory, kept_memory, peak_bytes
from gpu.collapsing.collapse import collapse
from gpu.models.linearization import linearize
from gpu.models.resnets import set_stem_channels
from gpu.runtime.devices import resolve_device
from gpu.runtime.progress import Progress
from gpu.runtime.run import Run
from gpu.runtime.timing import microseconds_per_image
from gpu.tracing.trace import trace
from linalg_cnn import AffineGraph, compose
from linalg_cnn.arrays import parameters_stay
from linalg_cnn.cut import cheapest_cut, split
from linalg_cnn.types import Shape, size_of

BATCH_SIZES = (1, 64, 1024)
CHUNKS = (8, 16, 32, 64)
"""Numbers of rows of W that autograd computes at once in `colour_images`."""
TIMINGS_OF_WAYS = 6
"""Number of timings in `compare_ways`, for the progress bar."""


def linear_resnet(depth: int, in_shape: Shape, classes: int, seed: int = 0) -> nn.Module:
    """Return torchvision's ResNet without nonlinearities, float64, with random weights and running statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
        set_stem_channels(model, in_shape[0])
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                nn.init.normal_(cast(torch.Tensor, part.running_mean), 0, 0.1)
                nn.init.uniform_(cast(torch.Tensor, part.running_var), 0.5, 1.5)
    return linearize(model.double().eval())[0].requires_grad_(False)


class Stopwatch:
    """Times functions on a device, and advances a progress bar."""

    def __init__(self, device: torch.device, runs: int, bar: Progress) -> None:
        self.device, self.runs, self.bar = device, runs, bar

    def __call__(self, function: Callable[[], Any], at_most: int | None = None) -> Measured:
        """Return the median seconds and the spread of ``runs`` runs, or of ``at_most``; a single run is cold."""
        timing = time_runs(function, min(self.runs, at_most or self.runs), self.device)
        self.bar.done()
        return timing


def product_rate(watch: Stopwatch) -> float:
    """Return the float64 multiply-accumulates (MACs) per second of a large matrix product."""
    n = 1024
    a = np.random.default_rng(0).standard_normal((n, n))
    if watch.device.type == "cuda":
        b = torch.from_numpy(a).to(watch.device)
        return n**3 / watch(lambda: b @ b).seconds
    return n**3 / watch(lambda: a @ a).seconds


def compose_on(graph: AffineGraph, device: torch.device) -> Any:
    """Compose with numpy on the CPU, with torch tensors on an accelerator."""
    to_device = None if device.type == "cpu" else lambda array: torch.from_numpy(array).to(device)
    return compose(graph, to_device=to_device)


def time_composing(watch: Stopwatch, graphs: Sequence[AffineGraph], at_most: int | None = None) -> Measured:
    """Time composing graphs in turn.

    On an accelerator their parameters are copied there once, by the run that warms up: those of the modules that
    autograd goes through are there as well.
    """
    with parameters_stay():
        return watch(lambda: [compose_on(graph, watch.device) for graph in graphs], at_most)


def peak_memory(device: torch.device) -> int:
    """Return the peak memory so far: of the tensors on an accelerator, or resident on the CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_bytes()


def jacobian(module: nn.Module, in_shape: Shape, device: torch.device) -> Callable[[], Any]:
    """Return a function that computes W by ``torch.func.jacrev``."""
    x = torch.zeros(in_shape, dtype=torch.float64, device=device)
    return lambda: torch.func.jacrev(lambda x: module(x[None])[0])(x)


def unit_images(module: nn.Module, in_shape: Shape, device: torch.device) -> Callable[[], Any]:
    """Return a function that computes W as the paper does: it pushes all unit images through the network."""
    size = size_of(in_shape)
    units = torch.eye(size, dtype=torch.float64, device=device).reshape(size, *in_shape)

    def push() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([module(part) for part in units.split(784)])

    return push


def compare_ways(watch: Stopwatch, depth: int, in_shape: Shape) -> dict[str, Any]:
    """Return the times of several ways to compute the map of one network."""
    device = watch.device
    module = linear_resnet(depth, in_shape, 10).to(device)
    graph = trace(module, in_shape)
    rate = product_rate(watch)
    floor = size_of(graph.out_shape) * graph.multiply_adds / rate
    composing = time_composing(watch, [graph])
    how = "tap by tap" if device.type == "cpu" else "in one call each"
    steps: list[dict[str, float]] = []
    ways = {
        f"compose(trace(module)): the adjoints, {how}": composing,
        "torch.func.jacrev": watch(jacobian(module, in_shape, device)),
        "unit images through the network": watch(unit_images(module, in_shape, device), 1),
        "trace alone": watch(lambda: trace(module, in_shape), 3),
        "collapse: trace, compose, verify, report": watch(
            lambda: steps.append(collapse(module, in_shape).report.seconds), 3
        ),
        "floor: useful multiply-adds at the rate of a matrix product": Measured(floor, 0.0),
    }
    timed = steps[-min(3, watch.runs) :]  # without the run that warms up
    ways |= {f"collapse, of it {step}": measured_of([seconds[step] for seconds in timed]) for step in timed[0]}
    return {
        "network": f"ResNet{depth}, linearised, {in_shape} to 10",
        "multiply_adds_per_second": rate,
        "rows": [
            {"way": way, "seconds": taken, "spread": spread, "times_compose": taken / composing.seconds}
            for way, (taken, spread) in ways.items()
        ],
    }


def verdicts(watch: Stopwatch, depth: int, in_shape: Shape, seconds: float) -> list[dict[str, Any]]:
    """Return the report's estimates of a prediction's time beside what is measured, in float32."""
    module = linear_resnet(depth, in_shape, 10).float().to(watch.device)
    collapsed = collapse(module, in_shape)
    rows = []
    for size in BATCH_SIZES:
        batch = torch.rand(size, *in_shape, device=watch.device)
        before, after = (microseconds_per_image(m, batch, min_run_time=seconds) for m in (module, collapsed.module))
        rows.append({
            "batch_size": size,
            "estimate": collapsed.report.verdict[str(size)],
            "before": before["median"],
            "before_spread": before["iqr"],
            "after": after["median"],
            "after_spread": after["iqr"],
        })
        watch.bar.done()
    return rows


def scaling_row(watch: Stopwatch, depth: int, side: int) -> dict[str, Any]:
    """Return the seconds of composing and of autograd for a ResNet of some depth on images of some side."""
    module = linear_resnet(depth, (1, side, side), 10).to(watch.device)
    graph = trace(module, (1, side, side))
    composing = time_composing(watch, [graph], 3)
    jacrev = watch(jacobian(module, (1, side, side), watch.device), 3)
    return {
        "depth": depth,
        "side": side,
        "useful_multiply_adds": graph.multiply_adds,
        "compose_seconds": composing.seconds,
        "compose_spread": composing.spread,
        "jacrev_seconds": jacrev.seconds,
        "jacrev_spread": jacrev.spread,
    }


def colour_images(watch: Stopwatch, depth: int = 34, side: int = 224, classes: int = 1000) -> dict[str, Any]:
    """Return the seconds of composing a ResNet on colour images into two factors, beside those of autograd for W.

    Autograd is timed on one chunk of rows of each size that fits the memory, and extrapolated to all rows.

    Raises
    ------
    ValueError
        If the network has no value to cut at.
    """
    device, in_shape = watch.device, (3, side, side)
    module = linear_resnet(depth, in_shape, classes).to(device)
    graph = trace(module, in_shape)
    cut = cheapest_cut(graph)
    if cut is None:
        raise ValueError("expected a network with a value to cut at")
    outer, inner = split(graph, cut)
    rate = product_rate(watch)
    before = peak_memory(device)
    # a first run on an accelerator would measure the set-up of its libraries
    runs = 1 if device.type == "cpu" else 3
    composing = time_composing(watch, [outer, inner], runs).seconds
    peak = peak_memory(device)
    by_chunk: dict[int, float] = {}
    for chunk in CHUNKS:
        try:
            by_chunk[chunk] = _seconds_per_row(watch, module, in_shape, classes, chunk)
        except torch.OutOfMemoryError:  # of the accelerator, for which larger chunks are too large, too
            break
    per_row = min(by_chunk.values())
    vectors = size_of(inner.out_shape)
    floor = (vectors * inner.multiply_adds + vectors * outer.multiply_adds) / rate
    return {
        "network": f"ResNet{depth}, linearised, {in_shape} to {classes}",
        "width_of_cut": vectors,
        "compose_seconds": composing,
        "peak_bytes": peak,
        "peak_bytes_before": before,
        "autograd_seconds_per_row": {str(chunk): taken for chunk, taken in by_chunk.items()},
        "autograd_seconds_whole": per_row * classes,
        "autograd_seconds_same_rows": per_row * vectors,
        "floor_seconds": floor,
        "multiply_adds_per_second": rate,
    }


def _seconds_per_row(watch: Stopwatch, module: nn.Module, in_shape: Shape, classes: int, chunk: int) -> float:
    """Return the seconds per row of W that autograd takes if it pulls back ``chunk`` rows at once."""
    x = torch.zeros(in_shape, dtype=torch.float64, device=watch.device)
    units = torch.eye(classes, dtype=torch.float64, device=watch.device)[:chunk]
    pull = torch.func.vjp(lambda x: module(x[None])[0], x)[1]
    return watch(lambda: torch.func.vmap(pull)(units), 2).seconds / len(units)


def bench_collapse(
    *,
    quick: bool = False,
    large: bool = False,
    device: str | None = None,
    keep: Path | None = None,
    progress: bool | Progress = True,
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    The C library keeps freed memory during the measurements (`kept_memory`). It does not for the large network, whose
    peak memory is measured.

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    large : bool
        Measure ResNet34 on 3x224x224, too.
    device : str, optional
        Name of the device. The default is CUDA if there is a CUDA device, and the CPU otherwise.
    keep : Path, optional
        File of the parts measured so far; a run with the same conditions goes on from it (see `Run`).
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    where = resolve_device(device)
    depth, in_shape = (18, (1, 8, 8)) if quick else (34, (1, 28, 28))
    sides, depths = ((8,), (18,)) if quick else ((14, 28, 56, 112), (18, 34, 50, 101, 152))
    sizes = dict.fromkeys([*((18, side) for side in sides), *((deep, 28) for deep in depths)])  # without repetitions
    parts = TIMINGS_OF_WAYS + len(BATCH_SIZES) + 2 * len(sizes) + (2 + len(CHUNKS) if large else 0)
    runs = 1 if quick else 11
    settings = {"runs": runs, "quick": quick, "dtype": "float64", "memory_kept": keeps_memory()}
    run = Run("bench collapse", settings, where, parts, keep, progress)
    watch = Stopwatch(where, runs, run.bar)
    with kept_memory():
        ways = run.part("ways", lambda: compare_ways(watch, depth, in_shape))
        predictions = run.part("verdicts", lambda: verdicts(watch, depth, in_shape, 0.01 if quick else 0.5))
        scaling = [
            run.part(f"scaling, ResNet{deep}, side {side}", partial(scaling_row, watch, deep, side))
            for deep, side in sizes
        ]
    left_out = [] if large else ["ResNet34 on 3x224x224: several minutes, with --large"]
    found = {"large": run.part("large", lambda: colour_images(watch))} if large else {}
    return run.record(left_out, ways=ways, verdicts=predictions, scaling=scaling, **found)
