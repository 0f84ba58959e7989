"""Two modules agree or do not, and nothing of the comparison stays."""

import copy
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gpu.models.agreement import check_agreement, disagreement


class Calls(nn.Module):
    """A module whose forward is a function of the module and its arguments."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *arguments):
        return self.function(self, *arguments)


@dataclass
class Scores:
    main: torch.Tensor
    other: object = None


def ones():
    return torch.ones(2, 3)


def test_a_module_agrees_with_itself_in_both_modes_and_with_gradients():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    for training in (True, False):
        model.train(training)
        assert disagreement(model, copy.deepcopy(model), torch.rand(5, 3), gradients=True, rtol=0) is None
        assert disagreement(model, model, torch.rand(5, 3), gradients=True, double=True, rtol=0) is None


@pytest.mark.parametrize(
    ("original", "rewritten", "sentence"),
    [
        (lambda m, x: 3 * x, lambda m, x: x, "the output differs by 0.67 of its largest absolute value, which is 3"),
        (lambda m, x: 0 * x, lambda m, x: x, "the output differs by 1 from 0"),
        (
            lambda m, x: x,
            lambda m, x: x[:1],
            "the output has the shape torch.Size([1, 3]), expected torch.Size([2, 3])",
        ),
        (lambda m, x: x, lambda m, x: x.double(), "the output has the dtype torch.float64, expected torch.float32"),
        (lambda m, x: x, lambda m, x: x / 0, "the output is not finite in the same places"),
        (lambda m, x: {"a": x}, lambda m, x: {"b": x}, "is in one of the two only"),
        (lambda m, x: [x, x], lambda m, x: [x], "the output[1] is in one of the two only"),
        (lambda m, x: {"a": [x, x]}, lambda m, x: {"a": [x, -x]}, "the output['a'][1] differs by 2 of its"),
        (lambda m, x: Scores(x), lambda m, x: Scores(-x), "the output.main differs by 2 of its"),
        (lambda m, x: Scores(x, 1), lambda m, x: Scores(x, 2), "the output.other is 2, expected 1"),
        (lambda m, x: Scores(x, object()), lambda m, x: Scores(x, object()), "the output.other is <object"),
        (lambda m, x: x, lambda m, x: None, "the output is of type NoneType, expected Tensor"),
        (lambda m, x: x.argmax(1), lambda m, x: x.argmin(1) + 1, "the output differs by 1 from 0"),
        (lambda m, x: x, lambda m, x: x + 1e-3, "the output differs by 0.001 of its"),
        (lambda m, x: x.to_sparse(), lambda m, x: 2 * x.to_sparse(), "the output differs by 1 of its"),
        (lambda m, x: x, lambda m, x: m.no_such_part, "the rewritten module raises AttributeError: 'Calls' object has"),
    ],
)
def test_a_difference_is_one_sentence(original, rewritten, sentence):
    assert sentence in disagreement(Calls(original), Calls(rewritten), ones())


@pytest.mark.parametrize(
    ("original", "rewritten"),
    [
        (lambda m, x: x, lambda m, x: x + 1e-5),  # within half of the digits
        (lambda m, x: x / 0 * torch.tensor([1, 0, -1]), lambda m, x: x * torch.tensor([1, 0, -1]) / 0),
        (lambda m, x: [float("nan"), "a", None, 2], lambda m, x: (float("nan"), "a", None, 2)),
        (lambda m, x: torch.polar(x, x), lambda m, x: torch.polar(x, x) * 1.00001),
        (lambda m, x: x[:0], lambda m, x: x[2:]),
    ],
)
def test_rounding_nan_and_infinities_agree(original, rewritten):
    assert disagreement(Calls(original), Calls(rewritten), ones()) is None


def test_the_tolerance_is_the_callers():
    model, other = Calls(lambda m, x: x), Calls(lambda m, x: x + 1e-5)
    assert disagreement(model, other, ones(), rtol=0) is not None
    assert disagreement(model, other, ones(), rtol=1e-4) is None
    assert disagreement(model, other, ones(), double=True) is not None  # where half of the digits are 1.5e-8


def test_gradients_differ_where_outputs_do_not():
    linear = nn.Linear(3, 2)
    whole = Calls(lambda m, x: m.linear(x), linear=linear)
    without_weight = Calls(lambda m, x: nn.functional.linear(x, m.linear.weight.detach(), m.linear.bias), linear=linear)
    without_input = Calls(lambda m, x: m.linear(x.detach()), linear=linear)
    assert disagreement(whole, without_weight, ones()) is None
    assert disagreement(whole, without_weight, ones(), gradients=True) == (
        "the gradient of linear.weight is of type NoneType, expected Tensor"
    )
    assert "the gradient of input 0" in disagreement(whole, without_input, ones(), gradients=True)
    other = Calls(lambda m, x: m.linear(x) - m.linear.bias.detach() + m.linear.bias, linear=linear)
    assert "the gradient of linear.bias differs by" in disagreement(whole, other, ones(), gradients=True)


def test_a_gradient_that_is_zero_but_for_rounding_does_not_count():
    """A bias before batch normalisation in training mode has no influence; rounding gives it some gradient."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.0)).double()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved[0].bias += 0.3
    images = torch.rand(8, 3, 8, 8, dtype=torch.float64)
    assert disagreement(model, moved, images, gradients=True) is None
    with torch.no_grad():
        moved[1].weight *= 1.001
    assert disagreement(model, moved, images, gradients=True) is not None


