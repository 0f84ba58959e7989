"""``bench merge``: networks with few nonlinearities before and after merging, in torch and in onnxruntime."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpu.bench.contenders import fold_batch_norms
from gpu.bench.measuring import measured_of, time_in_turn
from gpu.bench.memory import keeps_memory, kept_memory
from gpu.merging.forms import FORMS_FOR_ONNXRUNTIME
from gpu.merging.merge import merge
from gpu.merging.report import MergeReport
from gpu.models.resnets import resnet
from gpu.runtime.devices import resolve_device
from gpu.runtime.onnx import in_onnxruntime
from gpu.runtime.progress import Progress
from gpu.runtime.run import Run
from gpu.runtime.tables import in_a_line
from gpu.runtime.timing import Predict
from linalg_cnn.types import Shape

BATCH_SIZE = 64


def layers(*channels: int, strides: tuple[int, ...]) -> list[nn.Module]:
    """Return padded 3x3 convolutions, each with batch normalisation behind it."""
    found: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(channels), strides, strict=True):
        found += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after)]
    return found


def plain_cnn() -> nn.Module:
    """Return eight convolutions with one nonlinearity between the second and the third, and one behind the last."""
    channels = (1, 16, 16, 16, 32, 32, 32, 64, 64)
    found = layers(*channels, strides=(1, 2, 1, 2, 1, 2, 1, 2))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*found[:4], nn.ReLU(), *found[4:], nn.ReLU(), *head)


def stretch(*channels: int, strides: tuple[int, ...]) -> nn.Module:
    """Return convolutions with a nonlinearity behind the last."""
    return nn.Sequential(*layers(*channels, strides=strides), nn.ReLU())


def networks(*, quick: bool) -> dict[str, tuple[Any, Shape]]:
    """Return functions that make the networks, and the shapes of their inputs, by name."""
    small = {"1 -> 16 -> 16, stride 2": (partial(stretch, 1, 16, 16, strides=(1, 2)), (1, 28, 28))}
    if quick:
        return {"1 -> 8 -> 4, stride 2": (partial(stretch, 1, 8, 4, strides=(1, 2)), (1, 8, 8))}
    return small | {
        "16 -> 16 -> 16, stride 2": (partial(stretch, 16, 16, 16, strides=(1, 2)), (16, 28, 28)),
        "16 -> 32 -> 32, stride 2": (partial(stretch, 16, 32, 32, strides=(1, 2)), (16, 14, 14)),
        "32 -> 64 -> 64, stride 2": (partial(stretch, 32, 64, 64, strides=(1, 2)), (32, 7, 7)),
        "8 convolutions, 2 nonlinearities": (plain_cnn, (1, 28, 28)),
        "ResNet18": (partial(resnet, 18), (1, 28, 28)),
    }


def made(make: Any, device: torch.device) -> nn.Module:
    """Return a network in evaluation mode with random weights: latency does not depend on them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = make().eval().requires_grad_(False).to(device)
    return model


def in_torch(model: nn.Module, in_shape: Shape, batch_size: int) -> tuple[dict[str, Predict], MergeReport]:
    """Return the network before and after merging, in torch."""
    merged = merge(model, in_shape, batch_size=batch_size)
    folded = fold_batch_norms(model) or model
    return {"eager": model, "batch norm folded, eager": folded, "merged, eager": merged.module}, merged.report


def in_onnx(model: nn.Module, in_shape: Shape, batch_size: int) -> tuple[dict[str, Predict], MergeReport]:
    """Return the network before and after merging, in onnxruntime, in the forms that it is fast at.

    Raises
    ------
    ModuleNotFoundError
        If onnxruntime or the exporter's packages are not installed.
    """
    merged = merge(model, in_shape, batch_size=batch_size, forms=FORMS_FOR_ONNXRUNTIME)
    modules = {"onnxruntime": model, "merged, onnxruntime": merged.module}
    return {name: in_onnxruntime(module, in_shape) for name, module in modules.items()}, merged.report


def rows_of(
    name: str, make: Any, in_shape: Shape, variants: Any, runs: int, batch_size: int, device: torch.device
) -> list[dict[str, Any]]:
    """Return the rows of a network in one runtime, whose variants are timed in turn.

    Parameters
    ----------
    name : str
        Name of the network.
    make : callable
        Makes the network.
    in_shape : tuple of int
        Shape of one input.
    variants : callable
        `in_torch` or `in_onnx`.
    runs, batch_size : int
        Numbers of runs and of inputs in each.
    device : torch.device
        Device of the network.
    """
    found, report = variants(made(make, device), in_shape, batch_size)
    batch = torch.rand(batch_size, *in_shape, device=device)
    calls = {variant: partial(predict, batch) for variant, predict in found.items()}
    with torch.inference_mode():
        taken = time_in_turn(calls, runs, device, lambda: None)
    rows = []
    for variant, seconds in taken.items():
        middle, spread = measured_of(seconds)
        merged = variant.startswith("merged")
        rows.append({
            "network": name,
            "variant": variant,
            "batch_size": batch_size,
            "microseconds_per_image": 1e6 * middle / batch_size,
            "spread": 1e6 * spread / batch_size,
            "forms": [row.form for row in report.stretches] if merged else None,
            "error": report.differences["merged"]["relative"] if merged else None,
        })
    return rows


def bench_merge(
    *, quick: bool = False, device: str | None = None, keep: Path | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    The variants of a network in one runtime are timed in turn, while the C library keeps freed memory (`kept_memory`).

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    device : str, optional
        Name of the device. The default is CUDA if there is a CUDA device, and the CPU otherwise.
    keep : Path, optional
        File of the parts measured so far; a run with the same conditions goes on from it (see `Run`).
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    where = resolve_device(device)
    runs, batch_size = (1, 4) if quick else (31, BATCH_SIZE)
    chosen = networks(quick=quick)
    settings = {
        "runs": runs,
        "quick": quick,
        "dtype": "float32",
        "weights": "random",
        "memory_kept": keeps_memory(),
    }
    run = Run("bench merge", settings, where, len(chosen), keep, progress)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    # not in one turn: each runtime has threads and caches of its own
    runtimes = {"torch": in_torch, "onnxruntime": in_onnx} if where.type == "cpu" else {"torch": in_torch}
    with kept_memory():
        for name, (make, in_shape) in chosen.items():
            for runtime, variants in runtimes.items():
                measure = partial(rows_of, name, make, in_shape, variants, runs, batch_size, where)
                try:
                    rows += run.part(f"{name}, {runtime}", measure)
                except ModuleNotFoundError as error:
                    left_out.append(f"{name}: {in_a_line(error)}")
            run.bar.done(name)
    return run.record(left_out, rows=rows)
