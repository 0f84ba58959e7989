"""Schedules of the skip strength: values by hand, their ends, refused arguments, and resuming from a state."""

import io
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpu import resnet
from gpu.models.activations import activation_slopes
from gpu.models.homotopy import set_skip_strength, skip_strengths
from gpu.models.shallow import three_layer_cnn
from gpu.models.skip_cnn import SkipCNN
from gpu.schedules import (
    PAPER_FROM_05,
    PAPER_FROM_05_AS_PRINTED,
    PAPER_FROM_09,
    Constant,
    Cosine,
    Exponential,
    Linear,
    Listed,
    OneAtATime,
    SkipSchedule,
    SlopeSchedule,
    ThresholdSchedule,
)
from linalg_cnn import shared_skip_weights

shares = st.floats(0, 1)
steps = st.integers(1, 1000)


def chain(skips=((0, 1), (1, 2), (2, 3)), t=0.5):
    """Return a tiny network; its skips are joins.1, joins.2 and joins.3."""
    return SkipCNN((1, 4), [torch.nn.Conv1d(1, 1, 1) for _ in range(4)], shared_skip_weights(skips, t))


FIRST, SECOND, THIRD = NAMES = ("joins.1", "joins.2", "joins.3")


def strengths(model):
    """Return the strengths in a network. The values that are compared with them bit for bit are binary fractions."""
    return tuple(skip_strengths(model).values())


def saved_and_loaded(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def first_of(function, count):
    return [function(step) for step in range(count)]


def test_the_papers_lists():
    for values in (PAPER_FROM_09, PAPER_FROM_05, PAPER_FROM_05_AS_PRINTED):
        assert len(values) == 10
        assert values[-1] == 0
    assert PAPER_FROM_09 == (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0)
    assert PAPER_FROM_05_AS_PRINTED == (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.025, 0.01, 0.05, 0)
    assert list(PAPER_FROM_05) == sorted(PAPER_FROM_05, reverse=True)
    differing = [k for k in range(10) if PAPER_FROM_05[k] != PAPER_FROM_05_AS_PRINTED[k]]
    assert differing == [8]
    assert PAPER_FROM_05[8] == 0.005


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Listed((0.5, 0.25, 0)), [0.5, 0.25, 0, 0, 0]),
        (Listed([0.25]), [0.25, 0.25]),
        (Constant(0.5), [0.5, 0.5, 0.5]),
        (Constant(0), [0, 0]),
        (Constant(1), [1, 1]),
        (Linear(1, 4), [1, 0.75, 0.5, 0.25, 0, 0]),
        (Linear(0.5, 1), [0.5, 0, 0]),
        (Linear(0.25, 2, end=0.75), [0.25, 0.5, 0.75, 0.75]),
        (Exponential(1, 0.5), [1, 0.5, 0.25, 0.125, 0.0625]),
        (Exponential(1, 0.5, steps=2), [1, 0.5, 0, 0]),
        (Exponential(0.5, 1.0), [0.5, 0.5, 0.5]),
        (Exponential(0.5, 0), [0.5, 0, 0]),
        (Exponential(0.5, 0.5, 1), [0.5, 0]),
    ],
)
def test_values_by_hand(function, expected):
    assert first_of(function, len(expected)) == expected
    assert all(type(value) is float for value in first_of(function, len(expected)))


def test_cosine_by_hand():
    # (1 + cos(k pi / 6)) / 2 for k = 0, 2, 3, 4, 6 is 1, 3/4, 1/2, 1/4, 0; cos in float64 is off by an ulp
    values = first_of(Cosine(0.5, 6), 8)
    assert [values[k] for k in (2, 3, 4)] == pytest.approx([0.375, 0.25, 0.125], abs=1e-15)
    assert [values[k] for k in (0, 6, 7)] == [0.5, 0, 0]
    assert first_of(Cosine(0, 2, end=1), 4) == pytest.approx([0, 0.5, 1, 1], abs=1e-15)


def test_cosine_agrees_with_torch():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.75)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.125)
    ours = Cosine(0.75, steps=10, end=0.125)
    for step in range(11):
        assert ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)  # theirs is a recursion
        optimizer.step()
        theirs.step()


def test_a_long_exponential_underflows_to_zero():
    assert Exponential(1, 0.5)(10**9) == 0


@given(start=shares, end=shares, steps=steps, kind=st.sampled_from([Linear, Cosine]))
def test_ramps_go_from_start_to_end(start, end, steps, kind):
    values = first_of(kind(start, steps, end), steps + 2)
    assert values[0] == start
    assert values[-2:] == [end, end]
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values, reverse=end <= start)


