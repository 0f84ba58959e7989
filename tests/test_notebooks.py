"""Each notebook runs, its .py and .ipynb agree, and all of its pictures have text alternatives."""

import ast
import os
import re
import time
from html.parser import HTMLParser

import jupytext
import nbformat
import pytest
from jupyter_cache.base import CacheBundleIn
from notebook_runs import FOLDER, NOTEBOOKS, opened_cache, outputs, run_notebook, site_run

from linalg_cnn import display

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_notebooks_and_nothing_else():
    assert NOTEBOOKS
    stems = {path.stem for path in NOTEBOOKS}
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == stems
    assert {path.stem for path in FOLDER.glob("*.py")} == stems


def test_they_are_numbered_in_the_sidebar_as_they_refer_to_each_other():
    index = (FOLDER.parent / "docs" / "index.md").read_text()
    options = re.search(r"```\{toctree\}\n((?::.*\n)+)\nnotebooks/\*\n", index)[1]
    assert ":numbered: 1\n" in options
    assert ":glob:\n" in options, "in the order of their files"
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))


@each_notebook
def test_the_pair_is_in_sync_and_without_outputs(path):
    text, notebook = jupytext.read(path), nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)

    def contents(cells):
        folded = [cell.metadata.get("jupyter", {}) for cell in cells]
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in cells], folded

    assert contents(notebook.cells) == contents(text.cells), "run: make sync"
    for cell in notebook.cells:
        assert not cell.get("outputs"), "run: make sync"
        assert cell.get("execution_count") is None


@each_notebook
def test_it_says_what_one_will_be_able_to_do_and_has_exercises_with_folded_solutions(path):
    cells = jupytext.read(path).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert re.search(r"After this notebook you can|you will be able to", text)
    start = next(n for n, cell in enumerate(cells) if re.search(r"^## Exercises", cell.source, flags=re.MULTILINE))
    exercises = re.findall(r"^(?:\*\*)?(\d)\. ", cells[start].source, flags=re.MULTILINE)
    assert exercises == [str(number + 1) for number in range(len(exercises))]
    assert len(exercises) >= 3
    folded = [cell for cell in cells[start:] if "hide-cell" in cell.metadata.get("tags", [])]
    assert sum(cell.cell_type == "code" for cell in folded) >= len(exercises)


@each_notebook
def test_solutions_are_marked_as_such_with_their_heading_and_folded(path):
    cells = jupytext.read(path).cells
    heading = next(n for n, cell in enumerate(cells) if cell.source.startswith("### Solutions"))
    for number, cell in enumerate(cells):
        tags = cell.metadata.get("tags", [])
        assert ("solution" in tags) == ("hide-cell" in tags or number == heading), cell.source
        assert number < heading or "solution" in tags, cell.source


DRAWING = {name for name in display.__all__ if name.endswith(("picture", "figure"))} | {
    *("side_by_side", "stacked", "Explorer", "record_picture")
}


def drawing_lines(source):
    """Return how many lines the longest statement has that draws."""

    def draws(statement):
        calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
        return any(getattr(call, "id", getattr(call, "attr", "")) in DRAWING for call in calls)

    return max(
        (each.end_lineno - each.lineno + 1 for each in ast.parse(source).body if draws(each)),
        default=0,
    )


@each_notebook
def test_cells_that_import_or_draw_are_folded_on_the_site_and_in_jupyterlab(path):
    for cell in jupytext.read(path).cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type != "code" or "solution" in tags or "colab" in tags:
            continue
        folded = "hide-input" in tags
        assert cell.metadata.get("jupyter", {}).get("source_hidden", False) == folded, cell.source
        imports = any(isinstance(each, (ast.Import, ast.ImportFrom)) for each in ast.parse(cell.source).body)
        drawn = drawing_lines(cell.source)
        assert folded or not (imports or drawn > 3), cell.source
        assert imports or drawn or not folded, f"nothing here need be folded: {cell.source}"


