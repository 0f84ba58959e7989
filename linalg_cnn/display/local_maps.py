"""Pictures of the affine maps that a piecewise-linear network is around several inputs."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from linalg_cnn.checks import check_int
from linalg_cnn.display.classes import input_picture, is_image, output_names, pixel_picture
from linalg_cnn.display.colors import LIT, diverging_colors
from linalg_cnn.display.frame import count_words, decimal, joined
from linalg_cnn.display.images import image_picture, scale_bar
from linalg_cnn.display.picture import Picture, side_by_side, stacked
from linalg_cnn.display.svg import rect
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.types import Array


def local_maps_picture(
    graph: PiecewiseGraph | HasGraph,
    xs: npt.ArrayLike,
    *,
    rows: Sequence[int] | None = None,
    labels: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    limit: float | None = None,
    most: int = 4,
    longest: float = 84,
    title: str | None = None,
) -> Picture:
    """Return inputs beside each other, and below each the rows of its W(x) as images, all on one colour scale.

    Parameters
    ----------
    graph : PiecewiseGraph, or a network that holds one as its ``graph``, such as a SkipNetwork with a ReLU
    xs : array_like (N, *in_shape)
        Inputs.
    rows : sequence of int, optional
        Outputs whose rows are drawn; by default those that are the largest at one of the inputs.
    labels : sequence of str, optional
        Names of all outputs; by default their numbers.
    names : sequence of str, optional
        Titles of the inputs.
    limit : float, optional
        Number with the darkest colour; by default the largest of the rows that are drawn.
    most : int
        Largest number of inputs that are drawn.
    longest : float
        Longest side of an image, in pixels.
    title : str, optional
        Title above the picture.

    Returns
    -------
    Picture
        The number below each row is the output W(x) x + B(x) there. The row of the largest output at x has a frame.

    Raises
    ------
    TypeError
        If ``graph`` is not piecewise linear, or it or ``xs`` hold sympy expressions.
    MemoryError
        As `PiecewiseGraph.local_maps` does.
    ValueError
        If ``xs`` is not at least one input of shape ``in_shape``, ``in_shape`` has more than three axes, or there is
        not one label per output, one name per input, or a row is no output.

    Examples
    --------
    >>> from linalg_cnn import ReLU
    >>> graph = PiecewiseGraph((2,))
    >>> output = graph.add(ReLU(), 0)
    >>> local_maps_picture(graph, [[1.0, -1.0], [1.0, 3.0]], names=["below", "above"]).alt.split(". ")[1]
    'The outputs: below: 0 is 1 and 1 is 0; above: 0 is 1 and 1 is 3'
    """
    given = graph_of("graph", graph, PiecewiseGraph)
    check_int("most", most, 1)
    batch = given.batch("xs", xs)
    if len(given.in_shape) > 3:
        raise ValueError(f"graph: expected inputs of at most three axes, got the shape {given.in_shape}")
    if not len(batch):
        raise ValueError("xs: expected at least one input, got none")
    if names is not None and len(names) != len(batch):
        raise ValueError(f"names: expected {len(batch)}, one per input, got {len(names)}")
    hidden, batch = len(batch) - len(batch[:most]), batch[:most]
    W, B = given.local_maps(batch)
    scores = np.einsum("noi,ni->no", W, batch.reshape(len(batch), -1)) + B
    largest = scores.argmax(axis=1)
    outputs = output_names(labels, W.shape[1])
    drawn = np.unique(largest).tolist() if rows is None else _checked(rows, len(outputs))
    scale = limit or float(np.abs(W[:, drawn]).max()) or 1.0
    columns = []
    for i, x in enumerate(batch):
        top = input_picture(x, longest)
        column = [top.titled(str(names[i])) if names is not None else top]
        for k in drawn:
            row = _row(W[i, k].reshape(x.shape), scale, longest)
            row = _framed(row) if k == largest[i] and len(outputs) > 1 else row
            column.append(row.captioned(f"{outputs[k]}: {decimal(scores[i, k])}"))
        columns.append(stacked(*column, gap=8))
    bar = scale_bar(scale)
    picture = stacked(side_by_side(*columns, gap=12), bar)
    picture = picture.captioned(f"below each row of W(x): its output{'; framed: the largest' * (len(outputs) > 1)}")
    if hidden:
        picture = picture.captioned(f"the first {len(batch)} of {len(batch) + hidden} inputs")
    titles = [f"input {i}" if names is None else str(names[i]) for i in range(len(batch))]
    spelled = [
        f"{title}: {joined([f'{outputs[k]} is {decimal(scores[i, k])}' for k in drawn])}"
        for i, title in enumerate(titles)
    ]
    alt = f"{count_words(len(batch), 'input')}, and below each the rows of its local map W(x) as images: "
    alt += f"{joined([outputs[k] for k in drawn])}. The outputs: {'; '.join(spelled)}. {bar.alt}"
    return picture.with_alt(alt).with_title(title)


def _checked(rows: Sequence[int], count: int) -> list[int]:
    """Return the numbers of outputs, at least one.

    Raises
    ------
    ValueError
        If there is none, or one is not an int from 0 to ``count`` - 1.
    """
    if not len(rows):
        raise ValueError("rows: expected at least one output, got none")
    for row in rows:
        check_int("rows", row, 0)
        if row >= count:
            raise ValueError(f"rows: expected outputs from 0 to {count - 1}, got {row}")
    return [int(row) for row in rows]


def _row(weights: Array, limit: float, longest: float) -> Picture:
    """Return a row of W as an image, with its channels below each other."""
    if not is_image(weights.shape):
        return image_picture(weights, color="value", limit=limit, labels=False, longest=longest)
    return stacked(*(pixel_picture(channel, longest) for channel in diverging_colors(weights, limit)), gap=4)


def _framed(picture: Picture) -> Picture:
    frame = rect(-2, -2, picture.width + 4, picture.height + 4, "none", more=f'stroke="{LIT}" stroke-width="2.4"')
    return replace(picture, body=picture.body + frame)
