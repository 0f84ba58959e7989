"""Products along an axis with one constant factor: matrices, dense or sparse, vectors, bilinear layers."""

from collections.abc import Callable
from typing import Any

import torch

from gpu.tracing.aten.arithmetic import PRODUCT, combine, scale
from gpu.tracing.aten.by_autograd import by_autograd, called
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.constants import without_samples
from gpu.tracing.values import Refusal, Value
from linalg_cnn import AxisDense, AxisSparse, Permute

Node = torch.fx.Node


def matmul(builder: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    """``matmul``, ``mm`` and ``bmm`` with one constant factor.

    Raises
    ------
    Refusal
        If both factors depend on the data, or the sum runs over the samples.
    """
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refusal(PRODUCT)
    if isinstance(x, Value):
        y = _one_matrix(y, x)
        if y.ndim == 2:
            return times_matrix(builder, x, y.T, -1)
        if y.ndim == 1:
            return times_vector(builder, x, y)
    else:
        x = _one_matrix(x, y)
        if x.ndim == 2 and y.rank > 1:
            return times_matrix(builder, y, x, -2)
    return by_autograd(builder, called(node, torch.ops.aten.matmul.default), x, y)


def times_matrix(builder: GraphBuilder, x: Value, matrix: torch.Tensor, dim: int) -> Value:
    """Return a constant matrix (out_features, in_features), dense or sparse, applied along an axis of a tensor."""
    axis = x.axis(dim)
    if matrix.layout == torch.strided:
        return builder.add(AxisDense(matrix.double().numpy(), None, axis), x)
    matrix = matrix.to_sparse_coo().coalesce()
    rows, columns = matrix.indices().numpy()
    return builder.add(AxisSparse(rows, columns, matrix.values().double().numpy(), tuple(matrix.shape), axis), x)


def times_vector(builder: GraphBuilder, x: Value, vector: torch.Tensor) -> Value:
    """Return the inner products of a constant vector with a tensor along its last axis, which is gone."""
    product = times_matrix(builder, x, vector[None], -1)
    return builder.reshape(product, x.shape[:-1], x.batch)


def mv(builder: GraphBuilder, node: Node, matrix: Any, vector: Any) -> Value:
    """``mv``, ``dot``: the samples are the rows of the matrix.

    Raises
    ------
    Refusal
        If both factors depend on the data, or the samples are summed.
    """
    if isinstance(matrix, Value) and isinstance(vector, Value):
        raise Refusal(PRODUCT)
    if isinstance(vector, Value):  # a vector has no axis beside that of the samples
        raise Refusal("mixes the samples of the batch")
    return times_vector(builder, matrix, vector)


def inner(builder: GraphBuilder, node: Node, x: Any, y: Any) -> Value:
    """``inner``: products along the last axes, with one constant.

    Raises
    ------
    Refusal
        If both depend on the data.
    """
    if isinstance(x, Value) and isinstance(y, Value):
        raise Refusal(PRODUCT)
    value, c = (x, y) if isinstance(x, Value) else (y, x)
    if c.ndim == 0:
        return scale(builder, value, c, 0.0)
    product = times_matrix(builder, value, c.reshape(-1, c.shape[-1]), -1)
    rest, more = value.shape[:-1], tuple(c.shape[:-1])
    if isinstance(x, Value):
        return builder.reshape(product, (*rest, *more), value.batch)
    order = (len(rest), *range(len(rest)))
    turned = builder.add(Permute(order), product)
    return builder.reshape(turned, (*more, *rest), value.batch + len(more))


def bilinear(builder: GraphBuilder, node: Node, x: Any, y: Any, weight: Any, bias: Any = None) -> Value:
    """``bilinear`` of a value and one constant row, as ``nn.Bilinear`` of a code that all samples share.

    Raises
    ------
    Refusal
        If two factors depend on the data.
    """
    if sum(isinstance(factor, Value) for factor in (x, y, weight)) > 1 or isinstance(bias, Value):
        raise Refusal(PRODUCT)
    if isinstance(weight, Value):
        raise Refusal("bilinear with a weight that depends on the data is not known to be affine")
    value, c, contracted = (x, y, 2) if isinstance(x, Value) else (y, x, 1)
    c = without_samples(c, value.batch)
    rows = c.double().reshape(-1, c.shape[-1])
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        raise Refusal("bilinear with a constant that differs between positions is not known to be affine")
    matrix = torch.tensordot(weight.double(), rows[0], dims=([contracted], [0]))
    product = times_matrix(builder, value, matrix, -1)
    return product if bias is None else combine(builder, product, bias, 1.0, 1.0)


def _one_matrix(c: torch.Tensor, x: Value) -> torch.Tensor:
    """Return constant matrices that were expanded along the other factor's batch axis as they were before.

    Those of a sparse layout are returned as coordinates, which torch can transpose.
    """
    if c.layout != torch.strided:
        coordinates: torch.Tensor = c.to_sparse_coo()
        return coordinates
    axis = c.ndim - x.rank + x.batch
    if 0 <= axis < c.ndim - 2:
        c = without_samples(c, axis)
    return c[0] if c.ndim == 3 and len(c) == 1 and x.rank >= c.ndim else c


def add_mv(builder: GraphBuilder, node: Node, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """``addmv``: beta bias + alpha x y."""
    product = mv(builder, node, x, y) if isinstance(x, Value) or isinstance(y, Value) else x.double() @ y.double()
    return combine(builder, bias, product, float(beta), float(alpha))


def add_matmul(
    builder: GraphBuilder, node: Node, bias: Any, x: Any, y: Any, *, beta: float = 1, alpha: float = 1
) -> Any:
    """``addmm``, ``baddbmm``: beta bias + alpha x y."""
    if isinstance(x, Value) or isinstance(y, Value):
        return combine(builder, bias, matmul(builder, node, x, y), float(beta), float(alpha))
    return combine(builder, bias, x.double() @ y.double(), float(beta), float(alpha))


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("matmul", "mm", "bmm", "_sparse_mm"), matmul),
    **dict.fromkeys(("addmm", "baddbmm", "_sparse_addmm"), add_matmul),
    **dict.fromkeys(("mv", "dot"), mv),
    "addmv": add_mv,
    "inner": inner,
    "bilinear": bilinear,
}