@given(start=shares, factor=shares, steps=st.none() | steps)
def test_exponentials_fall(start, factor, steps):
    values = first_of(Exponential(start, factor, steps), 1 + (steps or 50))
    assert values[0] == start
    assert values[-1] == 0 or steps is None
    assert all(0 <= value <= 1 for value in values)
    assert values == sorted(values, reverse=True)


def test_one_at_a_time_in_tailors_order():
    function = OneAtATime(["a", "b"], 0.5, every=3)
    assert [tuple(function(step).values()) for step in range(8)] == 3 * [(0.5, 0.5)] + 3 * [(0, 0.5)] + 2 * [(0, 0)]
    assert list(function(0)) == ["a", "b"]
    assert first_of(OneAtATime(["a"], 0.5, 1), 3) == [{"a": 0.5}, {"a": 0.0}, {"a": 0.0}]


def test_one_at_a_time_gradually():
    values = [tuple(OneAtATime(["a", "b"], 1, every=4, fall=2)(step).values()) for step in range(10)]
    assert values == [(1, 1), (1, 1), (1, 1), (0.5, 1), (0, 1), (0, 1), (0, 1), (0, 0.5), (0, 0), (0, 0)]
    values = [tuple(OneAtATime(["a", "b"], 0.5, every=2, fall=2)(step).values()) for step in range(5)]
    assert values == [(0.5, 0.5), (0.25, 0.5), (0, 0.5), (0, 0.25), (0, 0)]


@pytest.mark.parametrize(
    "function",
    [
        Listed([0.5, 0]),
        Constant(0.5),
        Linear(0.5, 3),
        Cosine(0.5, 3),
        Exponential(0.5, 0.5, 3),
        OneAtATime(["a", "b"], 0.5, 2),
    ],
)
def test_functions_are_values(function):
    again = pickle.loads(pickle.dumps(function))
    assert again == function
    assert hash(again) == hash(function)
    assert eval(repr(function)) == function  # the repr has all settings


def test_settings_become_plain():
    assert repr(Linear(np.float64(0.5), np.int64(3), torch.tensor(0.25))) == "Linear(start=0.5, steps=3, end=0.25)"
    assert repr(Listed(np.array([0.5, 0]))) == "Listed(values=(0.5, 0.0))"
    assert Linear(0.5, 3) != Cosine(0.5, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(-0.1), r"t: expected a number in \[0, 1\], got -0.1"),
        (lambda: Constant(1.1), r"t: expected a number in \[0, 1\], got 1.1"),
        (lambda: Constant(math.nan), r"t: expected a number in \[0, 1\], got nan"),
        (lambda: Constant("0.5"), r"t: expected a number in \[0, 1\], got '0.5'"),
        (lambda: Constant(True), r"t: expected a number in \[0, 1\], got True"),
        (lambda: Constant(None), r"t: expected a number in \[0, 1\], got None"),
        (lambda: Constant(torch.tensor(2.0)), r"t: expected a number in \[0, 1\], got tensor\(2.\)"),
        (lambda: Constant(torch.tensor([0.5])), r"t: expected a number in \[0, 1\], got tensor\(\[0.5000\]\)"),
        (lambda: Listed([]), r"values: expected a list of numbers in \[0, 1\], at least one, got \[\]"),
        (lambda: Listed(0.5), r"values: expected a list of numbers in \[0, 1\], at least one, got 0.5"),
        (lambda: Listed([0.5, 2]), r"values\[1\]: expected a number in \[0, 1\], got 2"),
        (lambda: Linear(2, 3), r"start: expected a number in \[0, 1\], got 2"),
        (lambda: Linear(0.5, 3, -1), r"end: expected a number in \[0, 1\], got -1"),
        (lambda: Linear(0.5, 0), "steps: expected an int of at least 1, got 0"),
        (lambda: Cosine(0.5, 2.0), "steps: expected an int of at least 1, got 2.0"),
        (lambda: Exponential(2, 0.5), r"start: expected a number in \[0, 1\], got 2"),
        (lambda: Exponential(0.5, 1.5), r"factor: expected a number in \[0, 1\], got 1.5"),
        (lambda: Exponential(0.5, 0.5, 0), "steps: expected an int of at least 1, got 0"),
        (lambda: OneAtATime([], 0.5, 1), r"names: expected a list of names of skips, at least one, got \[\]"),
        (
            lambda: OneAtATime("joins.2", 0.5, 1),
            "names: expected a list of names of skips, at least one, got 'joins.2'",
        ),
        (lambda: OneAtATime([1], 0.5, 1), r"names: expected a list of names of skips, at least one, got \[1\]"),
        (lambda: OneAtATime(["a", "a"], 0.5, 1), r"names: expected different names, got \['a', 'a'\]"),
        (lambda: OneAtATime(["a"], 2, 1), r"start: expected a number in \[0, 1\], got 2"),
        (lambda: OneAtATime(["a"], 0.5, 0), "every: expected an int of at least 1, got 0"),
        (lambda: OneAtATime(["a"], 0.5, 3, 0), "fall: expected an int of at least 1, got 0"),
        (lambda: OneAtATime(["a"], 0.5, 3, 4), "fall: expected at most every=3, one skip at a time, got 4"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "function",
    [Listed([0.5]), Constant(0.5), Linear(0.5, 2), Cosine(0.5, 2), Exponential(0.5, 0.5), OneAtATime(["a"], 0.5, 1)],
)
@pytest.mark.parametrize("step", [-1, 0.5, True, None])
def test_bad_steps(function, step):
    with pytest.raises(ValueError, match=f"step: expected an int of at least 0, got {step}"):
        function(step)


