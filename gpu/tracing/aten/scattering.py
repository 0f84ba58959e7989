"""Operations that write or add entries at constant positions: ``scatter``, ``index_put``, ``index_add``, ``put``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gpu.tracing.aten.arithmetic import combine, scale
from gpu.tracing.aten.movement import move, numbers_of
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value
from linalg_cnn import AxisSparse
from linalg_cnn.types import Array, size_of

Node = torch.fx.Node

ANOTHER_AXIS = "mixes the samples of the batch: they meet another axis"


def _check_axis(dim: int, *tensors: Any) -> None:
    """Refuse positions along the batch axis: two or three samples do not show which entries larger batches mix.

    Raises
    ------
    Refusal
        If ``dim`` is the batch axis, or two values have different batch axes.
    """
    traced = [tensor for tensor in tensors if isinstance(tensor, Value)]
    for value in traced:
        value.axis(dim)
    if len({(value.batch, value.folds) for value in traced}) > 1:
        raise Refusal(ANOTHER_AXIS)


def _positions(builder: GraphBuilder, x: Any, *indices: Any) -> torch.Tensor:
    """Return the number of each entry in the C-order ravel of ``x``, counted over all samples, in the shape of ``x``.

    Raises
    ------
    Refusal
        If an index depends on the data.
    """
    if any(isinstance(index, Value) for index in indices):
        raise Refusal("writes to positions that depend on the data")
    shape = _entries(builder, x).shape
    return torch.arange(size_of(shape)).reshape(shape)


def _entries(builder: GraphBuilder, x: Any) -> torch.Tensor:
    """Return what tells the entries of a tensor apart: their numbers in a value, which start at 1; else themselves."""
    if isinstance(x, Value):
        return numbers_of(x, 1, size_of(x.whole), builder.samples)
    return torch.as_tensor(x, dtype=torch.float64)


def _check_written_once(name: str, positions: torch.Tensor, entries: torch.Tensor) -> None:
    """Refuse to write two different entries to one position, of which torch keeps any.

    Raises
    ------
    Refusal
        If this happens.
    """
    order = torch.argsort(positions.flatten())
    positions, entries = positions.flatten()[order], entries.expand(positions.shape).flatten()[order]
    if torch.any((positions[1:] == positions[:-1]) & (entries[1:] != entries[:-1])):
        raise Refusal(f"{name} writes several entries to one position, of which torch keeps any")


def scatter(
    builder: GraphBuilder, node: Node, x: Any, dim: int, index: Any, source: Any, *, reduce: str | None = None
) -> Any:
    """``scatter`` of a tensor or a number, which may be added.

    Raises
    ------
    Refusal
        If it multiplies.
    """
    if reduce == "add":
        return scatter_add(builder, node, x, dim, index, source)
    if reduce is not None:
        raise Refusal(f"scatter by reduce={reduce!r} is not known to be affine")
    positions, entries = _scattered(builder, x, dim, index, source)
    _check_written_once("scatter", positions, entries)
    return move(builder, node, x, dim, index, source)


def _scattered(builder: GraphBuilder, x: Any, dim: int, index: Any, source: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions that ``scatter`` writes to, and the entries that it writes there."""
    _check_axis(dim, x, source)
    positions = _positions(builder, x, index)
    entries = _entries(builder, source)
    # torch reads no more than the index's shape of a larger source
    return positions.gather(dim, index), entries[tuple(map(slice, index.shape))] if entries.ndim else entries


def scatter_add(builder: GraphBuilder, node: Node, x: Any, dim: int, index: Any, source: Any) -> Value:
    """``scatter_add``: linear in both tensors, for a constant index of each entry."""
    return _sum_at(builder, x, source, *_scattered(builder, x, dim, index, source))


def scatter_reduce(
    builder: GraphBuilder,
    node: Node,
    x: Any,
    dim: int,
    index: Any,
    source: Any,
    reduce: str,
    *,
    include_self: bool = True,
) -> Value:
    """``scatter_reduce`` by sums and means of the entries written to a position, and of the one there, if it counts.

    Raises
    ------
    Refusal
        If the entries are reduced otherwise.
    """
    if reduce not in {"sum", "mean"}:
        raise Refusal(f"scatter_reduce by {reduce!r} is not affine")
    positions, entries = _scattered(builder, x, dim, index, source)
    shape = _entries(builder, x).shape
    times = torch.zeros(size_of(shape), dtype=torch.float64)
    times.put_(positions, torch.ones(positions.shape, dtype=torch.float64), accumulate=True)
    shares = 1 / (times + include_self).clamp(min=1) if reduce == "mean" else torch.ones_like(times)
    kept = (shares * ((times == 0) | include_self)).reshape(shape)
    x = scale(builder, x, kept, 0.0) if isinstance(x, Value) else x * kept
    return _sum_at(builder, x, source, positions, entries, shares[positions])


def index_add(
    builder: GraphBuilder, node: Node, x: Any, dim: int, index: Any, source: Any, *, alpha: float = 1
) -> Value:
    """``index_add``: linear in both tensors, for a constant index."""
    positions, entries = _indexed(builder, x, dim, index, source)
    return _sum_at(builder, x, source, positions, entries, torch.full(positions.shape, float(alpha)).double())


