"""The laws of AffineMap, in its three kinds, and its file."""

import json
import os
import stat

import numpy as np
import pytest
import safetensors.numpy
import scipy.sparse
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from operations.row import integers

from linalg_cnn import AffineMap
from linalg_cnn.files import write_atomically
from linalg_cnn.map_file import _digest

a, b, x, y = sympy.symbols("a b x y")
KINDS = {
    "dense": lambda W, B: AffineMap(W, B),
    "sparse": lambda W, B: AffineMap(scipy.sparse.csr_array(W), B),
    "sympy": lambda W, B: AffineMap(sympy.Matrix(W.astype(int).tolist()), sympy.Matrix(B.astype(int).tolist())),
}
both_kinds = pytest.mark.parametrize(("left", "right"), [(p, q) for p in KINDS for q in KINDS])


def numbers(affine):
    W = affine.W.toarray() if affine.sparse else np.array(affine.W.tolist(), dtype=float)
    return W, np.array(affine.B.tolist(), dtype=float).ravel()


@both_kinds
@settings(max_examples=20)  # of each of the nine pairs
@given(data=st.data())
def test_laws(left, right, data):
    m, n, k = (data.draw(st.integers(1, 4)) for _ in range(3))
    W1, B1, W2, B2 = (integers(data.draw, shape) for shape in [(m, n), (m,), (m, n), (m,)])
    f, g = KINDS[left](W1, B1), KINDS[right](W2, B2)
    W, B = numbers(f + g)
    np.testing.assert_array_equal(W, W1 + W2)
    np.testing.assert_array_equal(B, B1 + B2)
    W, B = numbers(-3 * f)
    np.testing.assert_array_equal(W, -3 * W1)
    np.testing.assert_array_equal(B, -3 * B1)
    V, C = integers(data.draw, (k, m)), integers(data.draw, (k,))
    outer = KINDS[left](V, C)
    W, B = numbers(outer @ g)
    np.testing.assert_array_equal(W, V @ W2)
    np.testing.assert_array_equal(B, V @ B2 + C)
    v = integers(data.draw, (2, 3, n))
    composed = np.array((outer @ g)(v).tolist(), dtype=float)
    assert composed.shape == (2, 3, k)
    np.testing.assert_array_equal(composed, np.array(outer(g(v)).tolist(), dtype=float))
    np.testing.assert_array_equal(composed, (v @ W2.T + B2) @ V.T + C)


def test_a_symbolic_map():
    f = AffineMap([[a, 1], [0, b]], [b, 0])
    assert f.symbolic
    assert not f.sparse
    assert f(sympy.Matrix([x, y])) == sympy.Matrix([a * x + y + b, b * y])
    assert f([x, 2]).tolist() == [a * x + 2 + b, 2 * b]
    assert sympy.Matrix([b**2, 0]) == (b * f).B
    assert (sympy.Rational(1, 2) * AffineMap([[1.0]], [3.0])).B[0] == sympy.Rational(3, 2)
    assert repr(f) == "AffineMap(2 -> 2, sympy)"
    with pytest.raises(ValueError, match=r"x: expected a column of 2 entries, got shape \(1, 2\)"):
        f(sympy.Matrix([[x, y]]))
    with pytest.raises(TypeError, match="expected numbers, got sympy expressions"):
        f.toarray()


def test_what_only_one_side_has_makes_the_map_symbolic():
    assert sympy.Matrix([[1]]) == AffineMap([[1.0]], sympy.Matrix([a])).W
    assert sympy.Matrix([sympy.Rational(1, 2)]) == AffineMap(sympy.Matrix([[a]]), [0.5]).B


def test_kinds_and_dtypes():
    sparse = AffineMap(scipy.sparse.eye_array(3, format="coo", dtype=np.int64), [1, 2, 3])
    assert isinstance(sparse.W, scipy.sparse.csr_array)
    assert sparse.W.dtype == sparse.B.dtype == np.float64
    assert AffineMap(scipy.sparse.csr_array((2, 3)), [0, 0])([1, 1, 1]).tolist() == [0, 0]
    f = AffineMap(np.ones((2, 3), np.float32), np.ones(2, np.float32))
    assert f(np.ones(3, np.float32)).dtype == np.float32
    assert f(np.ones(3, np.uint8)).dtype == np.float64
    assert f.astype(np.float64).W.dtype == np.float64
    assert repr(f) == "AffineMap(3 -> 2, dense float32)"
    assert repr(sparse) == "AffineMap(3 -> 3, sparse float64)"
    assert sparse.toarray().W.tolist() == np.eye(3).tolist()
    assert f.toarray() is f


