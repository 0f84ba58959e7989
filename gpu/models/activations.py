"""Activations on the way to the identity: slopes, setting them, and taking activations out of a network."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from gpu.models.agreement import check_agreement
from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.homotopy import check_share
from gpu.models.interventions import first_intervention, intervention, written
from gpu.models.linearizing.built_in import activations_in
from gpu.models.linearizing.examination import followable
from gpu.models.linearizing.mentions import mentioned
from gpu.models.nonlinearities import IDENTITY, NONLINEARITIES
from gpu.models.sloped import ATTRIBUTES, Sloped, drop_slope, held_slope, slope_of, sloped_class
from gpu.models.sloped import _empty as _empty  # pickles from before name it in this module
from gpu.runtime.tables import counted

Network = TypeVar("Network", bound=nn.Module)

ACTIVATIONS = tuple(row.module for row in NONLINEARITIES if row.remedy == IDENTITY and row.module is not None)
"""The modules of the table that can go to the identity: functions of each entry."""


def activations_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name in the model and the module of every activation that has a slope or may get one."""
    for name, part in model.named_modules():
        if isinstance(part, ACTIVATIONS):
            yield name, part


def activation_slopes(model: nn.Module) -> dict[str, float]:
    """Return the slope of every activation of a network by the name of its module: 0 is the activation, 1 the identity.

    Activations whose slope was never set have slope 0. What a forward calls as a function has no name and no slope.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU())
    >>> set_activation_slope(model, {"3": 0.25})
    >>> activation_slopes(model)
    {'1': 0.0, '3': 0.25}
    """
    _check_module(model)
    return {name: slope_of(part) for name, part in activations_of(model)}


def _check_module(model: object) -> None:
    """Check that a model is a module.

    Raises
    ------
    TypeError
        If it is not.
    """
    check_module("model", model)


def set_activation_slope(model: nn.Module, slope: float | Mapping[str, float]) -> None:
    """Set the slope s of activations of a network, in place: they compute (1 - s) act(x) + s x.

    A slope of 0 is the activation, 1 the identity, and ReLU with a slope in between is leaky ReLU. A network whose
    activations go from 0 to 1 while it is trained (`gpu.SlopeSchedule`) can do without them at the end
    (`gpu.remove_activations`). The running statistics of batch normalisations are still those of the network before:
    train on, or call `gpu.recalibrate` with ``layer_by_layer=True``, before the network is used in evaluation mode.

    Parameters
    ----------
    model : nn.Module
        A network whose activations are modules, such as those of `gpu.resnet` or a `gpu.SkipCNN`. The names in its
        state_dict stay. Once a slope was set, its tensor stays the same, so that nothing has to be compiled or captured
        again.
    slope : float in [0, 1], or mapping of str to float
        One slope for all activations, or the slopes of some of them by name; the others stay. `gpu.activation_slopes`
        lists the names, which are those of ``named_modules``. A module that is called several times in a forward, or
        stands under several names, has one slope for all its uses, and the first of its names.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If a slope is not in [0, 1]; the network has no activations that are modules, or none of a given name; one slope
        is given for all, and a forward calls activations that are functions, which have no slope; or an activation has
        a parametrization, a forward of its own, an attribute named ``slope`` or ``exact_slope``, or a class from which
        none can be derived. Nothing is changed then.

    Notes
    -----
    Activations are the modules that `gpu.linearize` replaces by the identity, and modules derived from them. While a
    module has a slope, it is an instance of a class derived from its own. It does not work in place from then on, even
    if it was made with ``inplace=True``: at slope 0 it still reads its input, and after `gpu.remove_activations` an
    identity in front of it may hand on what others read.

    An infinite input gives NaN (0 times infinity), also at slope 0 and 1: a guard would take longer than the rest.
    `gpu.trace`, `gpu.collapse`, `gpu.merge` and `SkipCNN.to_network` take the activation at slope 0, the identity at
    slope 1, and leaky ReLU for ReLU in between.

    Source: for ReLU, the idea of Layer Folding (Dror et al. 2021), which learns the slope; here it is on a schedule, as
    the paper's t.

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU(), nn.Tanh())
    >>> set_activation_slope(model, {"0": 0.5, "1": 1})
    >>> model(torch.tensor([-2.0, 2.0]))
    tensor([-1.,  2.])
    """
    _check_module(model)
    parts = dict(activations_of(model))
    slopes = _checked_slopes(model, parts, slope)
    like = next((tensor for tensor in model.parameters() if tensor.is_floating_point()), torch.zeros(()))
    for name, value in slopes.items():
        _set_slope(parts[name], value, like)
    _leave_fused_kernels(model)


