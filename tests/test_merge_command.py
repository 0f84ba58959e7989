"""``linalg-cnn merge``: a network by its import path, and what is written."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch

from gpu.cli.main import main

MODEL = "test_merge_command:network"


def network(classes=3):
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.Conv2d(4, 2, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(72, classes),
    ).eval()


@pytest.fixture
def given(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = network()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    return model, path


def command(weights, out, *more, shape="1,6,6"):
    given = ["merge", "--model", MODEL, "--weights", str(weights), "--in-shape", shape, "--out", str(out)]
    return [*given, "--batch-size", "2", *more]


def test_the_files_hold_the_network(given, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, weights = given
    out = tmp_path / "out"
    assert main(command(weights, out, "--onnx")) == 0
    shown = capsys.readouterr().out
    assert "0: Conv2d to 2: Conv2d" in shown
    assert "merged.pt2, merged.onnx, report.json, report.html" in shown
    x = torch.randn(5, 1, 6, 6)
    expected = model(x).detach()
    torch.testing.assert_close(torch.export.load(out / "merged.pt2").module()(x), expected, rtol=1e-4, atol=1e-5)
    session = onnxruntime.InferenceSession(str(out / "merged.onnx"))
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(theirs, expected.numpy(), rtol=1e-4, atol=1e-5)
    report = json.loads((out / "report.json").read_text())
    assert report["experiment"] == "merge"
    assert report["settings"]["model"] == MODEL
    assert report["batch_size"] == 2
    assert "<table>" in (out / "report.html").read_text()


def test_errors_are_one_line(given, tmp_path, capsys):
    _, weights = given
    assert main(command(weights, tmp_path / "out", "--model-args", '{"classes": 4}')) == 1
    assert "expected the weights of" in capsys.readouterr().err
    assert main(command(weights, tmp_path / "out", "--batch-size", "0")) == 1
    assert capsys.readouterr().err == "linalg-cnn: error: batch_size: expected an int of at least 1, got 0\n"
