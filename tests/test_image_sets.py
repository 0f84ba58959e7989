"""The data sets of the experiments: CIFAR-10 in torchvision's layout, and who takes it."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from gpu.experiments import front_networks, front_times
from gpu.experiments.command import run_experiment
from gpu.experiments.front_networks import KEPT, merged_architecture, network_of
from gpu.settings import ExperimentSettings
from gpu.training.image_sets import load_images


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    """Return a folder with a CIFAR-10 of 60 and 20 images, whose MD5 torchvision takes for genuine."""
    random, folder = np.random.default_rng(0), tmp_path / "data" / CIFAR10.base_folder
    folder.mkdir(parents=True)

    def written(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return name, hashlib.md5(data).hexdigest()

    def batch(name, count):
        pixels = random.integers(0, 256, (count, 3072), dtype=np.uint8)
        return written(name, {"data": pixels, "labels": [i % 10 for i in range(count)]})

    lists = {
        "train_list": [batch("data_batch_1", 40), batch("data_batch_2", 20)],
        "test_list": [batch("test_batch", 20)],
    }
    name, md5 = written("batches.meta", {"label_names": [str(digit) for digit in range(10)]})
    meta = {"filename": name, "key": "label_names", "md5": md5}
    for attribute, value in {**lists, "meta": meta}.items():
        monkeypatch.setattr(CIFAR10, attribute, value)
    return tmp_path / "data"


def test_cifar10_is_read_channels_first_in_the_order_of_its_files(small_cifar):
    training, held_out = load_images("cifar10", small_cifar)
    assert training.images.shape == (60, 3, 32, 32)
    assert training.images.dtype == torch.uint8
    assert held_out.labels.tolist() == [i % 10 for i in range(20)]
    raw = pickle.loads((small_cifar / CIFAR10.base_folder / "data_batch_2").read_bytes())
    assert torch.equal(training.images[40:].reshape(20, 3072), torch.from_numpy(raw["data"]))


def test_files_that_are_missing_or_not_genuine_are_refused_by_their_folder(small_cifar, tmp_path):
    with pytest.raises(OSError, match=r"nowhere.*: expected the files of CIFAR-10 as torchvision downloads them"):
        load_images("cifar10", tmp_path / "nowhere")
    with (small_cifar / CIFAR10.base_folder / "data_batch_1").open("ab") as file:
        file.write(b" ")
    with pytest.raises(OSError, match="expected the files of CIFAR-10"):
        load_images("cifar10", small_cifar)
    with pytest.raises(ValueError, match="data_root: expected a folder for dataset 'cifar10', got none"):
        load_images("cifar10")


SMALL = {"trials": 1, "epochs": 2, "subset": 40, "held_out": 20, "progress": False}


def test_the_front_is_measured_on_cifar10(small_cifar, tmp_path, monkeypatch):
    monkeypatch.setattr(front_networks, "PLAIN", ((4, 2), (4, 7), (4, 1)))
    monkeypatch.setitem(KEPT, "plain CNN", (1,))
    monkeypatch.setattr(front_times, "ROUNDS", 1)
    monkeypatch.setattr(front_times, "SECONDS", 0.001)
    monkeypatch.setitem(front_times.RUNTIMES, "cpu", ("eager",))
    record = run_experiment(
        ExperimentSettings(
            "front", tmp_path / "out", series=("plain CNN",), dataset="cifar10", data_root=small_cifar, **SMALL
        )
    )
    assert record["settings"]["dataset"] == "cifar10"
    assert all("test_accuracy" in trial for series in record["series"] for trial in series["trials"])
    direct = next(series for series in record["series"] if series["arm"] == "direct")
    made = merged_architecture(
        network_of("plain CNN", 0, (3, 32, 32)), record["networks"]["plain CNN"]["order"][2:], (3, 32, 32)
    )
    assert made(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert direct["trials"][0]["parameters"] == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize("name", KEPT)
def test_every_network_of_the_front_takes_images_of_cifar10(name):
    assert network_of(name, 0, (3, 32, 32)).eval()(torch.rand(1, 3, 32, 32)).shape == (1, 10)


@pytest.mark.parametrize("name", ["figure1", "figure3", "timing", "schedules"])
def test_the_papers_experiments_take_digits_alone(name, tmp_path):
    settings = ExperimentSettings(name, tmp_path, dataset="cifar10", data_root=tmp_path)
    with pytest.raises(ValueError, match=f"dataset of {name}: expected one of .*got 'cifar10'"):
        run_experiment(settings)
    with pytest.raises(ValueError, match=r"data_root: expected a folder for dataset 'cifar10', got none"):
        run_experiment(ExperimentSettings("front", tmp_path, dataset="cifar10", **SMALL))
