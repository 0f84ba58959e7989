"""A trained network with each affine stretch between its nonlinearities as one operation: the same function."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gpu.collapsing.casting import dtype_name
from gpu.collapsing.collapse import DTYPES
from gpu.collapsing.costs import Costs, machine_rates
from gpu.collapsing.samples import check_inputs, draw_samples, unusual_samples
from gpu.merging.choosing import candidates_of
from gpu.merging.folding import fold_scales
from gpu.merging.forms import CHAIN, FORMS
from gpu.merging.latency import latencies
from gpu.merging.network import network_of
from gpu.merging.report import MergeReport
from gpu.merging.stretches import Stretch, steps_of
from gpu.merging.verification import verify
from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.surroundings import surroundings_kept
from gpu.runtime.timing import Stopwatch
from gpu.tracing.export import like_of
from gpu.tracing.outputs import give_one_tensor
from gpu.tracing.trace import trace_with_shape
from linalg_cnn import Operation, PiecewiseGraph
from linalg_cnn.checks import check_choice, check_int, check_shape
from linalg_cnn.memory import check_memory, memory_limit
from linalg_cnn.types import Shape, size_of


@dataclass(frozen=True, eq=False, repr=False)
class Merged:
    """A network with each affine stretch as one operation.

    Attributes
    ----------
    module : torch.fx.GraphModule
        Replacement of the network, with its dtype, on its device. ``module.code`` shows its forward.
    report : MergeReport
        A row per stretch: place, form, cost before and after, error.
    graph : PiecewiseGraph
        The traced network, with its batch normalisations folded.
    """

    module: torch.fx.GraphModule
    report: MergeReport
    graph: PiecewiseGraph

    def __repr__(self) -> str:
        """Show the shapes, and how many stretches have another form than their chain."""
        merged = sum(row.form != "chain" for row in self.report.stretches)
        return (
            f"Merged({self.report.in_shape} -> {self.report.out_shape}, {merged} of {len(self.report.stretches)} "
            f"stretches merged, {self.report.dtype})"
        )

    def _repr_html_(self) -> str:
        """Return the report for a notebook."""
        return self.report._repr_html_()


@torch.inference_mode(mode=False)  # the result is to be used outside, too
def merge(
    model: nn.Module,
    in_shape: Shape,
    *,
    batch_size: int = 64,
    forms: Collection[str] = FORMS,
    output: str | int | None = None,
    inputs: torch.Tensor | None = None,
    max_bytes: int | None = None,
) -> Merged:
    """Return a network with each affine stretch between its nonlinearities in its fastest form, the same function.

    A stretch is a largest part of the traced network without a nonlinearity: convolutions, batch normalisations, linear
    bottlenecks, skips that begin and end in it, poolings, projections, and everything after the last nonlinearity. It
    stays a chain, with its batch normalisations folded, or becomes one convolution, one convolution and a correction at
    the border, or a sparse, a dense or two dense matrices: whichever is fastest on this machine for this batch size,
    and the chain unless another form is faster beyond noise. All forms are exact, at the borders too. Skips across a
    nonlinearity stay.

    Parameters
    ----------
    model : nn.Module
        Network that takes one tensor (N, *in_shape), in evaluation mode. Only copies of it are run.
    in_shape : tuple of int
        Shape (channels, *spatial) of a sample.
    batch_size : int
        Number of samples in the batch for which the forms are chosen. The result takes batches of any size.
    forms : collection of str
        Names of the forms that compete with the chain; all of `gpu.merging.forms.FORMS` by default. For a network that
        goes to ONNX, give `gpu.merging.forms.FORMS_FOR_ONNXRUNTIME`: onnxruntime is slow at the others.
    output : str or int, optional
        Key, field or index of the output, if the network returns several, as in `gpu.collapse`.
    inputs : tensor (N, *in_shape), optional
        Samples that the result is compared on, in addition to random ones.
    max_bytes : int, optional
        The most memory that the matrices of a stretch may take while they are composed; half of the machine's memory if
        not given. A stretch whose forms take more stays a chain, and the report says so.

    Returns
    -------
    Merged

    Raises
    ------
    NotAffineError
        If an operation is neither affine nor piecewise linear, or not known to be; each is listed with its place.
    TypeError
        If ``model`` is not an ``nn.Module`` of Python, ``forms`` not a collection, ``output`` neither a name nor an
        index, or ``inputs`` not a tensor.
    ValueError
        If an argument is malformed; if the network cannot be copied, does not take such input, or does not run in
        batches of other sizes or in float64; or if folded weights do not fit its dtype.
    MemoryError
        If torch has no function for an operation, and its matrix takes more than ``max_bytes``; or if a batch takes
        more than half of the machine's memory.
    VerificationError
        If the result is not the network: see `gpu.merging.verification.verify`.

    Notes
    -----
    Two padded convolutions in a row are one convolution except at the border, where the second one reads zeros. Methods
    that merge without a correction there change the function and train it anew: Kim et al., Efficient latency-aware CNN
    depth compression (ICML 2023); LayerMerge (ICML 2024).

    What the copies change in the process is undone, and with it what other threads change there meanwhile, such as the
    random states: other threads should not use the network until this returns.

    Examples
    --------
    >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
    <torch._C.Generator object at ...>
    >>> convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)]
    >>> net = nn.Sequential(*convolutions, nn.ReLU(), nn.Flatten(), nn.Linear(256, 3)).eval()
    >>> merged = merge(net, (1, 8, 8), batch_size=4)
    >>> [(row.place, row.operations) for row in merged.report.stretches]
    [('0: Conv2d to 1: Conv2d', 2), ('3: Flatten to 4: Linear', 2)]
    >>> images = torch.rand(5, 1, 8, 8)
    >>> torch.allclose(merged.module(images), net(images), atol=1e-6)
    True
    """
    check_module("model", model)
    batch_size = check_int("batch_size", batch_size, 1)
    if isinstance(forms, str) or not isinstance(forms, Collection):
        raise TypeError(f"forms: expected a collection of names, such as {FORMS[:1]}, got {forms!r}")
    allowed = {check_choice("forms", form, FORMS) for form in forms}
    limit = memory_limit(max_bytes)
    watch = Stopwatch()

    with surroundings_kept(model):  # copying runs methods of the user's, such as __setstate__
        network = copy_of(model)
    give_one_tensor(network, output)
    like = like_of(network)
    if like.dtype not in DTYPES:
        raise ValueError(f"model: expected float16, bfloat16, float32 or float64, got {like.dtype}")
    in_shape = check_shape("in_shape", in_shape)
    check_memory(f"in_shape: a batch of {batch_size} samples of shape {in_shape}", 8 * batch_size * size_of(in_shape))
    traced, out_shape = trace_with_shape(network, in_shape, piecewise=True)
    given = check_inputs(inputs, in_shape, like.dtype)
    graph = fold_scales(traced, PiecewiseGraph(in_shape))
    steps = steps_of(graph)
    stretches = [step for step in steps if isinstance(step, Stretch)]
    watch.lap("tracing")

    rates = machine_rates(like.dtype, like.device)
    found = {stretch: candidates_of(stretch, batch_size, like, limit, allowed) for stretch in stretches}
    chosen = {stretch: candidates.fastest() for stretch, candidates in found.items()}

    def whole(forms: dict[Stretch, str], *, exact: bool = False) -> torch.fx.GraphModule:
        modules = {
            stretch: candidates.forms[forms[stretch]].module if exact else candidates.modules[forms[stretch]]
            for stretch, candidates in found.items()
        }
        made = network_of(graph, steps, modules, out_shape, limit)
        return made.to(like.device, torch.float64 if exact else like.dtype).requires_grad_(False)

    chains = dict.fromkeys(found, CHAIN)
    batch = draw_samples(in_shape, pixels=False, given=None, count=batch_size).to(like)
    with surroundings_kept(model):
        took = _microseconds(copy_of(network), whole(chains), whole(chosen), batch)
    if took["low"] > 1:  # together, the forms may use the caches worse than one by one
        chosen, took = chains, took | {"merged": took["chain"], "ratio": 1.0, "low": 1.0, "high": 1.0}
    module, exact = whole(chosen), whole(chosen, exact=True)
    watch.lap("composing and measuring")

    samples = draw_samples(in_shape, pixels=False, given=given)
    unusual = unusual_samples(in_shape, like.dtype, pixels=False)
    before = _costs(network, _multiply_adds(traced))
    with surroundings_kept(model):
        differences = verify(copy_of(network), exact, module, samples, unusual, like, size_of(out_shape))
    watch.lap("verifying")

    rows = [candidates.report(stretch.place, chosen[stretch], rates) for stretch, candidates in found.items()]
    report = MergeReport(
        in_shape=in_shape,
        out_shape=out_shape,
        dtype=dtype_name(like.dtype),
        device=str(like.device),
        batch_size=batch_size,
        threads=torch.get_num_threads(),
        stretches=rows,
        kept=[graph.nodes[step - 1].name for step in steps if not isinstance(step, Stretch)],
        before=before,
        after=_costs(module, sum(int(row.after["multiply_adds"]) for row in rows)),
        microseconds=took,
        differences=differences,
        seconds=watch.seconds,
    )
    return Merged(module, report, graph)


def _multiply_adds(graph: PiecewiseGraph) -> int:
    """Return the multiply-accumulates (MACs) of a network, without those with zeros of a padding."""
    affine = [(node.operation, node) for node in graph.nodes if isinstance(node.operation, Operation)]
    return sum(operation.count_entries(*graph.input_shapes(node)) for operation, node in affine if operation.weighted)


def _costs(module: nn.Module, multiply_adds: int) -> Costs:
    """Return the costs of a module with a number of MACs per sample."""
    parameters = list(module.parameters())
    held = {id(part): part for part in [*parameters, *module.buffers()]}.values()
    size = sum(part.numel() * part.element_size() for part in held)
    return Costs(sum(part.numel() for part in parameters), multiply_adds, size)


def _microseconds(network: nn.Module, chain: nn.Module, module: nn.Module, batch: torch.Tensor) -> dict[str, Any]:
    """Return the microseconds per sample of the network, of its chain and of the merged network, timed in turn."""
    modules = {"chain": chain, "merged": module, "network": network}
    try:
        with torch.inference_mode():
            network(batch.clone())
    except Exception:  # a forward may refuse this size of a batch, and raise anything
        del modules["network"]
    found = latencies(modules, batch)
    scale = 1e6 / len(batch)
    return {
        "network": scale * found["network"].seconds if "network" in found else None,
        "chain": scale * found["chain"].seconds,
        "merged": scale * found["merged"].seconds,
        "ratio": found["merged"].ratio,
        "low": found["merged"].low,
        "high": found["merged"].high,
    }
