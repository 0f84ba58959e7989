"""What the site changes in the sources it is built from: links, the folding of solutions, stars in docstrings."""

import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
FILES = "https://github.com/linalg-cnn/linalg_cnn/blob/main/"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


def adapt(_app: Any, docname: str, source: list[str]) -> None:
    """Change a page before it is parsed."""
    source[0] = notebook(source[0]) if docname.startswith("notebooks/") else text(source[0])


def text(markdown: str) -> str:
    """Let links out of docs/, to files of the repository, lead to them on the web.

    Examples
    --------
    >>> text("[a test](../tests/test_errata.py), [a page](matrices.md)")
    '[a test](https://github.com/linalg-cnn/linalg_cnn/blob/main/tests/test_errata.py), [a page](matrices.md)'
    """
    return markdown.replace("](../", f"]({FILES}")


def notebook(source: str) -> str:
    """Leave out what installs on Colab, fold the words of the solutions, and link to pages of the site.

    The pages ask nothing of other sites, so that the badge is one of their own.
    """
    contents = json.loads(source)
    contents["cells"][1]["metadata"]["tags"] = ["remove-cell"]
    for cell in contents["cells"]:
        if cell["cell_type"] == "markdown":
            words = link("".join(cell["source"])).replace(BADGE, "/_static/open-in-colab.svg")
            cell["source"] = fold(words) if "hide-cell" in cell["metadata"].get("tags", []) else words
    return json.dumps(contents)


def link(markdown: str) -> str:
    """Let links between notebooks, and from them to Markdown on the web, lead to the pages of the site.

    Examples
    --------
    >>> link("[2](02_padding.ipynb), [errata](https://github.com/linalg-cnn/linalg_cnn/blob/main/docs/errata.md)")
    '{doc}`2 </notebooks/02_padding>`, {doc}`errata </errata>`'
    """
    words = r"\[([^\[\]]+)\]"
    markdown = re.sub(words + r"\((\d\d_\w+)\.ipynb\)", r"{doc}`\1 </notebooks/\2>`", markdown)
    pages = "|".join(path.stem for path in DOCS.glob("*.md"))
    return re.sub(words + rf"\({FILES}docs/({pages})\.md\)", r"{doc}`\1 </\2>`", markdown)


def fold(markdown: str) -> str:
    r"""Fold the words of a solution, "**1.** ...", as MyST-NB folds its code.

    Examples
    --------
    >>> fold("**1.** Because.")
    '<details><summary>Solution 1</summary>\n\nBecause.\n\n</details>'
    """
    return re.sub(r"^\*\*(\d)\.\*\* ", r"<details><summary>Solution \1</summary>\n\n", markdown) + "\n\n</details>"


def escape_stars(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    r"""Let a shape such as (channels, *spatial) in a docstring be no start of an emphasis.

    Examples
    --------
    >>> lines = ["of shape (N, *k), as *always*", ">>> f(1, *k)"]
    >>> escape_stars(None, "", "", None, None, lines)
    >>> print(lines[0], "and", lines[1])
    of shape (N, \*k), as *always* and >>> f(1, *k)
    """
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            shapes = r"`[^`]*`|(?<=[(\s])\*(\w+(?=[),\s]|$)|\()"
            lines[number] = re.sub(shapes, lambda found: rf"\*{found[1]}" if found[1] else found[0], line)


def copy_mathjax(app: Any, _exception: Exception | None) -> None:
    """Put the part of MathJax that the pages load beside them: one script and its fonts."""
    package = metadata.distribution("sphinx-mathjax-offline")
    source = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    target = Path(app.outdir) / "_static" / "mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target)
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", adapt)
    app.connect("autodoc-process-docstring", escape_stars, priority=100)  # before napoleon
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True}
