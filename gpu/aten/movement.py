"""Operations that only move entries: views, permutations, slices, chunks, concatenations, rolls, indexing.

What such an operation does is read off by applying it to the numbers of the entries instead of to the entries. That
it does nothing else is known from its name.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from gpu.values import SAMPLES, Refusal, Value, name_of
from linalg_cnn import Concatenate, Scale, Take
from linalg_cnn.types import size_of

if TYPE_CHECKING:
    from gpu.tracing import Tracer

Node = torch.fx.Node

FILLS = {"constant_pad_nd": 2, "pad": 3, "masked_fill": 2}
"""Where the arguments hold a number that is put among the entries."""

MOVEMENTS = (
    *("view", "_unsafe_view", "reshape", "flatten", "unflatten", "view_as", "reshape_as", "squeeze", "unsqueeze"),
    *("permute", "transpose", "t", "movedim", "moveaxis", "swapaxes", "swapdims", "numpy_T", "mT", "adjoint"),
    *("slice", "select", "narrow", "chunk", "split", "split_with_sizes", "unbind", "unsafe_split", "unsafe_chunk"),
    *("tensor_split", "hsplit", "vsplit", "diagonal", "tril", "triu", "unfold", "im2col", "expand", "expand_as"),
    *("repeat", "tile", "repeat_interleave", "roll", "flip", "fliplr", "flipud", "rot90", "index", "index_select"),
    *("gather", "take", "masked_fill", "where", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
    *("native_channel_shuffle", "stack", "hstack", "vstack", "dstack", "concat", "concatenate", "slice_scatter"),
    *("select_scatter", "diagonal_scatter", "index_put", "index_copy", "broadcast_to", "atleast_2d", "atleast_3d"),
    *("split_copy", "view_copy", "permute_copy", "expand_copy", "squeeze_copy", "unsqueeze_copy", "copy"),
)


def move(tracer: "Tracer", node: Node, *args: Any, **kwargs: Any) -> Any:
    """Return what an operation that only moves entries gives: a Value, or a list of them.

    Raises
    ------
    Refusal
        If it takes entries to places that depend on the data, or across samples.
    """
    traced = list(dict.fromkeys(leaf for leaf in pytree.tree_leaves((args, kwargs)) if _is_value(leaf)))
    _check_axes(name_of(node), traced[0], args)
    first, offsets = 1, {}
    for value in traced:
        offsets[value] = first
        first += size_of(value.shape)
    per_sample = first - 1
    fill = FILLS.get(name_of(node))
    # By a factor, torch takes other pixels of float64 than of float32 images; networks are float32.
    small = "upsample" in name_of(node) and SAMPLES * per_sample < 2**24
    dtype = torch.float32 if small else torch.float64

    def run(numbered: bool) -> Any:
        def arrange(leaf: Any) -> Any:
            if _is_value(leaf):
                return _numbers(leaf, offsets[leaf], per_sample).to(dtype) * numbered
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                return leaf * (not numbered)
            return leaf

        filled = [0.0 if numbered and number == fill and arg else arg for number, arg in enumerate(args)]
        tree = pytree.tree_map(arrange, (filled, kwargs))
        try:
            with torch.no_grad():
                return node.target(*tree[0], **tree[1])  # type: ignore[operator]
        except (RuntimeError, IndexError, TypeError) as error:
            raise Refusal("takes entries from places that depend on the data") from error

    numbers, constants = run(numbered=True), run(numbered=False)
    if isinstance(numbers, torch.Tensor):
        return _moved(tracer, traced, numbers, constants, per_sample)
    pairs = zip(numbers, constants, strict=True)
    return [_moved(tracer, traced, part, shifts, per_sample) for part, shifts in pairs]


def _check_axes(name: str, x: Value, args: Any) -> None:
    """Refuse what leaves two samples as they are, but not any number of them.

    Raises
    ------
    Refusal
        If a roll, a slice or an index goes along the samples.
    """
    along = False
    if name in {"slice", "narrow"}:
        start, stop, step = (list(args[2:]) + [None, None, 1][len(args) - 2 :])[:3]
        along = args[1] % x.rank == x.batch and (start not in {None, 0} or step != 1 or (stop or 0) < 2**31)
    elif name == "roll":
        dims = args[2] if len(args) > 2 else ()
        along = not dims or any(dim % x.rank == x.batch for dim in ([dims] if isinstance(dims, int) else dims))
    elif name == "index_select":
        along = args[1] % x.rank == x.batch
    elif name == "index":
        along = len(args[1]) > x.batch and args[1][x.batch] is not None
    if along:
        raise Refusal("mixes the samples of the batch")
    if name == "index_put" and len(args) > 3 and args[3]:
        raise Refusal("index_put that accumulates is not known to be affine")


def _is_value(leaf: Any) -> bool:
    return isinstance(leaf, Value)


def _numbers(value: Value, offset: int, per_sample: int) -> torch.Tensor:
    """Return a tensor of the value's shape in which each entry is its number; 0 is nobody's.

    float64, which every operation of torch takes: integers up to 2**53 are exact, and nothing is computed with them.
    """
    size = size_of(value.shape)
    one = torch.arange(offset, offset + size, dtype=torch.float64).reshape(value.shape)
    return torch.stack([one + sample * per_sample for sample in range(SAMPLES)], dim=value.batch)


def _moved(
    tracer: "Tracer", traced: list[Value], numbers: torch.Tensor, constants: torch.Tensor, per_sample: int
) -> Value:
    """Return one output as a value of the graph.

    Raises
    ------
    Refusal
        If the samples get different constants.
    """
    batch, sources = _one_sample(numbers.long(), per_sample, prefer=traced[0].batch)
    shape = tuple(sources.shape)
    shifts = constants.select(batch, 0)
    if not torch.equal(shifts, constants.select(batch, 1)):
        raise Refusal("puts other constants into each sample of the batch")
    table = sources.reshape(shape or (1,)).numpy() - 1
    value = _taken(tracer, traced, table, batch)
    value = Value(value.number, shape, batch)
    if torch.any(shifts):
        ones = np.ones((1,) * table.ndim)
        value = tracer.add(Scale(ones, shifts.reshape(table.shape).double().numpy()), value, shape=shape)
    return value


def _one_sample(numbers: torch.Tensor, per_sample: int, prefer: int) -> tuple[int, torch.Tensor]:
    """Return the axis that counts the samples, and the numbers of the first sample.

    Raises
    ------
    Refusal
        If no axis does: entries of one sample come to stand in another.
    """
    axes = [axis for axis in range(numbers.ndim) if numbers.shape[axis] == SAMPLES]
    for axis in sorted(axes, key=lambda axis: (axis != prefer, axis)):
        first, second = numbers.select(axis, 0), numbers.select(axis, 1)
        shown = first > 0
        if torch.equal(second, first + per_sample * shown) and torch.all(first <= per_sample):
            return axis, first
    raise Refusal("mixes the samples of the batch, or joins their axis with another")


def _taken(tracer: "Tracer", traced: list[Value], table: np.ndarray, batch: int) -> Value:
    """Return the entries that a table names, of all the inputs side by side."""
    source = traced[0]
    if len(traced) == 1 and np.array_equal(table.ravel(), np.arange(size_of(source.shape))):
        return tracer.reshape(source, table.shape, batch)
    if len(traced) > 1:
        flat = [tracer.reshape(value, (size_of(value.shape),), 0) for value in traced]
        source = tracer.add(Concatenate(), *flat)
    return tracer.add(Take(table), source, batch=batch)


def cat(tracer: "Tracer", node: Node, tensors: list[Any], dim: int = 0) -> Any:
    """``cat``: side by side along an axis that is not the samples'."""
    values = [tensor for tensor in tensors if isinstance(tensor, Value)]
    same = len(values) == len(tensors) and len({(value.batch, value.rank) for value in values}) == 1
    if not same:
        return move(tracer, node, tensors, dim)
    axis = values[0].axis(dim)
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    return tracer.add(Concatenate(axis), *values, shape=tuple(shape))


