"""Torch modules of the operations and forms that torch has no module for. All of them script, export and copy."""

from typing import Any

import torch
import torch.fx
from torch import nn

from gpu.collapsing.result import checked_samples
from linalg_cnn.types import Array, Shape

# torch.fx asks each module that calls them
torch.fx.wrap("checked_samples")
torch.fx.wrap("add_to_box")


def parameter(values: Array) -> nn.Parameter:
    """Return numbers as a parameter that is not trained, float64 until the module is cast."""
    return nn.Parameter(torch.from_numpy(values.astype("float64", order="C")), requires_grad=False)


class CheckedInput(nn.Module):
    """The identity for samples of one shape, which become those of the network's dtype.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of a sample.
    """

    in_sizes: list[int]  # lists, because torch.jit.script takes no tuples of any length
    like: torch.Tensor

    def __init__(self, in_shape: Shape) -> None:
        super().__init__()
        self.in_sizes = list(in_shape)
        # empty; it has the dtype of the computation, as quantised layers do not
        self.register_buffer("like", torch.empty(0, dtype=torch.float64), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, *in_shape) in the dtype of the computation; raises what `checked_samples` raises."""
        return checked_samples(x, self.in_sizes, self.like)


class Reshaped(nn.Module):
    """The same entries of each sample in another shape.

    Parameters
    ----------
    shape : tuple of int
        Shape of a sample of the result; () for a single number.
    """

    sizes: list[int]

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.sizes = list(shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, *shape)."""
        return x.reshape([x.shape[0]] + self.sizes)  # noqa: RUF005 - torch.jit.script knows no unpacking

    def extra_repr(self) -> str:
        """Return the shape."""
        return f"{tuple(self.sizes)}"


class Gathered(nn.Module):
    """Entries of each sample by their numbers, as in nearest-neighbour resampling; -1 stands for a zero.

    Parameters
    ----------
    sources : int array (*shape)
        Number of each entry in the C-order ravel of a sample.
    """

    sources: torch.Tensor
    sizes: list[int]

    def __init__(self, sources: Array) -> None:
        super().__init__()
        self.sizes = list(sources.shape)
        flat = torch.from_numpy(sources.astype("int64").ravel())
        # not persistent: it follows from the shapes, and a state_dict holds what was learnt
        self.register_buffer("sources", flat.clamp_min(0), persistent=False)
        self.missing: torch.Tensor | None
        self.register_buffer("missing", None if (flat >= 0).all() else flat < 0, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, *shape) of a batch (N, ...)."""
        y = x.flatten(1).index_select(1, self.sources)
        if self.missing is not None:
            y = y.masked_fill(self.missing, 0.0)  # a product with 0 would be NaN where an entry is infinite
        return y.reshape([x.shape[0]] + self.sizes)  # noqa: RUF005 - torch.jit.script knows no unpacking


class Scaled(nn.Module):
    """Factors times the input, plus shifts.

    Parameters
    ----------
    factors, shifts : array
        Numbers that broadcast to a sample.
    """

    def __init__(self, factors: Array, shifts: Array) -> None:
        super().__init__()
        self.factors, self.shifts = parameter(factors), parameter(shifts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch of the shape of ``x``."""
        return torch.addcmul(self.shifts, x, self.factors)


class Constantly(nn.Module):
    """The same value for every sample.

    Parameters
    ----------
    value : array
        Value of one sample.
    """

    sizes: list[int]

    def __init__(self, value: Array) -> None:
        super().__init__()
        self.sizes = list(value.shape)
        self.value = parameter(value)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the value for each sample of a batch."""
        return self.value.expand([x.shape[0]] + self.sizes)  # noqa: RUF005 - torch.jit.script knows no unpacking


class AlongAxis(nn.Module):
    """A matrix along one axis of a sample.

    Parameters
    ----------
    weight : array (out_features, in_features)
    bias : array (out_features,) or None
    axis : int
        Number of the axis, without the batch axis.
    """

    def __init__(self, weight: Array, bias: Array | None, axis: int) -> None:
        super().__init__()
        self.linear = linear(weight, bias)
        self.axis = axis + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch whose axis has out_features entries."""
        y: torch.Tensor = self.linear(x.movedim(self.axis, -1))
        return y.movedim(-1, self.axis)


