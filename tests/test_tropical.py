"""The tropical form is the network, exactly, and each pruned monomial has a proof."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from operations.piecewise import PIECEWISE

import gpu
import linalg_cnn
from linalg_cnn import (
    Abs,
    AffineGraph,
    AvgPool,
    BatchNorm,
    Clamp,
    Conv,
    Dense,
    Hardsigmoid,
    Hardtanh,
    LeakyReLU,
    MaxOver,
    MaxPool,
    PiecewiseGraph,
    PReLU,
    ReLU,
    ReLU6,
    Scale,
    SkipNetwork,
    Softshrink,
    Take,
    WeightedSum,
    tropical,
)
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.tropical import TropicalPolynomial, prune, tropical_form
from linalg_cnn.tropical.layers import output_sums
from linalg_cnn.tropical.signed_sum import Expansion

F = Fraction


def exact_difference(forms, x):
    return forms[0].evaluate(x) - forms[1].evaluate(x)


def terms(polynomial):
    return {tuple(map(int, m.exponents)): int(m.coefficient) for m in polynomial.monomials}


# Polynomials


def test_of_equal_exponents_the_largest_coefficient_remains_and_equal_polynomials_are_equal():
    f = TropicalPolynomial({(F(1, 2), 0): 1, (0.5, 0): 3, (0, 1): F(1, 3)})
    assert f == TropicalPolynomial({(0, 1): F(1, 3), (sympy.Rational(1, 2), 0): 3})
    assert len({f, f.pruned()}) == 1
    assert f != TropicalPolynomial({(0, 1): F(1, 3)})
    assert f != "a string"
    assert repr(f) == "TropicalPolynomial(2 variables, 2 monomials)"
    assert f.evaluate([2, 0.25]) == 4
    assert TropicalPolynomial({(0.1,): 0}).monomials[0].exponents == (F(0.1),)  # the binary fraction, not 1/10


def test_sums_products_and_powers_are_maxima_sums_and_multiples():
    f = TropicalPolynomial({(1, 0): F(1, 2), (0, 0): 0})
    g = TropicalPolynomial({(0, 2): F(1, 3), (1, 1): -1, (0, 0): 1})
    points = [[F(a, 3), F(b, 2)] for a in range(-4, 5) for b in range(-4, 5)]
    values, others = f.evaluate(points), g.evaluate(points)
    assert (f.plus(g).evaluate(points) == np.maximum(values, others)).all()
    assert (f.times(g).evaluate(points) == values + others).all()
    assert (g.power(F(3, 4)).evaluate(points) == F(3, 4) * others).all()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: TropicalPolynomial([1]), TypeError, "terms: expected a mapping"),
        (lambda: TropicalPolynomial({}), ValueError, "terms: expected at least one monomial"),
        (lambda: TropicalPolynomial({(): 1}), ValueError, "terms: expected as many exponents"),
        (lambda: TropicalPolynomial({(1,): 1, (1, 2): 1}), ValueError, r"at least one, got \[1, 2\]"),
        (lambda: TropicalPolynomial({(1,): float("nan")}), ValueError, "terms: expected finite entries, got nan"),
        (lambda: TropicalPolynomial({(1,): "1"}), TypeError, "terms: expected numbers"),
        (lambda: TropicalPolynomial({(1,): sympy.sqrt(2)}), ValueError, r"terms: expected rational .*got sqrt\(2\)"),
        (lambda: TropicalPolynomial({(1,): 0}).evaluate(1), ValueError, r"x: expected shape \(..., 1\), got \(\)"),
        (lambda: TropicalPolynomial({(1,): 0}).evaluate([1, 2]), ValueError, r"x: expected shape \(..., 1\), got"),
        (lambda: TropicalPolynomial({(1,): 0}).evaluate([float("inf")]), ValueError, "x: expected finite"),
        (lambda: TropicalPolynomial({(1,): 0}).power(0), ValueError, "exponent: expected a positive rational"),
        (
            lambda: TropicalPolynomial({(1,): 0}).plus(TropicalPolynomial({(1, 1): 0})),
            ValueError,
            "other: expected 1 variables, got 2",
        ),
    ],
)
def test_what_is_no_polynomial_or_no_point_is_refused_by_name(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


# Pruning


def assert_proved(pruning, f):
    """Check every witness and every certificate by their definitions alone."""
    everything = f.monomials
    assert {kept.monomial for kept in pruning.kept} | {gone.monomial for gone in pruning.removed} == set(everything)
    assert [kept.monomial for kept in pruning.kept] == list(pruning.polynomial.monomials)

    def value(monomial, x):
        return monomial.coefficient + sum(a * b for a, b in zip(monomial.exponents, x, strict=True))

    for kept in pruning.kept:
        here = value(kept.monomial, kept.witness)
        assert all(here > value(other, kept.witness) for other in everything if other != kept.monomial)
    for gone in pruning.removed:
        assert sum(gone.weights.values()) == 1
        assert all(weight > 0 for weight in gone.weights.values())
        assert set(gone.weights) <= {kept.monomial for kept in pruning.kept}
        for axis in range(f.variables):
            assert sum(w * m.exponents[axis] for m, w in gone.weights.items()) == gone.monomial.exponents[axis]
        assert sum(w * m.coefficient for m, w in gone.weights.items()) >= gone.monomial.coefficient


@settings(max_examples=12)
@given(st.data())
def test_each_monomial_has_a_witness_or_a_certificate(data):
    variables = data.draw(st.integers(1, 4))
    numbers = st.fractions(-3, 3, max_denominator=2)  # few values: many ties, many monomials on faces
    exponents = st.tuples(*[numbers] * variables)
    f = TropicalPolynomial(data.draw(st.dictionaries(exponents, numbers, min_size=1, max_size=12)))
    pruning = prune(f)
    assert pruning.complete
    assert_proved(pruning, f)
    assert f.pruned() == pruning.polynomial
    points = data.draw(st.lists(st.lists(numbers, min_size=variables, max_size=variables), min_size=1, max_size=5))
    assert (f.evaluate(points) == f.pruned().evaluate(points)).all()


def test_a_monomial_on_a_face_is_removed_and_one_a_hair_above_it_is_kept():
    def kept(height):
        return len(TropicalPolynomial({(0, 0): 0, (2, 0): 0, (0, 2): 0, (1, 1): height, (2, 2): -4}).pruned())

    assert (kept(0), kept(F(-1, 10**30)), kept(F(1, 10**12))) == (4, 4, 5)


def test_numbers_beyond_the_range_of_floats_are_pruned_too():
    huge = 10**400
    f = TropicalPolynomial({(0,): 0, (huge,): -1, (2 * huge,): 0})
    pruning = prune(f)
    assert len(pruning.removed) == 1
    assert_proved(pruning, f)


def test_a_monomial_without_a_proof_is_kept_and_said_to_be(monkeypatch):
    f = TropicalPolynomial({(0, 0, 0, 0): 0, (1, 0, 0, 0): -1, (2, 0, 0, 0): 0})
    monkeypatch.setattr(tropical.envelope, "program_proposal", lambda constants, slopes: (None, []))
    pruning = prune(f)
    assert not pruning.complete
    assert pruning.polynomial == f
    assert [kept.witness is None for kept in pruning.kept] == [True, True, False]


def test_a_solver_that_gives_up_proposes_nothing(monkeypatch):
    class GaveUp:
        x = None

    monkeypatch.setattr("scipy.optimize.linprog", lambda *arguments, **options: GaveUp)
    assert tropical.proposals.program_proposal(np.zeros(1), np.zeros((1, 1))) == (None, [])


# The form of a network


def test_one_pixel_and_two_relus_by_hand():
    graph = PiecewiseGraph((1,))
    hidden = graph.add(ReLU(), graph.add(Dense([[1.0], [-2.0]], [0.0, 2.0]), 0))
    graph.add(Dense([[3.0, -1.0]], [5.0]), hidden)
    # 3 max(x, 0) - max(-2 x + 2, 0) + 5 = (5 + max(3 x, 0) + 2 x) - max(2, 2 x)
    positive, negative = tropical_form(graph)
    assert terms(positive.polynomials[0]) == {(5,): 5, (2,): 5}
    assert terms(negative.polynomials[0]) == {(0,): 2, (2,): 0}
    assert repr(positive) == "TropicalMap((1,) -> (1,), 2 monomials)"


def test_a_second_layer_follows_the_recursion_of_the_source():
    """H = A+ F + A- G + b, the new G = A+ G + A- F, the new F = max(H, G): proposition 5.1, computed by hand."""
    graph = PiecewiseGraph((2,))
    first = graph.add(ReLU(), graph.add(Dense([[1.0, -1.0], [2.0, 0.0]], [1.0, 0.0]), 0))
    graph.add(ReLU(), graph.add(Dense([[1.0, -1.0]], [-3.0]), first))
    x, y = (TropicalPolynomial({key: 0}) for key in ((1, 0), (0, 1)))
    one = TropicalPolynomial({(1, 0): 1})
    F1 = [one.plus(y), x.power(2).plus(TropicalPolynomial({(0, 0): 0}))]  # G1 = (y, 0)
    H = F1[0].times(TropicalPolynomial({(0, 0): -3}))
    G = y.times(F1[1])
    positive, negative = tropical_form(graph)
    assert positive.polynomials[0] == H.plus(G)
    assert negative.polynomials[0] == G


ENTRY_FUNCTIONS = [
    (ReLU(), torch.relu),
    (LeakyReLU(0.25), lambda x: torch.nn.functional.leaky_relu(x, 0.25)),
    (PReLU([1.0, -0.25, 2.0]), lambda x: torch.nn.functional.prelu(x, torch.tensor([1.0, -0.25, 2.0]).double())),
    (Abs(), torch.abs),
    (Hardtanh(-0.5, 1.0), lambda x: torch.nn.functional.hardtanh(x, -0.5, 1.0)),
    (ReLU6(), torch.nn.functional.relu6),
    (Softshrink(0.5), torch.nn.functional.softshrink),
    (Clamp(min=-0.5), lambda x: x.clamp(min=-0.5)),
    (Clamp(max=[1.0, 0.0, 0.5]), lambda x: x.clamp(max=torch.tensor([1.0, 0.0, 0.5]).double())),
]


@pytest.mark.parametrize(("operation", "theirs"), ENTRY_FUNCTIONS, ids=lambda value: type(value).__name__)
def test_each_function_of_an_entry_is_torchs_bit_for_bit_on_binary_fractions(operation, theirs):
    W = np.array([[1.0, -2.0], [0.5, 1.0], [-1.5, -0.25]])
    b = np.array([0.5, -1.0, 2.0])
    graph = PiecewiseGraph((2,))
    graph.add(Dense([[1.0, -1.0, 0.5]]), graph.add(operation, graph.add(Dense(W, b), 0)))
    x = np.array([[a / 4, b / 2] for a in range(-12, 13) for b in range(-8, 9)])
    expected = theirs(torch.from_numpy(x @ W.T + b)) @ torch.tensor([[1.0, -1.0, 0.5]]).double().T
    forms = tropical_form(graph)
    assert (exact_difference(forms, x) == expected.numpy()).all()
    assert (exact_difference(tropical_form(graph, prune=True), x) == expected.numpy()).all()
    assert all(m.exponents >= (0, 0) for form in forms for m in form.monomials)


def test_hardsigmoid_has_sixths_and_not_floats():
    graph = PiecewiseGraph((1,))
    graph.add(Hardsigmoid(), 0)
    values = exact_difference(tropical_form(graph), [[-4], [-1], [F(1, 3)], [2], [7]]).ravel()
    assert values.tolist() == [0, F(1, 3), F(5, 9), F(5, 6), 1]


def small(drawn):
    return sum(prod(shape) for shape in drawn[1:]) <= 40


@pytest.mark.parametrize("row", PIECEWISE, ids=lambda row: row.name)
@settings(max_examples=6)
@given(data=st.data())
def test_each_piecewise_operation_of_the_table_has_the_form_of_torchs_function(row, data):
    operation, *in_shapes = data.draw(row.draw().filter(small))
    sizes = [prod(shape) for shape in in_shapes]
    graph, values, start = PiecewiseGraph((sum(sizes),)), [], 0
    for shape, size in zip(in_shapes, sizes, strict=True):
        values.append(graph.add(Take(np.arange(start, start + size).reshape(shape)), 0))
        start += size
    graph.add(operation, *values)
    x = np.random.default_rng(0).integers(-8, 9, (8, sum(sizes))) / 2
    parts = torch.from_numpy(x).split(sizes, dim=1)
    expected = row.torch(operation, *(part.reshape(8, *s) for part, s in zip(parts, in_shapes, strict=True)))
    found = exact_difference(tropical_form(graph), x).astype(float)  # what is exact loses nothing here
    np.testing.assert_allclose(found, expected.numpy(), rtol=row.rtol, atol=row.rtol)


def test_every_piecewise_operation_has_a_form():
    kinds = [kind for kind in vars(linalg_cnn).values() if isinstance(kind, type)]
    piecewise = {kind for kind in kinds if issubclass(kind, PiecewiseOperation)} - {PiecewiseOperation}
    assert piecewise == {row.kind for row in PIECEWISE}
    assert [kind for kind in piecewise if output_sums.dispatch(kind) is output_sums.dispatch(object)] == []


@st.composite
def graphs(draw):
    """Piecewise graphs with skips whose weights are quarters, for which float64 is exact."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def quarters(*shape):
        return rng.integers(-6, 7, shape) / 4

    if draw(st.booleans()):
        graph = PiecewiseGraph((1, 2, 3))
        value = graph.add(Conv(quarters(2, 1, 2, 2), quarters(2)), 0)
        value = graph.add(draw(st.sampled_from([ReLU(), Abs(), LeakyReLU(0.5)])), value)
        value = graph.add(draw(st.sampled_from([MaxPool((1, 2)), AvgPool((1, 2))])), value)
        graph.add(Dense(quarters(2, 2), quarters(2)), value)
        return graph
    graph = PiecewiseGraph((2,))
    width = draw(st.integers(1, 3))
    value = graph.add(Dense(quarters(width, 2), quarters(width)), 0)
    for _ in range(draw(st.integers(1, 2))):
        last = graph.add(draw(st.sampled_from([ReLU(), Abs(), LeakyReLU(-0.5), Clamp(max=0.5)])), value)
        value = graph.add(Dense(quarters(width, width), quarters(width)), last)
        value = graph.add(WeightedSum(quarters(2)), value, last)
    return graph


