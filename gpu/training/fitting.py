"""The check that a network and labelled images fit together, before a training begins."""

from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gpu.models.checks import check_module
from gpu.runtime.tables import counted
from gpu.schedules.schedule import Schedule, SkipSchedule, SlopeSchedule, ThresholdSchedule
from gpu.training.data import as_network_input
from gpu.training.distillation import Teacher
from gpu.training.evaluation import check_scores, dtype_of
from gpu.training.labelled import ImageSource, LabelledImages, as_labelled_images, class_names_of
from gpu.training.recalibration import only_training, random_state_kept

KINDS: dict[str, tuple[type[Schedule], ...]] = {
    "schedule": (SkipSchedule, ThresholdSchedule),
    "slope_schedule": (SlopeSchedule,),
}
"""Schedules that `gpu.Trainer` takes, by the name of the argument."""

FEW = 2
"""Number of images on which the network is run once."""


def labelled_parts(training: ImageSource, held_out: ImageSource) -> tuple[LabelledImages, LabelledImages]:
    """Return the images to train on and the held-out ones, from any of the forms in which `gpu.Trainer` takes them.

    Raises
    ------
    TypeError
        If one of them has none of these forms.
    ValueError
        If one is not as in `LabelledImages`, or both name their classes, as torchvision's ``ImageFolder`` does, and the
        names differ: the numbers of the classes would then differ, too.
    MemoryError
        If the images of a Dataset would take more than half of the machine's memory.
    """
    names, others = (class_names_of(part) for part in (training, held_out))
    if names is not None and others is not None and names != others:
        raise ValueError(
            f"held_out: expected the classes {names}, as those to train on, got {others}; give both folders a "
            "subfolder for every class"
        )
    return as_labelled_images("training", training), as_labelled_images("held_out", held_out)


