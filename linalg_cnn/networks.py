"""The graph of a network: what functions take that are given a graph, or whatever holds one."""

from typing import Any, Protocol, TypeVar, runtime_checkable

from linalg_cnn.graph import AffineGraph
from linalg_cnn.piecewise_graph import PiecewiseGraph
from linalg_cnn.wiring import Graph

Kind = TypeVar("Kind", bound=Graph[Any])


@runtime_checkable
class HasGraph(Protocol):
    """A network that holds its operations as a graph, such as `SkipNetwork`."""

    @property
    def graph(self) -> Graph[Any]:
        """Operations wired in order."""


def graph_of(name: str, network: object, *kinds: type[Kind]) -> Kind:
    """Return the graph of a network: itself, or the one that it holds as ``network.graph``.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    network : graph, or an object that holds one
    *kinds : classes
        Kinds of graphs that are accepted: `AffineGraph`, `PiecewiseGraph` or both.

    Raises
    ------
    TypeError
        If it is no such graph and holds none.
    """
    graph = network.graph if isinstance(network, HasGraph) else network
    if isinstance(graph, kinds):
        return graph
    given = type(network).__name__
    if isinstance(graph, Graph) and graph is not network:
        given += f", which holds {_with_article(type(graph))}"
    raise TypeError(
        f"{name}: expected {' or '.join(map(_with_article, kinds))}, or a network that holds one, such as a "
        f"SkipNetwork, got {given}{_way_out(graph, kinds)}"
    )


def _with_article(kind: type[Any]) -> str:
    return f"{'an' if kind.__name__.startswith('A') else 'a'} {kind.__name__}"


def _way_out(graph: object, kinds: tuple[type[Any], ...]) -> str:
    if PiecewiseGraph not in kinds and isinstance(graph, PiecewiseGraph):
        return "; a PiecewiseGraph is affine around each input x only: compose its .at(x)"
    if AffineGraph not in kinds:
        return "; gpu.trace(module, in_shape, piecewise=True) makes a PiecewiseGraph"
    return ""