class Pictures(HTMLParser):
    """The pictures of a piece of HTML, and those of them without a text alternative."""

    def __init__(self, html):
        super().__init__()
        self.found, self.silent = 0, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        if tag == "img" or (tag == "svg" and named.get("aria-hidden") != "true"):
            self.found += 1
            words = named.get("alt") if tag == "img" else named.get("aria-label") or named.get("aria-labelledby")
            if not words:
                self.silent.append(self.get_starttag_text()[:200])


@pytest.mark.parametrize("silent", ["<img src='x'>", "<img src='x' alt=''>", "<svg><path/></svg>"])
def test_a_picture_without_words_would_be_found(silent):
    assert Pictures(silent).silent
    assert not Pictures("<img alt='a cat'><svg role='img' aria-label='a dog'><g/></svg>").silent


def test_what_the_site_has_run_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("executing.SITE_RUNS", tmp_path / "executed")
    path = tmp_path / "01_sums.ipynb"
    cells = [nbformat.v4.new_code_cell("1 + 1"), nbformat.v4.new_markdown_cell("A sum.")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with opened_cache(tmp_path / "executed") as cache:
        assert cache.list_cache_records() == []
        assert site_run(path) is None, "nothing has been run"

    done = nbformat.read(path, as_version=4)
    done.cells[0].metadata["mystnb"] = {"code_prompt_show": "as the site has it"}
    done.cells[0].outputs = [nbformat.v4.new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    with opened_cache(tmp_path / "executed") as cache:
        cache.cache_notebook_bundle(CacheBundleIn(done, str(path)), check_validity=False)
    found = site_run(path)
    assert [output.data["text/plain"] for _, output in outputs(found)] == ["2"]
    assert found.cells[1].source == "A sum."

    os.utime(path, (time.time() + 9, time.time() + 9))
    assert site_run(path) is None, "the notebook is newer than its run"
    os.utime(path, (0, 0))
    cells[0].source = "1 + 2"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    os.utime(path, (0, 0))
    assert site_run(path) is None, "its code is another"


@each_notebook
def test_it_runs_from_a_clean_kernel_without_network_or_warning(path):
    notebook = path.with_suffix(".ipynb")
    notebook = site_run(notebook) or run_notebook(notebook)
    pictures = 0
    for number, output in outputs(notebook):
        place = f"cell {number}: {notebook.cells[number].source[:80]!r}"
        assert output.output_type != "error", place
        assert output.get("name") != "stderr", f"{place} wrote to stderr: {output.text}"
        data = output.get("data", {})
        if "text/html" in data:
            seen = Pictures(data["text/html"])
            assert not seen.silent, f"{place} shows a picture without a text alternative: {seen.silent}"
            pictures += seen.found
            hidden = ">…<" in data["text/html"]
            assert not hidden, f"{place} writes an entry as dots, which a phone does not explain by hovering"
        else:
            bare = [kind for kind in data if kind.startswith("image/")]
            assert not bare, f"{place} shows a bare {bare}: show it through linalg_cnn.display, with words"
        assert not data.get("text/plain", "").startswith("<Figure"), f"{place} shows no picture, but its repr"
    assert pictures, "a notebook that teaches by matrices shows some"


BAD_CELLS = {
    "a warning": "import warnings\nwarnings.warn('old', DeprecationWarning)",
    "a warning of numpy": "import numpy\nnumpy.zeros(1) / 0",
    "the network": "import urllib.request\nurllib.request.urlopen('http://example.org')",
    "an error": "1 / 0",
}


@pytest.mark.parametrize("source", BAD_CELLS.values(), ids=BAD_CELLS)
def test_a_bad_cell_would_be_found(source, tmp_path):
    path = tmp_path / "bad.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    with pytest.raises(Exception, match=r"Warning|URLError|ZeroDivisionError"):
        run_notebook(path)