def test_a_schedule_sets_t_at_once_and_at_every_step():
    model = chain(t=1.0)
    schedule = SkipSchedule(model, Linear(0.5, 4))
    seen = []
    for _ in range(6):
        assert strengths(model) == 3 * (schedule.get_last_t(),)
        seen.append((schedule.last_step, schedule.get_last_t()))
        schedule.step()
    assert seen == [(0, 0.5), (1, 0.375), (2, 0.25), (3, 0.125), (4, 0.0), (5, 0.0)]


def test_get_last_t_is_not_rounded():
    schedule = SkipSchedule(resnet(18), Listed(PAPER_FROM_09))
    assert len(strengths(schedule.model)) == 8
    for t in PAPER_FROM_09:
        assert schedule.get_last_t() == t
        # the buffers of a network are float32
        assert strengths(schedule.model) == pytest.approx(8 * (t,), rel=2**-24)
        schedule.step()
    assert strengths(schedule.model) == 8 * (0,)


def test_skips_leave_in_the_order_of_the_forward():
    model = resnet(18)
    names = list(skip_strengths(model))
    assert names == sorted(names)
    schedule = SkipSchedule(model, OneAtATime(names, 0.5, every=1))
    for gone in range(9):
        assert strengths(model) == gone * (0,) + (8 - gone) * (0.5,)
        schedule.step()


def test_any_function_of_the_step():
    schedule = SkipSchedule(three_layer_cnn(), lambda step: np.float32(0.5) if step % 2 else torch.tensor(0.25))
    for expected in (0.25, 0.5, 0.25):
        assert schedule.get_last_t() == expected
        assert type(schedule.get_last_t()) is float
        assert strengths(schedule.model) == (expected,)
        schedule.step()


def some_then_all(step):
    """Return t at a step: a mapping of some skips at all steps but one, which sets all skips."""
    return [{SECOND: 0.25}, {FIRST: 0.125}, 0.75, {THIRD: 0.0}, {FIRST: 1.0, THIRD: 0.5}][min(step, 4)]


def test_a_mapping_leaves_the_other_skips():
    model = chain(t=0.5)
    schedule = SkipSchedule(model, some_then_all)
    expected = [(0.5, 0.25, 0.5), (0.125, 0.25, 0.5), (0.75, 0.75, 0.75), (0.75, 0.75, 0.0), (1.0, 0.75, 0.5)]
    reported = [
        {SECOND: 0.25},
        {FIRST: 0.125, SECOND: 0.25},
        0.75,
        *(dict(zip(NAMES, e, strict=True)) for e in expected[3:]),
    ]
    for now, last_t in zip(expected, reported, strict=True):
        assert strengths(model) == now
        assert schedule.get_last_t() == last_t
        schedule.step()