def same(tracer: "Tracer", node: Node, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the entries as they are: copies, and casts to another floating point type.

    Raises
    ------
    Refusal
        If they are rounded to integers.
    """
    result = node.meta.get("val")
    if isinstance(result, torch.Tensor) and not result.is_floating_point():
        raise Refusal(f"{name_of(node)} rounds to {result.dtype}")
    return x


def shape_only(tracer: "Tracer", node: Node, x: Value, *args: Any, **kwargs: Any) -> Any:
    """Return what is made for the shape of the data alone: ``zeros_like``, ``new_zeros``."""
    like = torch.zeros((*x.shape[: x.batch], SAMPLES, *x.shape[x.batch :]), dtype=torch.float64)
    target: Any = node.target
    return target(like, *args, **{name: value for name, value in kwargs.items() if name != "device"})


def dropout(tracer: "Tracer", node: Node, x: Any, p: float, training: bool = False) -> Any:
    """``dropout`` in evaluation mode.

    Raises
    ------
    Refusal
        In training mode.
    """
    if training:
        raise Refusal(f"{name_of(node)} is random in training mode", "call .eval() first")
    return [x, None] if name_of(node).startswith("native") else x


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(MOVEMENTS, move),
    "cat": cat,
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full"), shape_only),
    **dict.fromkeys(
        ("clone", "contiguous", "alias", "detach", "lift_fresh_copy", "_to_copy", "to", "type_as", "float", "double",
         "half", "bfloat16", "resolve_conj", "resolve_neg", "_conj", "positive", "requires_grad_"),
        same,
    ),
    **dict.fromkeys(
        ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "native_dropout"), dropout
    ),
}  # fmt: skip
