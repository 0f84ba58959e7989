"""``linalg-cnn merge``: a network, given by its import path and a file of weights, with its affine stretches merged."""

from typing import Any

from gpu.cli.arguments import add_network
from gpu.settings import MergeSettings


def add_merge(commands: Any) -> None:
    """Add ``merge`` to the parser of all commands."""
    parser = commands.add_parser("merge", help="merge the affine stretches of a trained network, with a report")
    parser.set_defaults(command=merge_command)
    add_network(parser)
    parser.add_argument(
        "--batch-size", type=int, default=64, help="batch size for which the fastest forms are chosen (default: 64)"
    )
    parser.add_argument("--onnx", action="store_true", help="write the merged network as an ONNX file, too")
    parser.add_argument(
        "--max-bytes", type=int, help="limit on the matrices of a stretch; half of the machine's memory if not given"
    )


def merge_command(**options: Any) -> int:
    """Merge a network and print the report."""
    from gpu.cli.merge_files import run_merge  # here: importing torch takes seconds

    settings = MergeSettings(**options)
    merged, files = run_merge(settings)
    print(merged.report)
    print(f"\nin {settings.out}: {', '.join(files)}")
    return 0
