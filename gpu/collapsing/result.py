"""The result of `gpu.collapse`: a map, a module that computes it, and a report."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.fx
from torch import nn

from gpu.collapsing.casting import cast_map
from gpu.collapsing.report import CollapseReport
from linalg_cnn import AffineGraph, AffineMap, FactoredMap
from linalg_cnn.memory import check_memory
from linalg_cnn.types import Shape


@torch.fx.wrap  # torch.fx cannot follow the comparison, and keeps the call
def checked_samples(x: torch.Tensor, in_sizes: list[int], like: torch.Tensor) -> torch.Tensor:
    """Return a batch (N, *in_sizes) of real numbers, integers or truths in the dtype of ``like``.

    Raises
    ------
    TypeError
        If the samples are no tensor, or complex.
    ValueError
        If the samples have another shape.
    """
    if not isinstance(x, torch.Tensor):
        raise TypeError("x: expected a tensor (N, ...), got something else; torch.as_tensor makes one")
    if x.is_complex():
        raise TypeError("x: expected real numbers, got complex ones, whose imaginary parts would be lost")
    if list(x.shape[1:]) != in_sizes:
        # torch.jit.script knows no str.join of a generator
        expected, got = str(in_sizes)[1:-1], str(list(x.shape))[1:-1]
        raise ValueError(f"x: expected shape (N, {expected}), got ({got})")
    return x.to(like.dtype)


class CollapsedModule(nn.Module):
    """W x + B as a torch module, in one linear layer or in two.

    torch's own tools can take it: ``torch.export``, ``torch.compile``, ``torch.jit``, ``torch.fx``, ONNX, dynamic
    quantisation.

    Parameters
    ----------
    factors : sequence of AffineMap
        The map in float64, the outermost factor first.
    in_shape, out_shape : tuple of int
        Shapes of one sample's input and output; ``out_shape`` may be ().
    dtype : torch.dtype
        Dtype of the parameters and of the computation.

    Raises
    ------
    ValueError
        If an entry of a factor is too large for the dtype.
    """

    in_sizes: list[int]  # lists, because torch.jit.script takes no tuples of any length
    out_sizes: list[int]
    like: torch.Tensor
    __jit_unused_properties__ = ("in_shape", "out_shape")

    def __init__(self, factors: Sequence[AffineMap], in_shape: Shape, out_shape: Shape, dtype: torch.dtype) -> None:
        super().__init__()
        self.in_sizes, self.out_sizes = list(in_shape), list(out_shape)
        self.layers = nn.Sequential(*(_linear(factor, dtype) for factor in reversed(factors)))
        # empty; it has the dtype of the computation, as quantised layers do not
        self.register_buffer("like", torch.empty(0, dtype=dtype), persistent=False)

    @property
    def in_shape(self) -> Shape:
        """Shape of one sample's input."""
        return tuple(self.in_sizes)

    @property
    def out_shape(self) -> Shape:
        """Shape of one sample's output."""
        return tuple(self.out_sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of a batch: (N, *in_shape) of any real dtype to (N, *out_shape).

        Raises
        ------
        TypeError
            If the samples are complex.
        ValueError
            If the samples have another shape.
        """
        y: torch.Tensor = self.layers(checked_samples(x, self.in_sizes, self.like).flatten(1))
        return y.reshape([x.shape[0]] + self.out_sizes)  # noqa: RUF005 - torch.jit.script knows no unpacking


def _linear(factor: AffineMap, dtype: torch.dtype) -> nn.Linear:
    linear = nn.Linear(factor.in_size, factor.out_size, device="meta")
    expected = "module: expected a map whose entries fit"
    wider = {torch.float16: "float", torch.bfloat16: "double", torch.float32: "double"}.get(dtype)
    remedy = f"; collapse module.{wider}() instead" if wider else ""
    weight, bias = cast_map(factor, dtype, torch.device("cpu"), expected, remedy)
    linear.weight, linear.bias = (nn.Parameter(part, requires_grad=False) for part in (weight, bias))
    return linear


@dataclass(frozen=True, eq=False, repr=False)
class Collapsed:
    """A network as one affine map.

    Attributes
    ----------
    module : CollapsedModule
        Replacement of the network, with its dtype, its device and its output shape.
    factors : tuple of AffineMap
        The map in float64, as one dense factor or two, the outermost first: ``affine`` is their product.
    report : CollapseReport
        Costs, accuracy, and whether prediction gets cheaper.
    graph : AffineGraph
        The traced network, after the preprocessing.

    Examples
    --------
    >>> import gpu
    >>> collapsed = gpu.collapse(gpu.perceptron(), (1, 28, 28))
    >>> collapsed
    Collapsed((1, 28, 28) -> (10,), 10x784, float32)
    >>> collapsed.module(torch.zeros(2, 1, 28, 28)).shape, collapsed.affine.W.shape
    (torch.Size([2, 10]), (10, 784))
    """

    module: CollapsedModule
    factors: tuple[AffineMap, ...]
    report: CollapseReport
    graph: AffineGraph

    @property
    def affine(self) -> AffineMap:
        """The map, dense, in float64; where it is kept as two factors, they are multiplied at each access.

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
        """Write the map in float64 and in its form to a safetensors file, which `linalg_cnn.load_map` reads.

        Raises
        ------
        OSError
            If the file cannot be written; a file that exists is then left as it was.
        """
        (self.factors[0] if len(self.factors) == 1 else FactoredMap(self.factors)).save(path)

    def __repr__(self) -> str:
        """Show the shapes and the form."""
        form = " @ ".join(f"{factor.out_size}x{factor.in_size}" for factor in self.factors)
        return f"Collapsed({self.module.in_shape} -> {self.module.out_shape}, {form}, {self.report.dtype})"

    def __str__(self) -> str:
        """Show the report."""
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()