@settings(max_examples=40)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_the_difference_of_the_two_polynomials_is_the_network(graph, seed):
    x = np.random.default_rng(seed).integers(-12, 13, (6, *graph.in_shape)) / 4
    forms = tropical_form(graph)
    assert (exact_difference(forms, x) == graph(x)).all()
    assert exact_difference(forms, x[0]).shape == graph.out_shape
    assert all(exponent >= 0 for form in forms for monomial in form.monomials for exponent in monomial.exponents)


@settings(max_examples=6)
@given(graphs(), st.integers(0, 2**32 - 1))
def test_pruning_changes_no_value_of_a_network_whether_at_the_end_or_on_the_way(graph, seed):
    x = np.random.default_rng(seed).integers(-12, 13, (6, *graph.in_shape)) / 4
    forms = tropical_form(graph)
    pruned = [form.pruned() for form in forms]
    assert (exact_difference(pruned, x) == graph(x)).all()
    assert all(set(fewer.monomials) <= set(form.monomials) for form, fewer in zip(forms, pruned, strict=True))
    assert (exact_difference(tropical_form(graph, prune=True), x) == graph(x)).all()


def test_the_form_of_a_traced_torch_module_is_the_module():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 2, 2), torch.nn.ReLU(), torch.nn.MaxPool2d((1, 2)), torch.nn.Flatten()]
    module = torch.nn.Sequential(*layers, torch.nn.Linear(4, 3)).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_((8 * parameter).round() / 8)  # eighths, for which float64 is exact
        x = torch.randint(-8, 9, (5, 1, 3, 3)).double() / 4
        expected = module(x).numpy()
    forms = tropical_form(gpu.trace(module, (1, 3, 3), piecewise=True))
    assert (exact_difference(forms, x.numpy()) == expected).all()