def test_shapes_are_carried_along():
    inner = AffineMap(np.ones((4, 6)), np.zeros(4), in_shape=(1, 2, 3), out_shape=(4,))
    outer = AffineMap(np.ones((2, 4)), np.zeros(2), out_shape=(2,))
    assert ((outer @ inner).in_shape, (outer @ inner).out_shape) == ((1, 2, 3), (2,))
    assert (inner + inner).in_shape == (2 * inner).in_shape == (1, 2, 3)
    assert (inner + AffineMap(np.ones((4, 6)), np.zeros(4))).in_shape is None
    with pytest.raises(ValueError, match=r"in_shape: expected 6 entries in all as W has, got \(1, 7\)"):
        AffineMap(np.ones((4, 6)), np.zeros(4), in_shape=(1, 7))


@pytest.mark.parametrize(
    ("W", "B", "error", "message"),
    [
        (np.ones((2, 3)), np.ones(3), ValueError, r"B: expected 2 entries for W of shape \(2, 3\), got 3"),
        (np.ones(3), np.ones(3), ValueError, r"W: expected 2 axes, got shape \(3,\)"),
        (np.ones((2, 3)), np.ones((2, 1)), ValueError, r"B: expected 1 axes, got shape \(2, 1\)"),
        (np.full((1, 1), np.nan), [0], ValueError, "W: expected finite entries, got nan"),
        (scipy.sparse.csr_array([[np.inf]]), [0], ValueError, "W: expected finite entries, got inf"),
        (np.ones((1, 1), np.float16), [0], TypeError, "W: .* got dtype float16"),
        ([[1j]], [0], TypeError, "W: .* got dtype complex128"),
        ([[1.0]], ["0"], TypeError, "B: .* got dtype <U1"),
        (np.ones((0, 3)), [], ValueError, "W: expected at least one entry"),
    ],
)
def test_bad_maps(W, B, error, message):
    with pytest.raises(error, match=message):
        AffineMap(W, B)


def test_bad_operands():
    f, g = AffineMap(np.ones((2, 3)), np.ones(2)), AffineMap(np.ones((2, 2)), np.ones(2))
    with pytest.raises(ValueError, match="expected the inner map to give 3 entries, got 2"):
        f @ g
    with pytest.raises(ValueError, match=r"expected maps of one size, got \(2, 3\) and \(2, 2\)"):
        f + g
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 3\), got \(2,\)"):
        f([1, 2])
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 3\), got \(\)"):
        f(1.0)
    with pytest.raises(TypeError):
        f @ np.ones((3, 3))
    with pytest.raises(TypeError):
        f + 1
    with pytest.raises(TypeError):
        np.ones((2, 2)) @ f
    np.testing.assert_array_equal((np.float64(2) * f).W, 2 * f.W)
    exact = f.exact()
    for factor, error, message in [
        ([1, 2], ValueError, "expected 0 axes"),
        ("2", TypeError, "expected float32"),
        (None, TypeError, "expected float32"),
        (np.nan, ValueError, "expected finite entries"),
        (f, TypeError, "expected float32.* entries of type AffineMap"),
    ]:
        with pytest.raises(error, match=f"^factor: {message}"):
            f * factor
        with pytest.raises(error, match="^factor: expected"):
            exact * factor


def test_a_factor_may_stand_on_either_side():
    f, t = AffineMap([[1.0, 2.0]], [3.0], meta={"pixel_scale": 255}), sympy.Symbol("t")
    assert (f * 2).W.tolist() == (2 * f).W.tolist() == [[2.0, 4.0]]
    assert (f * 2).B.tolist() == [6.0]
    assert (f * 2).meta == f.meta
    assert (f * t).W == (t * f).W == sympy.Matrix([[t, 2 * t]])
    assert (f * np.float64(2)).W.tolist() == [[2.0, 4.0]]


