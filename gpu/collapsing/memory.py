"""The memory that collapsing a network takes, estimated before anything is composed."""

from dataclasses import dataclass

from gpu.collapsing.costs import RATE_BYTES, Costs
from gpu.collapsing.samples import BATCHES
from linalg_cnn import AffineGraph
from linalg_cnn.memory import check_memory
from linalg_cnn.types import Shape, size_of


class MapTooLargeError(MemoryError):
    """A map, or its composition, takes more memory than allowed.

    Parameters
    ----------
    reason : str
        Statement of what needs how much memory.
    factored_helps : bool
        Whether the map would be smaller as two factors; also kept as an attribute.
    """

    def __init__(self, reason: str, factored_helps: bool) -> None:
        self.reason, self.factored_helps = reason, factored_helps
        factors = "keep the map as factors (factored=True), " if factored_helps else ""
        super().__init__(
            f"{reason}; raise max_bytes, {factors}or use it without its matrix: "
            "gpu.trace(module, in_shape).linear_operator()"
        )


@dataclass(frozen=True)
class Budget:
    """The memory that collapsing a network takes, in bytes.

    Attributes
    ----------
    limit : int
        The most memory that everything together may take.
    copies : int
        Size of the copies of the network: one in its dtype, the traced constants and the reference in float64.
    matrices : int
        Size of the map in float64 and in the network's dtype.
    verification : int
        Size of the values that the comparison with the network holds, or that the rates of the machine are measured
        with, whichever is larger.
    """

    limit: int
    copies: int
    matrices: int
    verification: int

    @classmethod
    def of(cls, limit: int, traced: AffineGraph, network: Costs, factors: Costs, itemsize: int) -> "Budget":
        """Return the budget of a network.

        Parameters
        ----------
        limit : int
            The most memory that everything together may take.
        traced : AffineGraph
            The network's graph.
        network, factors : Costs
            Costs of the network and of the map.
        itemsize : int
            Bytes of a number in the network's dtype.
        """
        return cls(
            limit=limit,
            copies=network.bytes + 2 * 8 * network.bytes // itemsize,
            matrices=(8 + itemsize) * factors.parameters,
            verification=max(RATE_BYTES, sum(BATCHES) * bytes_per_sample(traced)),
        )

    @property
    def for_composition(self) -> int:
        """Memory that the composition may take: the verification has not begun."""
        return self.limit - self.copies

    @property
    def for_rank(self) -> int:
        """Memory that the rank may take: the verification is over."""
        return self.limit - self.copies - self.matrices

    def check(self, what: str) -> None:
        """Refuse to start if the limit is too low.

        Raises
        ------
        MemoryError
            If more memory is needed than the limit.
        """
        check_memory(what, self.copies + self.matrices + self.verification, self.limit)


def check_samples(in_shape: Shape, limit: int) -> None:
    """Refuse samples that take more memory than allowed, before one of them is made.

    Limits that are too low for every network are left to `Budget.check`, whose error can say what helps.

    Raises
    ------
    MapTooLargeError
        If the samples of the verification, and their cotangents, take more.
    """
    try:
        what = f"in_shape: a comparison on {sum(BATCHES)} samples of shape {in_shape}"
        check_memory(what, 2 * 8 * sum(BATCHES) * size_of(in_shape), max(limit, RATE_BYTES))
    except MemoryError as error:
        raise MapTooLargeError(str(error), factored_helps=False) from error


def bytes_per_sample(graph: AffineGraph) -> int:
    """Return the approximate memory that a forward and a backward pass of one sample take in torch, in float64.

    Every value and its cotangent count, and so does the largest copy that a convolution makes of its input: the pixels
    under every tap.
    """
    columns = [0]
    for node, shape in zip(graph.nodes, graph.shapes[1:], strict=True):
        kernel = getattr(node.operation, "kernel", None)
        if kernel is not None:
            pixels = max(size_of(shape[1:]), size_of(graph.shapes[node.inputs[0]][1:]))
            columns.append(kernel.size // len(kernel) * getattr(node.operation, "groups", 1) * pixels)
    return 8 * (2 * sum(size_of(shape) for shape in graph.shapes) + max(columns))
