"""One factor and one shift per channel or per entry."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import computed_once, parameter_like
from linalg_cnn.checks import check_array, check_bias, check_shape
from linalg_cnn.entries import Entries, diagonal_entries
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, size_of


class Diagonal(Operation):
    """An operation y = factors x + shifts, entry by entry: A is a diagonal matrix."""

    @property
    @abstractmethod
    def factors(self) -> Array:
        """Factors of shape (channels,), or of a shape with as many axes as the input that broadcasts to it."""

    @property
    @abstractmethod
    def shifts(self) -> Array | None:
        """Shifts in one of the same two forms, or None."""

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return the shape of the input.

        Raises
        ------
        ValueError
            If the parameters do not broadcast to it.
        """
        shape = check_shape("in_shape", in_shape)
        for values in (self.factors, self.shifts):
            if values is not None:
                check_spread(values, shape)
        return shape

    def offset(self, in_shape: Shape) -> Array | None:
        """Return the shifts."""
        return None if self.shifts is None else spread(self.shifts, len(in_shape))

    def count_entries(self, in_shape: Shape) -> int:
        """Return the length of the diagonal."""
        return size_of(self.out_shape(in_shape))

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return the diagonal."""
        shape = self.out_shape(in_shape)
        factors = spread((self.exact() if exact else self).factors, len(shape))
        return diagonal_entries(np.broadcast_to(factors, shape).ravel())

    def push(self, x: Any) -> Any:
        """Return each entry times its factor."""
        factors = computed_once(self, ("factors", x.ndim), lambda: spread(self.factors, x.ndim - 1))
        return x * parameter_like(factors, x)

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return each entry times its factor: a diagonal matrix is its own transpose."""
        return self.push(y)


def check_spread(values: Array, shape: Shape) -> None:
    """Refuse values that are neither one per channel nor of as many axes as a shape that they broadcast to.

    Raises
    ------
    ValueError
        If they do not fit the shape.
    """
    if values.ndim == 1 and shape[0] != len(values):
        raise ValueError(f"in_shape: expected {len(values)} channels, got {shape}")
    sizes = spread(values, len(shape)).shape
    if len(sizes) != len(shape) or any(n not in {1, size} for n, size in zip(sizes, shape, strict=True)):
        raise ValueError(f"in_shape: expected a shape that {values.shape} broadcasts to, got {shape}")


def spread(values: Array, axes: int) -> Array:
    """Return values (channels,) as an array that broadcasts over all axes; others already do."""
    return values.reshape(-1, *(1,) * (axes - 1)) if values.ndim == 1 else values


@dataclass(frozen=True, eq=False)
class Scale(Diagonal):
    """A factor and a shift for each channel, or for each entry.

    The entry in the row and the column of (c, p) is weight[c], or weight[c, p]; there are no others.

    Parameters
    ----------
    weight : array_like (channels,), or of a shape with as many axes as the input that broadcasts to it
    bias : array_like of one of these two shapes, optional

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If a parameter is malformed or not finite.

    Notes
    -----
    Source: ``weight[:, None, None] * x + bias[:, None, None]``.

    Examples
    --------
    >>> Scale([2, 3]).matrix((2, 2)).toarray()
    array([[2., 0., 0., 0.],
           [0., 2., 0., 0.],
           [0., 0., 3., 0.],
           [0., 0., 0., 3.]])
    >>> import numpy as np, torch
    >>> x = torch.arange(4.0, dtype=torch.float64).reshape(1, 2, 2)
    >>> np.array_equal(Scale([2, 3], [1, 0])(x), x * torch.tensor([[2], [3]]) + torch.tensor([[1], [0]]))
    True
    """

    weight: Any
    bias: Any = None

    def __post_init__(self) -> None:
        weight = check_array("weight", self.weight)
        check_shape("weight", weight.shape)
        bias = self.bias
        if bias is not None and weight.ndim == 1 and np.ndim(bias) == 1:
            bias = check_bias(bias, len(weight), "channel")
        elif bias is not None:
            bias = check_array("bias", bias)
            check_shape("bias", bias.shape)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    def __repr__(self) -> str:
        """Show the shape, without the parameters."""
        return f"Scale(weight {self.weight.shape}, bias={self.bias is not None})"

    @property
    def factors(self) -> Array:
        """Weight."""
        factors: Array = self.weight
        return factors

    @property
    def shifts(self) -> Array | None:
        """Bias."""
        shifts: Array | None = self.bias
        return shifts
