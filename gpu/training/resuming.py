"""The check that a state belongs to a training: a file with the right checksum can still hold anything."""

import hashlib
import re
import reprlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gpu.models.activations import activation_slopes, activations_of, set_activation_slope
from gpu.models.homotopy import SkipSum, skips_of
from gpu.models.sloped import class_of, held_slope
from gpu.schedules import SkipSchedule, SlopeSchedule, ThresholdSchedule
from gpu.training.distillation import Teacher
from gpu.training.epoch import Epoch, check_history
from gpu.training.labelled import LabelledImages
from gpu.training.optimizer import MOMENTS

LATER_SETTINGS = ("recalibration_images", "digits", "samples", "network", "teacher")
"""Settings of which states say nothing that were written before there were these; such states are resumed as before."""
EARLIER_SETTINGS = ("layers",)
"""Settings that states had before, and that are not compared any more: networks of one function had other layers."""
ROWS = 1024
"""Number of images that are hashed at once."""
SHORT = reprlib.Repr()
"""Shows values of any size and depth."""
SHORT.maxdict = 20


def fingerprints(model: nn.Module, *parts: LabelledImages) -> dict[str, str]:
    """Return the settings by which a training with other images, or with other layers, is known to be another.

    Layers are known by their names and classes: networks with ReLU and without have the same weights. The slope of an
    activation does not count, because a schedule changes it.

    Examples
    --------
    >>> sorted(fingerprints(nn.ReLU()))
    ['digits', 'network', 'samples']
    """
    digits = hashlib.sha256()
    for part in parts:
        for tensor in (part.images, part.labels):
            for rows in tensor.split(ROWS):  # a copy of all images would take as much memory again
                digits.update(rows.detach().cpu().contiguous().view(torch.uint8).numpy())
    samples = ", ".join(f"{part.images.dtype} {part.in_shape}" for part in parts)
    layers = hashlib.sha256(_layers(model).encode())
    return {"digits": digits.hexdigest(), "samples": samples, "network": layers.hexdigest()}


def taught_by(teacher: Teacher | None) -> dict[str, Any]:
    """Return the settings by which a training with another teacher is known to be another.

    ``teacher`` is the SHA-256 of its weights and statistics, its layers as they are printed, t, and slopes.

    Examples
    --------
    >>> taught_by(None)
    {'taught': None, 'teacher': None}
    """
    if teacher is None:
        return {"taught": None, "teacher": None}
    model = teacher.model
    printed = re.sub(r" at 0x[0-9a-f]+", "", repr(model))  # an address is another one in the next process
    # t and slopes as the network holds them, rounded, as they were digested before they were kept in double precision
    held = {
        name: part.held_numbers() if isinstance(part, SkipSum) else part.skip_strength for name, part in skips_of(model)
    }
    slopes = {name: held_slope(part) for name, part in activations_of(model)}
    digest = hashlib.sha256(f"{_layers(model)}\n{printed}\n{held}\n{slopes}\n".encode())
    buffers = dict(model.named_buffers(remove_duplicate=False))  # also those that a state_dict leaves out
    for name, tensor in (model.state_dict() | buffers).items():
        if isinstance(tensor, torch.Tensor):  # a module may have a state of its own of any kind
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(_bytes_of(tensor))
    return {"taught": [teacher.weight, teacher.temperature], "teacher": digest.hexdigest()}


def _layers(model: nn.Module) -> str:
    """Return the names and the classes of all modules of a network."""
    return "\n".join(f"{name} {class_of(layer).__qualname__}" for name, layer in model.named_modules())


def _bytes_of(tensor: torch.Tensor) -> Any:
    """Return the numbers of a tensor as bytes, whatever its device and its layout are."""
    numbers = tensor.detach().cpu()
    if numbers.layout != torch.strided:
        numbers = numbers.to_dense()
    if numbers.is_quantized:
        numbers = numbers.int_repr()
    return numbers.reshape(-1).contiguous().view(torch.uint8).numpy()


def slopes_state(model: nn.Module, schedule: SlopeSchedule | None) -> dict[str, Any]:
    """Return the entries of a state on the slopes of activations: none where all are 0 and stay so, as before slopes.

    Examples
    --------
    >>> slopes_state(nn.Sequential(nn.ReLU()), None)
    {}
    """
    slopes = activation_slopes(model)
    if schedule is None and not any(slopes.values()):
        return {}
    return {"slopes": slopes, "slope_schedule": None if schedule is None else schedule.state_dict()}


