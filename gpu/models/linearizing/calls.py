"""Where a function is called: in the forward of which module, at which line, and whether that can be followed."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from torch import nn

TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"
MODULES_FOLDER = f"{TORCH_FOLDER}nn{os.sep}modules{os.sep}"
OWN_FOLDER = f"{Path(__file__).parent}{os.sep}"

OBSTACLES = {
    f"{TORCH_FOLDER}{file.replace('/', os.sep)}": reason
    for file, reason in {
        "utils/checkpoint.py": "torch.utils.checkpoint runs it again in the backward pass, outside of the forward",
        "autograd/function.py": "it is in a torch.autograd.Function, whose backward would not fit any more",
        "_dynamo/eval_frame.py": "torch.compile compiles the function that it is in",
    }.items()
}
"""Files of torch whose frames between a forward and a call say that the call cannot be followed, and why."""

HOOK = "it is called by a hook, or by a forward that is an attribute of the module"

Site = tuple[tuple[str, str, int, int], ...]
"""A place in the code: file, function, its first line and instruction of each frame of the user's from a call to its forward."""


@dataclass(frozen=True)
class Call:
    """The place of a call of a function.

    Attributes
    ----------
    owner : nn.Module, optional
        The innermost module in whose forward it is; None if there is none.
    site : Site
        The place in the code, from the call to the forward of the owner.
    line : str
        The line and the file in words; empty if the call is in torch's own code.
    obstacle : str
        Why the call cannot be followed; empty if it can.
    """

    owner: nn.Module | None
    site: Site
    line: str
    obstacle: str


def is_of_torch(kind: type) -> bool:
    """Return whether a class of modules is torch's own, with a forward in its files."""
    if not kind.__module__.startswith("torch."):
        return False
    code = getattr(getattr(kind, "forward", None), "__code__", None)
    return code is None or code.co_filename.startswith(TORCH_FOLDER)  # fx.GraphModule has a generated forward


def followed_forward(module: nn.Module, kind: type, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
    """Run the forward that a module inherits from behind a class; `call_from` looks for the frame of this function."""
    return super(kind, module).forward(*args, **kwargs)  # type: ignore[misc]


def call_from(frame: FrameType | None) -> Call:
    """Return the place of the call that a frame makes."""
    site: list[tuple[str, str, int, int]] = []
    line = obstacle = ""
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if code is followed_forward.__code__:
            return Call(frame.f_locals["module"], tuple(site), line, obstacle)
        if code is nn.Module._call_impl.__code__:
            owner = frame.f_locals["self"]
            return Call(owner, (), line, obstacle or ("" if is_of_torch(type(owner)) else HOOK))
        if code.co_name == "forward" and file.startswith(MODULES_FOLDER):
            owner = frame.f_locals.get("self")
            if is_of_torch(type(owner)):  # called without its hooks: module.forward(x)
                return Call(owner, (), line, obstacle)
        if not file.startswith((TORCH_FOLDER, OWN_FOLDER)):
            line = line or f"line {frame.f_lineno} of {Path(file).name}"
            site.append((file, code.co_name, code.co_firstlineno, frame.f_lasti))
        obstacle = OBSTACLES.get(file, obstacle)
        frame = frame.f_back
    return Call(None, (), line, obstacle or "no module calls it in this thread")