def _checked_slopes(model: nn.Module, parts: Mapping[str, nn.Module], slope: object) -> dict[str, float]:
    """Return the slopes to set by the names of the activations, given the activations of a network.

    Raises
    ------
    ValueError
        If they cannot be set.
    """
    if not isinstance(slope, Mapping) or not parts:
        owners = ((written(name), mentioned(part)) for name, part in followable(model).items())
        functions = [f"{function} in the forward of {owner}" for owner, found in owners for function in found]
        inside = [kept for path, part in model.named_modules() for kept in activations_in(path, part)]
        functions += [f"{kept.name} in the forward of {written(kept.path)}" for kept in inside]
        if functions:
            raise ValueError(
                "model: expected activations that are modules, which alone have a slope, got functions: "
                f"{', '.join(functions)}; write self.act = nn.ReLU() and self.act(x), or give the slopes of modules "
                "by name"
            )
    if not parts:
        raise ValueError(f"model: expected activations that are modules, got {type(model).__name__} without any")
    named = isinstance(slope, Mapping)
    chosen: dict[Any, object] = dict(slope) if isinstance(slope, Mapping) else dict.fromkeys(parts, slope)
    unknown = sorted(str(name) for name in chosen.keys() - parts.keys())
    if unknown:
        names = ", ".join(parts)
        raise ValueError(f"slope: expected names of activations, which are {names}, got {', '.join(unknown)}")
    for name in chosen:
        _check_can_have_slope(name, parts[name])
    return {name: check_share(f"slope[{name!r}]" if named else "slope", value) for name, value in chosen.items()}


def _check_can_have_slope(name: str, part: nn.Module) -> None:
    """Check that an activation can get a slope, before the first of a network gets one.

    Raises
    ------
    ValueError
        If it has a parametrization or a forward of its own, an attribute of the name that the slope is to have, or a
        class from which no other can be derived.
    """
    if parametrize.is_parametrized(part) or "forward" in vars(part):
        found = intervention(written(name), part)
        raise ValueError(f"model: expected activations as their classes compute them, got {found}")
    if isinstance(part, Sloped):
        return
    taken = [attribute for attribute in ATTRIBUTES if hasattr(part, attribute)]
    if taken:
        raise ValueError(
            f"model: expected activations without an attribute {taken[0]}, which is to hold the slope, got "
            f"{written(name)}.{taken[0]} of a {type(part).__name__}; give it another name"
        )
    try:
        sloped_class(cast(Any, type(part)))
    except Exception as error:  # a class may raise anything when another is derived from it
        raise ValueError(
            f"model: expected activations from whose classes others can be derived, got {written(name)}, a "
            f"{type(part).__name__}: {error}"
        ) from error


def _set_slope(part: nn.Module, slope: float, like: torch.Tensor) -> None:
    """Set the slope of an activation, in its tensor; make the module a sloped one first, if it is none."""
    if not isinstance(part, Sloped):
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        part.register_buffer("slope", torch.zeros((), dtype=dtype, device=like.device), persistent=False)
        _leave_input(part)  # s x needs it
        # the module itself, and not one in its place, so that whatever else refers to it sees the slope as well
        part.__class__ = sloped_class(cast(Any, type(part)))
    cast(Sloped, part).keep_exactly(slope)


def _leave_input(part: nn.Module) -> None:
    """Let an activation not write over its input."""
    if hasattr(part, "inplace"):
        vars(part)["inplace"] = False


