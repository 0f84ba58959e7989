"""Index rules and the matrices made from them, judged by loops over small tables of fractions."""

import dataclasses
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse
import sympy
import torch

from linalg_cnn import rules
from linalg_cnn.entries import Entries, count_entries, diagonal_entries, matrix_bytes, row_starts, rule_entries
from linalg_cnn.rules import (
    AxisRule,
    apply_rule,
    apply_rule_adjoint,
    blocks,
    check_table,
    identity_rule,
    join_sources,
    join_taps,
    join_weights,
    tap_slices,
)


def table(in_size, sources, numerators=None, denominators=None):
    """Return a rule of lists; a number that stands for a table of factors is the same for all taps."""
    if numerators is None:
        return AxisRule(in_size, np.array(sources))
    factors = (np.broadcast_to(np.array(numbers), np.shape(sources)) for numbers in (numerators, denominators))
    return AxisRule(in_size, np.array(sources), *factors)


TABLES = {
    "more outputs than taps": table(4, [[0, 1], [1, 3], [-1, 2], [0, -1]]),
    "more taps than outputs": table(4, [[-1, 0, 1, -1, 3], [0, 1, 2, 3, -1]]),
    "some outputs read nothing": table(3, [[-1, -1], [2, -1], [-1, -1]]),
    "some taps read nothing": table(3, [[-1, 2, -1], [-1, 0, -1]]),
    "an input is read twice, by the next tap": table(3, [[0, 0], [1, 2], [2, 2]]),
    "an input is read twice, past a tap that reads nothing": table(3, [[1, -1, 1], [0, 1, 2]]),
    "an input is read twice by one of few outputs": table(4, [[2, -1, 2, 3]]),
    "outputs that read backwards": table(4, [[3, 1], [2, 0], [1, 0]]),
    "one of few outputs that reads backwards": table(4, [[0, 1, 2], [3, -1, 2]]),
    "one output that reads up and down": table(3, [[0, 2, 1]]),
    "the first input is read twice by one output": table(2, [[0, 0, 1]]),
    "an output that copies all inputs in another order": table(3, [[2], [0], [1]]),
    "an input read by unevenly spaced outputs": table(2, [[0], [0], [1], [0]]),
    "thirds": table(3, [[0, 1, 2]], 1, 3),
    "factors that share the denominator": table(3, [[0, 1], [1, 2]], [[1, 3], [3, 1]], 4),
    "factors that share the numerator": table(3, [[0, 1], [1, 2]], 1, [[2, 4], [8, 2]]),
    "factors of taps that read nothing": table(3, [[0, -1], [1, 2], [-1, -1]], [[1, 5], [3, 1], [7, 7]], [4, 2]),
    "a factor of two": table(2, [[0], [1]], 2, 1),
    "a factor of zero": table(2, [[0], [1]], 0, 1),
    "one factor for an input read twice": table(2, [[0, 0], [1, 0]], 3, 2),
}

every_table = pytest.mark.parametrize("rule", TABLES.values(), ids=TABLES.keys())


def exact_matrix(rule):
    """Return the matrix of a rule as an array of Fractions, entry by entry."""
    A = np.full((len(rule.sources), rule.in_size), Fraction(0))
    for (output, tap), source in np.ndenumerate(rule.sources):
        if source >= 0:
            weight = (
                (1, 1) if rule.numerators is None else (rule.numerators[output, tap], rule.denominators[output, tap])
            )
            A[output, source] += Fraction(*map(int, weight))
    return A


def floats(A):
    return A.astype(np.float64)


@every_table
def test_what_a_rule_reads_is_counted_and_found_sorted_by_loops(rule):
    read = [[source for source in row if source >= 0] for row in rule.sources.tolist()]
    assert rule.out_size == len(read)
    assert rule.reads.tolist() == [len(row) for row in read]
    assert rule.reads.dtype == np.int64
    assert rule.is_sorted == all(a < b for row in read for a, b in pairwise(row))
    assert not rule.is_identity


