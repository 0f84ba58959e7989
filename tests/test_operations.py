"""Every operation of the table: its matrix, forward and adjoint agree with loops and with torch.

They agree bit for bit, except where weights such as 1/3 are rounded (the table's ``rtol``).
"""

import dataclasses
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operations import OPERATIONS
from operations.row import integers
from torch.nn import functional

import linalg_cnn
import linalg_cnn.ops
from linalg_cnn import (
    AffineGraph,
    AvgPool,
    AxisDense,
    BatchNorm,
    Concatenate,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    Operation,
    Pad,
    PerSlice,
    Reshape,
    Scale,
    Take,
    WeightedSum,
    avg_pool_matrix,
    conv_matrix,
    conv_transpose_matrix,
    pad_matrix,
    resample_matrix,
)
from linalg_cnn.ops import tap_products
from linalg_cnn.types import size_of

FEW = min(30, settings().max_examples // 2)
"""Number of examples where a matrix is not judged entry by entry, or its entries follow from another test's."""

every_operation = pytest.mark.parametrize("info", OPERATIONS, ids=lambda info: info.name)
# of tests with many examples, whose lines are reached in those with a few
unmeasured = pytest.mark.no_cover
# torch warns that an even kernel with padding="same" costs a copy
same_warns = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def draw(data, info):
    operation, *in_shapes = data.draw(info.draw())
    assert type(operation) is info.kind, "a row draws its own operation"
    return operation, in_shapes


def draw_batch(data, in_shapes, smallest=0):
    n = data.draw(st.integers(smallest, 3))
    return [integers(data.draw, (n, *shape)) for shape in in_shapes]


def assert_agree(info, ours, expected):
    assert ours.shape == expected.shape
    scale = 10 * max(1.0, np.abs(expected).max(initial=0))  # every summand is at most 3
    np.testing.assert_allclose(ours, expected, rtol=0, atol=info.rtol * scale)


def full_matrix(operation, in_shapes):
    return np.hstack([matrix.toarray() for matrix in operation.matrices(*in_shapes)])


@unmeasured
@every_operation
@given(data=st.data())
def test_matrix_is_that_of_the_loops(info, data):
    operation, in_shapes = draw(data, info)
    matrices = operation.matrices(*in_shapes)
    for matrix, in_shape in zip(matrices, in_shapes, strict=True):
        assert matrix.dtype == np.float64
        assert matrix.indices.dtype == np.int32
        assert matrix.shape == (size_of(operation.out_shape(*in_shapes)), size_of(in_shape))
        unflagged = scipy.sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        assert unflagged.has_canonical_format  # scipy checks what the library may know from the rule
    entries = operation.all_entries(*in_shapes)
    assert sum(len(part.values) for part in entries) == operation.count_entries(*in_shapes)
    assert sum(matrix.nnz for matrix in matrices) <= operation.count_entries(*in_shapes)
    if len(in_shapes) == 1:
        assert operation.entries(*in_shapes).values.dtype == np.float64  # exact only if asked
    np.testing.assert_array_equal(full_matrix(operation, in_shapes), info.loops(operation, *in_shapes))


@unmeasured
@same_warns
@every_operation
@given(data=st.data())
def test_torch_computes_the_same(info, record_configuration, data):
    operation, in_shapes = draw(data, info)
    record_configuration(info.name, operation, in_shapes)
    xs = draw_batch(data, in_shapes, smallest=1)
    theirs = info.torch(operation, *(torch.from_numpy(x) for x in xs)).numpy()
    assert theirs.shape[1:] == operation.out_shape(*in_shapes)
    assert_agree(info, operation(*xs), theirs)
    columns = [x.reshape(len(x), -1).T for x in xs]
    y = sum(matrix @ x for matrix, x in zip(operation.matrices(*in_shapes), columns, strict=True)).T
    bias = operation.bias_vector(*in_shapes)
    assert_agree(info, (y if bias is None else y + bias).reshape(theirs.shape), theirs)


@unmeasured
@every_operation
@given(data=st.data())
def test_forward_and_adjoint_are_the_matrix(info, data):
    operation, in_shapes = draw(data, info)
    A = full_matrix(operation, in_shapes)
    xs = draw_batch(data, in_shapes)
    n, out_shape = len(xs[0]), operation.out_shape(*in_shapes)
    y = integers(data.draw, (n, *out_shape))
    x = np.hstack([part.reshape(n, size_of(part.shape[1:])) for part in xs])
    forward = operation.forward(*xs)
    assert forward.shape == (n, *out_shape)
    assert_agree(info, forward.reshape(n, len(A)), x @ A.T)
    back = operation.adjoint(y, *in_shapes)
    parts = back if isinstance(back, tuple) else (back,)
    assert [part.shape for part in parts] == [part.shape for part in xs]
    adjoint = np.hstack([part.reshape(n, size_of(part.shape[1:])) for part in parts])
    assert_agree(info, adjoint, y.reshape(n, len(A)) @ A)
    difference = np.sum(forward * y) - np.sum(x * adjoint)  # <A x, y> = <x, A' y>
    assert abs(difference) <= info.rtol * 10 * np.abs(forward * y).sum()


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_tensors_are_carried_as_arrays_are(info, data):
    operation, in_shapes = draw(data, info)
    xs = draw_batch(data, in_shapes, smallest=1)
    y = integers(data.draw, (len(xs[0]), *operation.out_shape(*in_shapes)))
    pushed = operation.push(*map(torch.from_numpy, xs))
    assert_agree(info, pushed.numpy(), operation.push(*xs))
    pulled = operation.pull(torch.from_numpy(y), *in_shapes)
    back = operation.pull(y, *in_shapes)
    assert isinstance(pulled, tuple) == isinstance(back, tuple)
    pairs = zip(pulled, back, strict=True) if isinstance(back, tuple) else [(pulled, back)]
    for tensor, array in pairs:
        assert_agree(info, tensor.numpy(), array)


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_bias_is_the_answer_to_zero(info, data):
    operation, in_shapes = draw(data, info)
    bias = operation.bias_vector(*in_shapes)
    answer = operation(*(np.zeros((1, *shape)) for shape in in_shapes)).ravel()
    np.testing.assert_array_equal(answer, np.zeros_like(answer) if bias is None else bias)


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_exact_twins_have_the_same_entries(info, data):
    operation, in_shapes = draw(data, info)
    if size_of(operation.out_shape(*in_shapes)) * sum(size_of(shape) for shape in in_shapes) > 3000:
        return  # exact matrices are for small examples
    exact = operation.matrices(*in_shapes, exact=True)
    for ours, theirs in zip(exact, operation.matrices(*in_shapes), strict=True):
        assert all(isinstance(entry, sympy.Rational) for entry in ours.flat())
        np.testing.assert_array_equal(np.array(ours.tolist(), dtype=float), theirs.toarray())
    letters = [sympy.symarray(f"x{k}", (1, *shape)) for k, shape in enumerate(in_shapes)]
    twin = operation.exact()
    y = sympy.Matrix(twin.forward(*letters).ravel().tolist())
    columns = [sympy.Matrix(x.ravel().tolist()) for x in letters]
    products = [matrix * x for matrix, x in zip(exact, columns, strict=True)]
    assert (y - sum(products[1:], products[0])).expand().is_zero_matrix


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_float32_data_stay_float32_and_integers_become_float64(info, data):
    operation, in_shapes = draw(data, info)
    xs = draw_batch(data, in_shapes)
    fields = vars(getattr(operation, "operation", operation)).values()  # those of the operation on each slice
    if not any(isinstance(v, np.ndarray) for v in fields):  # a float64 parameter widens
        assert operation(*(x.astype(np.float32) for x in xs)).dtype == np.float32
    whole = operation(*(x.astype(np.int64) for x in xs))
    np.testing.assert_array_equal(whole, operation(*xs))
    assert whole.dtype == np.float64


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_repr_shows_no_weights(info, data):
    operation, _ = draw(data, info)
    assert repr(operation).startswith(type(operation).__name__ + "(")
    assert len(repr(operation)) < 200
    assert "array" not in repr(operation)


@every_operation
@settings(max_examples=3)
@given(data=st.data())
def test_operations_are_frozen_and_can_be_keys(info, data):
    operation, _ = draw(data, info)
    assert operation in {operation}
    for field in dataclasses.fields(operation):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(operation, field.name, None)


@every_operation
def test_bad_input_is_refused(info):
    for attempt, message in info.errors:
        with pytest.raises(ValueError, match=message):
            attempt()


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_too_large_a_matrix_is_refused_before_it_is_built(info, data):
    operation, in_shapes = draw(data, info)
    matrices = operation.matrices(*in_shapes)
    taken = sum(part.nbytes for m in matrices for part in (m.data, m.indices, m.indptr))
    with pytest.raises(
        MemoryError, match=rf"matrix of {type(operation).__name__} with [\d,]+ entries needs [\d,]+ bytes"
    ):
        operation.matrices(*in_shapes, max_bytes=7)
    operation.matrices(*in_shapes, max_bytes=taken + 24 * operation.count_entries(*in_shapes) + 100)


@every_operation
@settings(max_examples=FEW)
@given(data=st.data())
def test_adjoint_refuses_another_shape(info, data):
    operation, in_shapes = draw(data, info)
    out_shape = operation.out_shape(*in_shapes)
    for wrong in [(*out_shape[:-1], out_shape[-1] + 1), (out_shape[0] + 1, *out_shape[1:]), (*out_shape, 1)]:
        with pytest.raises(ValueError, match=r"y: expected shape \(N, .*\), got"):
            operation.adjoint(np.ones((2, *wrong)), *in_shapes)


def concrete(kind):
    """Return the classes of `linalg_cnn` that derive from a class, itself included, and can be instantiated."""
    below = [found for child in kind.__subclasses__() for found in concrete(child)]
    made = kind.__module__.startswith("linalg_cnn.") and not inspect.isabstract(kind)
    return [kind, *below] if made else below


for module in pkgutil.iter_modules(linalg_cnn.ops.__path__, "linalg_cnn.ops."):
    importlib.import_module(module.name)  # those too that linalg_cnn does not export
KINDS = sorted(set(concrete(Operation)), key=lambda kind: kind.__name__)


def test_the_enumeration_finds_operations_of_every_base():
    assert {"Conv", "Pad", "BatchNorm", "Reshape", "WeightedSum", "Constant"} <= {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_operation_has_a_row_an_export_and_a_place_in_the_reference(kind):
    name = kind.__name__
    rows = [row for row in OPERATIONS if row.kind is kind]
    assert rows, f"{name}: expected a row in tests/operations, got none"
    assert getattr(linalg_cnn, name, None) is kind, f"{name}: expected an import in linalg_cnn/__init__.py, got none"
    page = (Path(__file__).parents[1] / "docs" / "api" / "operations.md").read_text(encoding="utf-8")
    assert re.search(rf"^\.\. autoclass:: {name}$", page, re.MULTILINE), (
        f"{name}: expected an entry in docs/api/operations.md, got none"
    )
    overview = (Path(__file__).parents[1] / "docs" / "matrices.md").read_text(encoding="utf-8")
    assert f"`{name}" in overview, f"{name}: expected a row in docs/matrices.md, got none"


SYMBOL = sympy.Symbol("a", positive=True)


@pytest.mark.parametrize(
    ("operation", "dtype"),
    [
        (Pad(1), np.float64),
        (Take([0]), np.float64),  # its table of positions is no parameter
        (Dense(np.ones((1, 1), np.float32)), np.float32),
        (Dense(np.ones((1, 1), np.float32), np.ones(1)), np.float64),
        (Dense([[SYMBOL]]), object),
        (Conv([[[1.0]]], [SYMBOL]), object),
        (BatchNorm(None, None, np.zeros(1, np.float32), np.ones(1, np.float32)), np.float32),
        (BatchNorm(None, None, [0], [1], eps=SYMBOL**2), object),
        (WeightedSum([1, SYMBOL]), object),
    ],
)
def test_dtype_and_symbolic_follow_from_the_parameters(operation, dtype):
    assert operation.dtype == dtype
    assert operation.symbolic == (dtype is object)


def test_exact_keeps_what_has_no_parameters():
    table = Take([0, -1])
    assert table.exact() is table
    assert Scale([0.5]).exact().weight.tolist() == [sympy.Rational(1, 2)]
    assert Scale([0.5]).exact_matrix((1,)) == sympy.Matrix([[sympy.Rational(1, 2)]])


def test_slices_are_told_what_their_operation_is():
    with pytest.raises(TypeError, match="operation: expected an Operation, got int"):
        PerSlice(3)
    graph = AffineGraph((5, 2))
    graph.add(PerSlice(Dense(np.ones((3, 2)))), 0)
    assert graph.multiply_adds == 30
    graph.add(PerSlice(Flatten()), 1)
    assert graph.multiply_adds == 30


def test_an_operation_of_one_input_reads_one_value():
    graph = AffineGraph((2,))
    with pytest.raises(ValueError, match=r"node 0 \(Flatten\): expected to read one value, got \(0, 0\)"):
        graph.add(Flatten(), 0, 0)
    assert graph.add(Concatenate(), 0, 0) == 1


def test_a_merging_operation_of_one_input_has_one_matrix():
    entries = WeightedSum([0.5]).entries((2,))
    assert entries.to_csr().toarray().tolist() == [[0.5, 0.0], [0.0, 0.5]]


@pytest.mark.parametrize("cached", [1, 100])  # one row of pixels to a piece, or several
@pytest.mark.parametrize("channels", [(2, 3), (18, 3), (18, 8)])  # gathered and scattered; and tap by tap
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda rng, n, m: Conv(rng.integers(-3, 4, (n, m, 3, 2)), stride=(2, 1), padding=(1, 2)), (7, 5)),
        (lambda rng, n, m: Conv(rng.integers(-3, 4, (n, m, 2, 3)), dilation=2, padding=1), (6, 5)),
        (lambda rng, n, m: Conv(rng.integers(-3, 4, (2 * n, m, 4)), stride=3, groups=2), (12,)),
        (lambda rng, n, m: ConvTranspose(rng.integers(-3, 4, (m, n, 3, 2)), stride=(2, 3), padding=1), (4, 3)),
        (lambda rng, n, m: Conv(rng.integers(-3, 4, (n, m, 1, 1)), padding=2), (3, 3)),
    ],
    ids=["strides", "dilation", "groups", "transposed", "many positions that nothing is read for"],
)
def test_products_in_pieces_are_those_of_the_matrix(monkeypatch, make, size, channels, cached):
    for name, value in (("CACHED", cached), ("GATHERED", 10 * cached), ("ADJACENT", 1)):
        monkeypatch.setattr(tap_products, name, value)
    rng = np.random.default_rng(0)
    operation = make(rng, *channels)
    in_shape = (channels[1] * operation.groups, *size)
    out_shape, matrix = operation.out_shape(in_shape), operation.matrix(in_shape)
    x, y = rng.integers(-3, 4, (2, *in_shape)), rng.integers(-3, 4, (2, *out_shape))
    np.testing.assert_array_equal(operation.forward(x).reshape(2, -1), (matrix @ x.reshape(2, -1).T).T)
    np.testing.assert_array_equal(operation.adjoint(y, in_shape).reshape(2, -1), (matrix.T @ y.reshape(2, -1).T).T)