SAVED = AffineMap(np.arange(6.0).reshape(2, 3), [0.5, -0.5], in_shape=(1, 3), out_shape=(2,))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_save_and_load(tmp_path, dtype):
    path = tmp_path / "map.safetensors"
    SAVED.astype(dtype).save(path)
    loaded = AffineMap.load(str(path))
    assert loaded.W.dtype == loaded.B.dtype == dtype
    np.testing.assert_array_equal(loaded.W, SAVED.W)
    np.testing.assert_array_equal(loaded.B, SAVED.B)
    assert (loaded.in_shape, loaded.out_shape) == ((1, 3), (2,))
    with safetensors.safe_open(path, "numpy") as file:
        assert sorted(file.keys()) == ["B", "W"]
        assert file.metadata()["format_version"] == "2"
        assert len(file.metadata()["sha256"]) == 64
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.safetensors"]


def test_a_sparse_map_is_saved_dense_and_a_symbolic_one_not_at_all(tmp_path):
    AffineMap(scipy.sparse.eye_array(2, format="csr"), [1.0, 2.0]).save(tmp_path / "sparse")
    np.testing.assert_array_equal(AffineMap.load(tmp_path / "sparse").W, np.eye(2))
    with pytest.raises(TypeError, match="expected numbers, got sympy expressions"):
        AffineMap([[a]], [b]).save(tmp_path / "symbolic")
    assert not (tmp_path / "symbolic").exists()


def test_every_altered_byte_and_every_truncation_is_refused(tmp_path):
    path = tmp_path / "map.safetensors"
    SAVED.save(path)
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    for content in damaged:
        path.write_bytes(content)
        try:
            survivor = AffineMap.load(path)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - what counts is that nothing else is raised
        else:
            # Only the blanks that fill the header up to a multiple of 8 bytes may change without harm.
            changed = next(i for i in range(len(whole)) if content[i] != whole[i])
            assert whole[changed : changed + 1] == b" "
            assert changed < header
            np.testing.assert_array_equal(survivor.W, SAVED.W)


def test_what_is_not_a_saved_map(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError, match="file"):
        AffineMap.load(path)
    path.write_text("something else entirely")
    with pytest.raises(ValueError, match="file: expected a whole safetensors file, got"):
        AffineMap.load(path)
    path.write_bytes(safetensors.numpy.save({"weight": np.ones(2)}))
    with pytest.raises(ValueError, match=r"expected a saved AffineMap .* got format None with tensors \['weight'\]"):
        AffineMap.load(path)
    tensors = {"W": np.ones((1, 1)), "B": np.ones(1)}
    path.write_bytes(safetensors.numpy.save(tensors, {"format": "linalg_cnn.AffineMap", "format_version": "99"}))
    with pytest.raises(ValueError, match="expected format version 1 or 2, got '99'"):
        AffineMap.load(path)
    path.write_bytes(safetensors.numpy.save(tensors, {"format": "linalg_cnn.AffineMap", "format_version": "1"}))
    with pytest.raises(ValueError, match="the content was altered: expected SHA-256 None, got"):
        AffineMap.load(path)
    with pytest.raises(ValueError, match="expected a file, got a folder"):
        AffineMap.load(tmp_path)


