"""One factor and one shift per channel."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import like
from linalg_cnn.checks import check_array, check_bias, check_shape
from linalg_cnn.entries import Entries, diagonal_entries
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, size_of


class PerChannel(Operation):
    """y[c] = factors[c] x[c] + shifts[c]: a diagonal matrix, constant on each channel."""

    @property
    @abstractmethod
    def factors(self) -> Array:
        """The factor of each channel, (channels,)."""

    @property
    @abstractmethod
    def shifts(self) -> Array | None:
        """The shift of each channel, (channels,), or None."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the matrix' entries."""
        return np.dtype(self.factors.dtype)

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the input's shape.

        Raises
        ------
        ValueError
            If the number of channels differs from that of the parameters.
        """
        (in_shape,) = in_shapes
        shape = check_shape("in_shape", in_shape)
        if shape[0] != len(self.factors):
            raise ValueError(f"in_shape: expected {len(self.factors)} channels, got {shape}")
        return shape

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the shift of each channel."""
        (in_shape,) = in_shapes
        return None if self.shifts is None else self.shifts.reshape(-1, *(1,) * (len(in_shape) - 1))

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the length of the diagonal."""
        return size_of(self.out_shape(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the diagonal."""
        size = size_of(self.out_shape(*in_shapes))
        factors = (self.exact() if exact else self).factors
        return (diagonal_entries(np.repeat(factors, size // len(factors))),)

    def _forward(self, *xs: Any) -> Any:
        """Return each channel times its factor."""
        (x,) = xs
        return x * like(self.factors.reshape(-1, *(1,) * (x.ndim - 2)), x)

    def _adjoint(self, y: Any, *in_shapes: Shape) -> Any:
        """Return each channel times its factor: a diagonal matrix is its own transpose."""
        return self._forward(y)


@dataclass(frozen=True, eq=False)
class Scale(PerChannel):
    """A factor and a shift for each channel.

    The entry in the row and the column of (c, p) is weight[c]; there are no others.

    Parameters
    ----------
    weight : array_like (channels,)
    bias : array_like (channels,), optional

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
    >>> import torch
    >>> x = torch.arange(4.0, dtype=torch.float64).reshape(1, 2, 2)
    >>> np.array_equal(Scale([2, 3], [1, 0])(x), x * torch.tensor([[2], [3]]) + torch.tensor([[1], [0]]))
    True
    """

    weight: Any
    bias: Any = None

    def __post_init__(self) -> None:
        weight = check_array("weight", self.weight, ndim=1)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", check_bias(self.bias, len(weight), "channel"))

    def __repr__(self) -> str:
        """Show the size, not the parameters."""
        return f"Scale({len(self.weight)} channels, bias={self.bias is not None})"

    @property
    def symbolic(self) -> bool:
        """Whether a parameter holds sympy expressions."""
        return self.weight.dtype == object or (self.bias is not None and self.bias.dtype == object)

    @property
    def factors(self) -> Array:
        """The weight."""
        factors: Array = self.weight
        return factors

    @property
    def shifts(self) -> Array | None:
        """The bias."""
        shifts: Array | None = self.bias
        return shifts
