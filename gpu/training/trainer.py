"""Training: a loop that loses nothing when it is killed."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from gpu.models.homotopy import set_skip_strength, skip_strengths
from gpu.schedules import SkipSchedule, ThresholdSchedule
from gpu.training.checkpoints import load_checkpoint, save_checkpoint
from gpu.training.data import Digits, check_seed, scale_pixels
from gpu.training.distillation import Teacher
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.graphed_step import GraphedStep
from linalg_cnn.checks import check_choice, check_int


class Epoch(TypedDict):
    """What one pass over the training set gave."""

    epoch: int
    t: NotRequired[float | dict[str, float]]
    loss: float
    train_accuracy: float
    validation_accuracy: float


class Trainer:
    """Trains a classifier of digits with Adam and cross entropy, on the device where its parameters are.

    The images live on the device as uint8; they are shuffled and scaled there. On CUDA, convolutions run on
    channels_last tensors and a whole step is replayed as a CUDA graph. What is needed to go on after any batch is
    in `state_dict`: on the CPU, training that was interrupted and resumed ends in the same bits.

    Parameters
    ----------
    model : nn.Module
        Takes float pixels in [0, 1], (N, 1, 28, 28), and returns scores (N, 10).
    training, held_out : Digits
    epochs, batch_size : int
    learning_rate : float
    seed : int
        Of the order of the images.
    schedule : SkipSchedule or ThresholdSchedule, optional
        Of the skip strength t; takes a step after each epoch.
    teacher : Teacher, optional
    precision : {"float32", "bfloat16"}
        Of the forward pass and its gradients; weights stay as they are.

    Attributes
    ----------
    history : list of Epoch
        The loss and the training accuracy are means over the epoch's batches, taken while the weights change.

    Raises
    ------
    ValueError
        If an option is out of range.

    Examples
    --------
    >>> import gpu
    >>> digits = Digits(torch.full((8, 1, 28, 28), 255, dtype=torch.uint8), torch.full((8,), 3))
    >>> trainer = Trainer(gpu.perceptron(), digits, digits, epochs=1, learning_rate=0.01)
    >>> [epoch["validation_accuracy"] for epoch in trainer.run()][-1]
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        training: Digits,
        held_out: Digits,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        seed: int = 0,
        schedule: SkipSchedule | ThresholdSchedule | None = None,
        teacher: Teacher | None = None,
        precision: str = "float32",
    ) -> None:
        self.epochs = check_int("epochs", epochs, 1)
        self.batch_size = check_int("batch_size", batch_size, 1)
        check_seed(seed)
        check_choice("precision", precision, ("float32", "bfloat16"))
        if not 0 < learning_rate < math.inf:
            raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
        self.device = next(model.parameters()).device
        on_cuda = self.device.type == "cuda"
        self.model = model.to(memory_format=torch.channels_last) if on_cuda else model
        self.images, self.labels = training.images.to(self.device), training.labels.to(self.device)
        self.held_out, self.learning_rate = held_out, learning_rate
        # a state of other settings is not one to go on from
        self.settings = {
            "images": len(training),
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "precision": precision,
            "taught": None if teacher is None else [teacher.weight, teacher.temperature],
        }
        self.schedule, self.teacher = schedule, teacher
        if teacher is not None:
            teacher.model.eval()
        self.fused = self.device.type in {"cpu", "cuda"}
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.optimizer = torch.optim.Adam(
            model.parameters(),
            lr=learning_rate,
            # one kernel for all parameters: on the CPU five times faster than Adam's default
            fused=self.fused,
            capturable=on_cuda,
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.history: list[Epoch] = []
        self.batch = 0  # of the epoch at hand
        self.order = self._new_order()
        self.loss_sum = torch.zeros((), device=self.device)
        self.hits = torch.zeros((), device=self.device, dtype=torch.int64)
        self.graphed: GraphedStep | None = None

    @property
    def finished(self) -> bool:
        """Whether all epochs are over."""
        return len(self.history) >= self.epochs

    @property
    def images_seen(self) -> int:
        """How many images have been trained on, repeated ones included."""
        return len(self.history) * len(self.labels) + min(self.batch * self.batch_size, len(self.labels))

    def run(
        self,
        checkpoint: Path | None = None,
        *,
        every_seconds: float = 60.0,
        report: Callable[[int], None] = lambda images: None,
    ) -> list[Epoch]:
        """Train to the end, from the checkpoint if there is one.

        Parameters
        ----------
        checkpoint : Path, optional
            Where the state is kept: after the first epoch, then after an epoch or in the middle of one when
            ``every_seconds`` have passed, and at the end.
        every_seconds : float
        report : callable
            Is told after every batch how many images it had; at the start, of those that a checkpoint stands for.

        Returns
        -------
        list of Epoch

        Raises
        ------
        FloatingPointError
            If the loss or a weight is no longer finite. The checkpoint then holds the last state that was.
        ValueError
            If the checkpoint is of another training, or not whole.
        OSError
            If it cannot be read or written.
        """
        if checkpoint is not None and checkpoint.exists():
            self.load_state_dict(load_checkpoint(checkpoint))
            report(self.images_seen)
        saved = time.monotonic()
        kept = checkpoint is not None and checkpoint.exists()
        while not self.finished:
            self.model.train()
            batches = self.order.split(self.batch_size)
            while self.batch < len(batches):
                index = batches[self.batch]
                self.step(index)
                self.batch += 1
                report(len(index))
                if checkpoint is not None and time.monotonic() - saved >= every_seconds and self.batch < len(batches):
                    self._save(checkpoint)
                    saved, kept = time.monotonic(), True
            self._end_epoch()
            due = self.finished or not kept or time.monotonic() - saved >= every_seconds
            if checkpoint is not None and due:
                self._save(checkpoint)
                saved, kept = time.monotonic(), True
        self.graphed = None  # gives the memory of the graph back
        self.model.eval()
        return self.history

    def step(self, index: torch.Tensor) -> None:
        """Take one step on the images of an index."""
        if self.device.type != "cuda":
            self.train_on(index)
            return
        if self.graphed is None:
            self.graphed = GraphedStep(self.train_on, self.optimizer, self.batch_size, self.device)
        self.graphed(index)

    def train_on(self, index: torch.Tensor) -> None:
        """Compute the loss on some images and take one step of the optimiser."""
        labels = self.labels[index]
        pixels = scale_pixels(self.images[index])
        with self.autocast:
            scores = self.model(pixels)
            if self.teacher is None:
                loss = cross_entropy(scores, labels)
            else:
                with torch.no_grad():
                    taught = self.teacher.model(pixels)
                loss = self.teacher.loss(scores, taught, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss_sum += loss.detach() * len(index)
        self.hits += (scores.detach().argmax(1) == labels).sum()

    def _end_epoch(self) -> None:
        """Note what the epoch gave, and make ready for the next one.

        Raises
        ------
        FloatingPointError
            If the loss, a weight or a score is no longer finite.
        """
        self._check_finite()
        scores = predict_scores(self.model, self.held_out.images)
        if not scores.isfinite().all():
            raise FloatingPointError(f"training diverged: scores are not finite after epoch {len(self.history) + 1}")
        accuracy = accuracy_of(scores, self.held_out.labels)
        epoch: Epoch = {
            "epoch": len(self.history) + 1,
            "loss": self.loss_sum.item() / len(self.labels),
            "train_accuracy": self.hits.item() / len(self.labels),
            "validation_accuracy": accuracy,
        }
        if self.schedule is not None:
            epoch["t"] = self.schedule.get_last_t()
        self.history.append(epoch)
        if not self.finished:  # the network stays at the t of its last epoch
            if isinstance(self.schedule, ThresholdSchedule):
                self.schedule.step(accuracy)
            elif self.schedule is not None:
                self.schedule.step()
        self.batch = 0
        self.loss_sum.zero_()
        self.hits.zero_()
        self.order = self._new_order()

    def _new_order(self) -> torch.Tensor:
        """Return the order of the images in the next epoch, and remember how it was drawn."""
        self.drawn_from = self.generator.get_state()
        return torch.randperm(len(self.labels), generator=self.generator).to(self.device)

    def _check_finite(self) -> None:
        """Refuse a state that cannot be trained on.

        Raises
        ------
        FloatingPointError
            If it is one.
        """
        finite = (
            torch.isfinite(self.loss_sum) & torch.stack([p.isfinite().all() for p in self.model.parameters()]).all()
        )
        if not finite:
            loss = self.loss_sum.item() / len(self.labels)
            what = "weights are not finite" if math.isfinite(loss) else f"the loss is {loss}"
            raise FloatingPointError(
                f"training diverged: {what} in epoch {len(self.history) + 1}; try a smaller learning rate than "
                f"{self.learning_rate}"
            )

    def _save(self, path: Path) -> None:
        self._check_finite()
        save_checkpoint(path, self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on: weights, optimiser, t, random numbers, place in the data, history."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "t": skip_strengths(self.model),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "drawn_from": self.drawn_from,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "history": [dict(epoch) for epoch in self.history],
            "batch": self.batch,
            "loss_sum": self.loss_sum,
            "hits": self.hits,
            "settings": self.settings,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, before any batch has been trained on.

        Raises
        ------
        ValueError
            If it is the state of another training.
        """
        if state.get("settings") != self.settings or (state["schedule"] is None) != (self.schedule is None):
            raise ValueError(f"state: expected one of {self.settings}, got {state.get('settings')}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"state: expected the weights of this model, got others: {error}") from error
        for group in self.optimizer.param_groups:  # the state may be from another device
            group |= {"fused": self.fused, "capturable": self.device.type == "cuda"}
        if state["t"]:
            set_skip_strength(self.model, state["t"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda" and state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self.device)
        self.generator.set_state(state["drawn_from"].cpu())
        self.history, self.batch = list(state["history"]), state["batch"]
        self.order = self._new_order()
        self.loss_sum.copy_(state["loss_sum"])
        self.hits.copy_(state["hits"])


def train(
    model: nn.Module,
    training: Digits,
    held_out: Digits,
    *,
    progress: bool = True,
    **options: Any,
) -> list[Epoch]:
    """Train a classifier of digits with a progress bar; see `Trainer`, whose options these are.

    Parameters
    ----------
    model : nn.Module
        Left in evaluation mode.
    training, held_out : Digits
    progress : bool
        Whether to draw a progress bar on standard error.
    **options
        Of `Trainer`.

    Returns
    -------
    list of Epoch

    Raises
    ------
    ValueError
        If an option is out of range.
    FloatingPointError
        If the loss is no longer finite.

    Examples
    --------
    >>> import gpu
    >>> digits = Digits(torch.full((8, 1, 28, 28), 255, dtype=torch.uint8), torch.full((8,), 3))
    >>> train(gpu.perceptron(), digits, digits, epochs=1, learning_rate=0.01, progress=False)[-1]["validation_accuracy"]
    1.0
    """
    trainer = Trainer(model, training, held_out, **options)
    total = trainer.epochs * len(training)
    with tqdm(total=total, desc="training", unit="image", disable=not progress, dynamic_ncols=True) as bar:
        return trainer.run(report=bar.update)
