"""Operations that are called directly: they take as many inputs as they read, with one number of samples."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import OPERATIONS
from operations.piecewise import PIECEWISE

from linalg_cnn import Blend, Concatenate, Conv, Maximum, ReLU, Take, WeightedSum

every_operation = pytest.mark.parametrize("info", [*OPERATIONS, *PIECEWISE], ids=lambda info: info.name)
few = settings(max_examples=3)


def calls(operation):
    """The ways to compute something of batches: affine operations have two."""
    return [operation, operation.forward] if hasattr(operation, "forward") else [operation]


@every_operation
@few
@given(data=st.data())
def test_every_operation_refuses_inputs_that_do_not_belong_together(info, data):
    operation, *in_shapes = data.draw(info.draw())
    name, xs = type(operation).__name__, [np.ones((2, *shape)) for shape in in_shapes]
    for call in calls(operation):
        with pytest.raises(ValueError, match=f"^{name}: expected (at least )?one input, got none$"):
            call()
        with pytest.raises(ValueError, match=rf"^{name}: expected inputs \(N, \*in_shape\), .* got shape \(3,\)$"):
            call(*xs[1:], np.ones(3))
        if operation.merges:
            sizes = re.escape(str([2] * len(xs) + [1]))
            with pytest.raises(ValueError, match=f"^{name}: expected inputs with one number of samples, got {sizes}$"):
                call(*xs, xs[-1][:1])
        else:
            with pytest.raises(ValueError, match=f"^{name}: expected one input, got 2$"):
                call(*xs, *xs)


@pytest.mark.parametrize(
    ("operation", "shape"),
    [(WeightedSum([0.5, 0.5]), (2,)), (Blend([[0.5], [0.5]]), (1,)), (Maximum(), (2,)), (Concatenate(), (2,))],
    ids=lambda value: type(value).__name__,
)
def test_a_single_sample_is_not_repeated_for_those_of_another_input(operation, shape):
    with pytest.raises(ValueError, match=r"expected inputs with one number of samples, got \[1, 3\]"):
        operation(np.ones((1, *shape)), np.ones((3, *shape)))
    assert len(operation(np.ones((0, *shape)), np.ones((0, *shape)))) == 0


def test_methods_of_shapes_take_as_many_as_there_are_inputs():
    conv = Conv([[[1.0, 1.0]]], [1.0])
    for call in (conv.matrices, conv.bias_vector, lambda *shapes: conv.adjoint(np.ones((1, 1, 2)), *shapes)):
        with pytest.raises(ValueError, match=r"^Conv: expected one input, got none$"):
            call()
        with pytest.raises(ValueError, match=r"^Conv: expected one input, got 2$"):
            call((1, 3), (1, 3))


def test_a_relu_computes_numbers_at_once_and_checks_them_all_the_same():
    with pytest.raises(ValueError, match=r"^ReLU: expected one input, got 2$"):
        ReLU()(np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"^ReLU: expected inputs .*, with a batch axis, got shape \(\)$"):
        ReLU()(5.0)


@pytest.mark.parametrize("sources", [[], [[]], np.zeros((0, 2), int)])
def test_an_empty_table_is_refused_as_its_docstring_says(sources):
    with pytest.raises(ValueError, match=r"^sources: expected at least one entry along every axis, got shape \("):
        Take(sources)
