"""Sections 5.2 and 5.3: what a prediction costs with skips, without them, and as one matrix."""

from typing import Any, Literal

import torch
from torch import nn
from tqdm import tqdm

from gpu.collapsing.collapse import collapse
from gpu.experiments.paper_numbers import TIMINGS
from gpu.models.homotopy import remove_skips, set_skip_strength
from gpu.models.resnets import resnet
from gpu.models.shallow import perceptron, six_layer_cnn, three_layer_cnn
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.runtime.timing import microseconds_per_image
from gpu.settings import ExperimentSettings

IN_SHAPE = (1, 28, 28)
ACTIVATIONS: tuple[Literal["identity", "relu"], ...] = ("identity", "relu")
SECONDS = 3.0
"""How long each network is timed."""


def networks(seed: int) -> list[tuple[str, str, nn.Module]]:
    """Return (network, variant, module), freshly initialised: how fast a network is does not hang on its weights.

    torchvision's own ResNet34 adds x + F(x), without t, and is there so that the removal is not credited with what
    the product with t costs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = resnet(34, activation="identity", stem_pool="avg").eval()
        deep = resnet(34, t=0.0).eval()
        plain = _plain_resnet34().eval()
    shallow = three_layer_cnn(seed=seed).eval()
    found: list[tuple[str, str, nn.Module]] = [
        ("ResNet34, linear", "network", linear),
        ("ResNet34, linear", "collapsed", collapse(linear, IN_SHAPE).module),
        ("3-layer CNN, linear", "network", shallow),
        ("3-layer CNN, linear", "collapsed", collapse(shallow, IN_SHAPE).module),
        ("perceptron", "network", perceptron(seed=seed).eval()),
        ("ResNet34", "torchvision's x + F(x)", plain),
        ("ResNet34", "with skips", deep),
        ("ResNet34", "skips removed", remove_skips(deep)),
    ]
    for activation in ACTIVATIONS:
        six = six_layer_cnn(t=0.5, activation=activation, seed=seed).eval()
        set_skip_strength(six, 0.0)
        name = "6-layer CNN" + (", linear" if activation == "identity" else "")
        found += [(name, "with skips", six), (name, "skips removed", remove_skips(six))]
    return found


def _plain_resnet34() -> nn.Module:
    from torchvision.models import resnet34

    model: nn.Module = resnet34(num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


def time_networks(settings: ExperimentSettings) -> dict[str, Any]:
    """Return the timing record: microseconds per image at the batch size, medians, with the middle half as spread.

    As in the paper's section 5.1, loading and transforming images is not counted.
    """
    device = resolve_device(settings.device)
    batch = torch.rand(settings.batch_size, *IN_SHAPE, device=device)
    rows = []
    for network, variant, module in tqdm(networks(settings.seed), desc="timing", disable=not settings.progress):
        measured = microseconds_per_image(module.to(device), batch, min_run_time=SECONDS)
        rows.append({
            "network": network,
            "variant": variant,
            "batch_size": settings.batch_size,
            "device": str(device),
            "microseconds_per_image": measured["median"],
            "spread": measured["iqr"],
            "parameters": sum(p.numel() for p in module.parameters()),
            "paper": TIMINGS.get((network, variant)),
        })
    return {
        "experiment": "timing",
        "settings": {"batch_size": settings.batch_size, "seed": settings.seed, "seconds_each": SECONDS},
        "hardware": describe_hardware(device),
        "versions": describe_versions(),
        "rows": rows,
    }
