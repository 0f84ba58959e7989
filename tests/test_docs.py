"""The site has a page for every public name, and tables for every record."""

import argparse
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
import sympy

import gpu
import gpu.predict
import linalg_cnn
from gpu.cli.main import build_parser
from linalg_cnn.display import operation_picture

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import adapting  # noqa: E402
import commands  # noqa: E402
import records  # noqa: E402

PACKAGES = [linalg_cnn, linalg_cnn.tropical, gpu, gpu.predict, gpu.schedules]


def documented():
    """Return what each page of the reference documents: (module, name)."""
    found = []
    for path in (DOCS / "api").glob("*.md"):
        module = ""
        for directive, name in re.findall(
            r"^\.\. (currentmodule|auto\w+):: ([\w.]+)$", path.read_text(), flags=re.MULTILINE
        ):
            if directive == "currentmodule":
                module = name
            elif directive != "automodule":
                found.append((module, name))
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_has_its_place_in_the_reference(package):
    listed = documented()
    assert len(listed) == len(set(listed))
    there = [getattr(importlib.import_module(module), name) for module, name in listed]
    for name in package.__all__:
        public = getattr(package, name)
        assert inspect.ismodule(public) or any(public is one for one in there), name


def test_the_reference_lists_public_names_alone():
    public = {package.__name__: package.__all__ for package in PACKAGES}
    assert [(module, name) for module, name in documented() if name not in public[module]] == []


def test_the_reference_of_the_command_line_has_every_command_and_option_with_its_help():
    assert "<!-- commands -->\n" in (DOCS / "commands.md").read_text()
    sections = re.split(r"^#+ `(.*)`$", commands.page(build_parser()), flags=re.MULTILINE)
    by_command = {"linalg-cnn": sections[0], **dict(zip(sections[1::2], sections[2::2], strict=True))}

    def check(parser):
        rows = re.findall(r"^\| `(.*?)` \| (.*) \|$", by_command.pop(parser.prog), re.MULTILINE)
        given = [action for action in parser._actions if "--help" not in action.option_strings]
        below = [action for action in given if isinstance(action, argparse._SubParsersAction)]
        options = [action for action in given if action not in below]
        for action, (spelled, words) in zip(options, rows, strict=True):
            assert spelled.split()[: len(action.option_strings)] == action.option_strings
            assert words.replace("`", "").startswith((action.help or "").split("%")[0].replace("|", r"\|"))
        for action in below:
            for command in action.choices.values():
                check(command)

    check(build_parser())
    assert by_command == {}, "sections without a command"


def test_constants_have_their_own_words_and_defaults_are_shown_as_they_are_written():
    lines = [tuple.__doc__]
    adapting.describe_constants(None, "data", "gpu.schedules.PAPER_FROM_05", gpu.schedules.PAPER_FROM_05, None, lines)
    assert lines[0].startswith("The second list with 0.005 in place of")
    kept = ["the words of something that is no constant"]
    adapting.describe_constants(None, "class", "gpu.schedules.PAPER_FROM_05", None, None, kept)
    assert kept == ["the words of something that is no constant"]
    assert "autodoc_preserve_defaults = True" in (DOCS / "conf.py").read_text()


def test_every_record_is_on_the_page_with_the_machine_it_was_measured_on():
    page = records.page()
    files = sorted((DOCS / "records").glob("*.json"))
    assert page.count("\n## ") + 1 == len(files)
    for path in files:
        assert f"<records/{path.name}>" in page
        assert json.loads(path.read_text())["hardware"]["processor"] in page


def test_a_record_of_an_unknown_kind_becomes_tables_of_all_its_numbers():
    record = {
        "experiment": "bench something new",
        "hardware": {"processor": "a | b"},
        "versions": {"python": "3.11", "numpy": "2.4"},
        "settings": {"quick": False, "held_out_images": 1000},
        "best": {"seconds": 0.25},
        "rows": [
            {"name": "x", "microseconds_per_image": {"1": 1.5, "64": 3}, "train_accuracy": 0.9},
            {"name": "y", "fast": True},
        ],
        "accuracy_by_seed": [{"seed": 3, "trained": 0.5}],
    }
    assert records.tables(record).splitlines() == [
        "|  | value |",
        "| --- | ---: |",
        "| best, seconds | 0.25 |",
        "",
        "**Rows**",
        "",
        "| name | us per image, batch of 1 | us per image, batch of 64 | training accuracy | fast |",
        "| --- | ---: | ---: | ---: | --- |",
        "| x | 1.5 | 3 | 90.0% |  |",
        "| y |  |  |  | yes |",
        "",
        "**Accuracy by seed**",
        "",
        "| seed | trained |",
        "| ---: | ---: |",
        "| 3 | 50.0% |",
    ]
    assert records.measured_on(record).splitlines()[2:-2] == [
        "|  | value |",
        "| --- | --- |",
        r"| processor | a \| b |",
        "| small sizes only | no |",
        "| held-out images | 1,000 |",
        "| versions | python 3.11, numpy 2.4 |",
    ]


def test_the_record_of_the_demo_has_network_and_map_side_by_side():
    lines = records.shown(DOCS / "records" / "demo.json").splitlines()
    assert lines[0] == "|  | network | W x + B | times faster |"
    assert lines[2] == "| parameters | 47,338 | 7,850 |  |"
    assert lines[3] == "| held-out accuracy | 90.3% | 90.3% |  |"
    assert lines[4].startswith("| us per image, batch of 1 (IQR) | 121.61 (2.4) | 8.71 (0.13) | 13.97 |")


def test_no_table_of_the_records_shows_a_key():
    page = re.sub(r"`[^`]*`|\{download\}\S+", "", records.page())
    assert re.findall(r"^\|.*?\b[a-z]+_[a-z_]+\b.*$", page.replace("linalg_cnn", ""), re.MULTILINE) == []


def test_a_page_has_the_tables_that_it_asks_for_and_says_which_are_not_measured_yet(tmp_path):
    record = {"experiment": "bench something new", "hardware": {"processor": "a chip"}, "rows": [{"seconds": 0.25}]}
    (tmp_path / "bench_new.json").write_text(json.dumps(record))
    text = "Before\n\n<!-- tables of bench_new.json -->\n\n<!-- tables of bench_other.json -->\n"
    page = records.filled_in(text, tmp_path)
    assert page.startswith("Before\n\n**Rows**\n\n| seconds |\n| ---: |\n| 0.25 |\n")
    assert "{download}`bench_new.json <records/bench_new.json>`" in page
    assert page.endswith("\n\nThere is no record of this version yet.\n")
    assert records.filled_in("No <!-- tables of bench_new.json --> in a line of its own") == (
        "No <!-- tables of bench_new.json --> in a line of its own"
    )


def test_pictures_of_the_pages_exist_and_have_text_alternatives():
    for path in DOCS.glob("*.md"):
        for words, image in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text()):
            assert words, f"{path.name}: expected a text alternative of {image}"
            assert (DOCS / image).exists(), f"{path.name}: expected the file {image}"


def test_the_picture_of_a_convolution_is_what_the_library_draws():
    """To draw it anew: ``operation_picture(...).save("docs/images/convolution.svg")``."""
    a, b, c, d = sympy.symbols("a b c d")
    picture = operation_picture(linalg_cnn.Conv([[[[a, b], [c, d]]]]), (1, 4, 4), (0, 1, 1))
    assert (DOCS / "images" / "convolution.svg").read_text() == picture.svg
    assert "](images/convolution.svg)" in (DOCS / "matrices.md").read_text()
