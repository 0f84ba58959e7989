"""``linalg-cnn bench``: its options, and what runs. Imports nothing heavy before a benchmark is chosen."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def add_bench(commands: Any) -> None:
    """Add ``bench`` and its benchmarks to the parser of all commands."""
    bench = commands.add_parser("bench", help="measure speed on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    predict = benches.add_parser("predict", help="predictions, beside other runtimes and beside reading the pixels")
    predict.set_defaults(command=predict_command)
    predict.add_argument("--picture", type=Path, help="file for a picture of the table, PNG")
    matrices = benches.add_parser("matrices", help="building the matrices, beside copying them and beside other ways")
    matrices.set_defaults(command=matrices_command)
    composing = benches.add_parser("collapse", help="composing networks, beside autograd and beside unit images")
    composing.set_defaults(command=collapse_command)
    composing.add_argument("--large", action="store_true", help="ResNet34 on 3x224x224, too: several minutes")
    training = benches.add_parser("training", help="images per second in training, beside a plain DataLoader loop")
    training.set_defaults(command=training_command)
    everything = benches.add_parser("all", help="every benchmark, with one report")
    everything.set_defaults(command=all_command)
    everything.add_argument("--out", type=Path, required=True, help="folder for records, pictures and report.md")
    for parser in (predict, matrices, composing, training):
        parser.add_argument("--out", type=Path, help="file for the record, JSON")
    for parser in (predict, composing, training, everything):
        parser.add_argument("--device", help="cpu, cuda, ...; CUDA where there is one if not given")
    for parser in (predict, matrices, composing, training, everything):
        parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
        parser.add_argument("--no-progress", dest="progress", action="store_false", help="draw no progress bar")
    comparing = benches.add_parser("compare", help="what changed between records, beyond their noise")
    comparing.set_defaults(command=compare_command)
    comparing.add_argument(
        "a", type=Path, metavar="A.json", help="a record, of one benchmark or of all, or a folder of several runs"
    )
    comparing.add_argument("b", type=Path, metavar="B.json", help="another one")


def predict_command(picture: Path | None, **options: Any) -> int:
    """Run `gpu.bench.predict`, print its tables and draw its picture."""
    return _run("predict", picture=picture, **options)


def matrices_command(**options: Any) -> int:
    """Run `gpu.bench.matrices` and print its tables."""
    return _run("matrices", **options)


def collapse_command(**options: Any) -> int:
    """Run `gpu.bench.collapse` and print its tables."""
    return _run("collapse", **options)


def training_command(**options: Any) -> int:
    """Run `gpu.bench.training` and print its table."""
    return _run("training", **options)


def all_command(out: Path, **options: Any) -> int:
    """Run every benchmark and print the report."""
    from gpu.bench.everything import bench_all, format_all

    print(format_all(bench_all(out, **options)))
    print(f"in {out}: report.md, all.json, and a record and a picture of each")
    return 0


def compare_command(a: Path, b: Path) -> int:
    """Print what changed between two records, or two folders of records."""
    from gpu.bench.compare import compare, read_runs

    print(compare(read_runs(a), read_runs(b)))
    return 0


def _run(name: str, out: Path | None, picture: Path | None = None, **options: Any) -> int:
    """Run a benchmark, write its record and picture, and print its tables.

    Raises
    ------
    ValueError
        If the folder of a file does not exist.
    """
    for option, path in (("--out", out), ("--picture", picture)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{option}: expected a file in an existing folder, got {path}")
    module = import_module(f"gpu.bench.{name}")
    measure: Callable[..., dict[str, Any]] = getattr(module, f"bench_{name}")
    record = measure(**options)
    if out is not None:
        from linalg_cnn.files import write_json

        write_json(out, record)
    if picture is not None:
        from gpu.bench.pictures import predict_figure
        from linalg_cnn.display import to_png
        from linalg_cnn.files import write_atomically

        write_atomically(picture, to_png(predict_figure(record), "Microseconds per image of each network and way"))
    print(getattr(module, f"format_{name}")(record))
    return 0
