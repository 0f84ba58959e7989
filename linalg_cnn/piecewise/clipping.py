"""Functions of an entry that stay between two bounds: Hardtanh, ReLU6, Hardsigmoid, Clamp."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from linalg_cnn.piecewise.entry_functions import EntryFunction, Value, number, parameter


@dataclass(frozen=True)
class Hardtanh(EntryFunction):
    """An entry, but not less than ``min_val`` and not more than ``max_val``.

    Parameters
    ----------
    min_val, max_val : numbers
        Limits, of which the second is the larger.

    Raises
    ------
    TypeError
        If a limit is not a number.
    ValueError
        If a limit is not finite, or the second is not the larger.

    Notes
    -----
    Source: ``torch.nn.Hardtanh``, whose gradient at a limit is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Hardtanh()(np.array([[-3.0, 0.5, 1.0]]))
    array([[-1. ,  0.5,  1. ]])
    >>> Hardtanh().pieces(np.array([[-3.0, 0.5, 1.0]]))
    array([[0, 1, 2]], dtype=int8)
    """

    min_val: Any = -1.0
    max_val: Any = 1.0

    slopes = (0, 1, 0)
    closed_above = (False, True)

    def __post_init__(self) -> None:
        for name in ("min_val", "max_val"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if not self.min_val < self.max_val:
            raise ValueError(f"max_val: expected more than min_val = {self.min_val}, got {self.max_val}")

    @property
    def thresholds(self) -> tuple[Value, ...]:
        """The two limits."""
        return (self.min_val, self.max_val)

    @property
    def shifts(self) -> tuple[Value, ...]:
        """The limits, where an entry is beyond one."""
        return (self.min_val, 0, self.max_val)


@dataclass(frozen=True)
class ReLU6(EntryFunction):
    """An entry, but not less than 0 and not more than 6.

    Notes
    -----
    Source: ``torch.nn.ReLU6``, whose gradient at 0 and at 6 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> ReLU6()(np.array([[-3.0, 0.5, 7.0]]))
    array([[0. , 0.5, 6. ]])
    """

    thresholds = (0, 6)
    slopes = (0, 1, 0)
    shifts = (0, 0, 6)
    closed_above = (False, True)


@dataclass(frozen=True)
class Hardsigmoid(EntryFunction):
    """x / 6 + 1 / 2, but not less than 0 and not more than 1.

    Notes
    -----
    Source: ``torch.nn.Hardsigmoid``, whose gradient at -3 and at 3 is 0.

    Examples
    --------
    >>> import numpy as np
    >>> Hardsigmoid()(np.array([[-4.0, 0.0, 1.5, 4.0]]))
    array([[0.  , 0.5 , 0.75, 1.  ]])
    """

    thresholds = (-3, 3)
    slopes = (0, Fraction(1, 6), 0)
    shifts = (0, Fraction(1, 2), 1)
    closed_above = (False, True)


@dataclass(frozen=True, eq=False)
class Clamp(EntryFunction):
    """An entry, but not less than ``min`` and not more than ``max``.

    Where an entry equals a bound, the slope is 0.

    Parameters
    ----------
    min, max : numbers or array_like, optional
        Bounds: one for all entries, one per channel, or of a shape with as many axes as the input that broadcasts to
        it. At least one is given, and ``min`` is never the larger.

    Raises
    ------
    TypeError
        If a bound has a dtype the library does not compute with.
    ValueError
        If there is no bound, one is malformed or not finite, or ``min`` is larger somewhere.

    Notes
    -----
    Source: ``torch.clamp`` with numbers, whose gradient at a bound is 0 (1 in older builds). With tensors as bounds,
    its gradient at a bound is 1/2, as that of `Maximum` and `Minimum`.

    Examples
    --------
    >>> import numpy as np
    >>> Clamp(max=[1.0, 2.0])(np.array([[5.0, 5.0], [-5.0, 2.0]]))
    array([[ 1.,  2.],
           [-5.,  2.]])
    """

    min: Any = None
    max: Any = None

    def __post_init__(self) -> None:
        if self.min is None and self.max is None:
            raise ValueError("min: expected at least one of min and max, got None for both")
        for name in ("min", "max"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, parameter(name, getattr(self, name)))
        if self.min is not None and self.max is not None:
            try:
                fits = bool(np.all(self.min <= self.max))
            except ValueError as error:
                raise ValueError(
                    f"max: expected a shape that broadcasts with that of min, {np.shape(self.min)}, "
                    f"got {np.shape(self.max)}"
                ) from error
            if not fits:
                raise ValueError("max: expected nothing less than min, got a smaller bound")

    def __repr__(self) -> str:
        """Show bounds that are numbers, and the shapes of others."""
        shown = [
            f"{name}={value if np.ndim(value) == 0 else np.shape(value)}"
            for name, value in (("min", self.min), ("max", self.max))
            if value is not None
        ]
        return f"Clamp({', '.join(shown)})"

    @property
    def thresholds(self) -> tuple[Value, ...]:
        """The bounds that are given."""
        return tuple(bound for bound in (self.min, self.max) if bound is not None)

    @property
    def slopes(self) -> tuple[Value, ...]:
        """1 between the bounds and 0 beyond."""
        return (0,) * (self.min is not None) + (1,) + (0,) * (self.max is not None)

    @property
    def shifts(self) -> tuple[Value, ...]:
        """The bounds, where an entry is beyond one."""
        return tuple(bound for bound in (self.min, 0, self.max) if bound is not None)

    @property
    def closed_above(self) -> tuple[bool, ...]:
        """An entry that equals a bound counts as one beyond it."""
        return (False,) * (self.min is not None) + (True,) * (self.max is not None)
