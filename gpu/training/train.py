"""`train`: a network trained by `gpu.Trainer`, with a progress bar."""

from typing import Any

from torch import nn
from tqdm import tqdm

from gpu.training.data import Digits
from gpu.training.epoch import Epoch
from gpu.training.trainer import Trainer


def train(
    model: nn.Module,
    training: Digits,
    held_out: Digits,
    *,
    progress: bool = True,
    **options: Any,
) -> list[Epoch]:
    """Train a classifier of digits with a progress bar, by `gpu.Trainer`.

    Parameters
    ----------
    model : nn.Module
        Network as in `gpu.Trainer`; it ends in evaluation mode.
    training, held_out : Digits
        Images to train on, and images to validate on after each epoch.
    progress : bool
        Whether to draw a progress bar on standard error.
    **options
        Options of `gpu.Trainer`, such as ``epochs``.

    Returns
    -------
    list of dict
        ``history`` of the `gpu.Trainer`.

    Raises
    ------
    ValueError
        If an option is out of range.
    FloatingPointError
        If the loss, a weight or a score is not finite.

    Examples
    --------
    >>> import gpu, torch
    >>> digits = gpu.Digits(torch.full((8, 1, 28, 28), 255, dtype=torch.uint8), torch.full((8,), 3))
    >>> history = gpu.train(gpu.perceptron(), digits, digits, epochs=1, learning_rate=0.01, progress=False)
    >>> history[-1]["validation_accuracy"]
    1.0
    """
    trainer = Trainer(model, training, held_out, **options)
    total = trainer.epochs * len(training)
    with tqdm(total=total, desc="training", unit="image", disable=not progress, dynamic_ncols=True) as bar:
        return trainer.run(report=bar.update)
