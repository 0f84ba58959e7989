"""``linalg-cnn demo``: a linear CNN is trained, collapsed to one matrix, compared with it and timed."""

from pathlib import Path
from typing import Any

from gpu.cli.arguments import DefaultsShown, add_data, add_device, add_progress
from gpu.settings import DemoSettings


def add_demo(commands: Any) -> None:
    """Add ``demo`` to the parser of all commands."""
    parser = commands.add_parser(
        "demo",
        help="train a linear CNN with a skip on handwritten digits, collapse it to W x + B, compare and time both",
        formatter_class=DefaultsShown,
    )
    parser.set_defaults(command=demo_command)
    defaults = DemoSettings(Path("demo"))
    parser.add_argument("--out", type=Path, default=defaults.out, help="folder for the results")
    add_data(parser, defaults.dataset)
    parser.add_argument(
        "--channels", type=int, default=defaults.channels, help="number of channels of each convolution"
    )
    parser.add_argument("--t", type=float, default=defaults.t, help="strength of the skip, from 0 to 1")
    parser.add_argument("--epochs", type=int, default=defaults.epochs, help="number of passes over the training set")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="number of images per step")
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate, help="learning rate of Adam")
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="seed of the weights, the split and the order of the images"
    )
    add_device(parser)
    add_progress(parser)


def demo_command(**options: Any) -> int:
    """Run the demo and print its table."""
    from gpu.experiments.demo import format_report, run_demo  # here: importing torch takes seconds

    settings = DemoSettings(**options)
    print(format_report(run_demo(settings), settings.out))
    return 0
