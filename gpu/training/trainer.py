"""The training loop, which can be interrupted at any moment and resumed from its checkpoint."""

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gpu.models.homotopy import set_skip_strength, skip_strengths
from gpu.runtime.turns import turn_given_up, turn_taken
from gpu.schedules import SkipSchedule, SlopeSchedule, ThresholdSchedule
from gpu.training.checkpoints import Autosave
from gpu.training.data import as_network_input, check_positive, check_seed
from gpu.training.distillation import Teacher
from gpu.training.epoch import Epoch, EpochProgress, check_finite
from gpu.training.epoch_recalibration import EpochRecalibration
from gpu.training.evaluation import accuracy_of, check_trained_scores, dtype_of, predict_scores
from gpu.training.fitting import (
    check_batches,
    check_fit,
    check_schedules,
    check_teacher,
    check_trainable,
    labelled_parts,
)
from gpu.training.graphed_step import GraphedStep
from gpu.training.labelled import ImageSource
from gpu.training.optimizer import adam_of, load_moments
from gpu.training.resuming import check_state, fingerprints, load_slopes, slopes_state, take_step, taught_by
from linalg_cnn.checks import check_choice, check_int


class Trainer:
    """Trains a classifier of images with Adam and cross entropy, on the device where its parameters are.

    The images to train on are kept on the device as they are, uint8 or floats, and are shuffled and scaled there. On
    CUDA, 2-D convolutions run on channels_last tensors with the algorithms that cuDNN measures as the fastest, and each
    step is replayed as one CUDA graph. `state_dict` holds all that is needed to continue after any batch: on the CPU,
    training that was interrupted and resumed ends with the same bits.

    Parameters
    ----------
    model : nn.Module
        Network from floats (N, *in_shape) to scores (N, classes). It is run on two images first.
    training, held_out : LabelledImages, (images, labels), or torch Dataset
        Images to train on, and images to validate on after each epoch, as `gpu.LabelledImages` describes them: of any
        one shape, with uint8 pixels that count as pixels / 255, or floats that the network gets as they are. A Dataset
        is read once, into memory, by `gpu.LabelledImages.from_dataset`: its random transforms are drawn once.
    epochs : int
        Number of passes over the training set.
    batch_size : int
        Number of images per step; the last batch of an epoch may be smaller. One of a single image is refused where a
        batch normalisation, such as one behind a map of 1x1, would have a single number per channel.
    learning_rate : float
        Learning rate of Adam.
    seed : int
        Seed of the order of the images.
    schedule : SkipSchedule or ThresholdSchedule, optional
        Schedule of the skip strength t of this model; it takes a step after each epoch but the last.
    slope_schedule : SlopeSchedule, optional
        Schedule of the slopes of this model's activations; it takes its steps at the same time.
    teacher : Teacher, optional
        Trained network whose scores are learned beside the labels. A training is resumed with the same one only.
    precision : {"float32", "bfloat16"}
        Precision of the forward pass and of its gradients; the weights keep their dtype.
    recalibration_images : int, optional
        Number of training images, spread evenly over the training set, from which `gpu.recalibrate` estimates the
        running statistics of batch normalisations before each validation, layer by layer: the images are run at once.
        By default 1,000, and fewer where they have more than 4,096 pixels, such as 81 of 224x224. For 60,000 images,
        1,000 are some 0.6 % of the work of an epoch. With 0 the statistics stay as trained.

    Attributes
    ----------
    history : list of dict
        ``epoch``, ``t``, ``slope``, ``loss``, ``train_accuracy`` and ``validation_accuracy`` of each epoch. The loss
        and the training accuracy are means over the epoch's batches, taken while the weights change. The validation
        accuracy is that of the network as it is left, in evaluation mode; where its statistics were recalibrated,
        ``validation_accuracy_running`` is the accuracy with those that training left, for which the held-out images
        are run a second time. Training then goes on from the new statistics.

    Raises
    ------
    TypeError
        If the model is no ``nn.Module``, images come in another form, or are no tensors, or the teacher or a schedule
        is of another kind.
    ValueError
        If an option is out of range, network, images and labels do not fit together, the network has nothing to train
        or gradients are off, or a schedule is that of another network.
    MemoryError
        If the images of a Dataset would take more than half of the machine's memory.

    Examples
    --------
    >>> import gpu
    >>> images, labels = torch.full((8, 3, 20, 30), 255, dtype=torch.uint8), torch.full((8,), 3)
    >>> model = gpu.perceptron((3, 20, 30), num_classes=4)
    >>> trainer = gpu.Trainer(model, (images, labels), (images, labels), epochs=1, learning_rate=0.01)
    >>> [epoch["validation_accuracy"] for epoch in trainer.run()][-1]
    1.0
    """

    def __init__(
        self,
        model: nn.Module,
        training: ImageSource,
        held_out: ImageSource,
        *,
        epochs: int = 10,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        seed: int = 0,
        schedule: SkipSchedule | ThresholdSchedule | None = None,
        slope_schedule: SlopeSchedule | None = None,
        teacher: Teacher | None = None,
        precision: str = "float32",
        recalibration_images: int | None = None,
    ) -> None:
        self.epochs = check_int("epochs", epochs, 1)
        self.batch_size = check_int("batch_size", batch_size, 1)
        seed = check_seed(seed)
        check_choice("precision", precision, ("float32", "bfloat16"))
        learning_rate = check_positive("learning_rate", learning_rate)
        check_trainable(model)  # before a Dataset is read
        shown, self.held_out = labelled_parts(training, held_out)
        self.classes = check_fit(model, shown, self.held_out)
        check_schedules(model, {"schedule": schedule, "slope_schedule": slope_schedule})
        check_teacher(teacher, model, self.classes, shown)
        self.device, self.dtype = next(model.parameters()).device, dtype_of(model)
        in_2d_on_cuda = self.device.type == "cuda" and shown.images.ndim == 4
        self.model = model.to(memory_format=torch.channels_last) if in_2d_on_cuda else model
        self.images, self.labels = shown.images.to(self.device), shown.labels.to(self.device)
        self.learning_rate = learning_rate
        self.recalibration = EpochRecalibration(self.model, self.images, recalibration_images)
        check_batches(model, shown, self.batch_size, self.recalibration.count)
        # a state can only be resumed with the same settings
        self.settings = {
            "images": len(shown),
            "batch_size": self.batch_size,
            "learning_rate": learning_rate,
            "seed": seed,
            "precision": precision,
            "recalibration_images": self.recalibration.count,
        }
        self.settings |= taught_by(teacher) | fingerprints(model, shown, self.held_out)
        self.schedule, self.slope_schedule, self.teacher = schedule, slope_schedule, teacher
        if teacher is not None:
            teacher.model.eval()
        self.autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.optimizer = adam_of(model, learning_rate)
        self.history: list[Epoch] = []
        self.progress = EpochProgress(len(shown), self.batch_size, seed, self.device)
        self.graphed: GraphedStep | None = None

    @property
    def finished(self) -> bool:
        """True after the last epoch."""
        return len(self.history) >= self.epochs

    @property
    def images_seen(self) -> int:
        """Number of images that were trained on, counted once per epoch."""
        return len(self.history) * len(self.labels) + self.progress.images_seen

    def run(
        self,
        checkpoint: str | os.PathLike[str] | None = None,
        *,
        every_seconds: float = 60.0,
        report: Callable[[int], None] = lambda images: None,
    ) -> list[Epoch]:
        """Train to the last epoch, starting from the checkpoint if there is one.

        Parameters
        ----------
        checkpoint : path, optional
            File of the state. It is written after the first epoch, after the last one, and in between, after a batch,
            when ``every_seconds`` have passed.
        every_seconds : float
            Seconds between two checkpoints.
        report : callable
            Called after every batch with its number of images; when training is resumed, first with the number so far.

        Returns
        -------
        list of dict
            `history`.

        Raises
        ------
        FloatingPointError
            If the loss, a weight or a score is not finite. The checkpoint, if one was written before, holds a
            finite state.
        ValueError
            If ``every_seconds`` is no number of at least 0; the network gives something else in training mode, or has a
            state that a checkpoint cannot hold; or the checkpoint is damaged, or of another training or more epochs.
        OSError
            If the checkpoint cannot be read or written; where that is known before, no step has been taken.
        """
        autosave = Autosave(checkpoint, every_seconds)
        if autosave.resume(self.load_state_dict):
            report(self.images_seen)
        if not self.finished:
            autosave.check(self.state_dict)
        try:
            while not self.finished:
                self.model.train()
                with turn_given_up(self.device):
                    for index in self.progress.batches[self.progress.batch :]:
                        self.step(index)
                        self.progress.batch += 1
                        report(len(index))
                        if autosave.is_due() and self.progress.batch < len(self.progress.batches):
                            self._save(autosave)
                self._end_epoch()
                if autosave.is_due(at_once=self.finished or not autosave.exists()):
                    self._save(autosave)
        finally:
            # Frees the graph and its memory at once: the graph refers to us, and the garbage collector, to which we
            # would leave it, may run while another thread captures, in which nothing may be destroyed.
            self.graphed = None
        self.model.eval()
        return self.history

    def step(self, index: torch.Tensor) -> None:
        """Take one training step on the images of an index (N,)."""
        if self.device.type != "cuda":
            self.train_on(index)
            return
        if self.graphed is None:
            self.graphed = GraphedStep(self.train_on, self.optimizer, self.batch_size, self.device)
        self.graphed(index)

    def train_on(self, index: torch.Tensor) -> None:
        """Compute the loss on the images of an index (N,), and take one step of the optimiser without a CUDA graph."""
        labels = self.labels[index]
        pixels = as_network_input(self.images[index], self.dtype)
        with self.autocast:
            scores = check_trained_scores(self.model(pixels), len(index), self.classes)
            if self.teacher is None:
                loss = cross_entropy(scores, labels)
            else:
                with torch.no_grad():
                    taught = self.teacher.model(pixels)
                loss = self.teacher.loss(scores, taught, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.progress.loss_sum += loss.detach() * len(index)
        self.progress.hits += (scores.detach().argmax(1) == labels).sum()

    def _end_epoch(self) -> None:
        """Validate, add the epoch to the history, step the schedule, and begin the next epoch.

        Raises
        ------
        FloatingPointError
            If the loss, a weight or a score is not finite.
        """
        self._check_finite()
        epoch: Epoch = {
            "epoch": len(self.history) + 1,
            "loss": self.progress.loss,
            "train_accuracy": self.progress.accuracy,
            "validation_accuracy": 0.0,
        }
        if self.recalibration.is_needed(self.model):
            epoch["validation_accuracy_running"] = accuracy_of(*self._held_out_scores())
            self.recalibration(self.model, epoch["epoch"])
        scores, labels = self._held_out_scores()
        if not scores.isfinite().all():
            raise FloatingPointError(f"training diverged: scores are not finite after epoch {epoch['epoch']}")
        epoch["validation_accuracy"] = accuracy_of(scores, labels)
        if self.schedule is not None:
            epoch["t"] = self.schedule.get_last_t()
        if self.slope_schedule is not None:
            epoch["slope"] = self.slope_schedule.get_last_slope()
        self.history.append(epoch)
        if not self.finished:  # the network keeps the t and the slopes of its last epoch
            kinds = [type(part) for part in self.model.modules()]
            for schedule in self._schedules:
                take_step(schedule, self.history)
            if kinds != [type(part) for part in self.model.modules()]:
                self.graphed = None  # it replays the activations as they were before they had slopes
        self.progress.begin()

    @property
    def _schedules(self) -> list[SkipSchedule | ThresholdSchedule | SlopeSchedule]:
        return [schedule for schedule in (self.schedule, self.slope_schedule) if schedule is not None]

    def _held_out_scores(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the scores (N, classes) of the held-out images, and their labels (N,)."""
        return predict_scores(self.model, self.held_out.images), self.held_out.labels

    def _check_finite(self) -> None:
        check_finite(self.progress, self.model, len(self.history) + 1, self.learning_rate)

    def _save(self, autosave: Autosave) -> None:
        with turn_taken(self.device):
            self._check_finite()
            autosave.write(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to continue: weights, optimiser, t, slopes, random states, epoch, history."""
        slopes = slopes_state(self.model, self.slope_schedule)
        return (
            slopes
            | {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "t": skip_strengths(self.model),
                "schedule": None if self.schedule is None else self.schedule.state_dict(),
                "random": torch.get_rng_state(),
                "cuda_random": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
                "history": [dict(epoch) for epoch in self.history],
                "settings": self.settings,
            }
            | self.progress.state_dict()
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; to be called before any batch has been trained on.

        A state at the end of fewer epochs is trained on; the schedules take the step that they have not taken then.

        Raises
        ------
        ValueError
            If the state belongs to another training, or to one of more epochs.
        """
        check_state(state, self.state_dict(), list(self.model.parameters()), len(self.progress.batches), self.epochs)
        try:
            self.model.load_state_dict(state["model"])
            load_moments(self.optimizer, state["optimizer"]["state"])
        except (RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"state: expected the weights of this model, got others: {error}") from error
        if state["t"] != skip_strengths(self.model):  # unequal weights of skips stay where their sums are the same
            set_skip_strength(self.model, state["t"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        load_slopes(state, self.model, self.slope_schedule)
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda" and state["cuda_random"] is not None:
            torch.cuda.set_rng_state(state["cuda_random"].cpu(), self.device)
        self.history = list(state["history"])
        self.progress.load_state_dict(state)
        for schedule in self._schedules:
            if not self.finished and schedule.last_step < len(self.history):
                take_step(schedule, self.history)
