"""The homotopy of the paper's section 4: skips of strength t, and setting t."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import nn

from gpu.models.checks import check_module
from gpu.models.exact import KeptExactly
from linalg_cnn.checks import as_float


class Skip(KeptExactly):
    """A module that adds one skip or several to the main path, with a strength t of its own."""

    __jit_unused_properties__: ClassVar = ["is_off", "skip_strength"]  # torch.jit.script would compile them

    @property
    @abstractmethod
    def is_off(self) -> bool:
        """Whether the skips carry nothing in the dtype in which they are computed."""

    @property
    @abstractmethod
    def skip_strength(self) -> float:
        """Sum of the absolute weights of the skips, which is 0 only if all of them are."""

    @abstractmethod
    def set_skip_strength(self, t: float) -> None:
        """Set the weight of the main path to 1 - t and that of the skips to t."""


class SkipSum(Skip):
    """Equation (23): (1 - t) times the main path plus t times the skip (erratum 3).

    Parameters
    ----------
    t : float in [0, 1]
        Strength of the skip; 0.5 by default.

    Attributes
    ----------
    t : tensor ()
        The strength in the network's dtype; a buffer that is not persistent, so that torchvision's state_dict loads
        strictly.
    exact : float
        The strength in double precision.

    Examples
    --------
    >>> SkipSum(0.25)(torch.tensor([4.0]), torch.tensor([8.0]))
    tensor([5.])
    """

    exact_name, tensor_name = "exact", "t"
    exact: float
    t: torch.Tensor

    def __init__(self, t: float = 0.5) -> None:
        super().__init__()
        self.exact = check_share("t", t)
        self.register_buffer("t", torch.tensor(self.exact), persistent=False)

    def forward(self, main: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the sum; at t = 0 it is ``main``, bit for bit, wherever ``skip`` is finite."""
        return (1 - self.t) * main + self.t * skip

    @property
    def skip_strength(self) -> float:
        """The strength t of the skip."""
        return float(self.exact_numbers())

    @property
    def is_off(self) -> bool:
        """Whether t is 0 in the dtype of the network."""
        return float(self.held_numbers()) == 0

    def set_skip_strength(self, t: float) -> None:
        """Set the strength, in the same tensor."""
        self.keep_exactly(t)

    def extra_repr(self) -> str:
        """Return t as text."""
        return f"t={self.held_numbers():g}"


class SkipJoin(Skip):
    """The inner sum of equation (10): the input of a layer, a weighted sum of the previous layer and of earlier ones.

    Parameters
    ----------
    weights : list of float
        Weight of the previous layer, then of each skip.
    dtype : torch.dtype
        Dtype of the network.

    Attributes
    ----------
    weights : tensor (1 + number of skips,)
        The weights in the network's dtype; a buffer that is not persistent.
    exact : tuple of float
        The weights in double precision, for `SkipCNN.to_network`.

    Examples
    --------
    >>> SkipJoin([0.5, 0.25, 0.25], torch.float32)(torch.tensor(4.0), torch.tensor(8.0), torch.tensor(0.0))
    tensor(4.)
    """

    exact_name, tensor_name = "exact", "weights"
    exact: tuple[float, ...]
    weights: torch.Tensor

    def __init__(self, weights: list[float], dtype: torch.dtype) -> None:
        super().__init__()
        self.exact = tuple(weights)
        self.register_buffer("weights", torch.tensor(weights, dtype=dtype), persistent=False)

    def forward(self, main: torch.Tensor, *skips: torch.Tensor) -> torch.Tensor:
        """Return the sum; with weights 1, 0, ..., 0 it is ``main``, bit for bit, wherever the skips are finite."""
        total = self.weights[0] * main
        for weight, skip in zip(self.weights[1:], skips, strict=True):
            total = total + weight * skip
        return total

    @property
    def skip_strength(self) -> float:
        """Sum of the absolute weights of the skips."""
        return math.fsum(map(abs, self.exact_numbers()[1:]))

    @property
    def is_off(self) -> bool:
        """Whether the weights of the skips are 0 in the dtype of the network."""
        return not any(self.held_numbers()[1:])

    def set_skip_strength(self, t: float) -> None:
        """Set the weights to 1 - t and, for each skip, an equal share of t."""
        skips = len(self.exact) - 1
        self.keep_exactly((1 - t, *(t / skips,) * skips))

    def extra_repr(self) -> str:
        """Return the weights as text."""
        return f"weights={self.exact_numbers()}"


