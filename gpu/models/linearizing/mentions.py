"""Which activations the code of a module mentions, so that a branch that no run has taken is not forgotten."""

from collections.abc import Collection, Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, MethodDescriptorType
from typing import Any

from torch import nn

from gpu.models.linearizing.calls import TORCH_FOLDER
from gpu.models.linearizing.functions import function_of
from gpu.models.nonlinearities import BY_FUNCTION

FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodDescriptorType)


def mentioned(module: nn.Module) -> list[str]:
    """Return the names of the functions of the table that a forward, and what it calls by name, may call.

    Examples
    --------
    >>> class Net(nn.Module):
    ...     def forward(self, x):
    ...         return x.relu()
    >>> mentioned(Net())
    ['relu']
    """
    functions: list[Any] = [*vars(module).values()]
    for kind in getattr(type(module), "_linearize_kind", type(module)).__mro__:
        functions += vars(kind).values()
    return mentioned_in(*functions, parts=module._modules.keys())


def mentioned_in(*functions: Any, parts: Collection[str] = ()) -> list[str]:
    """Return the names of the functions of the table that functions, and what they call by name, are or may call.

    Parameters
    ----------
    *functions : callables
        What is no function is left out.
    parts : collection of str
        Names of submodules, which are no functions of the table.

    Examples
    --------
    >>> mentioned_in(nn.functional.relu, lambda x: x.tanh())
    ['relu', 'tanh']
    """
    found: dict[str, None] = {}
    pending: list[Any] = [value for value in functions if isinstance(value, FUNCTIONS)]
    seen: set[int] = set()
    while pending:
        function = pending.pop(0)
        if id(function) in seen:
            continue
        seen.add(id(function))
        row = function_of(function).row
        if row is not None:
            found[row.functions[0]] = None
        elif isinstance(function, FunctionType) and not function.__code__.co_filename.startswith(TORCH_FOLDER):
            names = set(_names(function.__code__)).difference(parts)
            found |= dict.fromkeys(BY_FUNCTION[name.rstrip("_")].functions[0] for name in names if _is_known(name))
            pending += [value for name in names if isinstance(value := function.__globals__.get(name), FUNCTIONS)]
            pending += [value for cell in function.__closure__ or () if isinstance(value := _content(cell), FUNCTIONS)]
    return sorted(found)


def _is_known(name: str) -> bool:
    return name.rstrip("_") in BY_FUNCTION


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # the cell is empty yet
        return None


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names of attributes and globals in code, and in the functions that it defines."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
