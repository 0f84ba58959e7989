"""A trained network as one affine map: trace, choose the form, compose, verify, report."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from gpu.collapsing.accuracy import HeldOut
from gpu.collapsing.casting import dtype_name
from gpu.collapsing.costs import costs_of_factors, costs_of_network, machine_rates, rank_of, verdict_of
from gpu.collapsing.factoring import choose_form, compose_form
from gpu.collapsing.memory import Budget, check_samples
from gpu.collapsing.preprocessing import meta_of, preprocess_in_torch, preprocessing_operations, with_operations_first
from gpu.collapsing.report import CollapseReport
from gpu.collapsing.result import Collapsed, CollapsedModule
from gpu.collapsing.samples import check_inputs, draw_samples, unusual_samples
from gpu.collapsing.verification import verify
from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.surroundings import surroundings_kept
from gpu.runtime.timing import Stopwatch
from gpu.tracing.export import like_of
from gpu.tracing.outputs import give_one_tensor
from gpu.tracing.trace import trace_with_shape
from linalg_cnn import FactoredMap
from linalg_cnn.checks import check_shape
from linalg_cnn.chunks import Progress
from linalg_cnn.memory import memory_limit
from linalg_cnn.meta import check_meta
from linalg_cnn.types import Shape, size_of

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def collapse(
    module: nn.Module,
    in_shape: Shape,
    *,
    output: str | int | None = None,
    factored: Literal["auto"] | bool = "auto",
    preprocess: Any = None,
    inputs: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    original: nn.Module | None = None,
    class_names: Sequence[str] | None = None,
    max_bytes: int | None = None,
    progress: Progress | None = None,
) -> Collapsed:
    """Return the one affine map that a network is, or refuse a network that is not affine.

    This is theorem 3.1 of the paper for any architecture. The network is traced (`gpu.trace`), its map is composed in
    float64, on CUDA if the network is there, and compared with the float64 network by autograd and on batches of
    several sizes. The replacement is the map, rounded once to the network's dtype.

    Parameters
    ----------
    module : nn.Module
        Network that takes one tensor (N, *in_shape), in evaluation mode. Only copies of it are run.
    in_shape : tuple of int
        Shape (channels, *spatial) of a sample.
    output : str or int, optional
        Key, field or index of the output to collapse, if the network returns several. Of a tuple, a dict or another
        container with one tensor, that tensor is taken by default.
    factored : {"auto", True, False}
        Whether to keep the map as two factors, cut where the network is narrowest. ``"auto"`` does so if a
        prediction then takes fewer multiply-accumulates.
    preprocess : torchvision transforms, optional
        ``ToTensor``, ``Normalize`` and their kin, folded into the map, which then takes raw pixels 0 to 255, also as
        uint8. See `gpu.collapsing.preprocessing`. An empty list says that the network itself takes raw pixels. Without
        preprocessing the map takes what the network takes, and `gpu.predict.Predictor` refuses bytes for it.
    inputs : tensor (N, *in_shape), optional
        Samples that the map is compared on, in addition to random ones; raw pixels if there is preprocessing. With
        labels, the first 64 are compared in float64, and the predictions of all of them.
    labels : int tensor (N,), optional
        Right classes of the inputs, which are then held-out images: ``report.accuracy`` has the accuracy of the network
        and of the map. Without labels it has the share of predictions that changed.
    original : nn.Module, optional
        The network before `gpu.linearize`; ``report.accuracy`` then says what linearising cost. A copy of it is run.
    class_names : sequence of str, optional
        Names of the classes, one for each score; they are kept with the map.
    max_bytes : int, optional
        The most memory to take, including the copies of the network and the verification; half of the machine's
        memory if not given.
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
        If ``module`` or ``original`` is not an ``nn.Module`` of Python, ``output`` neither a name nor an index,
        ``inputs`` not a tensor, ``class_names`` not strings, or ``progress`` cannot be called.
    ValueError
        If an argument is malformed; if the network cannot be copied, does not take such input, or does not run in
        batches of other sizes or in float64; if the labels are not classes of the inputs; if there is nothing to cut
        for ``factored=True``; or if the map does not fit the network's dtype.
    MapTooLargeError
        If more than ``max_bytes`` would be taken; nothing has been composed then. It is a MemoryError.
    VerificationError
        If the map is not the network: if scores, rows of W or B differ from those of the float64 network by more
        than 1e-8 of the largest of them (4 eps of the network's dtype where that is more, since constants are
        rounded to it) plus 1e-10 of the largest intermediate number. Either the network depends on the size of the
        batch or of its numbers or changes with every call, or the tracing is at fault.

    Notes
    -----
    Source: the paper's theorem 3.1.

    What the copies change in the process is undone, and with it what other threads change there meanwhile, such as the
    random states: other threads should not use the network until this returns.

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
    check_module("module", module)
    if factored != "auto" and not isinstance(factored, bool):
        raise ValueError(f"factored: expected 'auto', True or False, got {factored!r}")
    in_shape, limit = check_shape("in_shape", in_shape), memory_limit(max_bytes)
    check_samples(in_shape, limit)
    watch = Stopwatch()

    with surroundings_kept(module):  # copying runs methods of the user's, such as __setstate__
        network = copy_of(module)
    give_one_tensor(network, output)
    like = like_of(network)
    if like.dtype not in DTYPES:
        raise ValueError(f"module: expected float16, bfloat16, float32 or float64, got {like.dtype}")
    traced, out_shape = trace_with_shape(network, in_shape)
    operations = preprocessing_operations(preprocess, in_shape)
    meta = meta_of(preprocess, operations, in_shape) | {"class_names": class_names}
    check_meta(meta, in_shape, size_of(out_shape))
    graph = with_operations_first(operations, traced)
    held_out = HeldOut.of(check_inputs(inputs, in_shape, like.dtype), labels, original, output)
    held_out.check(out_shape)
    samples = draw_samples(in_shape, pixels=bool(operations), given=held_out.compared)
    watch.lap("tracing")

    form = choose_form(graph, factored)
    itemsize = like.element_size()
    before, after = costs_of_network(network, traced), costs_of_factors(form.shapes, itemsize)
    budget = Budget.of(limit, traced, before, after, itemsize)
    factors = compose_form(form, budget, like, progress)
    factors = tuple(FactoredMap(factors).with_meta(**meta).factors)
    watch.lap("composing")

    with torch.inference_mode(mode=False):  # it is to be used outside, too
        replacement = CollapsedModule(factors, in_shape, out_shape, like.dtype).to(like.device).eval()
    prepare = partial(preprocess_in_torch, operations)
    unusual = unusual_samples(in_shape, like.dtype, pixels=bool(operations))
    accuracy = held_out.accuracy(network, replacement, prepare)
    with surroundings_kept(module):
        found = verify(network, replacement, factors, samples, unusual, prepare)
    watch.lap("verifying")

    rank = rank_of(factors, budget.for_rank)
    verdict = verdict_of(before, after, machine_rates(like.dtype, like.device))
    watch.lap("estimating")

    report = CollapseReport(
        in_shape=in_shape,
        out_shape=out_shape,
        dtype=dtype_name(like.dtype),
        factors=form.shapes,
        rank=rank,
        before=before,
        after=after,
        choices=form.choices(itemsize),
        differences=found.differences,
        composition=found.composition,
        sizes=found.sizes,
        verdict=verdict,
        accuracy=accuracy,
        seconds=watch.seconds,
    )
    return Collapsed(replacement, factors, report, graph)
