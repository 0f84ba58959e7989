"""The skip strength t as a function of the step, for a `gpu.SkipSchedule`; a `gpu.SlopeSchedule` takes the same.

A step is usually an epoch. Steps count from 0, and the last of n epochs is step n - 1: ``Linear(0.9, steps=9)`` trains
the last of ten epochs at t = 0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gpu.models.homotopy import check_share
from linalg_cnn.checks import check_int, is_sequence

PAPER_FROM_09 = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.0)
"""The paper's first list, one t per epoch: section 5.3, (b) of figure 3."""

PAPER_FROM_05_AS_PRINTED = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.05, 0.0)
"""The paper's second list, (c) of figure 3, as printed: it rises once, from 0.01 to 0.05."""

PAPER_FROM_05 = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.005, 0.0)
"""The second list with 0.005 in place of the second 0.05, as was probably meant (erratum 7)."""

ScheduleFunction = Callable[[int], float | Mapping[str, float]]
"""Function from the step to t, or to a slope: one number for all skips or activations, or one for each by its name."""


@dataclass(frozen=True)
class Listed:
    """t is read from a list, and keeps its last value.

    Parameters
    ----------
    values : sequence of float in [0, 1]
        Strength at steps 0, 1, 2, ...; stored as a tuple.

    Raises
    ------
    ValueError
        If there are no values, or one is not in [0, 1].

    Notes
    -----
    Source: the paper's section 5.3; its lists are `PAPER_FROM_09`, `PAPER_FROM_05` and `PAPER_FROM_05_AS_PRINTED`.

    Examples
    --------
    >>> t = Listed(PAPER_FROM_09)
    >>> t(0), t(1), t(9), t(10)
    (0.9, 0.7, 0.0, 0.0)
    """

    values: Sequence[float]

    def __post_init__(self) -> None:
        _store(self, values=check_shares("values", self.values))

    def __call__(self, step: int) -> float:
        """Return t at a step."""
        return self.values[min(check_int("step", step, 0), len(self.values) - 1)]


@dataclass(frozen=True)
class Constant:
    """t is the same at every step. 0.5 gives the paper's static network, (a) of figure 3.

    Parameters
    ----------
    t : float in [0, 1]
        Strength at every step.

    Raises
    ------
    ValueError
        If t is not in [0, 1].

    Examples
    --------
    >>> Constant(0.5)(7)
    0.5
    """

    t: float

    def __post_init__(self) -> None:
        _store(self, t=check_share("t", self.t))

    def __call__(self, step: int) -> float:
        """Return t at a step."""
        check_int("step", step, 0)
        return self.t


@dataclass(frozen=True)
class Linear:
    """t goes from ``start`` to ``end`` in equal steps, and stays there.

    Parameters
    ----------
    start : float in [0, 1]
        Strength at step 0.
    steps : int
        First step at which t is exactly ``end``.
    end : float in [0, 1]
        Final strength.

    Raises
    ------
    ValueError
        If a strength is not in [0, 1], or ``steps`` is not an int of at least 1.

    Examples
    --------
    >>> t = Linear(0.5, steps=4)
    >>> [t(step) for step in range(6)]
    [0.5, 0.375, 0.25, 0.125, 0.0, 0.0]
    """

    start: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _store(self, start=check_share("start", self.start), end=check_share("end", self.end))
        _store(self, steps=check_int("steps", self.steps, 1))

    def __call__(self, step: int) -> float:
        """Return t at a step."""
        return _between(self.start, self.end, self._covered(check_int("step", step, 0) / self.steps))

    def _covered(self, time: float) -> float:
        """Return the covered share of the way from start to end, given the share of the steps, which may exceed 1."""
        return time


@dataclass(frozen=True)
class Cosine(Linear):
    """t goes from ``start`` to ``end`` along half a period of a cosine, slowly at both ends, and stays there.

    Parameters
    ----------
    start, steps, end
        Numbers as in `Linear`, with the same errors.

    Notes
    -----
    Source: the formula of ``torch.optim.lr_scheduler.CosineAnnealingLR``, which rises again after its end.

    Examples
    --------
    >>> t = Cosine(0.5, steps=4)
    >>> [round(t(step), 3) for step in range(6)]
    [0.5, 0.427, 0.25, 0.073, 0.0, 0.0]
    """

    def _covered(self, time: float) -> float:
        return (1 - math.cos(math.pi * min(time, 1))) / 2


