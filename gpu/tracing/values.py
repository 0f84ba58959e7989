"""Tensors that depend on the input, as the tracing sees them, and the refusal of operations on them."""

from dataclasses import dataclass
from math import prod

from linalg_cnn.types import Shape


@dataclass(frozen=True)
class Value:
    """A tensor that depends on the input: a value of the graph, and which axis of the tensor is the batch axis.

    Other axes may be folded into the batch axis, as the frames of videos are in ``x.flatten(0, 1)``. Each sample then
    has several slices along that axis. An operation that treats samples separately treats slices separately.

    Attributes
    ----------
    number : int
        Number of the value in the graph, where it has the shape `whole`.
    shape : tuple of int
        Shape of one slice: of the tensor without its batch axis.
    batch : int
        The axis of the tensor that counts the samples.
    folds : (outer, inner)
        Numbers of slices that are folded into the batch axis: in C-order, the axis counts (outer, samples, inner). It
        counts the samples alone if both are 1.
    """

    number: int
    shape: Shape
    batch: int
    folds: tuple[int, int] = (1, 1)

    @property
    def rank(self) -> int:
        """The number of axes of the tensor."""
        return len(self.shape) + 1

    @property
    def slices(self) -> int:
        """The number of slices of a sample along the batch axis."""
        return prod(self.folds)

    @property
    def whole(self) -> Shape:
        """The shape of one sample in the graph: (slices, *shape) if there are several, and (1,) instead of ()."""
        return (self.slices,) * (self.slices > 1) + (self.shape or (1,))

    def length(self, samples: int) -> int:
        """Return the length of the batch axis for a number of samples."""
        return self.slices * samples

    def axis(self, dim: int) -> int:
        """Return the axis of a slice that is axis ``dim`` of the tensor.

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


def planes(x: Value, axes: int) -> Value:
    """Return a value whose last axes are spatial, for an operation that treats each plane by itself.

    The batch axis may be any of the other axes, also that of the channels.

    Parameters
    ----------
    x : Value
        The value to check.
    axes : int
        Number of spatial axes.

    Raises
    ------
    Refusal
        If the batch axis is a spatial axis.
    """
    if x.batch >= x.rank - axes:
        raise Refusal(
            f"mixes the samples of the batch: it takes axis {x.batch} of {x.rank}, which counts them, for a spatial "
            "axis"
        )
    return x


def images(x: Value, axes: int | None = None) -> Value:
    """Return a value that holds images (N, channels, *spatial), for an operation that mixes channels.

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
