"""Read the cells, texts and pixels of a picture back from its SVG."""

import base64
import io
import re
from xml.etree import ElementTree as ET

import numpy as np
from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"
CELL = re.compile(r"row (\d+)[^,]*(?:\([^)]*\))?, column (\d+)[^:]*: (.*)")


def parse(picture):
    """Return the picture as XML, and check that it has a text alternative, twice, and a white background."""
    root = ET.fromstring(picture if isinstance(picture, str) else picture.svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.find(f"{SVG}desc").text == root.get("aria-label")
    assert "background:#ffffff" in root.get("style")
    return root


def titles(picture):
    """Return the hover texts with the colours of their rectangles: [(text, fill)]."""
    return [
        (found.text, rect.get("fill"))
        for rect in parse(picture).iter(f"{SVG}rect")
        if (found := rect.find(f"{SVG}title")) is not None
    ]


def matrix_cells(picture):
    """Return the cells of a matrix: {(row, column): (value as text, fill)}."""
    found = {}
    for words, fill in titles(picture):
        if match := CELL.fullmatch(words):
            position = int(match[1]), int(match[2])
            assert position not in found
            found[position] = (match[3], fill)
    return found


def written(picture):
    """Return all texts, without the markup of subscripts and superscripts."""
    return ["".join(element.itertext()) for element in parse(picture).iter(f"{SVG}text")]


def pixels(picture):
    """Return the image inside a picture as an array (height, width, 3)."""
    (element,) = parse(picture).iter(f"{SVG}image")
    data = base64.b64decode(element.get("href").removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
