"""Two runs with one folder for their results: the second is refused, and does not mix its files with theirs."""

import os
import sys
import threading

import pytest
import safetensors.torch
from torch import nn

from gpu.cli.main import main
from gpu.runtime.results import folder_locked, output_folder

pytest.importorskip("fcntl", reason="Windows has no such locks")

NETWORK = ["--model", "torch.nn:Linear", "--model-args", '{"in_features": 3, "out_features": 2}', "--in-shape", "3"]
COMMANDS = {
    "collapse": ["collapse", *NETWORK, "--no-progress"],
    "merge": ["merge", *NETWORK],
    "demo": ["demo", "--no-progress"],
    "bench all": ["bench", "all", "--quick", "--no-progress"],
}


@pytest.fixture
def given(tmp_path):
    safetensors.torch.save_file(nn.Linear(3, 2).state_dict(), tmp_path / "weights.safetensors")
    out = tmp_path / "out"
    out.mkdir()

    def of(command):
        weights = ["--weights", str(tmp_path / "weights.safetensors")] * (command in {"collapse", "merge"})
        return out, [*COMMANDS[command], *weights, "--out", str(out)]

    return of


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_another_run_has_is_refused_before_the_work(given, capsys, command):
    out, arguments = given(command)
    with folder_locked(out):
        before = sorted(out.iterdir())
        assert main(arguments) == 1
        assert sorted(out.iterdir()) == before
    assert f"error: {out}: expected a folder that no other run writes its results into, got" in capsys.readouterr().err


def test_the_folder_is_locked_until_the_last_file_and_free_for_the_next_run(given, monkeypatch):
    out, arguments = given("collapse")
    replace, refusals = os.replace, []

    def watched(source, target):
        try:
            with folder_locked(out, wait=False):
                pass
        except BlockingIOError:
            refusals.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    files = ["collapsed.safetensors", "report.html", "report.json"]
    for _ in range(2):
        refusals.clear()
        assert main(arguments) == 0
        assert sorted(refusals) == files
        assert sorted(path.name for path in out.iterdir()) == files


def test_who_has_waited_for_a_lock_that_was_removed_locks_the_folder_anew(tmp_path):
    inside = []

    def lock():
        with folder_locked(tmp_path):
            inside.append(len(inside))
            with pytest.raises(BlockingIOError, match="another run"), output_folder(tmp_path, []):
                pass

    threads = [threading.Thread(target=lock) for _ in range(8)]
    with folder_locked(tmp_path):
        for thread in threads:
            thread.start()
        assert not inside
    for thread in threads:
        thread.join(60)
    assert inside == list(range(8))
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with folder_locked(tmp_path), folder_locked(tmp_path, wait=False):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert list(tmp_path.iterdir()) == []
