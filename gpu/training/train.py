"""`train`: a network trained by `gpu.Trainer`, with a progress bar."""

from typing import Any

from torch import nn
from tqdm import tqdm

from gpu.training.epoch import Epoch
from gpu.training.labelled import ImageSource
from gpu.training.trainer import Trainer


def train(
    model: nn.Module,
    training: ImageSource,
    held_out: ImageSource,
    *,
    progress: bool = True,
    **options: Any,
) -> list[Epoch]:
    """Train a classifier of images with a progress bar, by `gpu.Trainer`.

    Parameters
    ----------
    model : nn.Module
        Network as in `gpu.Trainer`; it ends in evaluation mode.
    training, held_out : LabelledImages, (images, labels), or torch Dataset
        Images to train on, and images to validate on after each epoch, in the forms that `gpu.Trainer` takes.
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
    TypeError
        If the model is no ``nn.Module``, or images come in another form, or are no tensors.
    ValueError
        If an option is out of range, network, images and labels do not fit together, the network has nothing to train
        or gives something else in training mode than in evaluation mode, or gradients are off.
    MemoryError
        If the images of a Dataset would take more than half of the machine's memory.
    FloatingPointError
        If the loss, a weight or a score is not finite.

    Examples
    --------
    >>> import gpu, torch
    >>> white = torch.full((8, 1, 28, 28), 255, dtype=torch.uint8), torch.full((8,), 3)
    >>> history = gpu.train(gpu.perceptron(), white, white, epochs=1, learning_rate=0.01, progress=False)
    >>> history[-1]["validation_accuracy"]
    1.0
    """
    trainer = Trainer(model, training, held_out, **options)
    total = trainer.epochs * len(trainer.labels)
    with tqdm(total=total, desc="training", unit="image", disable=not progress, dynamic_ncols=True) as bar:
        return trainer.run(report=bar.update)
