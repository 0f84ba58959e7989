"""A trained network as one affine map, checked: trace, cut, compose, verify."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from gpu.convert import check_batch
from gpu.preprocessing import preprocessing_operations
from gpu.report import Report, costs_of_factors, costs_of_network, machine_rates, rank_of, verdict_of
from gpu.tracing import trace
from gpu.verification import composition_error, differences, reference_of, sample_inputs
from linalg_cnn import AffineGraph, AffineMap, FactoredMap, Operation, compose
from linalg_cnn.checks import check_memory, memory_limit
from linalg_cnn.compose import Progress
from linalg_cnn.cut import cheapest_cut, split
from linalg_cnn.types import Shape, size_of


class CollapsedModule(nn.Module):
    """W x + B as a torch module, in one linear layer or in two.

    Parameters
    ----------
    factors : sequence of AffineMap
        The outermost first.
    in_shape, out_shape : tuple of int
        Of one sample; ``out_shape`` may be ().
    dtype : torch.dtype

    Raises
    ------
    ValueError
        If an entry of a factor is too large for the dtype.
    """

    def __init__(self, factors: Sequence[AffineMap], in_shape: Shape, out_shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        self.layers = nn.Sequential(*(_linear(factor, dtype) for factor in reversed(factors)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of a batch: (N, *in_shape) of any dtype to (N, *out_shape).

        Raises
        ------
        ValueError
            If the samples have another shape.
        """
        check_batch(x, self.in_shape)
        first: Any = self.layers[0]
        y: torch.Tensor = self.layers(x.flatten(1).to(first.weight.dtype))
        return y.reshape(x.shape[0], *self.out_shape)


def _linear(factor: AffineMap, dtype: torch.dtype) -> nn.Linear:
    linear = nn.Linear(factor.in_size, factor.out_size, device="meta")
    for name, values in (("weight", factor.W), ("bias", factor.B)):
        rounded = torch.from_numpy(np.ascontiguousarray(values)).to(dtype, copy=True)
        if not torch.isfinite(rounded).all():
            raise ValueError(
                f"module: expected a map whose entries fit {dtype}, got one as large as {np.abs(values).max():.3g}; "
                "collapse module.float() instead"
            )
        setattr(linear, name, nn.Parameter(rounded, requires_grad=False))
    return linear