class Sparse(nn.Module):
    """A sparse matrix W and a bias, as a sum over the entries of each row.

    It is computed by ``embedding_bag``: each output is a bag of weighted inputs. Torch's own sparse tensors cannot be
    copied or exported.

    Parameters
    ----------
    W : csr_array (out_size, in_size)
    bias : array (out_size,)
    out_shape : tuple of int
        Shape of a sample of the result.
    """

    columns: torch.Tensor
    starts: torch.Tensor
    sizes: list[int]

    def __init__(self, W: Any, bias: Array, out_shape: Shape) -> None:
        super().__init__()
        self.sizes = list(out_shape)
        self.values, self.bias = parameter(W.data), parameter(bias)
        self.register_buffer("columns", torch.from_numpy(W.indices.astype("int64")), persistent=False)
        self.register_buffer("starts", torch.from_numpy(W.indptr[:-1].astype("int64")), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, *out_shape) of a batch of in_size entries each."""
        entries = x.flatten(1).t().contiguous()
        y = nn.functional.embedding_bag(self.columns, entries, self.starts, mode="sum", per_sample_weights=self.values)
        return (y.t() + self.bias).reshape([x.shape[0]] + self.sizes)  # noqa: RUF005 - torch.jit.script


class Matrices(nn.Module):
    """One matrix, or a product of several, on the ravel of a sample, in layers that torch can quantise.

    Parameters
    ----------
    factors : list of (W, B)
        The factors, the innermost first.
    out_shape : tuple of int
        Shape of a sample of the result.
    """

    sizes: list[int]

    def __init__(self, factors: list[tuple[Array, Array]], out_shape: Shape) -> None:
        super().__init__()
        self.sizes = list(out_shape)
        self.layers = nn.Sequential(*(linear(W, B) for W, B in factors))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, *out_shape) of a batch of in_size entries each."""
        y: torch.Tensor = self.layers(x.flatten(1))
        return y.reshape([x.shape[0]] + self.sizes)  # noqa: RUF005 - torch.jit.script knows no unpacking


class Patch(nn.Module):
    """A matrix from some entries of the input to a box of output positions, added to an output.

    Parameters
    ----------
    sources : int array (k,)
        Numbers of the entries of the input that the matrix reads.
    W : array (channels x box, k)
    B : array (channels x box,)
    box : list of (int, int)
        First position and length of the box along each spatial axis.
    """

    sources: torch.Tensor
    starts: list[int]
    lengths: list[int]

    def __init__(self, sources: Array, W: Array, B: Array, box: list[tuple[int, int]]) -> None:
        super().__init__()
        self.register_buffer("sources", torch.from_numpy(sources.astype("int64")), persistent=False)
        self.matrix = linear(W, B)
        self.starts, self.lengths = [start for start, _ in box], [length for _, length in box]

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Add to ``y`` (N, channels, *spatial), in place, what ``x`` (N, in_size) gives; return ``y``."""
        return add_to_box(y, self.matrix(x.index_select(1, self.sources)), self.starts, self.lengths)


def add_to_box(y: torch.Tensor, values: torch.Tensor, starts: list[int], lengths: list[int]) -> torch.Tensor:
    """Add values to a box of positions of ``y`` (N, channels, *spatial), in place; return ``y``.

    Tools that record the calls of a network, such as ``torch.fx.symbolic_trace``, record it as one call: they would
    lose an addition to a part of a tensor whose result nothing reads.
    """
    part = y
    for axis in range(len(starts)):
        part = part.narrow(axis + 2, starts[axis], lengths[axis])
    part += values.reshape(part.shape)
    return y


class Bordered(nn.Module):
    """A convolution, and corrections of the output positions near the border.

    Parameters
    ----------
    convolution : nn.Module
        The convolution, which is right in the middle of the image.
    patches : list of Patch
        The corrections.
    """

    def __init__(self, convolution: nn.Module, patches: list[Patch]) -> None:
        super().__init__()
        self.convolution, self.patches = convolution, nn.ModuleList(patches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a batch (N, channels, *spatial)."""
        y: torch.Tensor = self.convolution(x)
        entries = x.flatten(1)
        for patch in self.patches:
            y = patch(entries, y)
        return y


def linear(weight: Array, bias: Array | None) -> nn.Linear:
    """Return a linear layer with these numbers."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = parameter(weight)
    if bias is not None:
        layer.bias = parameter(bias)
    return layer
