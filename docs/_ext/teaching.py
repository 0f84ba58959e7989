"""What teachers take from the notebooks: versions for students, and slides. `make teach` builds it, with the pictures.

Students get the notebook without its solutions, which are a suffix of it, and with a cell for each of their own. Slides
are one HTML file for each notebook, which needs no network: a browser shows them, and prints them as a PDF.
"""

import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import nbformat
from adapting import copy_mathjax_to
from executing import ROOT, run_notebook, site_run
from reusable import write_pictures

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
OUT = ROOT / "build" / "teach"
SLIDES = Template(Path(__file__).with_name("slides.html").read_text(encoding="utf-8"))
TAG = "solution"
"""Tag of the cells that students do not get."""


def is_solution(cell: Any) -> bool:
    """Return whether a cell belongs to the solutions."""
    return TAG in cell.metadata.get("tags", [])


def without_solutions(notebook: Any) -> Any:
    """Return a copy of a notebook without the cells of its solutions."""
    copy = nbformat.from_dict(notebook)
    copy.cells = [cell for cell in copy.cells if not is_solution(cell)]
    return copy


def student_version(notebook: Any) -> Any:
    """Return a copy of a notebook without its solutions, with an empty cell for the solution of each exercise.

    Examples
    --------
    >>> text = nbformat.v4.new_markdown_cell("## Exercises")
    >>> solution = nbformat.v4.new_markdown_cell("**1.** Because.", metadata={"tags": ["solution"]})
    >>> notebook = student_version(nbformat.v4.new_notebook(cells=[text, solution]))
    >>> [cell.source for cell in notebook.cells]
    ['## Exercises', '# Write your solution of exercise 1 here.']
    """
    copy = without_solutions(notebook)
    solutions = [re.match(r"\*\*(\d)\.", cell.source) for cell in notebook.cells if is_solution(cell)]
    for number in [found[1] for found in solutions if found]:
        empty = nbformat.v4.new_code_cell(f"# Write your solution of exercise {number} here.", id=f"exercise-{number}")
        copy.cells.append(empty)
    return copy


def slides_of(notebook: Any) -> Iterator[list[Any]]:
    """Yield the cells of each slide of a notebook without solutions: a piece of text, and the code that follows it.

    A new slide begins at each cell of text, and at each heading inside one.
    """
    slide: list[Any] = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            slide.append(cell)
            continue
        for piece in re.split(r"^(?=#{1,3} )", cell.source, flags=re.MULTILINE):
            if piece.strip():
                if slide:
                    yield slide
                slide = [nbformat.v4.new_markdown_cell(unlinked(piece))]
    yield slide


def unlinked(markdown: str) -> str:
    """Return a text without its links to other files of the project, which stand in no slide's folder.

    Examples
    --------
    >>> unlinked("[notebook 2](02_padding.ipynb), [the paper](https://arxiv.org/abs/2408.07815)")
    'notebook 2, [the paper](https://arxiv.org/abs/2408.07815)'
    """
    return re.sub(r"\[([^\[\]]+)\]\((?!https?:)[^)]*\)", r"\1", markdown)


def slides(notebook: Any) -> str:
    """Return the slides of a notebook that has run, as one HTML page beside a folder ``mathjax``."""
    from nbconvert import HTMLExporter
    from pygments.formatters import HtmlFormatter
    from traitlets.config import Config

    folded = Config(TagRemovePreprocessor={"enabled": True, "remove_input_tags": {"hide-input"}})
    exporter = HTMLExporter(
        config=folded,
        template_name="basic",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
    )
    title = section = ""
    pages = []
    for number, cells in enumerate(slides_of(without_solutions(notebook)), start=1):
        heading = re.match(r"#+ (.*)", cells[0].source)
        if heading and cells[0].source.startswith("# "):
            title = heading[1]
        where = title if heading or not section else f"{title} &middot; {escape(section)}"
        section = heading[1] if heading else section
        code = [shown(cell) for cell in cells[1:] if has_something(cell)]
        text, seen = rendered(exporter, cells[:1]), rendered(exporter, code)
        both = f'<div>{text}</div><div class="cells">{seen}</div>' if seen else text
        kind = ' class="seen"' if seen else ""
        pages.append(f'<section id="slide-{number}"{kind}><p class="where">{where}</p>{both}</section>')
    highlighting = HtmlFormatter().get_style_defs(".highlight")
    return SLIDES.substitute(title=escape(title), slides="\n".join(pages), highlighting=highlighting)


def has_something(cell: Any) -> bool:
    """Return whether a slide shows anything of a cell of code: its code, unless that is folded, or what it puts out."""
    return bool(cell.outputs) or "hide-input" not in cell.metadata.get("tags", [])


def shown(cell: Any) -> Any:
    """Return a copy of a cell of code with pictures instead of widgets, which need a kernel."""
    copy = nbformat.from_dict(cell)
    for output in copy.outputs:
        output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return copy


def rendered(exporter: Any, cells: list[Any]) -> str:
    """Return cells as HTML."""
    return str(exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells))[0]).strip() if cells else ""


def build(out: Path = OUT) -> Iterator[Path]:
    """Write the pictures, the students' notebooks and the slides to a folder, and yield each file that is written.

    The students' notebooks find the project's records where they look for them, so the folder can be handed out whole.

    A notebook that the site has run since it changed is not run again.
    """
    for folder in ("student", "slides"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    yield from write_pictures(out / "pictures")
    copy_mathjax_to(out / "slides" / "mathjax")
    shutil.copytree(ROOT / "docs" / "records", out / "docs" / "records", dirs_exist_ok=True)
    for path in NOTEBOOKS:
        student = out / "student" / path.name
        nbformat.write(student_version(nbformat.read(path, as_version=4)), student)
        yield student
        page = out / "slides" / f"{path.stem}.html"
        page.write_text(slides(site_run(path) or run_notebook(path)), encoding="utf-8")
        yield page


if __name__ == "__main__":
    for file in build(*map(Path, sys.argv[1:])):
        print(f"wrote {file}", flush=True)
