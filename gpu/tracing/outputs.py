"""The one tensor of a module's output that is traced, where a forward returns a tuple, a dict or another container."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import nn


class OutputError(ValueError):
    """Raised for an output that is not one tensor, or has no tensor of the name or index that is asked for."""


def give_one_tensor(module: nn.Module, output: str | int | None) -> None:
    """Let a module return one tensor of its output, by a hook that runs after all others.

    Parameters
    ----------
    module : nn.Module
        A copy of the user's module.
    output : str or int, optional
        Key, field or index of the tensor; by default the only one.

    Raises
    ------
    TypeError
        If ``output`` is not a str, an int or None, or a part of the module is a ScriptModule, which cannot be recorded.
    """
    if output is not None and (not isinstance(output, (str, int)) or isinstance(output, bool)):
        raise TypeError(f"output: expected a name, an index or None, got {type(output).__name__}")
    scripted = next((name for name, part in module.named_modules() if isinstance(part, torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise TypeError(
            f"module: expected a module of Python, got a ScriptModule{f' in {scripted}' * bool(scripted)}; give the "
            "module that it was made from"
        )
    module.register_forward_hook(lambda _module, _args, result: one_tensor(result, output))


def one_tensor(result: Any, output: str | int | None = None) -> torch.Tensor:
    """Return one tensor of what a forward returned.

    Parameters
    ----------
    result : anything
        A tensor, or a tuple, list, mapping, NamedTuple or dataclass, which may contain others.
    output : str or int, optional
        Key, field or index of the tensor, or of a container of a single tensor; by default the whole result.

    Raises
    ------
    OutputError
        If there is no such entry, or it does not contain exactly one tensor.

    Examples
    --------
    >>> one_tensor({"scores": torch.ones(2), "state": None})
    tensor([1., 1.])
    >>> one_tensor((torch.zeros(2), torch.ones(2)), -1)
    tensor([1., 1.])
    >>> one_tensor((torch.zeros(2), torch.ones(2)))
    Traceback (most recent call last):
        ...
    gpu.tracing.outputs.OutputError: module: expected one tensor as output, got a tuple of 0, 1; choose with output=0
    """
    if output is None:
        chosen, wanted = result, "module: expected one tensor as output"
    else:
        chosen, wanted = _entry(result, output), f"output: expected one tensor as output {output!r}"
    tensors = list(_tensors(chosen))
    if len(tensors) != 1:
        names = [name for name, _ in _entries(chosen)] if output is None and tensors else []
        raise OutputError(
            f"{wanted}, got {_described(chosen)}" + (f"; choose with output={names[0]!r}" if names else "")
        )
    return tensors[0]


def _entry(result: Any, output: str | int) -> Any:
    """Return the entry of a container that has a name, or stands at an index.

    Raises
    ------
    OutputError
        If there is none.
    """
    entries = _entries(result)
    names = [name for name, _ in entries]
    if output in names:
        return entries[names.index(output)][1]
    if isinstance(output, int) and -len(entries) <= output < len(entries):
        return entries[output][1]
    raise OutputError(f"output: expected the name or the index of an output, got {output!r} for {_described(result)}")


def _entries(result: Any) -> list[tuple[Any, Any]]:
    """Return the names and values in a container; nothing if it is none."""
    if isinstance(result, Mapping):
        return list(result.items())
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return list(zip(result._fields, result, strict=True))
    if isinstance(result, (tuple, list)):
        return list(enumerate(result))
    if is_dataclass(result) and not isinstance(result, type):
        return [(field.name, getattr(result, field.name)) for field in fields(result)]
    return []


def _tensors(result: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in a container and in those that it contains."""
    if isinstance(result, torch.Tensor):
        yield result
    for _, value in _entries(result):
        yield from _tensors(value)


def _described(result: Any) -> str:
    if isinstance(result, torch.Tensor):
        return "a tensor"
    names = ", ".join(str(name) for name, _ in _entries(result))
    return f"a {type(result).__name__} of {names or 'nothing'}" if _is_container(result) else f"{result!r:.60}"


def _is_container(result: Any) -> bool:
    return isinstance(result, (Mapping, tuple, list)) or is_dataclass(result)
