"""`recalibrate`: the running statistics of batch normalisations, estimated anew for the network as it is now."""

import random
from collections.abc import Collection, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from gpu.models.checks import check_module
from gpu.runtime.modes import in_evaluation_mode
from gpu.runtime.precision import full_float32
from gpu.training.data import as_network_input, check_images
from gpu.training.evaluation import dtype_of
from linalg_cnn.checks import check_int

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class StatisticsNotFiniteError(ValueError):
    """Running statistics are NaN or infinite: the weights are, or what they compute."""


def recalibrate(
    model: nn.Module, images: torch.Tensor, *, batch_size: int = 1000, layer_by_layer: bool = False
) -> None:
    """Estimate the running statistics of all batch normalisations anew, in place, from training images.

    While a network is trained, its running statistics lag behind its weights. Where many normalisations follow each
    other without skips, and each sees few numbers per channel, the lag multiplies: the network is right with the
    statistics of each batch, and useless in evaluation mode. Call this after training, after
    `gpu.set_skip_strength`, and before a network is collapsed or its skips are removed. `gpu.Trainer` does it before
    each validation.

    Parameters
    ----------
    model : nn.Module
        The network. Each statistic becomes the mean of the statistics of the batches, and ``num_batches_tracked`` their
        number. Only batch normalisations run in training mode, so that dropout is not drawn. If the model is in
        training mode, batch normalisations in evaluation mode are frozen, and keep their statistics; if it is in
        evaluation mode, all are estimated. Weights, modes, ``momentum`` and random states stay. A network without batch
        normalisations stays as it is. One that is used several times in a pass has the mean over all its uses; one with
        ``track_running_stats=False`` has no statistics to estimate; one that the forward pass does not use keeps its
        own. Other normalisations, such as ``nn.InstanceNorm2d``, keep theirs.
    images : tensor (N, *in_shape)
        Training images: uint8 pixels, which count as pixels / 255, or floats, which the network gets as they are. They
        may be on the CPU or on the network's device.
    batch_size : int
        Number of images per batch. If the last batch had one image, it joins the batch before.
    layer_by_layer : bool
        If True, the statistics of each batch normalisation are those of what it gets when the normalisations before it
        use their new running statistics, as they will in evaluation mode. All images are then run at once, whatever
        ``batch_size`` is, and take as much memory. If False, all use the statistics of each batch meanwhile, as in
        training. The difference is small in most networks. It is all that matters where the images differ little in
        what a normalisation gets: a ResNet34 without skips, trained on all of MNIST, had 10 % in evaluation mode
        without it, and 99 % with it; see the notes.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``, or ``images`` is not a tensor.
    ValueError
        If the images are not finite numbers that the model takes, none of the batch normalisations is used in the
        forward pass, running statistics are there but belong to no batch normalisation, as in a scripted or exported
        model or part of one, or cannot be written, or a statistic is not finite. All statistics are then as they were.

    Notes
    -----
    Source: ``torch.optim.swa_utils.update_bn``, which does the same with the whole model in training mode.

    A normalisation of a map of several positions divides by the standard deviation over images and positions. Padding
    makes the positions differ in the same way in all images. In a ResNet34 that was trained on MNIST while t went to
    0, at t = 0.025, the share of the images in the variance falls from 0.9 to 4e-14 along its maps of 2x2
    (docs/records/recalibration_ways.json), and the first normalisation of a map of 1x1 has to find the images in what
    is left. A running mean is then useful only if it is that of the network in evaluation mode, up to the square root
    of that share, 2e-7 of itself. The mean over batches, each with statistics of its own, is not.

    Examples
    --------
    >>> norm = nn.BatchNorm2d(1).eval()
    >>> recalibrate(norm, torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1))
    >>> norm.running_mean, norm.running_var
    (tensor([2.]), tensor([2.]))
    """
    check_module("model", model)
    check_int("batch_size", batch_size, 1)
    _check_images(images, _device_of(model))
    norms = norms_to_estimate(model)
    _check_there_are_none_of_others(model)
    check_norms(norms)
    if norms and not estimate(model, images, batch_size=batch_size, layer_by_layer=layer_by_layer):
        raise ValueError("model: expected a forward pass that uses its batch normalisations, got one that uses none")


