"""Every public callable says which of its arguments is wrong, also if it gets None, a string or an empty array."""

import inspect
import re

import numpy as np
import pytest
import sympy

import linalg_cnn
from linalg_cnn import (
    AffineMap,
    Conv,
    FactoredMap,
    PiecewiseGraph,
    ReLU,
    SkipNetwork,
    compose,
    region,
    shared_skip_weights,
    tropical,
)
from linalg_cnn.tropical import TropicalMap, TropicalPolynomial, Zonotope, newton_vertices, prune, tropical_curve

KERNEL, IMAGE = np.ones((1, 1, 2)), (1, 4)
MAP = AffineMap([[1.0]], [0.0], (1, 1), (1, 1))
RELU = TropicalPolynomial({(0, 0): 0, (1, 0): 0})
GRAPH = PiecewiseGraph((2,))
GRAPH.add(ReLU(), 0)

ARGUMENTS = {
    "AMax": {"axes": 0},
    "AMin": {"axes": 0},
    "AdaptiveAvgPool": {"size": 2},
    "AdaptiveMaxPool": {"size": 2},
    "AffineGraph": {"in_shape": IMAGE},
    "AffineMap": {"W": [[1.0]], "B": [1.0]},
    "AvgPool": {"kernel_size": 2},
    "AxisDense": {"weight": [[1.0]]},
    "AxisSparse": {"rows": [0], "columns": [0], "weight": [1.0], "shape": (1, 1)},
    "BatchNorm": {"weight": [1.0], "bias": [0.0], "running_mean": [0.0], "running_var": [1.0]},
    "Blend": {"weights": [[1.0]]},
    "Constant": {"value": [1.0]},
    "Conv": {"kernel": KERNEL},
    "ConvTranspose": {"kernel": KERNEL},
    "Dense": {"weight": [[1.0]]},
    "FactoredMap": {"factors": [MAP]},
    "MaxOver": {"axis": 0},
    "MaxPool": {"kernel_size": 2},
    "MinOver": {"axis": 0},
    "PReLU": {"weight": 0.5},
    "Pad": {"padding": 1},
    "PerSlice": {"operation": Conv(KERNEL)},
    "Permute": {"order": (1, 0)},
    "PiecewiseGraph": {"in_shape": (2,)},
    "PixelShuffle": {"factor": 2},
    "PixelUnshuffle": {"factor": 2},
    "Resample": {"size": 3},
    "ResampleTo": {"shape": (1, 3)},
    "Reshape": {"shape": (4,)},
    "Scale": {"weight": [1.0]},
    "SkipNetwork": {"in_shape": IMAGE, "layers": [Conv(KERNEL)]},
    "SumOver": {"axes": 0},
    "Take": {"sources": [0]},
    "WeightedSum": {"weights": [1.0]},
    "WeightedSumOver": {"weight": [1.0], "axes": 0},
    "adaptive_avg_pool_matrix": {"in_shape": IMAGE, "size": 2},
    "avg_pool_matrix": {"in_shape": IMAGE, "kernel_size": 2},
    "compose": {"network": SkipNetwork(IMAGE, [Conv(KERNEL)])},
    "conv_matrix": {"kernel": KERNEL, "in_shape": IMAGE},
    "conv_transpose_matrix": {"kernel": KERNEL, "in_shape": IMAGE},
    "equivalent_kernel": {"affine_map": MAP},
    "pad_matrix": {"in_shape": IMAGE, "padding": 1},
    "region": {"graph": GRAPH, "x": [1.0, 2.0]},
    "resample_matrix": {"in_shape": IMAGE, "size": 3},
    "segment": {"graph": GRAPH, "start": [1.0, 2.0], "end": [2.0, 2.0]},
    "shared_skip_weights": {"skips": [(0, 1)], "t": 0.5},
    "slice_regions": {"graph": GRAPH, "origin": [0.0, 0.0], "u": [1.0, 0.0], "v": [0.0, 1.0]},
    "TropicalMap": {"polynomials": [RELU], "in_shape": (2,), "out_shape": (1,)},
    "TropicalPolynomial": {"terms": {(0,): 0}},
    "Zonotope": {"start": (0,), "generators": [(1,)]},
    "newton_vertices": {"polynomial": RELU},
    "prune": {"polynomial": RELU},
    "tropical_curve": {"polynomial": RELU},
    "tropical_form": {"graph": GRAPH},
}
"""Good arguments, of which one at a time is replaced."""

UNCHECKED = {
    "load_map": "its path is refused by Python in the words of `open`",
    **dict.fromkeys(
        ("ClassChange", "Distance", "Edge", "Kept", "Monomial", "Node", "Path", "Piece", "PiecewiseNode", "Pruning",
         "Region", "Removed", "SliceRegion", "SliceRegions", "TropicalCurve", "Wall"),
        "a record, which the library fills",
    ),
}  # fmt: skip

