"""``linalg-cnn bench`` runs, and writes records, pictures and tables. The numbers themselves depend on the machine."""

import copy
import json
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import gpu
from gpu.bench import collapse, contenders, everything, matrices
from gpu.bench.architectures import bench_architectures
from gpu.bench.compare import compare, measurements, read_record, read_runs
from gpu.bench.contenders import fold_batch_norms, networks
from gpu.bench.matrices import kron_sum, pylops_seconds
from gpu.bench.measurements import Measured, of_timing
from gpu.bench.measuring import measured_of, time_in_turn, time_runs
from gpu.bench.memory import _glibc, kept_memory
from gpu.bench.merge import bench_merge
from gpu.bench.pictures import LABELS, predict_figure, predict_picture
from gpu.bench.predict import bench_predict, paper_number
from gpu.bench.registry import BENCHMARKS
from gpu.bench.tables import format_collapse, format_predict
from gpu.cli.main import main
from gpu.experiments.paper_numbers import TIMINGS
from gpu.runtime.onnx import in_onnxruntime
from gpu.runtime.progress import Progress
from gpu.runtime.timing import microseconds_per_image
from linalg_cnn import conv_matrix

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder that ``bench all`` writes, with one quick run of every benchmark.

    Torch as it is stands in for onnxruntime and for what `torch.compile` makes, since an export and a compilation take
    seconds; `test_onnxruntime_computes_the_same` exports, and `test_what_cannot_be_made_is_left_out_by_name` compiles.
    """
    out = tmp_path_factory.mktemp("bench") / "all"
    kept = out.parent / "unfinished"
    kept.mkdir()
    remove = Path.unlink

    def keep_a_copy(path, **options):
        if path.suffix == ".unfinished":
            shutil.copy(path, kept)
        remove(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", keep_a_copy)
        patch.setattr(contenders, "to_onnx", lambda module, in_shape: module)
        patch.setattr(contenders, "onnx_session", lambda model: model)
        patch.setattr("gpu.bench.merge.in_onnxruntime", lambda module, in_shape: module)
        patch.setattr(contenders, "Compiled", lambda module, backend: lambda batch: (module, batch))
        assert main(["bench", "all", "--quick", "--no-progress", "--device", "cpu", "--out", str(out)]) == 0
    return out


@pytest.fixture
def record(folder):
    """The record of all benchmarks, which the test may change."""
    return json.loads((folder / "all.json").read_text())


def test_bench_help_needs_no_torch():
    script = "import sys; from gpu.cli.main import build_parser; build_parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "gpu.bench.registry" in done.stdout.split()
    assert not {"torch", "matplotlib", "scipy"} & set(done.stdout.split())


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_the_command_line_offers_what_a_benchmark_declares(benchmark, capsys):
    with pytest.raises(SystemExit):
        main(["bench", benchmark.name, "--help"])
    text = capsys.readouterr().out
    declared = {"--device": benchmark.on_device, "--large": benchmark.large, "--picture": benchmark.draw}
    assert {option: option in text for option in declared} == {option: bool(has) for option, has in declared.items()}
    assert all(option in text for option in ("--out", "--quick", "--no-progress"))


def test_all_writes_a_record_and_a_picture_of_each(folder, record):
    assert list(record["benchmarks"]) == list(record["seconds"]) == list(BENCHMARKS)
    for name, part in record["benchmarks"].items():
        assert part["experiment"] == f"bench {name}"
        assert read_record(folder / f"{name}.json") == part
        with Image.open(folder / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert picture.info["Description"]


# tracing the networks of `regions` takes seconds
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sweep if name == "regions" else ()) for name in BENCHMARKS]
)
def test_a_run_that_was_stopped_after_its_last_part_measures_nothing_again(folder, record, name):
    """Times that were measured again would differ."""
    benchmark = BENCHMARKS[name]
    options = {"device": "cpu"} if benchmark.on_device else {}
    kept = folder.parent / "unfinished" / f"{name}.json.unfinished"
    again = benchmark.measure(quick=True, keep=kept, progress=False, **options)
    assert again.pop("continued") == list(json.loads(kept.read_text())["parts"])
    assert json.loads(json.dumps(again)) == record["benchmarks"][name]


def test_the_report_names_machine_versions_threads_and_what_was_left_out(folder, record):
    report = (folder / "report.md").read_text()
    hardware, versions = record["hardware"], record["versions"]
    assert f"{hardware['cores']} cores, {hardware['threads']} threads" in report
    assert hardware["processor"] in report
    assert f"torch {versions['torch']}" in report
    assert "- predict: CUDA graphs, the Triton kernel: there is no CUDA device" in report
    assert "- collapse: ResNet34 on 3x224x224" in report
    assert "the numbers say nothing about speed" in report
    assert f"Measured in {sum(record['seconds'].values()) / 60:.1f} minutes" in report
    for name in record["benchmarks"]:
        assert f"]({name}.png)" in report


def test_predict_times_every_variant_of_every_network(record):
    part = record["benchmarks"]["predict"]
    assert [reason for reason in part["left_out"] if "Error" in reason] == []
    variants = {}
    for row in part["rows"]:
        assert row["microseconds_per_image"] > 0
        variants.setdefault(row["network"], set()).add(row["variant"])
    plain = {"eager", "torch.compile", "onnxruntime"}
    folded = {"batch norm folded, eager", "batch norm folded, torch.compile"}
    collapsed = {"collapsed, nn.Linear", "collapsed, Predictor, floats", "collapsed, Predictor, bytes"}
    assert variants == {
        "3-layer CNN, linear": plain | collapsed,
        "6-layer CNN, linear": plain | collapsed,
        "ResNet10, linear": plain | folded | collapsed,
        "ResNet10, with skips": plain | folded,
        "ResNet10, skips removed": plain | folded,
        "any, linear": {"floor: reading the bytes"},
    }
    found = part["from_bytes"]
    assert found["ways"]["reading the bytes"]["times_reading"] == 1
    assert max(found["relative_error"].values()) < 1e-5  # float32 sums of 784 terms
    assert "| 3-layer CNN, linear | onnxruntime |" in format_predict(part)


def test_what_cannot_be_made_is_left_out_by_name(monkeypatch):
    def missing(module, in_shape):
        raise ModuleNotFoundError("No module named 'onnxruntime'")

    monkeypatch.setattr(contenders, "to_onnx", missing)
    monkeypatch.setattr("gpu.bench.predict.networks", lambda quick: {"3-layer CNN, linear": gpu.three_layer_cnn()})
    part = bench_predict(quick=True, device="cpu", progress=False)
    assert part["left_out"][0] == "3-layer CNN, linear, onnxruntime: ModuleNotFoundError: No module named 'onnxruntime'"
    assert {row["variant"] for row in part["rows"]} >= {"eager", "torch.compile", "collapsed, nn.Linear"}


def test_the_papers_numbers_stand_beside_the_networks_they_were_measured_on():
    assert paper_number("3-layer CNN, linear", "eager") == TIMINGS["3-layer CNN, linear", "network"]
    assert paper_number("ResNet34, skips removed", "eager") == TIMINGS["ResNet34", "skips removed"]
    assert paper_number("ResNet34, with skips", "eager") == TIMINGS["ResNet34", "with skips"]
    assert paper_number("6-layer CNN, linear", "eager") is None  # the paper's network has activations
    assert paper_number("ResNet34, linear", "onnxruntime") is None


def test_the_picture_shows_every_row(record):
    part = record["benchmarks"]["predict"]
    part["rows"][0]["paper"] = 1.0
    figure = predict_figure(part)
    assert len(figure.legends[0].get_texts()) == len(part["settings"]["batch_sizes"]) <= 4
    for axes in figure.axes:
        rows = [row for row in part["rows"] if row["network"] == axes.get_title(loc="left")]
        assert {text.get_text() for text in axes.get_yticklabels()} == {LABELS[row["variant"]] for row in rows}
        values = {x for line in axes.lines if line.get_marker() not in {"None", "|"} for x in line.get_xdata()}
        papers = {row["paper"] for row in rows if row["paper"] is not None}
        assert values >= {row["microseconds_per_image"] for row in rows} | papers
    assert part["paper_hardware"] in figure.get_supxlabel().replace("\n", " ")
    words = predict_picture(part).alt
    assert all(
        f"{row['network']}, {row['variant']}: {row['microseconds_per_image']:,.3g} at 4" in words
        for row in part["rows"]
    )


def test_a_package_that_is_not_installed_is_named_in_its_cell(monkeypatch):
    monkeypatch.setitem(sys.modules, "pylops", None)
    case = matrices.Case(
        "small", lambda: conv_matrix(np.ones((1, 1, 2)), (1, 3)), (("PyLops", pylops_seconds("padding", 1)),)
    )
    assert matrices.measure(case, runs=1)["others_left_out"] == "pylops is not installed"


def test_bench_matrices(record):
    part = record["benchmarks"]["matrices"]
    assert len(part["rows"]) >= 12
    for row in part["rows"]:
        assert row["entries"] > 0
        assert row["seconds"] > 0
        assert row["spread"] >= 0
        assert row["times_copying_it"] > 0
        assert 0.9 < row["peak_over_result"] < 30  # in small matrices the fixed cost shows
    first = part["rows"][0]["others_times_slower"]
    assert set(first) == {"sum of scipy.sparse.kron", "unit images through torch"}
    assert [round(np.log10(row["entries"])) for row in part["scaling"]] == [4, 5]


def test_bench_merge(record):
    rows = record["benchmarks"]["merge"]["rows"]
    assert [row["variant"] for row in rows] == [
        "eager",
        "batch norm folded, eager",
        "merged, eager",
        "onnxruntime",
        "merged, onnxruntime",
    ]
    assert all(row["microseconds_per_image"] > 0 for row in rows)
    assert all(row["error"] < 1e-5 for row in rows if row["forms"])
    assert "sparse matrix" not in rows[-1]["forms"]


def test_bench_merge_leaves_out_a_runtime_that_is_not_there(monkeypatch):
    def refuse(*args):
        raise ModuleNotFoundError("No module named 'onnxruntime'")

    monkeypatch.setattr("gpu.bench.merge.in_onnxruntime", refuse)
    part = bench_merge(quick=True, device="cpu", progress=False)
    assert part["left_out"] == ["1 -> 8 -> 4, stride 2: ModuleNotFoundError: No module named 'onnxruntime'"]
    assert len(part["rows"]) == 3


def test_bench_architectures(record):
    part = record["benchmarks"]["architectures"]
    assert part["left_out"] == []
    assert [row["network"] for row in part["rows"]] == ["ten 5x5 depthwise convolutions", "squeezenet1_1"]
    for row in part["rows"]:
        assert all(seconds > 0 for seconds in row["seconds"].values())
        assert row["verifying_over_bound"] > 0


def test_a_network_that_does_not_collapse_is_left_out_by_name(monkeypatch):
    def refuse(model, in_shape):
        raise ValueError("module: expected an affine network\nand more")

    monkeypatch.setattr("gpu.bench.architectures.collapse", refuse)
    part = bench_architectures(quick=True, device="cpu", progress=False)
    assert part["rows"] == []
    assert part["left_out"][1] == "squeezenet1_1: ValueError: module: expected an affine network"


def test_bench_training(record):
    rows = record["benchmarks"]["training"]["rows"]
    assert {row["network"] for row in rows} == {"ResNet34", "3-layer CNN"}
    assert all(rate > 0 for row in rows for rate in row["images_per_second"].values())


def test_bench_regions(record):
    part = record["benchmarks"]["regions"]
    assert part["local_maps"]["relative_error"] < 1e-12
    assert part["local_maps"]["difference_from_autograd"] < 1e-12
    assert set(part["local_maps"]["seconds"]) == {"local_maps", "autograd"}
    two, likely_two, inf, likely_inf = part["distances"]
    assert (two["norm"], inf["norm"]) == ("l2", "linf")
    assert (likely_two["distance"], likely_inf["distance"]) == (two["distance"], inf["distance"])
    assert 0 < inf["distance"] < two["distance"] < 8 * inf["distance"]  # of an image of 8 x 8
    assert two["walls"] == inf["walls"] > 0
    for row in (*part["segments"], *part["slices"]):
        assert row["regions"] > 1
        assert row["relative_error"] < 1e-11
    small, large = part["segments"]
    assert small["reached"] == 1
    assert (large["regions"], large["reached"] < 1) == (50, True)
    assert part["slices"][0]["areas"] == pytest.approx(1, abs=1e-9)
    sampling = part["sampling"]
    assert sampling["regions"] + sampling["missed"] == small["regions"]
    assert sampling["missed"] > 0


def test_bench_collapse_of_colour_images(tmp_path, capsys, monkeypatch, record):
    measured = record["benchmarks"]["collapse"]
    known = {"compare_ways": measured["ways"], "verdicts": measured["verdicts"], "scaling_row": measured["scaling"][0]}
    for name, part in known.items():
        monkeypatch.setattr(collapse, name, lambda *_, part=part: part)
    monkeypatch.setattr(collapse, "colour_images", partial(collapse.colour_images, depth=18, side=32, classes=30))
    seconds_per_row = collapse._seconds_per_row

    def on_a_small_device(*arguments):
        if arguments[-1] > 16:
            raise torch.OutOfMemoryError
        return seconds_per_row(*arguments)

    monkeypatch.setattr(collapse, "_seconds_per_row", on_a_small_device)
    out = tmp_path / "bench.json"
    assert main(["bench", "collapse", "--quick", "--large", "--no-progress", "--device", "cpu", "--out", str(out)]) == 0
    part = json.loads(out.read_text())
    assert {row["way"].partition(":")[0] for row in part["ways"]["rows"]} >= {
        "torch.func.jacrev",
        "floor",
        "collapse, of it tracing",
        "collapse, of it verifying",
    }
    assert part["large"]["compose_seconds"] > 0
    assert set(part["large"]["autograd_seconds_per_row"]) == {"8", "16"}
    assert part["left_out"] == []
    assert "autograd, the whole" in format_collapse(part)
    assert "| torch.func.jacrev |" in capsys.readouterr().out


def test_peak_memory_is_that_of_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: (device.type, 7))
    assert collapse.peak_memory(torch.device("cuda")) == ("cuda", 7)
    assert collapse.peak_memory(CPU) > 2**20


def test_the_textbooks_matrix_is_the_same():
    """The construction that ours is compared with builds the same matrix."""
    kernel = np.random.default_rng(0).standard_normal((3, 2, 3, 2))
    theirs = kron_sum(kernel, (2, 5, 6), 1)
    np.testing.assert_array_equal(theirs.toarray(), conv_matrix(kernel, (2, 5, 6), padding=1).toarray())


def test_folded_batch_norms_change_nothing():
    torch.manual_seed(0)
    network = gpu.resnet(18, t=0.3).eval()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    folded = fold_batch_norms(network)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    assert any(isinstance(part, nn.BatchNorm2d) for part in network.modules())  # the given network is unchanged
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-4)  # float32, 36 layers
    assert fold_batch_norms(gpu.three_layer_cnn()) is None


@pytest.mark.parametrize(("name", "atol"), [("3-layer CNN, linear", 1e-5), ("ResNet10, linear", 1e-4)])
def test_onnxruntime_computes_the_same(name, atol):
    network, batch = networks(quick=True)[name], torch.rand(3, 1, 28, 28)
    try:
        (scores,) = in_onnxruntime(network, (1, 28, 28))(batch)
    except Exception as error:
        if type(error).__name__ == "ConversionError" and "ResNet" in name:
            pytest.skip("the oldest exporter refuses ResNets")
        raise
    torch.testing.assert_close(torch.from_numpy(scores), network(batch), rtol=1e-4, atol=atol)


def test_one_bar_counts_all_benchmarks(capsys):
    bar = Progress(True, 2)
    for name, parts in (("first", 3), ("second", 5)):
        begun = Progress.of(bar, name, parts)
        assert begun is bar
        for _ in range(parts - 1):  # a benchmark may leave out a part
            begun.done()
        begun.finish()
    assert bar.bar.n == pytest.approx(2)
    drawn = capsys.readouterr().err.split("\r")[-1]
    assert "second: 100%" in drawn
    Progress.of(False, "quiet", 1).finish()
    assert not capsys.readouterr().err


def test_a_failing_benchmark_or_picture_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    def measure(*, quick, keep, progress):
        Progress.of(progress, "works", 1).finish()
        return copy.deepcopy(worked)

    def fail(*_, **__):
        raise RuntimeError("out of luck\nand more")

    worked = {"experiment": "timing", "rows": [row()], "left_out": []} | machine()
    works = BENCHMARKS["matrices"]._replace(measure=measure, show=lambda record: "shown", measurements=of_timing)
    kinds = {"fails": works._replace(measure=fail), "works": works, "undrawn": works._replace(draw=fail)}
    monkeypatch.setattr(everything, "BENCHMARKS", kinds)
    result = everything.bench_all(tmp_path, quick=True, device="cpu", progress=True)
    assert result["left_out"] == ["fails: RuntimeError: out of luck", "undrawn, its picture: RuntimeError: out of luck"]
    files = ["all.json", "report.md", "undrawn.json", "works.json", "works.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert re.findall(r"\((\w+\.png)\)|(shown)", (tmp_path / "report.md").read_text()) == [
        ("works.png", ""),
        ("", "shown"),
        ("", "shown"),
    ]
    assert "100%" in capsys.readouterr().err.split("\r")[-1]


def test_files_go_to_folders_that_exist(tmp_path, capsys):
    for option in ("--out", "--picture"):
        assert main(["bench", "predict", option, str(tmp_path / "missing" / "file")]) == 1
        assert f"{option}: expected a file in an existing folder, got" in capsys.readouterr().err


def test_predict_draws_its_picture(tmp_path, monkeypatch, record):
    monkeypatch.setattr("gpu.bench.predict.bench_predict", lambda **_: record["benchmarks"]["predict"])
    files = {option: tmp_path / name for option, name in (("--out", "a.json"), ("--picture", "a.png"))}
    assert main(["bench", "predict", *(str(part) for pair in files.items() for part in pair)]) == 0
    with Image.open(files["--picture"]) as picture:
        assert "Microseconds per image" in picture.info["Description"]
    assert read_record(files["--out"]) == record["benchmarks"]["predict"]


def machine(**changes):
    hardware = {"processor": "P", "cores": 2, "threads": 2, "device": "cpu"}
    versions = {"python": "3", "numpy": "2", "scipy": "1", "torch": "2"}
    return {"hardware": hardware | changes, "versions": versions}


def row(network="net", micros=100.0, spread=4.0):
    return {
        "network": network,
        "variant": "eager",
        "batch_size": 64,
        "microseconds_per_image": micros,
        "spread": spread,
    }


def timings(**rows):
    """Return a record of ``experiment timing`` with a row (microseconds, spread) for each name."""
    return {"experiment": "timing", "rows": [row(name, *values) for name, values in rows.items()]} | machine()


NAME = "{}, eager, batch 64, an image"
ONE_RUN_EACH = (
    "Runs: 1 of A, 1 of B. Changes under 25% are reported only with several runs of each, given as folders of records."
)


def test_compare_tells_changes_from_noise():
    a = timings(fast=(100, 4), slow=(100, 4), noisy=(100, 30), small=(100, 0.1), once=(100, 0), gone=(1, 0.1))
    b = timings(fast=(50, 4), slow=(300, 4), noisy=(140, 30), small=(124, 0.1), once=(900, 9), new=(1, 0.1))
    lines = compare([a], [b]).splitlines()
    assert lines[2] == f"| {NAME.format('slow')} | 100 us +- 2 | 300 us +- 2 | 3.00 | slower |"
    assert lines[3] == f"| {NAME.format('fast')} | 100 us +- 2 | 50 us +- 2 | 0.50 | faster |"
    assert lines[4:] == [
        "",
        "1 faster, 1 slower, 2 within the noise, 1 without a spread to judge by.",
        f"Only in A: {NAME.format('gone')}.",
        f"Only in B: {NAME.format('new')}.",
        ONE_RUN_EACH,
    ]


def test_several_runs_show_smaller_changes_than_one():
    a = [timings(small=(micros, 0.1), moving=(micros, 0.1), once=(micros, 0)) for micros in (100, 101, 102)]
    b = [timings(small=(110, 0.1), moving=(micros, 0.1), once=(150, 0)) for micros in (104, 110, 130)]
    assert "0 faster, 0 slower, 2 within the noise, 1 without" in compare(a[:1], b)
    assert compare(a, b).splitlines()[2:] == [
        f"| {NAME.format('small')} | 101 us +- 1 | 110 us +- 0.05 | 1.09 | slower |",
        "",
        "0 faster, 1 slower, 1 within the noise, 1 without a spread to judge by.",
    ]
    noisy = [timings(small=(micros, 9)) for micros in (110, 110.1, 110.2)]
    assert "0 slower" in compare(a, noisy), "the spread within the runs is noise, too"
    left_out = compare(a, [*b, timings(moving=(100, 1))])
    assert f"Only in A: {NAME.format('once')}; {NAME.format('small')}." in left_out


def test_runs_are_files_or_folders(tmp_path):
    single, several, everything_twice = tmp_path / "a.json", tmp_path / "several", tmp_path / "twice"
    several.mkdir()
    records = [timings(net=(micros, 1)) for micros in (1, 2, 3)]
    for path, record in zip([single, several / "a.json", several / "b.json"], records, strict=True):
        path.write_text(json.dumps(record))
    assert read_runs(single) == records[:1]
    assert read_runs(several) == records[1:]
    whole = {"experiment": "bench all", "benchmarks": {}} | machine()
    for name in ("1", "2"):
        (everything_twice / name).mkdir(parents=True)
        (everything_twice / name / "all.json").write_text(json.dumps(whole))
        (everything_twice / name / "predict.json").write_text(json.dumps(records[0]))
    assert read_runs(everything_twice) == [whole, whole]
    assert read_runs(everything_twice / "1") == [whole]
    (several / "c.json").write_text(json.dumps(whole))
    with pytest.raises(ValueError, match=r"c.json: expected a record of 'timing', got 'bench all'"):
        read_runs(several)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: expected records, .* got none"):
        read_runs(tmp_path / "empty")


def test_compare_names_other_conditions():
    a, b = timings(net=(1, 0.1)), timings(net=(1, 0.1)) | machine(threads=1)
    assert compare([a], [b]).splitlines() == [
        "NOTE hardware, threads: 2 in A, 1 in B",
        "",
        "0 faster, 0 slower, 1 within the noise, 0 without a spread to judge by.",
        ONE_RUN_EACH,
    ]
    assert "NOTE" not in compare([a], [a])
    assert "NOTE hardware, threads: 2 and 1 in A, 2 and 1 in B" in compare([a, b], [a, b])


def test_a_record_compared_with_itself_has_not_changed(folder, record, capsys):
    assert main(["bench", "compare", *2 * [str(folder / "all.json")]]) == 0
    assert "0 faster, 0 slower" in capsys.readouterr().out
    found = measurements(record)
    assert {name.partition(":")[0] for name in found} == set(record["benchmarks"])
    assert all(measured.seconds > 0 for measured in found.values())
    slower = copy.deepcopy(record)
    for part in slower["benchmarks"]["matrices"]["rows"]:
        part["seconds"] *= 100
    assert f"{len(record['benchmarks']['matrices']['rows'])} slower" in compare([record], [slower])


def test_committed_records_can_be_compared(pytestconfig):
    records = sorted((pytestconfig.rootpath / "docs" / "records").glob("bench_*.json"))
    assert records
    for path in records:
        assert measurements(read_record(path))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"experiment": "figure1"}', '{"experiment": "bench predict"}'])
def test_compare_refuses_files_that_hold_no_record(tmp_path, capsys, content):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert main(["bench", "compare", str(path), str(path)]) == 1
    assert f"{path}: expected a benchmark's record, got" in capsys.readouterr().err


def test_measured_is_seconds():
    (measured,) = measurements(timings(net=(100, 4))).values()
    assert measured == Measured(pytest.approx(1e-4), pytest.approx(4e-6))


MEMORY = """
import resource
from pathlib import Path

