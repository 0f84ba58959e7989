"""Schedules of the skip strength t, sections 4 and 5.3, and of the slope of activations: homotopies of a network.

They are used like torch's LRScheduler: a schedule sets t for the first epoch when it is made, and ``step`` is called
after each epoch. A step can also be a batch. The slope takes the place of t in a `SlopeSchedule`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from gpu.models.activations import activation_slopes, set_activation_slope
from gpu.models.checks import check_module
from gpu.models.homotopy import check_share, set_skip_strength, skip_strengths
from gpu.schedules.functions import ScheduleFunction, check_shares
from linalg_cnn.checks import check_int


class Schedule:
    """The common part of all schedules, which differ in what they set and in the arguments of ``step``.

    Attributes
    ----------
    model : nn.Module
        Network whose t, or slopes, are set when the schedule is made and at every step.
    last_step : int
        Number of steps that were taken.
    """

    _entry: ClassVar[str] = "last_t"
    """Name in the state of what was set last."""

    def __init__(self, model: nn.Module) -> None:
        check_module("model", model)
        self.model = model
        self.last_step = 0
        self._last: float | dict[str, float] = {}

    def controls(self, model: nn.Module) -> bool:
        """Return whether the schedule sets numbers of a network: of its own, or of one that has modules in common.

        Examples
        --------
        >>> import gpu
        >>> model = gpu.three_layer_cnn()
        >>> schedule = gpu.SkipSchedule(model, lambda step: 0.0)
        >>> schedule.controls(nn.Sequential(model, nn.Softmax(1))), schedule.controls(gpu.three_layer_cnn())
        (True, False)
        """
        own = {id(self.model.get_submodule(name)) for name in self._present()}
        return any(id(part) in own for part in model.modules())

    def _present(self) -> dict[str, float]:
        """Return all numbers in the network that are of the kind that the schedule sets, by name."""
        return skip_strengths(self.model)

    def _change(self, value: float | dict[str, float]) -> None:
        """Set such numbers."""
        set_skip_strength(self.model, value)

    def _copy_of_last(self) -> float | dict[str, float]:
        return dict(self._last) if isinstance(self._last, dict) else self._last

    def state_dict(self) -> dict[str, Any]:
        """Return ``last_step`` and ``last_t``, or ``last_slope``, in types that ``torch.load`` reads with weights_only.

        As with LRScheduler and LambdaLR, the state does not hold the settings: make the same schedule again, then load.
        """
        return {"last_step": self.last_step, self._entry: self._copy_of_last()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from the state of another schedule, and set what that state has set last in the model.

        Raises
        ------
        ValueError
            If it is not a state of a schedule, or does not fit this schedule or its network. Nothing is changed then.
        """
        keys = self.state_dict().keys()
        if not isinstance(state_dict, Mapping) or state_dict.keys() != keys:
            got = sorted(map(str, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
            raise ValueError(f"state_dict: expected a mapping with the keys {sorted(keys)}, got {got}")
        step = check_int("state_dict['last_step']", state_dict["last_step"], 0)
        self._set(f"state_dict[{self._entry!r}]", state_dict[self._entry])
        self.last_step = step

    def _set(self, name: str, value: object) -> None:
        if isinstance(value, Mapping):
            named = {part: check_share(f"{name}[{part!r}]", number) for part, number in value.items()}
            self._change(named)
            # Numbers that were set before and are not named now belong to the state, too.
            last = self._last
            self._last = (last if isinstance(last, dict) else dict.fromkeys(self._present(), last)) | named
        else:
            number = check_share(name, value)
            self._change(number)
            self._last = number


class FunctionSchedule(Schedule):
    """The common part of `SkipSchedule` and `SlopeSchedule`, which follow a function of the step."""

    def __init__(self, model: nn.Module, function: ScheduleFunction) -> None:
        super().__init__(model)
        if not callable(function):
            raise TypeError(f"function: expected a callable that takes the step, got {function!r}")
        self.function = function
        self._set("function(0)", function(0))

    def step(self) -> None:
        """Take one step, and set what the function gives for it.

        Raises
        ------
        ValueError
            If the function does not return numbers for this network. Nothing is changed then.
        """
        step = self.last_step + 1
        self._set(f"function({step})", self.function(step))
        self.last_step = step


class SkipSchedule(FunctionSchedule):
    """A schedule that sets t to a function of the step.

    Parameters
    ----------
    model : nn.Module
        Network with skips of strength t; see `gpu.set_skip_strength`.
    function : callable
        Function from the step, 0, 1, 2, ..., to t in [0, 1], or to a mapping from names of skips to such numbers; other
        skips keep their t. `gpu.schedules` has ``Listed``, ``Constant``, ``Linear``, ``Cosine``, ``Exponential`` and
        ``OneAtATime``.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``, or ``function`` cannot be called.
    ValueError
        If t is not in [0, 1], or the network has no skips, or none of that name.

    Notes
    -----
    Source: the paper's sections 4 and 5.3; the interface is that of ``torch.optim.lr_scheduler.LambdaLR``.

    Examples
    --------
    >>> import gpu
    >>> schedule = gpu.SkipSchedule(gpu.three_layer_cnn(), lambda step: 2.0 ** -(step + 1))
    >>> for epoch in range(3):
    ...     print(epoch, gpu.skip_strengths(schedule.model))  # and train one epoch
    ...     schedule.step()
    0 {'joins.2': 0.5}
    1 {'joins.2': 0.25}
    2 {'joins.2': 0.125}
    >>> resumed = gpu.SkipSchedule(gpu.three_layer_cnn(), schedule.function)
    >>> resumed.load_state_dict(schedule.state_dict())
    >>> gpu.skip_strengths(resumed.model)
    {'joins.2': 0.0625}
    """

    def get_last_t(self) -> float | dict[str, float]:
        """Return the t that was set last: one number for all skips, or, by name, that of each skip ever set."""
        return self._copy_of_last()


class SlopeSchedule(FunctionSchedule):
    """A schedule that sets the slope of activations to a function of the step, from 0, the activation, to 1.

    Parameters
    ----------
    model : nn.Module
        Network whose activations are modules; see `gpu.set_activation_slope`.
    function : callable
        Function from the step, 0, 1, 2, ..., to the slope in [0, 1] of all activations, or to a mapping from names of
        activations to such numbers; other activations keep their slopes. The functions in `gpu.schedules` serve, with
        0 as the start and 1 as the end, such as ``Linear(0, steps, end=1)``.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``, or ``function`` cannot be called.
    ValueError
        If a slope is not in [0, 1], or the network has no activations that are modules, or none of that name.

    Examples
    --------
    All activations but the first become linear:

    >>> import gpu
    >>> from gpu.schedules import Linear
    >>> model = gpu.three_layer_cnn(activation="relu")
    >>> ramp, names = Linear(0, steps=2, end=1), list(gpu.activation_slopes(model))[1:]
    >>> schedule = gpu.SlopeSchedule(model, lambda step: dict.fromkeys(names, ramp(step)))
    >>> for epoch in range(3):
    ...     print(gpu.activation_slopes(model))  # and train one epoch
    ...     schedule.step()
    {'activations.0': 0.0, 'activations.1': 0.0, 'activations.2': 0.0}
    {'activations.0': 0.0, 'activations.1': 0.5, 'activations.2': 0.5}
    {'activations.0': 0.0, 'activations.1': 1.0, 'activations.2': 1.0}
    """

    _entry = "last_slope"

    def _present(self) -> dict[str, float]:
        return activation_slopes(self.model)

    def _change(self, value: float | dict[str, float]) -> None:
        set_activation_slope(self.model, value)

    def get_last_slope(self) -> float | dict[str, float]:
        """Return the slope that was set last: one number for all activations, or, by name, that of each ever set."""
        return self._copy_of_last()


class ThresholdSchedule(Schedule):
    """A schedule that lowers t to the next value whenever the validation accuracy passes the next threshold.

    Parameters
    ----------
    model : nn.Module
        Network with skips of strength t; see `gpu.set_skip_strength`.
    values : sequence of float in [0, 1]
        Falling strengths, one more than there are thresholds; the first one is set at the start.
    thresholds : sequence of float in [0, 1]
        Rising accuracies. An accuracy equal to a threshold passes it: otherwise a threshold of 1 could not be passed.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If the values do not fall, the thresholds do not rise, their numbers do not fit, or the network has no skips.

    Notes
    -----
    Source: the paper's "simple option" in section 5.3. An accuracy that passes several thresholds at once lowers t by
    as many values. t never rises again, even if the accuracy falls, and reaches the last value only if the last
    threshold is passed.

    Examples
    --------
    >>> import gpu
    >>> model = gpu.three_layer_cnn()
    >>> schedule = gpu.ThresholdSchedule(model, values=(0.5, 0.25, 0.125, 0.0), thresholds=(0.8, 0.9, 0.95))
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

    def get_last_t(self) -> float | dict[str, float]:
        """Return the t that was set last: one number for all skips, or, by name, that of each skip ever set."""
        return self._copy_of_last()

    def step(self, accuracy: float) -> None:
        """Take one step with the validation accuracy that was reached, in [0, 1].

        Raises
        ------
        ValueError
            If the accuracy is not a number in [0, 1]. Nothing is changed then.
        """
        reached = check_share("accuracy", accuracy)
        passed = sum(reached >= threshold for threshold in self.thresholds)
        self._set("values", self.values[max(passed, self.values.index(self._last))])
        self.last_step += 1

    def _set(self, name: str, value: object) -> None:
        # The values are distinct: t alone gives the position in the list, and shows whether a state belongs to it.
        if value not in self.values:
            raise ValueError(f"{name}: expected one of the values {self.values}, got {value!r}")
        super()._set(name, value)
