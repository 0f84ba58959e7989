"""Theorem 3.1 step by step: the W and B of each layer, computed from those of the layers before it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from linalg_cnn.affine import AffineMap
from linalg_cnn.display.colors import PAPER
from linalg_cnn.display.entries import flat
from linalg_cnn.display.equations import vector_picture
from linalg_cnn.display.explorers import Explorer
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.networks import network_picture
from linalg_cnn.display.picture import TIMES, Picture, side_by_side, sign, stacked
from linalg_cnn.display.words import clause, plain
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.resample import ResampleTo
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.types import size_of

MOST_ENTRIES = 36
"""Largest number of entries of a layer that is drawn."""


def explore_composition(network: SkipNetwork) -> Explorer:
    r"""Return an explorer that composes a network layer by layer, which is the proof of theorem 3.1.

    A slider chooses the layer. The picture shows the network up to this layer i and the two equations of the theorem
    with their matrices::

        W^(i) = A^(i) ( sum_k t^(k,i-1) R^(k,i-1) W^(k) )
        B^(i) = A^(i) ( sum_k t^(k,i-1) R^(k,i-1) B^(k) ) + b^(i)

    A^(i) and b^(i) are the matrix and the bias of layer i, padding included.

    Parameters
    ----------
    network : SkipNetwork
        A network of linear layers with numbers, of at most 36 entries each.

    Raises
    ------
    TypeError
        If a layer is piecewise linear or holds sympy expressions.
    ValueError
        If a layer has more entries.

    Examples
    --------
    >>> from linalg_cnn import Conv
    >>> network = SkipNetwork((1, 2), [Conv([[[2.0]]]), Conv([[[1.0, -1.0]]])], {(0, 1): 0.5, (1, 1): 0.5})
    >>> explorer = explore_composition(network)
    >>> print(explorer.picture(layer=2).alt.replace(". ", ".\n"))
    Layer 2, Conv: W^(2) is A^(2) times the sum of 0.5 times W^(0) and 0.5 times W^(1).
    W^(2) is a matrix of size 1 x 2, coloured by value.
    Row 0 has 1.5 in column 0, -1.5 in column 1.
    B^(2) is the vector (0).
    """
    for number, shape in enumerate(network.shapes):
        if size_of(shape) > MOST_ENTRIES:
            raise ValueError(f"network: expected at most {MOST_ENTRIES} entries per layer, got f^({number}) of {shape}")
    maps = [_composed(network, depth) for depth in range(len(network.layers) + 1)]
    if maps[-1].symbolic:
        raise TypeError("network: expected a network of numbers, got sympy expressions")
    limit = max(float(abs(map_.W).max()) for map_ in maps)

    def draw(layer: int) -> Picture:
        return _step(network, maps, layer, limit) if layer else _first_step(maps[0], limit)

    return Explorer(draw, {"layer": range(len(maps))}, start={"layer": 1})


class _Term(NamedTuple):
    """A summand of a layer's input: weight times R^(k,i-1) f^(k)."""

    k: int
    weight: float
    resampled: bool
    map_: AffineMap

    def drawn(self, letter: str, picture: Picture) -> list[Picture | str]:
        """Return the weight, unless it is 1, and a picture of W or B."""
        factor = [] if self.weight == 1 else [sign(plain(self.weight), 16)]
        return [*factor, picture.captioned(("R " if self.resampled else "") + _name(letter, self.k))]

    def in_words(self) -> str:
        """Return the term of the sum for W."""
        factor = "" if self.weight == 1 else f"{plain(self.weight)} times "
        return f"{factor}{'the resampled ' if self.resampled else ''}W^({self.k})"


def _composed(network: SkipNetwork, depth: int, *more: Operation) -> AffineMap:
    """Return f^(depth), followed by further operations, as one map."""
    layers = [*network.layers[:depth], *more]
    if not layers:
        size = size_of(network.in_shape)
        return AffineMap(np.eye(size), np.zeros(size))
    return _first_layers(network, depth, layers).compose()


def _first_layers(network: SkipNetwork, depth: int, layers: Sequence[Any]) -> SkipNetwork:
    """Return a network of some layers with the skips among the first ``depth`` ones."""
    weights = {(k, j): weight for (k, j), weight in network.skip_weights.items() if j < depth}
    return SkipNetwork(network.in_shape, layers, weights, network.resample)


def _terms(network: SkipNetwork, maps: Sequence[AffineMap], i: int) -> list[_Term]:
    """Return the terms of the input of layer i."""
    terms, goal = [], network.shapes[i - 1]
    for (k, j), weight in sorted(network.skip_weights.items()):
        if j == i - 1 and weight != 0:
            resampled = network.shapes[k] != goal
            map_ = _composed(network, k, ResampleTo(goal, network.resample)) if resampled else maps[k]
            terms.append(_Term(k, weight, resampled, map_))
    return terms


def _first_step(map_: AffineMap, limit: float) -> Picture:
    """Return the picture of the input: W^(0) is the identity."""
    identity = _matrix(map_.W, limit)
    whole = side_by_side(sign(_name("W", 0)), "=", identity, alt=f"The input x itself: W^(0) is {clause(identity.alt)}")
    return whole.captioned(f"the input itself: {_name('f', 0)}(x) = x")


def _step(network: SkipNetwork, maps: Sequence[AffineMap], i: int, limit: float) -> Picture:
    """Return the picture of layer i: the network up to it, and the equations of its W and B."""
    layer, terms = cast(Operation, network.layers[i - 1]), _terms(network, maps, i)
    goal = network.shapes[i - 1]
    A = matrix_picture(layer.matrix(goal), color="value").captioned(_name("A", i))

    def equation(letter: str, left: Picture, pictures: Sequence[Picture], more: Sequence[Picture | str]) -> Picture:
        inside: list[Picture | str] = []
        for term, picture in zip(terms, pictures, strict=True):
            inside += ["+"] * bool(inside) + term.drawn(letter, picture)
        if len(inside) > 1:
            inside = ["(", *inside, ")"]
        return side_by_side(left.captioned(_name(letter, i)), "=", A, TIMES, *inside, *more, gap=9)

    W, B = _matrix(maps[i].W, limit), _column(maps[i].B)
    equations = [equation("W", W, [_matrix(term.map_.W, limit) for term in terms], [])]
    if any(map_.B.any() for map_ in maps):
        bias = layer.bias_vector(goal)
        more: list[Picture | str] = [] if bias is None else ["+", _column(bias).captioned(_name("b", i))]
        equations.append(equation("B", B, [_column(term.map_.B) for term in terms], more))
    sum_of = "the sum of " if len(terms) > 1 else ""
    words = f"W^({i}) is A^({i}) times {sum_of}{' and '.join(term.in_words() for term in terms)}"
    return stacked(
        network_picture(_first_layers(network, i, network.layers[:i])),
        *equations,
        gap=20,
        alt=f"Layer {i}, {type(layer).__name__}: {words}. W^({i}) is {clause(W.alt)} B^({i}) is {clause(B.alt)}",
    )


def _matrix(matrix: Any, limit: float) -> Picture:
    return matrix_picture(matrix, color="value", limit=limit)


def _column(values: Any) -> Picture:
    entries = flat(values)
    return vector_picture(entries, [PAPER] * len(entries))


def _name(letter: str, i: int) -> str:
    """Return a letter with the number of its layer.

    Examples
    --------
    >>> _name("W", 12)
    'W⁽¹²⁾'
    """
    return letter + "⁽" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(i)) + "⁾"