def estimate(model: nn.Module, images: torch.Tensor, *, batch_size: int, layer_by_layer: bool) -> Collection[str]:
    """Do the work of `recalibrate`, and return the names of the batch normalisations that the forward pass uses.

    Raises
    ------
    StatisticsNotFiniteError
        If a statistic is not finite.
    ValueError
        If the model does not take the images.
    """
    device, norms = _device_of(model), norms_to_estimate(model)
    before = {name: _statistics(norm) for name, norm in norms.items()}
    used: dict[str, _BatchNorm] = {}
    try:
        one_by_one = _in_evaluation_mode(norms) if layer_by_layer else nullcontext()
        with only_training(model, norms), one_by_one, random_state_kept(device):
            for norm in norms.values():
                norm.reset_running_stats()
            for batch in [images] if layer_by_layer else _batches(images, batch_size):
                _run(model, as_network_input(batch.to(device), dtype_of(model)))
        used = {name: norm for name, norm in norms.items() if norm.num_batches_tracked}
        _check_statistics(used)
    except BaseException:
        used = {}
        raise
    finally:  # one that the forward pass does not use, such as one of an auxiliary head, keeps its statistics
        for name in norms.keys() - used.keys():
            _restore(norms[name], before[name])
    return used.keys()


def _device_of(model: nn.Module) -> torch.device:
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))


def norms_to_estimate(model: nn.Module) -> dict[str, _BatchNorm]:
    """Return the batch normalisations, by name, whose running statistics `recalibrate` estimates."""
    return {
        name: part
        for name, part in model.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None and (part.training or not model.training)
    }


def spread_evenly(size: int, count: int) -> torch.Tensor:
    """Return up to ``count`` different indices below ``size``, spread evenly, in ascending order, int64.

    Examples
    --------
    >>> spread_evenly(10, 4)
    tensor([0, 2, 5, 7])
    """
    count = min(size, count)
    return torch.arange(count) * size // max(count, 1)


def check_norms(norms: dict[str, _BatchNorm]) -> None:
    """Check that the running statistics of batch normalisations can be written.

    Raises
    ------
    ValueError
        If one is lazy and has not been run, does not count its batches, or was made in inference mode.
    """
    for name, norm in norms.items():
        got = f"{name or 'the model'}: {type(norm).__name__}"
        if is_lazy(norm.get_buffer("running_mean")):
            raise ValueError(f"model: expected initialised batch normalisations, got {got}; run the model once")
        if norm.num_batches_tracked is None:
            raise ValueError(f"model: expected batch normalisations with num_batches_tracked, got None in {got}")
        if norm.get_buffer("running_mean").is_inference():
            raise ValueError(f"model: expected statistics that can be written, got {got} made in inference mode")


def _check_there_are_none_of_others(model: nn.Module) -> None:
    """Refuse running statistics that cannot be estimated: of scripted or exported parts, or all where none can.

    Leaving them as they are without a word would leave the network as useless as it was.

    Raises
    ------
    ValueError
        If there are such statistics.
    """
    can_some = any(isinstance(part, _BatchNorm) for part in model.modules())
    for name, part in model.named_modules():
        held = [buffer for buffer, _ in part.named_buffers(recurse=False) if buffer == "running_mean"]
        if held and not isinstance(part, _BatchNorm) and (not can_some or _is_compiled_norm(part, model)):
            where = f"{name}.running_mean" if name else "running_mean"
            raise ValueError(
                f"model: expected running statistics of batch normalisations, got {where} in a module that is none; "
                "recalibrate a model before it is scripted or exported"
            )


