"""The forms of an affine stretch, all of which compute the same map: a chain, a convolution, matrices."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import nn

from gpu.merging.border import (
    RowsOf,
    boxes_around,
    central_conv,
    central_multiply_adds,
    corrections,
    differing_positions,
    interior,
)
from gpu.merging.layers import Bordered, Matrices, Patch, Reshaped, Sparse
from gpu.merging.writing import chain_of
from gpu.models.conversion import to_module
from linalg_cnn import AffineGraph, Conv, Dense, compose
from linalg_cnn.cut import cheapest_cut, split
from linalg_cnn.memory import check_memory
from linalg_cnn.ops.rearrange import SameOrder
from linalg_cnn.types import size_of

CHAIN = "chain"
"""Name of the form in which a stretch is computed operation by operation."""
FORMS = ("convolution", "convolution + border", "sparse matrix", "dense matrix", "two matrices")
"""Names of the other forms."""
FORMS_FOR_ONNXRUNTIME = ("convolution", "dense matrix", "two matrices")
"""Names of those that onnxruntime is fast at, too: it has no kernels for sparse matrices and for parts of tensors."""
MOST_TIMES = 4
"""A dense form with more than this many times the multiply-accumulates (MACs) of the chain is not built: it is slower,
though a large matrix product has a higher rate than convolutions of few channels."""
MOST_TIMES_LOCAL = 1.5
"""The same for a convolution and for a sparse matrix, whose rate is that of the chain at most."""
MOST_WRONG = 0.75
"""Share of the output positions that a convolution may be wrong at for its border to be corrected."""


@dataclass(frozen=True, eq=False)
class Form:
    """One way to compute a stretch.

    Attributes
    ----------
    name : str
        "chain", "convolution", "convolution + border", "sparse matrix", "dense matrix" or "two matrices".
    module : nn.Module
        Module from (N, *in_shape) to (N, *out_shape), in evaluation mode.
    multiply_adds : int
        Multiply-accumulates (MACs) per sample, without those with zeros of a padding.
    """

    name: str
    module: nn.Module
    multiply_adds: int


def chain_form(graph: AffineGraph, max_bytes: int) -> Form:
    """Return a stretch as the chain that it is.

    Raises
    ------
    MemoryError
        If torch has no function for an operation, and its matrix takes more than ``max_bytes``.
    """
    return Form(CHAIN, chain_of(graph, max_bytes), graph.multiply_adds)


def other_forms(graph: AffineGraph, max_bytes: int) -> tuple[list[Form], list[str]]:
    """Return the forms of a stretch other than the chain, float64, and what was left out for lack of memory.

    Parameters
    ----------
    graph : AffineGraph
        The stretch, with its scales folded.
    max_bytes : int
        Limit on the matrices of a form, and on the rows that are composed for it.

    Returns
    -------
    forms : list of Form
        The forms that do not take many times as many MACs as the chain.
    left_out : list of str
        A sentence for each form that would take more memory.
    """
    work = _work(graph)
    if not work:
        return [], []  # a constant
    forms: list[Form] = []
    left_out: list[str] = []
    makers: tuple[Callable[[AffineGraph, int, int], Iterator[Form]], ...] = (_convolution, _matrix, _two_matrices)
    for make in makers:
        try:
            forms += make(graph, max_bytes, work)
        except MemoryError as error:
            left_out.append(str(error))
    return forms, left_out


def _work(graph: AffineGraph) -> int:
    """Return the number of entries of the matrices of all operations: their MACs, and what they move and add."""
    return sum(node.operation.count_entries(*graph.input_shapes(node)) for node in graph.nodes)


def _convolution(graph: AffineGraph, max_bytes: int, work: int) -> Iterator[Form]:
    """Yield a stretch as one convolution, with corrections at the border if it needs them."""
    image = _between_images(graph)
    if image is None or (len(image.nodes) == 1 and isinstance(image.nodes[0].operation, Conv)):
        return  # a single convolution is the chain already
    rows_bytes = 16 * image.out_shape[0] * size_of(image.in_shape)
    check_memory("the rows of one output position", rows_bytes, max_bytes)
    rows, most = RowsOf(image), MOST_TIMES_LOCAL * work
    if central_multiply_adds(image, rows) > most:
        return
    conv = central_conv(image, rows)
    count = conv.count_entries(image.in_shape)
    if count > most:
        return
    try:
        module = to_module(conv, image.in_shape).double().requires_grad_(False)
    except ValueError:  # torch has no convolution along so many axes
        return
    wrong = differing_positions(image, conv)
    name = "convolution"
    if wrong.any():
        inner = interior(wrong)
        if inner is None or size_of(tuple(length for _, length in inner)) < (1 - MOST_WRONG) * wrong.size:
            return
        boxes = boxes_around(inner, image.out_shape[1:])
        found = corrections(image, rows, conv, boxes, lambda so_far: count + so_far <= most, max_bytes)
        if found is None:
            return
        count += sum(part.W.size for part in found)
        patches = [Patch(part.sources, part.W, part.B, part.box) for part in found]
        module, name = Bordered(module, patches), "convolution + border"
    if graph.out_shape != image.out_shape:
        module = nn.Sequential(module, Reshaped(graph.out_shape))
    yield Form(name, module, count)


def _between_images(graph: AffineGraph) -> AffineGraph | None:
    """Return a stretch without the reshaping at its end, if its input and output then have the same spatial axes."""
    count = len(graph.nodes)
    while (
        count
        and isinstance(graph.nodes[count - 1].operation, SameOrder)
        and graph.nodes[count - 1].inputs == (count - 1,)
    ):
        count -= 1
    if not count or not 2 <= len(graph.in_shape) == len(graph.shapes[count]) or len(graph.in_shape) > 4:
        return None
    if count == len(graph.nodes):
        return graph
    image = AffineGraph(graph.in_shape)
    for node in graph.nodes[:count]:
        image.add(node.operation, *node.inputs, name=node.name)
    return image


def _matrix(graph: AffineGraph, max_bytes: int, work: int) -> Iterator[Form]:
    """Yield a stretch as a sparse or a dense matrix."""
    layers = [node.operation for node in graph.nodes if not isinstance(node.operation, SameOrder)]
    if len(layers) == 1 and isinstance(layers[0], Dense):
        return  # a linear layer is a matrix already
    rows, columns = size_of(graph.out_shape), size_of(graph.in_shape)
    if rows * columns <= MOST_TIMES * work:
        check_memory(f"a {rows:,} x {columns:,} matrix", 16 * rows * columns, max_bytes)
        composed = compose(graph, max_bytes=max_bytes)
        W, B = composed.W, composed.B
        if rows * columns > 1:
            yield Form("dense matrix", Matrices([(W, B)], graph.out_shape), rows * columns)
        W = scipy.sparse.csr_array(W)
    elif rows * columns <= SPARSE_UP_TO and work <= SPARSE_ENTRIES:
        check_memory(f"a sparse {rows:,} x {columns:,} matrix", 24 * work, max_bytes)
        composed = compose(graph, form="sparse")
        W, B = composed.W, composed.B
    else:
        return
    by_row = abs(W).max(axis=1).toarray().ravel()
    W.data[np.abs(W.data) <= 1e-15 * np.repeat(by_row, np.diff(W.indptr))] = 0
    W.eliminate_zeros()
    if W.nnz <= min(MOST_TIMES_LOCAL * work, SPARSE_SHARE * rows * columns):
        yield Form("sparse matrix", Sparse(W, B, graph.out_shape), W.nnz)


def _two_matrices(graph: AffineGraph, max_bytes: int, work: int) -> Iterator[Form]:
    """Yield a stretch as two dense matrices that meet where it is narrowest."""
    cut = cheapest_cut(graph)
    if cut is None:
        return
    width = sum(size_of(graph.shapes[value]) for value in cut)
    rows, columns = size_of(graph.out_shape), size_of(graph.in_shape)
    count = width * (rows + columns)
    if count > min(MOST_TIMES * work, rows * columns):
        return
    check_memory(f"two matrices of {count:,} entries", 16 * count, max_bytes)
    factors = [compose(part, max_bytes=max_bytes) for part in reversed(split(graph, cut))]
    yield Form("two matrices", Matrices([(factor.W, factor.B) for factor in factors], graph.out_shape), count)


SPARSE_UP_TO = 2**28
"""Number of entries of W, zeros included, up to which a sparse W is composed."""
SPARSE_ENTRIES = 2**24
"""Number of entries of all operations up to which a sparse W is composed."""
SPARSE_SHARE = 0.5
"""Share of entries that are not zero up to which a sparse matrix is considered."""


def cast(module: nn.Module, like: torch.Tensor) -> bool:
    """Convert a module to the dtype and the device of a tensor; return whether all its numbers fit the dtype."""
    module.to(like.device, like.dtype).eval().requires_grad_(False)
    numbers: Any = [*module.parameters(), *module.buffers()]
    return all(bool(torch.isfinite(part).all()) for part in numbers if part.is_floating_point())
