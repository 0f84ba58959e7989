"""How a notebook shows the library's objects.

The classes of the core know only this module: `linalg_cnn.display`, which stands above them and draws them, registers
one function per class and kind of picture.
"""

from functools import singledispatch


@singledispatch
def html_of(shown: object) -> str | None:
    """Return an object as HTML, or None where nothing is registered for its class or its picture would be too large."""
    return None


@singledispatch
def latex_of(shown: object) -> str | None:
    """Return an object as LaTeX, or None where nothing is registered for its class or its formula would be too long."""
    return None


class Drawn:
    """An object that notebooks show as a picture or a formula; where there is neither, they show its repr."""

    def _repr_html_(self) -> str | None:
        return html_of(self)

    def _repr_latex_(self) -> str | None:
        return latex_of(self)
