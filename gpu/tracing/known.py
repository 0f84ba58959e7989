"""Parameters, buffers and constants that a forward reads while it is recorded: they have values, the data has none."""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import _disable_current_modes

Tensor = torch.Tensor

READS = {Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.item, Tensor.tolist, Tensor.equal,
         Tensor.allclose, Tensor.is_nonzero, torch.equal, torch.allclose, torch.is_nonzero}  # fmt: skip
"""Functions that return Python numbers."""

POSITIONS = {torch.nonzero, Tensor.nonzero, torch.argwhere, Tensor.argwhere, torch.where}
"""Functions of a mask whose result has a shape that depends on it; of ``where`` only the call with one argument."""

MAKERS = {torch.tensor, torch.as_tensor, torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.eye}
"""Functions that make a tensor from numbers."""

BEHIND = {Tensor.data.__get__, Tensor.data.__set__}  # type: ignore[attr-defined]
"""Functions that give access to memory without counting what is written there."""

INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


class Known(NamedTuple):
    """What is known about a tensor of the recording.

    Attributes
    ----------
    tensor : tensor
        The tensor of the recording, without numbers; it is kept so that its id is not reused.
    value : tensor
        The same with its numbers.
    names : frozenset of str
        Names of the module's tensors that the numbers come from.
    version : int or None
        Number of times that something was written to the tensor, or to what it shares memory with, until then; None
        where torch does not count them.
    """

    tensor: torch.Tensor
    value: torch.Tensor
    names: frozenset[str]
    version: int | None


@dataclass
class Findings:
    """What a recording does with the tensors that are known, filled by the recording.

    Attributes
    ----------
    unsteady : set of str
        Names of the tensors that the forward decides by and also changes, so that the next call may decide otherwise.
    behind : bool
        Whether the forward has asked for the memory of a tensor, in which torch does not see what is read or written.
    """

    unsteady: set[str] = field(default_factory=set)
    behind: bool = False


@contextmanager
def constants_known(module: nn.Module) -> Iterator[Findings]:
    """Let the forward of a module branch on its parameters, buffers and constants while it is recorded.

    A branch is then decided as a run decides it; a mask chooses entries by their positions.

    Parameters
    ----------
    module : nn.Module
        A copy of the user's module, whose forward is wrapped in this context.

    Yields
    ------
    Findings
    """
    tensors = _tensors(module)
    values = {name: tensor.detach() for name, tensor in tensors.items()}
    found, original, own = Findings(), module.forward, "forward" in vars(module)

    @functools.wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        before = _tensors(module)
        for name in before.keys() & tensors.keys():  # what the user has set on a tensor, which its stand-in lacks
            vars(before[name]).update(vars(tensors[name]) | vars(before[name]))
        with _Knowing({name: (tensor, values[name]) for name, tensor in before.items() if name in values}) as knowing:
            result = original(*args, **kwargs)
        found.behind |= knowing.behind
        after = _tensors(module)
        found.unsteady.update(
            name for name in knowing.read if after.get(name) is not before[name] or not knowing.look_up(before[name])
        )
        return result

    if "__signature__" in vars(forward):  # that of the function behind the method, with self
        forward.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    module.forward = forward
    try:
        yield found
    finally:
        if own:
            module.forward = original
        else:
            del module.forward


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters, buffers and other tensors among the attributes of a module and its parts, by name."""
    return {
        f"{path}.{name}".lstrip("."): tensor
        for path, part in module.named_modules(remove_duplicate=False)
        for name, tensor in (*part._parameters.items(), *part._buffers.items(), *vars(part).items())
        if isinstance(tensor, torch.Tensor)
    }


class _Knowing(TorchFunctionMode):
    """Computes beside the recording what depends on known tensors only, and answers from it."""

    def __init__(self, tensors: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        super().__init__()
        self.read: set[str] = set()
        self.behind = False
        self.known: dict[int, Known] = {}
        for name, (tensor, value) in tensors.items():
            names = self.known[id(tensor)].names if id(tensor) in self.known else frozenset[str]()
            self.known[id(tensor)] = Known(tensor, value, names | {name}, _version_of(tensor))

    def look_up(self, tensor: torch.Tensor) -> Known | None:
        """Return what is known about a tensor; nothing if something was written to it since."""
        entry = self.known.get(id(tensor))
        if entry is None or entry.version is None or entry.version != _version_of(tensor):
            return None
        return entry

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one function of torch in the recording, or answer it."""
        kwargs = kwargs or {}
        if func in INDEXING:
            args = (args[0], self._by_positions(args[1]), *args[2:])
        if func in READS or (func in POSITIONS and len(args) + len(kwargs) == 1):
            found = self._computed(func, args, kwargs)
            if found is not None:
                self.read |= found[1]
                return found[0]
            return func(*args, **kwargs)
        result = func(*args, **kwargs)
        if func in BEHIND:
            self.known.clear()
            self.behind = True
        elif any(isinstance(leaf, torch.Tensor) for leaf in pytree.tree_leaves(result)):
            self._learn(result, self._computed(func, args, kwargs))
        return result

    def _computed(self, func: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, frozenset[str]] | None:
        """Return the result of a function with numbers, and the names that it comes from; None if it is not known."""
        leaves = pytree.tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        entries = [entry for entry in map(self.look_up, tensors) if entry is not None]
        if len(entries) < len(tensors) or not (tensors or func in MAKERS):
            return None
        if "empty" in func.__name__ or any(isinstance(leaf, torch.Generator) for leaf in leaves):
            return None
        numbers = pytree.tree_map_only(torch.Tensor, lambda tensor: self.known[id(tensor)].value, (args, kwargs))
        with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
            before = torch.get_rng_state()
            try:
                result = func(*numbers[0], **numbers[1])
            except Exception:  # the recording raises what there is to say
                return None
            if not torch.equal(before, torch.get_rng_state()):
                torch.set_rng_state(before)
                return None
        return result, frozenset[str]().union(*(entry.names for entry in entries))

    def _learn(self, result: Any, found: tuple[Any, frozenset[str]] | None) -> None:
        """Note the numbers of the tensors of a result."""
        if found is None:
            return
        for tensor, value in zip(pytree.tree_leaves(result), pytree.tree_leaves(found[0]), strict=False):
            if isinstance(tensor, torch.Tensor) and all(isinstance(size, int) for size in tensor.shape):
                self.known[id(tensor)] = Known(tensor, value, found[1], _version_of(tensor))

    def _by_positions(self, index: Any) -> Any:
        """Return an index in which known masks are lists of positions."""
        entries: list[Any] = []
        for entry in index if isinstance(index, tuple) else (index,):
            known = self.look_up(entry) if isinstance(entry, torch.Tensor) else None
            if known is None or known.value.dtype != torch.bool or known.value.ndim == 0:
                entries.append(entry)
            else:
                self.read |= known.names
                with _disable_current_modes(), torch._C.DisableTorchFunction():
                    entries += [positions.tolist() for positions in known.value.nonzero(as_tuple=True)]
        return tuple(entries) if isinstance(index, tuple) or len(entries) != 1 else entries[0]


def _version_of(tensor: torch.Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version
