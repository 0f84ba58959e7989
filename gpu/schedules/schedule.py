"""Schedules of the skip strength t: the homotopy from a network with skips to one without, sections 4 and 5.3.

They are used as torch's LRScheduler: made before the first epoch, which they set t for, and stepped after each. A step
may as well be a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from gpu.models.homotopy import check_share, set_skip_strength, skip_strengths
from gpu.schedules.functions import ScheduleFunction, check_shares
from linalg_cnn.checks import check_int


class Schedule:
    """What all schedules of t have in common; they differ in what their ``step`` takes.

    Attributes
    ----------
    model : nn.Module
        Its t is set at once, for step 0, and anew at every step.
    last_step : int
        How many steps were taken.
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")
        self.model = model
        self.last_step = 0
        self._last_t: float | dict[str, float] = {}

    def get_last_t(self) -> float | dict[str, float]:
        """Return the t that was set last: one number for every skip, or by name that of each skip that was ever set."""
        return dict(self._last_t) if isinstance(self._last_t, dict) else self._last_t

    def state_dict(self) -> dict[str, Any]:
        """Return ``last_step`` and ``last_t`` in plain Python types, which ``torch.load(weights_only=True)`` reads.

        As with LRScheduler and LambdaLR, the settings are not in it: make the same schedule again, then load.
        """
        return {"last_step": self.last_step, "last_t": self.get_last_t()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to where another schedule was, and put the t of that moment into the model.

        Raises
        ------
        ValueError
            If it is no state of a schedule, or none that fits this one or its network. Nothing is changed then.
        """
        keys = self.state_dict().keys()
        if not isinstance(state_dict, Mapping) or state_dict.keys() != keys:
            got = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(f"state_dict: expected a mapping with the keys {sorted(keys)}, got {got}")
        step = check_int("state_dict['last_step']", state_dict["last_step"], 0)
        self._set("state_dict['last_t']", state_dict["last_t"])
        self.last_step = step

    def _set(self, name: str, t: object) -> None:
        if isinstance(t, Mapping):
            named = {skip: check_share(f"{name}[{skip!r}]", strength) for skip, strength in t.items()}
            set_skip_strength(self.model, named)
            # Also those set before that this mapping does not name: a state has to be whole.
            last = self._last_t
            self._last_t = (last if isinstance(last, dict) else dict.fromkeys(skip_strengths(self.model), last)) | named
        else:
            strength = check_share(name, t)
            set_skip_strength(self.model, strength)
            self._last_t = strength


class SkipSchedule(Schedule):
    """t as a function of the step.

    Parameters
    ----------
    model : nn.Module
        With skips of strength t; see `gpu.set_skip_strength`.
    function : callable
        From the step, 0, 1, 2, ..., to t in [0, 1] or a mapping of names of skips to such numbers, the others staying
        as they are. `Listed`, `Constant`, `Linear`, `Cosine`, `Exponential`, `OneAtATime`, or any other.

    Raises
    ------
    TypeError
        If ``model`` is no ``nn.Module``, or ``function`` cannot be called.
    ValueError
        If t is not in [0, 1], or the network has no skips, or none of that name.

    Notes
    -----
    Source: the paper's sections 4 and 5.3; the interface is that of ``torch.optim.lr_scheduler.LambdaLR``.

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> schedule = SkipSchedule(three_layer_cnn(), lambda step: 2.0 ** -(step + 1))
    >>> for epoch in range(3):
    ...     print(epoch, skip_strengths(schedule.model))  # and train one epoch
    ...     schedule.step()
    0 {'joins.2': 0.5}
    1 {'joins.2': 0.25}
    2 {'joins.2': 0.125}
    >>> resumed = SkipSchedule(three_layer_cnn(), schedule.function)
    >>> resumed.load_state_dict(schedule.state_dict())
    >>> skip_strengths(resumed.model)
    {'joins.2': 0.0625}
    """

    def __init__(self, model: nn.Module, function: ScheduleFunction) -> None:
        super().__init__(model)
        if not callable(function):
            raise TypeError(f"function: expected a callable that takes the step, got {function!r}")
        self.function = function
        self._set("function(0)", function(0))

    def step(self) -> None:
        """Take one step, and set the t that the function gives for it.

        Raises
        ------
        ValueError
            If it gives something else than a t for this network. Nothing is changed then.
        """
        step = self.last_step + 1
        self._set(f"function({step})", self.function(step))
        self.last_step = step


class ThresholdSchedule(Schedule):
    """t goes to the next lower value whenever the validation accuracy passes the next threshold.

    Parameters
    ----------
    model : nn.Module
        With skips of strength t; see `gpu.set_skip_strength`.
    values : sequence of float in [0, 1]
        Falling, one more than there are thresholds; the first holds from the start.
    thresholds : sequence of float in [0, 1]
        Rising accuracies. An accuracy equal to a threshold passes it: 1 could not be passed otherwise.

    Raises
    ------
    TypeError
        If ``model`` is no ``nn.Module``.
    ValueError
        If the values do not fall, the thresholds do not rise, their numbers do not fit, or the network has no skips.

    Notes
    -----
    Source: the paper's "simple option" in section 5.3. Several thresholds passed at once lower t by as many values.
    t never rises again, however far the accuracy falls with it, and comes to the last value only if the last threshold
    is passed.

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> schedule = ThresholdSchedule(three_layer_cnn(), values=(0.5, 0.25, 0.125, 0.0), thresholds=(0.8, 0.9, 0.95))
    >>> for accuracy in (0.7, 0.92, 0.6, 0.95):
    ...     schedule.step(accuracy)
    ...     print(schedule.get_last_t())
    0.5
    0.125
    0.125
    0.0
    """

    def __init__(self, model: nn.Module, values: Sequence[float], thresholds: Sequence[float]) -> None:
        super().__init__(model)
        self.values, self.thresholds = check_shares("values", values), check_shares("thresholds", thresholds)
        if sorted(set(self.values), reverse=True) != list(self.values):
            raise ValueError(f"values: expected numbers that fall from each to the next, got {self.values}")
        if sorted(set(self.thresholds)) != list(self.thresholds):
            raise ValueError(f"thresholds: expected numbers that rise from each to the next, got {self.thresholds}")
        if len(self.values) != len(self.thresholds) + 1:
            raise ValueError(
                f"values: expected {len(self.thresholds) + 1}, one more than there are thresholds, got {self.values}"
            )
        self._set("values", self.values[0])

    def step(self, accuracy: float) -> None:
        """Take one step with the validation accuracy in [0, 1] that was reached.

        Raises
        ------
        ValueError
            If it is no such number. Nothing is changed then.
        """
        reached = check_share("accuracy", accuracy)
        passed = sum(reached >= threshold for threshold in self.thresholds)
        self._set("values", self.values[max(passed, self.values.index(self._last_t))])
        self.last_step += 1

    def _set(self, name: str, t: object) -> None:
        # The values differ: t alone says where in the list a state is, and whether it is a state of this list.
        if t not in self.values:
            raise ValueError(f"{name}: expected one of the values {self.values}, got {t!r}")
        super()._set(name, t)