@pytest.mark.parametrize("stride", range(1, 8))
@pytest.mark.parametrize("dilation", [1, 2, 3, 4, 6])
def test_transposed_convolutions_of_any_stride_and_dilation(stride, dilation):
    """Which taps read something follows from the common divisor of the two and from an inverse modulo the stride."""
    operation = ConvTranspose([[[1.0, 2.0, 4.0, 8.0, 16.0]]], stride=stride, dilation=dilation, padding=1)
    matrix = operation.matrix((1, 4))
    x = torch.arange(1.0, 5.0, dtype=torch.float64)[None, None]
    kernel = torch.from_numpy(operation.kernel)
    theirs = functional.conv_transpose1d(x, kernel, stride=stride, dilation=dilation, padding=1)
    np.testing.assert_array_equal(matrix @ x.numpy().ravel(), theirs.numpy().ravel())
    np.testing.assert_array_equal(operation(x.numpy()), theirs.numpy())


@pytest.mark.parametrize(
    ("padding", "expected"), [((-1, 2), [1, 2, 3, 1, 2]), ((2, -1), [1, 2, 0, 1, 2]), ((-1, -1), [1, 2])]
)
def test_circular_padding_wraps_around_what_cropping_leaves(padding, expected):
    x = np.arange(4.0)[None, None]
    assert Pad([padding], "circular")(x).ravel().tolist() == expected
    assert functional.pad(torch.from_numpy(x), padding, mode="circular").numpy().ravel().tolist() == expected


