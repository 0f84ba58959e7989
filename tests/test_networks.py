"""Functions of a graph take whatever holds one, and say in the same words what they take."""

import re

import numpy as np
import pytest

from linalg_cnn import (
    AffineGraph,
    Dense,
    PiecewiseGraph,
    ReLU,
    SkipNetwork,
    compose,
    region,
    segment,
    slice_regions,
)
from linalg_cnn.display import local_maps_picture
from linalg_cnn.tropical import tropical_form

BENT = SkipNetwork((2,), [Dense([[1.0, 1.0], [1.0, -1.0]]), ReLU()])
STRAIGHT = SkipNetwork((2,), [Dense([[1.0, 1.0], [1.0, -1.0]])])
HOLDS_ONE = "or a network that holds one, such as a SkipNetwork"

OF_PIECES = {
    "region": lambda graph: region(graph, [1.0, 2.0]).walls()[0],
    "segment": lambda graph: segment(graph, [-1.0, 0.0], [1.0, 0.5]).values,
    "slice_regions": lambda graph: slice_regions(graph, [-1.0, -1.0], [2.0, 0.0], [0.0, 2.0]).coefficients,
    "local_maps_picture": lambda graph: np.array(local_maps_picture(graph, [[1.0, 2.0]]).alt),
}
of_pieces = pytest.mark.parametrize("call", OF_PIECES.values(), ids=OF_PIECES)


class Holder:
    """Something else that holds a graph."""

    graph = BENT.graph


@of_pieces
@pytest.mark.parametrize("network", [BENT, Holder()], ids=["skip network", "holder"])
def test_what_holds_a_piecewise_graph_stands_for_it(call, network):
    np.testing.assert_array_equal(call(network), call(BENT.graph))


@of_pieces
@pytest.mark.parametrize(
    ("network", "given"),
    [
        (None, "NoneType"),
        ("net", "str"),
        (AffineGraph((2,)), "AffineGraph"),
        (STRAIGHT, "SkipNetwork, which holds an AffineGraph"),
        (ReLU(), "ReLU"),
    ],
)
def test_other_things_than_piecewise_graphs_are_refused_in_the_same_words(call, network, given):
    expected = (
        f"graph: expected a PiecewiseGraph, {HOLDS_ONE}, got {given}; gpu.trace(module, in_shape, piecewise=True)"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(expected)} makes a PiecewiseGraph$"):
        call(network)


@pytest.mark.parametrize(
    ("network", "given"),
    [
        (None, "NoneType"),
        (
            PiecewiseGraph((2,)),
            "PiecewiseGraph; a PiecewiseGraph is affine around each input x only: compose its .at(x)",
        ),
        (
            BENT,
            "SkipNetwork, which holds a PiecewiseGraph; a PiecewiseGraph is affine around each input x only: compose "
            "its .at(x)",
        ),
    ],
)
def test_what_compose_does_not_take(network, given):
    expected = f"network: expected an AffineGraph, {HOLDS_ONE}, got {given}"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        compose(network)


def test_tropical_forms_are_of_both_kinds():
    for network in (BENT, Holder(), STRAIGHT):
        F, G = tropical_form(network)
        assert (F.evaluate([1, 3]) - G.evaluate([1, 3])).tolist() == network.graph([1.0, 3.0]).tolist()
    expected = f"graph: expected a PiecewiseGraph or an AffineGraph, {HOLDS_ONE}, got int"
    with pytest.raises(TypeError, match=f"^{re.escape(expected)}$"):
        tropical_form(3)


def test_the_layers_of_a_skip_network_may_come_from_a_generator():
    network = SkipNetwork((2,), (layer for layer in BENT.layers))
    assert network.layers == BENT.layers
    assert network([1.0, 2.0]).tolist() == BENT([1.0, 2.0]).tolist()
