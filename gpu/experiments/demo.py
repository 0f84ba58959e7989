"""The paper's central claim, end to end: train a linear CNN, collapse it to one matrix, compare and time both."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from gpu.models.conversion import to_module
from gpu.models.shallow import three_layer_cnn
from gpu.models.skip_cnn import SkipCNN
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.runtime.results import output_folder
from gpu.runtime.timing import microseconds_per_image
from gpu.settings import DemoSettings
from gpu.training.data import PIXEL_SCALE, Digits, load_digits, scale_pixels
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.train import train
from linalg_cnn import AffineMap, Dense, SkipNetwork
from linalg_cnn.display import matrices_figure, to_png, weights_figure
from linalg_cnn.files import write_atomically, write_json
from linalg_cnn.meta import layout_of
from linalg_cnn.types import size_of

BATCH_SIZES = (1, 64)
RESULTS = ("collapsed.safetensors", "weights.png", "matrices.png", "report.json")


def run_demo(settings: DemoSettings) -> dict[str, Any]:
    """Train, collapse, compare and time a network; write the four result files; return the report.

    Raises
    ------
    ValueError
        If a setting is out of range, or the data are not genuine.
    OSError
        If a file cannot be read or written.
    FloatingPointError
        If the training diverges.
    """
    device = resolve_device(settings.device)
    with output_folder(settings.out, RESULTS):  # before the work, which takes minutes
        return _run(settings, device)


def _run(settings: DemoSettings, device: torch.device) -> dict[str, Any]:
    """Do the work of `run_demo` on a device."""
    training, held_out = load_digits(
        settings.dataset, settings.data_root, download=settings.download, seed=settings.seed
    )
    model = three_layer_cnn(channels=settings.channels, t=settings.t, seed=settings.seed).to(device)
    history = train(
        model,
        training,
        held_out,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        progress=settings.progress,
    )
    network = model.to_network()
    collapsed, collapse = collapse_both_ways(network)
    report = (
        {
            "network": repr(network),
            "parameters_network": sum(p.numel() for p in model.parameters()),
            "parameters_collapsed": collapsed.W.size + collapsed.B.size,
        }
        | compare(model, collapsed, held_out)
        | time_both(model, collapsed, held_out)
        | {
            "collapse": collapse,
            "training": history,
            "settings": {
                "dataset": settings.dataset,
                "training_images": len(training),
                "channels": settings.channels,
                "t": settings.t,
                "epochs": settings.epochs,
                "batch_size": settings.batch_size,
                "learning_rate": settings.learning_rate,
                "seed": settings.seed,
            },
            "hardware": describe_hardware(device),
            "versions": describe_versions(),
        }
    )
    write_results(settings.out, network, collapsed, report)
    return report


def pixel_scaling(shape: tuple[int, ...]) -> AffineMap:
    """Return the map from raw pixels 0..255 to [0, 1], which is one more affine layer in front of the others.

    Examples
    --------
    >>> pixel_scaling((1, 1, 2))([0, 255])
    array([0., 1.])
    """
    size = size_of(shape)
    scaling = PIXEL_SCALE * scipy.sparse.eye_array(size, format="csr")
    return AffineMap(
        scaling, np.zeros(size), shape, shape, {"pixel_scale": 1 / PIXEL_SCALE, "layout": layout_of(shape)}
    )


def collapse_both_ways(network: SkipNetwork) -> tuple[AffineMap, dict[str, float]]:
    """Return the map from raw pixels to scores, the times of both directions of theorem 3.1, and their difference."""
    timings, maps = {}, {}
    for direction in ("forward", "adjoint"):
        start = time.perf_counter()
        maps[direction] = network.compose(direction)
        timings[f"{direction}_seconds"] = time.perf_counter() - start
    difference = float(np.abs(maps["forward"].W - maps["adjoint"].W).max())
    collapsed = maps["adjoint"] @ pixel_scaling(network.in_shape)
    return collapsed, timings | {"max_abs_difference_of_W": difference}


def compare(model: SkipCNN, collapsed: AffineMap, held_out: Digits) -> dict[str, Any]:
    """Compare the classes and the scores of network and matrix on all held-out images."""
    scores = predict_scores(model, held_out.images)
    ours = torch.from_numpy(collapsed(held_out.images.flatten(1).numpy()))
    return {
        "images_compared": len(held_out),
        "predictions_agree": int((scores.argmax(1) == ours.argmax(1)).sum()),
        "max_abs_difference": float((scores - ours).abs().max()),
        "validation_accuracy_network": accuracy_of(scores, held_out.labels),
        "validation_accuracy_collapsed": accuracy_of(ours, held_out.labels),
    }


def time_both(model: SkipCNN, collapsed: AffineMap, held_out: Digits) -> dict[str, Any]:
    """Return the microseconds per image of network and matrix, for float32 batches that are on the device."""
    device = next(model.parameters()).device
    linear = to_module(Dense(collapsed.W.astype(np.float32), collapsed.B.astype(np.float32)), model.in_shape)
    linear = linear.to(device).eval()
    microseconds, spread, speedup = {}, {}, {}
    for size in BATCH_SIZES:
        pixels = held_out.images[:size].to(device).float()
        network_time = microseconds_per_image(model, scale_pixels(pixels))
        linear_time = microseconds_per_image(linear, pixels)
        microseconds[str(size)] = {"network": network_time["median"], "collapsed": linear_time["median"]}
        spread[str(size)] = {"network": network_time["iqr"], "collapsed": linear_time["iqr"]}
        speedup[str(size)] = network_time["median"] / linear_time["median"]
    return {"microseconds_per_image": microseconds, "spread_microseconds": spread, "speedup": speedup}


def write_results(out: Path, network: SkipNetwork, collapsed: AffineMap, report: dict[str, Any]) -> None:
    """Write ``collapsed.safetensors``, ``weights.png``, ``matrices.png`` and ``report.json``.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    collapsed.save(out / "collapsed.safetensors")
    weights = to_png(
        weights_figure(collapsed),
        "The ten rows of W as 28x28 pictures: orange pixels raise the score of the digit, violet ones lower it.",
    )
    write_atomically(out / "weights.png", weights)
    matrices = to_png(
        matrices_figure(network),
        "The nonzero entries of the matrix of each layer, and the small full matrix W that replaces them all.",
    )
    write_atomically(out / "matrices.png", matrices)
    write_json(out / "report.json", report)