@pytest.mark.parametrize(
    "function",
    [
        Listed(PAPER_FROM_05_AS_PRINTED),
        Cosine(0.9, 5),
        Exponential(0.9, 0.7, 6),
        OneAtATime(NAMES, 0.9, every=2, fall=2),
        OneAtATime(NAMES[::-1], 0.9, every=1),
        some_then_all,
    ],
)
@pytest.mark.parametrize("interruption", [0, 1, 3, 8])
def test_going_on_where_one_was(function, interruption):
    whole, first = SkipSchedule(chain(), function), SkipSchedule(chain(), function)
    for _ in range(interruption):
        whole.step()
        first.step()
    state = saved_and_loaded(first.state_dict())
    assert state == first.state_dict()
    resumed = SkipSchedule(chain(), function)
    resumed.load_state_dict(state)
    for _ in range(10):
        assert resumed.last_step == whole.last_step
        assert resumed.get_last_t() == whole.get_last_t()
        assert strengths(resumed.model) == strengths(whole.model)
        resumed.step()
        whole.step()


def test_states_are_plain_and_apart():
    schedule = SkipSchedule(chain(), OneAtATime(NAMES, 0.5, 1))
    state = schedule.state_dict()
    assert state == {"last_step": 0, "last_t": dict.fromkeys(NAMES, 0.5)}
    state["last_t"][FIRST] = 0.25
    schedule.get_last_t()[SECOND] = 0.25
    assert schedule.get_last_t() == dict.fromkeys(NAMES, 0.5)
    assert SkipSchedule(chain(), np.float64).state_dict() == {"last_step": 0, "last_t": 0.0}


def test_loading_puts_t_back_into_a_model_that_lost_it():
    schedule = SkipSchedule(chain(), Linear(0.5, 4))
    schedule.step()
    set_skip_strength(schedule.model, 1.0)
    schedule.load_state_dict(schedule.state_dict())
    assert strengths(schedule.model) == 3 * (0.375,)


def test_bad_models_and_functions():
    with pytest.raises(TypeError, match="model: expected an nn.Module, got str"):
        SkipSchedule("model", Constant(0.5))
    with pytest.raises(TypeError, match="function: expected a callable that takes the step, got 0.5"):
        SkipSchedule(chain(), 0.5)
    with pytest.raises(ValueError, match="model: expected a network with skips of strength t, got Linear"):
        SkipSchedule(torch.nn.Linear(1, 1), Constant(0.5))
    with pytest.raises(ValueError, match=r"expected names of skips, which are joins.1, joins.2, joins.3, got joins.9"):
        SkipSchedule(chain(), OneAtATime(["joins.9"], 0.5, 1))


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (1.5, r"function\(1\): expected a number in \[0, 1\], got 1.5"),
        (math.nan, r"function\(1\): expected a number in \[0, 1\], got nan"),
        (None, r"function\(1\): expected a number in \[0, 1\], got None"),
        ({FIRST: 0.0, SECOND: -1}, r"function\(1\)\['joins.2'\]: expected a number in \[0, 1\], got -1"),
        ({FIRST: 0.0, "layer9": 0.0}, "expected names of skips"),
    ],
)
def test_a_bad_step_changes_nothing(t, message):
    schedule = SkipSchedule(chain(), lambda step: t if step else 0.5)
    with pytest.raises(ValueError, match=message):
        schedule.step()
    assert schedule.state_dict() == {"last_step": 0, "last_t": 0.5}
    assert strengths(schedule.model) == 3 * (0.5,)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, r"state_dict: expected a mapping with the keys \['last_step', 'last_t'\], got NoneType"),
        ({}, r"state_dict: expected a mapping with the keys \['last_step', 'last_t'\], got \[\]"),
        ({"last_epoch": 1, "base_lrs": []}, r"with the keys .* got \['base_lrs', 'last_epoch'\]"),
        ({"last_step": -1, "last_t": 0.5}, r"state_dict\['last_step'\]: expected an int of at least 0, got -1"),
        ({"last_step": 1.0, "last_t": 0.5}, r"state_dict\['last_step'\]: expected an int of at least 0, got 1.0"),
        ({"last_step": 1, "last_t": 2.0}, r"state_dict\['last_t'\]: expected .*, got 2.0"),
        ({"last_step": 1, "last_t": math.nan}, r"state_dict\['last_t'\]: expected .*, got nan"),
    ],
)
def test_other_states_change_nothing(state, message):
    for schedule in (SkipSchedule(chain(), Constant(0.5)), ThresholdSchedule(chain(), (0.5, 0.0), (0.9,))):
        with pytest.raises(ValueError, match=message):
            schedule.load_state_dict(state)
        assert schedule.state_dict() == {"last_step": 0, "last_t": 0.5}
        assert strengths(schedule.model) == 3 * (0.5,)


