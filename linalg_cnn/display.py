"""Matrices as pictures. Needs matplotlib, which nothing else in the package does."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse
from matplotlib.figure import Figure

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import Array
from linalg_cnn.skip_network import SkipNetwork

INK = "#1b4965"
MUTED = "#5c6770"
DIVERGING = "PuOr_r"  # told apart with any common colour blindness


def occupancy(matrix: Any, max_rows: int = 400, max_columns: int = 400) -> Array:
    """Return which share of each cell is filled when a sparse matrix is cut into a grid of cells.

    Parameters
    ----------
    matrix : scipy sparse array
    max_rows, max_columns : int
        The grid is as fine as the matrix, but not finer than this.

    Returns
    -------
    float64 array
        In [0, 1].

    Examples
    --------
    >>> occupancy(scipy.sparse.eye_array(4), 2, 2)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    entries = scipy.sparse.coo_array(matrix)
    rows, columns = (min(n, m) for n, m in zip(entries.shape, (max_rows, max_columns), strict=True))
    row_of, column_of = (np.arange(n) * m // n for n, m in zip(entries.shape, (rows, columns), strict=True))
    cells = row_of[entries.row] * columns + column_of[entries.col]
    filled = np.bincount(cells, minlength=rows * columns).reshape(rows, columns)
    return filled / np.outer(np.bincount(row_of), np.bincount(column_of))


def weights_figure(affine: AffineMap, labels: Sequence[str] | None = None) -> Figure:
    """Return each row of W as a picture of the input's shape, all on one colour scale.

    Parameters
    ----------
    affine : AffineMap
        Dense, with an ``in_shape`` of one channel and two spatial axes.
    labels : sequence of str, optional
        What each row stands for; its number if not given.

    Raises
    ------
    ValueError
        If the map has no such ``in_shape``.
    """
    if affine.in_shape is None or len(affine.in_shape) != 3 or affine.in_shape[0] != 1:
        raise ValueError(f"affine: expected in_shape (1, height, width), got {affine.in_shape}")
    pictures = affine.toarray().W.reshape(-1, *affine.in_shape[1:])
    names = [str(row) for row in range(len(pictures))] if labels is None else labels
    across = min(5, len(pictures))
    down = -(-len(pictures) // across)
    limit = np.abs(pictures).max() or 1.0
    figure = Figure(figsize=(1.75 * across + 0.9, 1.95 * down + 0.75), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, name in zip(grid.flat, pictures, names, strict=False):
        image = axes.imshow(picture, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(name, fontsize=13, color=INK)
    bar = figure.colorbar(image, ax=grid, shrink=0.85, pad=0.02)
    bar.formatter.set_powerlimits((-2, 3))
    bar.set_label("weight of a pixel", color=MUTED)
    figure.suptitle(
        f"The {len(pictures)} rows of W: what each class adds up over the pixels", color=INK, fontsize=13
    )
    return figure


def matrices_figure(network: SkipNetwork) -> Figure:
    """Return where each layer's matrix, each skip's resampling, and the whole network's W have entries."""
    panels = []
    for number, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=False), start=1):
        name = rf"$W^{{({number})}}$" + ("" if type(layer).__name__ != "Conv" else r"$P^{(%d)}$" % number)
        panels.append((name, type(layer).__name__, layer.matrix(shape)))
    for node in network.graph.nodes:
        if node.name.startswith("skip_weights"):
            k, j = node.name[len("skip_weights[(") : -2].split(", ")
            shape = network.graph.input_shapes(node)[0]
            panels.append((rf"$R^{{({k},{j})}}$", "resampling of the skip", node.operation.matrix(shape)))
    panels.append(("$W$", "the whole network", network.compose(form="sparse").W))

    figure = Figure(figsize=(2.35 * len(panels) + 0.3, 3.9), layout="constrained")
    for axes, (name, kind, matrix) in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
        cells = occupancy(matrix)
        # The square root keeps thin diagonals visible beside full blocks.
        axes.imshow(np.sqrt(cells), cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        rows, columns = matrix.shape
        share = matrix.nnz / (rows * columns)
        axes.set_title(f"{name}\n{kind}", fontsize=11, color=INK)
        axes.set_xlabel(
            f"{rows:,} x {columns:,}\n{matrix.nnz:,} entries\n{share:.2%} filled", fontsize=9, color=MUTED
        )
        for spine in axes.spines.values():
            spine.set_color(MUTED)
    figure.suptitle("Where the matrices have entries: every layer, and their product", color=INK, fontsize=13)
    return figure


def to_png(figure: Figure, description: str) -> bytes:
    """Return a figure as the bytes of a PNG file that carries its description as text."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Description": description})
    return buffer.getvalue()
