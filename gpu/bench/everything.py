"""Every benchmark of the project, one after the other, with one report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from gpu.bench.collapse import bench_collapse, format_collapse
from gpu.bench.matrices import bench_matrices, format_matrices
from gpu.bench.measuring import in_a_line
from gpu.bench.pictures import measurements_figure, predict_figure
from gpu.bench.predict import bench_predict, format_predict
from gpu.bench.progress import Progress
from gpu.bench.training import bench_training, format_training
from gpu.runtime.devices import resolve_device
from gpu.runtime.machine import describe_hardware, describe_machine, describe_versions
from linalg_cnn.display import to_png
from linalg_cnn.files import write_atomically, write_json


class Benchmark(NamedTuple):
    """A benchmark: what measures, what shows the record as text, and as a picture."""

    title: str
    measure: Callable[..., dict[str, Any]]
    show: Callable[[dict[str, Any]], str]
    draw: Callable[[dict[str, Any]], Figure]
    on_device: bool = True


BENCHMARKS = {
    "predict": Benchmark("Predicting", bench_predict, format_predict, predict_figure),
    "collapse": Benchmark("Composing networks", bench_collapse, format_collapse, measurements_figure),
    "matrices": Benchmark("Building matrices", bench_matrices, format_matrices, measurements_figure, on_device=False),
    "training": Benchmark("Training", bench_training, format_training, measurements_figure),
}


def bench_all(out: Path, *, quick: bool = False, device: str | None = None, progress: bool = True) -> dict[str, Any]:
    """Run every benchmark, and write ``NAME.json`` and ``NAME.png`` of each, ``all.json`` and ``report.md``.

    The files of a benchmark are written as soon as it is done. A benchmark or a picture that fails is left out, and
    named in the report.

    Parameters
    ----------
    out : Path
        Folder for the results; made if it is not there.
    quick : bool
        Whether to take small sizes, to see that it runs.
    device : str, optional
        CUDA where there is one, the CPU otherwise, if not given.
    progress : bool
        Whether to draw a progress bar on standard error.
    """
    where = resolve_device(device)
    out.mkdir(parents=True, exist_ok=True)
    bar = Progress(progress, len(BENCHMARKS))
    record: dict[str, Any] = {
        "experiment": "bench all",
        "settings": {"quick": quick},
        "hardware": describe_hardware(where),
        "versions": describe_versions(),
        "benchmarks": {},
        "pictures": [],
        "left_out": [],
    }
    for name, benchmark in BENCHMARKS.items():
        options = {"device": str(where)} if benchmark.on_device else {}
        try:
            part = benchmark.measure(quick=quick, progress=bar, **options)
        except Exception as error:  # the other benchmarks are still wanted
            record["left_out"].append(f"{name}: {in_a_line(error)}")
            bar.finish()
            continue
        write_json(out / f"{name}.json", part)
        record["benchmarks"][name] = part
        record["left_out"] += [f"{name}: {reason}" for reason in part["left_out"]]
        try:
            write_atomically(out / f"{name}.png", to_png(benchmark.draw(part), benchmark.title))
        except Exception as error:  # the numbers are there, and wanted more
            record["left_out"].append(f"{name}, its picture: {in_a_line(error)}")
        else:
            record["pictures"].append(name)
    write_json(out / "all.json", record)
    write_atomically(out / "report.md", format_all(record).encode())
    return record


def format_all(record: dict[str, Any]) -> str:
    """Return the report, Markdown, with the pictures that lie beside it."""
    lines = ["# Benchmarks", "", f"{describe_machine(record)}."]
    if record["settings"]["quick"]:
        lines += ["", "Small sizes, to see that it runs: the numbers say nothing about speed."]
    for name, part in record["benchmarks"].items():
        benchmark = BENCHMARKS[name]
        lines += ["", f"## {benchmark.title}", ""]
        if name in record["pictures"]:
            lines += [f"![{benchmark.title}: all measurements]({name}.png)", ""]
        lines.append(benchmark.show(part))
    lines += ["", "## Left out", ""]
    lines += [f"- {reason}" for reason in record["left_out"]] or ["Nothing."]
    return "\n".join(lines) + "\n"
