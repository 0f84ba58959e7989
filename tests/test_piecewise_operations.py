"""Every piecewise-linear operation of the table: its values, pieces, affine operations and walls, ties included.

Inputs are small integers, so that entries lie on thresholds and tie, and float64 is exact.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import sympy
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operations.piecewise import PIECEWISE
from operations.row import integers

import linalg_cnn
import linalg_cnn.piecewise
from linalg_cnn import Clamp, LeakyReLU, PiecewiseOperation, PReLU, ReLU
from linalg_cnn.types import size_of

every_operation = pytest.mark.parametrize("info", PIECEWISE, ids=lambda info: info.name)
few = settings(max_examples=10)


def draw(data, info, smallest=1):
    operation, *in_shapes = data.draw(info.draw())
    count = data.draw(st.integers(smallest, 3))
    return operation, in_shapes, [integers(data.draw, (count, *shape)) for shape in in_shapes]


def assert_agree(info, ours, theirs):
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * info.rtol)


def flat(xs):
    return np.concatenate([x.reshape(len(x), size_of(x.shape[1:])) for x in xs], axis=1)


def jacobians(info, operation, xs):
    """Return those of torch's gradient, (N, out_size, in_size of all inputs)."""
    found = []
    for sample in range(len(xs[0])):
        parts = [torch.from_numpy(x[sample : sample + 1]) for x in xs]
        jacobian = torch.autograd.functional.jacobian(lambda *v: info.torch(operation, *v).flatten(), tuple(parts))
        found.append(torch.cat([part.flatten(1) for part in jacobian], dim=1).numpy())
    return np.array(found)


@every_operation
@few
@given(data=st.data())
def test_values_are_those_of_torch_and_of_the_loops(info, data):
    operation, in_shapes, xs = draw(data, info)
    ours = operation(*xs)
    assert ours.shape == (len(xs[0]), *operation.out_shape(*in_shapes))
    assert_agree(info, ours, info.torch(operation, *map(torch.from_numpy, xs)).numpy())
    for sample, y in enumerate(ours):
        assert_agree(info, y, info.loops(operation, *(x[sample] for x in xs)).astype(float))


@every_operation
@few
@given(data=st.data())
def test_infinite_entries_and_those_that_are_no_numbers_have_torchs_values(info, data):
    operation, _, xs = draw(data, info)
    slope = getattr(operation, "weight", getattr(operation, "negative_slope", 1))
    assume(np.all(slope != 0))  # by which torch multiplies
    special = np.array([-np.inf, np.inf, np.nan, -2.0, 3.0])
    xs = [special[integers(data.draw, x.shape).astype(int) % len(special)] for x in xs]
    theirs = info.torch(operation, *map(torch.from_numpy, xs)).numpy()
    assert_agree(info, operation(*xs), theirs)
    tensors = [torch.from_numpy(x) for x in xs]
    assert_agree(info, operation.at(operation.pieces(*tensors), *tensors).numpy(), theirs)


@every_operation
@few
@given(data=st.data())
def test_the_affine_operation_is_that_of_torchs_gradient_ties_included(info, data):
    operation, in_shapes, xs = draw(data, info)
    theirs, pieces = jacobians(info, operation, xs), operation.pieces(*xs)
    assert pieces.shape == (len(xs[0]), *operation.piece_shape(*in_shapes))
    for sample, expected in enumerate(theirs):
        affine = operation.affine(pieces[sample], *in_shapes)
        assert affine.out_shape(*in_shapes) == operation.out_shape(*in_shapes)
        assert_agree(info, np.hstack([matrix.toarray() for matrix in affine.matrices(*in_shapes)]), expected)
        own = [x[sample : sample + 1] for x in xs]
        np.testing.assert_allclose(affine(*own), operation(*own), rtol=1e-15, atol=1e-15)


@every_operation
@few
@given(data=st.data())
def test_pieces_of_samples_pass_the_check_and_others_do_not(info, data):
    operation, in_shapes, xs = draw(data, info)
    pieces = operation.pieces(*xs)
    for own in pieces:
        operation.check_pieces(own, *in_shapes)
    stray = pieces[0].astype(int)
    place = data.draw(st.sampled_from(list(np.ndindex(stray.shape))))
    for number in (-1, sum(map(size_of, in_shapes)) + 2):  # more than any operation has pieces or entries
        stray[place] = number
        with pytest.raises(ValueError, match=rf"expected .* got {number}"):
            operation.check_pieces(stray, *in_shapes)