CALLABLES = {
    name: getattr(module, name)
    for module in (linalg_cnn, tropical)
    for name in module.__all__
    if callable(getattr(module, name))
}


def required(function):
    parameters = inspect.signature(function).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in kinds]


def test_every_public_callable_with_a_required_argument_is_in_one_of_the_tables():
    assert sorted([*ARGUMENTS, *UNCHECKED]) == sorted(name for name, value in CALLABLES.items() if required(value))
    assert {name: list(arguments) for name, arguments in ARGUMENTS.items()} == {
        name: required(CALLABLES[name]) for name in ARGUMENTS
    }


TAKES_NONE = {("BatchNorm", "weight"), ("BatchNorm", "bias")}
TAKES_NOTHING = {("SumOver", "axes"), ("shared_skip_weights", "skips"), ("Zonotope", "generators")}
"""Arguments that may be None, and those that may be empty."""


def error_of(function, arguments):
    try:
        function(**arguments)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_wrong_argument_is_refused_by_its_name(name):
    function, good = CALLABLES[name], ARGUMENTS[name]
    function(**good)
    for argument in good:
        for wrong, taken in ((None, TAKES_NONE), ("x", set()), (np.zeros(0), TAKES_NOTHING)):
            error = error_of(function, good | {argument: wrong})
            if (name, argument) in taken:
                assert error is None, (argument, wrong, error)
            else:
                assert isinstance(error, (TypeError, ValueError)), (argument, wrong, error)
                assert re.search(rf"\b{argument}\b", str(error)), (argument, wrong, error)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: shared_skip_weights([1, 2], 0.5), ValueError, "skips: expected different pairs of ints .*, got 1$"),
        (lambda: shared_skip_weights(3, 0.5), TypeError, r"skips: expected pairs of ints \(k, j\), got int"),
        (lambda: FactoredMap(MAP), TypeError, "factors: expected a sequence of AffineMaps, .*, got AffineMap"),
        (
            lambda: compose(SkipNetwork(IMAGE, [Conv(KERNEL)]), to_device="cuda"),
            TypeError,
            "to_device: expected a function of an array, got str",
        ),
        (lambda: RELU.plus(None), TypeError, "other: expected a TropicalPolynomial, got NoneType"),
        (lambda: RELU.times("f"), TypeError, "other: expected a TropicalPolynomial, got str"),
        (lambda: RELU.power("a"), TypeError, "exponent: expected numbers"),
        (lambda: RELU.power([1, 2]), ValueError, r"exponent: expected a positive rational number, got shape \(2,\)"),
        (lambda: RELU.power(sympy.sqrt(2)), ValueError, "exponent: expected rational numbers"),
        (lambda: Zonotope.of(None), TypeError, "polynomial: expected a TropicalPolynomial, got NoneType"),
        (lambda: linalg_cnn.MaxPool(()), ValueError, r"kernel_size: expected an int, or one int per .*, got \(\)"),
    ],
)
def test_other_arguments_that_came_as_raw_errors(call, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        call()


@pytest.mark.parametrize("call", [newton_vertices, prune, tropical_curve])
def test_functions_of_a_polynomial_take_nothing_else(call):
    with pytest.raises(TypeError, match="^polynomial: expected a TropicalPolynomial, got AffineMap$"):
        call(MAP)


def test_a_power_may_be_any_rational_number():
    halves = [RELU.power(half) for half in (0.5, np.float64(0.5), sympy.Rational(1, 2))]
    assert [half.evaluate([3, 0]) for half in halves] == [1.5] * 3


@pytest.mark.parametrize("probability", ["a", None, sympy.Symbol("p"), 1.0, -0.5, np.nan, [0.0]])
def test_the_probability_that_a_nearer_wall_is_missed_is_a_number(probability):
    with pytest.raises(ValueError, match=r"^failure_probability: expected a number in \[0, 1\), got"):
        region(GRAPH, [1.0, 2.0]).distance(failure_probability=probability)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (((RELU,), (3,), (1,)), ValueError, r"polynomials\[0\]: expected 3 variables, one for each .* \(3,\), got 2"),
        (((RELU,), (2,), (2,)), ValueError, r"polynomials: expected 2, one for each entry of out_shape \(2,\), got 1"),
        (((RELU, 3), (2,), (2,)), TypeError, r"polynomials\[1\]: expected a TropicalPolynomial, got int"),
        ((RELU, (2,), (1,)), TypeError, "polynomials: expected a sequence of TropicalPolynomials"),
        (((RELU,), 2, (1,)), ValueError, "in_shape: expected a shape"),
    ],
)
def test_a_tropical_map_is_checked_when_it_is_made(arguments, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        TropicalMap(*arguments)


def test_a_tropical_map_keeps_tuples():
    assert TropicalMap([RELU], [2], [1]) == TropicalMap((RELU,), (2,), (1,))
