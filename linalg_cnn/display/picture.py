"""A picture: SVG on a white background, with a text alternative."""

import base64
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from linalg_cnn.display.colors import INK, MUTED, PAPER
from linalg_cnn.display.svg import number, text, text_width

MARGIN = 10

NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that no XML document may have, such as control characters in the name of a class."""


@dataclass(frozen=True)
class Picture:
    """A picture that notebooks show as SVG; its white background keeps it readable in light and dark themes.

    Parameters
    ----------
    body : str
        SVG elements between (0, 0) and (width, height).
    width, height : float
        Size in CSS pixels, without the margin.
    alt : str
        Text alternative: a description for screen readers, and for places where the picture cannot be drawn.

    Examples
    --------
    >>> square = Picture('<rect width="9" height="9"/>', 9, 9, alt="a black square")
    >>> square
    Picture(9 x 9: a black square)
    >>> square.svg[:27]
    '<svg xmlns="http://www.w3.o'
    """

    body: str
    width: float
    height: float
    alt: str

    def __repr__(self) -> str:
        """Show the size and the text alternative."""
        return f"Picture({number(self.width)} x {number(self.height)}: {self.alt})"

    @property
    def svg(self) -> str:
        """The picture as one SVG element, which is also the text of an SVG file; U+FFFD stands for `NOT_XML`."""
        width, height = (number(side + 2 * MARGIN) for side in (self.width, self.height))
        svg = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="{-MARGIN} {-MARGIN} {width} {height}" role="img" aria-label="{escape(self.alt)}" '
            f'style="max-width:100%;height:auto;background:{PAPER};border-radius:4px">'
            f"<desc>{escape(self.alt)}</desc>"
            f'<rect x="{-MARGIN}" y="{-MARGIN}" width="{width}" height="{height}" fill="{PAPER}"/>{self.body}</svg>'
        )
        return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", svg)

    def _repr_html_(self) -> str:
        """Show the picture in a notebook."""
        return self.svg

    def save(self, path: str | Path) -> None:
        """Write the picture as an SVG file.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        Path(path).write_text(self.svg, encoding="utf-8")

    def with_alt(self, alt: str) -> "Picture":
        """Return the same picture with another text alternative."""
        return replace(self, alt=alt)

    def with_title(self, title: str | None) -> "Picture":
        """Return the picture under a title, which also begins its text alternative; without one, the picture itself."""
        return self.titled(title).with_alt(f"{title}: {self.alt}") if title else self

    def with_rules(self, rules: str) -> "Picture":
        """Return the picture with CSS rules that hold for it alone; ``&`` in the rules stands for the picture."""
        if not rules:
            return self
        scope = f"s{zlib.crc32((self.body + rules).encode()):08x}"
        body = f'<g class="{scope}"><style>{rules.replace("&", "." + scope)}</style>{self.body}</g>'
        return replace(self, body=body)

    def titled(self, title: str, color: str = INK) -> "Picture":
        """Return the picture under a title; the text alternative remains as it is."""
        width = max(self.width, text_width(title, 13))
        body = text(title, width / 2, 8, 13, color=color) + move(self.body, (width - self.width) / 2, 24)
        return replace(self, body=body, width=width, height=self.height + 24)

    def captioned(self, caption: str) -> "Picture":
        """Return the picture above a caption; the text alternative remains as it is."""
        width = max(self.width, text_width(caption, 11))
        body = move(self.body, (width - self.width) / 2, 0)
        body += text(caption, width / 2, self.height + 12, 11, color=MUTED)
        return replace(self, body=body, width=width, height=self.height + 20)


def move(body: str, x: float, y: float) -> str:
    """Return SVG elements shifted by (x, y)."""
    return f'<g transform="translate({number(x)} {number(y)})">{body}</g>' if x or y else body


def side_by_side(*items: Picture | str, gap: float = 14, alt: str | None = None) -> Picture:
    """Return pictures next to each other, with signs such as "=" between them.

    Parameters
    ----------
    items : Picture or str
        Pictures, and signs between them.
    gap : float
        Space between two items, in pixels.
    alt : str, optional
        Text alternative; by default those of the items, one after the other.

    Examples
    --------
    >>> square = Picture('<rect width="9" height="9"/>', 9, 9, alt="a black square")
    >>> side_by_side(square, "=", square)
    Picture(58.32 x 22: a black square = a black square)
    """
    pictures = [item if isinstance(item, Picture) else sign(item) for item in items]
    height = max(picture.height for picture in pictures)
    x, parts = 0.0, []
    for picture in pictures:
        parts.append(move(picture.body, x, (height - picture.height) / 2))
        x += picture.width + gap
    return Picture("".join(parts), x - gap, height, _joined(alt, pictures, " "))


def stacked(*pictures: Picture, gap: float = 14, alt: str | None = None) -> Picture:
    """Return pictures below each other, centred.

    Parameters
    ----------
    pictures : Picture
        Pictures from top to bottom.
    gap : float
        Space between two pictures, in pixels.
    alt : str, optional
        Text alternative; by default those of the pictures, one after the other.

    Examples
    --------
    >>> square = Picture('<rect width="9" height="9"/>', 9, 9, alt="a black square")
    >>> stacked(square, square, alt="two squares")
    Picture(9 x 32: two squares)
    """
    width = max(picture.width for picture in pictures)
    y, parts = 0.0, []
    for picture in pictures:
        parts.append(move(picture.body, (width - picture.width) / 2, y))
        y += picture.height + gap
    return Picture("".join(parts), width, y - gap, _joined(alt, pictures, "; "))


def _joined(alt: str | None, pictures: Sequence[Picture], between: str) -> str:
    return between.join(picture.alt for picture in pictures if picture.alt) if alt is None else alt


def sign(words: str, size: float = 22) -> Picture:
    """Return a few words or an operator as a picture, to place it between others."""
    width = max(text_width(words, size), 10)
    return Picture(text(words, width / 2, size / 2, size), width, size, words)


TIMES = Picture(f'<circle cx="3" cy="3" r="2.5" fill="{INK}"/>', 6, 6, "times")
"""The dot that stands for a product."""

X = Picture('<text x="2" y="15" font-size="18" font-style="italic" font-family="serif">x</text>', 12, 20, "")
"""The x of W x."""


def message(words: str) -> Picture:
    """Return a sentence as a picture, to show it where nothing can be drawn."""
    return Picture(text(words, 0, 10, 13, anchor="start"), text_width(words, 13), 20, words)


def figure_picture(figure: Any, alt: str) -> Picture:
    """Return a matplotlib figure as a picture with a text alternative.

    Parameters
    ----------
    figure : matplotlib Figure
        The figure, which becomes a PNG image inside the SVG.
    alt : str
        Text alternative.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> figure = Figure(figsize=(2, 1))
    >>> line = figure.subplots().plot([0, 1], [1, 0])
    >>> figure_picture(figure, "a line that falls")
    Picture(192 x 96: a line that falls)
    """
    from PIL import Image

    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=192, facecolor=PAPER)
    # 256 colours are enough for curves and colour scales, and take a third of the space in a notebook or a page
    Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    width, height = (96 * float(inches) for inches in figure.get_size_inches())
    uri = base64.b64encode(buffer.getvalue()).decode()
    body = f'<image width="{number(width)}" height="{number(height)}" href="data:image/png;base64,{uri}"/>'
    return Picture(body, width, height, alt)
