"""Cuts, linear operators, factored maps."""

import numpy as np
import pytest
import sympy
from scipy.sparse.linalg import aslinearoperator

from linalg_cnn import (
    AffineGraph,
    AffineMap,
    Concatenate,
    Constant,
    Conv,
    Dense,
    FactoredMap,
    WeightedSum,
    compose,
    load_map,
)
from linalg_cnn.chunks import sums_kept
from linalg_cnn.cut import cheapest_cut, split

RNG = np.random.default_rng(0)


def dense(rows, columns):
    return Dense(RNG.normal(size=(rows, columns)), RNG.normal(size=rows))


def two_paths():
    """9 inputs, two paths of widths 2 and 3, and 8 outputs; a constant beside them."""
    graph = AffineGraph((9,))
    a = graph.add(dense(8, 2), graph.add(dense(2, 9), 0))
    b = graph.add(dense(8, 3), graph.add(dense(3, 9), 0))
    c = graph.add(Constant(RNG.normal(size=8)), 0)
    graph.add(WeightedSum([1, 2, 3]), a, b, c)
    return graph


def test_a_cut_may_go_through_several_values():
    graph = two_paths()
    cut = cheapest_cut(graph)
    assert sum(graph.shapes[value][0] for value in cut) == 5
    outer, inner = split(graph, cut)
    whole, product = compose(graph), compose(outer) @ compose(inner)
    assert (compose(outer).W.shape, compose(inner).W.shape) == ((8, 5), (5, 9))
    np.testing.assert_allclose(product.W, whole.W, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(product.B, whole.B, rtol=1e-12, atol=1e-12)


def test_where_there_is_nothing_to_cut():
    assert cheapest_cut(AffineGraph((3,))) is None
    single = AffineGraph((3,))
    single.add(dense(2, 3), 0)
    assert cheapest_cut(single) is None
    around = AffineGraph((3,))  # a skip from the input to the output passes every value by
    around.add(WeightedSum([1, 1]), 0, around.add(dense(3, 1), around.add(dense(1, 3), 0)))
    assert cheapest_cut(around) is None
    constant = AffineGraph((3,))
    constant.add(Concatenate(), constant.add(Constant([1.0]), 0), constant.add(Constant([2.0]), 0))
    assert cheapest_cut(constant) is None
    with pytest.raises(ValueError, match="cut: expected values that every path from the input to the output passes"):
        split(around, (1,))


def test_linear_operator_is_the_matrix_and_its_transpose():
    graph = AffineGraph((2, 4, 3))
    hidden = graph.add(Conv(RNG.normal(size=(3, 2, 3, 3)), RNG.normal(size=3), padding=1), 0)
    graph.add(Conv(RNG.normal(size=(2, 3, 2, 2))), hidden)
    W, operator = compose(graph).W, graph.linear_operator()
    assert operator.shape == W.shape
    x, y = RNG.normal(size=(24, 5)), RNG.normal(size=(12, 5))
    np.testing.assert_allclose(operator @ x, W @ x, atol=1e-12)
    np.testing.assert_allclose(operator.matvec(x[:, 0]), W @ x[:, 0], atol=1e-12)
    np.testing.assert_allclose(operator.rmatvec(y[:, 0]), W.T @ y[:, 0], atol=1e-12)
    np.testing.assert_allclose(operator.H @ y, W.T @ y, atol=1e-12)
    np.testing.assert_allclose(operator.matmat(np.eye(24)), aslinearoperator(W).matmat(np.eye(24)), atol=1e-12)
    symbolic = AffineGraph((1,))
    symbolic.add(Dense([[sympy.Symbol("a")]]), 0)
    with pytest.raises(TypeError, match="linear_operator: expected numbers, got sympy expressions"):
        symbolic.linear_operator()


def test_graphs_can_be_joined():
    first, second = AffineGraph((3,)), two_paths()
    value = first.add(dense(9, 3), 0)
    assert first.extend(second, value) == len(first.nodes)
    alone = compose(second)
    np.testing.assert_allclose(compose(first).W, alone.W @ first.nodes[0].operation.weight, atol=1e-12)
    with pytest.raises(ValueError, match=r"start: expected a value of shape \(9,\), got \(3,\)"):
        first.extend(second, 0)


def test_the_chunks_of_a_composition_are_shown_and_may_be_small():
    graph = two_paths()
    seen = []
    tight = 8 * 9 * 8 + 8 * (graph.largest_state("adjoint") + sums_kept(graph)) * 3
    affine = compose(graph, "adjoint", max_bytes=tight, progress=lambda chunks: seen.extend(chunks) or chunks)
    assert seen == [0, 3, 6]
    np.testing.assert_array_equal(affine.W, compose(graph, "adjoint").W)
    tight = 8 * 9 * 8 + 8 * graph.largest_state("forward") * 4
    np.testing.assert_allclose(compose(graph, "forward", max_bytes=tight).W, affine.W, atol=1e-12)


def test_factored_maps(tmp_path):
    outer = AffineMap(RNG.normal(size=(4, 2)), RNG.normal(size=4), None, (2, 2))
    inner = AffineMap(RNG.normal(size=(2, 6)), RNG.normal(size=2), (1, 6), None)
    both = FactoredMap([outer, inner])
    x = RNG.normal(size=(3, 6))
    np.testing.assert_allclose(both(x), both.product()(x), atol=1e-12)
    assert (both.in_size, both.out_size, both.in_shape, both.out_shape) == (6, 4, (1, 6), (2, 2))
    assert repr(both) == "FactoredMap(4x2 @ 2x6)"
    both.save(tmp_path / "map")
    loaded = load_map(tmp_path / "map")
    np.testing.assert_array_equal(loaded(x), both(x))
    assert (loaded.in_shape, loaded.out_shape) == ((1, 6), (2, 2))
    bare = FactoredMap([AffineMap(outer.W, outer.B), AffineMap(inner.W, inner.B)])
    bare.save(tmp_path / "bare")
    assert load_map(tmp_path / "bare").in_shape is None


def test_what_is_no_factored_map(tmp_path):
    outer, inner = AffineMap(np.ones((4, 2)), np.ones(4)), AffineMap(np.ones((2, 6)), np.ones(2))
    with pytest.raises(ValueError, match="factors: expected at least one, got none"):
        FactoredMap([])
    with pytest.raises(
        ValueError, match=r"factors\[1\]: expected out_size 6, the in_size of the factor before it, got 4"
    ):
        FactoredMap([inner, outer])
    with pytest.raises(TypeError, match=r"factors\[0\]: expected an AffineMap of numbers, got AffineMap\(.*sympy\)"):
        FactoredMap([outer.exact()])
    FactoredMap([outer, inner]).save(tmp_path / "two")
    with pytest.raises(ValueError, match="two: expected a saved AffineMap"):
        AffineMap.load(tmp_path / "two")
    data = bytearray((tmp_path / "two").read_bytes())
    data[-1] ^= 1
    (tmp_path / "flipped").write_bytes(data)
    with pytest.raises(ValueError, match="flipped: the content was altered"):
        load_map(tmp_path / "flipped")
    from linalg_cnn.map_file import write_map_file

    write_map_file(tmp_path / "odd", "linalg_cnn.FactoredMap", {"W7": np.ones((1, 1)), "B7": np.ones(1)}, {})
    with pytest.raises(ValueError, match="odd: expected W and B of each factor of a map"):
        load_map(tmp_path / "odd")
