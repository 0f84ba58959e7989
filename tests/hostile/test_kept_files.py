"""Files that commands and trainings read and write: none is lost, none is used for what it does not belong to."""

import json
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

import gpu
from gpu.cli.main import main
from gpu.training.checkpoints import save_checkpoint
from linalg_cnn import AffineMap, load_map
from linalg_cnn.files import write_json

NETS = """
from torch import nn

def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))

def tied():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    return model
"""


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """Make a folder the current one, with a module of networks in it, and return that module's name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept_files_nets.py").write_text(NETS)
    yield "kept_files_nets"
    sys.modules.pop("kept_files_nets", None)


def collapse(model, weights, out="out"):
    given = ["--model", model, "--weights", str(weights), "--in-shape", "1,2,2", "--out", out]
    return main(["collapse", *given, "--no-progress"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8, torch.complex64], ids=str)
def test_weights_that_the_network_would_round_or_misread_are_refused(nets, dtype, capsys):
    state = nn.Linear(4, 3).state_dict(prefix="1.")
    state["1.weight"] = (100 * state["1.weight"]).to(dtype)
    safetensors.torch.save_file(state, "mixed.safetensors")
    assert collapse(f"{nets}:plain", "mixed.safetensors") == 1
    assert f"got 1.weight in {dtype} for torch.float32" in capsys.readouterr().err


def test_weights_in_several_narrower_dtypes_are_exact_in_the_networks_own(nets):
    linear = nn.Linear(4, 3)
    safetensors.torch.save_file({"1.weight": linear.weight.half(), "1.bias": linear.bias.bfloat16()}, "w")
    assert collapse(f"{nets}:plain", "w") == 0
    assert torch.equal(torch.from_numpy(load_map("out/collapsed.safetensors").B).bfloat16(), linear.bias.bfloat16())


def test_a_shared_weight_may_stand_in_the_file_once_as_safetensors_saves_it(nets):
    shared = nn.Linear(4, 4)
    other = nn.Linear(4, 4)
    other.weight = shared.weight
    model = nn.Sequential(nn.Flatten(), shared, other)
    safetensors.torch.save_model(model, "tied.safetensors")
    assert collapse(f"{nets}:tied", "tied.safetensors") == 0
    x = torch.rand(1, 1, 2, 2)
    expected = model.double()(x.double()).detach()
    found = load_map("out/collapsed.safetensors")(255 * x.double().flatten(1).numpy())
    assert torch.allclose(torch.from_numpy(found), expected)


def test_the_file_of_the_weights_is_not_replaced_by_the_result(nets, tmp_path, capsys):
    path = tmp_path / "collapsed.safetensors"
    safetensors.torch.save_file(nn.Linear(4, 3).state_dict(prefix="1."), path)
    before = path.read_bytes()
    assert collapse(f"{nets}:plain", path, out=".") == 1
    assert "--out: expected a folder without the file of the weights" in capsys.readouterr().err
    assert path.read_bytes() == before


def digits(seed):
    torch.manual_seed(seed)
    return gpu.Digits(torch.randint(0, 256, (16, 1, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (16,)))


def trainer(training=0, held_out=1, activation="identity"):
    model = gpu.three_layer_cnn(channels=1, activation=activation)
    return gpu.Trainer(model, digits(training), digits(held_out), epochs=1, batch_size=8)


@pytest.mark.parametrize("other", [{"training": 2}, {"held_out": 2}, {"activation": "relu"}], ids=str)
def test_the_checkpoint_of_other_images_or_of_another_network_is_not_resumed_from(other, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    history = trainer().run(checkpoint)
    assert trainer().run(checkpoint) == history
    with pytest.raises(ValueError, match=r"checkpoint: state: expected settings"):
        trainer(**other).run(checkpoint)


@pytest.mark.parametrize(("rows", "out_shape"), [(1, None), (1, (1,)), (32, (2, 4, 4))], ids=str)
def test_a_map_that_is_no_classifier_predicts_no_class(rows, out_shape, tmp_path, capsys):
    AffineMap(np.ones((rows, 4)), np.ones(rows), (1, 2, 2), out_shape).save(tmp_path / "map")
    Image.new("L", (2, 2)).save(tmp_path / "picture.png")
    assert main(["predict", str(tmp_path / "map"), str(tmp_path / "picture.png")]) == 1
    assert "expected a map to one score for each of several classes" in capsys.readouterr().err


@pytest.mark.parametrize("state", [[1], torch.ones(2), {"big": 1 << 3000}], ids=["list", "tensor", "int"])
def test_a_state_that_could_not_be_read_again_is_not_written(state, tmp_path):
    with pytest.raises(ValueError, match="state: expected"):
        save_checkpoint(tmp_path / "checkpoint", state)
    assert not list(tmp_path.iterdir())


def test_no_entry_is_lost_where_two_names_are_one_in_json(tmp_path):
    with pytest.raises(ValueError, match="record: expected names that differ as strings"):
        write_json(tmp_path / "record", {"rows": {1: "a", "1": "b"}})
    assert not list(tmp_path.iterdir())


ROW = {"matrix": "m", "seconds": 0.1, "spread": 0.01}


@pytest.mark.parametrize(
    "change",
    [{"seconds": 0}, {"seconds": "1"}, {"seconds": float("nan")}, {"seconds": 10**400}, {"spread": -1}, {"matrix": 3}],
    ids=lambda change: str(change)[:20],
)
def test_an_edited_record_is_one_error_with_its_path_and_no_traceback(change, tmp_path, capsys):
    for name, row in (("a.json", ROW), ("b.json", ROW | change)):
        (tmp_path / name).write_text(json.dumps({"experiment": "bench matrices", "rows": [row], "scaling": []}))
    assert main(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 1
    assert f"{tmp_path / 'b.json'}: expected a benchmark's record, got" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["hardware", "versions", "settings"])
def test_conditions_that_are_no_mapping_are_one_error(part, tmp_path, capsys):
    record = {"experiment": "bench matrices", "rows": [ROW], "scaling": [], part: [1]}
    (tmp_path / "a.json").write_text(json.dumps(record))
    assert main(["bench", "compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "a.json: expected a benchmark's record, got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["bench", "matrices", "--out", "folder.json"], "--out: expected a file, got the folder folder.json"),
        (["bench", "predict", "--out", "one", "--picture", "./one"], "--out, --picture: expected two files"),
        (["bench", "all", "--out", "."], "predict.json: expected a file to write, got a folder"),
        (["experiment", "timing", "--out", "."], "timing.png: expected a file to write, got a folder"),
        (["experiment", "figure1", "--seed", str(10**30)], "seed: expected an int"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_result_that_could_not_be_kept_is_an_error_before_the_work(command, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("folder.json", "predict.json", "timing.png"):
        (tmp_path / name).mkdir()
    assert main(command) == 1
    assert says in capsys.readouterr().err
