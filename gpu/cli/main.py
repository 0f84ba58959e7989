"""The command line: ``linalg-cnn`` or ``python -m gpu``."""

import argparse
import importlib.metadata
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from gpu.cli.bench import add_bench
from gpu.cli.collapse import add_collapse
from gpu.cli.demo import add_demo
from gpu.cli.experiment import add_experiment
from gpu.cli.merge import add_merge
from gpu.cli.predict import add_predict


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 after an error, 130 after Ctrl-C. Wrong arguments exit with 2."""
    if sys.stderr is None:  # it was closed, and print would write errors to standard output in its place
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of the process
    arguments = vars(build_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
        with any_text_printed():
            return int(command(**arguments))
    except ModuleNotFoundError as error:
        extra = "cluster" if error.name in {"dask", "distributed", "ray"} else "demo"
        print(f"linalg-cnn: error: {error}; this command needs: pip install 'linalg_cnn[{extra}]'", file=sys.stderr)
        return 1
    except (ValueError, OSError, MemoryError, FloatingPointError, RuntimeError) as error:
        print(f"linalg-cnn: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("linalg-cnn: interrupted", file=sys.stderr)
        return 130


@contextmanager
def any_text_printed() -> Iterator[None]:
    """Let standard output escape what its encoding has not, as standard error does.

    Otherwise the name of one file that is not in UTF-8, or of one class in a terminal of ASCII, ends a command. Where
    Python was told or chose to do something else with such characters, that stays.
    """
    output = sys.stdout
    if not isinstance(output, io.TextIOWrapper) or output.errors != "strict":
        yield
        return
    output.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError, ValueError):  # what is still to be written may be for nobody
            output.reconfigure(errors="strict")


class ShowVersion(argparse.Action):
    """Print the version and exit; it is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        """Print the version."""
        print(f"linalg-cnn {importlib.metadata.version('linalg_cnn')}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="linalg-cnn",
        description="A convolutional network without nonlinearities is one matrix W and one vector B.",
    )
    parser.add_argument(
        "--version", action=ShowVersion, nargs=0, default=argparse.SUPPRESS, help="show the version and exit"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_demo, add_collapse, add_merge, add_predict, add_experiment, add_bench):
        add(commands)
    return parser
