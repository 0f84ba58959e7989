"""Any torch module as an AffineGraph, or a refusal that names what is not affine, and where."""

from torch import nn

from gpu.tracing.builder import GraphBuilder, Memo
from gpu.tracing.comparison import first_difference
from gpu.tracing.export import export
from gpu.tracing.not_affine import NotAffineError, Obstacle
from gpu.tracing.walker import ProgramWalker
from linalg_cnn import AffineGraph
from linalg_cnn.checks import check_shape
from linalg_cnn.types import Shape

COUNTS = (2, 3)
"""How many samples are traced: enough to see whether they are mixed, twice, to see whether their number matters."""


def trace(module: nn.Module, in_shape: Shape) -> AffineGraph:
    """Return a module as a graph of affine operations, with its parameters of this moment in float64.

    The module is exported by ``torch.export`` and not run on data. Each operation that torch records is affine by
    its name and its arguments, or it is refused: nothing is decided by trying numbers. It is exported for two samples
    and once more for three, and refused where that comes to another graph. What a forward does for other numbers of
    samples alone (``if len(x) == 1``) is not seen.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *in_shape) and returns one tensor (N, *out_shape), each sample by itself. Left as it
        is.
    in_shape : tuple of int
        (channels, *spatial).

    Returns
    -------
    AffineGraph

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be; all of them are listed, each with its place.
    TypeError
        If ``module`` is no ``nn.Module``.
    ValueError
        If the module does not take such input, or returns anything but one tensor of as many samples.

    Notes
    -----
    Source: the operations are those of ``torch.export`` without decomposition (ATen).

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
    """
    return trace_with_shape(module, in_shape)[0]


def trace_with_shape(module: nn.Module, in_shape: Shape) -> tuple[AffineGraph, Shape]:
    """Return a module as a graph, see `trace`, and the shape of what it returns for one sample, which may be ().

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be.
    TypeError
        If ``module`` is no ``nn.Module``.
    ValueError
        If the module does not take such input, or returns anything but one tensor of as many samples.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    in_shape = check_shape("in_shape", in_shape)
    training = {name for name, part in module.named_modules() if part.training}
    memo: Memo = {}
    (graph, out_shape), (other, other_shape) = (
        ProgramWalker(export(module, in_shape, count), GraphBuilder(in_shape, count, memo), training).walk()
        for count in COUNTS
    )
    place = first_difference(graph, other)
    if place is not None or out_shape != other_shape:
        raise NotAffineError([Obstacle(place or "the output", "depends on how many samples there are")])
    return graph, out_shape
