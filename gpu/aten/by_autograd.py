"""Operations that are affine in the data by what their names say, left to torch and its autograd."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.utils import _pytree as pytree

from gpu.autograd_operation import AutogradOperation
from gpu.values import SAMPLES, Refusal, Value, name_of

if TYPE_CHECKING:
    from gpu.tracing import Tracer

Node = torch.fx.Node


def by_autograd(tracer: "Tracer", node: Node, *args: Any, **kwargs: Any) -> Value:
    """Return the value of an operation that torch computes; which arguments may be data, its handler has checked.

    Raises
    ------
    Refusal
        If no axis of what comes out counts the samples.
    """
    traced = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value)]

    def function(*xs: torch.Tensor) -> torch.Tensor:
        pairs = zip(xs, traced, strict=True)
        given = iter([x.reshape(len(x), *value.shape).movedim(0, value.batch) for x, value in pairs])
        tree = pytree.tree_map_only(Value, lambda _: next(given), (args, kwargs))
        result: torch.Tensor = node.target(*tree[0], **tree[1])  # type: ignore[operator]
        return result

    shapes = []
    for count in (SAMPLES, SAMPLES + 1):
        try:
            shapes.append(function(*(torch.zeros(count, *v.shape, dtype=torch.float64) for v in traced)).shape)
        except RuntimeError as error:
            raise Refusal("mixes the samples of the batch, or takes only so many") from error
    axes = [axis for axis, (n, more) in enumerate(zip(*shapes, strict=True)) if n != more]
    if len(axes) != 1 or shapes[0][axes[0]] != SAMPLES:
        raise Refusal("mixes the samples of the batch")
    shape = tuple(n for axis, n in enumerate(shapes[0]) if axis != axes[0])

    def per_sample(*xs: torch.Tensor) -> torch.Tensor:
        return function(*xs).movedim(axes[0], 0).reshape(-1, *(shape or (1,)))

    operation = AutogradOperation(name_of(node), per_sample, tuple(tracer.graph.shapes[v.number] for v in traced))
    return tracer.add(operation, *traced, shape=shape, batch=axes[0])


def one_factor(tracer: "Tracer", node: Node, *args: Any, **kwargs: Any) -> Value:
    """Products of several operands of which one may depend on the data: ``einsum``, ``bmm``.

    Raises
    ------
    Refusal
        If several do.
    """
    traced = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value)]
    if len(traced) != 1:
        raise Refusal("product of two values that depend on the data")
    args, kwargs = pytree.tree_map_only(torch.Tensor, _without_samples, (args, kwargs))
    if name_of(node) == "bmm":  # of constants with one matrix for all samples, matmul takes it once
        return by_autograd(tracer, _called(node, torch.ops.aten.matmul.default), *args, **kwargs)
    return by_autograd(tracer, node, *args, **kwargs)


def _without_samples(c: torch.Tensor) -> torch.Tensor:
    """Return a constant that was expanded to the samples as it was before."""
    expanded = c.ndim == 3 and len(c) == SAMPLES and torch.equal(c[0], c[1])
    return c[:1] if expanded else c


def _called(node: Node, target: Any) -> Node:
    return torch.fx.Node(node.graph, node.name, "call_function", target, (), {})


def along_an_axis(tracer: "Tracer", node: Node, x: Any, dim: int, *args: Any, **kwargs: Any) -> Value:
    """``cumsum`` and its kin: linear in ``x``, along an axis that must not be the samples'."""
    x.axis(dim)
    return by_autograd(tracer, node, x, dim, *args, **kwargs)


def adding_at(tracer: "Tracer", node: Node, x: Any, dim: int, index: Any, source: Any, **kwargs: Any) -> Value:
    """``index_add``, ``scatter_add``: linear in what is added to and in what is added, at constant places.

    Raises
    ------
    Refusal
        If the places depend on the data.
    """
    if isinstance(index, Value):
        raise Refusal("places that depend on the data")
    for value in (x, source):
        if isinstance(value, Value):
            value.axis(dim)
    return by_autograd(tracer, node, x, dim, index, source, **kwargs)


def of_images(tracer: "Tracer", node: Node, x: Any, *args: Any) -> Value:
    """Resampling of other kinds, and the inverse of unfolding: linear in the images, which come first.

    Raises
    ------
    Refusal
        If another argument depends on the data, or the samples do not come first.
    """
    if not isinstance(x, Value) or any(isinstance(arg, Value) for arg in args) or x.batch != 0:
        raise Refusal("expected images as the only data, with the samples first")
    return by_autograd(tracer, node, x, *args)


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("einsum", "bmm", "mv", "dot", "tensordot", "kron", "outer"), one_factor),
    "cumsum": along_an_axis,
    **dict.fromkeys(("index_add", "scatter_add"), adding_at),
    **dict.fromkeys(
        # not the antialiased kinds: by a scale factor, torch's gradients of them are not those of what it computes
        ("upsample_bicubic2d", "col2im"),
        of_images,
    ),
}