def _indexed(builder: GraphBuilder, x: Any, dim: int, index: Any, source: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions that operations write to along one axis, and the entries that they write there."""
    _check_axis(dim, x, source)
    return _positions(builder, x, index).index_select(dim, index.flatten()), _entries(builder, source)


def index_copy(builder: GraphBuilder, node: Node, x: Any, dim: int, index: Any, source: Any) -> Any:
    """``index_copy``."""
    _check_written_once("index_copy", *_indexed(builder, x, dim, index, source))
    return move(builder, node, x, dim, index, source)


def index_fill(builder: GraphBuilder, node: Node, x: Any, dim: int, index: Any, value: Any) -> Any:
    """``index_fill`` along an axis other than the batch axis."""
    _check_axis(dim, x)
    return move(builder, node, x, dim, index, value)


def index_put(
    builder: GraphBuilder, node: Node, x: Any, indices: Any, source: Any, accumulate: bool = False, *unsafe: Any
) -> Any:
    """``index_put``, which may add."""
    positions = torch.ops.aten.index(_positions(builder, x, *indices), indices)
    return _put(builder, node, (x, indices, source, accumulate), positions, _entries(builder, source))


def put(builder: GraphBuilder, node: Node, x: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """``put``, which may add."""
    positions = _positions(builder, x, index).take(index)
    return _put(
        builder, node, (x, index, source, accumulate), positions, _entries(builder, source).reshape(index.shape)
    )


def _put(
    builder: GraphBuilder, node: Node, args: tuple[Any, ...], positions: torch.Tensor, entries: torch.Tensor
) -> Any:
    x, _, source, accumulate = args
    if accumulate:
        return _sum_at(builder, x, source, positions, entries)
    _check_written_once(name_of(node), positions, entries)
    return move(builder, node, *args)


def _sum_at(
    builder: GraphBuilder,
    x: Any,
    source: Any,
    positions: torch.Tensor,
    entries: torch.Tensor,
    weight: torch.Tensor | None = None,
) -> Value:
    """Return ``x`` plus the weighted entries of a source at positions of ``x``, which may be named several times.

    Parameters
    ----------
    builder : GraphBuilder
    x, source : Value or tensor
        At least one of them is a value.
    positions : int tensor
        The positions, as `_positions` counts them.
    entries : tensor
        The entries of the source that are added there, as `_entries` tells them apart.
    weight : tensor like the positions, optional
        Their weights; ones by default.
    """
    entries = entries.expand(positions.shape)
    weight = torch.ones(positions.shape, dtype=torch.float64) if weight is None else weight
    if not isinstance(source, Value):
        added = torch.zeros(_entries(builder, x).shape, dtype=torch.float64)
        return combine(builder, x, added.put_(positions, weight * entries, accumulate=True), 1.0, 1.0)
    like, rows, columns, weights = _in_one_sample(builder, x, source, positions, entries.long(), weight)
    sizes = size_of(like.whole), size_of(source.whole)
    flat = builder.arrange(source, Value(0, sizes[1:], 0))
    sums = builder.arrange(builder.add(AxisSparse(rows, columns, weights, sizes), flat), like)
    return sums if isinstance(x, torch.Tensor) and not torch.any(x) else combine(builder, x, sums, 1.0, 1.0)


def _in_one_sample(
    builder: GraphBuilder, x: Any, source: Value, positions: torch.Tensor, entries: torch.Tensor, weight: torch.Tensor
) -> tuple[Value, Array, Array, Array]:
    """Return how the result is laid out, and (row, column, weight) of each sum in one sample.

    Raises
    ------
    Refusal
        If a sum leads from one sample to another, or not every sample has the same sums.
    """
    samples = builder.samples
    if isinstance(x, Value):
        layouts = [x]
    else:  # a constant, in which another axis may be as long as the batch axis
        axes = sorted(range(x.ndim), key=lambda axis: axis != source.batch)
        axes = [axis for axis in axes if x.shape[axis] == source.length(samples)]
        layouts = [Value(0, (*x.shape[:axis], *x.shape[axis + 1 :]), axis, source.folds) for axis in axes]
    from_sample, column = _split(entries, size_of(source.whole))
    for like in layouts:
        to_sample, row = _split(_entries(builder, like).flatten()[positions], size_of(like.whole))
        if not np.array_equal(to_sample, from_sample):
            continue
        sums = np.stack([to_sample, row, column, weight.flatten().numpy()])
        sums = sums[:, np.lexsort(sums[::-1])]
        if np.any(np.bincount(to_sample, minlength=samples) * samples != len(to_sample)):
            raise Refusal("treats some samples of the batch only")
        each = sums[1:].reshape(3, samples, -1)
        if np.any(each != each[:, :1]):
            raise Refusal("treats the samples of the batch in different ways")
        return like, each[0, 0].astype(np.int64), each[1, 0].astype(np.int64), each[2, 0]
    raise Refusal("mixes the samples of the batch")


def _split(numbers: torch.Tensor, per_sample: int) -> tuple[Array, Array]:
    """Return the sample, and the number within the sample, of entries that are numbered from 1."""
    samples, entries = np.divmod(numbers.flatten().long().numpy() - 1, per_sample)
    return samples, entries


HANDLERS: dict[str, Callable[..., Any]] = {
    "scatter": scatter,
    "scatter_add": scatter_add,
    "scatter_reduce": scatter_reduce,
    "index_add": index_add,
    "index_copy": index_copy,
    "index_fill": index_fill,
    **dict.fromkeys(("index_put", "_unsafe_index_put"), index_put),
    "put": put,
    "masked_scatter": move,
}