def test_a_network_of_the_paper_and_an_affine_graph_have_forms_too():
    layers = [Dense([[1.0, -1.0], [2.0, 1.0]]), ReLU(), Dense([[1.0, 1.0], [0.0, -3.0]])]
    network = SkipNetwork((2,), layers, {(0, 2): 0.5, (2, 2): 0.5})
    x = np.array([[1.0, 2.0], [-3.0, 0.5], [0.25, -4.0]])
    assert (exact_difference(tropical_form(network), x) == network(x)).all()
    graph = AffineGraph((2,))
    graph.add(Dense([[1.0, -2.0]], [3.0]), 0)
    positive, negative = tropical_form(graph)
    assert (terms(positive.polynomials[0]), terms(negative.polynomials[0])) == ({(1, 0): 3}, {(0, 2): 0})


def test_integer_weights_give_integer_exponents_and_shared_units_do_not_multiply():
    graph = PiecewiseGraph((2,))
    shared = graph.add(ReLU(), graph.add(Dense([[1.0, 2.0]]), 0))
    graph.add(WeightedSum([1.0] * 20), *[shared] * 20)  # not 2**20 monomials
    form, zero = tropical_form(graph)
    assert terms(form.polynomials[0]) == {(0, 0): 0, (20, 40): 0}
    assert terms(zero.polynomials[0]) == {(0, 0): 0}


