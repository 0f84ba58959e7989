"""Batch normalisation in evaluation mode: one factor and one shift per channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from linalg_cnn.checks import as_numbers, check_array, check_shape
from linalg_cnn.entries import Entries, diagonal_entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, size_of


@dataclass(frozen=True, eq=False)
class BatchNorm(Operation):
    """Batch normalisation with its running statistics: y = a x + (bias - a running_mean) per channel.

    The factor is a = weight / sqrt(running_var + eps). The statistics of the batch itself, as in training, would
    mix the samples and are not affine.

    Parameters
    ----------
    weight, bias : array_like (channels,), or None for ones and zeros
    running_mean, running_var : array_like (channels,)
    eps : float or sympy number

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If the lengths differ, an entry is not finite, or running_var + eps is not positive.

    Notes
    -----
    Source: the paper's section 3.2; ``torch.nn.BatchNorm2d`` after ``.eval()``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm([2.0], [1.0], [3.0], [4.0], eps=0.0)
    >>> layer(np.array([[[3.0, 5.0]]]))
    array([[[1., 3.]]])
    """

    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    eps: Any = 1e-5

    def __post_init__(self) -> None:
        mean = check_array("running_mean", self.running_mean, ndim=1)
        given = {
            "weight": np.ones_like(mean) if self.weight is None else self.weight,
            "bias": np.zeros_like(mean) if self.bias is None else self.bias,
            "running_mean": mean,
            "running_var": self.running_var,
        }
        for name, value in given.items():
            array = check_array(name, value, ndim=1)
            if array.shape != mean.shape:
                raise ValueError(f"{name}: expected {len(mean)} entries as running_mean has, got {len(array)}")
            object.__setattr__(self, name, array)
        check_array("eps", self.eps, ndim=0)
        for entry in (self.running_var + self.eps).tolist():
            if (sympy.sympify(entry) > 0) == False:  # noqa: E712 - an expression may be undecided
                raise ValueError(f"running_var: expected running_var + eps > 0, got {entry}")

    def __repr__(self) -> str:
        """Show the size, not the parameters."""
        return f"BatchNorm({len(self.weight)} channels, eps={self.eps})"

    @property
    def symbolic(self) -> bool:
        """Whether a parameter holds sympy expressions."""
        return isinstance(self.eps, sympy.Expr) or any(
            parameter.dtype == object for parameter in (self.weight, self.bias, self.running_mean, self.running_var)
        )

    def scale(self, exact: bool = False) -> Array:
        """Return the factor of each channel."""
        if exact or self.symbolic:
            variance = to_exact(self.running_var) + to_exact(np.asarray(self.eps)).item()
            roots = np.array([sympy.sqrt(entry) for entry in variance], dtype=object)
            return np.asarray(to_exact(self.weight) / roots)
        return np.asarray(self.weight / np.sqrt(self.running_var + self.eps))

    def out_shape(self, *in_shapes: Shape) -> Shape:
        """Return the input's shape.

        Raises
        ------
        ValueError
            If the number of channels differs from that of the parameters.
        """
        (in_shape,) = in_shapes
        shape = check_shape("in_shape", in_shape)
        if shape[0] != len(self.weight):
            raise ValueError(f"in_shape: expected {len(self.weight)} channels, got {shape}")
        return shape

    def offset(self, *in_shapes: Shape) -> Array | None:
        """Return the shift of each channel."""
        (in_shape,) = in_shapes
        return np.asarray(self.bias - self.running_mean * self.scale()).reshape(-1, *(1,) * (len(in_shape) - 1))

    def count_entries(self, *in_shapes: Shape) -> int:
        """Return the length of the diagonal."""
        return size_of(self.out_shape(*in_shapes))

    def all_entries(self, *in_shapes: Shape, exact: bool = False) -> tuple[Entries, ...]:
        """Return the diagonal."""
        size = size_of(self.out_shape(*in_shapes))
        return (diagonal_entries(np.repeat(self.scale(exact), size // len(self.weight))),)

    def forward(self, *xs: Array) -> Array:
        """Return each channel times its factor."""
        x = as_numbers(*xs)
        self.out_shape(x.shape[1:])
        return np.asarray(x * self.scale().reshape(-1, *(1,) * (x.ndim - 2)))

    def adjoint(self, y: Array, *in_shapes: Shape) -> Array:
        """Return each channel times its factor: a diagonal matrix is its own transpose."""
        return self.forward(y)
