"""The form of a map: one dense matrix, or two factors that meet where the network is narrowest."""

from dataclasses import dataclass
from typing import Literal

import torch

from gpu.collapsing.casting import dtype_name
from gpu.collapsing.costs import Costs, costs_of_factors
from gpu.collapsing.memory import Budget, MapTooLargeError
from linalg_cnn import AffineGraph, AffineMap, compose
from linalg_cnn.chunks import Progress
from linalg_cnn.cut import cheapest_cut, split
from linalg_cnn.types import size_of

Shapes = list[tuple[int, int]]
"""Shapes (out_size, in_size) of matrices, the outermost first."""


@dataclass(frozen=True, eq=False)
class Form:
    """The form in which a network is composed.

    Attributes
    ----------
    parts : tuple of AffineGraph
        The graphs to compose, the outermost first: the whole network, or what follows and what precedes the cut.
    dense : Shapes
        Shape of the single matrix.
    factored : Shapes or None
        Shapes of the two factors at the cheapest cut; None if nothing can be cut.
    """

    parts: tuple[AffineGraph, ...]
    dense: Shapes
    factored: Shapes | None

    @property
    def shapes(self) -> Shapes:
        """Shapes of the matrices in the chosen form."""
        return self.factored if self.factored is not None and len(self.parts) == 2 else self.dense

    def choices(self, itemsize: int) -> dict[str, Costs | None]:
        """Return the costs of either form, for numbers of a size in bytes."""
        factored = None if self.factored is None else costs_of_factors(self.factored, itemsize)
        return {"dense": costs_of_factors(self.dense, itemsize), "factored": factored}


def choose_form(graph: AffineGraph, factored: Literal["auto"] | bool) -> Form:
    """Return the form of a network's map.

    Parameters
    ----------
    graph : AffineGraph
    factored : {"auto", True, False}
        Whether to cut the network in two; ``"auto"`` does so if a prediction then takes fewer multiply-accumulates.

    Raises
    ------
    ValueError
        If two factors are asked for and there is nothing to cut.
    """
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    dense = [(out_size, in_size)]
    cut = cheapest_cut(graph)
    if cut is None:
        if factored is True:
            raise ValueError("factored: expected 'auto' or False for a network without a value to cut at, got True")
        return Form((graph,), dense, None)
    width = sum(size_of(graph.shapes[value]) for value in cut)
    pays = width * (in_size + out_size) < in_size * out_size
    parts = tuple(split(graph, cut)) if factored is True or (factored == "auto" and pays) else (graph,)
    return Form(parts, dense, [(out_size, width), (width, in_size)])


def compose_form(form: Form, budget: Budget, like: torch.Tensor, progress: Progress | None) -> tuple[AffineMap, ...]:
    """Return the map of each part of a network, the outermost first, in float64.

    Parameters
    ----------
    form : Form
    budget : Budget
    like : tensor
        Tensor with the network's dtype, on its device.
    progress : callable or None
        Wraps the chunks of the composition.

    Raises
    ------
    MapTooLargeError
        If more memory would be taken than allowed.
    """
    count = costs_of_factors(form.shapes, like.element_size()).parameters
    cuda = like.device.type == "cuda"
    to_device = (lambda array: torch.from_numpy(array).to(like.device)) if cuda else None
    sizes = [8 * rows * columns for rows, columns in form.shapes]
    try:
        budget.check(
            f"a map of {count:,} numbers, in float64 and in {dtype_name(like.dtype)}, compared with the network,"
        )
        return tuple(
            # each part may take what the maps of the others leave
            compose(
                part,
                max_bytes=max(0, budget.for_composition - sum(sizes) + size),
                progress=progress,
                to_device=to_device,
            )
            for part, size in zip(form.parts, sizes, strict=True)
        )
    except MemoryError as error:
        factored = form.choices(like.element_size())["factored"]
        raise MapTooLargeError(str(error), factored is not None and factored.parameters < count) from error