def test_a_maximum_that_one_monomial_always_wins_is_affine_again():
    graph = PiecewiseGraph((2,))
    graph.add(MaxOver(0), graph.add(Dense([[1.0, 3.0], [1.0, 3.0]], [0.0, 1.0]), 0))
    form, zero = tropical_form(graph)
    assert (terms(form.polynomials[0]), terms(zero.polynomials[0])) == ({(1, 3): 1}, {(0, 0): 0})


def wide(units):
    rng = np.random.default_rng(units)
    graph = PiecewiseGraph((2,))
    hidden = graph.add(ReLU(), graph.add(Dense(rng.normal(size=(units, 2)), rng.normal(size=units)), 0), name="act")
    graph.add(Dense(np.ones((1, units))), hidden, name="head")
    return graph


def test_too_many_monomials_are_refused_before_they_are_made():
    message = r"max_monomials: expected at least 1,099,511,627,776, for the monomials of the output, got 100,000"
    with pytest.raises(ValueError, match=message + ".*prune=True"):
        tropical_form(wide(40))
    with pytest.raises(ValueError, match=r"max_monomials: expected at least \d+, .*larger number$"):
        tropical_form(wide(7), max_monomials=32, prune=True)
    assert len(tropical_form(wide(7), max_monomials=60, prune=True)[0].monomials) == 29
    with pytest.raises(ValueError, match="at least 20, for the entries of the matrix of node 0"):
        tropical_form(wide(10), max_monomials=19)


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (Dense([[sympy.sqrt(2), 1]]), r"^layer: expected rational numbers, got sqrt\(2\)"),
        (Dense([[sympy.Symbol("a"), 1]]), "^layer: expected rational numbers, got a"),
        (Scale([1.0, 1.0], [sympy.pi, 1]), "^layer: expected rational numbers, got pi"),
        (LeakyReLU(sympy.Symbol("s")), "^layer: expected rational numbers, got s"),
        (BatchNorm([1, 1], [0, 0], [0, 0], [sympy.Integer(2), 1], eps=0), r"^layer: .*, got sqrt\(2\)/2"),
    ],
)
def test_irrational_and_symbolic_weights_are_refused_with_the_layer(operation, message):
    graph = PiecewiseGraph((2,))
    graph.add(operation, 0, name="layer")
    with pytest.raises(ValueError, match=message):
        tropical_form(graph)


