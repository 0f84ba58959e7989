"""Every operation of the table: its matrix, forward and adjoint agree with loops and with torch, bit for bit."""

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st
from operations import OPERATIONS, integers

from linalg_cnn import WeightedSum
from linalg_cnn.types import size_of

every_operation = pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
# torch announces that an even kernel with padding="same" costs it a copy
same_warns = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@every_operation
@given(data=st.data())
def test_matrix_is_that_of_the_loops(info, data):
    operation, in_shape = data.draw(info.draw())
    matrix = operation.matrix(in_shape)
    assert matrix.dtype == np.float64
    assert matrix.shape == (size_of(operation.out_shape(in_shape)), size_of(in_shape))
    assert matrix.has_canonical_format
    np.testing.assert_array_equal(matrix.toarray(), info.loops(operation, in_shape))


@same_warns
@every_operation
@given(data=st.data())
def test_calling_it_is_what_torch_does(info, data):
    operation, in_shape = data.draw(info.draw())
    x = integers(data.draw, (data.draw(st.integers(1, 3)), *in_shape))
    theirs = info.torch(operation, torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(operation(x), theirs)
    assert theirs.shape[1:] == operation.out_shape(in_shape)


@every_operation
@given(data=st.data())
def test_forward_and_adjoint_are_the_matrix(info, data):
    operation, in_shape = data.draw(info.draw())
    A = operation.matrix(in_shape).toarray()
    n = data.draw(st.integers(1, 3))
    x, y = integers(data.draw, (n, A.shape[1])), integers(data.draw, (n, A.shape[0]))
    forward = operation.forward(x.reshape(n, *in_shape))
    np.testing.assert_array_equal(forward.reshape(n, -1), x @ A.T)
    adjoint = operation.adjoint(y.reshape(n, *operation.out_shape(in_shape)), in_shape)
    np.testing.assert_array_equal(adjoint.reshape(n, -1), y @ A)
    assert np.sum(forward.ravel() * y.ravel()) == np.sum(x.ravel() * adjoint.ravel())  # <A x, y> = <x, A' y>


@every_operation
@given(data=st.data())
def test_bias_is_the_answer_to_zero(info, data):
    operation, in_shape = data.draw(info.draw())
    bias = operation.bias_vector(in_shape)
    answer = operation(np.zeros((1, *in_shape))).ravel()
    np.testing.assert_array_equal(answer, np.zeros_like(answer) if bias is None else bias)


@every_operation
@given(data=st.data())
def test_exact_matrix_has_the_same_entries(info, data):
    operation, in_shape = data.draw(info.draw())
    exact = operation.exact_matrix(in_shape)
    assert all(isinstance(entry, sympy.Rational) for entry in exact.flat())
    np.testing.assert_array_equal(np.array(exact.tolist(), dtype=float), operation.matrix(in_shape).toarray())


@every_operation
@given(data=st.data())
def test_float32_data_stay_float32_and_integers_become_float64(info, data):
    operation, in_shape = data.draw(info.draw())
    x = integers(data.draw, (2, *in_shape))
    parameters = [v for v in vars(operation).values() if isinstance(v, np.ndarray)]
    if not parameters:  # a float64 parameter widens
        assert operation(x.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(operation(x.astype(np.int64)), operation(x))
    assert operation(x.astype(np.int64)).dtype == np.float64


@given(data=st.data(), count=st.integers(1, 4), size=st.integers(1, 5))
def test_weighted_sum(data, count, size):
    operation = WeightedSum(integers(data.draw, (count,)) / 4)
    xs = [integers(data.draw, (2, size)) for _ in range(count)]
    y = integers(data.draw, (2, size))
    expected = sum(weight * x for weight, x in zip(operation.weights, xs, strict=True))
    np.testing.assert_array_equal(operation(*xs), expected)
    np.testing.assert_array_equal(
        sum(e.to_csr() @ x.T for e, x in zip(operation.all_entries(*[(size,)] * count), xs, strict=True)), expected.T
    )
    back = operation.adjoint(y, *[(size,)] * count)
    assert np.sum(expected * y) == sum(np.sum(b * x) for b, x in zip(back, xs, strict=True))


def test_weighted_sum_refuses_other_inputs():
    with pytest.raises(ValueError, match=r"expected 2 inputs of one shape, got \[\(1, 3\), \(1, 4\)\]"):
        WeightedSum([1, 2]).out_shape((1, 3), (1, 4))


@every_operation
@given(data=st.data())
def test_repr_shows_no_weights(info, data):
    operation, _ = data.draw(info.draw())
    assert repr(operation).startswith(type(operation).__name__ + "(")
    assert len(repr(operation)) < 200
    assert "array" not in repr(operation)
