"""The commands, as a user runs them."""

import argparse
import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import gpu
import linalg_cnn
from gpu.bench.registry import Benchmark
from gpu.cli.bench import run_benchmark
from gpu.cli.main import build_parser, main
from gpu.training.data import load_digits
from linalg_cnn import AffineMap

[SUBPARSERS] = [action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)]
COMMANDS = list(SUBPARSERS.choices)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Return the folder that one run of the demo wrote, shared by the tests that only read it."""
    out = tmp_path_factory.mktemp("demo") / "made" / "by the demo"
    assert main(["demo", "--out", str(out), "--epochs", "1", "--no-progress"]) == 0
    return out


def test_demo_collapses_without_changing_an_answer(demo):
    report = json.loads((demo / "report.json").read_text())
    assert report["images_compared"] == report["predictions_agree"] == 1000
    assert report["max_abs_difference"] < 1e-4
    assert report["validation_accuracy_network"] == report["validation_accuracy_collapsed"] > 0.8
    assert report["collapse"]["max_abs_difference_of_W"] < 1e-12
    for size in ("1", "64"):
        times = report["microseconds_per_image"][size]
        assert times["network"] > 0
        assert times["collapsed"] > 0
        assert report["speedup"][size] == pytest.approx(times["network"] / times["collapsed"])
    assert report["parameters_network"] == 47_338
    assert report["parameters_collapsed"] == 7_850
    assert report["settings"]["training_images"] == 4000
    assert {"torch", "numpy", "python"} <= report["versions"].keys()
    assert report["hardware"]["processor"]


def test_demo_saves_a_map_from_raw_pixels(demo):
    tensors = load_file(demo / "collapsed.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"W": (10, 784), "B": (10,)}
    affine = AffineMap.load(demo / "collapsed.safetensors")
    assert (affine.in_shape, affine.out_shape, affine.meta["pixel_scale"]) == ((1, 28, 28), (10,), 255)
    _, held_out = load_digits()
    classes = affine(held_out.images.flatten(1).numpy()).argmax(axis=1)
    report = json.loads((demo / "report.json").read_text())
    assert (classes == held_out.labels.numpy()).mean() == report["validation_accuracy_collapsed"]


@pytest.mark.parametrize("name", ["weights.png", "matrices.png"])
def test_demo_draws(demo, name):
    with Image.open(demo / name) as picture:
        assert min(picture.size) > 400
        assert len(picture.text["Description"]) > 50
        grays = np.asarray(picture.convert("L"))
    assert 0.3 < (grays > 200).mean() < 0.99  # something is drawn, and not everywhere


@pytest.fixture
def pictures(tmp_path):
    """Return ten held-out digits as picture files."""
    _, held_out = load_digits()
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for path, image in zip(paths, held_out.images[:10, 0].numpy(), strict=True):
        Image.fromarray(image).save(path)
    return paths


def test_predict_prints_path_tab_class(demo, pictures, capsys):
    assert main(["predict", str(demo / "collapsed.safetensors"), *map(str, pictures)]) == 0
    captured = capsys.readouterr()
    affine = AffineMap.load(demo / "collapsed.safetensors")
    expected = [int(affine(np.asarray(Image.open(path)).ravel()).argmax()) for path in pictures]
    assert captured.out == "".join(f"{path}\t{c}\n" for path, c in zip(pictures, expected, strict=True))
    assert captured.err == ""


def test_predict_scores(demo, pictures, capsys):
    assert main(["predict", str(demo / "collapsed.safetensors"), str(pictures[0]), "--scores"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split("\t") == ["picture", "class", *map(str, range(10))]
    path, digit, *scores = line.split("\t")
    assert path == str(pictures[0])
    assert len(scores) == 10
    assert int(digit) == int(np.argmax([float(score) for score in scores]))


def test_predict_inverted_and_in_other_forms(demo, pictures, tmp_path, capsys):
    """Dark ink on light paper, colours, and transparency give the same class as the plain picture."""
    gray = np.asarray(Image.open(pictures[0]))
    Image.fromarray(255 - gray).save(tmp_path / "paper.png")
    Image.fromarray(255 - gray).convert("RGB").save(tmp_path / "rgb.bmp")
    ink = np.zeros((28, 28, 4), np.uint8)
    ink[..., 3] = gray
    Image.fromarray(ink).save(tmp_path / "ink.png")
    others = [str(tmp_path / name) for name in ("paper.png", "rgb.bmp", "ink.png")]
    saved = str(demo / "collapsed.safetensors")
    assert main(["predict", saved, str(pictures[0]), "--scores"]) == 0
    expected = capsys.readouterr().out.splitlines()[1].split("\t")[1:]
    assert main(["predict", saved, *others, "--invert", "--scores"]) == 0
    for line in capsys.readouterr().out.splitlines()[1:]:
        assert line.split("\t")[1:] == expected


def test_predict_names_the_pictures_it_cannot_read_and_goes_on(demo, pictures, tmp_path, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "half.png").write_bytes(pictures[1].read_bytes()[:100])
    Image.new("L", (32, 30)).save(tmp_path / "large.png")
    Image.fromarray(np.zeros((28, 28), np.uint16)).save(tmp_path / "deep.png")
    bad = [str(tmp_path / name) for name in ("text.png", "half.png", "large.png", "deep.png", "none.png")]
    assert main(["predict", str(demo / "collapsed.safetensors"), *bad, str(pictures[0])]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{pictures[0]}\t")
    assert captured.out.count("\n") == 1
    errors = captured.err.splitlines()
    assert len(errors) == 5
    for line, path in zip(errors, bad, strict=True):
        assert line.startswith("linalg-cnn: error: ")
        assert path in line
    assert errors[2].endswith("expected a picture of 28x28 pixels, got 32x30; --resize scales it")
    assert "expected an 8-bit picture, got one of 16 bits" in errors[3]


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names of files are characters there, not bytes")
def test_predict_prints_names_that_the_encoding_of_the_output_has_not(tmp_path, monkeypatch):
    """One such name ended the command, and the pictures after it were not predicted."""
    AffineMap(np.eye(2), [0, 1], in_shape=(1, 1, 2), meta={"class_names": ["a", "\u00fc"]}).save(tmp_path / "map")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    for name in (odd, str(tmp_path / "last.png")):
        Image.frombytes("L", (2, 1), b"\x00\x09").save(name)
    output = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", output)
    assert main(["predict", str(tmp_path / "map"), odd, str(tmp_path / "last.png")]) == 0
    lines = output.buffer.getvalue().decode().splitlines()
    assert [line.rpartition("/")[2] for line in lines] == [r"\udcff.png	\xfc", r"last.png	\xfc"]
    assert output.errors == "strict"


def test_predict_refuses_other_files(demo, pictures, tmp_path, capsys):
    whole = (demo / "collapsed.safetensors").read_bytes()
    altered, truncated, missing, other = (tmp_path / name for name in ("altered", "truncated", "missing", "other"))
    altered.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    truncated.write_bytes(whole[:-1])
    AffineMap(np.ones((2, 3)), np.ones(2)).save(other)
    for path, message in [
        (altered, "the content was altered: expected SHA-256"),
        (truncated, "expected a whole safetensors file"),
        (missing, "No such file"),
        (other, "expected a map from pictures (1 or 3, height, width), got in_shape None"),
    ]:
        assert main(["predict", str(path), str(pictures[0])]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("linalg-cnn: error: ")
        assert message in captured.err
        assert str(path) in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--t", "1.5"], "t: expected a number in [0, 1], got 1.5"),
        (["--epochs", "0"], "epochs: expected an int of at least 1, got 0"),
        (["--channels", "0"], "channels: expected an int of at least 1, got 0"),
        (["--device", "abacus"], "device: expected a device of this machine, got 'abacus'"),
        (["--dataset", "mnist"], "data_root: expected a folder for dataset 'mnist', got none"),
        (["--dataset", "mnist", "--data-root", "nowhere"], "expected a raw file of MNIST"),
        (["--learning-rate", "1e30", "--epochs", "1"], "training diverged"),
        (["--channels", "100000000"], "channels: expected at most"),
        (["--device", "meta"], "device: expected a device of this machine, got 'meta'"),
        (["--seed", "-1"], "seed: expected an int of at least 0, got -1"),
        (["--seed", "4294967296"], "seed: expected an int of at most 4294967295, got 4294967296"),
        (["--seed", f"{2**41}"], f"seed: expected an int of at most 4294967295, got {2**41}"),
        (["--batch-size", "100000000000000000000"], "batch_size: expected an int of at most"),
    ],
)
def test_demo_mistakes_are_one_line(tmp_path, capsys, options, message):
    assert main(["demo", "--out", str(tmp_path), "--no-progress", *options]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("linalg-cnn: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_cannot_be_is_refused_first(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "File exists" in capsys.readouterr().err
    (tmp_path / "out" / "weights.png").mkdir(parents=True)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 1
    assert "weights.png: expected a file to write, got a folder" in capsys.readouterr().err
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["weights.png"]


def test_interruption(monkeypatch, capsys):
    def interrupt(settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("gpu.experiments.demo.run_demo", interrupt)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "linalg-cnn: interrupted\n"


def test_arguments_that_cannot_be(capsys):
    with pytest.raises(SystemExit) as info:
        main(["demo", "--epochs", "many"])
    assert info.value.code == 2
    assert "invalid int value: 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[sys.executable, "-m", "gpu"], [f"{sys.prefix}/bin/linalg-cnn"]])
def test_both_names_of_the_command(command):
    result = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "demo" in result.stdout
    assert "predict" in result.stdout


@pytest.fixture
def small(tmp_path):
    """Return a function that saves a map from 2x2 pixels to two scores, and the paths of the map and of a picture."""
    Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).save(tmp_path / "a\tpicture.png")

    def save(W, **meta):
        AffineMap(W, np.zeros(2), in_shape=(1, 2, 2), meta=meta).save(tmp_path / "map.safetensors")
        return [str(tmp_path / "map.safetensors"), str(tmp_path / "a\tpicture.png")]

    return save


@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_predict_prints_no_score_that_is_not_finite(small, capsys, form):
    """Two pixels of 255 times 1e307 are infinite, and their difference is no number."""
    for W in ([[1, 1, 1, 1], [0, 0, 0, 0]], [[1, 1, -1, 1], [0, 0, 0, 0]]):
        saved, picture = small(1e307 * np.array(W))
        assert main(["predict", saved, picture, "--scores", "--format", form]) == 1
        captured = capsys.readouterr()
        assert f"error: {picture}: expected finite scores, got " in captured.err
        assert captured.err.count("\n") == 1
        assert "picture.png" not in captured.out
    assert form != "json" or json.loads(captured.out)["pictures"] == []


def test_predict_escapes_control_characters_in_text(small, capsys):
    names = ["a\tb", "c\n\x1b[31m\u2028 \u00e9"]
    arguments = ["predict", *small(np.eye(2, 4), class_names=names), "--scores"]
    assert main(arguments) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.split("\n")]
    assert lines[0] == ["picture", "class", r"a\tb", "c" + r"\n\x1b[31m\u2028" + " \u00e9"]
    assert lines[1][0].endswith(r"a\tpicture.png")
    assert lines[1][1:] == [r"c\n\x1b[31m\u2028" + " \u00e9", "0", "255"]
    assert main([*arguments, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == names


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX")
@pytest.mark.parametrize("form", ["text", "csv", "json"])
def test_a_closed_output_is_one_line(small, form):
    command = [sys.executable, "-m", "gpu", "predict", "--format", form, *small(np.eye(2, 4))]
    for closed, out, err in (
        (">&-", "", "linalg-cnn: error: standard output: expected an open file for the predictions, got a closed one"),
        (">&- 2>&-", "", ""),
        ("none.png 2>&-", "picture.png", ""),  # errors are not printed to the output in their place
    ):
        result = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True)
        assert result.returncode == 1
        assert out in result.stdout
        assert "none.png" not in result.stdout
        assert result.stderr.startswith(err)
        assert result.stderr.count("\n") == bool(err)


def test_help_and_predict_do_without_torch(demo, pictures):
    program = (
        "import sys; sys.modules['torch'] = None; from gpu.cli.main import main;"
        f"status = main(['predict', {str(demo / 'collapsed.safetensors')!r}, {str(pictures[0])!r}]);"
        "status += main(['demo', '--out', '/nowhere']) - 1; sys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"{pictures[0]}\t")
    assert result.stderr.startswith("linalg-cnn: error: ")
    assert "pip install 'linalg_cnn[demo]'" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_shown_without_importing_what_takes_seconds(command):
    program = (
        "import sys; from gpu.cli.main import build_parser\n"
        f"try: build_parser().parse_args([{command!r}, '--help'])\n"
        "except SystemExit: assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"usage: linalg-cnn {command}" in result.stdout


def test_predict_reads_other_picture_formats(demo, pictures, tmp_path, capsys):
    picture = Image.open(pictures[0])
    picture.convert("CMYK").save(tmp_path / "cmyk.tiff")
    picture.save(tmp_path / "gray.pgm")
    (tmp_path / "short.pgm").write_bytes(b"P5 28 28 255\n\0")
    (tmp_path / "letters.pgm").write_bytes(b"P5 twenty 28 255\n")
    Image.new("1", (20000, 20000)).save(tmp_path / "bomb.png")
    names = ["cmyk.tiff", "gray.pgm", "short.pgm", "letters.pgm", "bomb.png"]
    paths = [str(tmp_path / name) for name in names]
    assert main(["predict", str(demo / "collapsed.safetensors"), *paths]) == 1
    captured = capsys.readouterr()
    classes = {line.split("\t")[1] for line in captured.out.splitlines()}
    assert len(captured.out.splitlines()) == 2
    assert len(classes) == 1
    errors = captured.err.splitlines()
    assert [path in error for path, error in zip(paths[2:], errors, strict=True)] == [True] * 3
    assert all("expected a whole picture file, got" in error for error in errors)


def test_the_version_is_shown_by_the_command_and_by_both_packages(capsys):
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    assert capsys.readouterr().out == f"linalg-cnn {project['version']}\n"
    assert gpu.__version__ == linalg_cnn.__version__ == project["version"]
    with pytest.raises(AttributeError, match="module 'linalg_cnn' has no attribute 'verison'"):
        linalg_cnn.verison  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_defaults_that_say_nothing(command):
    text = SUBPARSERS.choices[command].format_help()
    for nothing in ("None", "True", "False", "[]", "()"):
        assert f"(default: {nothing})" not in text
    if command == "demo":
        assert "(default: 0.001)" in text


@pytest.mark.parametrize("option", ["--out", "--picture"])
@pytest.mark.parametrize("content", ["print('a script')", '{"a": "JSON"}', "[1]"])
def test_benchmarks_do_not_write_over_files_that_they_did_not_write(tmp_path, capsys, option, content):
    """A script that was named after --out, say; nothing is measured before."""
    path = tmp_path / "measure.py"
    path.write_text(content)
    assert main(["bench", "predict", "--quick", option, str(path)]) == 1
    assert f"{option}: expected a new file or a" in capsys.readouterr().err
    assert path.read_text() == content


def test_a_record_a_picture_and_an_empty_file_may_be_replaced(tmp_path):
    record, picture, empty = (tmp_path / name for name in ("a.json", "a.png", "empty"))
    record.write_text('{"experiment": "old"}')
    Image.new("L", (1, 1)).save(picture)
    empty.touch()
    benchmark = Benchmark(
        "b", "", "", lambda **_: {"experiment": "b"}, show=lambda _: "", measurements=lambda _: iter(())
    )
    for out in (record, empty):
        assert run_benchmark(benchmark, out=out, picture=picture) == 0
        assert json.loads(out.read_text())["experiment"] == "b"