def test_states_of_other_networks():
    state = SkipSchedule(chain(), OneAtATime(NAMES, 0.5, 1)).state_dict()
    other = SkipSchedule(three_layer_cnn(), Constant(0.25))
    with pytest.raises(ValueError, match=r"expected names of skips, which are joins.2, got joins.1, joins.3"):
        other.load_state_dict(state)
    assert other.get_last_t() == 0.25
    thresholds = ThresholdSchedule(chain(), (0.5, 0.0), (0.9,))
    with pytest.raises(ValueError, match=r"state_dict\['last_t'\]: expected one of the values \(0.5, 0.0\), got {"):
        thresholds.load_state_dict(state)


VALUES, THRESHOLDS = (0.75, 0.5, 0.25, 0.0), (0.8, 0.9, 0.95)


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        ([0.5, 0.85, 0.86, 0.92, 0.96], [0.75, 0.5, 0.5, 0.25, 0.0]),  # one after the other
        ([0.92, 0.96], [0.25, 0.0]),  # two at once
        ([1.0, 1.0], [0.0, 0.0]),  # all at once, and no further
        ([0.85, 0.1, 0.85, 0.0], [0.5, 0.5, 0.5, 0.5]),  # never back
        ([0.8, math.nextafter(0.9, 0), 0.9], [0.5, 0.5, 0.25]),  # equality passes
        ([math.nextafter(0.8, 0)], [0.75]),
        ([0, np.float64(0.8), np.float32(0.91), torch.tensor(0.96)], [0.75, 0.5, 0.25, 0.0]),
    ],
)
def test_thresholds(accuracies, expected):
    schedule = ThresholdSchedule(chain(), VALUES, THRESHOLDS)
    assert strengths(schedule.model) == 3 * (0.75,)
    for count, (accuracy, t) in enumerate(zip(accuracies, expected, strict=True), start=1):
        schedule.step(accuracy)
        assert schedule.get_last_t() == t
        assert strengths(schedule.model) == 3 * (t,)
        assert schedule.last_step == count


@pytest.mark.parametrize("interruption", range(6))
def test_thresholds_go_on_where_they_were(interruption):
    accuracies = [0.5, 0.85, 0.3, 0.92, 0.96]
    values = (0.9, 0.7, 0.3, 0.0)  # no binary fractions
    whole, first, resumed = (ThresholdSchedule(chain(), values, THRESHOLDS) for _ in range(3))
    for accuracy in accuracies[:interruption]:
        whole.step(accuracy)
        first.step(accuracy)
    resumed.load_state_dict(saved_and_loaded(first.state_dict()))
    assert resumed.state_dict() == whole.state_dict()
    for accuracy in accuracies[interruption:]:
        assert strengths(resumed.model) == strengths(whole.model)
        whole.step(accuracy)
        resumed.step(accuracy)
    assert resumed.state_dict() == whole.state_dict() == {"last_step": 5, "last_t": 0.0}


def test_a_threshold_of_one_can_be_passed():
    schedule = ThresholdSchedule(chain(), (0.5, 0.0), (1,))
    schedule.step(1)
    assert schedule.get_last_t() == 0


@pytest.mark.parametrize("accuracy", [None, math.nan, -0.1, 97.5, "0.9", True])
def test_bad_accuracies_change_nothing(accuracy):
    schedule = ThresholdSchedule(chain(), VALUES, THRESHOLDS)
    with pytest.raises(ValueError, match=rf"accuracy: expected a number in \[0, 1\], got {accuracy!r}"):
        schedule.step(accuracy)
    assert schedule.state_dict() == {"last_step": 0, "last_t": 0.75}


def test_a_missing_accuracy():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'accuracy'"):
        ThresholdSchedule(chain(), VALUES, THRESHOLDS).step()


