"""`SkipNetwork` as a torch module, and back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from typing import Self, TypeVar

import numpy as np
import torch
from torch import nn

from gpu.convert import BATCH_NORM, NearestResample, check_batch, to_module, to_operation
from linalg_cnn import ResampleTo, SkipNetwork
from linalg_cnn.types import Shape

Given = TypeVar("Given")
Made = TypeVar("Made")


class SkipCNN(nn.Module):
    """The paper's linear CNN with skip connections, equation (10), as a torch module.

    Parameters
    ----------
    in_shape : tuple of int
        (channels, *spatial), with at most three spatial axes.
    layers : sequence of nn.Module
        What `gpu.convert.to_operation` knows: Conv1d to Conv3d, ``Sequential(Flatten(), Linear(...))``, AvgPool,
        BatchNorm (one that tracks its running statistics), NearestResample, ...; all of one dtype.
    skip_weights, resample
        As in `linalg_cnn.SkipNetwork`.

    Raises
    ------
    TypeError
        If a layer is a module that has no counterpart in `linalg_cnn`, for example because it is not affine.
    ValueError
        If the shapes do not chain, the weights do not fit, or the layers' dtypes differ.

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
    ) -> None:
        super().__init__()
        operations = _each(layers, to_operation)
        network = SkipNetwork(in_shape, operations, skip_weights, resample)
        if network.graph.symbolic:
            raise TypeError("skip_weights: expected numbers for a torch module, got sympy expressions")
        dtypes = {parameter.dtype for layer in layers for parameter in layer.parameters()}
        if len(dtypes) > 1:
            raise ValueError(f"layers: expected parameters of one dtype, got {sorted(map(str, dtypes))}")
        self.in_shape, self.out_shape = network.in_shape, network.out_shape
        self.skip_weights, self.resample = network.skip_weights, resample
        self.layers = nn.ModuleList(layers)
        self.resamplers = nn.ModuleDict()
        for k, j in sorted(self.skip_weights):
            here, goal = network.shapes[k], network.shapes[j]
            if here != goal and self.skip_weights[k, j] != 0:
                self.resamplers[f"{k}->{j}"] = NearestResample(ResampleTo(goal, resample), here)

    @classmethod
    def from_network(cls, network: SkipNetwork) -> Self:
        """Return the same network as a torch module: float32 if all parameters are, float64 otherwise.

        Raises
        ------
        TypeError
            If it is no SkipNetwork, a layer has no counterpart in torch, or holds sympy expressions.
        ValueError
            If there are more spatial axes than torch's layers have.
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
        """Return the network with the parameters of this moment, in their dtype.

        Raises
        ------
        ValueError
            If a batch normalisation is in training mode (it would mix the samples; call ``.eval()``), or a
            parameter is not finite.
        """
        for name, module in self.named_modules():
            if type(module) in BATCH_NORM.values() and module.training:
                raise ValueError(
                    f"{name}: expected batch normalisation in evaluation mode, got training mode; call .eval()"
                )
        operations = _each(self.layers, to_operation)
        return SkipNetwork(self.in_shape, operations, self.skip_weights, self.resample)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of a batch: (N, *in_shape) to (N, *out_shape).

        Raises
        ------
        ValueError
            If the images have another shape.
        """
        check_batch(x, self.in_shape)
        f = [x]
        for j, layer in enumerate(self.layers):
            f.append(layer(self._input_of(j, f)))
        return f[-1]

    def _input_of(self, j: int, f: list[torch.Tensor]) -> torch.Tensor:
        """Return the inner sum of equation (10): what layer j + 1 reads."""
        terms = []
        for k in range(j + 1):
            weight, name = self.skip_weights.get((k, j), 0.0), f"{k}->{j}"
            if weight == 0:
                continue
            term = self.resamplers[name](f[k]) if name in self.resamplers else f[k]
            terms.append(term if weight == 1 else weight * term)
        return reduce(torch.add, terms)


def _each(layers: Iterable[Given], convert: Callable[[Given], Made]) -> list[Made]:
    """Convert layer by layer; an error says at which."""
    made = []
    for number, layer in enumerate(layers):
        try:
            made.append(convert(layer))
        except (TypeError, ValueError) as error:
            raise type(error)(f"layers[{number}]: {error}") from error
    return made