def test_altered_shapes_are_refused(tmp_path):
    """The checksum covers the configuration, too."""
    path = tmp_path / "map.safetensors"
    SAVED.save(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata() | {"in_shape": json.dumps([3, 1])}
    path.write_bytes(safetensors.numpy.save({"W": SAVED.W, "B": SAVED.B}, metadata))
    with pytest.raises(ValueError, match="the content was altered"):
        AffineMap.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "map.safetensors"
    SAVED.save(path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        (2 * SAVED).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.safetensors"]
    with pytest.raises(FileNotFoundError):
        SAVED.save(tmp_path / "missing" / "map.safetensors")


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")
def test_written_files_have_the_usual_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "tamper",
    [
        lambda W, B: (W.reshape(3, 2), np.append(B, 0.0)),
        lambda W, B: (W.view(np.int64), B),
        lambda W, B: (W.T.copy().reshape(W.shape), B),
        lambda W, B: (W, B[::-1].copy()),
    ],
)
def test_tensors_changed_under_the_old_checksum_are_refused(tmp_path, tamper):
    """The same bytes in another shape or dtype are another map."""
    path = tmp_path / "map.safetensors"
    SAVED.save(path)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    W, B = tamper(SAVED.W, SAVED.B)
    path.write_bytes(safetensors.numpy.save({"W": W, "B": B}, metadata))
    with pytest.raises(ValueError, match="the content was altered"):
        AffineMap.load(path)


@pytest.mark.parametrize(
    ("tensors", "extra", "message"),
    [
        ({"W": np.ones((1, 1), np.float16), "B": np.ones(1)}, {}, "W: .* got dtype float16"),
        ({"W": np.full((1, 1), np.nan), "B": np.ones(1)}, {}, "W: expected finite entries"),
        ({"W": np.ones((1, 1)), "B": np.ones(1)}, {"in_shape": "null"}, "not iterable"),
        ({"W": np.ones((1, 1)), "B": np.ones(1)}, {"in_shape": "[2]"}, "in_shape: expected 1 entries"),
    ],
)
def test_a_right_checksum_does_not_make_a_map(tmp_path, tensors, extra, message):
    path = tmp_path / "map.safetensors"
    metadata = {"format": "linalg_cnn.AffineMap", "format_version": "1"} | extra
    metadata["sha256"] = _digest(tensors, metadata)
    path.write_bytes(safetensors.numpy.save(tensors, metadata))
    with pytest.raises(ValueError, match=f"map.safetensors: expected W and B of an affine map, got .*{message}"):
        AffineMap.load(path)


def test_irrational_entries():
    """sympy cannot add sparse DomainMatrices of such entries; the algebra does all the same."""
    root = sympy.sqrt(2)
    f, g = AffineMap([[1, 0]], [root]), AffineMap([[0, root]], [0])
    assert sympy.Matrix([[1, root]]) == (f + g).W
    assert (f + g)(sympy.Matrix([x, y])) == sympy.Matrix([x + root * y + root])
    assert (AffineMap([[root]], [1]) @ f).B[0] == 3


def test_scalars_widen_as_numpys_do():
    f = AffineMap(np.ones((1, 1), np.float32), np.ones(1, np.float32))
    assert (2 * f).W.dtype == (0.1 * f).W.dtype == (np.float32(2) * f).W.dtype == np.float32
    assert (np.float64(0.1) * f).W.dtype == np.float64
    with pytest.raises(TypeError, match="astype: expected numbers, got sympy expressions"):
        (a * f).astype(np.float32)
    for dtype in (int, np.uint8, bool, np.float16, complex):
        with pytest.raises(TypeError, match="dtype: expected float32 or float64, got "):
            f.astype(dtype)


def test_integers_beyond_float64_stay_exact_or_are_refused():
    large = 2**53 + 1
    assert (large * AffineMap([[a]], [0])).W[0] == large * a
    assert AffineMap([[a]], [0])([large])[0] == large * a
    with pytest.raises(ValueError, match=r"W: expected integers up to 2\*\*53, which float64 holds exactly"):
        AffineMap([[large]], [0])


@pytest.mark.parametrize("data", [["1"], [None], [1j], np.array(["__import__('os')"], dtype=object), [[1], [1, 2]]])
@pytest.mark.parametrize("kind", [[[a]], [[2.0]]])
def test_data_that_are_no_numbers_are_refused(kind, data):
    with pytest.raises((TypeError, ValueError), match="x: expected"):
        AffineMap(kind, [0])(data)


def test_exact_data_must_be_finite():
    with pytest.raises(ValueError, match="x: expected finite entries, got nan"):
        AffineMap([[a]], [0])(np.array([np.nan]))
    assert np.isnan(AffineMap([[1.0]], [0])([np.nan]))[0]  # numbers do what numpy's do


def test_an_empty_sparse_map_keeps_its_dtype():
    assert AffineMap(scipy.sparse.csr_array((1, 2), dtype=np.float32), np.zeros(1, np.float32)).W.dtype == np.float32
    with pytest.raises(TypeError, match="W: .* got dtype complex128"):
        AffineMap(scipy.sparse.csr_array((1, 2), dtype=complex), [0])