import numpy as np

from gpu.bench.memory import kept_memory


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20


before = resident()
with kept_memory() as kept:
    np.ones(200 * 2**20, dtype=np.uint8)
    inside = resident() - before
print(kept, inside, resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_is_kept_and_given_back():
    """The process keeps a large block that is freed in the context, and returns it to the system at the end."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    kept, inside, after = done.stdout.split()
    if kept == "False":
        pytest.skip("needs glibc")
    assert int(inside) >= 190
    assert int(after) <= 20


def test_without_glibc_memory_is_not_kept(monkeypatch):
    monkeypatch.setattr("gpu.bench.memory._glibc", lambda: None)
    with kept_memory() as kept:
        assert not kept


def test_a_system_without_glibc_is_recognised(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("ctypes.CDLL", missing)
    assert _glibc() is None


def test_functions_are_timed_in_turn():
    order = []
    functions = {name: lambda name=name: order.append(name) for name in "ab"}
    counted = []
    seconds = time_in_turn(functions, 2, CPU, lambda: counted.append(1))
    assert order == ["a", "b"] * 3  # one round to warm up
    assert [len(taken) for taken in seconds.values()] == [2, 2]
    assert len(counted) == 6


def test_a_single_run_is_not_warmed_up_and_has_no_spread():
    calls = []
    assert time_runs(lambda: calls.append(1), 1, CPU).spread == 0
    assert len(calls) == 1
    time_runs(lambda: calls.append(1), 3, CPU)
    assert len(calls) == 5
    assert measured_of([3.0, 1.0, 2.0]).seconds == 2


def test_a_network_is_compiled_once_for_each_batch_size_and_not_for_each_copy():
    made = []

    def backend(module, example):
        made.append(len(example[-1]))
        return module.forward

    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval().requires_grad_(False)
    compiled = contenders.Compiled(network, backend)
    places = []
    for size in (2, 2, 2, 5):
        predict, batch = compiled(torch.rand(size, 3))
        microseconds_per_image(predict, batch, min_run_time=0.0)
        places.append(network[0].weight.data_ptr())
        network[0].weight[0, 0] += 1  # the code reads the weights at their new place
        with torch.inference_mode():  # the mode in which it is compiled and timed
            torch.testing.assert_close(predict(batch), network(batch))
    assert len(made) == 2
    assert len(set(places[:3])) == 3


def test_slow_predictions_are_timed_more_than_once():
    calls = []
    measured = microseconds_per_image(lambda _: calls.append(time.sleep(0.01)), torch.zeros(2, 1), min_run_time=0.0)
    assert measured["median"] >= 5_000  # two images in 10 ms
    assert len(calls) >= 4  # one estimates how long it takes
