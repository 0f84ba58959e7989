"""What the README shows is what happens: its snippets run as pasted, and its numbers are those of the records."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest

from gpu.experiments.demo import format_report

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_the_snippets_run_as_pasted_in_order_in_a_clean_interpreter(tmp_path):
    pasted = "\n".join(re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL))
    ending = "\nprint('right:', int((predictor.classes(held_out.images) == held_out.labels).sum()))\n"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", pasted + ending],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "is         W x + B, 10 x 784" in run.stdout
    assert int(run.stdout.rpartition("right: ")[2]) > 800, "of 1,000 digits, of which 100 are right by chance"
    told = re.findall(r"^print\(.*\)  # (Matrix.*)$", pasted, flags=re.MULTILINE)
    assert told == [line for line in run.stdout.splitlines() if line.startswith("Matrix")]


def test_what_the_demo_prints_is_what_its_record_says():
    record = json.loads((ROOT / "docs/records/demo.json").read_text())
    assert f"```\n{format_report(record, Path('demo'))}\n```" in README
    assert record["hardware"]["processor"] in README


def test_the_price_is_that_of_the_record_wherever_it_is_told():
    record = json.loads((ROOT / "docs/records/price.json").read_text())
    price = [f"{100 * mean(row['validation_accuracies']):.1f} %" for row in record["rows"]]
    trained, linearised, trained_on, first, perceptron = price
    for path in ("README.md", "gpu/cli/collapse.py", "gpu/models/linearization.py", "docs/collapse.md"):
        text = (ROOT / path).read_text()
        told = (trained, linearised, trained_on, *((perceptron,) if "perceptron" in text else ()))
        missing = [accuracy for accuracy in told if accuracy not in text]
        assert missing == [], path
    assert f"| {first} |" in (ROOT / "docs/collapse.md").read_text()
    skips = json.loads((ROOT / "docs/records/price_skips.json").read_text())["rows"]
    for path in ("gpu/models/homotopy.py", "docs/collapse.md"):
        text = (ROOT / path).read_text()
        assert [row["stage"] for row in skips if f"{100 * mean(row['validation_accuracies']):.1f} %" not in text] == []
