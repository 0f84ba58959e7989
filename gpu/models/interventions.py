"""What makes a module compute something else than its class does: hooks, parametrizations, a forward of its own."""

from collections.abc import Iterable

from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def intervention(name: str, part: nn.Module, *, backward: bool = False) -> str | None:
    """Return what changes the computation of one module, with the remedy; None if nothing does.

    Parameters
    ----------
    name : str
        Name of the module, as the user writes it.
    part : nn.Module
        The module; its submodules are not looked at.
    backward : bool
        Count the hooks of the backward pass, too.

    Examples
    --------
    >>> layer = nn.Conv2d(1, 1, 3)
    >>> intervention("model.conv1", layer)
    >>> _ = prune.l1_unstructured(layer, "weight", 0.5)
    >>> intervention("model.conv1", layer)
    "pruning of weight on model.conv1 (call torch.nn.utils.prune.remove(model.conv1, 'weight') first)"
    """
    if parametrize.is_parametrized(part):
        tensor = next(iter(part.parametrizations))  # type: ignore[arg-type] # it is a ModuleDict
        remedy = f"call torch.nn.utils.parametrize.remove_parametrizations({name}, {tensor!r}) first"
        return f"a parametrization of {tensor} on {name} ({remedy})"
    if "forward" in vars(part):
        return f"a method forward set on {name} itself (write a subclass, or delete it)"
    hooks = [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
    if backward:
        hooks += [*part._backward_pre_hooks.values(), *part._backward_hooks.values()]
    # one that computes a weight goes first: its remedy keeps what the module computes
    described = [_described(name, hook) for hook in hooks]
    return min(described, key=lambda text: text.startswith("a hook"), default=None)


def first_intervention(
    parts: Iterable[tuple[str, nn.Module]], *, root: str = "model", backward: bool = False
) -> str | None:
    """Return what `intervention` finds on the first part with a finding, by its name in the module ``root``."""
    found = (intervention(written(name, root), part, backward=backward) for name, part in parts)
    return next(filter(None, found), None)


def written(name: str, root: str = "model") -> str:
    """Return how a user writes a part of a module with a name of `named_modules`.

    Examples
    --------
    >>> written("layer1.0.conv1"), written("")
    ('model.layer1[0].conv1', 'model')
    """
    return root + "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in name.split(".") if step)


def _described(name: str, hook: object) -> str:
    if isinstance(hook, prune.BasePruningMethod):
        tensor = hook._tensor_name
        return f"pruning of {tensor} on {name} (call torch.nn.utils.prune.remove({name}, {tensor!r}) first)"
    if isinstance(hook, WeightNorm):
        return f"weight_norm on {name} (call torch.nn.utils.remove_weight_norm({name}, {hook.name!r}) first)"
    if isinstance(hook, SpectralNorm):
        return f"spectral_norm on {name} (call torch.nn.utils.remove_spectral_norm({name}, {hook.name!r}) first)"
    text = getattr(hook, "__qualname__", type(hook).__name__)
    return f"a hook, {text}, on {name} (remove it with the handle that register_..._hook returned)"
