"""Operations that only move entries: views, permutations, slices, chunks, concatenations, rolls, indexing.

The name of an operation guarantees that it does nothing but move entries. To find where, it is applied to the numbers
of the entries instead of to the entries.
"""

from collections.abc import Callable, Iterator
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
        first += size_of(value.whole)
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


def _check_axes(name: str, x: Value, given: dict[str, Any], samples: int) -> None:
    """Refuse operations that `_one_sample` would let pass, or that do more than move entries.

    Along the batch axis, a movement may keep the two or three traced samples apart and still mix larger batches.

    Raises
    ------
    Refusal
        If the operation mixes larger batches, reads bits as another dtype, or returns positions.
    """
    if _mixes_larger_batches(name, x, given, x.length(samples)):
        raise Refusal("mixes the samples of the batch")
    if any(isinstance(argument, torch.dtype) for argument in given.values()):
        raise Refusal("reads the bits of numbers as another dtype")
    if name == "where" and len(given) == 1:
        raise Refusal("takes entries from positions that depend on the data")


DIMENSIONS = {"vsplit": 0, "hsplit": 1, "dsplit": 2}
"""Axes that splits without an argument ``dim`` run along."""


def _mixes_larger_batches(name: str, x: Value, given: dict[str, Any], length: int) -> bool:
    """Return whether a movement along the batch axis may keep two and three samples apart, but not more.

    It does so where a number is compared with the length of the axis: a bound, a size or a number of parts beyond it.
    """
    if name in {"tril", "triu"}:
        return x.batch >= x.rank - 2
    if name == "roll":
        return not given.get("dims") or any(dim % x.rank == x.batch for dim in given["dims"])
    axis = DIMENSIONS.get(name, given.get("dim", 0))
    if not isinstance(axis, int) or axis % x.rank != x.batch:
        return False
    if name in {"slice", "slice_scatter"}:
        bounds = [given.get("start"), given.get("end")]
    elif name == "tensor_split" or name in DIMENSIONS:
        bounds = given.get("indices", ())
    else:
        bounds = [given.get("split_size")]
    parts = given.get("chunks", given.get("sections"))
    beyond = any(isinstance(bound, int) and length < abs(bound) < 2**31 for bound in bounds)
    return beyond or (parts is not None and (not isinstance(parts, int) or length % parts != 0))


def _is_value(leaf: Any) -> bool:
    return isinstance(leaf, Value)


def numbers_of(value: Value, offset: int, per_sample: int, samples: int) -> torch.Tensor:
    """Return a tensor of the value's shape that holds the number of each entry, counted from ``offset``.

    Numbers start at 1: a 0 stands for a constant. The dtype is float64, which every operation of torch accepts and
    which holds integers up to 2**53 exactly.
    """
    size = size_of(value.whole)
    one = torch.arange(offset, offset + size, dtype=torch.float64).reshape(*value.folds, *value.shape)
    slices = torch.stack([one + sample * per_sample for sample in range(samples)], dim=1)
    # a view of the tensor exists wherever torch recorded one, however the tensor lies in memory
    return slices.flatten(0, 2).movedim(0, value.batch).contiguous()


def _moved(
    builder: GraphBuilder, traced: list[Value], numbers: torch.Tensor, constants: torch.Tensor, per_sample: int
) -> Value:
    """Return one output as a value of the graph.

    Raises
    ------
    Refusal
        If the constants among the entries are not finite, or differ between samples.
    """
    if not numbers.numel():
        raise Refusal("leaves no entries")
    numbers = numbers.long()
    like = _layout(numbers, per_sample, builder.samples, prefer=traced[0].batch)
    sources, shifts = (_by_sample(tensor, like, builder.samples)[:, 0] for tensor in (numbers, constants))
    if not torch.isfinite(shifts).all():
        raise Refusal("puts NaN or infinity among the entries, or memory that was never written")
    if not torch.equal(_by_sample(constants, like, builder.samples), _for_all(shifts, builder.samples)):
        raise Refusal("puts other constants into each sample of the batch")
    value = _taken(builder, traced, sources.reshape(like.whole).numpy() - 1, like)
    if torch.any(shifts):
        # an array of one axis stands for the channels
        ones = np.ones(like.whole if len(like.whole) == 1 else (1,) * len(like.whole))
        value = builder.add_whole(Scale(ones, shifts.reshape(like.whole).numpy()), value, like)
    return value