def test_the_identity_is_a_single_tap_without_factors():
    rule = identity_rule(3)
    assert (rule.in_size, rule.sources.tolist()) == (3, [[0], [1], [2]])
    assert rule.sources.dtype == np.int32
    assert rule.is_identity
    x = np.ones((2, 3))
    assert apply_rule(x, 1, rule) is x
    assert apply_rule_adjoint(x, 1, rule) is x
    ones = np.ones((3, 1), int)
    assert not AxisRule(3, rule.sources, 2 * ones, ones).is_identity
    assert not AxisRule(4, rule.sources).is_identity  # the last input is dropped
    assert not AxisRule(3, np.array([[0, -1], [1, -1], [2, -1]])).is_identity


@every_table
@pytest.mark.parametrize("axis", [1, 2])
def test_a_rule_is_applied_as_its_matrix_is(rule, axis):
    """Weights of 1/3 are rounded: everything else is exact."""
    A = floats(exact_matrix(rule))
    rng = np.random.default_rng(0)
    for adjoint, apply in ((False, apply_rule), (True, apply_rule_adjoint)):
        M = A.T if adjoint else A
        x = rng.integers(-3, 4, (2, M.shape[1], 3) if axis == 1 else (2, 3, M.shape[1])).astype(np.float64)
        expected = np.moveaxis(np.moveaxis(x, axis, -1) @ M.T, -1, axis)
        before = x.copy()
        np.testing.assert_allclose(apply(x, axis, rule), expected, rtol=0, atol=1e-14)
        np.testing.assert_array_equal(x, before)
        single = apply(x.astype(np.float32), axis, rule)
        assert single.dtype == np.float32
        np.testing.assert_allclose(single, expected, rtol=0, atol=1e-6)
        tensor = apply(torch.from_numpy(x), axis, rule)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=0, atol=1e-14)


def test_a_factor_that_all_taps_share_is_multiplied_once():
    """Ten times 1/10 is 1. The sum of ten products by 1/10, each rounded, is 0.9999999999999999."""
    mean = table(10, [list(range(10))], 1, 10)
    assert apply_rule(np.ones((1, 10)), 1, mean).tolist() == [[1.0]]


@every_table
def test_a_rule_is_applied_to_sympy_numbers_exactly(rule):
    A = exact_matrix(rule)
    for M, apply in ((A, apply_rule), (A.T, apply_rule_adjoint)):
        x = np.arange(1, M.shape[1] + 1)
        found = apply(np.array([sympy.Integer(int(entry)) for entry in x], object)[np.newaxis], 1, rule)[0]
        assert [Fraction(int(y.p), int(y.q)) for y in map(sympy.sympify, found)] == list(M @ x)


@every_table
@pytest.mark.parametrize("second", list(TABLES)[::3])
@pytest.mark.parametrize("block", [1, 7])
def test_the_matrix_of_two_axes_is_the_kronecker_product(monkeypatch, rule, second, block):
    monkeypatch.setattr(rules, "BLOCK", block)
    both = [rule, TABLES[second]]
    expected = np.kron(*map(exact_matrix, both))
    entries = rule_entries(both)
    assert entries.shape == expected.shape
    assert count_entries(both) == len(entries.values) == (both[0].sources >= 0).sum() * (both[1].sources >= 0).sum()
    assert entries.starts.dtype == entries.columns.dtype == np.int32
    assert entries.values.dtype == np.float64
    raw = scipy.sparse.csr_array((entries.values, entries.columns, entries.starts), shape=entries.shape)
    np.testing.assert_allclose(raw.toarray(), floats(expected), rtol=0, atol=1e-15)
    matrix = entries.to_csr()
    again = scipy.sparse.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
    assert again.has_canonical_format
    np.testing.assert_allclose(matrix.toarray(), floats(expected), rtol=0, atol=1e-15)


@every_table
def test_the_exact_matrix_of_two_axes_is_the_kronecker_product(rule):
    both = [rule, TABLES["factors that share the numerator"]]
    expected = np.kron(*map(exact_matrix, both))
    matrix = rule_entries(both, object).to_sympy()
    assert matrix == sympy.Matrix(*expected.shape, [sympy.Rational(f.numerator, f.denominator) for f in expected.flat])


def test_values_that_cancel_leave_no_entry_in_an_exact_matrix():
    a = sympy.Symbol("a")
    values = np.array([a, -a, a, a], object)
    entries = Entries((2, 2), np.array([0, 2, 4]), np.array([1, 1, 0, 0]), values, canonical=False)
    assert entries.to_sympy() == sympy.Matrix([[0, 0], [2 * a, 0]])
    assert entries.to_sympy().todok() == {(1, 0): 2 * a}


