"""Files that are devices, links, damaged, edited or made to use up the memory: written through, or one clear error."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from gpu.bench.compare import read_record
from gpu.experiments.command import run_experiment
from gpu.experiments.registry import find_experiment
from gpu.experiments.sweep import sweep
from gpu.experiments.trial_run import run_trial
from gpu.experiments.workspace import Workspace
from gpu.runtime.results import folder_locked
from gpu.settings import ExperimentSettings
from linalg_cnn import load_map
from linalg_cnn.files import read_json, write_atomically, write_json
from linalg_cnn.map_file import write_map_file

posix = pytest.mark.skipif(os.name != "posix", reason="devices, FIFOs, links and permissions are POSIX's")


@posix
def test_a_fifo_is_written_to_and_stays_a_fifo(tmp_path):
    path, received = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    write_atomically(path, b"whole")
    reader.join(timeout=10)
    assert received == [b"whole"]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["fifo"]


@posix
def test_a_device_behind_a_link_is_written_to_and_neither_is_replaced(tmp_path):
    path = tmp_path / "link"
    path.symlink_to(os.devnull)
    write_atomically(path, b"gone")
    assert path.is_symlink()
    assert stat.S_ISCHR(path.stat().st_mode)
    assert [file.name for file in tmp_path.iterdir()] == ["link"]


@posix
@pytest.mark.parametrize("exists", [True, False], ids=["to_a_file", "to_a_file_that_is_not_there_yet"])
def test_a_link_stays_and_the_file_it_points_to_is_replaced(tmp_path, exists):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    (tmp_path / "second").symlink_to("link")  # relative, and a link to a link
    write_atomically(tmp_path / "second", b"new")
    assert link.is_symlink()
    assert (tmp_path / "second").is_symlink()
    assert target.read_bytes() == b"new"
    assert [file.name for file in target.parent.iterdir()] == ["file"]


@posix
def test_links_in_a_circle_are_an_error_that_names_the_path(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="a'$"):
        write_atomically(tmp_path / "a", b"")
    assert (tmp_path / "a").is_symlink()


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_a_replaced_file_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "private"
    path.touch()
    path.chmod(mode)
    write_atomically(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


@posix
def test_a_private_file_is_never_open_to_others_while_it_is_written(tmp_path, monkeypatch):
    path, seen = tmp_path / "private", []
    path.touch()
    path.chmod(0o600)
    flush = os.fsync

    def look(descriptor):
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write_atomically(path, b"new")
    assert seen == [0o600]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_a_replaced_file_keeps_its_owner_and_group(tmp_path):
    path = tmp_path / "theirs"
    path.touch()
    os.chown(path, 1234, 2345)
    write_atomically(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@posix
def test_an_owner_that_may_not_be_kept_is_no_error(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "chown", refuse)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("name", ["a" * 255, "\N{SNOWMAN}" * 85], ids=["ascii", "three_bytes_a_letter"])
def test_the_longest_name_that_a_file_can_have_is_written(tmp_path, name):
    write_atomically(tmp_path / name, b"whole")
    assert (tmp_path / name).read_bytes() == b"whole"


@contextmanager
def full_disk():
    """Let files grow to 1,000 bytes only."""
    import resource  # here: Windows has none

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@posix
def test_a_full_disk_is_an_error_that_names_the_path_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {"epochs": 10})
    with full_disk(), pytest.raises(OSError, match=r"record\.json'$"):
        write_json(path, {"epochs": [0.5] * 1000})
    assert read_json(path) == {"epochs": 10}
    assert [file.name for file in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_device_is_an_error_that_names_the_path(tmp_path):
    path = tmp_path / "link"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device: '.*link'$"):
        write_atomically(path, b"whole")


def test_a_folder_in_the_way_or_missing_is_an_error_that_names_the_path_as_it_was_given(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing.file'$"):
        write_atomically(tmp_path / "missing" / "file", b"")
    with pytest.raises(OSError, match=f"{tmp_path.name}'$"):
        write_atomically(tmp_path, b"")


RECORD = {"experiment": "figure9", "series": [{"name": "Static t", "accuracy": 0.9375}], "complete": True}


def test_a_record_comes_back_without_its_seal(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, RECORD)
    assert read_json(path) == RECORD
    assert list(json.loads(path.read_text())) == [*RECORD, "sha256"]
    write_json(path, json.loads(path.read_text()) | {"complete": False})  # with the old seal, which is replaced
    assert read_json(path) == RECORD | {"complete": False}


def test_the_seal_holds_what_is_read_not_how_it_is_laid_out(tmp_path):
    path = tmp_path / "record.json"
    write_json(path, {1: "a name that becomes a string", "pair": (0.1, 1e300), "\N{SNOWMAN}": None})
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, sort_keys=True, ensure_ascii=False), encoding="utf-8")
    assert read_json(path) == {"1": "a name that becomes a string", "pair": [0.1, 1e300], "\N{SNOWMAN}": None}


def sealed(tmp_path, record=RECORD):
    write_json(tmp_path / "sealed", record)
    return (tmp_path / "sealed").read_text()


DAMAGED = {
    "empty": lambda text: "",
    "null": lambda text: "null",
    "a_list": lambda text: "[]",
    "an_empty_object": lambda text: "{}",
    "truncated": lambda text: text[:-20],
    "no_utf8": lambda text: b"\xff" + text.encode(),
    "changed_accuracy": lambda text: text.replace("0.9375", "0.9975"),
    "changed_seal": lambda text: text.replace('"sha256": "', '"sha256": "0'),
    "seal_of_another_kind": lambda text: '{"experiment": "figure9", "sha256": 1}',
    "removed_entry": lambda text: text.replace('"complete": true,', ""),
    "deep": lambda text: "[" * 200_000 + "]" * 200_000,
    "deep_in_an_object": lambda text: '{"experiment":' * 200_000 + "1" + "}" * 200_000,
    "a_number_of_5000_digits": lambda text: '{"experiment": ' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_record_is_one_error_that_names_the_path(tmp_path, damage):
    content = damage(sealed(tmp_path))
    path = tmp_path / "record.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"record\.json: (expected a record|the content was altered)") as info:
        read_json(path, fields={"experiment": str})
    assert len(str(info.value)) < 400 + len(str(path))


def test_every_letter_of_a_sealed_record_counts(tmp_path):
    text, path, survivors = sealed(tmp_path), tmp_path / "record.json", []
    for position in range(len(text)):
        path.write_text(text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :])
        try:
            if read_json(path) != RECORD:
                survivors.append(position)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - what counts is that nothing else is raised
    # The name of the seal itself is the rest: a record without it is read as unsealed.
    assert [text[position] for position in survivors] == list("sha256")


def test_records_of_earlier_versions_carry_no_seal_and_are_read(tmp_path, pytestconfig):
    (tmp_path / "record.json").write_text(json.dumps(RECORD))
    assert read_json(tmp_path / "record.json") == RECORD
    committed = sorted((pytestconfig.rootpath / "docs" / "records").glob("*.json"))
    assert committed
    for path in committed:
        assert read_json(path)["hardware"]


def test_a_benchmarks_record_that_was_altered_is_not_compared(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"experiment": "timing", "rows": []})
    path.write_text(path.read_text().replace("[]", "[1]"))
    with pytest.raises(ValueError, match=r"a\.json: the content was altered"):
        read_record(path)
    nested = '{"experiment": "bench all", "benchmarks": {"a":'
    path.write_text(nested * 400 + "{}" + "}}" * 400)
    with pytest.raises(ValueError, match=r"a\.json: expected a benchmark's record, got"):
        read_record(path)


DEEP = "[" * 200_000 + "]" * 200_000
ONE = {"W": np.ones((1, 1)), "B": np.ones(1)}


@pytest.mark.parametrize(("kind", "tensors"), [("AffineMap", ONE), ("FactoredMap", {"W0": ONE["W"], "B0": ONE["B"]})])
def test_deep_brackets_in_the_shapes_of_a_map_are_one_error_that_names_the_path(tmp_path, kind, tensors):
    write_map_file(tmp_path / "map", f"linalg_cnn.{kind}", tensors, {"in_shape": DEEP})
    with pytest.raises(ValueError, match="map: expected W and B of"):
        load_map(tmp_path / "map")


def test_deep_brackets_in_the_header_of_a_map_are_one_error_that_names_the_path(tmp_path):
    header = f'{{"__metadata__": {{"format": {DEEP}}}}}'.encode()
    (tmp_path / "map").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="map: expected a whole safetensors file, got"):
        load_map(tmp_path / "map")


SMALL = ExperimentSettings(
    "figure2",
    Path("out"),
    trials=1,
    epochs=1,
    subset=64,
    held_out=20,
    dataset="mnist-5k",
    progress=False,
    t=(0.25,),
    series=("3-layer CNN",),
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of an experiment with one trial, which is finished, and its record."""
    settings = replace(SMALL, out=tmp_path_factory.mktemp("experiment"))
    return settings, run_experiment(settings)


