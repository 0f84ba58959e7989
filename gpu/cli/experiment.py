"""``linalg-cnn experiment``: the paper's experiments, repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpu.cli.arguments import DefaultsShown, add_data, add_device, add_progress, float_list
from gpu.settings import ALL, EXPERIMENTS, SECTION_5, WORKER_BACKENDS, ExperimentSettings


def add_experiment(commands: Any) -> None:
    """Add ``experiment`` to the parser of all commands; its defaults are the paper's settings."""
    parser = commands.add_parser(
        "experiment",
        help="repeat an experiment of the paper, and show the paper's numbers beside the measured ones",
        formatter_class=DefaultsShown,
    )
    parser.set_defaults(command=experiment_command)
    defaults = ExperimentSettings("", Path("out"))
    names = "; ".join(f"{name}: {title}" for name, title in EXPERIMENTS.items())
    names += f"; {ALL}: {', '.join(SECTION_5)}, and how long each took"
    parser.add_argument("name", choices=[*EXPERIMENTS, ALL], help=f"the experiment. {names}")
    parser.add_argument(
        "--out", type=Path, default=defaults.out, help="folder for the trials, the record and the figure"
    )
    parser.add_argument("--trials", type=int, default=defaults.trials, help="number of times each network is trained")
    parser.add_argument(
        "--epochs", type=int, help="number of passes over the training set; 10, or 2 for figure2, if not given"
    )
    parser.add_argument("--subset", type=int, help="number of images to train on; all if not given")
    parser.add_argument("--held-out", type=int, help="number of images to validate on; all if not given")
    add_data(parser, defaults.dataset, "cifar10")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="number of images per step")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="learning rate of Adam")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default=defaults.precision,
        help="precision of the forward pass and its gradients",
    )
    parser.add_argument(
        "--stem-stride",
        type=int,
        choices=(1, 2),
        default=defaults.stem_stride,
        help="stride of the first convolution of a ResNet; 1 leaves a last feature map of 2x2 instead of 1x1",
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="seed of the first trial; each further trial adds 1"
    )
    parser.add_argument(
        "--series", action="append", default=[], metavar="NAME", help="train this network only; can be repeated"
    )
    parser.add_argument("--t", type=float_list, default=(), metavar="T,T,...", help="strengths of the skips in figure2")
    parser.add_argument("--depth", type=int, default=defaults.depth, help="depth of the ResNets in schedules")
    add_device(parser)
    parser.add_argument(
        "--workers",
        type=int,
        default=defaults.workers,
        help="number of trials that run at the same time: processes, or streams of one process on a CUDA device",
    )
    parser.add_argument("--backend", choices=WORKER_BACKENDS, default=defaults.backend, help="where the workers run")
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="address of a Dask or Ray cluster; a new one is started if not given"
    )
    add_progress(parser)


def experiment_command(series: Sequence[str], **options: Any) -> int:
    """Run an experiment and print its tables."""
    from gpu.experiments.command import run_experiment  # here: importing torch takes seconds
    from gpu.experiments.everything import format_times, run_all
    from gpu.experiments.tables import format_experiment

    settings = ExperimentSettings(series=tuple(series), **options)
    if settings.name == ALL:
        record, records = run_all(settings)
        print("\n\n".join([*map(format_experiment, records), format_times(record)]))
        print(f"\nin {settings.out}: all.json, and a record and a figure of each")
        return 0
    print(format_experiment(run_experiment(settings)))
    print(f"\nin {settings.out}: {settings.name}.json, {settings.name}.png")
    return 0
