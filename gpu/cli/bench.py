"""``linalg-cnn bench``: its options and its functions. Nothing heavy is imported before a benchmark runs."""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpu.bench.registry import BENCHMARKS, Benchmark
from gpu.cli.arguments import add_device, add_progress


def add_bench(commands: Any) -> None:
    """Add ``bench`` and its benchmarks to the parser of all commands."""
    bench = commands.add_parser("bench", help="measure speed on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    for benchmark in BENCHMARKS.values():
        parser = benches.add_parser(benchmark.name, help=benchmark.help)
        parser.set_defaults(command=partial(run_benchmark, benchmark))
        if benchmark.draw is not None:
            parser.add_argument("--picture", type=Path, help="PNG file for a picture of the table")
        if benchmark.large:
            parser.add_argument("--large", action="store_true", help=benchmark.large)
        parser.add_argument(
            "--out",
            type=Path,
            help="JSON file for the record; a run that is stopped leaves FILE.unfinished, from which the next goes on",
        )
        _add_options(parser, on_device=benchmark.on_device)
    everything = benches.add_parser("all", help="run every benchmark, and write one report")
    everything.set_defaults(command=all_command)
    everything.add_argument("--out", type=Path, required=True, help="folder for records, pictures and report.md")
    _add_options(everything, on_device=True)
    comparing = benches.add_parser("compare", help="show what changed between records beyond their noise")
    comparing.set_defaults(command=compare_command)
    comparing.add_argument(
        "a",
        type=Path,
        metavar="A.json",
        help="record of one benchmark or of bench all, or folder with the records of several runs",
    )
    comparing.add_argument("b", type=Path, metavar="B.json", help="the record or folder to compare it with")


def _add_options(parser: argparse.ArgumentParser, *, on_device: bool) -> None:
    """Add the options that every benchmark has."""
    if on_device:
        add_device(parser)
    parser.add_argument("--quick", action="store_true", help="use small sizes, to check that it runs")
    add_progress(parser)


def run_benchmark(benchmark: Benchmark, *, out: Path | None, picture: Path | None = None, **options: Any) -> int:
    """Run a benchmark, write its record and its picture, and print its tables.

    With ``out`` the benchmark keeps what it has measured so far in a file beside the record, and goes on from there if
    it was stopped; the file is removed at the end.

    Parameters
    ----------
    benchmark : Benchmark
    out, picture : Path, optional
        Files of the record and of the picture.
    **options
        Options of the benchmark: ``quick``, ``progress``, and those that it declares in the registry.

    Raises
    ------
    ValueError
        If the folder of a file does not exist, or a folder has its name, or both files are one; or if a file is there
        that is none of those that this command writes.
    OSError
        If a file cannot be read or written.
    """
    for option, path in (("--out", out), ("--picture", picture)):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"{option}: expected a file in an existing folder, got {path}")
        if path is not None and path.is_dir():  # before the work, which takes minutes
            raise ValueError(f"{option}: expected a file, got the folder {path}")
    if out is not None:
        _check_replaceable("--out", out, _is_record, "a record")
    if picture is not None:
        _check_replaceable("--picture", picture, _is_png, "a PNG file")
    if out is not None and picture is not None and out.resolve() == picture.resolve():
        raise ValueError(f"--out, --picture: expected two files, got {out} for both")
    if out is None:
        record = benchmark.measure(**options)
    else:
        from gpu.runtime.run import unfinished
        from linalg_cnn.files import write_json

        record = benchmark.measure(keep=unfinished(out), **options)
        write_json(out, record)
        unfinished(out).unlink(missing_ok=True)
    if picture is not None and benchmark.draw is not None:
        from linalg_cnn.display import to_png
        from linalg_cnn.files import write_atomically

        write_atomically(picture, to_png(benchmark.draw(record), benchmark.picture_text))
    print(benchmark.show(record))
    return 0


def _check_replaceable(option: str, path: Path, is_ours: Callable[[bytes], bool], what: str) -> None:
    """Refuse to write over a file that is not of the kind that would be written.

    Raises
    ------
    ValueError
        If there is such a file, and it is not empty.
    """
    content = path.read_bytes() if path.is_file() else b""
    if content and not is_ours(content):
        raise ValueError(f"{option}: expected a new file or {what} to replace, got {path}, which is another file")


def _is_record(content: bytes) -> bool:
    try:
        record = json.loads(content)
    except ValueError:
        return False
    return isinstance(record, dict) and "experiment" in record


def _is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG\r\n\x1a\n")


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
