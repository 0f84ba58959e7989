"""Batch normalisation in evaluation mode: one factor and one shift per channel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy

from linalg_cnn.checks import check_array
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.scale import Diagonal
from linalg_cnn.types import Array


@dataclass(frozen=True, eq=False)
class BatchNorm(Diagonal):
    """Batch normalisation with its running statistics: y = a x + (bias - a running_mean) per channel.

    The entry in the row and the column of (c, p) is a[c] = weight[c] / sqrt(running_var[c] + eps); there are no others.
    Training mode uses the statistics of the batch itself, which mixes the samples and is not affine.

    Parameters
    ----------
    weight, bias : array_like (channels,), or None for ones and zeros
    running_mean, running_var : array_like (channels,)
    eps : float or sympy number
        Number that is added to the variance.

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If the lengths differ, an entry, a factor or a shift is not finite, or running_var + eps is not positive.

    Notes
    -----
    Source: the paper's section 3.2; ``torch.nn.BatchNorm2d`` after ``.eval()``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = BatchNorm([2.0], [1.0], [3.0], [4.0], eps=0.0)
    >>> layer(np.array([[[3.0, 5.0]]]))
    array([[[1., 3.]]])
    >>> layer.matrix((1, 2)).toarray()
    array([[1., 0.],
           [0., 1.]])
    >>> import torch
    >>> module = torch.nn.BatchNorm1d(1).double().eval()
    >>> x = torch.arange(4.0, dtype=torch.float64).reshape(2, 1, 2)
    >>> np.allclose(BatchNorm([1.0], [0.0], [0.0], [1.0])(x), module(x).detach().numpy())
    True
    """

    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    eps: Any = 1e-5

    def __post_init__(self) -> None:
        mean = check_array("running_mean", self.running_mean, ndim=1)
        ones = np.ones(len(mean), np.float64 if mean.dtype == object else mean.dtype)
        given = {
            "weight": ones if self.weight is None else self.weight,
            "bias": 0 * ones if self.bias is None else self.bias,
            "running_mean": mean,
            "running_var": self.running_var,
        }
        for name, value in given.items():
            array = check_array(name, value, ndim=1)
            if array.shape != mean.shape:
                raise ValueError(f"{name}: expected {len(mean)} entries as running_mean has, got {len(array)}")
            object.__setattr__(self, name, array)
        eps = check_array("eps", self.eps, ndim=0).item()  # a Python number does not widen float32
        object.__setattr__(self, "eps", eps)
        variance = self.running_var + self.eps
        entries = variance.tolist() if variance.dtype == object else [variance.min().item()]
        for entry in entries:
            if (sympy.sympify(entry) > 0) == False:  # noqa: E712 - an expression may be undecided
                raise ValueError(f"running_var: expected running_var + eps > 0, got {entry}")
        if not self.symbolic:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by name
                check_array("weight / sqrt(running_var + eps)", self.factors, ndim=1)
                check_array("bias - running_mean * weight / sqrt(running_var + eps)", self.shifts, ndim=1)

    def __repr__(self) -> str:
        """Show the number of channels, without the parameters."""
        return f"BatchNorm({len(self.weight)} channels, eps={self.eps})"

    @property
    def factors(self) -> Array:
        """Factor a of each channel."""
        if not self.symbolic:
            return np.asarray(self.weight / np.sqrt(self.running_var + self.eps))
        variance = to_exact(self.running_var) + to_exact(np.asarray(self.eps)).item()
        roots = np.array([sympy.sqrt(entry) for entry in variance], dtype=object)
        return np.asarray(to_exact(self.weight) / roots)

    @property
    def shifts(self) -> Array | None:
        """Shift of each channel."""
        bias, mean = self.bias, self.running_mean
        if self.symbolic:
            bias, mean = to_exact(bias), to_exact(mean)
        return np.asarray(bias - mean * self.factors)
