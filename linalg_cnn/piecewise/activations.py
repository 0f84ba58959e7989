"""Activations with a bend: ReLU, LeakyReLU, PReLU, Softshrink, Abs."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.checks import as_numbers
from linalg_cnn.piecewise.entry_functions import EntryFunction, Value, number, parameter
from linalg_cnn.types import Array


@dataclass(frozen=True)
class ReLU(EntryFunction):
    """The larger of an entry and 0.

    Pieces are 0 for x <= 0 (slope 0) and 1 for x > 0 (slope 1).

    Notes
    -----
    Source: ``torch.nn.ReLU``, whose gradient at 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> relu, x = ReLU(), np.array([[-1.0, 0.0, 2.0]])
    >>> relu(x)
    array([[0., 0., 2.]])
    >>> relu.pieces(x)
    array([[0, 0, 1]], dtype=int8)
    >>> relu.affine(relu.pieces(x)[0], (3,)).matrix((3,)).toarray()
    array([[0., 0., 0.],
           [0., 0., 0.],
           [0., 0., 1.]])
    """

    thresholds = (0,)
    slopes = (0, 1)
    closed_above = (False,)

    def __call__(self, *xs: Array) -> Array:
        """Return the values of a batch, in one pass if they are numbers: without their pieces; raises the same."""
        xs = tuple(map(as_numbers, xs))
        self.check_batches(xs)
        x = xs[0]
        if x.dtype == object:
            return super().__call__(x)
        y: Array = np.maximum(x, 0)
        y += 0  # turns -0 into 0
        return y


@dataclass(frozen=True)
class LeakyReLU(EntryFunction):
    """An entry that is positive, or ``negative_slope`` times one that is not.

    Parameters
    ----------
    negative_slope : number or sympy expression

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If it is not finite.

    Notes
    -----
    Source: ``torch.nn.LeakyReLU``, whose gradient at 0 is ``negative_slope``.

    Examples
    --------
    >>> import numpy as np
    >>> LeakyReLU(0.25)(np.array([[-4.0, 0.0, 2.0]]))
    array([[-1.,  0.,  2.]])
    """

    negative_slope: Any = 0.01

    thresholds = (0,)
    closed_above = (False,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "negative_slope", number("negative_slope", self.negative_slope))

    @property
    def slopes(self) -> tuple[Value, ...]:
        """``negative_slope`` below 0, and 1 above."""
        return (self.negative_slope, 1)


@dataclass(frozen=True, eq=False)
class PReLU(EntryFunction):
    """An entry that is positive, or a slope of its channel's times one that is not.

    Parameters
    ----------
    weight : number, or array_like (channels,), or of a shape with as many axes as the input that broadcasts to it
        Slopes of negative entries.

    Raises
    ------
    TypeError
        If it has a dtype the library does not compute with.
    ValueError
        If it is malformed or not finite.

    Notes
    -----
    Source: ``torch.nn.PReLU``, whose gradient at 0 is the slope of negative entries.

    Examples
    --------
    >>> import numpy as np
    >>> PReLU([0.5, 0.25])(np.array([[-4.0, -4.0]]))
    array([[-2., -1.]])
    """

    weight: Any

    thresholds = (0,)
    closed_above = (False,)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", parameter("weight", self.weight))

    def __repr__(self) -> str:
        """Show the shape, without the slopes."""
        return f"PReLU(weight {np.shape(self.weight)})"

    @property
    def slopes(self) -> tuple[Value, ...]:
        """``weight`` below 0, and 1 above."""
        return (self.weight, 1)


@dataclass(frozen=True)
class Softshrink(EntryFunction):
    """An entry moved towards 0 by ``lambd``, or 0 where that would pass it.

    Parameters
    ----------
    lambd : number
        Half the width of the interval where the function is 0.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is negative or not finite.

    Notes
    -----
    Source: ``torch.nn.Softshrink``, whose gradient at both ends of the interval is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Softshrink(0.5)(np.array([[-3.0, 0.25, 2.0]]))
    array([[-2.5,  0. ,  1.5]])
    """

    lambd: Any = 0.5

    slopes = (1, 0, 1)
    closed_above = (True, False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lambd", number("lambd", self.lambd))
        if not self.lambd >= 0:
            raise ValueError(f"lambd: expected a number of at least 0, got {self.lambd}")

    @property
    def thresholds(self) -> tuple[Value, ...]:
        """The two ends of the interval."""
        return (-self.lambd, self.lambd)

    @property
    def shifts(self) -> tuple[Value, ...]:
        """What brings each line to 0 at the end of the interval."""
        return (self.lambd, 0, -self.lambd)


@dataclass(frozen=True)
class Abs(EntryFunction):
    """The absolute value of each entry.

    An entry that is 0 is a piece of its own, number 1, with slope 0.

    Notes
    -----
    Source: ``torch.abs``, whose gradient at 0 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Abs()(np.array([[-3.0, 0.0, 2.0]]))
    array([[3., 0., 2.]])
    >>> Abs().pieces(np.array([[-3.0, 0.0, 2.0]]))
    array([[0, 1, 2]], dtype=int8)
    """

    thresholds = (0, 0)
    slopes = (-1, 0, 1)
    closed_above = (True, False)
