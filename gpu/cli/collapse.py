"""``linalg-cnn collapse``: a network, given by its import path and a file of weights, becomes one map."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu.cli.arguments import add_network, add_progress, float_list, json_object, yes_or_no
from gpu.settings import CollapseSettings

PRICE = (
    "Collapsing is for networks that were trained without nonlinearities. --linearize takes them out of a trained "
    "network, which then computes something else: a CNN with 94.8 % of held-out digits right had 65.2 % after it, and "
    "90.7 % after it was trained on, where a perceptron has 89.3 % (docs/collapse.md). --held-out measures yours."
)


def add_collapse(commands: Any) -> None:
    """Add ``collapse`` to the parser of all commands."""
    parser = commands.add_parser(
        "collapse",
        help="turn a trained network into one affine map, with a report",
        description=PRICE,
    )
    parser.set_defaults(command=collapse_command)
    add_network(parser)
    parser.add_argument(
        "--linearize",
        action="store_true",
        help="first drop the activations and replace max pooling by average pooling, which costs most of the accuracy "
        "of a network that is not trained again",
    )
    parser.add_argument(
        "--factored",
        type=yes_or_no,
        default="auto",
        metavar="auto|yes|no",
        help="whether to keep the map as two factors",
    )
    parser.add_argument("--mean", type=float_list, help="mean that is subtracted from pixels in [0, 1], per channel")
    parser.add_argument(
        "--std", type=float_list, help="standard deviation that the pixels are then divided by, per channel"
    )
    parser.add_argument("--no-scaling", dest="scale", action="store_false", help="the network takes pixels 0 to 255")
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="text file with the name of a class on each line, kept in the map",
    )
    parser.add_argument(
        "--held-out",
        metavar="mnist-5k|FOLDER|MODULE:NAME",
        help="images on which to measure the accuracy before and after: mnist-5k, a folder with a subfolder of "
        "pictures for each class, or a class or function that makes a torch Dataset, e.g. "
        "torchvision.datasets:CIFAR10; the names of the classes are kept in the map",
    )
    parser.add_argument(
        "--held-out-args",
        type=json_object,
        default={},
        metavar="JSON",
        help='keyword arguments of the class or function in --held-out, e.g. \'{"root": "data", "train": false}\'',
    )
    parser.add_argument("--max-bytes", type=int, help="limit of memory; half of the machine's memory if not given")
    add_progress(parser)


def collapse_command(**options: Any) -> int:
    """Collapse a network and print the report."""
    from gpu.cli.collapse_files import run_collapse  # here: importing torch takes seconds

    settings = CollapseSettings(**options)
    collapsed, changes = run_collapse(settings)
    if settings.linearize:
        print(f"linearised: {len(changes)} changes, listed in {settings.out / 'report.json'}\n")
    if changes:
        print(f"linalg-cnn: warning: {_warning(collapsed.report.accuracy)}", file=sys.stderr)
    print(collapsed.report)
    print(f"\nin {settings.out}: collapsed.safetensors, report.json, report.html, which has all quantities")
    return 0


def _warning(accuracy: Mapping[str, Any] | None) -> str:
    """Return what ``--linearize`` cost, or how to measure it."""
    if accuracy is None:
        return (
            "--linearize makes another network, which may have lost most of its accuracy; measure it with --held-out, "
            "and train the linearised network before use"
        )
    before, after = (f"{100 * accuracy[stage]:.1f} %" for stage in ("before", "linearized"))
    return (
        f"--linearize made another network: {before} of the held-out images were right before, {after} are now; train "
        "the linearised network before use"
    )
