"""The modes that watch a run of the original operations: which activations are called where, and what they become."""

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from gpu.models.linearizing.calls import Call, Site, call_from
from gpu.models.linearizing.following import GATE, Answer, Following, memory_of, parts_of
from gpu.models.linearizing.functions import Function, function_of, replaced, tensors_in, works_in_place
from gpu.models.nonlinearities import BY_FUNCTION, BY_MODULE

NOT_A_PART = "the module that it is in does not belong to the network, which cannot replace it"
NO_AVERAGE = "average pooling has no dilation, and no indices to return"
UNSEEN = "torch.jit compiled the code that calls it, or the code switches the modes of torch off"
THREAD = "it is called in another thread"

Key = tuple[str, Site]
"""The path of a module, and a place in its forward; no place for a module of the table, which is an activation."""


@dataclass
class Record:
    """What is known of an activation or a pooling after runs of the original operations.

    Attributes
    ----------
    path : str
        Path of the module in whose forward it is called.
    function : Function
        The function that is called.
    line, line_of_forward : str
        Line and file of the call in words, and of the forward from which it is reached; empty in torch's own code.
    modes : set of bool
        Whether it was reached in training mode (True), in evaluation mode (False).
    on_data, on_constants : bool
        Whether it was called on values that depend on the input, and on values that do not.
    is_gate : bool
        Whether its result is a factor of other values that depend on the input.
    is_overwritten : bool
        Whether its argument or its result was written into afterwards.
    is_without_gradients : bool
        Whether it was called where gradients are off, as in `torch.no_grad`: its result has no history.
    obstacle : str
        Why the call cannot be followed; empty if it can.
    """

    path: str
    function: Function
    line: str = ""
    line_of_forward: str = ""
    modes: set[bool] = field(default_factory=set)
    on_data: bool = False
    on_constants: bool = False
    is_gate: bool = False
    is_overwritten: bool = False
    is_without_gradients: bool = False
    obstacle: str = ""

    @property
    def stays(self) -> str:
        """Return why the activation stays; empty if it is replaced."""
        return self.obstacle or (GATE if self.is_gate else "")

    @property
    def base_name(self) -> str:
        """Return the first name of the function in the table."""
        return self.function.name.rstrip("_")

    @property
    def replacement(self) -> str:
        """Return the name of what replaces the function."""
        linear = None if self.function.row is None else self.function.row.linear_function
        return "identity" if linear is None else linear.__name__

    @property
    def matters(self) -> bool:
        """Return whether a reader should hear of it if it stays: one of constants is affine."""
        return self.on_data or bool(self.obstacle)

    @property
    def answer(self) -> Answer:
        """Return what a forward does at its site."""
        if self.stays or not self.on_data:
            return "keep"
        return "copy" if self.is_overwritten else "pass"


