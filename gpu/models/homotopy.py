"""The homotopy of the paper's section 4: skips of strength t, how t is set, and the network without its skips."""

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, Self, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


class Skip(nn.Module):
    """A module in which one or several skips of a strength t of their own join the main path."""

    @property
    @abstractmethod
    def skip_strength(self) -> float:
        """The weight of the skips together; 0 only if each of them is 0."""

    @abstractmethod
    def set_skip_strength(self, t: float) -> None:
        """Give the main path the weight 1 - t, and the skips t."""


class SkipSum(Skip):
    """Equation (23): (1 - t) of the main path plus t of the skip, t on the skip (erratum 3).

    Parameters
    ----------
    t : float in [0, 1]

    Attributes
    ----------
    t : tensor ()
        A tensor, so that changing it neither compiles nor captures anything anew, and a buffer that is not
        persistent: a state_dict holds what was learnt, and torchvision's loads strictly.

    Examples
    --------
    >>> SkipSum(0.25)(torch.tensor([4.0]), torch.tensor([8.0]))
    tensor([5.])
    """

    t: torch.Tensor

    def __init__(self, t: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("t", torch.tensor(check_share("t", t)), persistent=False)

    def forward(self, main: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the sum; at t = 0 that is ``main`` itself wherever ``skip`` is finite."""
        return (1 - self.t) * main + self.t * skip

    @property
    def skip_strength(self) -> float:
        """The t of this skip."""
        return float(self.t)

    def set_skip_strength(self, t: float) -> None:
        """Fill t into the tensor that is there."""
        self.t.fill_(t)

    def extra_repr(self) -> str:
        """Show t."""
        return f"t={self.skip_strength:g}"


class SkipJoin(Skip):
    """The inner sum of equation (10): what a layer reads, a weighted sum of the layer before and of earlier ones.

    Parameters
    ----------
    weights : sequence of float
        Of the layer before, then of each skip.
    dtype : torch.dtype
        Of the network.

    Attributes
    ----------
    weights : tensor (1 + number of skips,)
        A buffer that is not persistent, as in `SkipSum`.
    exact : tuple of float
        The weights as they were given, for `SkipCNN.to_network`.

    Examples
    --------
    >>> SkipJoin([0.5, 0.25, 0.25], torch.float32)(torch.tensor(4.0), torch.tensor(8.0), torch.tensor(0.0))
    tensor(4.)
    """

    weights: torch.Tensor

    def __init__(self, weights: list[float], dtype: torch.dtype) -> None:
        super().__init__()
        self.exact = tuple(weights)
        self.register_buffer("weights", torch.tensor(weights, dtype=dtype), persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Convert the weights anew from what they are exactly, so that ``.double()`` gives no rounded ones."""
        super()._apply(fn, recurse)
        self._fill()
        return self

    def _fill(self) -> None:
        self.weights.copy_(torch.tensor(self.exact, dtype=torch.float64))

    def forward(self, main: torch.Tensor, *skips: torch.Tensor) -> torch.Tensor:
        """Return the sum; where all weights but the first are 0, that is ``main`` wherever the skips are finite."""
        total = self.weights[0] * main
        for weight, skip in zip(self.weights[1:], skips, strict=True):
            total = total + weight * skip
        return total

    @property
    def skip_strength(self) -> float:
        """What the skips' weights come to in all, without their signs."""
        return math.fsum(map(abs, self.exact[1:]))

    def set_skip_strength(self, t: float) -> None:
        """Share t equally among the skips."""
        skips = len(self.exact) - 1
        self.exact = (1 - t, *(t / skips,) * skips)
        self._fill()

    def extra_repr(self) -> str:
        """Show the weights."""
        return f"weights={self.exact}"


def check_share(name: str, value: object) -> float:
    """Return a number in [0, 1], also that of a tensor without axes, as a float.

    Raises
    ------
    ValueError
        If it is something else.
    """
    number: Any = value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return float(number)


def skips_of(model: nn.Module) -> Iterator[tuple[str, Skip]]:
    """Yield every module that has a skip strength of its own, with its place, in the order of the forward."""
    for name, part in model.named_modules():
        if isinstance(part, Skip):
            yield name, part


def skip_strengths(model: nn.Module) -> dict[str, float]:
    """Return t of every skip of a network by its place, in the order of the forward; empty if it has none.

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> skip_strengths(three_layer_cnn(t=0.5))
    {'joins.2': 0.5}
    """
    return {name: part.skip_strength for name, part in skips_of(model)}


def set_skip_strength(model: nn.Module, t: float | Mapping[str, float]) -> None:
    """Set the strength of the skips of a network, in place: t is filled into the tensors that are there.

    Parameters
    ----------
    model : nn.Module
        Made by `gpu.resnet` or `gpu.from_torchvision`, or a `gpu.SkipCNN`.
    t : float in [0, 1], or a mapping of places of skips to such floats
        One number for all skips, or one for each that is named, the others staying as they are. `skip_strengths`
        gives the places. Several skips into one layer share t equally.

    Raises
    ------
    ValueError
        If a strength is not in [0, 1], or the network has no skips, or none of that name. Nothing is changed then.

    Notes
    -----
    Source: the paper's equation (23), read with t on the skip.

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> model = three_layer_cnn(t=0.5)
    >>> set_skip_strength(model, 0.25)
    >>> skip_strengths(model)
    {'joins.2': 0.25}
    """
    skips = dict(skips_of(model))
    if not skips:
        raise ValueError(f"model: expected a network with skips of strength t, got {type(model).__name__} without any")
    named = isinstance(t, Mapping)
    chosen: dict[str, object] = dict(t) if isinstance(t, Mapping) else dict.fromkeys(skips, t)
    unknown = sorted(set(chosen) - set(skips))
    if unknown:
        raise ValueError(f"t: expected names of skips, which are {', '.join(skips)}, got {', '.join(unknown)}")
    checked = {name: check_share(f"t[{name!r}]" if named else "t", s) for name, s in chosen.items()}
    for name, strength in checked.items():
        skips[name].set_skip_strength(strength)


class WithSkips(nn.Module):
    """A module that holds skips and can do without them."""

    @abstractmethod
    def drop_skips(self) -> None:
        """Take the sums out, and whatever works for the skips alone."""


def remove_skips(model: Network) -> Network:
    """Return a network at t = 0 without its skips: no sums, no projections, nothing but the main path.

    Parameters
    ----------
    model : nn.Module
        Made by `gpu.resnet` or `gpu.from_torchvision`, or a `gpu.SkipCNN`, with every t = 0. Left as it is.

    Returns
    -------
    nn.Module
        A copy, in the mode (training or evaluation), on the device and in the dtype of the model. What is left of
        its state_dict keeps its names. On the CPU it computes the same bits, wherever the skips were finite.

    Raises
    ------
    ValueError
        If a skip has another strength, or the network has no skips.

    Notes
    -----
    Source: the paper's section 5.3, "explicitly taking their programming out of the network".

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> model = three_layer_cnn(t=0.0)
    >>> remove_skips(model).to_network()
    SkipNetwork((1, 28, 28) -> (10,): Conv, Conv, Conv, Dense; skips none)
    >>> set_skip_strength(model, 0.5)
    >>> remove_skips(model)
    Traceback (most recent call last):
        ...
    ValueError: model: expected t = 0 for every skip, got 1 others: joins.2 at t = 0.5; ...
    """
    strengths = skip_strengths(model)
    if not strengths:
        raise ValueError(
            f"model: expected a network with skips of strength t, got {type(model).__name__} without any; "
            "torchvision's own ResNets add x + F(x): gpu.from_torchvision gives their skips a strength"
        )
    left = [f"{name} at t = {t:g}" for name, t in strengths.items() if t != 0]
    if left:
        shown = ", ".join(left[:3]) + (", ..." if len(left) > 3 else "")
        raise ValueError(
            f"model: expected t = 0 for every skip, got {len(left)} others: {shown}; what these skips carry would be "
            "lost: train on while t goes to 0 (gpu.schedules), then gpu.set_skip_strength(model, 0)"
        )
    bare = copy.deepcopy(model)
    for part in list(bare.modules()):
        if isinstance(part, WithSkips):
            part.drop_skips()
    return bare
