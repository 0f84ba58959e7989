"""An epoch of training: what is noted when it is over, and where it stands while it runs."""

import math
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn


class Epoch(TypedDict):
    """The results of one pass over the training set.

    Loss and training accuracy are means over the epoch's batches, taken while the weights change. The validation
    accuracy is that of the network as it is left; ``validation_accuracy_running`` is the one with the running
    statistics that training left, where these were recalibrated.
    """

    epoch: int
    t: NotRequired[float | dict[str, float]]
    slope: NotRequired[float | dict[str, float]]
    loss: float
    train_accuracy: float
    validation_accuracy: float
    validation_accuracy_running: NotRequired[float]


def check_history(name: str, epochs: object) -> None:
    """Check that a value that was read from a file is a list of `Epoch`, numbered from 1.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not isinstance(epochs, list):
        raise ValueError(f"{name}: expected a list, got {type(epochs).__name__}")  # noqa: TRY004 - a bad file
    for number, epoch in enumerate(epochs, 1):
        numbers = ("loss", "train_accuracy", "validation_accuracy")
        if (
            not isinstance(epoch, dict)
            or epoch.get("epoch") != number
            or not all(isinstance(epoch.get(key), (int, float)) for key in numbers)
            or not isinstance(epoch.get("validation_accuracy_running", 0.0), (int, float))
            or not all(isinstance(epoch.get(key, 0.0), (int, float, dict)) for key in ("t", "slope"))
        ):
            raise ValueError(
                f"{name}: expected epoch {number} with loss, train_accuracy and validation_accuracy, got another entry"
            )


class EpochProgress:
    """The epoch in progress: the order of its images, the next batch, and the sums over the batches so far.

    Parameters
    ----------
    images : int
        Number of training images.
    batch_size : int
    seed : int
        Seed of the orders of all epochs.
    device : torch.device
        Device of the order and of the sums, which are updated in place.

    Attributes
    ----------
    batches : tuple of int64 tensors
        Indices of the images of each batch.
    batch : int
        Number of batches that are done.
    loss_sum, hits : tensors ()
        Sum of the losses of the images, and number of images that were classified correctly.
    """

    def __init__(self, images: int, batch_size: int, seed: int, device: torch.device) -> None:
        self.images, self.batch_size, self.device = images, batch_size, device
        self.generator = torch.Generator().manual_seed(seed)
        self.loss_sum = torch.zeros((), device=device)
        self.hits = torch.zeros((), device=device, dtype=torch.int64)
        self.begin()

    @property
    def images_seen(self) -> int:
        """Number of images in the batches that are done."""
        return min(self.batch * self.batch_size, self.images)

    @property
    def loss(self) -> float:
        """Loss per image: a mean over the epoch once all batches are done."""
        return float(self.loss_sum.item()) / self.images

    @property
    def accuracy(self) -> float:
        """Training accuracy once all batches are done."""
        return float(self.hits.item()) / self.images

    def begin(self) -> None:
        """Begin the next epoch with a new order of the images."""
        self.batch = 0
        self.loss_sum.zero_()
        self.hits.zero_()
        self.drawn_from = self.generator.get_state()
        order = torch.randperm(self.images, generator=self.generator).to(self.device)
        self.batches = order.split(self.batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the batch, the sums, and the random state from which the order was drawn."""
        return {
            "drawn_from": self.drawn_from,
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "hits": self.hits,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the epoch of a state; further entries of the state are ignored."""
        self.generator.set_state(state["drawn_from"].cpu())
        self.begin()
        self.batch = state["batch"]
        self.loss_sum.copy_(state["loss_sum"])
        self.hits.copy_(state["hits"])


def check_finite(progress: EpochProgress, model: nn.Module, epoch: int, learning_rate: float) -> None:
    """Check that training can go on from here.

    Raises
    ------
    FloatingPointError
        If the loss or a weight is not finite; the message names the epoch, and a remedy.
    """
    weights = torch.stack([parameter.isfinite().all() for parameter in model.parameters()]).all()
    if not (torch.isfinite(progress.loss_sum) & weights):
        loss = progress.loss
        what = "weights are not finite" if math.isfinite(loss) else f"the loss is {loss}"
        raise FloatingPointError(
            f"training diverged: {what} in epoch {epoch}; try a smaller learning rate than {learning_rate}"
        )
