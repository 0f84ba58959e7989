"""Tensors that depend on the input, as the tracing sees them, and the refusal of operations on them."""

from dataclasses import dataclass

from linalg_cnn.types import Shape


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: a value of the graph, and which axis of the tensor is the batch axis.

    Attributes
    ----------
    number : int
        Number of the value in the graph, where it has the shape of one sample, with (1,) instead of ().
    shape : tuple of int
        Shape of one sample.
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
        """Return the axis of a sample that is axis ``dim`` of the tensor.

        Raises
        ------
        Refusal
            If ``dim`` is the batch axis.
        """
        dim %= self.rank
        if dim == self.batch:
            raise Refusal("mixes the samples of the batch")
        return dim - (dim > self.batch)


class Refusal(Exception):  # noqa: N818 - it never leaves the walker
    """Raised by the handler of an operation that is not affine; becomes an `Obstacle` with its place."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(reason)


class Unknown:
    """The result of a refused operation that has no batch axis. The walk goes on, to find all other obstacles."""


UNKNOWN = Unknown()


def images(x: Value, axes: int | None = None) -> Value:
    """Return a value that holds images (N, channels, *spatial).

    Parameters
    ----------
    x : Value
        The value to check.
    axes : int, optional
        Number of spatial axes; any number by default.

    Raises
    ------
    Refusal
        If the samples do not come first, or the number of spatial axes is another.
    """
    if axes is not None and x.rank != 2 + axes:
        raise Refusal(
            f"mixes the samples of the batch: expected (samples, channels, {axes} spatial axes), got {x.rank} axes, "
            "so that torch takes the samples for channels"
        )
    if x.batch != 0:
        raise Refusal(
            f"mixes the samples of the batch: it takes axis 0 for the batch axis, which is axis {x.batch} of {x.rank}"
        )
    return x
