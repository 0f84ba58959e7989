"""Checkpoints are read completely or not at all, and run no code."""

import hashlib
import io
import os
import pickle

import pytest
import torch

from gpu.training.checkpoints import MAGIC, load_checkpoint, save_checkpoint


def test_a_state_comes_back(tmp_path):
    state = {"a": torch.arange(3), "b": {"c": [1, 2.5, "x", None]}, "random": torch.get_rng_state()}
    save_checkpoint(tmp_path / "state", state)
    back = load_checkpoint(tmp_path / "state", torch.device("cpu"))
    assert back["b"] == state["b"]
    assert torch.equal(back["a"], state["a"])
    assert torch.equal(back["random"], state["random"])


@pytest.mark.parametrize("position", [0, 30, 100, -1])
def test_a_flipped_bit_is_found(tmp_path, position):
    path = tmp_path / "state"
    save_checkpoint(path, {"a": torch.ones(8)})
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"state: (the content was altered: expected SHA-256|expected a checkpoint, got)"
    ):
        load_checkpoint(path)


def test_a_truncated_file_is_found(tmp_path):
    path = tmp_path / "state"
    save_checkpoint(path, {"a": torch.ones(8)})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="the content was altered"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none")


class Planted:
    def __reduce__(self):
        return os.system, ("touch planted",)


def test_planted_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    buffer = io.BytesIO()
    torch.save({"a": Planted()}, buffer, pickle_module=pickle)
    content = buffer.getvalue()
    (tmp_path / "state").write_bytes(MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    with pytest.raises(ValueError, match="state: expected tensors and plain values, got"):
        load_checkpoint(tmp_path / "state")
    assert not (tmp_path / "planted").exists()


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "state"
    save_checkpoint(path, {"a": 1})

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, {"a": 2})
    assert load_checkpoint(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
