"""The network without its skips, once their strength is 0."""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from torch import nn

from gpu.models.agreement import check_agreement
from gpu.models.copying import copy_of
from gpu.models.homotopy import WithSkips, skip_strengths, skips_of
from gpu.models.interventions import first_intervention
from gpu.runtime.tables import counted

Network = TypeVar("Network", bound=nn.Module)


def remove_skips(model: Network, *, inputs: Any = None) -> Network:
    """Return a copy of a network at t = 0 without its skips: without sums and projections, only the main path.

    The copy is compared with the network before it is returned, in evaluation and in training mode.

    Parameters
    ----------
    model : nn.Module
        A network from `gpu.resnet` or `gpu.from_torchvision`, or a `gpu.SkipCNN`, with t = 0 for every skip. It is
        neither changed nor run; copies of it are run.
    inputs : tensor, or tuple of arguments of the forward, optional
        The input on which copy and network are compared; by default two random images of a size that the network takes.

    Returns
    -------
    nn.Module
        The copy, in the same mode (training or evaluation), dtype and on the same device. The remaining entries of its
        state_dict keep their names. On the CPU its outputs are the same bits, wherever the skips were finite.

    Raises
    ------
    ValueError
        If a skip has another strength than 0, or the network has no skips; if what is to be removed has hooks, a
        parametrization or a forward of its own, whose effects would be lost; or if the copy computes something else
        than the network, or cannot be compared.

    Notes
    -----
    Hooks on a residual block and on what stays see the same values as before, and are kept.

    Running statistics stay as they are. Training leaves statistics that are useless where many batch normalisations
    follow each other without skips: unless `gpu.Trainer` trained the network, call `gpu.recalibrate` with
    ``layer_by_layer=True`` before or after.

    Source: the paper's section 5.3, "explicitly taking their programming out of the network".

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> model = three_layer_cnn(t=0.0)
    >>> remove_skips(model).to_network()
    SkipNetwork((1, 28, 28) -> (10,): Conv, Conv, Conv, Dense; skips none)
    >>> from gpu.models.homotopy import set_skip_strength
    >>> set_skip_strength(model, 0.5)
    >>> remove_skips(model)
    Traceback (most recent call last):
        ...
    ValueError: model: expected t = 0 for every skip, got 1 other: joins.2 at t = 0.5; ...
    """
    strengths = skip_strengths(model)
    if not strengths:
        raise ValueError(
            f"model: expected a network with skips of strength t, got {type(model).__name__} without any; "
            "torchvision's own ResNets add x + F(x): gpu.from_torchvision gives their skips a strength"
        )
    left = [f"{name} at t = {skip.skip_strength:g}" for name, skip in skips_of(model) if not skip.is_off]
    if left:
        shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
        raise ValueError(
            f"model: expected t = 0 for every skip, got {counted(len(left), 'other')}: {shown}; what these skips carry "
            "would be lost: train on while t goes to 0 (gpu.schedules), then gpu.set_skip_strength(model, 0)"
        )
    found = first_intervention(_to_be_removed(model), backward=True)
    if found is not None:
        raise ValueError(
            f"model: expected skips as their classes compute them, got {found}; it would be lost with them"
        )
    bare = cast(Network, copy_of(model))
    for part in list(bare.modules()):
        if isinstance(part, WithSkips):
            part.drop_skips()
    if skip_strengths(bare):
        raise ValueError(
            "model: expected skips in the blocks of gpu.resnet or in a gpu.SkipCNN, from which they can be removed, "
            f"got others: {', '.join(skip_strengths(bare))}"
        )
    on_cpu = all(tensor.device.type == "cpu" for tensor in model.parameters())
    check_agreement(model, bare, inputs, rtol=0 if on_cpu else None)
    return bare


def _to_be_removed(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the name in the model and the module of all that goes with the skips; a block with a forward of its own."""
    for name, part in model.named_modules():
        if isinstance(part, WithSkips):
            if "forward" in vars(part):
                yield name, part
            for skip_name, skip in part.skip_parts():
                yield from skip.named_modules(prefix=f"{name}.{skip_name}".removeprefix("."))