def test_padding_by_zeros_may_crop_the_whole_axis():
    x = np.ones((1, 1, 2))
    for padding in [(-2, 1), (1, -2)]:
        assert Pad([padding])(x).tolist() == [[[0.0]]]
        assert functional.pad(torch.from_numpy(x), padding).tolist() == [[[0.0]]]


def test_a_single_pixel_padded_by_more_positions_than_are_built_at_once():
    """With one pixel, the mark of a joint miss is NOTHING itself, and whole blocks of rows have no entry."""
    matrix = conv_matrix([[[2.0, 3.0]]], (1, 1), padding=40_000)
    assert matrix.tocoo().coords[0].tolist() == [39_999, 40_000]
    assert matrix.data.tolist() == [3.0, 2.0]


def test_matrices_without_options_are_torchs_without_options():
    x = torch.arange(12.0, dtype=torch.float64).reshape(1, 2, 6)
    kernel = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(2, 2, 2)
    for matrix, theirs in [
        (conv_matrix(kernel.numpy(), (2, 6)), functional.conv1d(x, kernel)),
        (conv_transpose_matrix(kernel.numpy(), (2, 6)), functional.conv_transpose1d(x, kernel)),
        (avg_pool_matrix((2, 6), 2), functional.avg_pool1d(x, 2)),
        (avg_pool_matrix((2, 6), 4, padding=2), functional.avg_pool1d(x, 4, padding=2)),
        (avg_pool_matrix((2, 6), 4), functional.avg_pool1d(x, 4)),
        (pad_matrix((2, 6), [(2, 1)]), functional.pad(x, (2, 1))),
        (resample_matrix((2, 6), 4), functional.interpolate(x, 4)),
        (resample_matrix((2, 6), 4, "linear"), functional.interpolate(x, 4, mode="linear")),
    ]:
        np.testing.assert_allclose(matrix @ x.numpy().ravel(), theirs.numpy().ravel(), rtol=1e-14)  # 1/3 is rounded


