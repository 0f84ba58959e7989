"""A trained network as one affine map, checked: trace, cut, compose, verify."""

import time
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn

from gpu.collapsing.preprocessing import preprocessing_operations
from gpu.collapsing.report import (
    RATE_BYTES,
    Report,
    costs_of_factors,
    costs_of_network,
    machine_rates,
    rank_of,
    verdict_of,
)
from gpu.collapsing.result import Collapsed, CollapsedModule
from gpu.collapsing.verification import (
    BATCHES,
    ROWS,
    ROWS_TOGETHER,
    bytes_per_sample,
    sample_inputs,
    verify,
)
from gpu.models.copying import copy_of
from gpu.tracing.export import like_of
from gpu.tracing.trace import trace_with_shape
from linalg_cnn import AffineGraph, AffineMap, Operation, compose
from linalg_cnn.checks import check_memory, memory_limit
from linalg_cnn.chunks import Progress
from linalg_cnn.cut import cheapest_cut, split
from linalg_cnn.types import Shape, size_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class MapTooLargeError(MemoryError):
    """A map, or the way to it, takes more memory than allowed.

    Parameters
    ----------
    reason : str
        What takes how much.
    factored_helps : bool
        Whether the map would be smaller as two factors; also kept as an attribute.
    """

    def __init__(self, reason: str, factored_helps: bool) -> None:
        self.reason, self.factored_helps = reason, factored_helps
        factors = "keep the map as factors (factored=True), " if factored_helps else ""
        super().__init__(
            f"{reason}; raise max_bytes, {factors}or use it without its matrix: "
            "gpu.trace(module, in_shape).linear_operator()"
        )


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

    Theorem 3.1 of the paper for any architecture. The network is traced; what its operations are is known from their
    names (`gpu.trace`). The map is composed in float64, on CUDA if the network is there, compared with the float64
    network by autograd and on batches of several sizes, and rounded once, to the network's dtype.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *in_shape), in evaluation mode. Never run or changed: copies are.
    in_shape : tuple of int
        (channels, *spatial).
    factored : {"auto", True, False}
        Whether to keep the map as two factors, cut where the network is narrowest. ``"auto"`` does so if a
        prediction then takes fewer multiply-adds.
    preprocess : torchvision transforms, optional
        ``ToTensor``, ``Normalize`` and their kin, folded into the map, which then takes raw pixels 0 to 255, also as
        uint8. See `gpu.collapsing.preprocessing`.
    inputs : tensor (N, *in_shape), optional
        What the map is compared on beside random inputs; raw pixels if there is preprocessing.
    max_bytes : int, optional
        The most memory it may take in all, copies of the network and the verification included; half of the
        machine's if not given.
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
        If ``module`` is no ``nn.Module``, ``inputs`` no tensor, or ``progress`` cannot be called.
    ValueError
        If an argument is malformed, the network cannot be copied, does not take such input, does not run in batches
        of other sizes or in float64, there is nothing to cut for ``factored=True``, or the map does not fit the
        network's dtype.
    MapTooLargeError
        A MemoryError, if it would take more than ``max_bytes``; nothing has been composed then.
    VerificationError
        If the map is not the network: if scores, rows of W or B are off from those of the float64 network by more
        than 1e-8 of the largest of them (4 eps of the network's dtype where that is more, since constants are
        rounded to it) and 1e-10 of the largest number on the way. Either the network depends on the size of the
        batch or changes with every call, or the tracing is at fault.

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
    limit = memory_limit(max_bytes)
    start = time.perf_counter()
    network = copy_of(module)
    like = like_of(network)
    if like.dtype not in DTYPES:
        raise ValueError(f"module: expected float16, bfloat16, float32 or float64, got {like.dtype}")
    traced, out_shape = trace_with_shape(network, in_shape)
    in_shape = traced.in_shape
    operations = preprocessing_operations(preprocess, in_shape)
    graph = with_operations_first(operations, traced)
    x = sample_inputs(in_shape, bool(operations), _checked(inputs, in_shape, like.dtype))
    traced_at = time.perf_counter()
    parts, shapes, cut_shapes = choose(graph, factored)
    itemsize = like.element_size()
    before, after = costs_of_network(network, traced), costs_of_factors(shapes, itemsize)
    cut = None if cut_shapes is None else costs_of_factors(cut_shapes, itemsize)
    together = min(ROWS, max(1, ROWS_TOGETHER // bytes_per_sample(traced)))
    copies = before.bytes + 2 * 8 * before.bytes // itemsize  # the copy, what was traced of it, the copy in float64
    checking = max(RATE_BYTES, bytes_per_sample(traced) * max(sum(BATCHES), together))
    needed = copies + (8 + itemsize) * after.parameters + checking
    try:
        check_memory(
            f"a map of {after.parameters:,} numbers, in float64 and in {_name(like.dtype)}, compared with the network,",
            needed,
            max_bytes,
        )
        factors = _compose(parts, limit - copies, progress, like.device)
    except MemoryError as error:
        raise MapTooLargeError(str(error), cut is not None and cut.parameters < after.parameters) from error
    composed_at = time.perf_counter()
    replacement = CollapsedModule(factors, in_shape, out_shape, like.dtype).to(like.device).eval()
    report_parts: dict[str, Any] = {
        **verify(network, replacement, factors, x, lambda pixels: _prepare(operations, pixels), together),
        "rank": rank_of(factors, limit - needed + checking),
        "verdict": verdict_of(before, after, machine_rates(like.dtype, like.device)),
    }
    report = Report(
        in_shape=in_shape,
        out_shape=out_shape,
        dtype=_name(like.dtype),
        factors=shapes,
        before=before,
        after=after,
        choices={
            "dense": costs_of_factors([(size_of(graph.out_shape), size_of(in_shape))], itemsize),
            "factored": cut,
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


def _compose(
    parts: Sequence[AffineGraph], limit: int, progress: Progress | None, device: torch.device
) -> tuple[AffineMap, ...]:
    """Return the map of each part; each may take what the others' maps leave of the limit."""
    to_device = (lambda array: torch.from_numpy(array).to(device)) if device.type == "cuda" else None
    sizes = [8 * size_of(part.in_shape) * size_of(part.out_shape) for part in parts]
    return tuple(
        compose(part, max_bytes=max(0, limit - sum(sizes) + size), progress=progress, to_device=to_device)
        for part, size in zip(parts, sizes, strict=True)
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _checked(inputs: torch.Tensor | None, in_shape: Shape, dtype: torch.dtype) -> torch.Tensor | None:
    """Return what the map is compared on.

    Raises
    ------
    TypeError
        If it is no tensor.
    ValueError
        If it has another shape, or holds what is not a finite real number in the network's dtype.
    """
    if inputs is None:
        return None
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(f"inputs: expected a tensor, got {type(inputs).__name__}")
    if tuple(inputs.shape[1:]) != in_shape:
        raise ValueError(f"inputs: expected shape (N, {', '.join(map(str, in_shape))}), got {tuple(inputs.shape)}")
    if inputs.is_complex() or not torch.isfinite(inputs.to(dtype)).all():
        raise ValueError(f"inputs: expected finite real numbers that fit {_name(dtype)}, got others")
    return inputs


def _prepare(operations: Sequence[Operation], x: torch.Tensor) -> torch.Tensor:
    """Return preprocessed pixels, float64, computed by torch so that gradients pass."""
    for operation in operations:
        scale: Any = operation
        factor, shift = (torch.from_numpy(values).to(x.device) for values in (scale.weight, scale.bias))
        per_channel = (-1, *(1,) * (x.ndim - 2))
        x = x * factor.reshape(per_channel) + shift.reshape(per_channel)
    return x