def test_a_batch_norm_of_floats_has_the_float_factors_that_it_computes_with():
    norm = BatchNorm([1.5, -1.0], [0.5, 0.0], [0.25, 3.0], [1.0, 2.0])
    graph = PiecewiseGraph((2,))
    graph.add(norm, 0)
    expected = [F(factor) * 3 + F(shift) for factor, shift in zip(norm.factors, norm.shifts, strict=True)]
    assert exact_difference(tropical_form(graph), [3, 3]).tolist() == expected


def test_arguments_of_the_form_are_checked_by_name():
    graph = AffineGraph((2,))
    with pytest.raises(TypeError, match="graph: expected a PiecewiseGraph or an AffineGraph, or .*, got int"):
        tropical_form(3)
    with pytest.raises(ValueError, match="max_monomials: expected an int of at least 1, got 0"):
        tropical_form(graph, max_monomials=0)
    with pytest.raises(ValueError, match="prune: expected True or False"):
        tropical_form(graph, prune=1)
    with pytest.raises(ValueError, match="layer: expected an operation with a tropical form, got str"):
        output_sums("relu", [], (), Expansion(1, 1, prune=False, where="layer"))
    with pytest.raises(ValueError, match=r"x: expected shape \(..., 2\), got \(3,\)"):
        tropical_form(graph)[0].evaluate([1, 2, 3])
