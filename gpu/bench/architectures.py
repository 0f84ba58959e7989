"""``bench architectures``: the time to trace, to compose and to verify networks of twelve architectures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from torch import nn

from gpu.bench.measuring import time_runs
from gpu.collapsing.collapse import collapse
from gpu.collapsing.samples import BATCHES
from gpu.models.linearization import linearize
from gpu.runtime.devices import resolve_device
from gpu.runtime.progress import Progress
from gpu.runtime.run import Run
from gpu.runtime.tables import in_a_line
from linalg_cnn.types import Shape

STEPS = ("tracing", "composing", "verifying", "estimating")
CLASSES = 10
TORCHVISION: dict[str, Shape] = {
    "resnet18": (3, 64, 64),
    "resnet50": (3, 224, 224),
    "resnext50_32x4d": (3, 64, 64),
    "mobilenet_v2": (3, 64, 64),
    "mnasnet1_0": (3, 64, 64),
    "shufflenet_v2_x1_0": (3, 64, 64),
    "regnet_x_400mf": (3, 64, 64),
    "squeezenet1_1": (3, 64, 64),
    "densenet121": (3, 64, 64),
    "googlenet": (3, 64, 64),
    "vgg11_bn": (3, 64, 64),
}
"""Shapes of the inputs of torchvision's networks, by name."""
DEPTHWISE = "ten 5x5 depthwise convolutions"


def depthwise(channels: int) -> nn.Module:
    """Return ten depthwise convolutions, as the widest ones of EfficientNet, with a linear layer behind them."""
    layers = (nn.Conv2d(channels, channels, 5, padding=2, groups=channels) for _ in range(10))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def linear_network(name: str) -> nn.Module:
    """Return a network of torchvision without nonlinearities, float32, in evaluation mode."""
    options = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, num_classes=CLASSES, **options)
    return linearize(model.eval())[0]


def randomize(model: nn.Module) -> None:
    """Draw the weights of a network so that its values neither vanish nor overflow."""
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="linear")


def row_of(
    name: str, make: Callable[[], nn.Module], in_shape: Shape, device: torch.device, runs: int
) -> dict[str, Any]:
    """Return the row of a network with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().eval()
        randomize(model)
    return {"network": name, "in_shape": list(in_shape), **seconds_of(model.to(device), in_shape, runs)}


def seconds_of(model: nn.Module, in_shape: Shape, runs: int) -> dict[str, Any]:
    """Return the median seconds of the steps of several collapses, their ranges, and the seconds of a forward pass.

    The forward pass is that of the verification in the network's own dtype, with eight samples.
    """
    taken = [collapse(model, in_shape).report.seconds for _ in range(runs)]
    device = next(model.parameters()).device
    batch = torch.zeros(sum(BATCHES), *in_shape, device=device)
    with torch.no_grad():
        forward = time_runs(lambda: model(batch), 3, device).seconds
    by_step = {step: [seconds[step] for seconds in taken] for step in STEPS}
    middle = {step: median(values) for step, values in by_step.items()}
    return {
        "seconds": middle,
        "spread": {step: max(values) - min(values) for step, values in by_step.items()},
        "forward_seconds": forward,
        "verifying_over_bound": middle["verifying"] / (2 * middle["composing"] + forward),
    }


def bench_architectures(
    *, quick: bool = False, device: str | None = None, keep: Path | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

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
    runs = 1 if quick else 3
    shapes = {"squeezenet1_1": (3, 32, 32)} if quick else TORCHVISION
    channels, side = (8, 6) if quick else (672, 14)
    networks = {
        DEPTHWISE: (partial(depthwise, channels), (channels, side, side)),
        **{name: (partial(linear_network, name), shape) for name, shape in shapes.items()},
    }
    settings = {"runs": runs, "quick": quick, "classes": CLASSES, "dtype": "float32", "weights": "random"}
    run = Run("bench architectures", settings, where, len(networks), keep, progress)
    rows, left_out = [], []
    for name, (make, in_shape) in networks.items():
        try:
            rows.append(run.part(name, partial(row_of, name, make, in_shape, where, runs)))
        except (ValueError, MemoryError, RuntimeError) as error:
            left_out.append(f"{name}: {in_a_line(error)}")
        run.bar.done(name)
    return run.record(left_out, rows=rows)
