"""The times of the networks of the experiment `front`: merged, in eager mode, compiled, and in onnxruntime."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from gpu.experiments.front_networks import KEPT, last_of, merged_architecture, network_of
from gpu.experiments.front_trials import DIRECT
from gpu.merging.forms import CHAIN, FORMS, FORMS_FOR_ONNXRUNTIME
from gpu.merging.merge import merge
from gpu.merging.report import MergeReport
from gpu.models.activations import remove_activations, set_activation_slope
from gpu.runtime.cuda_graphs import graphed
from gpu.runtime.devices import measured_convolutions
from gpu.runtime.onnx import in_onnxruntime
from gpu.runtime.tables import in_a_line
from gpu.runtime.timing import Predict, median_and_iqr, microseconds_per_image
from linalg_cnn.types import Shape

ROUNDS, SECONDS = 25, 0.1
"""Number of times that each module of a network is timed, in turn with the others, and for how long each time."""
NETWORK, MERGED = "network", "merged"
"""The whole network with its batch normalisations folded, to which the others are compared; and merged ones."""
EAGER, COMPILED, GRAPH, ONNX = "eager", "torch.compile", "CUDA graph", "onnxruntime"
RUNTIMES = {"cpu": (EAGER, COMPILED, ONNX), "cuda": (EAGER, COMPILED, GRAPH)}
"""Runtimes that are timed on a kind of device."""

Plan = tuple[str, int]
"""Variant of a network, and number of activations that are left in it."""


def time_networks(
    name: str, order: Sequence[str], in_shape: Shape, batch_size: int, device: torch.device, *, progress: bool = True
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the time of a prediction of each network, and what could not be timed.

    The weights are random: latency does not depend on their values. The networks of a runtime are timed in turn in one
    process, one runtime after the other.

    Parameters
    ----------
    name : str
        Name of the network, one of `KEPT`.
    order : sequence of str
        Names of the activations, those that go first before the others.
    in_shape : tuple of int
        Shape of an image.
    batch_size : int
        Number of images in a batch.
    device : torch.device
        Device of the networks.
    progress : bool
        Whether to draw a progress bar on standard error.

    Returns
    -------
    tuple of (list of dict, list of str)
        A row for each network and runtime, with its ``variant``, ``left``, ``runtime``, ``microseconds_per_image``
        (median), ``spread`` (interquartile range), ``multiply_adds`` and ``forms``; and a sentence for each network
        that a runtime refused.
    """
    batch = torch.rand(batch_size, *in_shape, device=device)
    plans: list[Plan] = [(NETWORK, len(order)), (MERGED, len(order))]
    plans += [(variant, count) for count in KEPT[name] for variant in (MERGED, DIRECT)]
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    merged = {}
    for variant, count in tqdm(plans, desc="merging", disable=not progress):
        made = _with_few(name, last_of(order, count), variant, in_shape).to(device)
        # without any forms, batch normalisations are folded, and no more
        merged[variant, count] = merge(made, in_shape, batch_size=batch_size, forms=FORMS if variant != NETWORK else ())
    for runtime in RUNTIMES[device.type]:
        found: dict[Plan, tuple[Predict, MergeReport]] = {}
        for (variant, count), done in tqdm(merged.items(), desc=f"starting {runtime}", disable=not progress):
            if runtime == ONNX and {row.form for row in done.report.stretches} - {CHAIN, *FORMS_FOR_ONNXRUNTIME}:
                made = _with_few(name, last_of(order, count), variant, in_shape)
                done = merge(made, in_shape, batch_size=batch_size, forms=FORMS_FOR_ONNXRUNTIME)
            try:
                found[variant, count] = _START[runtime](done.module, batch), done.report
            except Exception as error:  # compilers and exporters raise errors of any kind
                left_out.append(f"{name}, {variant}, {count} left, {runtime}: {in_a_line(error)}")
        rows += [
            {"network": name, "variant": variant, "left": count, "runtime": runtime}
            | {"batch_size": batch_size, "device": str(device)}
            | {"microseconds_per_image": median, "spread": spread}
            | {"multiply_adds": found[variant, count][1].after.multiply_adds}
            | {"forms": [row.form for row in found[variant, count][1].stretches]}
            for (variant, count), (median, spread) in _in_turn(found, batch).items()
        ]
    torch.compiler.reset()
    return rows, left_out


def _compiled(module: nn.Module, batch: torch.Tensor) -> Predict:
    predict: Predict = torch.compile(module, dynamic=False)
    with torch.inference_mode():  # as it is timed: another mode would be compiled anew
        predict(batch)
    return predict


def _captured(module: nn.Module, batch: torch.Tensor) -> Predict:
    with measured_convolutions():
        return graphed(module, batch)


def _in_onnxruntime(module: nn.Module, batch: torch.Tensor) -> Predict:
    predict = in_onnxruntime(module, tuple(batch.shape[1:]))
    predict(batch)
    return predict


_START: dict[str, Callable[[nn.Module, torch.Tensor], Predict]] = {
    EAGER: lambda module, batch: module,
    COMPILED: _compiled,
    GRAPH: _captured,
    ONNX: _in_onnxruntime,
}


def _in_turn(found: dict[Plan, tuple[Predict, Any]], batch: torch.Tensor) -> dict[Plan, tuple[float, float]]:
    """Return the median and the interquartile range of each network's time, in microseconds per image."""
    times: dict[Plan, list[float]] = {plan: [] for plan in found}
    for _ in range(ROUNDS):
        for plan, (predict, _) in found.items():
            times[plan].append(microseconds_per_image(predict, batch, min_run_time=SECONDS)["median"])
    return {plan: median_and_iqr(taken) for plan, taken in times.items()}


def _with_few(name: str, kept: Sequence[str], variant: str, in_shape: Shape) -> nn.Sequential:
    """Return a network with random weights and few activations, in evaluation mode."""
    network = network_of(name, 0, in_shape).eval()
    if variant == DIRECT:
        return merged_architecture(network, kept, in_shape).eval()
    going = [part for part, module in network.named_children() if isinstance(module, nn.ReLU) and part not in kept]
    if going:
        set_activation_slope(network, dict.fromkeys(going, 1))
        network = remove_activations(network, inputs=torch.rand(2, *in_shape))
    return network