def test_ones_are_sympy_numbers_where_entries_are_exact():
    """The quotient of two Python ints would be a float."""
    values = rule_entries([TABLES["more outputs than taps"]], object).values
    assert all(isinstance(value, sympy.Integer) for value in values)


def test_the_order_that_a_rule_knows_is_not_searched_for_again():
    """Scipy takes the word of the flag: these columns are not in order, and their row has one of them twice."""
    starts, columns, values = np.array([0, 3]), np.array([1, 0, 0]), np.array([1.0, 2.0, 3.0])
    taken = Entries((1, 2), starts, columns, values).to_csr()
    assert taken.has_canonical_format
    assert taken.indices.tolist() == [1, 0, 0]
    summed = Entries((1, 2), starts, columns, values, canonical=False).to_csr()
    assert (summed.indices.tolist(), summed.data.tolist()) == ([0, 1], [5.0, 1.0])


def test_entries_without_a_value_are_refused():
    with pytest.raises(ValueError, match="zip"):
        Entries((1, 2), np.array([0, 2]), np.array([0, 1]), np.array([1.0])).to_sympy()


@every_table
def test_some_rows_of_a_rule_are_the_rows_of_its_matrix(rule):
    numbered = dataclasses.replace(rule, taps=np.arange(rule.sources.size).reshape(rule.sources.shape))
    part = numbered.rows(1, 3)
    np.testing.assert_array_equal(exact_matrix(part), exact_matrix(rule)[1:3])
    np.testing.assert_array_equal(part.taps, numbered.taps[1:3])


@pytest.mark.parametrize(
    ("sizes", "block", "times", "expected"),
    [
        pytest.param((5, 4), 16, 1, [2, 2, 1], id="two rows of 4 x 2 cells to a block"),
        pytest.param((5, 4), 15, 1, [1] * 5, id="not a cell more than a block holds"),
        pytest.param((5, 4), 16, 2, [1] * 5, id="several cells for each cell of the table"),
        pytest.param((5, 4), 1, 1, [1] * 5, id="a row at least"),
        pytest.param((5, 4), 10**6, 1, [5], id="all at once"),
        pytest.param((1, 1, 6), 4, 1, [2, 2, 2], id="along the first axis with several positions"),
        pytest.param((1, 1), 4, 1, [1], id="a single position"),
    ],
)
def test_blocks_hold_as_many_rows_as_fit(monkeypatch, sizes, block, times, expected):
    monkeypatch.setattr(rules, "BLOCK", block)
    all_rules = [
        AxisRule(1, np.zeros((size, 2 if axis == len(sizes) - 1 else 1), int)) for axis, size in enumerate(sizes)
    ]
    found = [[rule.out_size for rule in part] for part in blocks(all_rules, times)]
    along = next((axis for axis, size in enumerate(sizes) if size > 1), 0)
    assert [part[along] for part in found] == expected
    if times == 1:
        assert [[rule.out_size for rule in part] for part in blocks(all_rules)] == found
    assert all(part[:along] + part[along + 1 :] == [*sizes[:along], *sizes[along + 1 :]] for part in found)


def test_a_joint_tap_reads_nothing_if_one_axis_does_and_counts_as_the_ravelled_kernel_does():
    first = AxisRule(3, np.array([[0, -1], [2, 1]]))
    second = AxisRule(4, np.array([[-1, 3, 1]]))
    joint = join_sources([first, second])
    assert np.where(joint < 0, -1, joint).tolist() == [[-1, 3, 1, -1, -1, -1], [-1, 11, 9, -1, 7, 5]]
    assert join_taps([first, second], (2, 3)).tolist() == [[0, 1, 2, 3, 4, 5]]
    numbered = AxisRule(4, np.array([[3, 1]]), taps=np.array([[2, 0]]))
    assert join_taps([first, numbered], (2, 3)).tolist() == [[2, 0, 5, 3]] * 2
    other = AxisRule(3, np.array([[1], [2]]), taps=np.array([[1], [0]]))
    assert join_taps([other, numbered], (2, 3)).tolist() == [[5, 3], [2, 0]]
    small = dataclasses.replace(numbered, taps=numbered.taps.astype(np.int32))
    for kind in (second, small):
        assert join_taps([first, kind], (2, 3)).dtype == np.int32  # half the memory of a large table


