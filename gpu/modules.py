"""`SkipNetwork` as a torch module, and back."""

from collections.abc import Mapping, Sequence
from functools import reduce, singledispatch
from typing import Any, Self, cast

import numpy as np
import torch
from torch import nn

from linalg_cnn import AvgPool, BatchNorm, Conv, Dense, Operation, Resample, ResampleTo, SkipNetwork
from linalg_cnn.rules import join_rules
from linalg_cnn.types import Array, Shape

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
AVG_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
BATCH_NORM = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class NearestResample(nn.Module):
    """Nearest-neighbour resampling that shows the same pixels in every dtype and on every device.

    ``torch.nn.functional.interpolate`` picks other pixels for float64 than for float32 input at some sizes; here
    the sources are computed once, by the rule of `linalg_cnn`, which is that of float32.

    Parameters
    ----------
    operation : Resample or ResampleTo
    in_shape : tuple of int
        (channels, *spatial).

    Examples
    --------
    >>> NearestResample(Resample(4), (1, 2))(torch.tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2., 2.]]])
    """

    sources: torch.Tensor

    def __init__(self, operation: Resample | ResampleTo, in_shape: Shape) -> None:
        super().__init__()
        self.operation = operation
        self.out_shape = operation.out_shape(in_shape)
        sources = join_rules(operation.rules(in_shape))[:, 0].astype(np.int64)
        # Not persistent: it follows from the shapes, and a state_dict holds what was learnt.
        self.register_buffer("sources", torch.from_numpy(sources), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Resample a batch (N, *in_shape)."""
        return x.flatten(1).index_select(1, self.sources).reshape(-1, *self.out_shape)

    def extra_repr(self) -> str:
        """Show the operation."""
        return repr(self.operation)


class SkipCNN(nn.Module):
    """The paper's linear CNN with skip connections, equation (10), as a torch module.

    Parameters
    ----------
    in_shape : tuple of int
        (channels, *spatial), with at most three spatial axes.
    layers : sequence of nn.Module
        Conv1d to Conv3d, ``Sequential(Flatten(), Linear(...))``, AvgPool, BatchNorm (one that tracks its running
        statistics), NearestResample; all of one dtype.
    skip_weights, resample
        As in `linalg_cnn.SkipNetwork`.

    Raises
    ------
    TypeError
        If a layer is a module that has no counterpart in `linalg_cnn`, for example because it is not affine.
    ValueError
        If the shapes do not chain or the weights do not fit.

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
        operations = [to_operation(layer) for layer in layers]
        network = SkipNetwork(in_shape, operations, skip_weights, resample)
        if network.graph.symbolic:
            raise TypeError("skip_weights: expected numbers for a torch module, got sympy expressions")
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
            If a layer has no counterpart in torch, or holds sympy expressions.
        ValueError
            If there are more spatial axes than torch's layers have.
        """
        if network.graph.symbolic:
            raise TypeError("network: expected numbers, got sympy expressions, which torch cannot hold")
        arrays = [value for layer in network.layers for value in vars(layer).values() if isinstance(value, np.ndarray)]
        dtype = torch.float32 if arrays and all(a.dtype == np.float32 for a in arrays) else torch.float64
        layers = [
            to_module(layer, in_shape).to(dtype)
            for layer, in_shape in zip(network.layers, network.shapes[:-1], strict=True)
        ]
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
        operations = [to_operation(layer) for layer in self.layers]
        return SkipNetwork(self.in_shape, operations, self.skip_weights, self.resample)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of a batch: (N, *in_shape) to (N, *out_shape)."""
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


def _parameter(values: Array | None) -> nn.Parameter | None:
    return None if values is None else nn.Parameter(torch.from_numpy(values.copy()))


@singledispatch
def to_module(layer: Operation, in_shape: Shape) -> nn.Module:
    """Return the torch module that computes a layer on inputs of shape ``in_shape``.

    Raises
    ------
    TypeError
        If torch has no such module.
    ValueError
        If there are more spatial axes than torch's module has.
    """
    raise TypeError(f"layers: expected layers that torch has a module for, got {type(layer).__name__}")


def _of_rank(modules: Mapping[int, type[nn.Module]], in_shape: Shape) -> Any:
    rank = len(in_shape) - 1
    if rank not in modules:
        raise ValueError(f"in_shape: expected at most three spatial axes for a torch module, got {in_shape}")
    return modules[rank]


@to_module.register
def _(layer: Conv, in_shape: Shape) -> nn.Module:
    c_out, per_group, *taps = layer.kernel.shape
    module = _of_rank(CONV, in_shape)(
        per_group * layer.groups,
        c_out,
        tuple(taps),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        padding_mode=layer.padding_mode,
        bias=layer.bias is not None,
    )
    module.weight, module.bias = _parameter(layer.kernel), _parameter(layer.bias)
    return cast(nn.Module, module)


@to_module.register
def _(layer: Dense, in_shape: Shape) -> nn.Module:
    linear = nn.Linear(layer.weight.shape[1], layer.weight.shape[0], bias=layer.bias is not None)
    linear.weight, linear.bias = _parameter(layer.weight), _parameter(layer.bias)  # type: ignore[assignment]
    return nn.Sequential(nn.Flatten(), linear)


@to_module.register(Resample)
@to_module.register(ResampleTo)
def _(layer: Resample | ResampleTo, in_shape: Shape) -> nn.Module:
    return NearestResample(layer, in_shape)


@to_module.register
def _(layer: AvgPool, in_shape: Shape) -> nn.Module:
    options = {
        "stride": layer.stride,
        "padding": layer.padding,
        "ceil_mode": layer.ceil_mode,
        "count_include_pad": layer.count_include_pad,
    }
    if layer.divisor_override is not None:
        options["divisor_override"] = layer.divisor_override
    module: nn.Module = _of_rank(AVG_POOL, in_shape)(layer.kernel_size, **options)
    return module


@to_module.register
def _(layer: BatchNorm, in_shape: Shape) -> nn.Module:
    module = _of_rank(BATCH_NORM, in_shape)(len(layer.weight), eps=float(layer.eps))
    module.weight, module.bias = _parameter(layer.weight), _parameter(layer.bias)
    module.running_mean = torch.from_numpy(layer.running_mean.copy())
    module.running_var = torch.from_numpy(layer.running_var.copy())
    return cast(nn.Module, module)


def to_operation(module: nn.Module) -> Operation:
    """Return the operation that a torch module computes, with the parameters of this moment.

    Subclasses are refused: they may compute something else.

    Raises
    ------
    TypeError
        If the module has no counterpart in `linalg_cnn`, for example because it is not affine.
    """
    kind: Any = type(module)
    m: Any = module
    if kind is NearestResample:
        return cast(Operation, m.operation)
    if kind in CONV.values():
        return Conv(
            _values(m.weight),
            _values(m.bias),
            stride=m.stride,
            padding=m.padding,
            dilation=m.dilation,
            groups=m.groups,
            padding_mode=m.padding_mode,
        )
    if kind in AVG_POOL.values():
        return AvgPool(
            m.kernel_size,
            stride=m.stride,
            padding=m.padding,
            ceil_mode=m.ceil_mode,
            count_include_pad=m.count_include_pad,
            divisor_override=getattr(m, "divisor_override", None),
        )
    if kind in BATCH_NORM.values() and m.running_mean is not None:
        return BatchNorm(_values(m.weight), _values(m.bias), _values(m.running_mean), _values(m.running_var), m.eps)
    if kind is nn.Sequential and [type(part) for part in m] == [nn.Flatten, nn.Linear]:
        return Dense(_values(m[1].weight), _values(m[1].bias))
    raise TypeError(
        "layers: expected affine modules (Conv, AvgPool, BatchNorm with running statistics, NearestResample, "
        f"Sequential(Flatten, Linear)), got {module}"
    )


def _values(tensor: torch.Tensor | None) -> Array | None:
    return None if tensor is None else tensor.detach().cpu().numpy()
