"""Where a function is called: in the forward of which module, at which line, and whether that can be followed."""

import dis
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"
MODULES_FOLDER = f"{TORCH_FOLDER}nn{os.sep}modules{os.sep}"
MODULE_FILE = f"{MODULES_FOLDER}module.py"
OWN_FOLDER = f"{Path(__file__).parent}{os.sep}"

OBSTACLES = {
    f"{TORCH_FOLDER}{file.replace('/', os.sep)}": reason
    for file, reason in {
        "utils/checkpoint.py": "torch.utils.checkpoint runs it again in the backward pass, outside of the forward",
        "_dynamo/eval_frame.py": "torch.compile wraps the function that it is in",
    }.items()
}
"""Files of torch whose frames between a forward and a call say that the call cannot be followed, and why."""

GENERATED = "<eval_with_key>"
"""Start of the file names of code that torch.fx has generated from a graph; a number follows."""

PRECALL = dis.opmap.get("PRECALL")
"""Instruction of Python 3.11 before a call; when the code is warm, it makes the call itself if the function is in C."""

FUNCTION = "it is in a torch.autograd.Function, whose backward would not fit any more"
HOOK = "it is called by a hook, or by a forward that is an attribute of its module"

Site = tuple[tuple[str, str, int, int], ...]
"""A place in code: file, function, its first line and the instruction, of each of the user's frames up to a forward."""


@dataclass(frozen=True)
class Call:
    """The place of a call of a function.

    Attributes
    ----------
    owner : nn.Module, optional
        The innermost module in whose forward it is; None if there is none.
    site : Site
        The place in the code, from the call to the forward of the owner.
    obstacle : str
        Why the call cannot be followed; empty if it can.
    lines : list of (str, str, int)
        The function, the file and the line of each of the user's frames, the innermost first.
    """

    owner: nn.Module | None
    site: Site
    obstacle: str
    lines: list[tuple[str, str, int]]

    @property
    def line(self) -> str:
        """Return the line and the file in words; empty if the call is in torch's own code."""
        return next((_in_words(file, line) for _, file, line in self.lines), "")

    @property
    def line_of_forward(self) -> str:
        """Return the line of the innermost function named forward from which the call is reached, in words."""
        return next((_in_words(file, line) for name, file, line in self.lines if name == "forward"), "")


def _in_words(file: str, line: int) -> str:
    return f"line {line} of {Path(file).name}"


def is_of_torch(kind: type) -> bool:
    """Return whether a class of modules is torch's own, with a forward in its files."""
    if not kind.__module__.startswith("torch."):
        return False
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    return code is None or code.co_filename.startswith(TORCH_FOLDER)  # fx.GraphModule has a generated forward


@functools.lru_cache(maxsize=4096)
def _is_of_function(code: CodeType) -> bool:
    """Return whether code is the forward of a `torch.autograd.Function`, which leaves no other frame."""
    pending: list[Any] = [torch.autograd.Function]
    while pending:
        kind = pending.pop()
        forward = vars(kind).get("forward")
        if getattr(getattr(forward, "__func__", forward), "__code__", None) is code:
            return True
        pending += kind.__subclasses__()
    return False


@functools.lru_cache(maxsize=4096)
def _instruction(code: CodeType, position: int) -> int:
    """Return the position of the instruction that makes a call, the same however often the code has run."""
    if code.co_code[position] != PRECALL:
        return position
    return next(i.offset for i in dis.get_instructions(code) if i.offset > position and i.opname == "CALL")


@functools.lru_cache(maxsize=4096)
def _file_of(code: CodeType) -> str:
    """Return the file of code, or a hash of the code if torch.fx generated it, which names each copy differently."""
    if not code.co_filename.startswith(GENERATED):
        return code.co_filename
    return f"{GENERATED} {hashlib.sha256(code.co_code + repr(code.co_names).encode()).hexdigest()}"


def followed_forward(module: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Run the forward of a module; `call_from` looks for the frame of this function."""
    return forward(module, *args, **kwargs)


def call_from(frame: FrameType | None) -> Call:
    """Return the place of the call that a frame makes."""
    site: list[tuple[str, str, int, int]] = []
    lines: list[tuple[str, str, int]] = []
    obstacle = inner = ""
    last = ("", "", 0, 0)
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if code is followed_forward.__code__:
            # a class that inherits its forward from torch has no other frame than that
            return Call(frame.f_locals["module"], tuple(site) or (last,), obstacle, lines)
        if code is nn.Module._call_impl.__code__:
            owner = frame.f_locals["self"]
            of_torch = is_of_torch(type(owner)) and inner.startswith(TORCH_FOLDER)
            return Call(owner, (), obstacle or HOOK * (not of_torch), lines)
        if code.co_name == "forward" and file.startswith(MODULES_FOLDER):
            owner = frame.f_locals.get("self")
            if is_of_torch(type(owner)):  # called without its hooks: module.forward(x)
                return Call(owner, (), obstacle, lines)
        if code.co_name == "__torch_function__":  # a mode or a class of tensors hands on a call that is made elsewhere
            site.clear()
            lines.clear()
            inner, frame = "", frame.f_back
            continue
        if not file.startswith((TORCH_FOLDER, OWN_FOLDER)):
            lines.append((code.co_name, file, frame.f_lineno))
            site.append((_file_of(code), code.co_name, code.co_firstlineno, _instruction(code, frame.f_lasti)))
        last = (file, code.co_name, code.co_firstlineno, frame.f_lasti)
        obstacle = obstacle or OBSTACLES.get(file, FUNCTION if _is_of_function(code) else "")
        inner = inner if file == MODULE_FILE else file
        frame = frame.f_back
    return Call(None, (), obstacle or "no module calls it in this thread", lines)
