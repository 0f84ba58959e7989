"""The tropical form of a piecewise-linear graph."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from linalg_cnn.checks import check_bool, check_int
from linalg_cnn.graph import AffineGraph
from linalg_cnn.networks import HasGraph, graph_of
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.tropical.layers import Sums, output_sums
from linalg_cnn.tropical.signed_sum import Expansion, SignedSum
from linalg_cnn.tropical.tropical_map import TropicalMap
from linalg_cnn.types import size_of
from linalg_cnn.wiring import Graph, NodeOf


def tropical_form(
    graph: PiecewiseGraph | AffineGraph | HasGraph, *, max_monomials: int = 100_000, prune: bool = False
) -> tuple[TropicalMap, TropicalMap]:
    """Return a small network as the difference F - G of two tropical polynomials, exactly.

    Parameters
    ----------
    graph : PiecewiseGraph or AffineGraph, or a network that holds one as its ``graph``, such as a SkipNetwork
        Network with rational weights. A float is the binary fraction that it is; so are the factors of a batch norm
        of floats, which are roots.
    max_monomials : int
        Largest number of monomials, or of entries of a layer's matrix, that are made at once. It is checked before
        they are made.
    prune : bool
        Whether to prune each polynomial on the way, by `prune`. This takes longer for each polynomial, but the number
        of monomials no longer doubles with each unit: deeper networks need it.

    Returns
    -------
    F, G : TropicalMap
        Vector-valued if the network has several outputs: a polynomial for each entry of the output, whose variables
        are the entries of the input, both in C order. ``F.evaluate(x) - G.evaluate(x)`` is the network's output at x,
        exactly for rational x. No exponent is negative, and those of a network with integer weights are integers.

    Raises
    ------
    TypeError
        If ``graph`` is not one of these.
    ValueError
        If a weight is irrational or symbolic, or there would be more than ``max_monomials`` monomials. The message
        names the layer.

    Notes
    -----
    A layer with the weights A = A+ - A-, whose parts have no negative entries, is applied to F - G as
    (A+ F + A- G) - (A- F + A+ G), and max(F - G, 0) = max(F, G) - G. Here powers of the same polynomial are collected
    first, so that what occurs in both parts of a difference cancels. The number of monomials still grows exponentially
    with the width and doubly exponentially with the depth, unless they are pruned.

    Source: Zhang, Naitzat and Lim 2018, sections 4 and 5; proposition 5.1 for the recursion.

    Examples
    --------
    >>> from linalg_cnn import Dense, PiecewiseGraph, ReLU
    >>> graph = PiecewiseGraph((2,))
    >>> hidden = graph.add(ReLU(), graph.add(Dense([[1.0, 1.0], [1.0, -1.0]], [0.0, 1.0]), 0))
    >>> output = graph.add(Dense([[1.0, -2.0]]), hidden)
    >>> F, G = tropical_form(graph)
    >>> F, G
    (TropicalMap((2,) -> (1,), 2 monomials), TropicalMap((2,) -> (1,), 2 monomials))
    >>> F.evaluate([3, 0.5]) - G.evaluate([3, 0.5]), graph([3, 0.5])
    (array([Fraction(-7, 2)], dtype=object), array([-3.5]))
    """
    network: Graph[Any] = graph_of("graph", graph, PiecewiseGraph, AffineGraph)
    check_bool("prune", prune)
    expansion = Expansion(size_of(network.in_shape), check_int("max_monomials", max_monomials, 1), bool(prune))

    def step(node: NodeOf[Any], inputs: list[Sums]) -> Sums:
        here = replace(expansion, where=node.name)
        return output_sums(node.operation, inputs, network.input_shapes(node), here)

    start: Sums = [SignedSum(weights={number: Fraction(1)}) for number in range(expansion.variables)]
    outputs: Sums = network.walk(start, step)
    here = replace(expansion, where="the output")
    maps = []
    for parts in ([total.positive() for total in outputs], [total.negative() for total in outputs]):
        here.check_products(parts)
        maps.append(TropicalMap(tuple(map(here.expand, parts)), network.in_shape, network.out_shape))
    return maps[0], maps[1]
