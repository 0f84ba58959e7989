"""The directive ``live``: Python code in a page, shown as what it makes, with the code folded below.

The code is run as the site is built. Its last line is an expression: an `Explorer`, whose sliders work in the page, or
anything else with an HTML form, such as a `Picture`.
"""

import ast
import warnings
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive

from linalg_cnn.display import Explorer


def shown(code: str) -> str:
    r"""Return the HTML of the last expression of some code.

    Examples
    --------
    >>> shown("from linalg_cnn.display import image_picture\nimage_picture([[1.0, 2.0]])")[:4]
    '<svg'
    """
    *statements, last = ast.parse(code).body
    names: dict[str, Any] = {}
    with warnings.catch_warnings(action="error"):
        exec(compile(ast.Module(statements, []), "<live>", "exec"), names)  # noqa: S102, the project's own pages
        value = eval(compile(ast.Expression(last.value), "<live>", "eval"), names)  # type: ignore[attr-defined]  # noqa: S307
    return value.html() if isinstance(value, Explorer) else str(value._repr_html_())


class Live(Directive):
    """The directive."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the HTML, and the code in a folded block."""
        code = "\n".join(self.content)
        block = nodes.literal_block(code, code, language="python")
        open_fold = "<details><summary>The code of this picture</summary>"
        return [
            nodes.raw("", shown(code), format="html"),
            nodes.raw("", open_fold, format="html"),
            block,
            nodes.raw("", "</details>", format="html"),
        ]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("live", Live)
    return {"parallel_read_safe": True}
