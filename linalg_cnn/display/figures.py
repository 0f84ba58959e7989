"""Matplotlib figures of weights and of matrices, for PNG files."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import scipy.sparse

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_int
from linalg_cnn.display.colors import DIVERGING, INK, MUTED
from linalg_cnn.display.grids import bins
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.conv import Conv
from linalg_cnn.ops.resample import ResampleTo
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def occupancy(matrix: Any, max_rows: int = 400, max_columns: int = 400) -> Array:
    """Return the share of stored entries in each cell when a sparse matrix is cut into a grid of cells.

    Parameters
    ----------
    matrix : scipy sparse array
        The matrix.
    max_rows, max_columns : int
        Largest number of cells per side; a smaller matrix has one cell per entry.

    Returns
    -------
    float64 array (rows, columns)
        Shares in [0, 1].

    Examples
    --------
    >>> occupancy(scipy.sparse.eye_array(4), 2, 2)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    entries = scipy.sparse.coo_array(matrix)
    rows, columns = (min(n, m) for n, m in zip(entries.shape, (max_rows, max_columns), strict=True))
    cells, areas = bins(entries.shape, (rows, columns), entries.row, entries.col)
    return (np.bincount(cells, minlength=rows * columns) / areas).reshape(rows, columns)


def weights_figure(affine: AffineMap, labels: Sequence[str] | None = None) -> "Figure":
    """Return a figure of the rows of W as images of the input's shape, all on one colour scale.

    Parameters
    ----------
    affine : AffineMap
        Map with an ``in_shape`` of one channel and two spatial axes.
    labels : sequence of str, optional
        Title of each row; by default its number.

    Raises
    ------
    ValueError
        If the map's ``in_shape`` is not (1, height, width).

    Examples
    --------
    >>> figure = weights_figure(AffineMap([[1.0, -1.0], [0.0, 2.0]], [0.0, 0.0], in_shape=(1, 1, 2)), ["one", "two"])
    >>> [axes.get_title() for axes in figure.axes if axes.get_title()]
    ['one', 'two']
    """
    from matplotlib.figure import Figure

    if affine.in_shape is None or len(affine.in_shape) != 3 or affine.in_shape[0] != 1:
        raise ValueError(f"affine: expected in_shape (1, height, width), got {affine.in_shape}")
    pictures = affine.toarray().W.reshape(-1, *affine.in_shape[1:])
    names = [str(row) for row in range(len(pictures))] if labels is None else labels
    across = min(5, len(pictures))
    down = -(-len(pictures) // across)
    limit = np.abs(pictures).max() or 1.0
    figure = Figure(figsize=(max(1.05 * across, 3.2), 1.2 * down + 1.0), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, name in zip(grid.flat, pictures, names, strict=False):
        image = axes.imshow(picture, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(name, fontsize=11, color=INK, pad=3)
    bar = figure.colorbar(image, ax=grid, orientation="horizontal", shrink=0.7, aspect=30, pad=0.03)
    bar.formatter.set_powerlimits((-2, 3))
    bar.set_label("weight of a pixel", color=MUTED)
    figure.suptitle(f"The {len(pictures)} rows of W, as images", color=INK, fontsize=11)
    return figure


class Panel(NamedTuple):
    """A matrix with its names in a figure.

    Examples
    --------
    >>> Panel("$W$", "all of it", np.eye(2)).kind
    'all of it'
    """

    symbol: str
    kind: str
    matrix: Any


def matrix_panels(network: SkipNetwork) -> list[Panel]:
    """Return the sparse matrices of a network: those of the layers, of the skips' resampling, and the composed W.

    Examples
    --------
    >>> network = SkipNetwork((1, 4), [Conv([[[1.0, 1.0]]]), Conv([[[1.0]]])], {(0, 1): 0.5, (1, 1): 0.5})
    >>> [panel.symbol for panel in matrix_panels(network)]
    ['$W^{(1)}$', '$W^{(2)}$', '$R^{(0,1)}$', '$W$']
    """
    W = network.compose(form="sparse").W
    panels = []
    for number, (layer, shape) in enumerate(zip(network.layers, network.shapes[:-1], strict=True), start=1):
        layer = cast(Operation, layer)  # those with pieces are refused by compose
        padded = isinstance(layer, Conv) and any(sum(pair) for pair in layer.padding_pairs)
        symbol = f"W^{{({number})}}" + (f"P^{{({number})}}" if padded else "")
        panels.append(Panel(f"${symbol}$", type(layer).__name__, layer.matrix(shape)))
    for k, j in sorted(network.skip_weights):
        source, target = network.shapes[k], network.shapes[j]
        if source != target and network.skip_weights[k, j] != 0:
            matrix = ResampleTo(target, network.resample).matrix(source)
            panels.append(Panel(f"$R^{{({k},{j})}}$", "resampled skip", matrix))
    return [*panels, Panel("$W$", "all of it", W)]


def matrices_figure(network: SkipNetwork, across: int | None = None) -> "Figure":
    """Return a figure of the positions of the entries of each layer's matrix and of the network's W, on one scale.

    A cell of the figure is coloured if an entry falls in it, and darker the more entries do. Matrices of very few rows
    or columns are drawn thicker than to scale.

    Parameters
    ----------
    network : SkipNetwork
        The network.
    across : int, optional
        Number of matrices side by side; by default all of them.

    Raises
    ------
    ValueError
        If ``across`` is not an int of at least 1.

    Examples
    --------
    >>> len(matrices_figure(SkipNetwork((1, 4), [Conv([[[1.0, 1.0]]]), Conv([[[1.0]]])])).axes)
    3
    """
    from matplotlib.figure import Figure

    panels = matrix_panels(network)
    across = len(panels) if across is None else check_int("across", across, 1)
    largest = max(max(panel.matrix.shape) for panel in panels)
    longest, thinnest, slot, title, head, caption, margin = 2.9, 0.16, 1.25, 0.7, 0.45, 0.75, 0.3  # inches
    extents = [tuple(max(thinnest, longest * n / largest) for n in panel.matrix.shape) for panel in panels]
    lines = [range(start, min(start + across, len(panels))) for start in range(0, len(panels), across)]
    heights = [head + max(extents[i][0] for i in line) + caption for line in lines]
    widths = [sum(max(extents[i][1], slot) + margin for i in line) + margin for line in lines]
    size = (max(widths), title + sum(heights))
    figure = Figure(figsize=size)
    top = title
    for line, height, width in zip(lines, heights, widths, strict=True):
        left = margin + (size[0] - width) / 2
        for i in line:
            room = max(extents[i][1], slot)
            x = left + (room - extents[i][1]) / 2
            y = size[1] - top - head - extents[i][0]
            _draw_panel(figure.add_axes((x / size[0], y / size[1], *np.divide(extents[i][::-1], size))), panels[i])
            left += room + margin
        top += height
    words = (
        "Where each layer's matrix has entries, and the one matrix W that replaces them all\n"
        "(to scale, but a few rows are drawn thicker than they are)"
    )
    figure.text(0.5, 1 - 0.12 / size[1], words, ha="center", va="top", color=INK, fontsize=13)
    return figure


def _draw_panel(axes: Any, panel: Panel) -> None:
    cells = occupancy(panel.matrix)
    shade = np.where(cells > 0, 0.45 + 0.55 * np.sqrt(cells), 0)
    axes.imshow(shade, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    rows, columns = panel.matrix.shape
    axes.set_title(f"{panel.symbol}\n{panel.kind}", fontsize=11, color=INK)
    axes.set_xlabel(
        f"{rows:,} x {columns:,}\n{panel.matrix.nnz:,} entries\n{panel.matrix.nnz / (rows * columns):.2%} filled",
        fontsize=9,
        color=MUTED,
    )
    for spine in axes.spines.values():
        spine.set_color(MUTED)


def to_png(figure: "Figure", description: str) -> bytes:
    """Return a figure as the bytes of a PNG file that holds a description in its metadata.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> b"nothing yet" in to_png(Figure(figsize=(1, 1)), "nothing yet")
    True
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Description": description})
    return buffer.getvalue()
