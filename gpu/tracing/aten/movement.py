"""Operations that only move entries: views, permutations, slices, chunks, concatenations, rolls, indexing.

The name of an operation guarantees that it does nothing but move entries. To find where, it is applied to the numbers
of the entries instead of to the entries.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from gpu.models.nonlinearities import EVALUATE
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.constants import computed, constant
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value
from linalg_cnn import Concatenate, Scale, Take
from linalg_cnn.types import size_of

Node = torch.fx.Node

INDICES = {"indices", "index", "mask", "condition", "repeats"}
"""Arguments in ATen's signatures that say which entries move where."""

SCALARS = {"self", "other", "value"}
"""Arguments that become entries if they are numbers."""

MOVEMENTS = (
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"),
    *("permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "numpy_T", "mT", "adjoint"),
    *("slice", "select", "narrow", "chunk", "split", "split_with_sizes", "unbind", "unsafe_split", "unsafe_chunk"),
    *("tensor_split", "hsplit", "vsplit", "diagonal", "tril", "triu", "unfold", "im2col", "expand"),
    *("repeat", "tile", "repeat_interleave", "roll", "flip", "fliplr", "flipud", "rot90", "index", "index_select"),
    *("gather", "take", "masked_fill", "where", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("native_channel_shuffle", "stack", "hstack", "vstack", "dstack", "concat", "concatenate", "slice_scatter"),
    *("select_scatter", "diagonal_scatter", "broadcast_to", "atleast_2d", "atleast_3d", "take_along_dim"),
    *("split_copy", "view_copy", "permute_copy", "expand_copy", "squeeze_copy", "unsqueeze_copy", "copy"),
    *("constant_pad_nd", "fft_fftshift", "fft_ifftshift"),
)


def move(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Any:
    """Return the result of an operation that only moves entries: a Value, or a list of them.

    Raises
    ------
    Refusal
        If it moves entries to positions that depend on the data, or between samples.
    """
    target: Any = node.target
    names = [argument.name for argument in target._schema.arguments]
    given = dict(zip(names, args, strict=False)) | kwargs
    traced = list(dict.fromkeys(leaf for leaf in pytree.tree_leaves(given) if _is_value(leaf)))
    _check_axes(name_of(node), traced[0], given, builder.samples)
    if any(_is_value(leaf) for name in INDICES & given.keys() for leaf in pytree.tree_leaves(given[name])):
        raise Refusal("takes entries from positions that depend on the data")
    first, offsets = 1, {}
    for value in traced:
        offsets[value] = first
        first += size_of(value.shape)
    per_sample = first - 1

    def run(numbered: bool) -> Any:
        def entries(leaf: Any) -> Any:
            if _is_value(leaf):
                return numbers_of(leaf, offsets[leaf], per_sample, builder.samples) * numbered
            if isinstance(leaf, torch.Tensor):
                return torch.zeros(leaf.shape, dtype=torch.float64) if numbered else _real(leaf)
            return leaf

        def arranged(name: str, argument: Any) -> Any:
            if name in INDICES:
                return argument
            if name in SCALARS and isinstance(argument, (bool, int, float, complex)):
                return 0.0 if numbered else argument
            return pytree.tree_map(entries, argument)

        positional = [arranged(name, argument) for name, argument in zip(names, args, strict=False)]
        with torch.no_grad():
            return target(*positional, **{name: arranged(name, argument) for name, argument in kwargs.items()})

    numbers, constants = run(numbered=True), run(numbered=False)
    if isinstance(numbers, torch.Tensor):
        return _moved(builder, traced, numbers, constants, per_sample)
    pairs = zip(numbers, constants, strict=True)
    return [_moved(builder, traced, part, shifts, per_sample) for part, shifts in pairs]


def _real(c: torch.Tensor) -> torch.Tensor:
    if c.is_complex():
        raise Refusal("complex numbers")
    return c.double()


SPLITS = {"split", "chunk", "split_with_sizes", "unsafe_split", "unsafe_chunk", "tensor_split", "vsplit"}


def _check_axes(name: str, x: Value, given: dict[str, Any], samples: int) -> None:
    """Refuse operations that `_one_sample` would let pass, or that do more than move entries.

    Along the batch axis, a movement may keep the two or three traced samples apart and still mix larger batches.

    Raises
    ------
    Refusal
        If a roll, a slice, a split or a triangle runs along the batch axis; or if the operation reads bits as another
        dtype, or returns positions.
    """
    along = False
    if name in {"slice", "slice_scatter"}:
        start, end, step = given.get("start"), given.get("end"), given.get("step", 1)
        whole = start in {None, 0} and step == 1 and (end is None or end == samples or end >= 2**31)
        along = not whole and given.get("dim", 0) % x.rank == x.batch
    elif name == "roll":
        dims = given.get("dims", ())
        along = not dims or any(dim % x.rank == x.batch for dim in dims)
    elif name in SPLITS:
        along = given.get("dim", 0) % x.rank == x.batch
    elif name in {"tril", "triu"}:
        along = x.batch >= x.rank - 2
    if along:
        raise Refusal("mixes the samples of the batch")
    if any(isinstance(argument, torch.dtype) for argument in given.values()):
        raise Refusal("reads the bits of numbers as another dtype")
    if name == "where" and len(given) == 1:
        raise Refusal("takes entries from positions that depend on the data")


def _is_value(leaf: Any) -> bool:
    return isinstance(leaf, Value)


def numbers_of(value: Value, offset: int, per_sample: int, samples: int) -> torch.Tensor:
    """Return a tensor of the value's shape that holds the number of each entry, counted from ``offset``.

    Numbers start at 1: a 0 stands for a constant. The dtype is float64, which every operation of torch accepts and
    which holds integers up to 2**53 exactly.
    """
    size = size_of(value.shape)
    one = torch.arange(offset, offset + size, dtype=torch.float64).reshape(value.shape)
    return torch.stack([one + sample * per_sample for sample in range(samples)], dim=value.batch)


def _moved(
    builder: GraphBuilder, traced: list[Value], numbers: torch.Tensor, constants: torch.Tensor, per_sample: int
) -> Value:
    """Return one output as a value of the graph.

    Raises
    ------
    Refusal
        If the constants among the entries are not finite, or differ between samples.
    """
    batch, sources = _one_sample(numbers.long(), per_sample, builder.samples, prefer=traced[0].batch)
    shape = tuple(sources.shape)
    shifts = constants.select(batch, 0)
    if not torch.isfinite(shifts).all():
        raise Refusal("puts NaN or infinity among the entries, or memory that was never written")
    if not torch.equal(constants, shifts.unsqueeze(batch).expand_as(constants)):
        raise Refusal("puts other constants into each sample of the batch")
    table = sources.reshape(shape or (1,)).numpy() - 1
    value = _taken(builder, traced, table, batch)
    value = Value(value.number, shape, batch)
    if torch.any(shifts):
        ones = np.ones(
            table.shape if table.ndim == 1 else (1,) * table.ndim
        )  # an array of one axis stands for the channels
        value = builder.add(Scale(ones, shifts.reshape(table.shape).numpy()), value, shape=shape)
    return value


def _one_sample(numbers: torch.Tensor, per_sample: int, samples: int, prefer: int) -> tuple[int, torch.Tensor]:
    """Return the batch axis, and the numbers of the first sample.

    Raises
    ------
    Refusal
        If there is no batch axis: entries have moved from one sample to another.
    """
    axes = [axis for axis in range(numbers.ndim) if numbers.shape[axis] == samples]
    for axis in sorted(axes, key=lambda axis: (axis != prefer, axis)):
        first = numbers.select(axis, 0)
        steps = per_sample * (first > 0)
        goal = torch.stack([first + sample * steps for sample in range(samples)], axis)
        if torch.equal(numbers, goal) and torch.all(first <= per_sample):
            return axis, first
    raise Refusal("mixes the samples of the batch, or joins their axis with another")


def _taken(builder: GraphBuilder, traced: list[Value], table: np.ndarray, batch: int) -> Value:
    """Return the entries with the numbers of a table, which count through all inputs."""
    source = traced[0]
    if len(traced) == 1 and np.array_equal(table.ravel(), np.arange(size_of(source.shape))):
        return builder.reshape(source, table.shape, batch)
    if len(traced) > 1:
        flat = [builder.reshape(value, (size_of(value.shape),), 0) for value in traced]
        source = builder.add(Concatenate(), *flat)
    return builder.add(Take(table), source, batch=batch)


def cat(builder: GraphBuilder, node: Node, tensors: list[Any], dim: int = 0) -> Any:
    """``cat``: concatenation along an axis other than the batch axis."""
    values = [tensor for tensor in tensors if isinstance(tensor, Value)]
    same = len(values) == len(tensors) and len({(value.batch, value.rank) for value in values}) == 1
    if not same:
        return move(builder, node, tensors, dim)
    axis = values[0].axis(dim)
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    return builder.add(Concatenate(axis), *values, shape=tuple(shape))


def as_shape(builder: GraphBuilder, node: Node, x: Any, like: Any) -> Any:
    """``expand_as``, ``view_as``, ``reshape_as``: only the shape of the second argument counts."""
    shape = _zeros(builder, like) if isinstance(like, Value) else like
    return move(builder, node, x, shape) if isinstance(x, Value) else computed(node, (x, shape), {})


def _zeros(builder: GraphBuilder, x: Value) -> torch.Tensor:
    return torch.zeros((*x.shape[: x.batch], builder.samples, *x.shape[x.batch :]), dtype=torch.float64)


def same(builder: GraphBuilder, node: Node, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a copy or a cast of a value as the value itself; the walker refuses casts that round."""
    if isinstance(x, torch.Tensor):  # a constant, cast to the dtype of the data
        return constant(x.to(node.meta["val"].dtype))
    return x


def shape_only(builder: GraphBuilder, node: Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Return a constant that depends on the shape of the data alone: ``zeros_like``, ``new_zeros``, ``fill``."""
    return computed(node, (_zeros(builder, x), *args), kwargs)


def dropout(builder: GraphBuilder, node: Node, x: Any, p: float, training: bool) -> Any:
    """``dropout`` in evaluation mode.

    Raises
    ------
    Refusal
        In training mode.
    """
    if training:
        raise Refusal(f"{name_of(node)} is random in training mode", EVALUATE)
    return x


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(MOVEMENTS, move),
    **dict.fromkeys(("expand_as", "view_as", "reshape_as"), as_shape),
    "cat": cat,
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
         "fill"),
        shape_only,
    ),
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "detach", "_to_copy", "to", "type_as", "resolve_conj", "resolve_neg",
         "positive"),
        same,
    ),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), dropout),
}  # fmt: skip
