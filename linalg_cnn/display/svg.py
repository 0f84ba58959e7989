"""The few kinds of SVG elements that pictures consist of; all texts are escaped here."""

import base64
import re
import struct
import zlib
from html import escape
from typing import Any

import numpy as np

from linalg_cnn.display.colors import INK
from linalg_cnn.display.words import is_number, plain
from linalg_cnn.types import Array

FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"
MATH_FONT = "'STIX Two Text', 'Times New Roman', 'Liberation Serif', serif"

MINUS = "\N{MINUS SIGN}"

NO_POINTER = 'style="pointer-events:none"'
"""Attribute of a text on a cell, with which hovering applies to the cell instead of the text."""

TOKEN = re.compile(r"(?P<name>[A-Za-z]+)(?P<below>(?:_?\d+)+(?:_\w+)*|(?:_\w+)*)|\*\*(?P<above>\d+)|(?P<other>.)")


def number(value: float) -> str:
    """Return a coordinate with at most two decimals and no trailing zeros."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def rect(x: float, y: float, width: float, height: float, fill: str, *, more: str = "", title: str = "") -> str:
    """Return a rectangle, with further attributes (``more``) and a hover text (``title``)."""
    start = f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}" fill="{fill}"'
    start = f"{start} {more}" if more else start
    return f"{start}><title>{escape(title)}</title></rect>" if title else f"{start}/>"


def lines(points: list[tuple[float, float, float, float]], color: str, width: float) -> str:
    """Return straight lines from (x1, y1) to (x2, y2) as one path."""
    path = "".join(f"M{number(a)} {number(b)}L{number(c)} {number(d)}" for a, b, c, d in points)
    return f'<path d="{path}" stroke="{color}" stroke-width="{number(width)}" fill="none"/>' if points else ""


def text(
    content: Any, x: float, y: float, size: float, *, color: str = INK, anchor: str = "middle", more: str = ""
) -> str:
    """Return a text, number or expression at the point (x, y); expressions are set in a mathematical font."""
    words = isinstance(content, str)
    family = FONT if words or is_number(content) else MATH_FONT
    inner = escape(content) if words else formula(content)
    return (
        f'<text x="{number(x)}" y="{number(y + 0.35 * size)}" font-size="{number(size)}" font-family="{family}" '
        f'fill="{color}" text-anchor="{anchor}"{" " + more if more else ""}>{inner}</text>'
    )


def formula(value: Any) -> str:
    """Return a number or sympy expression as the content of an SVG text, with subscripts and superscripts.

    Examples
    --------
    >>> import sympy
    >>> formula(sympy.Symbol("a_1_2"))
    '<tspan font-style="italic">a</tspan><tspan font-size="70%" dy="3">12</tspan>'
    >>> formula(-1.5)
    '−1.5'
    """
    parts: list[str] = []
    sunk = 0
    for token in TOKEN.finditer(plain(value)):
        name, below, above, other = token.group("name", "below", "above", "other")
        pieces: list[tuple[str, int, str]] = []
        if name and not is_number(value):
            pieces.append((name, 0, 'font-style="italic"'))
            indices = [index for index in re.split("_", below or "") if index]
            if indices:
                joined = "".join(indices) if all(len(index) == 1 for index in indices) else ",".join(indices)
                pieces.append((joined, 3, 'font-size="70%"'))
        elif above:
            pieces.append((above, -4, 'font-size="70%"'))
        elif other != "*":
            shown = MINUS if other == "-" else token.group()
            pieces.append((shown, 0, ""))
        for piece, level, style in pieces:
            attributes = f"{style} " if style else ""
            attributes += f'dy="{level - sunk}"' if level != sunk else ""
            parts.append(f"<tspan {attributes.strip()}>{escape(piece)}</tspan>" if attributes else escape(piece))
            sunk = level
    return "".join(parts)


def text_width(content: Any, size: float) -> float:
    """Return the approximate width of a text."""
    if isinstance(content, str):
        return 0.56 * size * len(content)
    shown = plain(content)
    return size * sum(0.3 if c in "_*.,()" else 0.42 if c.isdigit() and "_" in shown else 0.6 for c in shown)


def png_uri(pixels: Array) -> str:
    """Return an image (height, width, 3) of uint8 as a PNG file in a ``data:`` URI.

    Source: the PNG specification (W3C), with filter 0 on every row.

    Examples
    --------
    >>> png_uri(np.zeros((1, 1, 3), np.uint8))[:30]
    'data:image/png;base64,iVBORw0K'
    """
    height, width, _ = pixels.shape
    raw = np.zeros((height, 1 + 3 * width), np.uint8)
    raw[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    file += chunk(b"IDAT", zlib.compress(raw.tobytes(), 9)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def image(pixels: Array, width: float, height: float) -> str:
    """Return an image whose pixels are sharp squares at any size."""
    return (
        f'<image width="{number(width)}" height="{number(height)}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{png_uri(pixels)}"/>'
    )