def _layout(numbers: torch.Tensor, per_sample: int, samples: int, prefer: int) -> Value:
    """Return a value, without its number, that is laid out as a tensor of numbers of entries.

    An axis that counts the samples alone comes before one into which others are folded.

    Raises
    ------
    Refusal
        If there is no batch axis: entries have moved from one sample to another.
    """
    axes = sorted(range(numbers.ndim), key=lambda axis: (numbers.shape[axis] != samples, axis != prefer, axis))
    for axis in axes:
        shape = tuple(n for other, n in enumerate(numbers.shape) if other != axis)
        for folds in _folds(numbers, axis, per_sample, samples):
            like = Value(0, shape, axis, folds)
            parts = _by_sample(numbers, like, samples)
            first = parts[:, 0]
            steps = per_sample * torch.arange(samples).reshape(1, -1, *(1,) * (first.ndim - 1))
            goal = _for_all(first, samples) + steps * (parts > 0)
            if torch.equal(parts, goal) and torch.all(first <= per_sample):
                return like
    raise Refusal("mixes the samples of the batch, or joins their axis with another")


def _folds(numbers: torch.Tensor, axis: int, per_sample: int, samples: int) -> Iterator[tuple[int, int]]:
    """Yield what may be folded into an axis (outer, inner), as the entries along one line through a tensor allow."""
    slices, rest = divmod(numbers.shape[axis], samples)
    if rest:
        return
    lines = numbers.movedim(axis, 0).reshape(numbers.shape[axis], -1)
    line = lines[:, int((lines > 0).any(0).long().argmax())]
    shown = line > 0
    for outer in (outer for outer in range(1, slices + 1) if slices % outer == 0):
        inner = slices // outer
        sample = torch.arange(len(line)) // inner % samples
        if torch.equal((line[shown] - 1) // per_sample, sample[shown]):
            yield outer, inner


def _by_sample(tensor: torch.Tensor, like: Value, samples: int) -> torch.Tensor:
    """Return a tensor that is laid out ``like`` a value as (outer, samples, inner, *shape)."""
    outer, inner = like.folds
    return tensor.movedim(like.batch, 0).reshape(outer, samples, inner, *like.shape)


def _for_all(sample: torch.Tensor, samples: int) -> torch.Tensor:
    """Return a tensor (outer, inner, *shape) repeated for all samples, (outer, samples, inner, *shape)."""
    return sample.unsqueeze(1).expand(-1, samples, *sample.shape[1:])


def _taken(builder: GraphBuilder, traced: list[Value], table: np.ndarray, like: Value) -> Value:
    """Return the entries with the numbers of a table, which count through all inputs."""
    source = traced[0]
    if len(traced) == 1 and np.array_equal(table.ravel(), np.arange(size_of(source.whole))):
        return builder.arrange(source, like)
    if len(traced) > 1:
        flat = [builder.arrange(value, Value(0, (size_of(value.whole),), 0)) for value in traced]
        source = builder.add(Concatenate(), *flat)
    return builder.add_whole(Take(table), source, like)


def cat(builder: GraphBuilder, node: Node, tensors: list[Any], dim: int = 0) -> Any:
    """``cat``; a concatenation of values along an axis other than the batch axis stays one."""
    values = [tensor for tensor in tensors if isinstance(tensor, Value)]
    same = len(values) == len(tensors) and len({(value.batch, value.rank, value.folds) for value in values}) == 1
    if not same or dim % values[0].rank == values[0].batch:
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
    return torch.zeros((*x.shape[: x.batch], x.length(builder.samples), *x.shape[x.batch :]), dtype=torch.float64)


def same(builder: GraphBuilder, node: Node, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return a copy or a cast of a value as the value itself; the walker refuses casts that round."""
    if isinstance(x, torch.Tensor):  # a constant, cast to the dtype of the data
        return constant(x.to(node.meta["val"].dtype))
    return x


def shape_only(builder: GraphBuilder, node: Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Return a constant that depends on the shape of the data alone: ``zeros_like``, ``new_zeros``, ``fill``."""
    return computed(node, (_zeros(builder, x), *args), kwargs)


def size(builder: GraphBuilder, node: Node, x: Value, dim: int) -> int:
    """``sym_size``: an int, also where torch.export does not know how many entries a mask selects."""
    return x.length(builder.samples) if dim % x.rank == x.batch else x.shape[x.axis(dim)]


def dropout(builder: GraphBuilder, node: Node, x: Any, p: float, training: bool) -> Any:
    """``dropout`` in evaluation mode, or with probability 0.

    Raises
    ------
    Refusal
        In training mode, with another probability.
    """
    if training and p:
        raise Refusal(f"{name_of(node).rstrip('_')} is random in training mode", EVALUATE)
    return x


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(MOVEMENTS, move),
    **dict.fromkeys(("expand_as", "view_as", "reshape_as"), as_shape),
    "cat": cat,
    **dict.fromkeys(
        ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
         "fill", "zero"),
        shape_only,
    ),
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "detach", "_to_copy", "to", "type_as", "resolve_conj", "resolve_neg",
         "positive"),
        same,
    ),
    "sym_size": size,
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), dropout),
}  # fmt: skip