def check_trainable(model: nn.Module) -> None:
    """Check that a network has parameters that gradients can be computed for here and now.

    Raises
    ------
    TypeError
        If it is no ``nn.Module``.
    ValueError
        If it has no such parameters, or gradients are off.

    Examples
    --------
    >>> check_trainable(nn.Flatten())
    Traceback (most recent call last):
    ValueError: model: expected parameters that require gradients, got none in a Flatten
    """
    check_module("model", model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        frozen = any(True for _ in model.parameters())
        got = "only frozen ones (requires_grad=False)" if frozen else f"none in a {type(model).__name__}"
        raise ValueError(f"model: expected parameters that require gradients, got {got}")
    if any(parameter.is_inference() for parameter in trained):
        raise ValueError("model: expected parameters that can be trained, got some made in torch.inference_mode()")
    if not torch.is_grad_enabled():
        raise ValueError("gradients: expected them to be on, got a training in torch.no_grad() or the like")


def check_fit(model: nn.Module, training: LabelledImages, held_out: LabelledImages) -> int:
    """Check that a network takes the images, and has a score for each label; return the number of its scores.

    It is run once on the first images, in evaluation mode; modes and random states stay.

    Raises
    ------
    ValueError
        If held-out images are not like those to train on, the network cannot hold their numbers or does not take them,
        it does not return one row of scores for each, or a label is beyond its scores.

    Examples
    --------
    >>> import gpu
    >>> images = LabelledImages(torch.zeros(1, 3, 8, 8), torch.tensor([7]))
    >>> check_fit(gpu.perceptron((3, 8, 8), num_classes=4), images, images)
    Traceback (most recent call last):
    ValueError: training: expected labels 0 to 3 for a network of 4 scores, got 7; make it with num_classes=8
    """
    if held_out.in_shape != training.in_shape or held_out.images.dtype != training.images.dtype:
        raise ValueError(
            f"held_out: expected images of {_described(training)}, as those to train on, got {_described(held_out)}"
        )
    dtype = dtype_of(model)
    if training.images.is_floating_point() and torch.promote_types(training.images.dtype, dtype) != dtype:
        raise ValueError(
            f"training: expected images of uint8 or {dtype}, as the weights of the network are, got "
            f"{training.images.dtype}; convert the images with .to({dtype})"
        )
    scores = _scores(model, training.images[:FEW], model)
    classes = scores.shape[1]
    for name, part in (("training", training), ("held_out", held_out)):
        largest = int(part.labels.max())
        if largest >= classes:
            raise ValueError(
                f"{name}: expected labels 0 to {classes - 1} for a network of {classes} scores, got {largest}; make it "
                f"with num_classes={largest + 1}"
            )
    return classes


def check_schedules(model: nn.Module, schedules: Mapping[str, Schedule | None]) -> None:
    """Check that schedules, by the names of their arguments, control the network that is trained.

    Raises
    ------
    TypeError
        If one is no schedule, or one of something else.
    ValueError
        If one sets numbers of another network alone, such as of one that the network is a copy of.

    Examples
    --------
    >>> import copy, gpu
    >>> model = gpu.three_layer_cnn()
    >>> check_schedules(copy.deepcopy(model), {"schedule": gpu.SkipSchedule(model, lambda step: 0.0)})
    Traceback (most recent call last):
    ValueError: schedule: expected a schedule of the model that is trained, got one of another SkipCNN; make it with \
the model that is trained
    """
    for name, schedule in schedules.items():
        if schedule is None:
            continue
        if not isinstance(schedule, KINDS[name]):
            got = schedule.__name__ if isinstance(schedule, type) else f"an object of {type(schedule).__name__}"
            kinds = " or ".join(f"gpu.{kind.__name__}(model, ...)" for kind in KINDS[name])
            raise TypeError(f"{name}: expected {kinds}, got {got}")
        if not schedule.controls(model):
            raise ValueError(
                f"{name}: expected a schedule of the model that is trained, got one of another "
                f"{type(schedule.model).__name__}; make it with the model that is trained"
            )


def check_teacher(teacher: Teacher | None, model: nn.Module, classes: int, training: LabelledImages) -> None:
    """Check that a teacher has as many scores as the network that learns, on the same images.

    Raises
    ------
    TypeError
        If it is no `gpu.Teacher`.
    ValueError
        If its network does not take the images, gives other scores, or shares weights with the network that learns.
    """
    if teacher is None:
        return
    if not isinstance(teacher, Teacher):
        raise TypeError(f"teacher: expected gpu.Teacher(model), got {type(teacher).__name__}")
    learnt = {id(parameter) for parameter in model.parameters()}
    shared = next((name for name, own in teacher.model.named_parameters() if id(own) in learnt), None)
    if shared is not None:
        raise ValueError(
            f"teacher: expected a network with weights of its own, got one that shares {shared} with the network that "
            "learns from it; take a copy"
        )
    try:
        scores = _scores(teacher.model, training.images[:FEW], model)
    except ValueError as error:
        raise ValueError(f"teacher: {error}") from error
    if scores.shape[1] != classes:
        raise ValueError(f"teacher: expected {classes} scores, as the network that learns has, got {scores.shape[1]}")


def check_batches(model: nn.Module, training: LabelledImages, batch_size: int, recalibration_images: int) -> None:
    """Check that no batch has a single image where a batch normalisation then has a single number per channel.

    A normalisation in training mode divides by the deviation of its numbers, of which there must be two: torch would
    stop the training at the first such batch. A network without such a normalisation takes batches of one image. Where
    a batch would have one, the network is run once more on the first images, in evaluation mode; modes and random
    states stay.

    Raises
    ------
    ValueError
        If there is such a batch.

    Examples
    --------
    >>> images = LabelledImages(torch.zeros(65, 3, 8, 8), torch.zeros(65).long())
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten())
    >>> check_batches(model, images, batch_size=64, recalibration_images=0)
    Traceback (most recent call last):
    ValueError: training: expected at least two images in the last batch, as 1: BatchNorm2d of one number per image \
and channel needs them in training mode, got 65 images in batches of 64; give batch_size=65, or other images
    """
    images = len(training)
    last = images % batch_size or batch_size
    if 1 not in {last, recalibration_images}:
        return
    norm = _norm_of_single_numbers(model, training)
    if norm is None:
        return
    needs = f"as {norm} of one number per image and channel needs them in training mode"
    if last > 1:
        raise ValueError(f"recalibration_images: expected 0, or at least 2, {needs}, got 1")
    if images == 1:
        raise ValueError(f"training: expected at least two images, {needs}, got 1")
    enough = next(size for size in count(batch_size + 1) if images % size != 1)
    raise ValueError(
        f"training: expected at least two images in the last batch, {needs}, got {counted(images, 'image')} in batches "
        f"of {batch_size}; give batch_size={enough}, or other images"
    )


def _norm_of_single_numbers(model: nn.Module, training: LabelledImages) -> str | None:
    """Return the place and the class of the first batch normalisation that gets one number per image and channel."""
    modes = [(part, part.training) for part in model.modules()]
    model.train()  # its own method may keep batch normalisations frozen
    norms = [
        (name, part)
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and (part.training or part.running_mean is None)
    ]
    for part, mode in modes:
        part.training = mode
    images, found = training.images[:FEW], list[str]()

    def note(name: str) -> Any:
        def look(norm: _BatchNorm, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
            given = (*inputs, *options.values())[0]
            if given.numel() == given.shape[1] * len(images):
                found.append(f"{name or 'model'}: {type(norm).__name__}")

        return look

    hooks = [norm.register_forward_pre_hook(note(name), with_kwargs=True) for name, norm in norms]
    try:
        _scores(model, images, model)
    finally:
        for hook in hooks:
            hook.remove()
    return next(iter(found), None)


def _scores(model: nn.Module, images: torch.Tensor, learner: nn.Module) -> torch.Tensor:
    """Return the scores of images, in the dtype and on the device of the network that learns.

    Raises
    ------
    ValueError
        If the network does not take the images, or returns something else.
    """
    device, dtype = next(learner.parameters()).device, dtype_of(learner)
    try:
        with only_training(model, {}), random_state_kept(device), torch.no_grad():
            scores = model(as_network_input(images.to(device), dtype))
    except Exception as error:  # a forward may raise anything
        message = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"model: expected a network of images {tuple(images.shape[1:])}, got {type(error).__name__}: {message}"
        ) from error
    return check_scores(scores, len(images))


def _described(part: LabelledImages) -> str:
    """Return the dtype and the shape of images."""
    return f"{part.images.dtype} {part.in_shape}"
