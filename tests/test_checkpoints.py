"""Checkpoints are read completely or not at all, and run no code."""

import hashlib
import io
import os
import pickle
import threading
import zipfile

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


def sealed(path, content):
    """Write a checkpoint with the right SHA-256 of any content."""
    path.write_bytes(MAGIC + hashlib.sha256(content).hexdigest().encode() + b"\n" + content)


def archive(pickled, data=bytes(32), compression=zipfile.ZIP_STORED, copies=0):
    """Return an archive as torch writes it, with a pickle and a tensor of 8 numbers, which may be listed more often."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as parts:
        for name, content in {"data.pkl": pickled, "byteorder": b"little", "data/0": data, "version": b"3\n"}.items():
            parts.writestr(f"archive/{name}", content)
        for number in range(copies):
            again = zipfile.ZipInfo(f"archive/data/{number + 1}")
            stored = parts.getinfo("archive/data/0")
            for field in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(again, field, getattr(stored, field))
            parts.filelist.append(again)
    return buffer.getvalue()


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuK\x08tQK\x00K\x08\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR."
)
GIGABYTES = b"\x8a\x05\x00\xca\x9a\x3b\x00"  # 1,000,000,000
HOSTILE = {
    "compressed_zeros": archive(TENSOR, bytes(20_000_000), zipfile.ZIP_DEFLATED),
    "one_part_listed_many_times": archive(TENSOR, bytes(100_000), copies=100),
    "a_bytearray_of_a_gigabyte": archive(b"\x80\x02cbuiltins\nbytearray\n" + GIGABYTES + b"\x85R."),
    "a_bytearray_in_another_case": archive(TENSOR)
    .replace(b"data.pkl", b"DATA.PKL")
    .replace(TENSOR, TENSOR[:-1] + b"0"),
    "a_name_from_the_stack": archive(b"\x80\x04\x8c\x08builtins\x8c\x09bytearray\x93" + GIGABYTES + b"\x85R."),
    "an_empty_stack": archive(b"\x80\x02R."),
    "no_pickle": archive(b""),
    "a_tensor_larger_than_its_part": archive(TENSOR.replace(b"K\x08", b"M\x00\x80")),
    "a_missing_part": archive(TENSOR.replace(b"\x000X", b"\x007X")),
    "a_pickle_without_an_archive": pickle.dumps({"a": 1}, protocol=2),
    "nothing": b"",
    "a_list": archive(b"\x80\x02]."),
    "a_tensor": archive(TENSOR),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_sealed_file_of_anything_is_one_error_that_names_the_path(tmp_path, content):
    sealed(tmp_path / "state", content)
    with pytest.raises(ValueError, match=r"state: expected (tensors and plain values|a dict of values), got"):
        load_checkpoint(tmp_path / "state")


@pytest.mark.parametrize("name", list(HOSTILE)[:5])
def test_what_would_fill_the_memory_is_not_given_to_torch(tmp_path, monkeypatch, name):
    """2 MB of a compressed archive can hold 2 GB, and 40 bytes of a pickle can ask for any number of bytes."""
    sealed(tmp_path / "state", HOSTILE[name])
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch has read it"))
    with pytest.raises(ValueError, match="state: expected tensors and plain values, got"):
        load_checkpoint(tmp_path / "state")


def test_the_archive_that_the_hostile_ones_vary_is_read(tmp_path):
    plain = TENSOR.replace(b"\x80\x02", b"\x80\x02}X\x01\x00\x00\x00a")[:-1] + b"s."
    sealed(tmp_path / "state", archive(plain, torch.arange(8.0).numpy().tobytes()))
    assert load_checkpoint(tmp_path / "state")["a"].tolist() == list(range(8))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_tensors_of_every_dtype_come_back(tmp_path, dtype):
    state = {"a": torch.ones(3).to(dtype), "shape": torch.Size([2, 3]), "parameter": torch.nn.Parameter(torch.ones(2))}
    save_checkpoint(tmp_path / "state", state)
    back = load_checkpoint(tmp_path / "state")
    assert back["a"].dtype == dtype
    assert torch.equal(back["a"].view(torch.uint8), state["a"].view(torch.uint8))
    assert back["shape"] == (2, 3)


def test_a_state_that_could_not_be_read_again_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"state: expected tensors, numbers, .* got __builtin__ bytearray"):
        save_checkpoint(tmp_path / "state", {"a": bytearray(3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["function", "lock", "endless"])
def test_a_state_that_cannot_be_pickled_is_not_written(tmp_path, kind):
    endless = []
    endless.append(endless)
    for _ in range(10_000):
        endless = [endless]
    value = {"function": lambda: 0, "lock": threading.Lock(), "endless": endless}[kind]
    save_checkpoint(tmp_path / "state", {"a": 1})
    with pytest.raises(
        ValueError, match=r"state: expected tensors, numbers, .* got something that cannot be pickled: "
    ):
        save_checkpoint(tmp_path / "state", {"a": {"b": value}})
    assert load_checkpoint(tmp_path / "state") == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


@pytest.mark.skipif(os.name != "posix", reason="a device of POSIX")
def test_an_endless_file_is_not_read_to_its_end(tmp_path):
    (tmp_path / "state").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match="state: expected a checkpoint, got a file that starts with"):
        load_checkpoint(tmp_path / "state")


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
