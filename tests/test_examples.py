"""The script of the folder `examples`, and the page about one's own pictures, run to their ends at small sizes."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from gpu.predict import Predictor
from linalg_cnn import load_map

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("onnxruntime")
    return runpy.run_path(str(ROOT / "examples" / "from_folder.py"))


def test_the_script_goes_from_a_folder_of_pictures_to_predictions_and_onnx(script, tmp_path, capsys):
    script["main"](["--out", str(tmp_path), "--per-class", "12", "--epochs", "4"])
    printed = capsys.readouterr().out
    assert "120 pictures to train on, 40 held out, (1, 28, 28), 10 classes" in printed
    for loop in ("own loop", "gpu.train"):
        found = re.search(rf"^{loop}\n.*\n.*\naccuracy +(\S+) % before, (\S+) % collapsed", printed, re.MULTILINE)
        before, after = map(float, found.groups())
        assert before == after >= 40, "ten classes by chance have 10 %"
    assert "ONNX: the same class for 40 of 40 pictures" in printed
    lines = re.findall(r"^\S*seven/\d{3}\.png\t(\w+)$", printed, flags=re.MULTILINE)
    assert len(lines) == 4
    # the folder's pictures, read by Pillow alone, as the command predicted them
    saved, held_out = load_map(tmp_path / "collapsed.safetensors"), script["read_bytes"](tmp_path / "pictures/held_out")
    assert saved.meta["class_names"] == tuple(sorted(script["NAMES"]))
    seven = held_out.images[held_out.labels == saved.meta["class_names"].index("seven")]
    scores = torch.from_numpy(saved(seven.flatten(1).double().numpy()))
    assert [saved.meta["class_names"][label] for label in scores.argmax(1)] == lines
    assert torch.equal(Predictor(saved).classes(seven), scores.argmax(1))


def test_the_page_on_own_pictures_runs_as_pasted(script, tmp_path, monkeypatch, capsys):
    script["write_pictures"](tmp_path / "pictures", 9)
    monkeypatch.chdir(tmp_path)
    pasted = {}
    for block in re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/own_data.md").read_text(), re.MULTILINE | re.DOTALL
    ):
        exec(compile(block.replace("epochs=10", "epochs=2"), "docs/own_data.md", "exec"), pasted)
    assert "accuracy" in capsys.readouterr().out
    assert pasted["collapsed"].affine.W.shape == (10, 784)
