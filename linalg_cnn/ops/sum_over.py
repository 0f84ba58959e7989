"""Sums and means over whole axes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.arrays import zeros
from linalg_cnn.checks import check_bool, check_per_axis, check_shape, is_sequence
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import AxisRule, identity_rule
from linalg_cnn.types import Shape, index_dtype


@dataclass(frozen=True)
class SumOver(Separable):
    """The sum or the mean over some axes, which are kept with length 1.

    Parameters
    ----------
    axes : tuple of int
        Numbers of the axes, without the batch axis; 0 is that of the channels.
    mean : bool
        Whether to divide by the number of summands.

    Raises
    ------
    ValueError
        If an axis is negative or named twice, or ``mean`` is not a bool.

    Notes
    -----
    The row of output p has an entry for each input that differs from p along these axes only. The entry is 1, or for a
    mean one over the number of such inputs.

    Source: ``torch.sum(x, axes, keepdim=True)``, ``torch.mean(x, axes, keepdim=True)``.

    Examples
    --------
    >>> import numpy as np
    >>> SumOver((1,), mean=True).matrix((2, 2)).toarray()
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    >>> import torch
    >>> x = torch.arange(24.0).reshape(2, 3, 2, 2)
    >>> np.array_equal(SumOver((0, 2))(x), x.sum((1, 3), keepdim=True))
    True
    """

    axes: Shape
    mean: bool = False

    def __post_init__(self) -> None:
        axes = self.axes if is_sequence(self.axes) else (self.axes,)
        axes = check_per_axis("axes", axes, len(axes), 0)
        if len(set(axes)) != len(axes):
            raise ValueError(f"axes: expected each axis once, got {axes}")
        check_bool("mean", self.mean)
        object.__setattr__(self, "axes", axes)

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the rule of each axis: one output that reads the whole axis, or the identity.

        Raises
        ------
        ValueError
            If the input does not have such an axis.
        """
        in_shape = check_shape("in_shape", in_shape)
        if max(self.axes, default=0) >= len(in_shape):
            raise ValueError(f"in_shape: expected more than {max(self.axes)} axes, got {in_shape}")
        return [self._whole(size) if axis in self.axes else identity_rule(size) for axis, size in enumerate(in_shape)]

    def _whole(self, size: int) -> AxisRule:
        index = index_dtype(size)
        sources = np.arange(size, dtype=index)[np.newaxis]
        if not self.mean:
            return AxisRule(size, sources)
        ones, sizes = (np.broadcast_to(np.array(number, index), sources.shape) for number in (1, size))
        return AxisRule(size, sources, ones, sizes)

    def push(self, x: Any) -> Any:
        """Return the sums by numpy or torch, which are faster than one tap after the other."""
        if not self.axes or x.dtype == object:
            return super().push(x)
        count = np.prod([x.shape[axis + 1] for axis in self.axes]).item() if self.mean else 1
        return x.sum(tuple(axis + 1 for axis in self.axes), keepdims=True) / count

    def pull(self, y: Any, in_shape: Shape) -> Any:
        """Return to every input the cotangent of its sum, broadcast along the axes."""
        if y.dtype == object:
            return super().pull(y, in_shape)
        count = np.prod([in_shape[axis] for axis in self.axes]).item() if self.mean and self.axes else 1
        return (y / count) + zeros((1, *in_shape), y)
