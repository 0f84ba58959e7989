"""``bench all``: every benchmark in turn, with one report."""

import time
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from gpu.bench.measurements import Record
from gpu.bench.pictures import measurements_figure
from gpu.bench.registry import BENCHMARKS, Benchmark
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_machine, describe_versions
from gpu.runtime.progress import Progress
from gpu.runtime.results import output_folder
from gpu.runtime.run import unfinished
from gpu.runtime.tables import in_a_line
from linalg_cnn.display import to_png
from linalg_cnn.files import write_atomically, write_json


def bench_all(out: Path, *, quick: bool = False, device: str | None = None, progress: bool = True) -> Record:
    """Run every benchmark, and write ``NAME.json`` and ``NAME.png`` of each, ``all.json`` and ``report.md``.

    The files of a benchmark are written as soon as it has finished. A benchmark or a picture that fails is left out,
    and the report says why. A run that is stopped leaves what it has measured in ``NAME.json.unfinished``, and the
    next run with the same conditions goes on from there; these files are removed at the end, except those of
    benchmarks that failed.

    Parameters
    ----------
    out : Path
        Folder of the results; it is made if it does not exist.
    quick : bool
        Use small sizes, to check that the benchmarks run.
    device : str, optional
        Name of the device. The default is CUDA if there is a CUDA device, and the CPU otherwise.
    progress : bool
        Whether to draw a progress bar on standard error.
    """
    where = resolve_device(device)
    files = [f"{name}{suffix}" for name in BENCHMARKS for suffix in (".json", ".json.unfinished", ".png")]
    with output_folder(out, [*files, "all.json", "report.md"]):  # before the work, which takes minutes
        return _bench_all(out, where, quick=quick, progress=progress)


def _bench_all(out: Path, where: torch.device, *, quick: bool, progress: bool) -> Record:
    """Do the work of `bench_all` on a device."""
    bar = Progress(progress, len(BENCHMARKS))
    record: Record = {
        "experiment": "bench all",
        "settings": {"quick": quick},
        "hardware": describe_hardware(where),
        "versions": describe_versions(),
        "seconds": {},
        "benchmarks": {},
        "pictures": [],
        "left_out": [],
    }
    for name, benchmark in BENCHMARKS.items():
        options: dict[str, Any] = {"device": str(where)} if benchmark.on_device else {}
        options["keep"] = unfinished(out / f"{name}.json")
        start = time.perf_counter()
        try:
            part = benchmark.measure(quick=quick, progress=bar, **options)
        except Exception as error:  # the other benchmarks still run
            record["left_out"].append(f"{name}: {in_a_line(error)}")
            bar.finish()
            continue
        record["seconds"][name] = time.perf_counter() - start
        write_json(out / f"{name}.json", part)
        record["benchmarks"][name] = part
        record["left_out"] += [f"{name}: {reason}" for reason in part.get("left_out", [])]
        try:
            write_atomically(out / f"{name}.png", to_png(_figure(benchmark, part), benchmark.title))
        except Exception as error:  # the record is complete without its picture
            record["left_out"].append(f"{name}, its picture: {in_a_line(error)}")
        else:
            record["pictures"].append(name)
    write_json(out / "all.json", record)
    write_atomically(out / "report.md", format_all(record).encode())
    for name in record["benchmarks"]:
        unfinished(out / f"{name}.json").unlink(missing_ok=True)
    return record


def _figure(benchmark: Benchmark, record: Record) -> Figure:
    if benchmark.draw is not None:
        return benchmark.draw(record)
    return measurements_figure(record, dict(benchmark.measurements(record)))


def format_all(record: Record) -> str:
    """Return the report as Markdown; it shows the pictures that stand beside it."""
    took = record.get("seconds", {})  # records of earlier versions have none
    lines = ["# Benchmarks", "", f"{describe_machine(record)}."]
    if took:
        lines[-1] += (
            f" Measured in {sum(took.values()) / 60:.1f} minutes; what an earlier run had measured is not counted."
        )
    if record["settings"]["quick"]:
        lines += ["", "Small sizes, to check that the benchmarks run: the numbers say nothing about speed."]
    for name, part in record["benchmarks"].items():
        benchmark = BENCHMARKS[name]
        lines += ["", f"## {benchmark.title}", ""]
        if name in record["pictures"]:
            lines += [f"![{benchmark.title}: all measurements]({name}.png)", ""]
        lines.append(benchmark.show(part))
    lines += ["", "## Left out", ""]
    lines += [f"- {reason}" for reason in record["left_out"]] or ["Nothing."]
    return "\n".join(lines) + "\n"