def check_share(name: str, value: object) -> float:
    """Return a number in [0, 1] as a float; a tensor without axes counts as a number.

    Raises
    ------
    ValueError
        If ``value`` is not such a number.
    """
    given = value.item() if isinstance(value, torch.Tensor) and value.ndim == 0 else value
    number = as_float(given)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a number in [0, 1], got {value!r}")
    return number


def skips_of(model: nn.Module) -> Iterator[tuple[str, Skip]]:
    """Yield the name in the model and the module of every skip or sum of skips, in the order of registration."""
    for name, part in model.named_modules():
        if isinstance(part, Skip):
            yield name, part


def skip_strengths(model: nn.Module) -> dict[str, float]:
    """Return the strength of every skip of a network by the name of its module, {} for a network without skips.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.

    Examples
    --------
    >>> from gpu.models.shallow import three_layer_cnn
    >>> skip_strengths(three_layer_cnn(t=0.5))
    {'joins.2': 0.5}
    """
    check_module("model", model)
    return {name: part.skip_strength for name, part in skips_of(model)}


def set_skip_strength(model: nn.Module, t: float | Mapping[str, float]) -> None:
    """Set the strength t of the skips of a network, in place.

    At strength t, the main path has the weight 1 - t. Several skips into one layer share t equally. The running
    statistics of batch normalisations are still those of the network before: train on, or call `gpu.recalibrate` with
    ``layer_by_layer=True``, before the network is used in evaluation mode. A network that was not trained for t = 0
    loses much of what it learnt there: ResNet18s that were trained at t = 0.5 for three epochs had 95.8 % of the
    held-out digits right, at t = 0 they had 37.7 %, and 81.6 % after `gpu.recalibrate` (means of three trials,
    docs/records/price_skips.json).
    `gpu.SkipSchedule` lowers t while the network is trained.

    Parameters
    ----------
    model : nn.Module
        A network from `gpu.resnet` or `gpu.from_torchvision`, or a `gpu.SkipCNN`. The tensors that hold t stay the
        same, so that nothing has to be compiled or captured again.
    t : float in [0, 1], or mapping of str to float
        One strength for all skips, or the strengths of some of them by name; the others stay. `gpu.skip_strengths`
        lists the names.

    Raises
    ------
    TypeError
        If ``model`` is not an ``nn.Module``.
    ValueError
        If a strength is not in [0, 1], or the network has no skips, or no skip of a given name. Nothing is changed
        then.

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
    check_module("model", model)
    skips = dict(skips_of(model))
    if not skips:
        raise ValueError(f"model: expected a network with skips of strength t, got {type(model).__name__} without any")
    named = isinstance(t, Mapping)
    chosen: dict[str, object] = dict(t) if isinstance(t, Mapping) else dict.fromkeys(skips, t)
    unknown = sorted(map(str, chosen.keys() - skips.keys()))
    if unknown:
        raise ValueError(f"t: expected names of skips, which are {', '.join(skips)}, got {', '.join(unknown)}")
    checked = {name: check_share(f"t[{name!r}]" if named else "t", s) for name, s in chosen.items()}
    for name, strength in checked.items():
        skips[name].set_skip_strength(strength)


class WithSkips(nn.Module):
    """A module with skips that can be taken out of it."""

    @abstractmethod
    def skip_parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the name and the module of each submodule that only the skips use."""

    @abstractmethod
    def drop_skips(self) -> None:
        """Remove the sums, and the modules that only the skips use."""
