"""Images per second in training: the project's loop beside the loop that a user would write."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from gpu.bench.measuring import median_and_iqr, time_in_turn
from gpu.bench.progress import Progress
from gpu.models.resnets import resnet
from gpu.models.shallow import three_layer_cnn
from gpu.runtime.devices import resolve_device
from gpu.runtime.timing import describe_hardware, describe_versions
from gpu.training.data import Digits, load_digits
from gpu.training.trainer import Trainer

BATCH_SIZE = 64
IMAGES = {"ResNet34": 1024, "3-layer CNN": 3968}
"""How many images a run trains on: whole batches, some seconds on two cores."""


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Digits as ``torchvision.datasets.MNIST`` gives them: a picture each, through ``ToTensor``."""

    def __init__(self, digits: Digits) -> None:
        self.digits, self.transform = digits, ToTensor()

    def __len__(self) -> int:
        """Return the number of digits."""
        return len(self.digits)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        """Return a picture (1, 28, 28) in [0, 1] and what it shows."""
        picture = Image.fromarray(self.digits.images[number, 0].numpy())
        return self.transform(picture), int(self.digits.labels[number])


def plain_loop(model: nn.Module, digits: Digits, device: torch.device) -> None:
    """Train for one epoch as PyTorch's tutorials do."""
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
    """Return a network, freshly initialised."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = resnet(34) if network == "ResNet34" else three_layer_cnn(activation="relu")
        return model


def bench_training(
    *, quick: bool = False, device: str | None = None, progress: bool | Progress = True
) -> dict[str, Any]:
    """Run the benchmark and return its record.

    Both ways train the same network on the same images, in turn, an epoch each time; warm-up and validation are not
    counted, nor is the time that it takes to bring the images to the device once.

    Parameters
    ----------
    quick : bool
        Whether to train on a few images, to see that it runs.
    device : str, optional
        CUDA where there is one, the CPU otherwise, if not given.
    progress : bool or Progress
        Whether to draw a progress bar on standard error; or the one to go on in.
    """
    where = resolve_device(device)
    digits, _ = load_digits()
    runs = 1 if quick else 7
    rows = []
    bar = Progress.of(progress, "training", 2 * len(IMAGES) * (runs + 1))
    for network, count in IMAGES.items():
        count = BATCH_SIZE if quick else count
        part = Digits(digits.images[:count], digits.labels[:count])
        models = {way: make(network).to(where) for way in ("plain", "ours")}
        trainer = Trainer(models["ours"], part, part, epochs=1, batch_size=BATCH_SIZE)

        def ours(trainer: Trainer = trainer) -> None:
            trainer.model.train()
            for index in trainer.order.split(BATCH_SIZE):
                trainer.step(index)

        def plain(model: nn.Module = models["plain"], part: Digits = part) -> None:
            plain_loop(model, part, where)

        seconds = time_in_turn({"plain": plain, "ours": ours}, runs, where, bar.done)
        ratios = [slow / fast for slow, fast in zip(seconds["plain"], seconds["ours"], strict=True)]
        timings = {way: median_and_iqr(times) for way, times in seconds.items()}
        rows.append({
            "network": network,
            "images": count,
            "images_per_second": {way: count / timing.seconds for way, timing in timings.items()},
            "seconds": {way: timing.seconds for way, timing in timings.items()},
            "spread": {way: timing.spread for way, timing in timings.items()},
            "times_faster": float(np.median(ratios)),
            "times_faster_from_to": [min(ratios), max(ratios)],
        })
    bar.finish()
    return {
        "experiment": "bench training",
        "settings": {"batch_size": BATCH_SIZE, "runs": runs, "quick": quick},
        "hardware": describe_hardware(where),
        "versions": describe_versions(),
        "rows": rows,
        "left_out": [],
    }
