"""`SkipNetwork` as a torch module, and back."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeVar, cast

import numpy as np
import torch
from torch import nn

from gpu.models.agreement import disagreement, images_for
from gpu.models.checks import check_module
from gpu.models.conversion import BATCH_NORM, NearestResample, check_batch, check_plain, to_module, to_operation
from gpu.models.homotopy import SkipJoin, WithSkips
from gpu.models.nonlinearities import Activation, activation_module
from gpu.models.piecewise_layers import operation_of
from gpu.models.sloped import held_slope, is_sloped
from linalg_cnn import Operation, PiecewiseOperation, ResampleTo, SkipNetwork
from linalg_cnn.types import Shape

Given = TypeVar("Given")
Made = TypeVar("Made")


class SkipCNN(WithSkips):
    """The paper's CNN with skip connections, equation (10), as a torch module.

    It is linear with the identity as its activation, which is the default.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one image, (channels, *spatial), with at most three spatial axes.
    layers : sequence of nn.Module
        Modules of one dtype. Affine ones are Conv1d to Conv3d, ConvTranspose, AvgPool, padding, BatchNorm with running
        statistics, ``Sequential(Flatten(), Linear(...))``, `gpu.NearestResample`, and linear Upsample by size.
        Piecewise linear ones are ReLU, LeakyReLU, PReLU, ReLU6, Hardtanh, Hardsigmoid, Softshrink, Threshold with its
        threshold as its value, MaxPool and AdaptiveMaxPool.
    skip_weights : mapping of (int, int) to float, optional
        Weight t^(k,j) of f^(k) in the input of layer j + 1, as in `linalg_cnn.SkipNetwork`. A weight of 0 is kept, so
        that `gpu.set_skip_strength` can change it.
    resample : str
        Mode in which skips between different shapes are resampled; "nearest" by default.
    activation : {"identity", "relu"}
        The activation after every layer but the last, a module for each: ``activations.0``, ``activations.1``, ...

    Raises
    ------
    TypeError
        If ``layers`` are no sequence of modules, or a layer has no counterpart in `linalg_cnn`, for example because it
        is not piecewise linear.
    ValueError
        If the shapes do not chain, the weights do not fit, the layers' dtypes differ, or the activation is unknown.

    Examples
    --------
    >>> layers = [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3)]
    >>> model = SkipCNN((1, 8, 8), layers, skip_weights={(0, 1): 0.5, (1, 1): 0.5})
    >>> model(torch.zeros(4, 1, 8, 8)).shape
    torch.Size([4, 1, 6, 6])
    >>> model.to_network()
    SkipNetwork((1, 8, 8) -> (1, 6, 6): Conv, Conv; skips 0->2)
    """

    def __init__(
        self,
        in_shape: Shape,
        layers: Sequence[nn.Module],
        skip_weights: Mapping[tuple[int, int], float] | None = None,
        resample: str = "nearest",
        *,
        activation: Activation = "identity",
    ) -> None:
        super().__init__()
        given = activation_module(activation)
        if not isinstance(layers, Iterable):
            raise TypeError(f"layers: expected a sequence of modules, got {type(layers).__name__}")
        layers = list(layers)
        for number, layer in enumerate(layers):
            check_module(f"layers[{number}]", layer)
        operations = _each(layers, to_operation)
        self.activations = nn.ModuleList(copy.deepcopy(given) for _ in operations[1:])
        network = SkipNetwork(in_shape, operations, skip_weights, resample)
        if network.graph.symbolic:
            raise TypeError("skip_weights: expected numbers for a torch module, got sympy expressions")
        dtypes = {parameter.dtype for layer in layers for parameter in layer.parameters()}
        if len(dtypes) > 1:
            raise ValueError(f"layers: expected parameters of one dtype, got {sorted(map(str, dtypes))}")
        self.in_shape, self.out_shape = network.in_shape, network.out_shape
        self.resample = resample
        self.layers = nn.ModuleList(layers)
        # layer j + 1 reads f^(j) and the skips from f^(k) for k in sources[j], added up by joins[str(j)]
        self.sources: dict[int, tuple[int, ...]] = {}
        self.joins, self.resamplers = nn.ModuleDict(), nn.ModuleDict()
        self._given = tuple(network.skip_weights)
        self._add_skips(network, next(iter(dtypes), torch.get_default_dtype()))

    def _add_skips(self, network: SkipNetwork, dtype: torch.dtype) -> None:
        """Make the sums of the layers' inputs, and the resampling of the skips that need it."""
        for j, goal in enumerate(network.shapes[:-1]):
            into = {k: weight for (k, layer), weight in network.skip_weights.items() if layer == j != k}
            # there is no resampling between shapes of different rank: the weight of such a skip is 0
            into = {k: weight for k, weight in sorted(into.items()) if len(network.shapes[k]) == len(goal)}
            if not into:
                continue
            self.sources[j] = tuple(into)
            weights = [float(network.skip_weights.get((j, j), 0.0)), *into.values()]
            self.joins[str(j)] = SkipJoin(weights, dtype)
            for k in into:
                if network.shapes[k] != goal:
                    self.resamplers[f"{k}->{j}"] = NearestResample(ResampleTo(goal, self.resample), network.shapes[k])

    @property
    def skip_weights(self) -> dict[tuple[int, int], float]:
        """The present weights t^(k,j), as in `linalg_cnn.SkipNetwork`."""
        weights = {(j, j): 1.0 for j in range(len(self.layers))}
        for j, ks in self.sources.items():
            exact = cast(SkipJoin, self.joins[str(j)]).exact_numbers()
            weights |= dict(zip([(j, j), *((k, j) for k in ks)], exact, strict=True))
        return {key: weights.get(key, 0.0) for key in (*self._given, *weights) if key in self._given or weights[key]}

    def skip_parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the containers of the sums and of the resampling."""
        yield "joins", self.joins
        yield "resamplers", self.resamplers

    def drop_skips(self) -> None:
        """Remove the sums and the resampling, which leaves a chain of layers."""
        self.sources, self._given = {}, ()
        self.joins, self.resamplers = nn.ModuleDict(), nn.ModuleDict()

    @classmethod
    def from_network(cls, network: SkipNetwork) -> Self:
        """Return a network as a torch module in evaluation mode, float32 if all its parameters are, float64 otherwise.

        Raises
        ------
        TypeError
            If ``network`` is not a SkipNetwork, holds sympy expressions, or has a layer without a counterpart in torch.
        ValueError
            If there are more than three spatial axes, the most that torch's layers have.
        """
        if not isinstance(network, SkipNetwork):
            raise TypeError(f"network: expected a SkipNetwork, got {type(network).__name__}")
        if network.graph.symbolic:
            raise TypeError("network: expected numbers, got sympy expressions, which torch cannot hold")
        arrays = [value for layer in network.layers for value in vars(layer).values() if isinstance(value, np.ndarray)]
        dtype = torch.float32 if arrays and all(a.dtype == np.float32 for a in arrays) else torch.float64
        pairs = zip(network.layers, network.shapes[:-1], strict=True)
        layers = [module.to(dtype) for module in _each(pairs, lambda pair: to_module(*pair))]
        return cls(network.in_shape, layers, network.skip_weights, network.resample).eval()

    def to_network(self) -> SkipNetwork:
        """Return the network as a SkipNetwork with its present parameters, in their dtype.

        Activations other than the identity become layers of their own, which counts the f^(k) anew: with ReLU
        everywhere, f^(k) of this module is f^(2k) of the network. An activation of slope 1 is the identity
        (`gpu.set_activation_slope`), and ReLU of a slope between 0 and 1 is leaky ReLU.

        The network and a copy of the module are compared on two random images before it is returned.

        Raises
        ------
        TypeError
            If an activation is not piecewise linear, or a part has hooks, a parametrization or a method of its own.
        ValueError
            If a batch normalisation is in training mode, which mixes the samples (call ``.eval()``), a parameter is not
            finite, or the module computes something else than its layers and skip weights say.
        """
        check_plain(self, "model")
        for name, module in self.named_modules():
            if type(module) in BATCH_NORM.values() and module.training:
                raise ValueError(
                    f"{name}: expected batch normalisation in evaluation mode, got training mode; call .eval()"
                )
        operations: list[Operation | PiecewiseOperation] = []
        counts = [0]  # f^(k) of this module is f^(counts[k]) of the network
        for number, layer in enumerate(_each(self.layers, to_operation)):
            operations.append(layer)
            if number < len(self.activations):
                operations += _as_layers(self.activations[number])
            counts.append(len(operations))
        weights = {(counts[k], counts[j]): weight for (k, j), weight in self.skip_weights.items()}
        network = SkipNetwork(self.in_shape, operations, weights, self.resample)
        images = next(images_for(self))
        scores = torch.from_numpy(network(images.double().cpu().numpy())).to(images)
        difference = disagreement(self, _Known(scores), images)
        if difference is not None:
            raise ValueError(
                f"model: expected a module that computes what its layers and skip weights say, but {difference}; "
                "gpu.set_skip_strength changes the weights of the skips, and a subclass may compute something else"
            )
        return network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, *out_shape) of a batch (N, *in_shape).

        Raises
        ------
        ValueError
            If the images have another shape.
        """
        check_batch(x, self.in_shape)
        f = [x]
        for j, layer in enumerate(self.layers):
            y = layer(self._input_of(j, f))
            f.append(y if j == len(self.layers) - 1 else self.activations[j](y))
        return f[-1]

    def _input_of(self, j: int, f: list[torch.Tensor]) -> torch.Tensor:
        """Return the inner sum of equation (10), the input of layer j + 1."""
        if j not in self.sources:
            return f[j]
        skips = []
        for k in self.sources[j]:
            name = f"{k}->{j}"
            skips.append(self.resamplers[name](f[k]) if name in self.resamplers else f[k])
        joined: torch.Tensor = self.joins[str(j)](f[j], *skips)
        return joined


def _as_layers(activation: nn.Module) -> list[PiecewiseOperation]:
    """Return the layers that an activation becomes: none for the identity, also as a slope of 1.

    Raises
    ------
    TypeError
        If it is not piecewise linear.
    """
    if type(activation) is nn.Identity or (is_sloped(activation) and held_slope(activation) == 1):
        return []
    operation = operation_of(activation)
    if operation is None:
        raise TypeError(
            f"activation: expected the identity or a piecewise linear function, such as ReLU, got {activation}"
        )
    return [operation]


class _Known(nn.Module):
    """A module with an output that was computed before."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output, whatever the input is."""
        return self.output


def _each(layers: Iterable[Given], convert: Callable[[Given], Made]) -> list[Made]:
    """Return the converted layers; an error names the layer."""
    made = []
    for number, layer in enumerate(layers):
        try:
            made.append(convert(layer))
        except (TypeError, ValueError) as error:
            raise type(error)(f"layers[{number}]: {error}") from error
    return made
