"""The benchmarks: one `Benchmark` for each, which the command line, ``bench all``, ``bench compare`` and the site read.

This module imports nothing heavy, so that ``linalg-cnn bench --help`` needs no torch.
"""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu.bench.measurements import (
    Measurements,
    Record,
    of_architectures,
    of_collapse,
    of_matrices,
    of_merge,
    of_predict,
    of_regions,
    of_training,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def imported(name: str) -> Callable[..., Any]:
    """Return a function that is imported when it is called.

    Parameters
    ----------
    name : str
        Where the function is defined, as "module:function".

    Examples
    --------
    >>> imported("math:floor")(2.5)
    2
    """
    return lambda *args, **options: resolve_name(name)(*args, **options)


class Benchmark(NamedTuple):
    """A benchmark: its texts, its options, and the functions that measure it and show its record.

    Attributes
    ----------
    name : str
        Name on the command line; the record names itself "bench NAME".
    title : str
        Heading in the report of ``bench all``.
    help : str
        Help text on the command line.
    measure : callable
        Runs the benchmark and returns its record; takes ``quick``, ``keep`` and ``progress``, and ``device`` and
        ``large`` where the benchmark has these options.
    show : callable
        Takes a record and returns it as Markdown tables.
    measurements : callable
        Takes a record and yields every measurement under its name, for ``bench compare``.
    on_device : bool
        Whether the benchmark runs on a device that ``--device`` chooses.
    large : str
        Help text of the option ``--large``; without it the benchmark does not have the option.
    draw : callable, optional
        Takes a record and returns a figure, for the option ``--picture``. Without it the benchmark does not have the
        option, and ``bench all`` draws the measurements.
    picture_text : str
        Text alternative of the file that ``--picture`` writes.
    """

    name: str
    title: str
    help: str
    measure: Callable[..., Record]
    show: Callable[[Record], str]
    measurements: Callable[[Record], Measurements]
    on_device: bool = True
    large: str = ""
    draw: "Callable[[Record], Figure] | None" = None
    picture_text: str = ""

    @property
    def experiment(self) -> str:
        """The name under which the record says what it is."""
        return f"bench {self.name}"


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "predict",
            title="Predicting",
            help="time predictions, and compare with other runtimes and with reading the pixels",
            measure=imported("gpu.bench.predict:bench_predict"),
            show=imported("gpu.bench.tables:format_predict"),
            measurements=of_predict,
            draw=imported("gpu.bench.pictures:predict_figure"),
            picture_text="Microseconds per image of each network and way",
        ),
        Benchmark(
            "collapse",
            title="Composing networks",
            help="time composing networks, and compare with autograd and with unit images",
            measure=imported("gpu.bench.collapse:bench_collapse"),
            show=imported("gpu.bench.tables:format_collapse"),
            measurements=of_collapse,
            large="measure ResNet34 on 3x224x224, too; takes several minutes",
        ),
        Benchmark(
            "architectures",
            title="Collapsing architectures",
            help="time tracing, composing and verifying networks of twelve architectures",
            measure=imported("gpu.bench.architectures:bench_architectures"),
            show=imported("gpu.bench.tables:format_architectures"),
            measurements=of_architectures,
        ),
        Benchmark(
            "merge",
            title="Merging affine stretches",
            help="time networks before and after merging, in torch and in onnxruntime",
            measure=imported("gpu.bench.merge:bench_merge"),
            show=imported("gpu.bench.tables:format_merge"),
            measurements=of_merge,
        ),
        Benchmark(
            "matrices",
            title="Building matrices",
            help="time building the matrices, and compare with copying them and with other ways",
            measure=imported("gpu.bench.matrices:bench_matrices"),
            show=imported("gpu.bench.tables:format_matrices"),
            measurements=of_matrices,
            on_device=False,
        ),
        Benchmark(
            "training",
            title="Training",
            help="time training, and compare with a plain DataLoader loop",
            measure=imported("gpu.bench.training:bench_training"),
            show=imported("gpu.bench.tables:format_training"),
            measurements=of_training,
        ),
        Benchmark(
            "regions",
            title="Regions",
            help="time local maps beside autograd, distances to walls, and the regions of segments and slices",
            measure=imported("gpu.bench.regions:bench_regions"),
            show=imported("gpu.bench.tables:format_regions"),
            measurements=of_regions,
            on_device=False,
        ),
    )
}
