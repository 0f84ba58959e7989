"""Pictures that may be reused: drawn by the library as the site is built, one SVG file each.

The page ``teachers`` asks for them with the comment ``<!-- pictures -->`` in a line of its own.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sympy

from linalg_cnn import Conv, Dense, PiecewiseGraph, ReLU, SkipNetwork, conv_matrix, shared_skip_weights, symbolic
from linalg_cnn.display import (
    Picture,
    equation_picture,
    letter_colors,
    matrix_picture,
    network_picture,
    operation_picture,
    side_by_side,
    tropical_picture,
    zonotope_picture,
)
from linalg_cnn.tropical import Zonotope, tropical_form

ASKED_FOR = "<!-- pictures -->"
FOLDER = "pictures"
LINE = [[list(sympy.symbols("a b c"))]]
SQUARE = [[[list(sympy.symbols("a b")), list(sympy.symbols("c d"))]]]
NINE = np.array(sympy.symbols("k_:3_:3")).reshape(1, 1, 3, 3)
IMAGE = np.array(sympy.symbols("a_11 a_12 a_21 a_22")).reshape(2, 2)


def three_layers() -> Picture:
    """Draw a dense layer, a local one, and a convolution."""
    shared = conv_matrix(LINE, (1, 7))
    dense = sympy.Matrix(5, 7, sympy.symbols("w_:5_:7"))
    local = dense.multiply_elementwise(shared.applyfunc(lambda entry: int(entry != 0)))
    palette = letter_colors(dense, dense.shape)
    return side_by_side(
        matrix_picture(dense, palette=palette, labels=False, title="dense: 35 weights"),
        matrix_picture(local, palette=palette, labels=False, title="local: 15 weights"),
        matrix_picture(shared, title="shared: 3 weights"),
        gap=30,
    )


def options() -> Picture:
    """Draw the matrices of a kernel with a stride, with padding, and with a dilation."""
    cases: dict[str, dict[str, Any]] = {
        "stride 1": {},
        "stride 2": {"stride": 2},
        "padding 1": {"padding": 1},
        "dilation 2": {"dilation": 2},
    }
    return side_by_side(*(matrix_picture(Conv(LINE, **how), (1, 7), title=name) for name, how in cases.items()), gap=30)


def skip_network() -> Picture:
    """Draw a network of two convolutions with a skip of strength t."""
    layers = [Conv(SQUARE, padding="same"), Conv([[[[1, 0, -1]]]], padding=(0, 1))]
    return network_picture(SkipNetwork((1, 3, 3), layers, shared_skip_weights([(0, 1)], sympy.Symbol("t"))))


def three_units() -> Any:
    """Return the tropical polynomial of the sum of three ReLUs of two pixels."""
    graph = PiecewiseGraph((2,))
    hidden = graph.add(ReLU(), graph.add(Dense([[1, 1], [2, -1], [-1, 2]], [-1, 0, 0]), 0))
    graph.add(Dense([[1, 1, 1]]), hidden)
    return tropical_form(graph)[0].polynomials[0]


PICTURES: dict[str, tuple[str, Callable[[], Picture]]] = {
    "three_layers": ("From a dense layer to a convolution: each colour is one weight", three_layers),
    "window": (
        "A kernel at one position, and its row of the matrix",
        lambda: operation_picture(Conv(SQUARE), (1, 3, 3), output=(0, 0, 0)),
    ),
    "options": ("What stride, padding and dilation do to the matrix", options),
    "blocks": (
        "The doubly block Toeplitz matrix of a 3x3 kernel over a 5x5 image",
        lambda: matrix_picture(Conv(NINE), (1, 5, 5)),
    ),
    "channels": (
        "Three input and two output channels: a matrix of matrices",
        lambda: matrix_picture(Conv(np.arange(1.0, 25.0).reshape(2, 3, 2, 2)), (3, 4, 4)),
    ),
    "circulant": (
        "Circular padding: a circulant matrix",
        lambda: matrix_picture(Conv(LINE, padding=1, padding_mode="circular"), (1, 7)),
    ),
    "nearest": (
        "The paper's equation (6): resampling copies pixels",
        lambda: equation_picture(
            symbolic.resample_matrix((1, 2, 2), (3, 4), mode="nearest-exact"), IMAGE, (1, 2, 2), (1, 3, 4)
        ),
    ),
    "bilinear": (
        "Bilinear resampling: a matrix of the same shape, with other entries",
        lambda: equation_picture(
            symbolic.resample_matrix((1, 2, 2), (3, 4), mode="linear"), IMAGE, (1, 2, 2), (1, 3, 4), color="column"
        ),
    ),
    "padding": (
        "The paper's equation (8): padding adds empty rows",
        lambda: equation_picture(symbolic.pad_matrix((1, 2, 2), 1), IMAGE, (1, 2, 2), (1, 4, 4)),
    ),
    "skip": ("A skip connection of strength t", skip_network),
    "tropical_curve": ("The regions of three ReLUs of two pixels", lambda: tropical_picture(three_units())),
    "zonotope": ("Their Newton polygon is a sum of segments", lambda: zonotope_picture(Zonotope.of(three_units()))),
}
"""What each picture shows, and the function that draws it."""


def index() -> str:
    """Return all pictures as HTML, each with what it shows and a link to its file."""
    return "\n\n".join(
        f'<figure id="picture-{name}">\n{draw().svg}\n'
        f'<figcaption>{words}. <a href="_static/{FOLDER}/{name}.svg" download>{name}.svg</a></figcaption>\n</figure>'
        for name, (words, draw) in PICTURES.items()
    )


def write_pictures(folder: Path) -> Iterator[Path]:
    """Write each picture as an SVG file, and yield the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, draw) in PICTURES.items():
        path = folder / f"{name}.svg"
        draw().save(path)
        yield path


def fill_in(_app: Any, docname: str, source: list[str]) -> None:
    """Put the pictures in their place."""
    if docname == "teachers":
        source[0] = source[0].replace(ASKED_FOR, index())


def finish(app: Any, exception: Exception | None) -> None:
    """Write the files beside the built pages."""
    if exception is None and app.builder.format == "html":
        list(write_pictures(Path(app.outdir) / "_static" / FOLDER))


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", fill_in)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
