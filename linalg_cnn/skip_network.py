"""The paper's CNN with skip connections: equation (10), without nonlinearities or with piecewise-linear ones."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from linalg_cnn.affine import AffineMap
from linalg_cnn.checks import check_choice, check_items, check_shape
from linalg_cnn.compose import compose
from linalg_cnn.graph import AffineGraph
from linalg_cnn.notebook import Drawn
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.resample import NEAREST_MODES, ResampleTo
from linalg_cnn.ops.weighted_sum import WeightedSum
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.skip_weights import check_skip_weights
from linalg_cnn.types import Array, Shape


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
        self.skip_weights = check_skip_weights({} if skip_weights is None else skip_weights, len(self.layers))
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
        TypeError
            If ``x`` holds neither numbers nor sympy expressions.
        ValueError
            If the last axes of ``x`` are not ``in_shape``.
        """
        return self.graph(x)

    def at(self, x: Any) -> AffineGraph:
        """Return the affine graph that equals the network around an input.

        A network of affine layers has the same map around each input.

        Parameters
        ----------
        x : array_like (*in_shape)
            One sample. Where it lies on several pieces of a layer, torch's gradient decides which one counts.

        Returns
        -------
        AffineGraph
            The network with each piecewise-linear layer replaced by its affine operation at the pieces of x, exactly.

        Raises
        ------
        TypeError
            If ``x`` holds neither numbers nor sympy expressions that can be compared.
        ValueError
            If ``x`` does not have the shape ``in_shape``, or an entry is NaN or infinite.

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
        """Return the affine maps that equal the network around each input of a batch.

        Parameters
        ----------
        xs : array_like (N, *in_shape)
        max_bytes : int, optional
            Limit on the memory of the maps and of what is computed at once; half of the machine's memory if not
            given.

        Returns
        -------
        W : ndarray (N, out_size, in_size), float64
            Jacobians at each input, those of torch's gradient where pieces meet.
        B : ndarray (N, out_size), float64

        Raises
        ------
        TypeError
            If the network or ``xs`` hold sympy expressions.
        ValueError
            If ``xs`` does not have the shape (N, *in_shape), an entry is NaN or infinite, or ``max_bytes`` is not an
            int of at least 0.
        MemoryError
            If the maps and the vectors of one input would take more than ``max_bytes``. This is checked before
            anything is computed.

        Examples
        --------
        >>> from linalg_cnn import Dense, ReLU
        >>> net = SkipNetwork((1,), [Dense([[1.0], [-1.0]]), ReLU(), Dense([[1.0, 1.0]])])  # the absolute value
        >>> W, B = net.local_maps([[-3.0], [2.0]])
        >>> W.ravel(), B.ravel()
        (array([-1.,  1.]), array([0., 0.]))
        """
        return self._pieces().local_maps(xs, max_bytes)

    def _pieces(self) -> PiecewiseGraph:
        if isinstance(self.graph, PiecewiseGraph):
            return self.graph
        graph = PiecewiseGraph(self.in_shape)
        graph.extend(self.graph, 0)
        return graph

    def compose(self, direction: str = "auto", form: str | None = None) -> AffineMap:
        """Return the whole network as one AffineMap: theorem 3.1. `linalg_cnn.compose` has further options.

        Parameters
        ----------
        direction : {"auto", "forward", "adjoint"}
            Whether columns of the identity are pushed through the network or rows are pulled back. ``auto`` takes the
            one with fewer vectors; the map is the same.
        form : {"dense", "sparse", "sympy"}, optional
            How W is kept. The default is dense, or sympy for a network with sympy expressions.

        Returns
        -------
        AffineMap
            W of shape (out_size, in_size) and B of shape (out_size,) in float64, or exact sympy matrices.

        Raises
        ------
        TypeError
            If a layer is piecewise linear: there is a map around each input only, that of `at`.
        ValueError
            If ``direction`` or ``form`` is unknown, or ``form`` is not "sympy" for a network with sympy expressions.
        MemoryError
            If W and the vectors on their way would take more than half of the machine's memory. This is checked before
            anything is computed.

        Examples
        --------
        >>> from linalg_cnn import Dense
        >>> composed = SkipNetwork((2,), [Dense([[1.0, 2.0]]), Dense([[10.0]], [3.0])]).compose()
        >>> composed.W, composed.B
        (array([[10., 20.]]), array([3.]))
        """
        return compose(self, direction, form)

    def latent(self, direction: str = "auto", form: str | None = None) -> AffineMap:
        """Return all but the last layer as one AffineMap: the paper's W_latent and B_latent.

        Parameters
        ----------
        direction : {"auto", "forward", "adjoint"}
            Whether columns of the identity are pushed through the network or rows are pulled back. ``auto`` takes the
            one with fewer vectors; the map is the same.
        form : {"dense", "sparse", "sympy"}, optional
            How W is kept. The default is dense, or sympy for a network with sympy expressions.

        Returns
        -------
        AffineMap
            The map from the input to f^(L-1), of shape ``shapes[-2]``; the identity for a network of one layer.

        Raises
        ------
        TypeError
            If a layer before the last is piecewise linear: there is a map around each input only, that of `at`.
        ValueError
            If ``direction`` or ``form`` is unknown, or ``form`` is not "sympy" for a network with sympy expressions.
        MemoryError
            If W and the vectors on their way would take more than half of the machine's memory. This is checked before
            anything is computed.

        Examples
        --------
        >>> from linalg_cnn import Dense
        >>> latent = SkipNetwork((2,), [Dense([[1.0, 2.0]]), Dense([[10.0]], [3.0])]).latent()
        >>> latent.W, latent.B
        (array([[1., 2.]]), array([0.]))
        """
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
