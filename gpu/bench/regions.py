"""``bench regions``: local maps of a ResNet beside autograd, and the distances to the nearest walls of its regions."""

from typing import Any

import numpy as np
import torch

import gpu
from gpu.bench.measuring import median_and_iqr, run_seconds, time_in_turn
from gpu.bench.progress import Progress
from gpu.runtime.machine import describe_hardware, describe_versions
from linalg_cnn import Region, region
from linalg_cnn.types import Array

CPU = torch.device("cpu")


def resnet_and_images(quick: bool, count: int) -> tuple[torch.nn.Module, Array]:
    """Return a ResNet34 (ResNet18 if ``quick``) with random weights, float64, and noise images."""
    depth, side = (18, 8) if quick else (34, 28)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = gpu.resnet(depth).double().eval().requires_grad_(False)
    return module, np.random.default_rng(0).random((count, 1, side, side))


def local_maps_row(graph: Any, module: torch.nn.Module, images: Array, runs: int, bar: Progress) -> dict[str, Any]:
    """Return the seconds of a batch of local maps, in turn with autograd's Jacobians, and their agreement."""
    xs = torch.from_numpy(images)
    autograd = torch.func.vmap(torch.func.jacrev(lambda x: module(x[None])[0]))
    taken = time_in_turn(
        {"local_maps": lambda: graph.local_maps(images), "autograd": lambda: autograd(xs)}, runs, CPU, lambda: None
    )
    W, B = graph.local_maps(images)
    scores = graph(images).reshape(B.shape)
    jacobian = autograd(xs).numpy().reshape(W.shape)
    error = np.abs((W @ images.reshape(len(images), -1, 1))[..., 0] + B - scores).max()
    bar.done("local maps")
    return {
        "images": len(images),
        "seconds": {name: median_and_iqr(values)._asdict() for name, values in taken.items()},
        "times_autograd": float(np.median(np.array(taken["autograd"]) / taken["local_maps"])),
        "relative_error": float(error / np.abs(scores).max()),
        "difference_from_autograd": float(np.abs(W - jacobian).max() / np.abs(jacobian).max()),
    }


def distance_row(graph: Any, x: Array, norm: str, runs: int, bar: Progress) -> dict[str, Any]:
    """Return the seconds of the distance to the nearest wall in one norm, the region included, and what was found."""
    around: Region = region(graph, x)
    seconds = [run_seconds(lambda: region(graph, x).distance(norm), CPU) for _ in range(runs)]
    distance = around.distance(norm)
    bar.done(norm)
    return {
        "norm": norm,
        **median_and_iqr(seconds)._asdict(),
        "walls": len(around),
        "ties": len(around.ties),
        "distance": float(distance),
        "node": distance.wall.node if distance.wall is not None else "",
    }


def bench_regions(*, quick: bool = False, progress: bool | Progress = True) -> dict[str, Any]:
    """Run the benchmark and return its record.

    Parameters
    ----------
    quick : bool
        Use small sizes, to check that the benchmark runs.
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    """
    runs = 1 if quick else 5
    module, images = resnet_and_images(quick, 2 if quick else 20)
    bar = Progress.of(progress, "regions", 3)
    graph = gpu.trace(module, images.shape[1:], piecewise=True)
    maps = local_maps_row(graph, module, images, runs, bar)
    distances = [distance_row(graph, images[0], norm, min(runs, 3), bar) for norm in ("l2", "linf")]
    bar.finish()
    return {
        "experiment": "bench regions",
        "settings": {
            "runs": runs,
            "quick": quick,
            "dtype": "float64",
            "network": f"ResNet{18 if quick else 34}",
            "weights": "random",
            "in_shape": list(images.shape[1:]),
        },
        "hardware": describe_hardware(CPU),
        "versions": describe_versions(),
        "local_maps": maps,
        "distances": distances,
        "left_out": [],
    }