@every_operation
@few
@given(data=st.data())
def test_batches_are_pushed_and_pulled_at_the_pieces_of_each_sample(info, data):
    operation, in_shapes, xs = draw(data, info, smallest=0)
    pieces, count = operation.pieces(*xs), len(xs[0])
    k = data.draw(st.integers(1, 3))
    vectors = [integers(data.draw, (count * k, *shape)) for shape in in_shapes]
    cotangents = integers(data.draw, (count * k, *operation.out_shape(*in_shapes)))
    pushed, pulled = operation.push_at(pieces, *vectors), operation.pull_at(pieces, cotangents, *in_shapes)
    pulled = pulled if isinstance(pulled, tuple) else (pulled,)
    assert pushed.shape == cotangents.shape
    assert [part.shape for part in pulled] == [part.shape for part in vectors]
    for number in range(count * k):
        affine = operation.affine(pieces[number // k], *in_shapes)
        np.testing.assert_array_equal(pushed[number], affine.forward(*(v[number : number + 1] for v in vectors))[0])
        back = affine.adjoint(cotangents[number : number + 1], *in_shapes)
        for part, expected in zip(pulled, back if isinstance(back, tuple) else (back,), strict=True):
            np.testing.assert_array_equal(part[number], expected[0])


@every_operation
@few
@given(data=st.data())
def test_tensors_are_carried_as_arrays_are(info, data):
    operation, in_shapes, xs = draw(data, info)
    tensors, pieces = [torch.from_numpy(x) for x in xs], operation.pieces(*xs)
    theirs = operation.pieces(*tensors)
    np.testing.assert_array_equal(theirs.numpy(), pieces)
    assert_agree(info, operation.at(theirs, *tensors).numpy(), operation(*xs))
    vectors = [np.repeat(x, 2, axis=0) for x in xs]
    pushed = operation.push_at(theirs, *map(torch.from_numpy, vectors))
    assert_agree(info, pushed.numpy(), operation.push_at(pieces, *vectors))
    pulled, back = operation.pull_at(theirs, pushed, *in_shapes), operation.pull_at(pieces, pushed.numpy(), *in_shapes)
    pairs = zip(pulled, back, strict=True) if isinstance(back, tuple) else [(pulled, back)]
    for tensor, array in pairs:
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-15)


@every_operation
@few
@given(data=st.data())
def test_walls_bound_exactly_the_inputs_with_the_same_pieces(info, data):
    operation, in_shapes, xs = draw(data, info)
    pieces = operation.pieces(*xs)[0]
    G, h = operation.walls(pieces, *in_shapes)
    v = flat(xs)
    assert G.shape == (len(h), v.shape[1])
    if G.shape[0]:
        assert set(np.diff(G.indptr)) <= {1, 2}
    assert np.all(G @ v[0] <= h)  # an input is in its own region, ties included
    others = v[0] + integers(data.draw, (8, v.shape[1]), -2, 2)
    ends = np.cumsum([size_of(shape) for shape in in_shapes])[:-1]
    parts = [part.reshape(-1, *s) for part, s in zip(np.split(others, ends, axis=1), in_shapes, strict=True)]
    for other, taken in zip(others, operation.pieces(*parts), strict=True):
        if np.all(G @ other < h):
            np.testing.assert_array_equal(taken, pieces)
        if np.any(G @ other > h):
            assert not np.array_equal(taken, pieces)


@every_operation
@settings(max_examples=5)
@given(data=st.data())
def test_exact_twins_compute_with_rationals(info, data):
    operation, in_shapes, xs = draw(data, info)
    if sum(map(size_of, in_shapes)) > 40:
        return  # exact arithmetic is for small examples
    exact = [np.array([[sympy.Rational(int(v), 2) for v in x[0].ravel()]], object).reshape(1, *x.shape[1:]) for x in xs]
    twin = operation.exact()
    values, pieces = twin(*exact), twin.pieces(*exact)
    assert all(isinstance(value, (sympy.Rational, int)) for value in values.ravel())
    np.testing.assert_array_equal(values[0], info.loops(twin, *(x[0] for x in exact)))
    np.testing.assert_array_equal(pieces, operation.pieces(*(x[:1] / 2 for x in xs)))
    affine = operation.affine(pieces[0], *in_shapes, exact=True)
    np.testing.assert_array_equal(affine.exact()(*exact), values)
    cotangent = values * 0 + 1
    pulled = twin.pull_at(pieces, cotangent, *in_shapes)
    expected = affine.exact().pull(cotangent, *in_shapes)
    pairs = zip(pulled, expected, strict=True) if isinstance(pulled, tuple) else [(pulled, expected)]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


@every_operation
@settings(max_examples=5)
@given(data=st.data())
def test_operations_are_frozen_keep_float32_and_show_no_numbers(info, data):
    operation, _, xs = draw(data, info)
    assert type(operation) is info.kind
    assert operation in {operation}
    for field in dataclasses.fields(operation):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(operation, field.name, None)
    assert repr(operation).startswith(type(operation).__name__ + "(")
    assert len(repr(operation)) < 150
    assert "array" not in repr(operation)
    if not any(isinstance(value, np.ndarray) for value in vars(operation).values()):
        assert operation(*(x.astype(np.float32) for x in xs)).dtype == np.float32
    assert operation(*(x.astype(np.int64) for x in xs)).dtype == np.float64


@every_operation
def test_bad_input_is_refused(info):
    for attempt, message in info.errors:
        with pytest.raises(ValueError, match=message):
            attempt()


for _module in pkgutil.iter_modules(linalg_cnn.piecewise.__path__):
    importlib.import_module(f"linalg_cnn.piecewise.{_module.name}")


def concrete(kind):
    for subclass in kind.__subclasses__():
        if not inspect.isabstract(subclass):
            yield subclass
        yield from concrete(subclass)


KINDS = sorted(set(concrete(PiecewiseOperation)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_piecewise_operation_has_a_row_an_export_and_a_place_in_the_reference(kind):
    name = kind.__name__
    assert [row for row in PIECEWISE if row.kind is kind], f"{name}: expected a row in tests/operations/piecewise.py"
    assert getattr(linalg_cnn, name, None) is kind, f"{name}: expected an import in linalg_cnn/__init__.py, got none"
    docs = Path(__file__).parents[1] / "docs"
    page = (docs / "api" / "operations.md").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. autoclass:: {name}$", page, re.MULTILINE), f"{name}: expected an entry in the reference"
    assert f"`{name}`" in (docs / "matrices.md").read_text(encoding="utf-8"), f"{name}: expected a row in matrices.md"


def test_symbolic_slopes_stay_exact():
    a = sympy.Symbol("a")
    x = np.array([[-2, 3]])
    assert LeakyReLU(a).symbolic
    assert LeakyReLU(a)(x).tolist() == [[-2 * a, 3]]
    assert PReLU([a, a])(x).tolist() == [[-2 * a, 3]]
    assert PReLU([a, a]).affine(np.array([0, 1]), (2,)).exact_matrix((2,)) == sympy.diag(a, 1)
    assert Clamp(max=sympy.Rational(1, 3))(x).tolist() == [[-2, sympy.Rational(1, 3)]]


def test_exact_data_are_computed_with_the_fractions_that_float_parameters_are():
    a = sympy.Symbol("a", positive=True)
    x = np.array([[-a, 3 * a]])
    assert LeakyReLU(0.25)(x).tolist() == [[-a / 4, 3 * a]]
    assert PReLU([0.5, 0.5])(x).tolist() == [[-a / 2, 3 * a]]
    assert Clamp(min=0.5)(np.array([[sympy.Rational(1, 3), 10**30]], object)).tolist() == [
        [sympy.Rational(1, 2), 10**30]
    ]


def test_float_parameters_become_the_fractions_that_they_are():
    assert LeakyReLU(0.25).exact() == LeakyReLU(sympy.Rational(1, 4))
    assert Clamp([0.5], None).exact().min.tolist() == [sympy.Rational(1, 2)]
    relu = ReLU()
    assert relu.exact() is relu
