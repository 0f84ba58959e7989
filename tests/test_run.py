"""Benchmarks and measured experiments go on from what they have kept under the same conditions, or start anew."""

import importlib.metadata
import json

import pytest

from gpu.cli.main import main
from gpu.runtime import run as module
from gpu.runtime.machine import describe_versions
from gpu.runtime.run import CPU, Run, unfinished

SETTINGS = {"runs": 3, "batch_sizes": (1, 64)}


@pytest.fixture
def keep(tmp_path):
    return unfinished(tmp_path / "bench.json")


def started(keep, settings=SETTINGS, **options):
    return Run("bench sums", settings, CPU, 2, keep, progress=False, **options)


def never():
    raise AssertionError("measured again")


def test_what_was_measured_is_not_measured_again(keep, capsys):
    first = started(keep)
    first.part("a", lambda: {64: (1.5, 2)})
    with pytest.raises(KeyboardInterrupt):
        first.part("b", stop)
    second = started(keep)
    assert "goes on, 1 of its parts are measured" in capsys.readouterr().err
    assert second.part("a", never) == {"64": [1.5, 2]}
    assert second.part("b", lambda: 7) == 7
    record = second.record(["c: why"], rows=[1])
    assert (record["continued"], record["rows"], record["left_out"]) == (["a"], [1], ["c: why"])
    assert record["settings"] == {"runs": 3, "batch_sizes": [1, 64]}
    assert record["experiment"] == "bench sums"


def stop():
    raise KeyboardInterrupt


def test_a_run_that_nothing_stopped_says_nothing(keep, capsys):
    assert "continued" not in started(keep).record([])
    assert not capsys.readouterr().err


def test_a_part_that_failed_is_tried_again(keep):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            started(keep).part("a", lambda: 1 / 0)


def test_a_third_run_has_the_parts_of_both_before(keep):
    started(keep).part("a", lambda: 1)
    started(keep).part("b", lambda: 2)  # the earlier part stays in the file, though this run did not ask for it
    third = started(keep)
    assert [third.part(name, never) for name in "ab"] == [1, 2]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": {"runs": 5}}, "settings"),
        ({"hardware": {"gpu": "another card"}}, "hardware"),
    ],
)
def test_other_conditions_start_anew_and_say_so(keep, capsys, changes, named):
    started(keep).part("a", lambda: 1)
    run = started(keep, **changes)
    assert f"measured with other {named}: the run starts anew" in capsys.readouterr().err
    assert run.part("a", lambda: 2) == 2
    assert started(keep, **changes).part("a", never) == 2


def test_other_versions_and_another_code_start_anew(keep, capsys, monkeypatch):
    started(keep).part("a", lambda: 1)
    monkeypatch.setattr(module, "describe_versions", lambda: {"python": "2.7"})
    monkeypatch.setattr(module, "digest_of_code", lambda: "another")
    assert started(keep).part("a", lambda: 2) == 2
    assert "measured with other versions, code: the run starts anew" in capsys.readouterr().err


def test_a_change_of_the_code_changes_its_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", (tmp_path,))
    seen = {module.digest_of_code()}
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("c.txt", "3")):
        (tmp_path / name).write_text(text)
        seen.add(module.digest_of_code())
    assert len(seen) == 4  # texts that are no code do not count


def test_without_a_file_nothing_is_kept(tmp_path):
    run = Run("bench sums", SETTINGS, CPU, 1, progress=False)
    assert run.part("a", lambda: 1) == 1
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_kind_is_refused_and_stays(keep):
    keep.write_text("my notes")
    with pytest.raises(ValueError, match=r"unfinished: expected an unfinished run, .*; remove the file to start"):
        started(keep)
    assert keep.read_text() == "my notes"


def test_an_infinite_time_is_refused_before_it_is_kept(keep):
    run = started(keep)
    with pytest.raises(ValueError, match="JSON"):
        run.part("a", lambda: float("inf"))
    assert not keep.exists()


def test_the_command_goes_on_and_removes_the_file_at_the_end(tmp_path, monkeypatch, capsys):
    out = tmp_path / "matrices.json"
    counted = []

    def measure(case, runs):
        counted.append(case.name)
        if len(counted) == 3:
            raise KeyboardInterrupt
        return {"matrix": case.name, "entries": 1, "seconds": 1.0, "times_copying_it": 1.0, "peak_over_result": 1.0}

    monkeypatch.setattr("gpu.bench.matrices.measure", measure)
    arguments = ["bench", "matrices", "--quick", "--no-progress", "--out", str(out)]
    main(arguments)
    assert not out.exists()
    assert len(json.loads(unfinished(out).read_text())["parts"]) == 2
    assert main(arguments) == 0
    assert counted[2] == counted[3]
    assert len(set(counted)) == len(counted) - 1, "only the part that was stopped is measured twice"
    assert [path.name for path in tmp_path.iterdir()] == ["matrices.json"]
    assert len(json.loads(out.read_text())["continued"]) == 2
    assert "goes on, 2 of its parts are measured" in capsys.readouterr().err


def test_a_checkout_that_is_not_installed_has_no_version_and_loses_nothing(monkeypatch):
    version = importlib.metadata.version

    def missing(name):
        if name == "linalg_cnn":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    versions = describe_versions()
    assert versions["linalg_cnn"] == "not installed"
    assert versions["numpy"] == version("numpy")
