"""What teachers hand out: notebooks without solutions that run, slides that need no network, and pictures."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import pytest
from notebook_runs import FOLDER, NOTEBOOKS, ROOT, outputs, run_notebook

sys.path.insert(0, str(Path(__file__).parents[1] / "docs" / "_ext"))

import reusable
import teaching

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path.with_suffix(".ipynb"), as_version=4)


@each_notebook
def test_students_get_no_solution_and_a_cell_for_each_of_their_own(path):
    notebook = read(path)
    theirs = teaching.student_version(notebook)
    solved = [cell for cell in notebook.cells if teaching.is_solution(cell)]
    text = "\n".join(cell.source for cell in theirs.cells)
    assert not any(teaching.is_solution(cell) for cell in theirs.cells)
    assert "### Solutions" not in text
    for cell in solved:
        assert cell.source not in text
    exercises = re.findall(r"^(\d)\. ", text[text.index("## Exercises") :], flags=re.MULTILINE)
    empty = [f"# Write your solution of exercise {number} here." for number in exercises]
    assert [cell.source for cell in theirs.cells[-len(empty) :]] == empty
    nbformat.validate(theirs)


@each_notebook
def test_students_notebooks_run_because_they_are_the_beginning_of_one_that_runs(path):
    notebook = read(path)
    theirs = teaching.student_version(notebook).cells
    kept = [cell for cell in notebook.cells if not teaching.is_solution(cell)]
    assert notebook.cells[: len(kept)] == kept == theirs[: len(kept)]
    for cell in theirs[len(kept) :]:
        assert cell.source.startswith("# ")
        assert "\n" not in cell.source


@pytest.mark.slow
def test_a_students_notebook_runs_in_a_clean_kernel(tmp_path):
    short = next(path for path in NOTEBOOKS if path.stem.startswith("03_"))
    nbformat.write(teaching.student_version(read(short)), tmp_path / "student.ipynb")
    assert all(output.output_type != "error" for _, output in outputs(run_notebook(tmp_path / "student.ipynb")))


def a_notebook():
    """Return a notebook that has run: two sections, folded drawing, a picture, a widget, and a solution."""
    v4 = nbformat.v4
    picture = v4.new_output("display_data", {"text/html": "<svg aria-label='two cells'></svg>"})
    widget = v4.new_output(
        "display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/html": "<p>sliders</p>"}
    )
    text = "# A title\n\nWords with [a link](02_other.ipynb).\n\n## First < section\n\nMore words: $x_1$."
    return v4.new_notebook(
        cells=[
            v4.new_markdown_cell(text),
            v4.new_code_cell("import hidden_module", metadata={"tags": ["hide-input"]}),
            v4.new_code_cell("visible_code()"),
            v4.new_code_cell("folded_drawing()", outputs=[picture, widget], metadata={"tags": ["hide-input"]}),
            v4.new_markdown_cell("## Exercises\n\n1. Why?"),
            v4.new_markdown_cell("### Solutions", metadata={"tags": ["solution"]}),
            v4.new_markdown_cell("**1.** Therefore.", metadata={"tags": ["solution", "hide-cell"]}),
        ]
    )


class Loaded(HTMLParser):
    """What a page loads: the addresses of its scripts, style sheets and pictures."""

    def __init__(self, html):
        super().__init__()
        self.addresses = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.addresses += [named[name] for name in ("src", "href") if name in named and tag != "a"]


def test_slides_have_the_text_the_code_to_read_and_the_pictures_but_no_solution():
    page = teaching.slides(a_notebook())
    sections = re.findall(r"<section.*?</section>", page, flags=re.DOTALL)
    assert [re.search(r"<h\d[^>]*>(.*?)</h\d>", section)[1] for section in sections] == [
        "A title",
        "First &lt; section",
        "Exercises",
    ]
    assert "visible_code" in sections[1]
    assert "two cells" in sections[1]
    assert "sliders" in sections[1]
    for absent in ("Therefore", "hidden_module", "folded_drawing", "widget-view", "02_other", "Write your solution"):
        assert absent not in page, absent
    assert Loaded(page).addresses == ["mathjax/tex-chtml.js"], "slides need no network"


def test_one_command_builds_all_and_runs_what_the_site_has_not_run(tmp_path, monkeypatch):
    path = tmp_path / "01_short.ipynb"
    nbformat.write(a_notebook(), path)
    ran = []
    monkeypatch.setattr(teaching, "NOTEBOOKS", [path])
    monkeypatch.setattr(teaching, "run_notebook", lambda path: ran.append(path) or a_notebook())
    written = [str(file.relative_to(tmp_path / "out")) for file in teaching.build(tmp_path / "out")]
    assert written == [*(f"pictures/{name}.svg" for name in reusable.PICTURES), "student/01_short.ipynb",
                       "slides/01_short.html"]  # fmt: skip
    assert ran == [path]
    assert (tmp_path / "out" / "slides" / "mathjax" / "tex-chtml.js").exists()
    assert (tmp_path / "out" / "docs" / "records" / "demo.json").exists(), "students' notebooks read ../docs/records"
    assert "docs/_ext/teaching.py" in (ROOT / "Makefile").read_text()


def test_each_picture_that_may_be_reused_is_a_file_with_words_and_on_the_page(tmp_path):
    files = list(reusable.write_pictures(tmp_path))
    assert [path.stem for path in files] == list(reusable.PICTURES)
    source = [(ROOT / "docs" / "teachers.md").read_text()]
    reusable.fill_in(None, "teachers", source)
    for path in files:
        svg = ElementTree.fromstring(path.read_text())
        assert svg.tag.endswith("svg")
        assert len(svg.get("aria-label")) > 20
        assert f'href="_static/pictures/{path.name}"' in source[0]


def test_teachers_read_about_every_notebook():
    page = (ROOT / "docs" / "teachers.md").read_text()
    for path in NOTEBOOKS:
        number = int(path.stem[:2])
        assert f"[{number}. " in page
        assert f"(../{FOLDER.name}/{path.stem}.ipynb)" in page
        assert f"**Notebook {number}**" in page
        assert re.search(rf"^\| {number} \|", page, flags=re.MULTILINE), "a cell to run live"