class Recording(Following):
    """A mode that runs every function as it is, and records the calls of activations and what their results become.

    Parameters
    ----------
    model : nn.Module
        The network, each module of which is followed where that is possible.
    inputs : tuple
        The arguments of its forward.
    records : dict
        Records of earlier runs, which this one adds to.
    strangers : dict
        Tensors by memory that an earlier run has read, and that no function had made: constants, if they turn up again.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: tuple[Any, ...],
        records: dict[Key, Record],
        strangers: Mapping[int, torch.Tensor],
    ) -> None:
        given = {memory_of(tensor): tensor for tensor in tensors_in(inputs)}
        super().__init__(tensor for tensor in parts_of(model) if memory_of(tensor) not in given)
        self.training = model.training
        self.paths = {part: path for path, part in model.named_modules()}
        self.records, self.known_strangers = records, strangers
        self.seen, self.strangers = given, dict[int, torch.Tensor]()
        self.watched: list[tuple[Record, torch.Tensor, int]] = []
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function, and record it."""
        kwargs, function = kwargs or {}, function_of(func)
        if self.depth:  # called by `Beneath`
            return func(*args, **kwargs)
        call = None if function.row is None else call_from(sys._getframe(1))
        # asked before the call, which may work in place
        constant = call is not None and all(map(self.is_constant, tensors_in(args[:1] or (kwargs.get("input"),))))
        result = self.run(func, args, kwargs)
        self.follow(function, args, kwargs, result)
        self.seen |= {memory_of(tensor): tensor for tensor in tensors_in(result)}
        if call is not None:
            self.record(function, call, args, kwargs, result, constant)
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run a function; what it calls is its own affair."""
        self.depth += 1
        try:
            return func(*args, **kwargs)
        finally:
            self.depth -= 1

    def is_constant(self, tensor: torch.Tensor) -> bool:
        """Return whether a tensor does not depend on the input; one that no function has made is noted."""
        memory = memory_of(tensor)
        if memory in self.constants:
            return True
        if memory not in self.seen:
            self.strangers[memory] = tensor
            if memory in self.known_strangers:
                self.constants[memory] = tensor
                return True
        return False

    def marks_of(self, tensors: Iterable[torch.Tensor]) -> frozenset[Any]:
        """Return the activations whose results tensors pass on: all so far, for one that no function has made."""
        memories = [memory_of(tensor) for tensor in tensors]
        if any(memory in self.strangers and memory not in self.constants for memory in memories):
            memories = list(self.marks)
        return frozenset().union(*(self.marks[memory][1] for memory in memories if memory in self.marks))

    def record(self, function: Function, call: Call, args: Any, kwargs: Any, result: Any, constant: bool) -> None:
        """Record a call of an activation or a pooling."""
        row = function.row
        if row is None:
            return
        if replaced(function, args, kwargs, alias=True) is None:
            if row.linear_function is None or type(call.owner) in BY_MODULE:  # of integers; named as a module
                return
            call = replace(call, obstacle=call.obstacle or NO_AVERAGE)
        record, key = self.record_of(function, call)
        record.on_constants |= constant
        if constant:
            return
        record.on_data = True
        record.is_without_gradients |= not torch.is_grad_enabled()
        self.mark(result, frozenset({key}))
        if row.linear_function is None and not works_in_place(function, kwargs):
            tensors = [tensor for tensor in (*tensors_in(args[:1]), result) if not tensor.is_inference()]
            self.watched += [(record, tensor, tensor._version) for tensor in tensors]

    def record_of(self, function: Function, call: Call) -> tuple[Record, Key]:
        """Return the record of a call, a new one if it is the first at its place."""
        owner, obstacle = call.owner, call.obstacle
        path = "" if owner is None else self.paths.get(owner, "")
        site = call.site
        if owner is not None and owner not in self.paths:  # made in the forward, or in a plain list
            obstacle = obstacle or NOT_A_PART
        if not obstacle and type(owner) in BY_MODULE:
            site = ()
        elif not site:
            site = ((function.name, call.line, 0, 0),)
            obstacle = obstacle or f"{type(owner).__name__} is a module of torch, whose forward is not rewritten"
        record = self.records.setdefault(
            (path, site), Record(path, function, call.line, call.line_of_forward, obstacle=obstacle)
        )
        record.modes.add(self.training)
        return record, (path, site)

    def record_unseen(self, function: Function, call: Call, obstacle: str) -> None:
        """Record a call that did not reach this mode."""
        path = "" if call.owner is None else self.paths.get(call.owner, "")
        site: Site = ((function.name, call.line, 0, 0),)
        record = self.records.setdefault(
            (path, site), Record(path, function, call.line, call.line_of_forward, obstacle=obstacle)
        )
        record.modes.add(self.training)

    def found_gates(self, labels: frozenset[Any]) -> None:
        """Note that the results of activations are factors."""
        for label in labels:
            self.records[label].is_gate = True

    def finish(self) -> None:
        """Note which arguments and results of activations were written into after the activations."""
        for record, tensor, version in self.watched:
            record.is_overwritten |= tensor._version != version


class Beneath(TorchDispatchMode):
    """A mode that sees the operations of functions that do not show themselves to a `Recording`."""

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Answer torch that nothing is to be done for torch.compile, the import of which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and record it if no function of torch runs it."""
        function = function_of(func)
        if function.row is not None and not self.recording.depth:
            self.recording.record_unseen(function, call_from(sys._getframe(1)), UNSEEN)
        return self.recording.run(func, args, kwargs or {})


@contextmanager
def recorded(recording: Recording) -> Iterator[None]:
    """Record what is run in this context."""
    before: Any = threading.getprofile()
    threading.setprofile(_thread_profile(recording))
    try:
        with Beneath(recording), recording:
            yield
    finally:
        threading.setprofile(before)
        recording.finish()


def _thread_profile(recording: Recording) -> Callable[[FrameType, str, Any], None]:
    """Return a function that records calls of activations in threads that begin now."""

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call" or str(getattr(called, "__name__", "")).rstrip("_") not in BY_FUNCTION:
            return
        function = function_of.__wrapped__(called)  # the cache would keep the tensor of a method
        call = call_from(frame)
        if function.row is not None and call.owner is None:
            recording.record_unseen(function, call, THREAD)

    return profile
