"""What the site changes in its sources: links, the Colab badge, solutions, asterisks in docstrings."""

import json
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from addresses import BADGE, Addresses
from sphinx.pycode import ModuleAnalyzer

DOCS = Path(__file__).parents[1]
ADDRESSES = Addresses.read()
SOLUTION_PROMPTS = {f"code_prompt_{verb}": f"{verb.title()} the code of the solution" for verb in ("show", "hide")}


def adapt(_app: Any, docname: str, source: list[str]) -> None:
    """Change a page before it is parsed."""
    source[0] = notebook(source[0]) if docname.startswith("notebooks/") else text(source[0], ADDRESSES)


def text(markdown: str, addresses: Addresses) -> str:
    """Let links out of docs/ lead to the site's notebooks and to the repository.

    While the repository has no address, the site offers its files for download.

    Examples
    --------
    >>> text("[notebook 1](../notebooks/01_convolution_is_a_matrix.ipynb)", Addresses())
    '{doc}`notebook 1 </notebooks/01_convolution_is_a_matrix>`'
    >>> text("[a test](../tests/test_errata.py)", Addresses("https://example.org/linalg_cnn"))
    '[a test](https://example.org/linalg_cnn/blob/main/tests/test_errata.py)'
    >>> text("[a test](../tests/test_errata.py)", Addresses())
    '[a test](../tests/test_errata.py)'
    """
    markdown = re.sub(r"\[([^\[\]]+)\]\(\.\./notebooks/(\w+)\.ipynb\)", r"{doc}`\1 </notebooks/\2>`", markdown)
    return markdown.replace("](../", f"]({addresses.files}") if addresses.files else markdown


def notebook(source: str) -> str:
    """Link to pages of the site, and fold the text of the solutions.

    The pages load nothing from other sites, so the badge that opens a notebook on Colab is a picture of their own.
    """
    contents = json.loads(source)
    for cell in contents["cells"]:
        if cell["cell_type"] == "code" and "solution" in cell["metadata"].get("tags", []):
            cell["metadata"]["mystnb"] = SOLUTION_PROMPTS
        if cell["cell_type"] == "markdown":
            words = link("".join(cell["source"])).replace(BADGE, "/_static/open-in-colab.svg")
            cell["source"] = fold(words) if "hide-cell" in cell["metadata"].get("tags", []) else words
    return json.dumps(contents)


def link(markdown: str) -> str:
    """Let links from a notebook to other notebooks, and to what stands in docs/, lead to the pages of the site.

    Examples
    --------
    >>> link("[2](02_padding.ipynb), [errata](../docs/errata.md), [the records](../docs/records)")
    '{doc}`2 </notebooks/02_padding>`, {doc}`errata </errata>`, {doc}`the records </records>`'
    >>> link("a [rank](../docs/glossary.md#rank)")
    'a [rank](/glossary.md#rank)'
    """
    words = r"\[([^\[\]]+)\]"
    markdown = re.sub(words + r"\((\d\d_\w+)\.ipynb\)", r"{doc}`\1 </notebooks/\2>`", markdown)
    pages = "|".join(path.stem for path in DOCS.glob("*.md"))
    markdown = re.sub(words + rf"\(\.\./docs/({pages})(?:\.md)?\)", r"{doc}`\1 </\2>`", markdown)
    return markdown.replace("](../docs/", "](/")


def fold(markdown: str) -> str:
    r"""Fold the text of a solution, "**1.** ...", as MyST-NB folds its code.

    Examples
    --------
    >>> fold("**1.** Because.")
    '<details><summary>Solution 1</summary>\n\nBecause.\n\n</details>'
    """
    return re.sub(r"^\*\*(\d)\.\*\* ", r"<details><summary>Solution \1</summary>\n\n", markdown) + "\n\n</details>"


def escape_stars(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    r"""Escape the asterisk of a shape such as (channels, *spatial), which would start an emphasis.

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


def describe_constants(_app: Any, what: str, name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Describe a constant as the module does that defines it.

    Sphinx looks only in the module that a page names: for a constant that is imported there, it shows the docstring of
    the constant's type. Napoleon takes what stands before a colon for the type.

    Examples
    --------
    >>> from gpu.schedules import PAPER_FROM_09
    >>> lines = list(tuple.__doc__.splitlines())
    >>> describe_constants(None, "data", "gpu.schedules.PAPER_FROM_09", PAPER_FROM_09, None, lines)
    >>> lines
    ["The paper's first list, one t per epoch: section 5.3, (b) of figure 3.", '']
    """
    package, _, constant = name.rpartition(".")
    for module in sorted(sys.modules) if what == "data" else []:
        if f"{module}.".startswith(f"{package}."):
            found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", constant))
            if found:
                lines[:] = found


def copy_mathjax(app: Any, _exception: Exception | None) -> None:
    """Copy what the pages load of MathJax into the site."""
    copy_mathjax_to(Path(app.outdir) / "_static" / "mathjax")


def copy_mathjax_to(target: Path) -> None:
    """Copy one script of MathJax and its fonts to a folder, for pages that typeset formulas without network."""
    package = metadata.distribution("sphinx-mathjax-offline")
    source = Path(str(package.locate_file("sphinx-mathjax-offline/static/mathjax")))
    fonts = "output/chtml/fonts/woff-v2"
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target)
    shutil.copytree(source / fonts, target / fonts, dirs_exist_ok=True)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", adapt)
    app.connect("autodoc-process-docstring", escape_stars, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", describe_constants, priority=900)  # after it
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True}
