"""`export`: a module as ``torch.export`` records it, with operations that work in place rewritten."""

import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import gpu
from gpu.models.copying import copy_of
from gpu.models.linearizing.calls import TORCH_FOLDER
from gpu.tracing.known import constants_known
from gpu.tracing.not_affine import NotAffineError, Obstacle
from gpu.tracing.outputs import OutputError
from gpu.tracing.program import is_plain
from linalg_cnn.memory import check_memory
from linalg_cnn.types import Shape, size_of

OWN_FOLDER = f"{Path(gpu.__file__).parent}{os.sep}"

TALKATIVE = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch.export._trace")
"""Loggers that repeat errors which are also raised."""


def export(
    module: nn.Module, in_shape: Shape, samples: int, *, second_call: bool = False
) -> torch.export.ExportedProgram:
    """Return a module as ``torch.export`` records it.

    A copy of the module is first run on zeros. What a forward computes at its first call and keeps outside the module
    is then made of real numbers, not of the stand-ins for tensors that ``torch.export`` calls the forward with.
    Operations that work in place and regions without gradients are rewritten by ``torch.export`` itself.

    Parameters
    ----------
    module : nn.Module
        The module to record, a copy of the user's. Its forward is called, which may change it.
    in_shape : tuple of int
        Shape of one sample of its input.
    samples : int
        Number of samples in the batch.
    second_call : bool
        Whether the module itself is run on zeros, too, so that the export records its second call.

    Raises
    ------
    NotAffineError
        If the forward branches on data, or on a buffer that it changes.
    ValueError
        If the input does not fit the module, or ``torch.export`` cannot record its forward.
    OutputError
        If a hook of `gpu.tracing.outputs` refuses the output; it is a ValueError.
    MemoryError
        If the samples alone take more than half of the machine's memory; nothing has been run then.
    """
    example = example_of(module, in_shape, samples)
    fault = fault_of_a_run(copy_of(module), example)
    if second_call:
        fault = fault or fault_of_a_run(module, example)
    try:
        # Gradients are on from the start: torch cannot rewrite operations in place after a forward switches them on.
        with torch.enable_grad(), silence():
            program = _recorded(module, example)
            return program if is_plain(program.graph) else program.run_decompositions({})
    except (NotAffineError, OutputError):
        raise
    except Exception as error:  # anything that the forward raises, or one of the many errors of torch.export
        found = Fault(error, _place_in_traceback(error, module))
        if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__:
            reason = "branches on the data or on a parameter, or reads a number from them"
            raise NotAffineError([Obstacle(found.place, reason)]) from error
        raise ValueError(_explanation(fault or found, (samples, *in_shape), runs=fault is None)) from error


class Fault(NamedTuple):
    """An error that a forward raised, and the place in the user's code."""

    error: Exception
    place: str


def fault_of_a_run(module: nn.Module, example: torch.Tensor) -> Fault | None:
    """Run a module, a copy of the user's, and return the error that its forward raises, if any."""
    try:
        with torch.no_grad(), silence():
            module(example.clone())
    except Exception as error:  # a forward may raise anything
        return Fault(error, _place_in_traceback(error, module))
    return None


def _explanation(fault: Fault, shape: Shape, runs: bool) -> str:
    """Return the text of an error, for a forward that runs but cannot be recorded, or for one that does not run."""
    message = str(fault.error).strip().partition("\n")[0]
    if "fake tensor in the exported program constant" in message:
        message = "it reads or writes x.data, which torch.export does not follow; use x.detach()"
    expected = f"takes ({', '.join(map(str, shape))}) " + (
        "and that torch.export can record" if runs else "without an error"
    )
    return (
        f"module: expected a forward that {expected}, got {type(fault.error).__name__} in {fault.place}"
        + f": {message}" * bool(message)
    )


def _recorded(module: nn.Module, example: torch.Tensor) -> torch.export.ExportedProgram:
    """Return the recording of a module, in which branches on constants are decided.

    Raises
    ------
    NotAffineError
        If the forward decides by a tensor that it changes.
    """
    try:
        with constants_known(module) as found:
            program = torch.export.export(module, (example,), strict=False)
    except Exception as error:
        if type(error).__name__ != "UncapturedHigherOrderOpError":
            raise
        # torch.cond compiles its branches, and cannot while the constants are known
        return torch.export.export(module, (example,), strict=False)
    if found.unsteady:
        reason = "is changed by every call, and the forward branches on it or reads a number from it"
        raise NotAffineError([Obstacle(name, reason) for name in sorted(found.unsteady)])
    return program


def example_of(module: nn.Module, in_shape: Shape, samples: int) -> torch.Tensor:
    """Return a batch of zeros for a module.

    Raises
    ------
    MemoryError
        If it takes more than half of the machine's memory.
    """
    like = like_of(module)
    check_memory(
        f"in_shape: a batch of {samples} samples of shape {in_shape}", like.itemsize * samples * size_of(in_shape)
    )
    return like.new_zeros(samples, *in_shape)


def like_of(module: nn.Module) -> torch.Tensor:
    """Return an empty tensor with the dtype and on the device that a module computes with.

    They are those of its first real floating-point parameter, or buffer if there is none, or of the parts of its first
    complex tensor, or torch's default dtype on the CPU.

    Raises
    ------
    ValueError
        If a parameter or a buffer is on the meta device, which holds no numbers.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"module: expected parameters that hold numbers, got {name} on the meta device")
    numbers = [tensor for tensor in tensors.values() if tensor.is_floating_point() or tensor.is_complex()]
    if not numbers:
        return torch.empty(0)
    like = next((tensor for tensor in numbers if tensor.is_floating_point()), numbers[0])
    return torch.empty(0, dtype=like.dtype.to_real(), device=like.device)


class _StderrOfOthers(io.TextIOBase):
    """A stream that passes on what other threads write, and drops what this thread writes."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self.stream, self.thread = stream, threading.get_ident()

    def write(self, text: str) -> int:
        """Pass a text on unless it comes from the thread that made the stream."""
        if threading.get_ident() != self.thread:
            self.stream.write(text)
        return len(text)


@contextmanager
def silence() -> Iterator[None]:
    """Keep torch from printing why it cannot record a module: the error says so."""
    thread = threading.get_ident()
    loggers = [logging.getLogger(name) for name in TALKATIVE]

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    try:
        for logger in loggers:
            logger.addFilter(of_others)
        # before an error, torch prints the part of the graph that it has recorded
        with warnings.catch_warnings(), redirect_stderr(_StderrOfOthers(sys.stderr)):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)


def _place_in_traceback(error: BaseException, module: nn.Module) -> str:
    """Return the place at which an error was raised: the innermost module, and the line of its own code.

    Code of torch and of this project has no lines that users could look at.
    """
    names = {id(part): name for name, part in module.named_modules()}
    place = "the module"
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        owner = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
        if id(owner) not in names:
            continue
        label = f"{names[id(owner)] or 'the module'}: {type(owner).__name__}"
        if not code.co_filename.startswith((TORCH_FOLDER, OWN_FOLDER)):
            place = f"{label} ({Path(code.co_filename).name}, line {line})"
        elif code.co_name == "forward":
            place = label
    return place
