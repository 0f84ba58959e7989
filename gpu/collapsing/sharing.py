"""Which results share memory with their argument: as in the network's own dtype, also where it is run in float64."""

import sys
from collections import Counter, defaultdict
from collections.abc import Hashable
from enum import Enum
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d}
"""Functions that check the dtypes of their arguments before any mode of dispatch sees them."""


class Relation(Enum):
    """The relation of the result of a call to the first tensor that it was given."""

    CONVERTED = "a copy in another dtype"
    SHARED = "a tensor that shares its memory"
    OTHER = "anything else"


class Recording(TorchFunctionMode):
    """Record, for every call of a torch function in the context, whether its result shares memory with its argument.

    A conversion copies if the dtype changes and returns its argument otherwise: in a float32 network ``x.double()``
    copies, and ``x.float()`` is ``x``. In float64 it is the other way round, and a later operation that works in place
    changes other tensors. `Replaying` therefore follows what the network did in its own dtype.

    Attributes
    ----------
    calls : dict
        For each place in the program, the relation of each result in order, or the dtype if the result is one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[Hashable, list[Relation | torch.dtype]] = defaultdict(list)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function and record the relation of its result to its argument."""
        result = func(*args, **(kwargs or {}))
        relation = result if isinstance(result, torch.dtype) else _relation(_first_tensor(args, kwargs), result)
        self.calls[_place(func)].append(relation)
        return result


class Replaying(TorchFunctionMode):
    """Let the results of torch functions in the context share memory as in a recorded run of the same program.

    A tensor's dtype reads as it did there, so that branches on it are the same ones. A call that was not recorded is
    left as it is.

    Parameters
    ----------
    recording : Recording
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording, self.seen = recording, Counter[Hashable]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function; copy its result, or return its argument, if the recorded run did."""
        place, kwargs = _place(func), kwargs or {}
        if func in CONVOLUTIONS:
            args, kwargs = _in_one_dtype(args, kwargs)
        result = func(*args, **kwargs)
        number, recorded = self.seen[place], self.recording.calls.get(place, ())
        self.seen[place] += 1
        if number >= len(recorded):
            return result
        known = recorded[number]
        if isinstance(known, torch.dtype):
            return known
        if known is Relation.OTHER:
            return result
        given = _first_tensor(args, kwargs)
        now = _relation(given, result)
        if known is Relation.CONVERTED and now is Relation.SHARED:
            return result.clone()
        if known is Relation.SHARED and now is Relation.OTHER and _same_layout(given, result):
            return given
        return result


def _in_one_dtype(args: Any, kwargs: Any) -> Any:
    """Return the arguments of a call with all floating-point tensors in float64, if one of them is.

    Layers that a module keeps out of its sight, as in a list, stay in their own dtype when the module becomes float64.
    """
    tensors = [leaf for leaf in (*args, *kwargs.values()) if isinstance(leaf, torch.Tensor)]
    doubles = [tensor.dtype == torch.float64 for tensor in tensors if tensor.is_floating_point()]
    if all(doubles) or not any(doubles):
        return args, kwargs
    return tree_map_only(torch.Tensor, lambda leaf: leaf.double() if leaf.is_floating_point() else leaf, (args, kwargs))


def _place(func: Any) -> Hashable:
    """Return the place of the caller's call in the program."""
    frame = sys._getframe(2)
    return frame.f_code, frame.f_lasti, func


def _first_tensor(args: Any, kwargs: Any) -> torch.Tensor | None:
    """Return the first tensor among the arguments of a call."""
    return next((arg for arg in (*args, *(kwargs or {}).values()) if isinstance(arg, torch.Tensor)), None)


def _relation(given: torch.Tensor | None, result: Any) -> Relation:
    if given is None or not isinstance(result, torch.Tensor):
        return Relation.OTHER
    if result is given or _memory(result) == _memory(given):
        return Relation.SHARED
    return Relation.CONVERTED if result.dtype != given.dtype else Relation.OTHER


def _memory(tensor: torch.Tensor) -> Any:
    """Return what identifies the memory of a tensor; the tensor itself inside `torch.func.vmap`."""
    try:
        return tensor.untyped_storage()._cdata
    except NotImplementedError:  # which torch raises for tensors inside vmap
        return id(tensor)


def _same_layout(given: Any, result: Any) -> bool:
    """Return whether a result may be a plain copy of what was given: not one in another order of memory."""
    return bool(given.shape == result.shape and given.stride() == result.stride())