def _is_compiled_norm(part: nn.Module, model: nn.Module) -> bool:
    """Return whether a module that holds statistics is a scripted or exported batch normalisation, and not frozen."""
    if isinstance(part, torch.jit.ScriptModule):
        is_one = not str(part.original_name).startswith("InstanceNorm")
    else:
        is_one = type(part) is nn.Module  # torch.export has made it; it computes nothing itself
    return is_one and (part.training or not model.training)


def _check_images(images: torch.Tensor, device: torch.device) -> None:
    """Check images that the statistics are estimated from.

    Raises
    ------
    TypeError
        If they are not a tensor.
    ValueError
        If there are none, or they are not finite, not dense, of another dtype, or on a device that is not the
        network's.
    """
    check_images(images)
    if images.device.type != "cpu" and images.device != device:
        raise ValueError(f"images: expected images on the CPU or on the model's device {device}, got {images.device}")
    if images.layout != torch.strided:
        raise ValueError(f"images: expected a dense tensor, got {images.layout}")
    if images.ndim < 2 or not images.numel():
        raise ValueError(f"images: expected at least one image (N, *in_shape), got shape {tuple(images.shape)}")
    if images.is_floating_point() and not images.isfinite().all():
        raise ValueError("images: expected finite numbers, got NaN or infinity")


def _batches(images: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
    """Yield the batches; a single image at the end joins the batch before."""
    batches = list(images.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [images[-1 - len(batches[-2]) :]]
    yield from batches


def _run(model: nn.Module, batch: torch.Tensor) -> None:
    """Run the model on a batch for its statistics.

    Raises
    ------
    ValueError
        If the model does not take the batch.
    """
    try:
        with torch.no_grad(), full_float32():
            model(batch)
    except Exception as error:  # a forward may raise anything
        message = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"images: expected images that the model takes, got {type(error).__name__} on a batch of "
            f"{batch.dtype} {tuple(batch.shape)}: {message}"
        ) from error


def _check_statistics(used: dict[str, _BatchNorm]) -> None:
    """Check that statistics are finite.

    Raises
    ------
    StatisticsNotFiniteError
        If one is not.
    """
    for name, norm in used.items():
        for statistic in STATISTICS:
            if not getattr(norm, statistic).isfinite().all():
                where = f"{name or 'the model'}.{statistic}"
                raise StatisticsNotFiniteError(f"model: expected finite statistics, got others in {where}")


def _statistics(norm: _BatchNorm) -> dict[str, torch.Tensor]:
    """Return copies of the statistics of a batch normalisation, by name."""
    return {name: tensor.clone() for name in STATISTICS if (tensor := getattr(norm, name)) is not None}


def _restore(norm: _BatchNorm, statistics: dict[str, torch.Tensor]) -> None:
    """Write statistics back into the tensors that hold them."""
    for name, value in statistics.items():
        getattr(norm, name).copy_(value)


@contextmanager
def only_training(model: nn.Module, norms: dict[str, _BatchNorm]) -> Iterator[None]:
    """Put the given normalisations into training mode, in which all batches weigh the same, and no other module."""
    momenta = [(norm, norm.momentum) for norm in norms.values()]
    with in_evaluation_mode(model):
        try:
            for norm in norms.values():
                norm.training, norm.momentum = True, None
            yield
        finally:
            for norm, momentum in momenta:
                norm.momentum = momentum


@contextmanager
def _in_evaluation_mode(norms: dict[str, _BatchNorm]) -> Iterator[None]:
    """Let normalisations that are in training mode use their running statistics, after these have been estimated."""

    def note(norm: _BatchNorm, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        norm.training = True
        try:
            norm.forward(*inputs, **options)
        finally:
            norm.training = False

    for norm in norms.values():
        norm.training = False
    # last, so that it gets what the hooks of the user make of the input
    hooks = [norm.register_forward_pre_hook(note, with_kwargs=True) for norm in norms.values()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Restore the random states of Python, numpy and torch, which the forward of a model may draw from."""
    of_python, of_numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002 - as the forward does
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)  # noqa: NPY002