@dataclass(frozen=True, eq=False, repr=False)
class Collapsed:
    """A network as one affine map.

    Attributes
    ----------
    module : CollapsedModule
        Replaces the network: its dtype, its device, its output shape.
    factors : tuple of AffineMap
        float64, dense; the outermost first, so that ``affine`` is their product. One, or two.
    report : Report
        What it costs, how exact it is, whether it pays.
    graph : AffineGraph
        What was traced, with the preprocessing in front.
    """

    module: CollapsedModule
    factors: tuple[AffineMap, ...]
    report: Report
    graph: AffineGraph

    @property
    def affine(self) -> AffineMap:
        """The map itself, dense, in float64; multiplied out anew where it is kept as two factors.

        Raises
        ------
        MemoryError
            If W would take more than half of the machine's memory.
        """
        if len(self.factors) == 1:
            return self.factors[0]
        outer, inner = self.factors
        check_memory("W multiplied out", 8 * outer.out_size * inner.in_size)
        return outer @ inner

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the map to a safetensors file, which `linalg_cnn.load_map` reads: as it is, in float64.

        Raises
        ------
        OSError
            If the file cannot be written; what stood there before is then untouched.
        """
        (self.factors[0] if len(self.factors) == 1 else FactoredMap(self.factors)).save(path)

    def __repr__(self) -> str:
        """Show shapes and the form."""
        form = " @ ".join(f"{factor.out_size}x{factor.in_size}" for factor in self.factors)
        return f"Collapsed({self.module.in_shape} -> {self.module.out_shape}, {form}, {self.report.dtype})"

    def __str__(self) -> str:
        """Show the report."""
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def collapse(
    module: nn.Module,
    in_shape: Shape,
    *,
    factored: Literal["auto"] | bool = "auto",
    preprocess: Any = None,
    inputs: torch.Tensor | None = None,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> Collapsed:
    """Return the one affine map that a network is, or refuse a network that is not affine.

    Theorem 3.1 of the paper for any architecture. The network is traced, not run; what its operations are is known
    from their names (`gpu.trace`). The map is composed in float64, on CUDA if the network is there, compared with
    the float64 network by autograd and on inputs, and rounded once, to the network's dtype.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *in_shape), in evaluation mode. Left as it is.
    in_shape : tuple of int
        (channels, *spatial).
    factored : {"auto", True, False}
        Whether to keep the map as two factors, cut where the network is narrowest. ``"auto"`` does so if a
        prediction then takes fewer multiply-adds.
    preprocess : torchvision transforms, optional
        ``ToTensor``, ``Normalize`` and their kin, folded into the map, which then takes raw pixels 0 to 255, also as
        uint8. See `gpu.preprocessing`.
    inputs : tensor (N, *in_shape), optional
        What the map is compared on beside random inputs; raw pixels if there is preprocessing.
    max_bytes : int, optional
        The most memory the composition may take; half of the machine's if not given.
    progress : callable, optional
        Wraps the chunks of the composition, as ``tqdm.tqdm`` does.

    Returns
    -------
    Collapsed

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be; each is listed with its place.
    TypeError
        If ``module`` is no ``nn.Module``.
    ValueError
        If an argument is malformed, the network does not take such input, there is nothing to cut for
        ``factored=True``, or the map does not fit the network's dtype.
    MemoryError
        If the composition would take more than ``max_bytes``; nothing has been computed then.

    Notes
    -----
    Source: the paper's theorem 3.1.

    Examples
    --------
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)).eval()
    >>> collapsed = collapse(net, (1, 8, 8))
    >>> collapsed
    Collapsed((1, 8, 8) -> (3,), 3x64, float32)
    >>> images = torch.rand(5, 1, 8, 8)
    >>> torch.allclose(collapsed.module(images), net(images), atol=1e-6)
    True
    >>> collapsed.affine.W.shape, collapsed.report.rank
    ((3, 64), 3)
    """
    if factored != "auto" and not isinstance(factored, bool):
        raise ValueError(f"factored: expected 'auto', True or False, got {factored!r}")
    memory_limit(max_bytes)
    start = time.perf_counter()
    traced = trace(module, in_shape)
    in_shape = traced.in_shape
    operations = preprocessing_operations(preprocess, in_shape)
    graph = with_operations_first(operations, traced)
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    x = sample_inputs(in_shape, bool(operations), _checked(inputs, in_shape))
    with torch.no_grad():
        out_shape = tuple(module(_prepare(operations, x[:1]).to(like)).shape[1:])
    traced_at = time.perf_counter()
    parts, shapes, cut_shapes = choose(graph, factored)
    place = (lambda array: torch.from_numpy(array).to(like.device)) if like.device.type == "cuda" else None
    factors = tuple(_compose(part, max_bytes, progress, place) for part in parts)
    composed_at = time.perf_counter()
    replacement = CollapsedModule(factors, in_shape, out_shape, like.dtype).to(like.device).eval()
    reference = reference_of(module, lambda pixels: _prepare(operations, pixels))
    before = costs_of_network(module, traced)
    itemsize = like.element_size()
    after = costs_of_factors(shapes, itemsize)
    dense = [(size_of(graph.out_shape), size_of(in_shape))]
    report_parts: dict[str, Any] = {
        "differences": differences(module, replacement, reference, factors, x),
        "composition": composition_error(reference, factors, in_shape),
        "rank": rank_of(factors),
        "verdict": verdict_of(before, after, machine_rates(like.dtype, like.device)),
    }
    report = Report(
        in_shape=in_shape,
        out_shape=out_shape,
        dtype=str(like.dtype).removeprefix("torch."),
        factors=shapes,
        before=before,
        after=after,
        choices={
            "dense": costs_of_factors(dense, itemsize),
            "factored": None if cut_shapes is None else costs_of_factors(cut_shapes, itemsize),
        },
        seconds={
            "tracing": traced_at - start,
            "composing": composed_at - traced_at,
            "verifying": time.perf_counter() - composed_at,
        },
        **report_parts,
    )
    return Collapsed(replacement, factors, report, graph)


Matrices = list[tuple[int, int]]


def choose(graph: AffineGraph, factored: Literal["auto"] | bool) -> tuple[list[AffineGraph], Matrices, Matrices | None]:
    """Return the graphs to compose, the shapes of their matrices, and those of the other choice, the cheapest cut.

    Raises
    ------
    ValueError
        If two factors are asked for and there is nothing to cut.
    """
    in_size, out_size = size_of(graph.in_shape), size_of(graph.out_shape)
    cut = cheapest_cut(graph)
    if cut is None:
        if factored is True:
            raise ValueError("factored: expected 'auto' or False for a network without a value to cut at, got True")
        return [graph], [(out_size, in_size)], None
    width = sum(size_of(graph.shapes[value]) for value in cut)
    cut_shapes = [(out_size, width), (width, in_size)]
    if factored is True or (factored == "auto" and width * (in_size + out_size) < in_size * out_size):
        return list(split(graph, cut)), cut_shapes, cut_shapes
    return [graph], [(out_size, in_size)], cut_shapes


def with_operations_first(operations: Sequence[Operation], graph: AffineGraph) -> AffineGraph:
    """Return a graph that applies operations, one after the other, before another graph."""
    if not operations:
        return graph
    joint = AffineGraph(graph.in_shape)
    value = 0
    for operation in operations:
        value = joint.add(operation, value, name="preprocess")
    joint.extend(graph, value)
    return joint


def _compose(graph: AffineGraph, max_bytes: int | None, progress: Progress | None, place: Any) -> AffineMap:
    try:
        return compose(graph, max_bytes=max_bytes, progress=progress, place=place)
    except MemoryError as error:
        raise MemoryError(
            f"{error}; raise max_bytes, keep the map as factors (factored=True), or use it without its matrix: "
            "gpu.trace(module, in_shape).linear_operator()"
        ) from error


def _checked(inputs: torch.Tensor | None, in_shape: Shape) -> torch.Tensor | None:
    if inputs is not None:
        check_batch(inputs, in_shape)
    return inputs


def _prepare(operations: Sequence[Operation], x: torch.Tensor) -> torch.Tensor:
    """Return preprocessed pixels, float64, computed by torch so that gradients pass."""
    for operation in operations:
        scale: Any = operation
        factor, shift = (torch.from_numpy(values).to(x.device) for values in (scale.weight, scale.bias))
        per_channel = (-1, *(1,) * (x.ndim - 2))
        x = x * factor.reshape(per_channel) + shift.reshape(per_channel)
    return x