@pytest.fixture
def result(finished):
    """The file of the trial's result; it is put back after the test."""
    (path,) = finished[0].out.glob("trials/*/result.json")
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def test_results_and_records_are_sealed(finished, result):
    settings, record = finished
    for path in (result, settings.out / "figure2.json"):
        assert "sha256" in json.loads(path.read_text())
    assert read_json(settings.out / "figure2.json") == record


def without_seal(text):
    return json.dumps({name: value for name, value in json.loads(text).items() if name != "sha256"})


RESULTS = {
    "an_empty_object": lambda text: "{}",
    "null": lambda text: "null",
    "truncated": lambda text: text[: len(text) // 2],
    "changed_accuracy": lambda text: text.replace('"validation_accuracy": ', '"validation_accuracy": 1'),
    "no_epochs": lambda text: without_seal(text).replace('"epochs"', '"epoches"', 1),
    "epochs_of_numbers": lambda text: json.dumps(json.loads(without_seal(text)) | {"epochs": [1, 2]}),
    "an_epoch_left_out": lambda text: without_seal(text).replace('"epoch": 1', '"epoch": 2'),
    "deep": lambda text: "[" * 200_000,
}


@pytest.mark.parametrize("damage", RESULTS.values(), ids=RESULTS)
def test_a_damaged_result_is_one_error_that_names_the_path_and_the_remedy(finished, result, damage):
    result.write_text(damage(result.read_text()))
    with pytest.raises(ValueError, match=r"result\.json: .*; remove the file to run the trial again$"):
        run_experiment(finished[0])


def test_a_result_without_a_seal_is_read(finished, result):
    settings, record = finished
    result.write_text(without_seal(result.read_text()))
    assert run_experiment(settings) == record


def test_damaged_weights_of_a_teacher_are_one_error_that_names_the_path(tmp_path):
    (trial,) = find_experiment("figure2").plan(SMALL)["3-layer CNN"]
    workspace = Workspace(tmp_path, keep_weights=True)
    sweep([trial], workspace, progress=False)
    path = workspace.folder_of(trial) / "weights.safetensors"
    for content in (path.read_bytes()[:-10], safetensors.torch.save({"layers.0.weight": torch.ones(2)})):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.safetensors: expected the weights of .*; remove the file"):
            sweep([replace(trial, seed=1, teacher=trial)], workspace, progress=False)


def test_two_runs_of_different_series_at_the_same_time_fill_one_record(tmp_path, monkeypatch):
    """Another run begins and ends while this one runs its trial."""
    ours = replace(SMALL, out=tmp_path)
    other = replace(ours, series=("6-layer CNN",))

    def interrupted(*arguments):
        monkeypatch.setattr("gpu.experiments.command.sweep", sweep)
        run_experiment(other)
        return run_trial(*arguments)

    monkeypatch.setattr("gpu.experiments.command.sweep", partial(sweep, run=interrupted))
    monkeypatch.setattr("gpu.experiments.command.draw", lambda record: b"")
    assert [series["name"] for series in run_experiment(ours)["series"]] == ["3-layer CNN", "6-layer CNN"]
    record = read_json(tmp_path / "figure2.json")
    assert [len(series["trials"]) for series in record["series"]] == [1, 1]


def test_a_record_is_written_only_by_the_run_that_has_locked_the_folder(finished, monkeypatch):
    """Otherwise one run could read the results, and write its record after another run has written a fuller one."""
    settings, record = finished
    written = threading.Event()
    run = threading.Thread(target=lambda: (run_experiment(settings), written.set()), daemon=True)
    with folder_locked(settings.out):
        before = (settings.out / "figure2.json").stat().st_mtime_ns
        run.start()
        assert not written.wait(0.5)
        assert (settings.out / "figure2.json").stat().st_mtime_ns == before
    assert written.wait(60)
    assert read_json(settings.out / "figure2.json") == record


@posix
def test_the_lock_of_a_killed_process_does_not_block(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from gpu.runtime.results import folder_locked\n"
        "with folder_locked(Path(sys.argv[1])): print('locked', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    locked = threading.Event()

    def lock():
        with folder_locked(tmp_path):
            locked.set()

    threading.Thread(target=lock, daemon=True).start()
    assert not locked.wait(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert locked.wait(60)