def test_running_statistics_are_compared():
    model, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=0.5)
    assert disagreement(model, other, torch.rand(4, 3)).startswith("the buffer running_mean after the run differs")
    assert disagreement(model.eval(), other.eval(), torch.rand(4, 3)) is None


def test_reentrant_checkpoints_can_be_compared():
    model = Calls(lambda m, x: checkpoint(m.linear, x, use_reentrant=True), linear=nn.Linear(3, 2))
    assert disagreement(model, model.linear, ones(), gradients=True) is None


def test_several_arguments_nested_and_of_any_dtype():
    model = Calls(lambda m, x, more: m.table(x) + more["scale"] * 2, table=nn.Embedding(3, 2))
    inputs = (torch.tensor([0, 2]), {"scale": torch.ones(2)})
    assert disagreement(model, copy.deepcopy(model), inputs, gradients=True, double=True) is None
    other = Calls(lambda m, x, more: m.table(x) + more["scale"] + 1, table=model.table)
    assert disagreement(model, other, inputs) is None
    assert "the gradient of input 0 differs by 0.5" in disagreement(model, other, inputs, gradients=True)


def draws(m, x):
    return x * random.random() + np.random.random() + torch.rand(1) + m.dropout(x)  # noqa: NPY002


def random_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


def test_random_forwards_agree_and_leave_the_random_states():
    model = Calls(draws, dropout=nn.Dropout())
    before = random_states()
    assert disagreement(model, copy.deepcopy(model), ones(), gradients=True, rtol=0) is None
    assert random_states() == before


seen = []


def test_both_find_the_same_globals_and_leave_them():
    model = Calls(lambda m, x: seen.append(x) or x * len(seen))
    assert disagreement(model, copy.deepcopy(model), ones(), rtol=0) is None
    assert seen == []


def test_the_modules_and_the_input_stay_as_they_were():
    def forward(m, x):
        m.calls += 1
        x.mul_(2)
        return m.norm(x)

    model = Calls(forward, norm=nn.BatchNorm1d(3), calls=0)
    model.norm.weight.grad = torch.full((3,), 5.0)
    before, x = copy.deepcopy(model.state_dict()), torch.rand(4, 3)
    same = x.clone()
    with torch.inference_mode():
        assert disagreement(model, model, x, gradients=True) is None
    assert torch.equal(x, same)
    assert not x.requires_grad
    assert model.calls == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(model.norm.weight.grad, torch.full((3,), 5.0))
    assert model.norm.bias.grad is None


def test_an_original_that_cannot_run_is_not_an_agreement():
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        disagreement(nn.Linear(4, 2), nn.Linear(4, 2), ones())


def test_without_gradients_there_is_none_to_compare():
    model = Calls(lambda m, x: x.detach())
    assert disagreement(model, model, ones(), gradients=True) is None


def test_buffers_that_differ_on_purpose_are_named():
    model, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3, momentum=0.5)
    assert disagreement(model, other, torch.rand(4, 3), apart_from=["running_mean", "running_var"]) is None
    assert "running_var" in disagreement(model, other, torch.rand(4, 3), apart_from=["running_mean"])


def test_a_network_that_does_not_say_what_it_takes_needs_inputs():
    model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"got no layer that says which images it takes; inputs=\.\.\. names"):
        check_agreement(model, model)
    check_agreement(model, model, ones())
    with pytest.raises(ValueError, match="got one that does not: in evaluation mode the output differs by"):
        check_agreement(model, nn.Linear(3, 2), ones())