@dataclass(frozen=True)
class Exponential:
    """t is multiplied by the same factor at every step.

    Parameters
    ----------
    start : float in [0, 1]
        Strength at step 0.
    factor : float in [0, 1]
        Factor from each step to the next.
    steps : int, optional
        First step at which t is exactly 0. Without it t only approaches 0, and the skips cannot be removed.

    Raises
    ------
    ValueError
        If a number is not in [0, 1], or ``steps`` is not an int of at least 1.

    Notes
    -----
    For a slope, which ends at 1, take ``lambda step: 1 - t(step)``.

    The idea comes from the paper's [12], Z. Li and S. Arora, *An exponential learning rate schedule for deep learning*
    (ICLR 2020), whose theorem does not apply here. There the learning rate *grows* by a factor above 1 at every step,
    and networks with normalised layers are proven to train as with a fixed learning rate and weight decay. A t in
    [0, 1] has to fall, and nothing is proven about it. The paper asks for "slight modifications, such as requiring that
    t eventually becomes sufficiently close to 0" (section 6): here ``factor`` is at most 1, and ``steps`` makes t
    exactly 0.

    Examples
    --------
    >>> t = Exponential(0.5, factor=0.5, steps=3)
    >>> [t(step) for step in range(5)]
    [0.5, 0.25, 0.125, 0.0, 0.0]
    """

    start: float
    factor: float
    steps: int | None = None

    def __post_init__(self) -> None:
        _store(self, start=check_share("start", self.start), factor=check_share("factor", self.factor))
        _store(self, steps=None if self.steps is None else check_int("steps", self.steps, 1))

    def __call__(self, step: int) -> float:
        """Return t at a step."""
        check_int("step", step, 0)
        return 0.0 if self.steps is not None and step >= self.steps else self.start * self.factor**step


@dataclass(frozen=True)
class OneAtATime:
    """The skips go from ``start`` to ``end`` one after the other, in the order of ``names``, as in Tailor.

    Parameters
    ----------
    names : sequence of str
        Names of skips in the order of their removal; stored as a tuple. ``list(gpu.skip_strengths(model))`` gives the
        order of the forward pass, which is Tailor's order. Other skips keep their strengths.
    start : float in [0, 1]
        Strength of each skip before its removal.
    every : int
        Number of steps from one removal to the next, and before the first.
    fall : int
        Number of equal steps in which a skip goes to ``end``, at most ``every``: with 1 it is removed at once, as in
        Tailor; with ``fall=every`` each removal is a homotopy.
    end : float in [0, 1]
        Strength of each skip after its removal: 0, or 1 for the slopes of activations.

    Raises
    ------
    ValueError
        If there are no names, a name is not a string or occurs twice, a strength is not in [0, 1], or a number of steps
        is out of range.

    Notes
    -----
    Source: O. Weng et al., *Tailor: Altering Skip Connections for Resource-Efficient Inference* (2023), SkipRemover,
    according to its code (``update_skip_removal`` in github.com/oliviaweng/tailor): "Remove skip connection every
    how_often epochs, starting from the head of the network", block by block from the input on; ``how_often`` is 3 by
    default. Tailor removes a skip at the *end* of epochs 3, 6, ..., counted from 0: one epoch later than here.

    Examples
    --------
    >>> t = OneAtATime(["layer1", "layer2"], start=0.5, every=2)
    >>> for step in range(5):
    ...     print(step, t(step))
    0 {'layer1': 0.5, 'layer2': 0.5}
    1 {'layer1': 0.5, 'layer2': 0.5}
    2 {'layer1': 0.0, 'layer2': 0.5}
    3 {'layer1': 0.0, 'layer2': 0.5}
    4 {'layer1': 0.0, 'layer2': 0.0}
    """

    names: Sequence[str]
    start: float
    every: int
    fall: int = 1
    end: float = 0.0

    def __post_init__(self) -> None:
        if not is_sequence(self.names) or not all(isinstance(name, str) for name in self.names) or len(self.names) == 0:
            raise ValueError(f"names: expected a list of names of skips, at least one, got {self.names!r}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names: expected different names, got {self.names!r}")
        _store(self, names=tuple(self.names), start=check_share("start", self.start))
        _store(self, end=check_share("end", self.end))
        _store(self, every=check_int("every", self.every, 1), fall=check_int("fall", self.fall, 1))
        if self.fall > self.every:
            raise ValueError(f"fall: expected at most every={self.every}, one skip at a time, got {self.fall}")

    def __call__(self, step: int) -> dict[str, float]:
        """Return the t of each skip at a step."""
        check_int("step", step, 0)
        ends = range(self.every, (len(self.names) + 1) * self.every, self.every)
        shares = (1 - (end - step) / self.fall for end in ends)
        return {name: _between(self.start, self.end, share) for name, share in zip(self.names, shares, strict=True)}


def check_shares(name: str, values: object) -> tuple[float, ...]:
    """Return a list of numbers in [0, 1], at least one, as a tuple.

    Raises
    ------
    ValueError
        If the values are no list, the list is empty, or a number is not in [0, 1].
    """
    if not is_sequence(values) or len(values) == 0:
        raise ValueError(f"{name}: expected a list of numbers in [0, 1], at least one, got {values!r}")
    return tuple(check_share(f"{name}[{index}]", value) for index, value in enumerate(values))


def _store(function: object, **checked: object) -> None:
    """Set fields of a frozen object to checked values, which are of plain types."""
    for name, value in checked.items():
        object.__setattr__(function, name, value)


def _between(start: float, end: float, share: float) -> float:
    """Interpolate from start to end; the values at both ends are exact, and a share outside [0, 1] is clipped."""
    if share >= 1:
        return end
    return start + (end - start) * max(share, 0.0)
