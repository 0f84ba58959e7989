"""Operations that are affine in the data by definition, and are evaluated by torch and transposed by autograd."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gpu.tracing.autograd_operation import AutogradOperation
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.constants import without_samples
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, Value, images

Node = torch.fx.Node


@dataclass(frozen=True, eq=False)
class Repeated:
    """A constant that torch's function needs once for each sample of the batch.

    Attributes
    ----------
    constant : tensor
        The constant for one sample, with length 1 along the batch axis.
    axis : int
        The batch axis.
    """

    constant: torch.Tensor
    axis: int

    def times(self, count: int) -> torch.Tensor:
        """Return the constant for a number of samples."""
        return torch.cat([self.constant] * count, self.axis)


def repeated(builder: GraphBuilder, c: Any, like: Value) -> Any:
    """Return a constant with an entry for each sample of another value as `Repeated`, and anything else unchanged.

    Raises
    ------
    Refusal
        If the entries differ between samples, or there is not one for each sample.
    """
    if not isinstance(c, torch.Tensor):
        return c
    if c.shape[like.batch] != like.length(builder.samples):
        raise Refusal("treats some samples of the batch only")
    return Repeated(without_samples(c, like.batch), like.batch)


def by_autograd(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Value:
    """Return the value of an operation that torch computes.

    The caller has checked that the operation is affine in all arguments that depend on the data, taken together.

    Raises
    ------
    Refusal
        If the result has no batch axis, or several.
    """
    traced = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value)]
    target: Any = node.target

    def function(*xs: torch.Tensor) -> torch.Tensor:
        pairs = zip(xs, traced, strict=True)
        given = iter([x.reshape(len(x), *value.shape).movedim(0, value.batch) for x, value in pairs])
        tree = pytree.tree_map_only(Value, lambda _: next(given), (args, kwargs))
        tree = pytree.tree_map_only(Repeated, lambda c: c.times(len(xs[0])), tree)
        tree = pytree.tree_map_only(torch.Tensor, _as_float64, tree)
        result: torch.Tensor = target(*tree[0], **tree[1])
        return result

    shape, batch = _sample_shape(function, traced, builder.samples)

    def per_sample(*xs: torch.Tensor) -> torch.Tensor:
        return function(*xs).movedim(batch, 0).reshape(-1, *(shape or (1,)))

    arguments = pytree.tree_map_only(Value, lambda value: replace(value, number=0), (str(target), args, kwargs))
    shapes_read = tuple(value.shape or (1,) for value in traced)
    operation = AutogradOperation(name_of(node), per_sample, shapes_read, arguments)
    return builder.add(operation, *traced, shape=shape, batch=batch)


def _sample_shape(
    function: Callable[..., torch.Tensor], traced: Sequence[Value], samples: int
) -> tuple[tuple[int, ...], int]:
    """Return the shape of one sample of a function's result, and the batch axis: the one that grows with the samples.

    Raises
    ------
    Refusal
        If there is no such axis, or several, or the function takes only some number of samples.
    """
    shapes = []
    for count in (samples, samples + 1):
        try:
            shapes.append(function(*(torch.zeros(count, *v.shape, dtype=torch.float64) for v in traced)).shape)
        except RuntimeError as error:
            raise Refusal("mixes the samples of the batch, or takes only some numbers of them") from error
    axes = [axis for axis, (n, more) in enumerate(zip(*shapes, strict=True)) if n != more]
    if len(axes) != 1 or shapes[0][axes[0]] != samples:
        raise Refusal("mixes the samples of the batch")
    return tuple(n for axis, n in enumerate(shapes[0]) if axis != axes[0]), axes[0]


def _as_float64(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def one_factor(builder: GraphBuilder, node: Node, *args: Any, **kwargs: Any) -> Value:
    """Products of several operands, only one of which depends on the data: ``tensordot``, ``outer``.

    Raises
    ------
    Refusal
        If several do.
    """
    if sum(isinstance(leaf, Value) for leaf in pytree.tree_leaves((args, kwargs))) != 1:
        raise Refusal("product of two values that depend on the data")
    return by_autograd(builder, node, *args, **kwargs)


def einsum(builder: GraphBuilder, node: Node, equation: str, operands: Sequence[Any], **kwargs: Any) -> Value:
    """``einsum``: a constant may bear the label of the batch axis if it was expanded along that axis."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    labels = [_labels(term, _rank(operand)) for term, operand in zip(terms, operands, strict=True)]
    samples = {
        names[operand.batch] for names, operand in zip(labels, operands, strict=True) if isinstance(operand, Value)
    }

    def alone(names: list[str], operand: Any) -> Any:
        for axis, name in enumerate(names):
            if isinstance(operand, torch.Tensor) and name in samples:
                operand = without_samples(operand, axis)
        return operand

    return one_factor(builder, node, equation, list(map(alone, labels, operands)), **kwargs)


def _rank(operand: Any) -> int:
    rank: int = operand.rank if isinstance(operand, Value) else operand.ndim
    return rank


def _labels(term: str, rank: int) -> list[str]:
    """Return the label of each axis of an operand; the axes of an ellipsis are numbered from its end."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(f"...{axis}" for axis in reversed(range(hidden))), *after]


def called(node: Node, target: Any) -> Node:
    """Return a node that calls ``target`` under the name of another node."""
    return torch.fx.Node(node.graph, node.name, "call_function", target, (), {})


def cumsum(builder: GraphBuilder, node: Node, x: Any, dim: int, *, dtype: Any = None) -> Value:
    """``cumsum`` along an axis other than the batch axis."""
    x.axis(dim)
    return by_autograd(builder, node, x, dim)


def diff(builder: GraphBuilder, node: Node, x: Any, n: int = 1, dim: int = -1, *beside: Any) -> Value:
    """``diff`` along an axis other than the batch axis, with entries put before and behind.

    Raises
    ------
    Refusal
        If the values do not have the same batch axis.
    """
    traced = [value for value in (x, *beside) if isinstance(value, Value)]
    first = traced[0]
    for value in traced:
        value.axis(dim)
        if value.batch != first.batch:
            raise Refusal("mixes the samples of the batch: they meet another axis")
    return by_autograd(
        builder, node, repeated(builder, x, first), n, dim, *(repeated(builder, c, first) for c in beside)
    )


def of_images(builder: GraphBuilder, node: Node, x: Value, *args: Any) -> Value:
    """Bicubic resampling, and ``col2im``, the adjoint of unfolding: linear in the images."""
    return by_autograd(builder, node, images(x), *args)


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("tensordot", "kron", "outer"), one_factor),
    "einsum": einsum,
    "cumsum": cumsum,
    "diff": diff,
    **dict.fromkeys(("upsample_bicubic2d", "col2im"), of_images),
}