def format_report(report: dict[str, Any], out: Path) -> str:
    """Return the report as a short table."""
    sizes = list(report["microseconds_per_image"])

    def row(title: str, cells: list[str]) -> str:
        return f"{title:<28}" + "".join(f"{cell:>14}" for cell in cells)

    times = report["microseconds_per_image"]
    agree, compared = report["predictions_agree"], report["images_compared"]
    return "\n".join([
        row("", ["network", "W x + B"]),
        row(
            "parameters",
            [f"{report['parameters_network']:,}", f"{report['parameters_collapsed']:,}"],
        ),
        row(
            "held-out accuracy",
            [
                f"{report['validation_accuracy_network']:.2%}",
                f"{report['validation_accuracy_collapsed']:.2%}",
            ],
        ),
        *(
            row(
                f"us per image, batch {size}",
                [f"{times[size]['network']:.2f}", f"{times[size]['collapsed']:.2f}"],
            )
            + f"   {report['speedup'][size]:.0f} times faster"
            for size in sizes
        ),
        "",
        f"same class on {agree} of {compared} held-out images; scores differ by at most "
        f"{report['max_abs_difference']:.1e}",
        f"W by pushing the identity forward in {report['collapse']['forward_seconds']:.3f} s, by pulling it back "
        f"in {report['collapse']['adjoint_seconds']:.3f} s",
        f"in {out}: collapsed.safetensors, report.json, weights.png, matrices.png",
    ])
