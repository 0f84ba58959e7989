"""The fully connected layer."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import parameter_like
from linalg_cnn.checks import check_array, check_bias, check_shape
from linalg_cnn.entries import Entries
from linalg_cnn.exact import to_exact
from linalg_cnn.ops.base import Operation
from linalg_cnn.types import Array, Shape, index_dtype, size_of


@dataclass(frozen=True, eq=False)
class Dense(Operation):
    """A fully connected layer on the C-order ravel of its input. A is ``weight`` itself.

    Parameters
    ----------
    weight : array_like (out_features, in_features)
    bias : array_like (out_features,), optional

    Raises
    ------
    TypeError
        If a parameter has a dtype the library does not compute with.
    ValueError
        If a parameter is malformed or not finite.

    Notes
    -----
    The entry in the row of feature i and the column of pixel q is weight[i, q].

    Source: the paper's alpha^(L); ``torch.nn.Flatten`` followed by ``torch.nn.Linear``.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Dense([[1.0, 2.0, 3.0, 4.0]], bias=[0.5])
    >>> layer(np.ones((1, 1, 2, 2)))
    array([[10.5]])
    >>> layer.matrix((1, 2, 2)).toarray()
    array([[1., 2., 3., 4.]])
    >>> import torch
    >>> rng = np.random.default_rng(0)
    >>> weight, bias, x = rng.normal(size=(3, 6)), rng.normal(size=3), rng.normal(size=(5, 6))
    >>> theirs = torch.nn.functional.linear(*map(torch.from_numpy, (x, weight, bias)))
    >>> np.allclose(Dense(weight, bias)(x), theirs.numpy())
    True
    """

    weight: Any
    bias: Any = None

    def __post_init__(self) -> None:
        weight = check_array("weight", self.weight, ndim=2)
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", check_bias(self.bias, weight.shape[0], "output feature"))

    def __repr__(self) -> str:
        """Show the shapes, without the weights."""
        return f"Dense(weight {self.weight.shape} {self.weight.dtype}, bias={self.bias is not None})"

    def out_shape(self, in_shape: Shape) -> Shape:
        """Return (out_features,).

        Raises
        ------
        ValueError
            If the input does not have ``in_features`` entries.
        """
        size = size_of(check_shape("in_shape", in_shape))
        if size != self.weight.shape[1]:
            raise ValueError(
                f"in_shape: expected {self.weight.shape[1]} entries in all for a weight of shape "
                f"{self.weight.shape}, got {size} from {tuple(in_shape)}"
            )
        return (self.weight.shape[0],)

    def offset(self, in_shape: Shape) -> Array | None:
        """Return the bias."""
        bias: Array | None = self.bias
        return bias

    def count_entries(self, in_shape: Shape) -> int:
        """Return the number of weights."""
        return int(self.weight.size)

    def entries(self, in_shape: Shape, *, exact: bool = False) -> Entries:
        """Return every entry of the weight, zeros included."""
        self.out_shape(in_shape)
        rows, columns = self.weight.shape
        dtype = index_dtype(self.weight.size)
        weight = to_exact(self.weight) if exact else self.weight
        return Entries(
            self.weight.shape,
            np.arange(0, self.weight.size + 1, columns, dtype=dtype),
            np.tile(np.arange(columns, dtype=dtype), rows),
            weight.ravel(),
        )

    def push(self, x: Any) -> Any:
        """Return the product with the weight."""
        return x.reshape(len(x), size_of(x.shape[1:])) @ parameter_like(self.weight, x).T

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return the product with the weight's transpose, in the input's shape."""
        return (y @ parameter_like(self.weight, y)).reshape(len(y), *in_shape)
