"""The paper's CNN with skip connections: equation (10), without nonlinearities or with piecewise-linear ones."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import sympy

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_array, check_choice, check_items, check_shape, is_sequence
from linalg_cnn.compose import compose
from linalg_cnn.exact import to_exact
from linalg_cnn.graph import AffineGraph
from linalg_cnn.notebook import Drawn
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.resample import NEAREST_MODES, ResampleTo
from linalg_cnn.ops.weighted_sum import WeightedSum
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.types import Array, Shape

SkipWeights = dict[tuple[int, int], Any]


class SkipNetwork(Drawn):
    r"""A CNN with skip connections, the paper's equation (10), linear unless a layer is piecewise linear.

    With f^(0)(X) = X, layer i computes::

        f^(i)(X) = W^(i) P^(i) ( sum_k  t^(k,i-1) R^(k,i-1) f^(k)(X) ) + B^(i),     k = 0, ..., i - 1

    The layer holds W^(i), its padding P^(i) and B^(i). R^(k,j) resamples f^(k) to the shape of f^(j), along every axis,
    channels included.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).
    layers : iterable of Operation or PiecewiseOperation
        Operations such as `Conv`, `Dense`, `Resample`, `BatchNorm` or `AvgPool`; k counts every entry. With
        piecewise-linear ones such as `ReLU` or `MaxPool`, the network is affine around each input only: `at` and
        `local_maps` give its map there.
    skip_weights : mapping {(k, j): t^(k,j)}, optional
        Weights of f^(k) in the input of layer j + 1, 0 <= k <= j < L. Where no key has this j, t^(j,j) = 1. Otherwise a
        missing weight is 0, and the sum over k must be 1 (to 1e-12; exactly for sympy). Weights may be negative, and
        t^(j,j) may be 0.
    resample : {"nearest", "nearest-exact", "pillow", "scikit-image"}
        Mode of R.

    Attributes
    ----------
    graph : AffineGraph, or PiecewiseGraph if a layer is piecewise linear
        The network as operations wired in order.
    shapes : tuple of tuple of int
        Shapes of f^(0) to f^(L).

    Raises
    ------
    TypeError
        If ``layers`` is not iterable, a layer is neither an Operation nor a PiecewiseOperation, ``skip_weights`` is not
        a mapping, or a weight is neither a number nor a sympy expression.
    ValueError
        If shapes do not chain, a key is out of range, weights do not sum to 1 or are not finite, or a skip joins
        shapes of different rank.

    Examples
    --------
    >>> import numpy as np
    >>> from linalg_cnn import Conv, SkipNetwork
    >>> blur, edge = Conv([[[1.0, 2.0, 1.0]]], padding=1), Conv([[[1.0, -1.0]]])
    >>> net = SkipNetwork((1, 4), [blur, edge], skip_weights={(0, 1): 0.5, (1, 1): 0.5})
    >>> net(np.array([[0.0, 1.0, 0.0, 0.0]]))
    array([[-1. ,  1. ,  0.5]])
    >>> net.compose().W
    array([[ 1. , -1. , -0.5,  0. ],
           [ 0.5,  1. , -1. , -0.5],
           [ 0. ,  0.5,  1. , -1. ]])
    """

    def __init__(
        self,
        in_shape: Shape,
        layers: Iterable[Operation | PiecewiseOperation],
        skip_weights: Mapping[tuple[int, int], Any] | None = None,
        resample: str = "nearest",
    ) -> None:
        self.in_shape = check_shape("in_shape", in_shape)
        self.layers: tuple[Operation | PiecewiseOperation, ...] = check_items("layers", layers, "operations")
        for number, layer in enumerate(self.layers):
            if not isinstance(layer, (Operation, PiecewiseOperation)):
                raise TypeError(
                    f"layers[{number}]: expected an operation such as Conv or Dense, got {type(layer).__name__}"
                )
        if not self.layers:
            raise ValueError("layers: expected at least one layer, got none")
        self.resample = check_choice("resample", resample, NEAREST_MODES)
        self.skip_weights = _check_skip_weights(skip_weights or {}, len(self.layers))
        self.graph, self.shapes = self._wire(len(self.layers))

    def __repr__(self) -> str:
        """Show the layers and the skip connections."""
        layers = ", ".join(type(layer).__name__ for layer in self.layers)
        skips = ", ".join(f"{k}->{j + 1}" for (k, j) in sorted(self.skip_weights) if k != j)
        return f"SkipNetwork({self.in_shape} -> {self.out_shape}: {layers}; skips {skips or 'none'})"

    @property
    def out_shape(self) -> Shape:
        """Shape of the output."""
        return self.graph.out_shape

    def __call__(self, x: Any) -> Array:
        """Evaluate equation (10) layer by layer; this defines the map that the network stands for.

        Parameters
        ----------
        x : array_like (..., *in_shape)

        Returns
        -------
        ndarray (..., *out_shape)

        Raises
        ------
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        """
        return self.graph(x)

    def at(self, x: Any) -> AffineGraph:
        """Return the affine graph that equals the network around an input (*in_shape). See `PiecewiseGraph.at`.

        Examples
        --------
        >>> import numpy as np
        >>> from linalg_cnn import Dense, ReLU, compose
        >>> net = SkipNetwork((1,), [Dense([[1.0], [-1.0]]), ReLU(), Dense([[1.0, 1.0]])])  # the absolute value
        >>> compose(net.at(np.array([-3.0]))).W
        array([[-1.]])
        """
        return self._pieces().at(x)

    def local_maps(self, xs: Any, max_bytes: int | None = None) -> tuple[Array, Array]:
        """Return W (N, out_size, in_size) and B (N, out_size) around each input. See `PiecewiseGraph.local_maps`."""
        return self._pieces().local_maps(xs, max_bytes)

    def _pieces(self) -> PiecewiseGraph:
        if isinstance(self.graph, PiecewiseGraph):
            return self.graph
        graph = PiecewiseGraph(self.in_shape)
        graph.extend(self.graph, 0)
        return graph

    def compose(self, direction: str = "auto", form: str | None = None) -> AffineMap:
        """Return the whole network as one AffineMap: theorem 3.1. See `linalg_cnn.compose`.

        A network with piecewise-linear layers is refused: it has a map around each input, which is that of ``at``.
        """
        return compose(self, direction, form)

    def latent(self, direction: str = "auto", form: str | None = None) -> AffineMap:
        """Return all but the last layer as one AffineMap: the paper's W_latent and B_latent."""
        graph = self._wire(len(self.layers) - 1)[0]
        return compose(cast(AffineGraph, graph), direction, form)  # it refuses a graph with pieces

    def _wire(self, depth: int) -> tuple[AffineGraph | PiecewiseGraph, tuple[Shape, ...]]:
        """Return the first ``depth`` layers as a graph, and the shapes of f^(0) to f^(depth).

        A weight of zero adds no operation.
        """
        piecewise = any(isinstance(layer, PiecewiseOperation) for layer in self.layers[:depth])
        graph = PiecewiseGraph(self.in_shape) if piecewise else AffineGraph(self.in_shape)
        f = [0]  # f[k] is the number of the graph's value that is f^(k)
        for j, layer in enumerate(self.layers[:depth]):
            name = f"layers[{j}] ({type(layer).__name__})"
            goal = graph.shapes[f[j]]
            weights: list[Any] = []
            terms: list[int] = []
            for k in range(j + 1):
                weight = self.skip_weights.get((k, j), 0)
                if weight == 0:
                    continue
                term = f[k]
                if graph.shapes[term] != goal:
                    term = graph.add(ResampleTo(goal, self.resample), term, name=f"skip_weights[{(k, j)}]")
                weights.append(weight)
                terms.append(term)
            if weights != [1]:
                terms = [graph.add(WeightedSum(weights), *terms, name=f"the input of {name}")]
            f.append(graph.add(layer, *terms, name=name))
        return graph, tuple(graph.shapes[value] for value in f)


