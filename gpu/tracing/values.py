"""What flows through a network while it is traced."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from linalg_cnn.types import Shape


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: a value of the graph, and where the samples are in the tensor.

    Attributes
    ----------
    number : int
        In the graph, where it has the shape of one sample, (1,) instead of ().
    shape : tuple of int
        Of one sample.
    batch : int
        The axis of the tensor that counts the samples.
    """

    number: int
    shape: Shape
    batch: int

    @property
    def rank(self) -> int:
        """The number of axes of the tensor."""
        return len(self.shape) + 1

    def axis(self, dim: int) -> int:
        """Return which axis of a sample the tensor's axis ``dim`` is.

        Raises
        ------
        Refusal
            If it is the one that counts the samples.
        """
        dim %= self.rank
        if dim == self.batch:
            raise Refusal("mixes the samples of the batch")
        return dim - (dim > self.batch)


class Refusal(Exception):  # noqa: N818 - it never leaves the tracer
    """Raised by the handler of an operation that is not affine; becomes an `Obstacle` with its place."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(reason)


class Unknown:
    """What an operation gives that mixes the samples. Tracing goes on, to find what else is not affine."""


UNKNOWN = Unknown()


def constant(tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter or a buffer as ``module.double()`` has it, on the CPU."""
    tensor = tensor.detach().cpu()
    return tensor.double() if tensor.is_floating_point() else tensor


def images(x: Value, axes: int | None = None) -> Value:
    """Return data that are images (N, channels, *spatial).

    Raises
    ------
    Refusal
        If the samples do not come first, or the number of spatial axes is another.
    """
    if axes is not None and x.rank != 2 + axes:
        raise Refusal(
            f"mixes the samples of the batch: expected (samples, channels, {axes} spatial axes), got {x.rank} axes, "
            "of which torch takes the samples for the channels"
        )
    if x.batch != 0:
        raise Refusal(
            f"mixes the samples of the batch: it takes axis 0 for the samples, which are axis {x.batch} of {x.rank}"
        )
    return x


def without_samples(c: torch.Tensor, axis: int) -> torch.Tensor:
    """Return a constant that was expanded to the samples, which an axis counts, with one entry there.

    Raises
    ------
    Refusal
        If it has different entries for the samples.
    """
    first = c.narrow(axis, 0, 1)
    if c.shape[axis] > 1 and not torch.equal(c, first.expand_as(c)):
        raise Refusal("a constant with an entry of its own for each sample of the batch")
    return first


NEVER_WRITTEN = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted")


def computed(node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    """Return what torch makes of constants, on the CPU.

    Memory that was never written holds anything: NaN stands there, which shows if it is read before it is written.

    Raises
    ------
    Refusal
        If it is memory for integers, which have no NaN.
    """
    target: Any = node.target
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    result = target(*args, **kwargs)
    if name_of(node) in NEVER_WRITTEN:
        if not result.is_floating_point():
            raise Refusal(f"{name_of(node)} gives integers that were never written")
        result.fill_(torch.nan)
    return result


def like_of(module: nn.Module) -> torch.Tensor:
    """Return an empty tensor with the dtype and on the device in which a module computes.

    Those of its first floating-point parameter, or buffer if there is none, or torch's default dtype on the CPU.

    Raises
    ------
    ValueError
        If a parameter or a buffer is on the meta device, which holds no numbers, or the module computes in complex
        numbers.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if tensor.is_meta:
            raise ValueError(f"module: expected parameters that hold numbers, got {name} on the meta device")
    like = next((tensor for tensor in tensors.values() if tensor.is_floating_point() or tensor.is_complex()), None)
    if like is None:
        return torch.empty(0)
    if like.is_complex():
        raise ValueError(f"module: expected real parameters, got {like.dtype}")
    return torch.empty(0, dtype=like.dtype, device=like.device)


def name_of(node: torch.fx.Node) -> str:
    """Return the name of a node's operation without its overload: ``conv2d``."""
    target = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))


def full_name_of(node: torch.fx.Node) -> str:
    """Return the name of a node's operation with its library: ``mylib::add``."""
    library = getattr(node.target, "namespace", "")
    return f"{library}::{name_of(node)}" if library else name_of(node)
