"""The skip strength t as a function of the step: what a `gpu.SkipSchedule` follows.

Steps count from 0, so that the last of n epochs is step n - 1: ``Linear(0.9, steps=9)`` trains the last of ten epochs
at t = 0.
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
"""The same with 0.005, which was probably meant (erratum 7)."""

ScheduleFunction = Callable[[int], float | Mapping[str, float]]
"""From the step to t: one number for every skip, or numbers by the names of skips."""


@dataclass(frozen=True)
class Listed:
    """The t of each step, from a list; the last one stays.

    Parameters
    ----------
    values : sequence of float in [0, 1]
        Kept as a tuple.

    Raises
    ------
    ValueError
        If there are none, or one is not in [0, 1].

    Notes
    -----
    Source: the paper's section 5.3, with `PAPER_FROM_09`, `PAPER_FROM_05` and `PAPER_FROM_05_AS_PRINTED`.

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
    """The same t at every step: 0.5 is the paper's static network, (a) of figure 3.

    Parameters
    ----------
    t : float in [0, 1]

    Raises
    ------
    ValueError
        If it is not in [0, 1].

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
    steps : int
        The step from which on t is exactly ``end``.
    end : float in [0, 1]

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
        return _between(self.start, self.end, self._share_of_way(check_int("step", step, 0) / self.steps))

    def _share_of_way(self, time: float) -> float:
        """Return the share of the way from start to end that is behind at a time, 0 to 1 and above."""
        return time


@dataclass(frozen=True)
class Cosine(Linear):
    """t goes from ``start`` to ``end`` along half a cosine: slowly at both ends, and stays there.

    Parameters
    ----------
    start, steps, end
        As in `Linear`, with the same errors.

    Notes
    -----
    Source: the formula of ``torch.optim.lr_scheduler.CosineAnnealingLR``, which does not stay at its end.

    Examples
    --------
    >>> t = Cosine(0.5, steps=4)
    >>> [round(t(step), 3) for step in range(6)]
    [0.5, 0.427, 0.25, 0.073, 0.0, 0.0]
    """

    def _share_of_way(self, time: float) -> float:
        return (1 - math.cos(math.pi * min(time, 1))) / 2


@dataclass(frozen=True)
class Exponential:
    """t is multiplied by the same factor at every step.

    Parameters
    ----------
    start : float in [0, 1]
    factor : float in [0, 1]
    steps : int, optional
        The step from which on t is exactly 0; without it t only comes near, and the skips cannot be removed.

    Raises
    ------
    ValueError
        If a number is not in [0, 1], or ``steps`` is not an int of at least 1.

    Notes
    -----
    The paper's [12], Z. Li and S. Arora, *An exponential learning rate schedule for deep learning* (ICLR 2020), is
    where the idea comes from, not a reason for it. There the learning rate *grows* by a factor above 1 at every step;
    with normalised layers that is proven to train as a fixed one with weight decay does. A t in [0, 1] has to fall,
    and nothing is proven about it. The paper asks for "slight modifications, such as requiring that t eventually
    becomes sufficiently close to 0" (section 6): here ``factor`` is at most 1, and ``steps`` ends in 0 itself.

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
    """One skip after the other goes from ``start`` to 0, in the order of their names: Tailor's.

    Parameters
    ----------
    names : sequence of str
        Of skips, the first to go first; kept as a tuple. ``list(skip_strengths(model))`` has them in the order of the
        forward, which is the order of Tailor. Skips that are not named stay as they are.
    start : float in [0, 1]
    every : int
        How many steps there are from one removal to the next, and before the first.
    fall : int
        In how many equal steps a skip comes to 0, at most ``every``: 1 takes it out at once, as Tailor does;
        ``fall=every`` is a homotopy for each.

    Raises
    ------
    ValueError
        If there are no names, one is no string or comes twice, ``start`` is not in [0, 1], or a number of steps is out
        of range.

    Notes
    -----
    Source: O. Weng et al., *Tailor: Altering Skip Connections for Resource-Efficient Inference* (2023), SkipRemover,
    read from its code (``update_skip_removal`` in github.com/oliviaweng/tailor): "Remove skip connection every
    how_often epochs, starting from the head of the network", block by block from the input on, ``how_often`` being 3
    unless told otherwise. It does so at the *end* of epochs 3, 6, ..., counted from 0: one epoch later than here.

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

    def __post_init__(self) -> None:
        if not is_sequence(self.names) or not all(isinstance(name, str) for name in self.names) or len(self.names) == 0:
            raise ValueError(f"names: expected a list of names of skips, at least one, got {self.names!r}")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"names: expected different names, got {self.names!r}")
        _store(self, names=tuple(self.names), start=check_share("start", self.start))
        _store(self, every=check_int("every", self.every, 1), fall=check_int("fall", self.fall, 1))
        if self.fall > self.every:
            raise ValueError(f"fall: expected at most every={self.every}, one skip at a time, got {self.fall}")

    def __call__(self, step: int) -> dict[str, float]:
        """Return the t of each skip at a step."""
        check_int("step", step, 0)
        ends = range(self.every, (len(self.names) + 1) * self.every, self.every)
        shares = (1 - (end - step) / self.fall for end in ends)
        return {name: _between(self.start, 0.0, share) for name, share in zip(self.names, shares, strict=True)}


def check_shares(name: str, values: object) -> tuple[float, ...]:
    """Return a list of numbers in [0, 1], at least one.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not is_sequence(values) or len(values) == 0:
        raise ValueError(f"{name}: expected a list of numbers in [0, 1], at least one, got {values!r}")
    return tuple(check_share(f"{name}[{index}]", value) for index, value in enumerate(values))


def _store(function: object, **checked: object) -> None:
    """Put what the checks returned, in plain types, into a frozen object."""
    for name, value in checked.items():
        object.__setattr__(function, name, value)


def _between(start: float, end: float, share: float) -> float:
    """Return what lies at a share of the way from start to end; exactly these where the way begins and ends."""
    if share >= 1:
        return end
    return start + (end - start) * max(share, 0.0)
