"""``linalg-cnn collapse``, and predictions with its result."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

import gpu
from gpu.cli.main import main
from linalg_cnn import AffineMap, load_map

MODEL = "torchvision.models:squeezenet1_1"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = torchvision.models.squeezenet1_1(num_classes=3)
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    return path


def narrow():
    return torch.nn.Sequential(torch.nn.Linear(48, 3), torch.nn.Linear(3, 40))


def command(weights, out, *more, shape="3,32,32", arguments='{"num_classes": 3}', model=MODEL):
    given = ["collapse", "--model", model, "--weights", str(weights), "--in-shape", shape, "--out", str(out)]
    return [*given, "--model-args", arguments, "--no-progress", *more]


def test_a_network_by_its_import_path(weights, tmp_path, capsys):
    out = tmp_path / "out"
    statistics = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    assert main(command(weights, out, "--linearize", *statistics)) == 0
    shown = capsys.readouterr().out
    assert "linearised: 29 changes" in shown
    assert "rank of W" in shown
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["model"] == MODEL
    assert len(report["settings"]["linearized"]) == 29
    assert report["differences"]["bound"]["held"]
    assert "<table>" in (out / "report.html").read_text()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    assert main(["predict", str(out / "collapsed.safetensors"), str(tmp_path / "picture.png"), "--scores"]) == 0
    fields = capsys.readouterr().out.splitlines()[1].split("\t")
    model = torchvision.models.squeezenet1_1(num_classes=3)
    model.load_state_dict(safetensors.torch.load_file(weights))
    linear, _ = gpu.linearize(model.eval())
    normalise = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        scores = linear(normalise(torchvision.transforms.ToTensor()(pixels))[None])[0]
    assert fields[1] == str(int(scores.argmax()))
    np.testing.assert_allclose([float(field) for field in fields[2:]], scores.numpy(), rtol=1e-3, atol=1e-5)


def test_factored_and_unscaled(weights, tmp_path):
    for choice, form in (("yes", "FactoredMap"), ("no", "AffineMap")):
        out = tmp_path / choice
        assert main(command(weights, out, "--linearize", "--no-scaling", "--factored", choice)) == 0
        assert type(load_map(out / "collapsed.safetensors")).__name__ == form
    named = tmp_path / "named"
    assert main(command(weights, named, "--linearize", "--no-scaling", "--mean", "10,20,30", "--std", "2")) == 0
    one, two = (load_map(tmp_path / choice / "collapsed.safetensors") for choice in ("no", "yes"))
    np.testing.assert_allclose(two.product().W, one.W, atol=1e-12 * np.abs(one.W).max())
    normalised = load_map(named / "collapsed.safetensors")
    W = normalised.W if isinstance(normalised, AffineMap) else normalised.product().W
    np.testing.assert_allclose(2 * W, one.W, atol=1e-12 * np.abs(one.W).max())


def test_weights_in_half_precision_stay_half(tmp_path):
    model = torch.nn.Linear(4, 2).half()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "half.safetensors")
    arguments = '{"in_features": 4, "out_features": 2}'
    given = command(
        tmp_path / "half.safetensors", tmp_path / "out", shape="4", arguments=arguments, model="torch.nn:Linear"
    )
    assert main(given) == 0
    assert json.loads((tmp_path / "out/report.json").read_text())["dtype"] == "float16"


def test_what_goes_wrong_is_said_in_one_line(weights, tmp_path, capsys):
    out = tmp_path / "out"
    pickled = tmp_path / "model.pt"
    torch.save({"weight": torch.ones(1)}, pickled)
    bottleneck = tmp_path / "narrow.safetensors"
    safetensors.torch.save_file(narrow().state_dict(), bottleneck)
    fp8 = tmp_path / "fp8.safetensors"
    safetensors.torch.save_file(torch.nn.Linear(4, 2).to(torch.float8_e4m3fn).state_dict(), fp8)
    for given, message in (
        (command(weights, out), "module: expected affine operations only"),
        (command(pickled, out), "expected a whole safetensors file"),
        (command(tmp_path / "none.safetensors", out), "no such file"),
        (command(weights, out, arguments="{}"), "expected the weights of torchvision.models:squeezenet1_1"),
        (command(weights, out, model="torchvision.models:alexnet"), "missing features.0.weight|expected the weights"),
        (command(weights, out, model="torchvision.models:no_such_network"), "expected package.module:name"),
        (command(weights, out, model="no_such_package:network"), "expected package.module:name"),
        (command(weights, out, model="math:isqrt", arguments="{}"), "--model-args: expected arguments of math:isqrt"),
        (command(weights, out, model="builtins:dict", arguments="{}"), "to make an nn.Module, got dict"),
        (
            command(weights, out, "--linearize", "--std", "0,1,1"),
            "--std: expected finite numbers other than 0, whose inverses are finite, too, got 0,1,1",
        ),
        (
            command(weights, out, "--linearize", "--std", "1e-320"),
            "--std: expected finite numbers other than 0, whose inverses are finite, too, got 9.99989e-321",
        ),
        (command(weights, out, "--linearize", "--mean", "nan"), "--mean: expected finite numbers, got nan"),
        (command(weights, out, "--linearize", "--max-bytes", "1000"), "bytes; raise --max-bytes\n"),
        (
            command(
                bottleneck,
                out,
                *("--max-bytes", "1000", "--factored", "no"),
                shape="48",
                arguments="{}",
                model=f"{__name__}:narrow",
            ),
            "bytes; raise --max-bytes, or give --factored yes\n",
        ),
        (
            command(fp8, out, shape="4", arguments='{"in_features": 4, "out_features": 2}', model="torch.nn:Linear"),
            "expected float16, bfloat16, float32 or float64, got torch.float8_e4m3fn",
        ),
    ):
        assert main(given) == 1
        error = capsys.readouterr().err
        assert error.startswith("linalg-cnn: error: ")
        assert any(part in error for part in message.split("|")), error
    assert not list(Path(out).glob("*")) if out.exists() else True
    for wrong in (["--factored", "maybe"], ["--model-args", "[1]"], ["--in-shape", "3,x"], ["--mean", "a"]):
        with pytest.raises(SystemExit):
            main([*command(weights, out), *wrong])
