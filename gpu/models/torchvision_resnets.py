"""torchvision's ResNets with their weights, as networks with skips of strength t."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torchvision.models import ResNet

from gpu.models.agreement import check_agreement
from gpu.models.copying import copy_of
from gpu.models.homotopy import check_share, set_skip_strength, skips_of
from gpu.models.interventions import first_intervention, written
from gpu.models.resnets import BLOCKS, SkipBlock, blocks_of, with_strength

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.Identity)
"""Activations that commute with scaling by a positive number."""


SCALED = ("layer1", "layer2", "layer3", "layer4", "avgpool", "fc")
"""Parts in which the copy has other weights or activations than the model."""


def from_torchvision(model: ResNet, t: float = 0.5, *, inputs: Any = None) -> ResNet:
    """Return a copy of one of torchvision's ResNets that computes the same function with skips of strength t.

    The copy is compared with the model before it is returned, in evaluation and in training mode.

    Parameters
    ----------
    model : torchvision.models.ResNet
        A ResNet, ResNeXt or wide ResNet. It is neither changed nor run; copies of it are run.
    t : float, 0 < t < 1
        Strength of all skips; 0.5 by default, which keeps the outputs to the last bit unless a number underflows.
    inputs : tensor, or tuple of arguments of the forward, optional
        The input on which copy and model are compared; by default two random images of a size that the model takes.

    Returns
    -------
    torchvision.models.ResNet
        The copy, in the mode and dtype of the model and on its device. Its state_dict has the same names and other
        values.

    Raises
    ------
    TypeError
        If ``model`` is not a ResNet of torchvision's with its own blocks and a linear layer at the end.
    ValueError
        If t is 0 or 1, for which no scaling exists; an activation does not commute with scaling; a block has no batch
        normalisation with weights; the scales underflow in the model's dtype; the weights are on the meta device; the
        residual blocks or the last layer have hooks (pruning, weight normalisation), parametrizations or a forward of
        their own, or share weights; or the copy computes something else than the model, or cannot be compared.

    Notes
    -----
    torchvision's blocks compute x + F(x). A block that computes t x + (1 - t) F'(x), with F' = t / (1 - t) F, returns
    t times as much. The first convolution of the next block divides by this factor, and so does the next projection or
    the last layer. At t = 0.5 all factors are powers of two, so that scaling rounds nothing.

    Hooks on the model itself and before the first residual block see the same values, and are kept.

    Examples
    --------
    >>> import torchvision
    >>> theirs = torchvision.models.resnet18(num_classes=10).eval()
    >>> ours, image = from_torchvision(theirs), torch.rand(1, 3, 64, 64)
    >>> torch.allclose(ours(image), theirs(image))
    True
    """
    for name in SCALED[:4] if isinstance(model, ResNet) else ():
        if not isinstance(getattr(model, name), nn.Sequential):
            raise TypeError(f"model: expected an nn.Sequential of blocks as {name}, got {getattr(model, name)!r}")
    if not isinstance(model, ResNet) or not all(type(block) in BLOCKS for block in blocks_of(model)):
        raise TypeError(f"model: expected a ResNet of torchvision's with its own blocks, got {type(model).__name__}")
    strength = check_share("t", t)
    if not 0 < strength < 1:
        raise ValueError(f"t: expected 0 < t < 1, got {t}: one of the two paths would carry nothing")
    if not isinstance(model.fc, nn.Linear):
        raise TypeError(f"model: expected a linear layer as fc, got {model.fc!r}")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise ValueError("model: expected weights with values, got some on the meta device; load them first")
    _check_plain(model)
    made, scaled, rounded = _with_scaled_weights(model, strength)
    if rounded:  # in float64, a fault is larger than all rounding
        wide = copy_of(model).double()
        twin, _, _ = _with_scaled_weights(wide, strength)
        check_agreement(wide, twin, inputs, double=True, apart_from=scaled, rtol=1e-9)
        coarse = 16 * torch.finfo(made.fc.weight.dtype).eps ** 0.5  # in its own dtype, both round in every layer
        check_agreement(model, made, inputs, apart_from=scaled, rtol=coarse, modes=(False,))
    else:
        exact = made.fc.weight.device.type == "cpu"  # elsewhere two runs may choose two algorithms
        check_agreement(model, made, inputs, double=True, apart_from=scaled, rtol=0 if exact else 1e-9)
    return made


def _with_scaled_weights(model: nn.Module, t: float) -> tuple[ResNet, set[str], bool]:
    """Return a copy with skips of strength t, the names of the tensors it scales, and whether scaling rounds.

    Raises
    ------
    ValueError
        If t is 0 or 1 in the dtype of the skips, or a block cannot be scaled.
    """
    made = with_strength(cast(ResNet, copy_of(model)), t)
    # as the network holds it, and keeps it in a wider dtype: near 1, 1 - t is another number after rounding
    t = float(next(skip for _, skip in skips_of(made)).held_numbers())
    if not 0 < t < 1:
        raise ValueError(f"t: expected a number that is neither 0 nor 1 after rounding, got one that is {t:g} then")
    set_skip_strength(made, t)
    scalings = list(_scalings(made, t))
    scaled = {name for name, _, _ in scalings}
    _check_not_shared(made, scaled)
    rounded = t != 0.5
    with torch.no_grad():
        for _, tensor, factor in scalings:
            before = tensor.clone()
            tensor.mul_(factor)
            rounded = rounded or not torch.equal(tensor / factor, before)
    return made, scaled, rounded


def _check_plain(model: ResNet) -> None:
    """Refuse what sees or changes the values that are scaled.

    Raises
    ------
    ValueError
        If there is such a hook, parametrization or method.
    """
    scaled = [pair for pair in model.named_modules() if pair[0].partition(".")[0] in SCALED]
    found = first_intervention(scaled, backward=True)
    if found is not None:
        raise ValueError(
            f"model: expected residual blocks and a last layer as their classes compute them, got {found}: the copy "
            "has scaled weights and activations there"
        )


def _check_not_shared(made: ResNet, scaled: set[str]) -> None:
    """Refuse a tensor that is to be scaled and also stands elsewhere.

    Raises
    ------
    ValueError
        If there is one.
    """
    tensors = itertools.chain(made.named_parameters(remove_duplicate=False), made.named_buffers(remove_duplicate=False))
    names = defaultdict(list)
    for name, tensor in tensors:
        names[id(tensor)].append(name)
    for shared in names.values():
        if len(shared) > 1 and not scaled.isdisjoint(shared):
            layer = written(shared[-1].rpartition(".")[0])
            raise ValueError(
                f"model: expected weights of its own in each layer, got one tensor as {' and '.join(shared)}, which "
                f"need different scales; make one of its own by {layer} = copy.deepcopy({layer})"
            )


def _scalings(made: ResNet, t: float) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Yield the name of each tensor to scale, the tensor, and its factor.

    Raises
    ------
    ValueError
        If a block cannot be scaled.
    """
    scale = 1.0  # the input of a block, in multiples of the input of torchvision's block
    for name, block in made.named_modules():
        if not isinstance(block, SkipBlock):
            continue
        if not any(type(block.relu).forward is kind.forward for kind in ACTIVATIONS):
            raise ValueError(f"{name}.relu: expected ReLU, which commutes with scaling, got {block.relu}")
        if not isinstance(block.conv1, nn.Conv2d):
            raise ValueError(f"{name}.conv1: expected a convolution, got {block.conv1}")  # noqa: TRY004 - as below
        yield f"{name}.conv1.weight", block.conv1.weight, 1 / scale
        after = t * scale
        if block.downsample is not None:
            projection, norm = block.downsample[0], block.downsample[-1]
            if len(block.downsample) != 2 or not isinstance(projection, nn.Conv2d):
                raise ValueError(f"{name}.downsample: expected a convolution and a norm, got {block.downsample}")
            yield f"{name}.downsample.0.weight", projection.weight, 1 / scale
            yield from _affine(f"{name}.downsample.1", norm, 1 / t)
            after = 1.0
        norm_name, norm = block.last_norm
        yield from _affine(f"{name}.{norm_name}", norm, after / (1 - t))
        dtype = block.conv1.weight.dtype
        held = torch.finfo(dtype)
        for factor in (after, after / (1 - t)):  # of the block's output, and of its main path
            if not 1024 * held.smallest_normal <= factor <= held.max / 1024:
                raise ValueError(
                    f"model: expected a dtype that can hold activations times {factor:.1g} ({name}), got {dtype}; "
                    "take model.float()"
                )
        scale = after
    yield "fc.weight", made.fc.weight, 1 / scale


def _affine(name: str, norm: nn.Module, factor: float) -> Iterator[tuple[str, torch.Tensor, float]]:
    for parameter in ("weight", "bias"):
        tensor = getattr(norm, parameter, None)
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name}: expected batch normalisation with weight and bias, got {norm}")  # noqa: TRY004
        yield f"{name}.{parameter}", tensor, factor
