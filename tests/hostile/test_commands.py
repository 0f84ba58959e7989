"""Networks on the command line that cannot be made or do not fit their weights: one line says whose fault it is."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from gpu.cli.collapse_files import make_model
from gpu.cli.main import main
from linalg_cnn import AffineMap

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=2):
        super().__init__()
        self.fc = nn.Linear(3, width)

    def forward(self, x):
        return self.fc(x)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make a folder the current one; its modules are forgotten afterwards, and it must not stay on Python's path."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    safetensors.torch.save_file(nn.Linear(3, 2).state_dict(prefix="fc."), "weights.safetensors")
    before = sys.path.copy()
    yield tmp_path
    assert sys.path == before
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def collapse(model, *more, weights="weights.safetensors"):
    given = ["collapse", "--model", model, "--weights", weights, "--in-shape", "3", "--out", "out", "--no-progress"]
    return main([*given, *more])


def error_of(capsys, *given, status=1, **options):
    """Return the one line that a command ends in."""
    assert collapse(*given, **options) == status
    captured = capsys.readouterr()
    assert captured.err.startswith("linalg-cnn: error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("linalg-cnn: error: ").rstrip()


def test_a_file_of_the_current_folder_is_found_and_its_neighbours_too_even_late(folder):
    Path("neighbour.py").write_text("WIDTH = 2\n")
    Path("late.py").write_text("ONE = 1\n")
    net = NET.replace("width=2", "width=neighbour.WIDTH").replace("import torch\n", "import torch, neighbour\n", 1)
    Path("net_here.py").write_text(net.replace("return self", "import late\n        return late.ONE * self"))
    assert collapse("net_here:Net") == 0
    weights = safetensors.torch.load_file("weights.safetensors")
    assert torch.equal(
        torch.from_numpy(AffineMap.load("out/collapsed.safetensors").W),
        weights["fc.weight"].double() / 255,
    )


@pytest.mark.sweep
@pytest.mark.parametrize("command", [[sys.executable, "-m", "gpu"], [str(Path(sys.executable).parent / "linalg-cnn")]])
def test_both_commands_find_a_file_of_the_current_folder(folder, command):
    Path("net_there.py").write_text(NET)
    options = ["--weights", "weights.safetensors", "--in-shape", "3", "--out", "out", "--no-progress"]
    subprocess.run([*command, "collapse", "--model", "net_there:Net", *options], check=True, capture_output=True)
    assert Path("out/report.json").is_file()


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        (
            "syntax",
            "x = 1\nclass Net(:\n",
            "to be a module that can be imported, got SyntaxError in NAME.py, line 2: inv",
        ),
        ("null", "x = 1\0", "to be a module that can be imported, got SyntaxError"),
        ("raises", "\n\n1 / 0\n", "got ZeroDivisionError in NAME.py, line 3: division by zero"),
        ("exits", "import sys\nsys.exit('enough')\n", "got SystemExit in NAME.py, line 2: enough"),
        ("deep", "def f(): return f()\nf()\n", "got RecursionError in NAME.py, line 1: maximum recursion depth exceed"),
        (
            "lacks",
            "import no_such_module_1\n",
            "ModuleNotFoundError in NAME.py, line 1: No module named 'no_such_modul",
        ),
        ("other", "net = 1\n", "expected package.module:name, got 'NAME:Net': AttributeError: module 'NAME' has no"),
        ("number", "Net = 1\n", "expected NAME:Net to be a class or a function that makes a network, got int"),
        ("instance", f"{NET}\nNet = Net()\n", "that makes a network, got a network that is made already"),
        ("not_one", "Net = dict\n", "expected NAME:Net to make an nn.Module, got dict"),
        ("given_up", "def Net(): raise SystemExit(0)\n", "got {}: SystemExit in NAME.py, line 1: 0"),
        ("lines", "def Net(): raise KeyError('one\\ntwo')\n", "got {}: KeyError in NAME.py, line 1: 'one\\ntwo'"),
        ("needs", NET.replace("width=2", "width"), "got {}: TypeError: Net.__init__() missing 1 required positional"),
        (
            "inside",
            f"{NET}\n    def train(self, mode=True): return 1 / 0",
            "that has an evaluation mode, got ZeroDivisionError in NAME.py, line 13: division by zero",
        ),
        (
            "leaves",
            NET.replace("return ", "raise SystemExit(0)  # "),
            "to run to its end, got SystemExit in NAME.py, line 11",
        ),
    ],
)
def test_the_fault_of_a_file_is_told_with_its_line(folder, capsys, name, source, message):
    Path(f"faulty_{name}.py").write_text(source)
    error = error_of(capsys, f"faulty_{name}:Net")
    assert message.replace("NAME", f"faulty_{name}") in error
    assert error.startswith("--model")
    assert not Path("out/report.json").exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./net.py:Net", "got './net.py:Net'; for a file, run in its folder and leave off .py: --model net:NAME"),
        ("..:x", "expected package.module:name, got '..:x'"),
        ("net", "expected package.module:name, got 'net'"),
        ("net:", "expected package.module:name, got 'net:'"),
        (":Net", "expected package.module:name, got ':Net'"),
        ("", "expected package.module:name, got ''"),
        ("a\nb:Net", r"expected package.module:name, got 'a\nb:Net'"),
        (
            "no_such_module:Net",
            "got 'no_such_module:Net': neither FOLDER nor the installed packages have a module no_su",
        ),
        ("torch.nowhere:Net", "neither FOLDER nor the installed packages have a module torch.nowhere"),
        ("torch:no_such_name", "AttributeError: module 'torch' has no attribute 'no_such_name'"),
    ],
)
def test_what_is_no_import_path_is_told(folder, capsys, model, message):
    error = error_of(capsys, model)
    assert error.startswith("--model: ")
    assert message.replace("FOLDER", str(folder)) in error


@pytest.mark.parametrize("model", ["torchvision.models:resnet18", "torchvision.models:mobilenet_v2"])
def test_what_torchvision_says_of_arguments_is_one_line(folder, capsys, model):
    error = error_of(capsys, model, "--model-args", '{"weights": "nope"}')
    assert error == f"--model-args: expected arguments of {model}, got {{'weights': 'nope'}}: KeyError: 'nope'"


def test_a_long_argument_is_not_repeated_whole(folder, capsys):
    assert len(error_of(capsys, "torch.nn:Linear", "--model-args", json.dumps({"in_features": 1000 * "a"}))) < 500


def test_ctrl_c_in_a_users_file_stops_the_command(folder, capsys):
    Path("interrupted.py").write_text("raise KeyboardInterrupt\n")
    assert collapse("interrupted:Net") == 130


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model-args", "[" * 100_000, "expected a JSON object, got one that is nested too deeply"),
        (
            "--model-args",
            '{"a":' * 900 + "1" + "}" * 900,
            "expected a JSON object of at most 50 levels, got one of more",
        ),
        ("--model-args", '{"a": NaN}', "expected a JSON object: JSON has no NaN"),
        ("--model-args", '{"a"', "expected a JSON object: Expecting ':' delimiter"),
        ("--model-args", "[1]", "expected a JSON object, got a list"),
        ("--in-shape", "3,x", "expected ints with commas between them, got '3,x'"),
        ("--mean", "", "expected numbers with commas between them, got ''"),
        ("--factored", "maybe", "expected auto, yes or no, got 'maybe'"),
    ],
)
def test_an_option_that_cannot_be_read_is_told_with_what_was_expected(capsys, option, value, message):
    with pytest.raises(SystemExit) as info:
        collapse("torch.nn:Linear", option, value)
    assert info.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"linalg-cnn collapse: error: argument {option}: ")
    assert message in last


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_weights_of_a_wrapper_get_one_line_of_advice(folder, capsys, prefix):
    safetensors.torch.save_file(nn.Linear(3, 2).state_dict(prefix=prefix), "wrapped.safetensors")
    error = error_of(
        capsys,
        "torch.nn:Linear",
        "--model-args",
        '{"in_features": 3, "out_features": 2}',
        weights="wrapped.safetensors",
    )
    assert f"got {prefix}weight for weight: wrappers" in error or f"got {prefix}bias for weight: wrappers" in error
    assert "save the state_dict of, and let --model make, the network without them" in error


def parallel():
    return nn.DataParallel(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))


def test_weights_for_the_network_inside_of_a_wrapper_get_the_same_advice(folder, capsys):
    inner = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    safetensors.torch.save_file(inner.state_dict(), "inner.safetensors")
    error = error_of(capsys, f"{__name__}:parallel", weights="inner.safetensors")
    assert "for module.0.weight: wrappers, which are DataParallel" in error


def test_a_part_of_a_network_that_is_called_module_is_no_wrapper(folder):
    Path("called.py").write_text(NET.replace("self.fc", "self.module"))
    safetensors.torch.save_file(nn.Linear(3, 2).state_dict(prefix="module."), "called.safetensors")
    assert collapse("called:Net", weights="called.safetensors") == 0


def test_other_weights_are_told_by_a_few_names_and_shapes(folder, capsys):
    many = {f"layer{i}.weight": torch.zeros(1) for i in range(9)}
    safetensors.torch.save_file({**many, "bias": torch.zeros(5)}, "other.safetensors")
    arguments = ["--model-args", '{"in_features": 3, "out_features": 2}']
    error = error_of(capsys, "torch.nn:Linear", *arguments, weights="other.safetensors")
    assert "expected the weights of torch.nn:Linear, missing weight, unexpected layer0.weight, layer1.weight" in error
    assert error.endswith("and 5 more, of another shape bias (5,) instead of (2,)")


def test_what_a_networks_own_loading_raises_is_one_line(folder, capsys):
    Path("loading.py").write_text(f"{NET}\n    def load_state_dict(self, *args, **options): return {{}}['one\\ntwo']\n")
    error = error_of(capsys, "loading:Net")
    assert error.endswith(r"expected the weights of loading:Net, got KeyError: 'one\ntwo'")


class Texts(HTMLParser):
    """The elements and the texts of a page."""

    def __init__(self):
        super().__init__()
        self.elements, self.texts = set(), []

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_the_report_shows_what_users_name_as_text(folder, monkeypatch):
    """An import path cannot hold markup, but the page does not rely on it."""
    nasty = "</title><script>alert(1)</script>&amp;:Net"
    Path("nasty_net.py").write_text(NET)
    real = make_model
    monkeypatch.setattr("gpu.cli.collapse_files.make_model", lambda path, arguments: real("nasty_net:Net", arguments))
    assert collapse(nasty) == 0
    page = Texts()
    page.feed(Path("out/report.html").read_text())
    assert page.elements == {"meta", "title", "table", "tr", "th", "td", "details", "summary"}
    assert page.texts[0] == nasty
