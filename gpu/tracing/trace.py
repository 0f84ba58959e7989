"""`trace`: a torch module as an AffineGraph, or an error that names each operation that is not affine."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from torch import nn

from gpu.models.checks import check_module
from gpu.models.copying import copy_of
from gpu.models.sloped import at_their_slopes
from gpu.models.surroundings import surroundings_kept
from gpu.tracing.advice import with_advice
from gpu.tracing.builder import AnyGraph, GraphBuilder, Memo
from gpu.tracing.comparison import first_difference
from gpu.tracing.export import example_of, export, fault_of_a_run, silence
from gpu.tracing.not_affine import NotAffineError, Obstacle
from gpu.tracing.outputs import give_one_tensor
from gpu.tracing.program import Program
from gpu.tracing.quantisation import without_fake_quantisation
from gpu.tracing.recording import record
from gpu.tracing.stand_ins import stand_ins_found
from gpu.tracing.walker import ProgramWalker
from linalg_cnn import AffineGraph, PiecewiseGraph
from linalg_cnn.checks import check_bool, check_shape
from linalg_cnn.types import Shape

COUNTS = (2, 3)
"""Batch sizes of the two recordings: two samples show whether samples are mixed, a third whether their number
matters."""


@overload
def trace(
    module: nn.Module, in_shape: Shape, *, output: str | int | None = None, piecewise: Literal[False] = False
) -> AffineGraph: ...
@overload
def trace(
    module: nn.Module, in_shape: Shape, *, output: str | int | None = None, piecewise: Literal[True]
) -> PiecewiseGraph: ...
def trace(module: nn.Module, in_shape: Shape, *, output: str | int | None = None, piecewise: bool = False) -> AnyGraph:
    """Return a module as a graph of affine operations, with its present parameters in float64.

    The operations of a copy of the module are recorded, as ``torch.export`` records them. Each is either affine by its
    name and arguments, or refused: nothing is decided by trying numbers. What runs of copies leave in globals, caches
    and other objects that the copies share with the module is undone.

    Parameters
    ----------
    module : nn.Module
        A module that maps one tensor (N, *in_shape) to one tensor (N, *out_shape), sample by sample. It is neither
        run nor changed.
    in_shape : tuple of int
        Shape of one sample, (channels, *spatial).
    output : str or int, optional
        Key, field or index of the output to trace, if the module returns several. Of a tuple, a dict or another
        container with one tensor, that tensor is taken by default.
    piecewise : bool
        Whether to follow operations that are piecewise linear as well: ReLU and its relatives, max pooling, maxima,
        clamping.

    Returns
    -------
    AffineGraph, or a PiecewiseGraph if ``piecewise``
        The operations in the order of the forward pass, named by their places in the module.

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be; the error lists all such operations with their places. If
        ``piecewise``, the same for what is not piecewise linear, or jumps between its pieces.
    TypeError
        If ``module`` is not an ``nn.Module`` of Python, or ``output`` neither a name nor an index.
    ValueError
        If the module cannot be copied or does not take such input, or its output is not one tensor with an entry per
        sample.
    MemoryError
        If three samples alone take more than half of the machine's memory.

    Warns
    -----
    RuntimeWarning
        If a run of a copy changed or left something that cannot be undone; the warning names it.

    Notes
    -----
    Source: the operations are those of ``torch.export`` without decomposition (ATen). A forward that only calls
    operations on its input, its parameters and constants is recorded without ``torch.export``, which takes several
    times as long (`gpu.tracing.recording.record`). The module is recorded with two samples and again with three, and
    refused if the two graphs differ. A branch for another number of samples (``if len(x) == 1``) goes unnoticed. A
    refusal recommends `gpu.linearize` only for operations that it replaces, which a run of a copy on random numbers
    shows, and not if ``piecewise``.

    Axes that are folded into the batch axis, as in ``x.flatten(0, 1)``, are followed. Branches on parameters, buffers
    and constants are decided by their values, unless the forward changes these.

    What the copies change in the process is undone, and with it what other threads change there meanwhile, such as the
    random states: other threads should not use the network until this returns.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()
    >>> trace(net, (1, 4, 4))
    AffineGraph((1, 4, 4) -> (3,), 4 operations)
    >>> trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 4, 4))
    Traceback (most recent call last):
        ...
    gpu.tracing.not_affine.NotAffineError: module: expected affine operations only, got 1 that are not:
      1: ReLU: relu is not affine; replace it by the identity, as gpu.linearize does
    >>> trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 4, 4), piecewise=True)
    TracedPiecewiseGraph((1, 4, 4) -> (2, 2, 2), 2 operations)
    """
    check_bool("piecewise", piecewise)
    graph: AnyGraph = trace_with_shape(module, in_shape, output, piecewise=piecewise)[0]
    return graph


def trace_with_shape(
    module: nn.Module, in_shape: Shape, output: str | int | None = None, *, piecewise: bool = False
) -> tuple[Any, Shape]:
    """Return the graph of a module, see `trace`, and the shape of its output for one sample, which may be ().

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be.
    TypeError
        If ``module`` is not an ``nn.Module`` of Python, or ``output`` neither a name nor an index.
    ValueError
        If the module cannot be copied or does not take such input, or its output is not one tensor with an entry per
        sample.
    """
    check_module("module", module)
    in_shape = check_shape("in_shape", in_shape)
    memo: Memo = {}
    kind = "piecewise linear" if piecewise else "affine"
    try:
        builders = [GraphBuilder(in_shape, count, memo, piecewise=piecewise) for count in COUNTS]
        walked = _recorded(module, builders, output)
        if walked is not None:
            return walked
        memo.clear()
        (graph, out_shape), (other, other_shape) = (
            _exported(module, GraphBuilder(in_shape, count, memo, piecewise=piecewise), output) for count in COUNTS
        )
    except NotAffineError as error:
        advised = with_advice(module, in_shape, error.obstacles, piecewise=piecewise)
        raise NotAffineError(advised, kind) from error.__cause__
    place = first_difference(graph, other)
    if place is not None or out_shape != other_shape:
        raise NotAffineError([Obstacle(place or "the output", "depends on how many samples there are")], kind)
    return graph, out_shape


def _recorded(
    module: nn.Module, builders: Sequence[GraphBuilder], output: str | int | None
) -> tuple[AnyGraph, Shape] | None:
    """Return the graph of a module by `record`, and the shape of its output; None where ``torch.export`` has to decide.

    The graph is that of a first call, with two samples. It is compared with that of a second call, with three.

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be.
    """
    with stand_ins_found(), surroundings_kept(module):
        try:
            walked = _recorded_copies(module, builders, output)
        except NotAffineError:
            raise
        except Exception:  # of the forward, or because it asks a stand-in for numbers: torch.export finds the words
            return None
    if len(walked) < len(builders):
        return None
    (graph, out_shape), (other, other_shape) = walked
    return (graph, out_shape) if first_difference(graph, other) is None and out_shape == other_shape else None


def _recorded_copies(
    module: nn.Module, builders: Sequence[GraphBuilder], output: str | int | None
) -> list[tuple[AnyGraph, Shape]]:
    """Return the graphs of copies of a module and the shapes of their outputs, up to the first that is not recorded."""
    walked: list[tuple[AnyGraph, Shape]] = []
    examples = [example_of(module, builder.input.shape, builder.samples) for builder in builders]
    # Caches outside of the module are filled with numbers before the recordings, for either number of samples.
    if fault_of_a_run(_prepared(module, output).module, examples[0]):
        return walked
    copies = [_prepared(module, output) for _ in builders]
    # counters and random numbers of Python differ between a first call and a second, and with them the two graphs
    if fault_of_a_run(copies[-1].module, examples[-1]):
        return walked
    for copied, builder, example in zip(copies, builders, examples, strict=True):
        with silence():
            program = record(copied.module, example)
        if program is None:
            break
        walked.append(ProgramWalker(program, builder, copied.training, copied.quantised).walk())
    return walked


class _Prepared(NamedTuple):
    """A copy of a module that returns one tensor, the paths of its parts in training mode, and its fake quantisers."""

    module: nn.Module
    training: set[str]
    quantised: list[Obstacle]


def _prepared(module: nn.Module, output: str | int | None) -> _Prepared:
    copied = copy_of(module)  # a forward may keep in its module what it computed for another number of samples
    give_one_tensor(copied, output)
    at_their_slopes(copied)
    training = {name for name, part in copied.named_modules() if part.training}
    return _Prepared(copied, training, without_fake_quantisation(copied))


def _exported(module: nn.Module, builder: GraphBuilder, output: str | int | None) -> tuple[AnyGraph, Shape]:
    """Return the graph that ``torch.export`` gives for some samples, and the shape of the output for one of them."""
    with stand_ins_found(), surroundings_kept(module):
        return _exported_copy(module, builder, output)


def _exported_copy(module: nn.Module, builder: GraphBuilder, output: str | int | None) -> tuple[AnyGraph, Shape]:
    """Return the graph of a copy of a module, and the shape of its output for one sample."""
    prepared = _prepared(module, output)
    # counters and random numbers of Python differ between a first call and a second, and with them the two graphs
    program = export(prepared.module, builder.input.shape, builder.samples, second_call=builder.samples == COUNTS[-1])
    return ProgramWalker(Program.of_export(program), builder, prepared.training, prepared.quantised).walk()
