"""What a user's own code makes, by its import path, such as a network; what that code raises becomes one line."""

import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

IMPORT_PATH = re.compile(r"(?P<module>\w+(?:\.\w+)*):(?P<name>\w+)")

INSTALLED = tuple({
    *(sysconfig.get_path(kind) + os.sep for kind in ("stdlib", "platstdlib", "purelib", "platlib")),
    *(str(Path(__file__).parents[2] / package) + os.sep for package in ("gpu", "linalg_cnn")),
    "<",  # code that is in no file, such as <frozen importlib._bootstrap>
})
"""Beginnings of the file names of code that is not the user's own."""

LONGEST = 200
"""Number of characters of a user's text, such as an argument or an error, that a message repeats."""


def make_model(path: str, arguments: dict[str, Any]) -> nn.Module:
    """Return the network that a class or a function of a module makes, in evaluation mode.

    Parameters
    ----------
    path : str
        Module and name, as in ``torchvision.models:resnet18``. Modules are searched where Python searches them; see
        also `current_folder_searched`.
    arguments : dict
        Keyword arguments of the class or function.

    Raises
    ------
    ValueError
        If nothing has that path, or it does not make an ``nn.Module`` from these arguments.

    Examples
    --------
    >>> make_model("torch.nn:Linear", {"in_features": 2, "out_features": 1})
    Linear(in_features=2, out_features=1, bias=True)
    """
    model = made_by("--model", path, arguments)
    if not isinstance(model, nn.Module):
        made = type(model).__name__
        raise ValueError(f"--model: expected {path} to make an nn.Module, got {made}")  # noqa: TRY004 - a bad argument
    with told_in_one_line(f"--model: expected {path} to make a network that has an evaluation mode, got "):
        model.eval()
    return model


def made_by(option: str, path: str, arguments: dict[str, Any]) -> Any:
    """Return what a class or a function of a module makes.

    Parameters
    ----------
    option : str
        Option that the path was given with, for messages; another, with ``-args`` after its name, has the arguments.
    path, arguments
        As in `make_model`.

    Raises
    ------
    ValueError
        If nothing has that path, or it raises an error.
    """
    maker = _maker(option, path)
    with told_in_one_line(f"{option}-args: expected arguments of {path}, got {shortened(repr(arguments))}: "):
        return maker(**arguments)


def _maker(option: str, path: str) -> Any:
    """Return the class or function that an import path names.

    Raises
    ------
    ValueError
        If nothing has that path, or it can make nothing.
    """
    expected = f"{option}: expected package.module:name, got {shortened(repr(path))}"
    parts = IMPORT_PATH.fullmatch(path)
    if parts is None:
        file = Path(path.rpartition(":")[0])
        help_for_files = f"; for a file, run in its folder and leave off .py: {option} {file.stem}:NAME"
        raise ValueError(expected + (help_for_files if file.suffix == ".py" else ""))
    module_name = parts["module"]
    with told_in_one_line(f"{option}: expected {module_name} to be a module that can be imported, got "):
        module = _imported(module_name)
    if module is None:
        raise ValueError(f"{expected}: neither {Path.cwd()} nor the installed packages have a module {module_name}")
    with told_in_one_line(f"{expected}: "):
        maker = getattr(module, parts["name"])
    if isinstance(maker, nn.Module) or not callable(maker):
        got = "a network that is made already" if isinstance(maker, nn.Module) else type(maker).__name__
        made = "a network" if option == "--model" else "a Dataset"
        raise ValueError(  # noqa: TRY004 - a bad argument
            f"{option}: expected {path} to be a class or a function that makes {made}, got {got}"
        )
    return maker


def _imported(name: str) -> ModuleType | None:
    """Return a module, or None if there is none of that name.

    Raises
    ------
    ModuleNotFoundError
        If the module is there, but imports another that is not.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return None
        raise


@contextmanager
def current_folder_searched() -> Iterator[None]:
    """Let Python find modules in the current folder, before all others, as ``python -m`` does; then restore its path.

    What the user's code imports later, for example in a forward, is found as long as the context lasts.
    """
    before = sys.path.copy()
    sys.path.insert(0, str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before


@contextmanager
def told_in_one_line(beginning: str, kind: type[BaseException] = BaseException) -> Iterator[None]:
    """Turn what a user's code raises into a ValueError of one line: the kind of error, its place, and its message.

    Ctrl-C passes. Code may raise anything else, ``sys.exit`` included.

    Raises
    ------
    ValueError
        If the code raises an error of that kind.
    KeyboardInterrupt
        If the user presses Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise
    except kind as error:
        place, message = _line_of(error), shortened(str(error.msg if isinstance(error, SyntaxError) else error))
        raise ValueError(
            beginning + type(error).__name__ + (f" in {place}" if place else "") + (f": {message}" if message else "")
        ) from error


def _line_of(error: BaseException) -> str:
    """Return the user's file and line at which an error was raised; empty if no code of the user's own was running."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno or 1))
    lines = [(file, line) for file, line in lines if not file.startswith(INSTALLED)]
    if not lines:
        return ""
    file, line = Path(lines[-1][0]), lines[-1][1]
    return f"{file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}, line {line}"


def shortened(text: str) -> str:
    r"""Return a text of a user's in one line of limited length.

    Examples
    --------
    >>> shortened("two\nlines"), len(shortened(1000 * "a"))
    ('two lines', 200)
    """
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
