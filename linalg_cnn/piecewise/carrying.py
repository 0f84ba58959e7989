"""Points or polygons carried through a piecewise-linear graph, in parts that memory holds and that cores share."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, Self, TypeVar, cast

from threadpoolctl import threadpool_limits

from linalg_cnn.chunks import Progress, cores
from linalg_cnn.piecewise.base import PiecewiseOperation
from linalg_cnn.piecewise_graph import PiecewiseGraph, PiecewiseNode
from linalg_cnn.types import Array, size_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Carried(ABC):
    """What is on its way through the graph: neighbouring parts of a segment or of a slice.

    Attributes
    ----------
    states : dict
        Values that are still to be read, by their numbers.
    number : int
        Number of the next node.
    refined : bool
        Whether this is divided where that node changes its pieces.
    """

    graph: PiecewiseGraph
    states: dict[int, Array]
    number: int = 0
    refined: bool = False

    vectors: ClassVar[int]
    """Number of vectors that a value of one item has."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of points or polygons."""

    @abstractmethod
    def divided(self, node: PiecewiseNode) -> Self:
        """Return the same, which has a state for each item, divided where a node changes its pieces."""

    @abstractmethod
    def filled(self) -> Self:
        """Return the same with a state for each item."""

    @abstractmethod
    def parts(self, size: int) -> list[Self]:
        """Return parts of at most ``size`` items, in order."""

    @abstractmethod
    def values(self, node: PiecewiseNode, xs: list[Array]) -> Array:
        """Return the output of a node, of which ``xs`` are the inputs."""

    def advanced(self, state_bytes: int) -> list[Self]:
        """Return the same behind the last node; or before a node, in parts whose states take ``state_bytes`` each."""
        graph, here = self.graph, self
        last_reader = {value: number for number, node in enumerate(graph.nodes) for value in node.inputs}
        for number in range(self.number, len(graph.nodes)):
            node = graph.nodes[number]
            if isinstance(node.operation, PiecewiseOperation) and not here.refined:
                here = replace(here.divided(node), refined=True)
            per_item = 8 * self.vectors * sum(size_of(graph.shapes[value]) for value in {number + 1, *here.states})
            most = max(state_bytes // per_item, 2)
            if len(here) > most:
                return here.parts(most)
            here = here.filled()
            made = here.values(node, [here.states[value] for value in node.inputs])
            kept = {
                value: x
                for value, x in (*here.states.items(), (number + 1, made))
                if last_reader.get(value, len(graph.nodes)) > number
            }
            here = replace(here, states=kept, number=number + 1, refined=False)
        return [here]


Kind = TypeVar("Kind", bound=Carried)


def carried(start: Kind, state_bytes: int) -> Generator[Kind, None, None]:
    """Yield what arrives behind the last node, part after part in order.

    The first part that is not there yet is always carried next, so that few parts wait. Each core carries one.

    Parameters
    ----------
    start : Carried
    state_bytes : int
        Bytes that the states of one part may take.
    """
    end, workers = len(start.graph.nodes), cores()
    waiting: list[Kind | Future[list[Kind]]] = [start]  # the next one is the last
    with threadpool_limits(1, user_api="blas"):
        pool = ThreadPoolExecutor(workers)
        try:
            while waiting:
                # one more than there are cores, so that none waits for the slowest
                for place in range(max(len(waiting) - workers - 1, 0), len(waiting))[::-1]:
                    part = waiting[place]
                    if isinstance(part, Carried):
                        waiting[place] = pool.submit(part.advanced, state_bytes)
                first = cast("Future[list[Kind]]", waiting.pop()).result()
                if first[0].number == end:
                    yield first[0]
                else:
                    waiting += reversed(first)
        finally:
            pool.shutdown(cancel_futures=True)


class Percents:
    """The percents of a search, as far as it has come, in a progress bar.

    Parameters
    ----------
    progress : callable or None
        Wrapper of the percents, such as ``tqdm.tqdm``.
    """

    def __init__(self, progress: Progress | None) -> None:
        percents: Iterable[int] = range(100)
        self._left = iter(percents if progress is None else progress(percents))
        self._shown = 0

    def show(self, share: float) -> None:
        """Show a share of the whole."""
        while self._shown < int(100 * share):
            next(self._left, None)
            self._shown += 1

    def close(self) -> None:
        """Close the progress bar, which ends when its sequence does."""
        next(self._left, None)
