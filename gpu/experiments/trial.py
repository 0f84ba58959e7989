"""One trial: a network trained from a seed, resumed where it was killed, and what comes out kept in a file."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from gpu.collapsing.collapse import collapse
from gpu.collapsing.verification import VerificationError
from gpu.experiments.plans import Trial
from gpu.models.homotopy import remove_skips, set_skip_strength, skip_strengths
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.training.data import Digits, load_digits
from gpu.training.distillation import Teacher
from gpu.training.evaluation import PIXEL_SCALE, accuracy_of, predict_scores
from gpu.training.trainer import Trainer
from linalg_cnn.files import write_atomically, write_json


@dataclass(frozen=True)
class Place:
    """Where a trial runs, which decides nothing of what comes out.

    Attributes
    ----------
    folder : Path
        Of the experiment; each trial has a folder of its own in it.
    data_root : Path, optional
    download : bool
        See `gpu.load_digits`.
    device : str, optional
    keep_weights : bool
        Whether the trained weights stay beside the result.
    """

    folder: Path
    data_root: Path | None = None
    download: bool = False
    device: str | None = None
    keep_weights: bool = False

    def folder_of(self, trial: Trial) -> Path:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial.key


def finished(trial: Trial, place: Place) -> dict[str, Any] | None:
    """Return the result of a trial that is over; None if it is not, or its weights are wanted and not there."""
    folder = place.folder_of(trial)
    path = folder / "result.json"
    if not path.exists():
        return None
    result: dict[str, Any] = json.loads(path.read_text())
    whole = result["stopped"] is not None or (folder / "weights.safetensors").exists()
    return result if whole or not place.keep_weights else None


def run_trial(trial: Trial, place: Place, report: Callable[[int], None] = lambda images: None) -> dict[str, Any]:
    """Train the network of a trial, or go on where it was killed; return the result, which is also in a file.

    Parameters
    ----------
    trial : Trial
    place : Place
    report : callable
        Is told how many images have been trained on since it was last told, those of an earlier start included.

    Returns
    -------
    dict
        ``seed``; ``epochs``, a list of `gpu.training.trainer.Epoch`; ``stopped``, why training ended early, or None;
        and what became of the network: ``skips_removed`` where its t has come to 0, ``collapsed`` where it is linear.

    Raises
    ------
    ValueError
        If a setting or the data are not what they should be, or the teacher diverged.
    OSError
        If a file cannot be read or written.
    """
    result = finished(trial, place)
    if result is not None:
        return result
    folder = place.folder_of(trial)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = images_of(trial, place)
    device = resolve_device(place.device)
    taught = None if trial.teacher is None else _taught(trial.teacher, place)
    model = trial.model().to(device)
    trainer = Trainer(
        model,
        training,
        held_out,
        epochs=trial.epochs,
        batch_size=trial.batch_size,
        learning_rate=trial.learning_rate,
        seed=trial.seed,
        schedule=trial.schedule(model),
        teacher=None if taught is None else Teacher(taught.to(device)),
        precision=trial.precision,
    )
    checkpoint = folder / "checkpoint"
    stopped = None
    try:
        trainer.run(checkpoint, report=report)
    except FloatingPointError as error:
        stopped = str(error)
    result = {
        "seed": trial.seed,
        "epochs": [dict(epoch) for epoch in trainer.history],
        "stopped": stopped,
        "trial": asdict(trial),
        "parameters": sum(p.numel() for p in model.parameters()),
        "hardware": describe_hardware(device),
        "versions": describe_versions(),
    }
    if stopped is None:
        result |= afterwards(model, trial, held_out)
        if place.keep_weights:
            state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
            write_atomically(folder / "weights.safetensors", safetensors.torch.save(state))
    write_json(folder / "result.json", result)
    if stopped is None:  # of a trial that diverged, the last good state stays
        checkpoint.unlink(missing_ok=True)
    return result


def _taught(trial: Trial, place: Place) -> nn.Module:
    """Return the trained network of a trial, training it first if that has not been done.

    Raises
    ------
    ValueError
        If it diverged.
    """
    result = run_trial(trial, replace(place, keep_weights=True))
    if result["stopped"] is not None:
        raise ValueError(f"teacher: expected a network that could be trained, got {trial.key}: {result['stopped']}")
    model = trial.model()
    model.load_state_dict(safetensors.torch.load_file(place.folder_of(trial) / "weights.safetensors"))
    if skip_strengths(model):
        set_skip_strength(model, result["epochs"][-1]["t"])
    return model.eval()


def images_of(trial: Trial, place: Place) -> tuple[Digits, Digits]:
    """Return the (training, held-out) digits of a trial: the first ones in an order that is the same for all."""
    return _images(trial.dataset, place.data_root, place.download, trial.images, trial.held_out)


@lru_cache(maxsize=4)
def _images(
    dataset: str, data_root: Path | None, download: bool, images: int | None, held_out: int | None
) -> tuple[Digits, Digits]:
    parts = load_digits(dataset, data_root, download=download)
    return _some(parts[0], images, "subset"), _some(parts[1], held_out, "held_out")


def _some(digits: Digits, count: int | None, name: str) -> Digits:
    if count is None:
        return digits
    if not 0 < count <= len(digits):
        raise ValueError(f"{name}: expected 1 to {len(digits)} images, got {count}")
    chosen = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))[:count]
    return Digits(digits.images[chosen], digits.labels[chosen])


def afterwards(model: nn.Module, trial: Trial, held_out: Digits) -> dict[str, Any]:
    """Return what became of a trained network: without its skips where t has come to 0, collapsed where it is linear.

    Both are compared with the network on the held-out images.
    """
    found: dict[str, Any] = {}
    scores = predict_scores(model, held_out.images)

    def beside(other: torch.Tensor) -> dict[str, Any]:
        return {
            "images_compared": len(held_out),
            "predictions_agree": int((other.argmax(1) == scores.argmax(1)).sum()),
            "largest_difference": float((other - scores).abs().max()),
            "validation_accuracy": accuracy_of(other, held_out.labels),
        }

    strengths = skip_strengths(model).values()
    if strengths and not any(strengths):
        bare = remove_skips(model)
        found["skips_removed"] = beside(predict_scores(bare, held_out.images)) | {
            "parameters": sum(p.numel() for p in bare.parameters())
        }
    if trial.activation == "identity":
        try:
            collapsed = collapse(model, tuple(held_out.images.shape[1:]))
        except (ValueError, VerificationError) as error:  # not affine, or weights too large for its dtype
            found["collapsed"] = {"refused": str(error)}
        else:
            mapped = collapsed.affine((held_out.images.flatten(1).double() * PIXEL_SCALE).numpy())
            found["collapsed"] = beside(torch.from_numpy(mapped))
    return found
