"""``bench training``: images per second of the project's training loop and of the loop of PyTorch's tutorials."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from gpu.bench.measuring import measured_of, time_in_turn
from gpu.models.resnets import resnet
from gpu.models.shallow import three_layer_cnn
from gpu.runtime.devices import resolve_device
from gpu.runtime.progress import Progress
from gpu.runtime.run import Run
from gpu.training.data import Digits, load_digits
from gpu.training.trainer import Trainer

BATCH_SIZE = 64
IMAGES = {"ResNet34": 1024, "3-layer CNN": 3968}
"""Number of images in a run, by network: whole batches that take some seconds on two cores."""


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Digits as ``torchvision.datasets.MNIST`` gives them: single pictures that go through ``ToTensor``."""

    def __init__(self, digits: Digits) -> None:
        self.digits, self.transform = digits, ToTensor()

    def __len__(self) -> int:
        """Return the number of digits."""
        return len(self.digits)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        """Return a picture, float32 (1, 28, 28) in [0, 1], and its class."""
        picture = Image.fromarray(self.digits.images[number, 0].numpy())
        return self.transform(picture), int(self.digits.labels[number])


def plain_loop(model: nn.Module, digits: Digits, device: torch.device) -> None:
    """Train for one epoch, as PyTorch's tutorials do."""
    loader = DataLoader(Pictures(digits), batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for images, labels in loader:
        images, labels = images.to(device), labels.to(device)
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()


def make(network: str) -> nn.Module:
    """Return a network with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = resnet(34) if network == "ResNet34" else three_layer_cnn(activation="relu")
        return model


def row_of(network: str, part: Digits, runs: int, device: torch.device, bar: Progress) -> dict[str, Any]:
    """Return the row of a network that both loops train on the same digits, in turn."""
    models = {loop: make(network).to(device) for loop in ("plain", "ours")}
    trainer = Trainer(models["ours"], part, part, epochs=1, batch_size=BATCH_SIZE)

    def ours() -> None:
        trainer.model.train()
        for index in trainer.progress.batches:
            trainer.step(index)

    loops = {"plain": lambda: plain_loop(models["plain"], part, device), "ours": ours}
    seconds = time_in_turn(loops, runs, device, bar.done)
    ratios = [slow / fast for slow, fast in zip(seconds["plain"], seconds["ours"], strict=True)]
    timings = {loop: measured_of(taken) for loop, taken in seconds.items()}
    return {
        "network": network,
        "images": len(part),
        "images_per_second": {loop: len(part) / timing.seconds for loop, timing in timings.items()},
        "seconds": {loop: timing.seconds for loop, timing in timings.items()},
        "spread": {loop: timing.spread for loop, timing in timings.items()},
        "times_faster": float(np.median(ratios)),
        "times_faster_from_to": [min(ratios), max(ratios)],
    }


def bench_training(
    *, quick: bool = False, device: str | None = None, keep: Path | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    Both loops train the same network on the same images, in turn, for one epoch at a time. Warm-up, validation and the
    Trainer's single copy of the images to the device are not counted.

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
    digits, _ = load_digits()
    runs = 1 if quick else 7
    settings = {"batch_size": BATCH_SIZE, "runs": runs, "quick": quick}
    run = Run("bench training", settings, where, 2 * len(IMAGES) * (runs + 1), keep, progress)
    rows = []
    for network, count in IMAGES.items():
        count = 16 if quick else count
        part = Digits(digits.images[:count], digits.labels[:count])
        rows.append(run.part(network, partial(row_of, network, part, runs, where, run.bar)))
    return run.record([], rows=rows)