@pytest.mark.parametrize(
    ("values", "thresholds", "message"),
    [
        ((), (), "values: expected a list of numbers"),
        ((0.5,), (), "thresholds: expected a list of numbers"),
        ((0.5, 0.0), 0.9, "thresholds: expected a list of numbers"),
        ((0.5, 1.5), (0.9,), r"values\[1\]: expected a number in \[0, 1\], got 1.5"),
        ((0.5, 0.0), (math.nan,), r"thresholds\[0\]: expected a number in \[0, 1\], got nan"),
        ((0.5, 0.0), (90,), r"thresholds\[0\]: expected a number in \[0, 1\], got 90"),
        ((0.0, 0.5), (0.9,), r"values: expected numbers that fall from each to the next, got \(0.0, 0.5\)"),
        ((0.5, 0.5), (0.9,), r"values: expected numbers that fall from each to the next, got \(0.5, 0.5\)"),
        (VALUES, (0.8, 0.95, 0.9), r"thresholds: expected numbers that rise from each to the next, got \(0.8, 0.95, "),
        (VALUES, (0.8, 0.9, 0.9), r"thresholds: expected numbers that rise from each to the next, got \(0.8, 0.9, 0.9"),
        (VALUES, (0.8, 0.9), r"values: expected 3, one more than there are thresholds, got \(0.75, "),
        ((0.5, 0.0), THRESHOLDS, r"values: expected 4, one more than there are thresholds, got \(0.5, 0.0\)"),
    ],
)
def test_bad_thresholds(values, thresholds, message):
    model = chain(t=0.5)
    with pytest.raises(ValueError, match=message):
        ThresholdSchedule(model, values, thresholds)
    assert strengths(model) == 3 * (0.5,)


def test_thresholds_want_a_module():
    with pytest.raises(TypeError, match="model: expected an nn.Module, got NoneType"):
        ThresholdSchedule(None, VALUES, THRESHOLDS)


def two_activations():
    return torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Tanh())


def test_functions_of_t_take_activations_to_the_identity():
    model = two_activations()
    schedule = SlopeSchedule(model, OneAtATime(["1", "0"], 0, every=2, fall=2, end=1))
    seen = []
    for _ in range(5):
        seen.append(tuple(activation_slopes(model).values()))
        schedule.step()
    assert seen == [(0, 0), (0, 0.5), (0, 1), (0.5, 1), (1, 1)]
    for function in (Linear(0, 4, end=1), Cosine(0, 4, end=1), Listed((0, 1)), lambda n: 1 - Exponential(1, 0.5, 4)(n)):
        schedule = SlopeSchedule(model, function)
        assert activation_slopes(model) == {"0": 0, "1": 0}
        for _ in range(4):
            schedule.step()
        assert schedule.get_last_slope() == 1
        assert activation_slopes(model) == {"0": 1, "1": 1}


def test_a_slope_schedule_continues_from_its_state_alone():
    function = OneAtATime(["0", "1"], 0, every=1, end=1)
    first = SlopeSchedule(two_activations(), function)
    first.step()
    resumed = SlopeSchedule(two_activations(), function)
    resumed.load_state_dict(first.state_dict())
    assert first.state_dict() == resumed.state_dict() == {"last_step": 1, "last_slope": {"0": 1.0, "1": 0.0}}
    assert activation_slopes(resumed.model) == {"0": 1, "1": 0}
    of_skips = SkipSchedule(chain(), Constant(0.5))
    with pytest.raises(ValueError, match=r"state_dict: expected a mapping with the keys \['last_slope', 'last_step'\]"):
        resumed.load_state_dict(of_skips.state_dict())
    with pytest.raises(ValueError, match=r"state_dict: expected a mapping with the keys \['last_step', 'last_t'\]"):
        of_skips.load_state_dict(first.state_dict())


def test_one_slope_then_some_by_name_belong_to_the_state():
    schedule = SlopeSchedule(two_activations(), lambda step: {"1": 1.0} if step else 0.5)
    schedule.step()
    assert schedule.get_last_slope() == {"0": 0.5, "1": 1.0}


def test_a_slope_schedule_refuses_bad_slopes_and_networks_by_name():
    model = two_activations()
    schedule = SlopeSchedule(model, lambda step: 1.5 if step else 0.5)
    with pytest.raises(ValueError, match=r"function\(1\): expected a number in \[0, 1\], got 1.5"):
        schedule.step()
    assert schedule.last_step == 0
    assert activation_slopes(model) == {"0": 0.5, "1": 0.5}
    with pytest.raises(ValueError, match="slope: expected names of activations, which are 0, 1, got 7"):
        SlopeSchedule(model, OneAtATime(["7"], 0, every=1, end=1))
    with pytest.raises(ValueError, match="model: expected activations that are modules, got Linear without any"):
        SlopeSchedule(torch.nn.Linear(1, 1), Constant(0))
    with pytest.raises(TypeError, match="function: expected a callable that takes the step, got 0.5"):
        SlopeSchedule(model, 0.5)
    with pytest.raises(ValueError, match=r"end: expected a number in \[0, 1\], got 2"):
        OneAtATime(["0"], 0, every=1, end=2)
