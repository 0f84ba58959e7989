"""Copies of modules: the module that a user passes in is never changed."""

import copy
import sys
import types
from collections import deque
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import nn

from gpu.models.checks import check_module
from gpu.models.containers import entries_of
from gpu.models.rebinding import rebind, rebound

COMPRESSED = (torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
"""Layouts of tensors that `copy.deepcopy` cannot copy, although they can be cloned."""

MAX_OBJECTS = 20_000
"""Number of objects after which the search for tensors with a gradient history ends."""

NOTHING_WITHIN = (str, bytes, int, float, complex, type(None), type, types.ModuleType, types.FunctionType)
"""Types of objects that are not looked at, because `copy.deepcopy` does not copy them, or they hold nothing."""


def copy_of(module: nn.Module) -> nn.Module:
    """Return a deep copy of a module, even if it holds results of its last run, as weight normalisation does.

    Other than with `copy.deepcopy` alone, parameters keep what was set on them as attributes and their hooks for
    gradients, and functions that were set on the module and work with its parts (``conv.forward = lambda x:
    2 * original(x)``) work with those of the copy. Tensors are usual ones also where inference mode is on. What
    ``torch.compile`` wraps takes the place of the wrapper, so that running the copy compiles nothing.

    Raises
    ------
    TypeError
        If ``module`` is not an ``nn.Module``.
    ValueError
        If a part of it cannot be copied, such as a lock or an open file, or the copy shares a part with it; or inside
        of ``with torch.device("meta")``.
    """
    check_module("module", module)
    if torch.empty(0).is_meta:
        raise ValueError(
            "module: expected new tensors to hold numbers, got the meta device as torch's default; call this outside "
            'of with torch.device("meta")'
        )
    # torch refuses to copy tensors with a gradient history; hooks compute these results anew in the next forward pass
    tensors = [value for value in _held_by(module) if isinstance(value, torch.Tensor)]
    kept = [value for value in tensors if not value.is_leaf or value.layout in COMPRESSED]
    known: dict[int, Any] = {id(value): value.detach().clone() for value in kept}
    gradients = torch.is_grad_enabled()  # leaving inference mode switches them on, and torch.jit clones with a history
    with torch.inference_mode(mode=False), torch.set_grad_enabled(gradients):
        try:
            copied = copy.deepcopy(module, known)
            for part, copied_part in zip(module.modules(), copied.modules(), strict=False):
                if isinstance(part, _wrapper_type()):  # its copying leaves out its own hooks
                    hooks = {name: value for name, value in vars(part).items() if "hooks" in name}
                    vars(copied_part).update(copy.deepcopy(hooks, known))
            tensors += [*module.parameters(), *module.buffers()]
            for tensor in {id(tensor): tensor for tensor in tensors}.values():
                _dress(known.get(id(tensor)), tensor, known)
        except Exception as error:  # a module may hold any object, and its copying may raise any error
            raise ValueError(
                f"module: expected a module that copy.deepcopy can copy, got {type(error).__name__}: {error}"
            ) from error
        _cut_off_scripted_parts(module, copied)
        _check_nothing_shared(module, copied)
        rebind(copied, known)
    return _as_written(copied, known)


def _held_by(module: nn.Module) -> Iterator[Any]:
    """Yield the buffers of a module, and what its attributes hold, also in containers, objects and modules in them."""
    own = set(module.modules())
    pending = [value for part in module.modules() for value in (*vars(part).values(), *part.buffers(recurse=False))]
    seen: dict[int, Any] = {}  # holds the objects, so that no id is used again
    while pending and len(seen) < MAX_OBJECTS:
        value = pending.pop()
        if id(value) in seen or isinstance(value, NOTHING_WITHIN):
            continue
        seen[id(value)] = value
        yield value
        if issubclass(type(value), (dict, list, tuple, set, deque)):
            entries = entries_of(value)
            pending += entries.values() if isinstance(entries, dict) else entries
        elif not isinstance(value, torch.Tensor) and not (isinstance(value, nn.Module) and value in own):
            pending += getattr(value, "__dict__", {}).values()


def _dress(copied: torch.Tensor | None, tensor: torch.Tensor, copies: dict[int, Any]) -> None:
    """Give the copy of a tensor, if there is one, its attributes and its hooks for gradients, which torch leaves out.

    Hooks that run after a gradient was added up stay with the tensor: they take steps of its optimiser.
    """
    if copied is None:
        return
    for name, value in vars(tensor).items():
        if name not in vars(copied):
            vars(copied)[name] = copy.deepcopy(value, copies)
    if copied.requires_grad:
        for hook in dict(tensor._backward_hooks or {}).values():
            copied.register_hook(rebound(copy.deepcopy(hook, copies), copies))


def _cut_off_scripted_parts(module: nn.Module, copied: nn.Module) -> None:
    """Make the parameters of scripted modules in a copy leaves, in place: torch.jit lets their gradients flow back."""
    for part, copied_part in zip(module.modules(), copied.modules(), strict=False):
        if isinstance(copied_part, torch.jit.ScriptModule):
            for given, parameter in zip(part.parameters(), copied_part.parameters(), strict=True):
                parameter.detach_().requires_grad_(given.requires_grad)


def _check_nothing_shared(module: nn.Module, copied: nn.Module) -> None:
    """Refuse a copy that has a part in common with its module, because changing the copy would change the module.

    Raises
    ------
    ValueError
        If a ``__deepcopy__`` returns its object, or gives the copy its own parameters.
    """
    originals = {id(part) for _, part in _parts_of(module)}
    shared = next(((name, part) for name, part in _parts_of(copied) if id(part) in originals), None)
    if shared is not None:
        name, part = shared
        raise ValueError(
            f"module: expected a module that copy.deepcopy copies as a whole, got {name or 'one'}: "
            f"{type(part).__name__}, which the copy shares with the module because of a __deepcopy__ method"
        )


def _parts_of(module: nn.Module) -> list[tuple[str, Any]]:
    """Return the modules, parameters and buffers in a module, with their names."""
    return [*module.named_modules(), *module.named_parameters(), *module.named_buffers()]


def _as_written(module: nn.Module, copies: dict[int, Any]) -> nn.Module:
    """Return a copied module without ``torch.compile``, given the copies of all objects by the ids of these."""
    for part in module.modules():
        for name, value in vars(part).items():  # module.forward = torch.compile(module.forward)
            written = getattr(value, "_torchdynamo_orig_callable", None)
            if isinstance(written, MethodType) and id(written.__self__) in copies:
                vars(part)[name] = MethodType(written.__func__, copies[id(written.__self__)])
        for name, child in part._modules.items():
            part._modules[name] = _unwrapped(child)
    written_module: nn.Module = _unwrapped(module)
    return written_module


def _unwrapped(module: Any) -> Any:
    """Return the module that ``torch.compile`` wraps, unless the wrapper has hooks of its own."""
    while isinstance(module, _wrapper_type()) and not any(v for name, v in vars(module).items() if "hooks" in name):
        module = module._orig_mod
    return module


def _wrapper_type() -> Any:
    """Return the type of what ``torch.compile`` makes from a module, or no type before the first compilation."""
    return getattr(sys.modules.get("torch._dynamo"), "OptimizedModule", ())
