"""A plain training loop, and prediction in batches."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpu.data import Digits, check_seed
from linalg_cnn.checks import check_int

PIXEL_SCALE = 1 / 255
"""Networks see pixels in [0, 1]; files and data sets hold 0 to 255."""


class Epoch(TypedDict):
    """What one pass over the training set gave."""

    epoch: int
    loss: float
    train_accuracy: float
    validation_accuracy: float


def resolve_device(name: str | None) -> torch.device:
    """Return the named device; CUDA where there is one and the CPU otherwise if no name is given.

    Raises
    ------
    ValueError
        If there is no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"device: expected a device of this machine, got {name!r}: {reason}") from error
    return device


def train(
    model: nn.Module,
    training: Digits,
    held_out: Digits,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: bool = True,
) -> list[Epoch]:
    """Train a classifier of digits with Adam and cross entropy, on the device where its parameters are.

    The images live on the device as uint8; they are shuffled and scaled there.

    Parameters
    ----------
    model : nn.Module
        Takes float pixels in [0, 1], (N, 1, 28, 28), and returns scores (N, 10). Left in evaluation mode.
    training, held_out : Digits
    epochs, batch_size : int
    learning_rate : float
    seed : int
        Of the order of the images.
    progress : bool
        Whether to draw a progress bar on standard error.

    Returns
    -------
    list of Epoch
        The loss and the training accuracy are means over the epoch's batches, taken while the weights change.

    Raises
    ------
    ValueError
        If an option is out of range.
    FloatingPointError
        If the loss is no longer finite.
    """
    check_int("epochs", epochs, 1)
    check_int("batch_size", batch_size, 1)
    check_seed(seed)
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
    device = next(model.parameters()).device
    images, labels = training.images.to(device), training.labels.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    history: list[Epoch] = []
    steps = epochs * math.ceil(len(training) / batch_size)
    with tqdm(total=steps, desc="training", unit="batch", disable=not progress, dynamic_ncols=True) as bar:
        for epoch in range(1, epochs + 1):
            model.train()
            loss_sum = torch.zeros((), device=device)
            hits = torch.zeros((), device=device, dtype=torch.int64)
            order = torch.randperm(len(training), generator=generator).to(device)
            for batch in order.split(batch_size):
                scores = model(images[batch].float() * PIXEL_SCALE)
                loss = cross_entropy(scores, labels[batch])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                loss_sum += loss.detach() * len(batch)
                hits += (scores.detach().argmax(1) == labels[batch]).sum()
                bar.update()
            mean_loss = loss_sum.item() / len(training)
            if not math.isfinite(mean_loss):
                raise FloatingPointError(
                    f"training diverged: the loss is {mean_loss} in epoch {epoch}; try a smaller learning rate "
                    f"than {learning_rate}"
                )
            accuracy = accuracy_of(predict_scores(model, held_out.images), held_out.labels)
            history.append({
                "epoch": epoch,
                "loss": mean_loss,
                "train_accuracy": hits.item() / len(training),
                "validation_accuracy": accuracy,
            })
            bar.set_postfix(loss=f"{mean_loss:.3f}", held_out=f"{accuracy:.1%}")
    return history


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep cuDNN from computing convolutions in TF32, its default on CUDA, which has 10 bits of mantissa."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.inference_mode()
def predict_scores(model: nn.Module, images: torch.Tensor, batch_size: int = 1024) -> torch.Tensor:
    """Return the scores (N, classes) of uint8 images (N, 1, 28, 28), on the CPU; the model is set to evaluation."""
    model.eval()
    device = next(model.parameters()).device
    with full_float32():
        batches = [model(batch.to(device).float() * PIXEL_SCALE).cpu() for batch in images.split(batch_size)]
    return torch.cat(batches)


def accuracy_of(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images whose highest score is at their label."""
    return float((scores.argmax(1) == labels).double().mean())
