"""The modules of the table, and what takes their places."""

from typing import Any, cast

import torch
from torch import nn

from gpu.models.linearizing.examination import Examination
from gpu.models.linearizing.functions import POOL_OPTIONS, axes
from gpu.models.linearizing.recording import NO_AVERAGE, Record
from gpu.models.linearizing.report import Kept, Linearized
from gpu.models.nonlinearities import BY_MODULE

MIXED = "it is applied to values that depend on the input and to values that do not; use two modules"
PATCHED = "it has a forward of its own, which may compute something else than its class"


class CopyingIdentity(nn.Identity):
    """The identity with a result of its own, which is written into later, or has no history where gradients are off."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's name
        """Return a copy of the input."""
        return input.clone()

    def _get_name(self) -> str:
        return "Identity"


def swap_modules(done: Linearized, found: Examination) -> dict[str, nn.Module]:
    """Replace the modules of the table, in place, and return those that were replaced, by their paths."""
    stand_ins: dict[nn.Module, nn.Module] = {}
    swapped: dict[str, nn.Module] = {}
    for path, part in done.model.named_modules():
        record = found.records.get((path, ()))
        if type(part) not in BY_MODULE or (record is not None and not record.on_data):
            continue
        stand_in = _stand_in(part, record)
        reason = "" if record is None else record.stays or MIXED * record.on_constants
        reason = reason or NO_AVERAGE * (stand_in is None) or PATCHED * _has_own_forward(part)
        if stand_in is None or reason:
            done.kept.append(Kept(path, type(part).__name__, "", reason))
            continue
        stand_ins[part], swapped[path] = stand_in, part
        done.replaced.add((path, ""))
        _take_over(stand_in, part)
        done.changes.append(f"{path or 'the model'}: {type(part).__name__} -> {stand_in._get_name()}")
    for part in list(done.model.modules()):
        for name, child in part._modules.items():
            if child in stand_ins:
                part._modules[name] = stand_ins[child]
                if "activation_relu_or_gelu" in vars(part):  # a transformer layer's fused kernel has its own activation
                    part.activation_relu_or_gelu = cast(Any, 0)
    done.model = stand_ins.get(done.model, done.model)
    return swapped


def _has_own_forward(part: nn.Module) -> bool:
    """Return whether a forward is set on a module itself, and is not the one of its class."""
    own = vars(part).get("forward")
    return own is not None and getattr(own, "__func__", own) is not type(part).forward


def _take_over(stand_in: nn.Module, part: nn.Module) -> None:
    """Give a stand-in all that a module holds (parameters, mode, hooks, what a forward or its user has noted on it)."""
    general = vars(nn.Module()).keys()
    own = vars(stand_in).keys() - general | {"forward", "_compiled_call_impl"}
    vars(stand_in).update({name: value for name, value in vars(part).items() if name not in own})


def _stand_in(part: nn.Module, record: Record | None) -> nn.Module | None:
    """Return the module that replaces a module of the table, or None if there is none."""
    given, kind = cast(Any, part), cast(Any, BY_MODULE[type(part)].linear_module)
    if getattr(given, "return_indices", False) or set(axes(getattr(given, "dilation", 1))) != {1}:
        return None
    if kind is nn.Identity and record is not None and (record.is_overwritten or record.is_without_gradients):
        return CopyingIdentity()
    stand_in: nn.Module = kind(*(getattr(given, name) for name in POOL_OPTIONS if hasattr(given, name)))
    return stand_in