def test_evenly_spaced_positions_are_a_slice_which_copies_nothing():
    x = np.arange(10)
    for positions, expected in [([4], slice(4, 5, 1)), ([2, 3, 4], slice(2, 5, 1)), ([1, 4, 7], slice(1, 8, 3))]:
        assert rules._index(np.array(positions), x) == expected
    for positions in ([1, 2, 4], [2, 2], [3, 2, 1]):
        np.testing.assert_array_equal(rules._index(np.array(positions), x), positions)


def test_outputs_that_read_one_input_are_added_in_as_few_groups_as_there_are_of_them():
    groups = rules._without_repeats(np.array([2, 0, -1, 2, 1, 2]))
    assert [group.tolist() for group in groups] == [[0, 1, 4], [3], [5]]


def test_joint_weights_are_rounded_once():
    """3/10 is one division, whereas 1/10 times 3/1 would be rounded twice: 0.30000000000000004."""
    tenth = AxisRule(1, np.array([[0]]), np.array([[1]]), np.array([[10]]))
    three = AxisRule(1, np.array([[0]]), np.array([[3]]), np.array([[1]]))
    plain = AxisRule(1, np.array([[0]]))
    assert join_weights([tenth, plain, three], np.float64).tolist() == [[0.3]]
    assert join_weights([plain, tenth], np.float64).tolist() == [[0.1]]
    assert join_weights([plain, plain], np.float64) is None
    assert join_weights([tenth, plain, three], object).tolist() == [[sympy.Rational(3, 10)]]


@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (2, 1, 1), (1, 3, 2), (5, 0, 1), (1, 9, 9)])
def test_the_slices_of_a_tap_are_where_a_convolution_reads(stride, padding, dilation):
    count = (9 + 2 * padding - 2 * dilation - 1) // stride + 1
    reads = [{(p, q) for p in range(count) if 0 <= (q := p * stride - padding + t * dilation) < 9} for t in range(3)]
    sources = np.full((count, 3), -1)
    for tap, pairs in enumerate(reads):
        for output, source in pairs:
            sources[output, tap] = source
    backwards = AxisRule(9, sources[:, ::-1], taps=np.tile([2, 1, 0], (count, 1)))
    for rule in (AxisRule(9, sources), backwards):
        for tap in range(3):
            found = tap_slices(rule, tap)
            assert (found is None) == (not reads[tap])
            if found is not None:
                outputs, inputs = (range(part.start, part.stop, part.step) for part in found)
                assert set(zip(outputs, inputs, strict=True)) == reads[tap]


def test_too_large_an_index_table_is_refused_before_it_is_built():
    with pytest.raises(MemoryError, match=rf"the index table of {2**60:,} positions and 3 taps needs {24 * 2**60:,} "):
        check_table(2**60, 3)
    with pytest.raises(MemoryError, match=rf"the index table of {2**60:,} positions and 1 taps"):
        identity_rule(2**60)


def test_rules_and_entries_are_frozen_and_compared_by_identity():
    for made, name in ((identity_rule(2), "in_size"), (diagonal_entries(np.ones(2)), "shape")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, None)
        assert made != dataclasses.replace(made)  # arrays have no single truth to compare by


def test_a_row_starts_where_the_products_of_the_counts_before_it_end():
    starts = row_starts([np.array([1, 2]), np.array([3, 0, 1])], np.int32)
    assert starts.tolist() == [0, 3, 3, 4, 10, 10, 12]
    assert starts.dtype == np.int32


@pytest.mark.parametrize(
    ("shape", "count", "expected"),
    [
        pytest.param((3, 5), 4, 4 * (2 + 4) + 4 * 4, id="indices of four bytes"),
        pytest.param((3, 2**31), 4, 4 * (2 + 8) + 4 * 8, id="columns beyond int32"),
        pytest.param((3, 5), 2**31, 2**31 * (2 + 8) + 4 * 8, id="entries beyond int32"),
    ],
)
def test_the_bytes_of_a_matrix_are_those_of_its_three_arrays(shape, count, expected):
    assert matrix_bytes(shape, count, itemsize=2) == expected
