"""Running one trial: its network is trained, or its training resumed, and the result is kept in a file."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from gpu.collapsing.collapse import collapse
from gpu.collapsing.verification import VerificationError
from gpu.experiments.small_maps import copy_state, with_small_maps_by_taps
from gpu.experiments.trial import Trial
from gpu.experiments.workspace import Workspace
from gpu.models.homotopy import set_skip_strength, skip_strengths
from gpu.models.removal import remove_skips
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.training.data import scale_pixels
from gpu.training.distillation import Teacher
from gpu.training.evaluation import accuracy_of, predict_scores
from gpu.training.labelled import LabelledImages
from gpu.training.trainer import Trainer
from linalg_cnn.files import write_atomically, write_json


def run_trial(
    trial: Trial, workspace: Workspace, report: Callable[[int], None] = lambda images: None
) -> dict[str, Any]:
    """Train the network of a trial, or resume its training; write the result into its folder and return it.

    Parameters
    ----------
    trial : Trial
    workspace : Workspace
    report : callable
        Called with the number of images that were trained on since the last call. Images of an interrupted run count.

    Returns
    -------
    dict
        ``seed``; ``epochs``, as `gpu.train` returns them; ``stopped``, the reason why training ended early, or None;
        ``skips_removed`` where t is 0 at the end, and ``collapsed`` where the network is linear: comparisons with the
        trained network.

    Raises
    ------
    ValueError
        If a setting is out of range, the data are not genuine, or the teacher diverged.
    OSError
        If a file cannot be read or written.
    """
    result = workspace.result_of(trial)
    if result is not None:
        return result
    folder = workspace.folder_of(trial)
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = workspace.images_of(trial)
    device = resolve_device(workspace.device)
    taught = None if trial.teacher is None else _taught(trial.teacher, workspace)
    model = trial.model().to(device)
    by_taps = device.type == "cpu" and trial.precision == "float32"
    trained = with_small_maps_by_taps(model, training.in_shape) if by_taps else model
    trainer = Trainer(
        trained,
        training,
        held_out,
        epochs=trial.epochs,
        batch_size=trial.batch_size,
        learning_rate=trial.learning_rate,
        seed=trial.seed,
        schedule=trial.schedule(trained),
        teacher=None if taught is None else Teacher(taught.to(device)),
        precision=trial.precision,
    )
    result = train_to_the_end(trainer, trial, folder, report)
    result["parameters"] = sum(p.numel() for p in model.parameters())
    if by_taps:
        copy_state(trained, model)
        if skip_strengths(model):
            set_skip_strength(model, skip_strengths(trained))
    if result["stopped"] is None:
        result |= afterwards(model, trial, held_out)
    keep_result(result, model, folder, workspace)
    return result


def train_to_the_end(trainer: Trainer, trial: Trial, folder: Path, report: Callable[[int], None]) -> dict[str, Any]:
    """Train the network of a trial, or resume its training, and return what every trial's result has.

    ``stopped`` is the reason why the training ended early, or None.

    Raises
    ------
    ValueError
        If a setting is out of range, or the checkpoint is of another training.
    OSError
        If a file cannot be read or written.
    """
    stopped = None
    try:
        trainer.run(folder / "checkpoint", report=report)
    except FloatingPointError as error:
        stopped = str(error)
    recalibrated = any("validation_accuracy_running" in epoch for epoch in trainer.history)
    return {
        "seed": trial.seed,
        "epochs": [dict(epoch) for epoch in trainer.history],
        "stopped": stopped,
        "recalibration": "layer by layer" if recalibrated else None,
        "trial": asdict(trial),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "hardware": describe_hardware(trainer.device),
        "versions": describe_versions(),
    }


def keep_result(result: dict[str, Any], model: nn.Module, folder: Path, workspace: Workspace) -> None:
    """Write a trial's result, and its weights if they are wanted.

    The checkpoint of a training that ended early stays: it is the last good state.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    finished = result["stopped"] is None
    if finished and workspace.keep_weights:
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        write_atomically(folder / "weights.safetensors", safetensors.torch.save(state))
    write_json(folder / "result.json", result)
    if finished:
        (folder / "checkpoint").unlink(missing_ok=True)


def _taught(trial: Trial, workspace: Workspace) -> nn.Module:
    """Return the network that a trial trains, in evaluation mode; run the trial first if it is not finished.

    Raises
    ------
    ValueError
        If the training diverged, or the file of the weights is damaged.
    """
    result = run_trial(trial, replace(workspace, keep_weights=True))
    if result["stopped"] is not None:
        raise ValueError(f"teacher: expected a network that could be trained, got {trial.key}: {result['stopped']}")
    model = trial.model()
    path = workspace.folder_of(trial) / "weights.safetensors"
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except (safetensors.SafetensorError, RuntimeError) as error:
        found = " ".join(str(error).split())
        raise ValueError(
            f"{path}: expected the weights of {trial.key}, got: {found}; remove the file to train the network again"
        ) from error
    if skip_strengths(model):
        set_skip_strength(model, result["epochs"][-1]["t"])
    return model.eval()


def afterwards(model: nn.Module, trial: Trial, held_out: LabelledImages) -> dict[str, Any]:
    """Compare a trained network with itself without skips, where t is 0, and collapsed, where it is linear.

    The scores, the classes and the accuracies are those of the held-out images.
    """
    found: dict[str, Any] = {}
    scores = predict_scores(model, held_out.images)

    def compared(other: torch.Tensor) -> dict[str, Any]:
        return {
            "images_compared": len(held_out),
            "predictions_agree": int((other.argmax(1) == scores.argmax(1)).sum()),
            "largest_difference": float((other - scores).abs().max()),
            "validation_accuracy": accuracy_of(other, held_out.labels),
        }

    strengths = skip_strengths(model).values()
    if strengths and not any(strengths):
        bare = remove_skips(model)
        found["skips_removed"] = compared(predict_scores(bare, held_out.images)) | {
            "parameters": sum(p.numel() for p in bare.parameters())
        }
    if trial.activation == "identity":
        try:
            collapsed = collapse(model, tuple(held_out.images.shape[1:]))
        except (ValueError, VerificationError) as error:  # not affine, or weights too large for the dtype
            found["collapsed"] = {"refused": str(error)}
        else:
            mapped = collapsed.affine(scale_pixels(held_out.images.flatten(1), torch.float64).numpy())
            found["collapsed"] = compared(torch.from_numpy(mapped))
    return found