def _leave_fused_kernels(model: nn.Module) -> None:
    """Let transformer layers run their activation, and not the fused kernel that has ReLU or GELU built in."""
    for part in model.modules():
        if isinstance(getattr(part, "activation", None), Sloped) and "activation_relu_or_gelu" in vars(part):
            part.activation_relu_or_gelu = cast(Any, 0)


def remove_activations(model: Network, *, inputs: Any = None) -> Network:
    """Return a copy of a network without its activations of slope 1; those of slope 0 are of their own class again.

    The copy is compared with the network before it is returned, in evaluation and in training mode.

    Parameters
    ----------
    model : nn.Module
        A network with activations of slope 1, set by `gpu.set_activation_slope`. It is neither changed nor run; copies
        of it are run.
    inputs : tensor, or tuple of arguments of the forward, optional
        The input on which copy and network are compared; by default two random images of a size that the network takes.

    Returns
    -------
    nn.Module
        The copy, with ``nn.Identity`` in place of what was removed, in the same mode (training or evaluation), dtype
        and on the same device. The entries of its state_dict keep their names, but for the parameters of removed
        activations. No activation in it works in place. On the CPU its outputs are the same bits, wherever the
        activations were finite.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If no activation is a module; if a slope is neither 0 nor 1, or none is 1; if an activation that is to be
        removed has hooks, whose effects would be lost; or if the copy computes something else than the network, or
        cannot be compared.

    Notes
    -----
    Running statistics stay as they are: unless `gpu.Trainer` trained the network, call `gpu.recalibrate` with
    ``layer_by_layer=True`` before or after.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.ReLU())
    >>> set_activation_slope(model, {"1": 1})
    >>> remove_activations(model)
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): Identity()
      (2): Conv2d(2, 2, kernel_size=(3, 3), stride=(1, 1))
      (3): ReLU()
    )
    >>> set_activation_slope(model, {"3": 0.5})
    >>> remove_activations(model)
    Traceback (most recent call last):
        ...
    ValueError: model: expected slope 0 or 1 for every activation, got 1 other: 3 at slope 0.5; ...
    """
    slopes = activation_slopes(model)
    between = [f"{name} at slope {slopes[name]:g}" for name, part in activations_of(model) if 0 < held_slope(part) < 1]
    if between:
        shown = ", ".join(between[:3]) + (", ..." if len(between) > 3 else "")
        raise ValueError(
            f"model: expected slope 0 or 1 for every activation, got {counted(len(between), 'other')}: {shown}; what "
            "these bend would be lost: train on while they go to 1 (gpu.SlopeSchedule), then gpu.set_activation_slope"
        )
    removed = [(name, part) for name, part in activations_of(model) if held_slope(part) == 1]
    if not slopes:
        raise ValueError(
            f"model: expected activations that are modules, which alone can be removed, got {type(model).__name__} "
            "without any"
        )
    if not removed:
        raise ValueError(
            f"model: expected an activation of slope 1, got {len(slopes)} of slope 0; gpu.set_activation_slope sets it"
        )
    found = first_intervention(removed, backward=True)
    if found is not None:
        raise ValueError(
            f"model: expected activations as their classes compute them, got {found}; it would be lost with them"
        )
    bare = cast(Network, copy_of(model))
    for _, part in list(activations_of(bare)):
        _leave_input(part)  # an identity in front of it hands on its own, which may be read elsewhere, too
        if held_slope(part) == 1:
            _become_identity(part)
        elif isinstance(part, Sloped):
            drop_slope(part)
    on_cpu = all(tensor.device.type == "cpu" for tensor in model.parameters())
    check_agreement(model, bare, inputs, rtol=0 if on_cpu else None)
    return bare


def _become_identity(part: nn.Module) -> None:
    """Make a module an ``nn.Identity``, wherever it stands."""
    training = part.training
    vars(part).clear()
    part.__class__ = nn.Identity
    nn.Identity.__init__(cast(nn.Identity, part))
    part.training = training