def _check_skip_weights(given: Mapping[tuple[int, int], Any], depth: int) -> SkipWeights:
    """Return all weights t^(k,j), the implied t^(j,j) = 1 included, as Python floats or sympy expressions.

    Raises
    ------
    TypeError
        If it is not a mapping, or a weight is neither a number nor a sympy expression.
    ValueError
        If a key is out of range, a weight is not finite, or the weights into a layer do not sum to 1.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"skip_weights: expected a mapping {{(k, j): weight}}, got {type(given).__name__}")
    weights: SkipWeights = {}
    for key, value in given.items():
        if not (
            isinstance(key, tuple)
            and len(key) == 2
            and all(isinstance(index, (int, np.integer)) and not isinstance(index, bool) for index in key)
            and 0 <= key[0] <= key[1] < depth
        ):
            raise ValueError(
                f"skip_weights: expected keys (k, j) with 0 <= k <= j < {depth} (the number of layers), got {key!r}"
            )
        k, j = key
        weights[int(k), int(j)] = check_array(f"skip_weights[{(int(k), int(j))}]", value, ndim=0).item()
    for j in range(depth):
        into = {key: weight for key, weight in weights.items() if key[1] == j}
        if not into:
            weights[j, j] = 1.0
            continue
        total: Any
        if any(isinstance(weight, sympy.Expr) for weight in into.values()):
            into = {key: to_exact(np.array(weight, dtype=object)).item() for key, weight in into.items()}
            weights |= into  # floats beside symbols become exact as well
            total = sympy.simplify(sum(into.values()))
            right = total == 1
        else:
            total = sum(into.values())
            right = abs(total - 1) <= 1e-12
        if not right:
            raise ValueError(
                f"skip_weights: expected the weights into layer {j + 1} (the keys (k, {j})) to sum to 1, "
                f"got {total} from {into}"
            )
    return weights


def shared_skip_weights(skips: Iterable[tuple[int, int]], t: Any) -> SkipWeights:
    """Return the weights of a network whose skips all have strength t: equation (23).

    The input of layer j + 1 becomes (1 - t) f^(j) plus t shared equally among the skips into it.

    Parameters
    ----------
    skips : iterable of (k, j)
        Skip connections: f^(k) is added to the input of layer j + 1, k < j.
    t : float in [0, 1], or a sympy expression
        Strength of the skips.

    Returns
    -------
    dict {(k, j): weight}
        Weights for ``SkipNetwork(..., skip_weights=...)``.

    Raises
    ------
    TypeError
        If ``skips`` is not iterable, or t is neither a number nor a sympy expression.
    ValueError
        If t is not in [0, 1], or a skip is no pair of ints, does not have 0 <= k < j or is named twice.

    Examples
    --------
    >>> shared_skip_weights([(1, 2)], 0.25)
    {(1, 2): 0.25, (2, 2): 0.75}
    """
    strength = check_array("t", t, ndim=0).item()
    is_number = not isinstance(strength, sympy.Expr) or strength.is_number
    if is_number and not 0 <= strength <= 1:
        raise ValueError(f"t: expected a number in [0, 1], got {strength}")
    pairs = [tuple(pair) if is_sequence(pair) else pair for pair in check_items("skips", skips, "pairs of ints (k, j)")]
    for pair in pairs:
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        ints = is_pair and all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in pair)
        if not ints or not 0 <= pair[0] < pair[1] or pairs.count(pair) != 1:
            raise ValueError(f"skips: expected different pairs of ints (k, j) with 0 <= k < j, got {pair!r}")
    weights: SkipWeights = {}
    for k, j in pairs:
        weights[k, j] = strength / sum(1 for _, goal in pairs if goal == j)
        weights[j, j] = 1 - strength
    return weights