def test_batch_norms_without_weight_and_bias_are_torchs():
    x, mean, variance = np.array([[[5.0, 7.0]]]), np.array([3.0]), np.array([4.0])
    ours = BatchNorm(None, None, mean, variance, eps=0.0)(x)
    assert ours.tolist() == [[[1.0, 2.0]]]
    theirs = functional.batch_norm(*map(torch.from_numpy, (x, mean, variance)), eps=0.0)
    np.testing.assert_array_equal(ours, theirs.numpy())


def test_an_empty_batch_is_reshaped():
    assert Reshape((2, -1)).move(np.zeros((0, 4))).shape == (0, 2, 2)


@pytest.mark.parametrize(
    "make",
    [lambda: Conv([[[1.0]]], None, 1), lambda: ConvTranspose([[[1.0]]], None, 1), lambda: AvgPool(2, 2)],
    ids=["conv", "conv_transpose", "avg_pool"],
)
def test_options_of_a_layer_are_given_by_name(make):
    with pytest.raises(TypeError, match="positional argument"):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda bias: Conv(np.ones((2, 1, 1)), bias),
        lambda bias: ConvTranspose(np.ones((1, 2, 1)), bias),
        lambda bias: Dense(np.ones((2, 3)), bias),
        lambda bias: AxisDense(np.ones((2, 3)), bias),
        lambda bias: Scale(np.ones(2), bias),
    ],
    ids=["conv", "conv_transpose", "dense", "axis_dense", "scale"],
)
def test_repr_tells_whether_there_is_a_bias(make):
    assert "bias=False" in repr(make(None))
    assert "bias=True" in repr(make(np.ones(2)))
