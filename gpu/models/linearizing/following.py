"""The mode in which the forward of a linearised network runs: it answers activations, and follows what they become."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from gpu.models.linearizing.calls import Call, Site, call_from
from gpu.models.linearizing.functions import Function, function_of, replaced, tensors_in

Answer = Literal["keep", "copy", "pass"]
"""What to do at a site: run the activation, or answer with a copy of its argument, or with the argument itself."""

FACTOR = "a factor of other values that depend on the input (a gate), which is not affine with it or without it"
GATE = f"its result is {FACTOR}"

Label = Any
"""What names an activation whose result is followed."""


def memory_of(tensor: torch.Tensor) -> int:
    """Return a number that tensors share which lie in the same memory, for as long as one of them exists."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError, ValueError):  # sparse and lazy tensors and those of torch.func have none
        return id(tensor)


class Following(TorchFunctionMode):
    """A mode of torch that sees each call of a function of torch, and knows which tensors do not depend on the input.

    A tensor is a constant if it is a parameter or a buffer, or if it is computed from constants. The results of chosen
    activations are followed through the operations that pass them on, until they are factors of other values that
    depend on the input.

    Parameters
    ----------
    constants : iterable of tensors
        Parameters and buffers.
    """

    def __init__(self, constants: Iterable[torch.Tensor]) -> None:
        super().__init__()
        # by memory, with the tensors: memory that is freed may be given to others
        self.constants = {memory_of(tensor): tensor for tensor in constants}
        self.marks: dict[int, tuple[torch.Tensor, frozenset[Label]]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, or what replaces it."""
        kwargs = kwargs or {}
        function = function_of(func)
        if function.row is not None:
            return self.answer(func, function, call_from(sys._getframe(1)), args, kwargs)
        result = func(*args, **kwargs)
        self.follow(function, args, kwargs, result)
        return result

    def answer(self, func: Any, function: Function, call: Call, args: Any, kwargs: Any) -> Any:
        """Return the result of an activation or a pooling, or what replaces it."""
        kind: Any = type(call.owner)
        answers = None if getattr(kind, "_linearize_restores", True) else kind._linearize_answers
        x = next(tensors_in((args[:1], kwargs)), None)
        if answers is not None and not call.obstacle and x is not None and not self.is_constant(x):
            answer = answers.get(call.site)
            run = None if answer == "keep" else replaced(function, args, kwargs, answer == "pass")
            if run is not None:
                result = run()
                if answer is None:  # nobody has seen what it becomes
                    self.mark(result, frozenset({f"{function.name} in {call.line}"}))
                return result
        result = func(*args, **kwargs)
        self.follow(function, args, kwargs, result)
        return result

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor does not depend on the input."""
        return memory_of(tensor) in self.constants

    def mark(self, tensors: Any, labels: frozenset[Label]) -> None:
        """Note of which activations tensors pass the results on."""
        for tensor in tensors_in(tensors):
            _, before = self.marks.get(memory_of(tensor), (None, frozenset()))
            self.marks[memory_of(tensor)] = tensor, before | labels

    def marks_of(self, tensors: Iterable[torch.Tensor]) -> frozenset[Label]:
        """Return the activations whose results tensors pass on."""
        return frozenset().union(*(self.marks[memory_of(t)][1] for t in tensors if memory_of(t) in self.marks))

    def follow(self, function: Function, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        """Note what the result of a function depends on."""
        first = args[0] if args else None
        plain = not (self.marks or function.in_place or "out" in kwargs or function.reads.stop == 0)
        if plain and isinstance(first, torch.Tensor) and not self.is_constant(first):
            return  # most calls: a new value that depends on the input
        operands = list(tensors_in((args, kwargs)))
        if all(map(self.is_constant, operands[function.reads])):
            self.constants |= {memory_of(tensor): tensor for tensor in tensors_in(result)}
            return
        written = [tensor for tensor in (*args[: function.in_place], kwargs.get("out")) if tensor is not None]
        for tensor in tensors_in(written):
            self.constants.pop(memory_of(tensor), None)
        if not self.marks:
            return
        factors = [] if function.factors is None else operands[function.factors]
        varying = [factor for factor in factors if not self.is_constant(factor)]
        if function.interpolates and all(map(self.is_constant, operands[2:])):
            varying = []  # a sum with constant weights
        is_product = len(varying) > 1 or (function.multiplies_itself and bool(varying))
        if is_product:
            self.found_gates(self.marks_of(varying))
        if not function.is_layer or is_product:
            self.mark((result, written), self.marks_of(operands[function.reads]))

    def found_gates(self, labels: frozenset[Label]) -> None:
        """Refuse activations that have been replaced, and whose results are factors.

        Raises
        ------
        RuntimeError
            If there are any.
        """
        if labels:
            raise RuntimeError(
                f"{', '.join(sorted(labels))}: expected an activation that linearize can drop, got {FACTOR}; linearize "
                "the network with inputs=... that reach this line: the activation stays then"
            )


def parts_of(module: nn.Module) -> Iterable[torch.Tensor]:
    """Return the parameters, buffers and other tensors that a module and its submodules hold."""
    for part in module.modules():
        for values in (part._parameters, part._buffers, vars(part)):
            yield from (value for value in values.values() if isinstance(value, torch.Tensor))


Answers = Mapping[Site, Answer]