def load_slopes(state: dict[str, Any], model: nn.Module, schedule: SlopeSchedule | None) -> None:
    """Set the slopes of a state, and continue with its schedule.

    Raises
    ------
    ValueError
        If the slopes are not those of this network.
    """
    if "slopes" in state:
        try:
            set_activation_slope(model, state["slopes"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"state['slopes']: expected those of this model, got others: {error}") from error
    if schedule is not None:
        schedule.load_state_dict(state["slope_schedule"])


def take_step(schedule: SkipSchedule | ThresholdSchedule | SlopeSchedule, history: Sequence[Epoch]) -> None:
    """Let a schedule take the step after the last epoch of a history."""
    if isinstance(schedule, ThresholdSchedule):
        schedule.step(history[-1]["validation_accuracy"])
    else:
        schedule.step()


def check_state(
    state: object, own: dict[str, Any], parameters: Sequence[torch.Tensor], batches: int, epochs: int
) -> None:
    """Check that a state has the settings of a training, and entries that it can continue with.

    The weights are not checked here: torch does that when it loads them.

    Parameters
    ----------
    state : object
        The state to be loaded into a `gpu.Trainer`.
    own : dict
        State of that trainer.
    parameters : sequence of tensors
        Parameters of its optimiser.
    batches : int
        Number of batches in an epoch.
    epochs : int
        Number of epochs of the training.

    Raises
    ------
    ValueError
        If the state belongs to another training or to one of more epochs, or an entry is missing or cannot be used.
    """
    if not isinstance(state, dict) or not own.keys() <= state.keys():
        raise ValueError(f"state: expected a dict with the entries {', '.join(own)}, got something else")
    settings = state["settings"]
    if isinstance(settings, dict):
        settings = {name: own["settings"][name] for name in LATER_SETTINGS} | settings
        settings = {name: value for name, value in settings.items() if name not in EARLIER_SETTINGS}
        _check_teacher(settings, own["settings"])
    if settings != own["settings"] or _schedules(state) != _schedules(own):
        raise ValueError(
            f"state: expected settings {own['settings']} and {_schedules(own)}, "
            f"got settings {SHORT.repr(state['settings'])} and {_schedules(state)}"
        )
    check_history("state['history']", state["history"])
    if type(state["batch"]) is not int or not 0 <= state["batch"] < batches:
        raise ValueError(f"state['batch']: expected an int from 0 to {batches - 1}, got another value")
    begun = len(state["history"]) + (state["batch"] > 0)
    if begun > epochs:
        raise ValueError(
            f"epochs: expected at least {begun}, the epochs that the state has begun, got {epochs}; a training is "
            "resumed with as many epochs or more"
        )
    if not isinstance(state["t"], dict) or state["t"].keys() != own["t"].keys():
        raise ValueError(f"state['t']: expected a strength of each skip of this model: {own['t']}, got others")
    for name in ("random", "drawn_from", "loss_sum", "hits"):
        if not _is_like(state[name], own[name]):
            raise ValueError(f"state[{name!r}]: expected {_described(own[name])}, got {_described(state[name])}")
    optimizer = state["optimizer"]
    moments = optimizer.get("state") if isinstance(optimizer, dict) else None
    if not isinstance(moments, dict) or not moments.keys() <= set(range(len(parameters))):
        raise ValueError(f"state['optimizer']: expected the state of Adam with {len(parameters)} tensors, got another")
    for number, found in moments.items():
        for name in MOMENTS:
            moment = found.get(name) if isinstance(found, dict) and found.keys() == {"step", *MOMENTS} else None
            if not _is_like(moment, parameters[number]):
                raise ValueError(
                    f"state['optimizer']: expected {name} of tensor {number} to be {_described(parameters[number])}, "
                    f"got {_described(moment)}"
                )


def _check_teacher(settings: dict[str, Any], own: dict[str, Any]) -> None:
    """Check that the settings of a state differ in more than the teacher, or not at all.

    Raises
    ------
    ValueError
        If the teacher alone is another.
    """
    teacher = settings["teacher"]
    if settings | {"teacher": None} == own | {"teacher": None} and teacher != own["teacher"]:
        raise ValueError(
            f"teacher: expected the one that the state was trained with, of SHA-256 {SHORT.repr(teacher)}, got another "
            f"of the same weight and temperature, of SHA-256 {SHORT.repr(own['teacher'])}"
        )


def _schedules(state: dict[str, Any]) -> str:
    """Return which schedules a state has, in words; that of slopes is in states of networks with slopes only."""
    ends = " and a slope schedule" if state.get("slope_schedule") is not None else ""
    return f"{'no' if state['schedule'] is None else 'a'} schedule{ends}"


def _is_like(value: object, own: torch.Tensor) -> bool:
    """Return whether a value is a tensor of the shape and the dtype of another."""
    return isinstance(value, torch.Tensor) and value.shape == own.shape and value.dtype == own.dtype


def _described(value: object) -> str:
    """Return the dtype and the shape of a tensor, or the type of another value."""
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
