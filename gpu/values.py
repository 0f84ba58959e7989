"""What flows through a network while it is traced."""

from dataclasses import dataclass

import torch

from linalg_cnn.types import Shape

SAMPLES = 2
"""How many samples are traced: enough to see whether they are mixed."""


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


def name_of(node: torch.fx.Node) -> str:
    """Return the name of a node's operation without its overload: ``conv2d``."""
    target = node.target
    packet = getattr(target, "overloadpacket", target)
    return str(getattr(packet, "__name__", packet))
