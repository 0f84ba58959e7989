"""Every name and every file that README, docs, notebooks, docstrings and messages mention is there."""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

import gpu
import linalg_cnn
import linalg_cnn.display

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "api").glob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
MODULES = [path for package in ("linalg_cnn", "gpu") for path in sorted((ROOT / package).rglob("*.py"))]
PUBLIC = {
    module.__name__: module
    for module in (
        linalg_cnn,
        linalg_cnn.display,
        linalg_cnn.symbolic,
        linalg_cnn.tropical,
        gpu,
        gpu.predict,
        gpu.schedules,
    )
}
"""The modules whose `__all__` users may import from."""

DOTTED = re.compile(r"(?<![\w./-])(?:gpu|linalg_cnn)(?:\.[A-Za-z_]\w*)+")
IMPORT = re.compile(r"from ((?:gpu|linalg_cnn)(?:\.\w+)*) import (\([^)]*\)|[^\n#]+)")
FILE = re.compile(
    r"(?<![\w./-])(?:gpu|linalg_cnn|tests|docs|notebooks|examples)/[\w/-]*\w\.(?:py|md|json|csv|svg|png|ipynb)\b"
)


def names_in(text):
    """Return the dotted names in a text: those written out, and those that an import makes."""
    found = set(DOTTED.findall(text))
    for module, imported in IMPORT.findall(text):
        for name in re.findall(r"(\w+)(?: as \w+)?", imported.strip("()")):
            found.add(f"{module}.{name}")
    return found


def strings_in(source):
    """Return the string literals of a module, docstrings and the fixed parts of f-strings included."""
    constants = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return "\n".join(node.value for node in constants if isinstance(node.value, str))


def missing(name):
    """Return whether a dotted name is found neither as a module nor as an attribute."""
    parts = name.split(".")
    there = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], start=2):
        if hasattr(there, part):
            there = getattr(there, part)
            continue
        try:
            there = importlib.import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            return True
    return False


def deep(name):
    """Return whether a name stands in a module that users do not import from."""
    if name in PUBLIC:
        return False
    module = max((public for public in PUBLIC if name.startswith(f"{public}.")), key=len)
    return name.removeprefix(f"{module}.").split(".")[0] not in PUBLIC[module].__all__


def relative(path):
    return str(path.relative_to(ROOT))


def text_of(path):
    if path in MODULES:
        return strings_in(path.read_text())
    if path in NOTEBOOKS:
        cells = json.loads(path.with_suffix(".ipynb").read_text())["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells)
    return path.read_text()


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md", *NOTEBOOKS, *MODULES], ids=relative)
def test_the_names_and_files_that_a_text_mentions_are_there(path):
    text = text_of(path)
    assert [name for name in sorted(names_in(text)) if missing(name)] == []
    assert [file for file in sorted(set(FILE.findall(text))) if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=relative)
def test_readers_are_told_public_names_alone(path):
    assert [name for name in sorted(names_in(text_of(path))) if deep(name)] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("use `gpu.no_such_name` now", "gpu.no_such_name"),
        ("from gpu.schedules import Cosine, Sine", "gpu.schedules.Sine"),
        ("from linalg_cnn import (\n    Conv,\n    Conf,\n)", "linalg_cnn.Conf"),
        ("`linalg_cnn.Conv.matricks`", "linalg_cnn.Conv.matricks"),
    ],
)
def test_a_wrong_name_would_be_found(text, wrong):
    assert [name for name in names_in(text) if missing(name)] == [wrong]


def test_a_deep_name_would_be_found():
    assert [deep(name) for name in ("gpu.training.trainer.train", "gpu.predict.backends")] == [True, True]
    assert [deep(name) for name in ("gpu.train", "gpu.predict", "gpu.predict.Predictor.classes")] == [False] * 3


def test_names_in_the_strings_of_a_module_are_read():
    source = '''"""See `gpu.one`."""\n# gpu.two is in a comment\nraise ValueError(f"{x}: gpu.three, {y}")'''
    assert names_in(strings_in(source)) == {"gpu.one", "gpu.three"}
