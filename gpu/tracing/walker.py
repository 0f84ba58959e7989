"""The walk over an exported program that turns each of its nodes into operations of a graph."""

import operator
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch.utils import _pytree as pytree

from gpu.models.nonlinearities import EVALUATE, LEAVE_OFF
from gpu.tracing.aten import HANDLERS, PIECEWISE_HANDLERS, POSITIONS, check_product, is_traced
from gpu.tracing.builder import AnyGraph, GraphBuilder
from gpu.tracing.constants import constant, evaluate
from gpu.tracing.nodes import full_name_of, name_of, owner_of, place_of
from gpu.tracing.not_affine import NotAffineError, Obstacle, reason_of, remedy_of
from gpu.tracing.program import Program
from gpu.tracing.values import UNKNOWN, Refusal, Unknown, Value
from linalg_cnn import Reshape
from linalg_cnn.types import Shape

RESHAPING = ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "_to_copy", "to", "clone", "contiguous")
"""Operations that change neither the order nor the number of entries."""


class ProgramWalker:
    """Walks an exported program node by node, lets handlers build the graph, and collects what is not affine.

    Parameters
    ----------
    program : Program
        A program without operations that work in place on what others read.
    builder : GraphBuilder
        A builder without operations yet.
    training : collection of str
        Paths of the modules in training mode.
    obstacles : collection of Obstacle
        Obstacles that were found before.
    """

    def __init__(
        self,
        program: Program,
        builder: GraphBuilder,
        training: Collection[str],
        obstacles: Collection[Obstacle] = (),
    ) -> None:
        self.program, self.builder, self.training = program, builder, training
        self.kind = "piecewise linear" if builder.piecewise else "affine"
        self.handlers = PIECEWISE_HANDLERS if builder.piecewise else HANDLERS
        self.dtype = torch.get_default_dtype()
        self.known: dict[str, Any] = {}
        self.obstacles = {(obstacle.place, obstacle.reason): obstacle for obstacle in obstacles}

    def walk(self) -> tuple[AnyGraph, Shape]:
        """Return the graph, and the shape of one sample of the output.

        Raises
        ------
        NotAffineError
            If an operation is not affine, or not piecewise linear where that is allowed.
        ValueError
            If the output does not have the samples first.
        """
        wanted = self._wanted()
        for node in self.program.graph.nodes:
            if node.name == self.program.input:
                self.known[node.name], self.dtype = self.builder.input, node.meta["val"].dtype
            elif node not in wanted:
                continue
            elif node.op == "placeholder":
                self.known[node.name] = self._stored(node)
            elif node.op == "get_attr":  # the graph inside a higher-order operation, which is refused
                self.known[node.name] = None
            else:
                self.builder.place = place_of(node)
                self.known[node.name] = self._result(node)
        if self.obstacles:
            raise NotAffineError(list(self.obstacles.values()), self.kind)
        self.builder.place = "the output"
        return self._finish(self.known[self.program.output])

    def _wanted(self) -> set[torch.fx.Node]:
        """Return the nodes that the output depends on."""
        pending = [node for node in self.program.graph.nodes if node.name == self.program.output]
        wanted: set[torch.fx.Node] = set()
        while pending:
            node = pending.pop()
            if node not in wanted:
                wanted.add(node)
                pending += node.all_input_nodes
        return wanted

    def _finish(self, output: Any) -> tuple[AnyGraph, Shape]:
        """Return the graph whose last value is the output, and the shape of one sample of the output.

        Raises
        ------
        ValueError
            If the output does not have the samples first.
        """
        if isinstance(output, torch.Tensor):
            per_sample = output.ndim > 0 and len(output) == self.builder.samples
            if not per_sample or not all(torch.equal(part, output[0]) for part in output):
                raise ValueError(
                    f"module: expected an entry per sample in the output, got a constant of shape {tuple(output.shape)}"
                )
            output = self.builder.constant(output[0])
        if is_traced(output) and not isinstance(output, Value):
            raise ValueError("module: expected a real output, got complex numbers; return torch.view_as_real of them")
        if not isinstance(output, Value) or output.batch != 0 or output.slices > 1:
            raise ValueError("module: expected an output whose first axis counts the samples")
        graph = self.builder.graph
        if output.number != len(graph.nodes):  # a later operation, whose result nobody reads, is the last one
            self.builder.add(Reshape(graph.shapes[output.number]), output, shape=output.shape)
        return graph, output.shape

    def _stored(self, node: torch.fx.Node) -> Any:
        """Return the parameter, buffer, constant or random generator of the module that a placeholder stands for.

        A buffer that every call changes is reported.
        """
        name = self.program.names[node.name]
        tensor = self.program.tensors[name]
        if name in self.program.changed:
            self.builder.place = name
            remedy = EVALUATE if name.rpartition(".")[0] in self.training else ""
            self._report("is changed by every call, and the output depends on it", remedy)
        if not isinstance(tensor, torch.Tensor):
            return tensor
        return self.builder.once(constant, tensor, called=name if node.name in self.program.parts else None)

    def _result(self, node: torch.fx.Node) -> Any:
        """Return the result of a node: a constant, a Value, a list of them, or UNKNOWN; report a refusal."""
        args = torch.fx.map_arg(node.args, lambda arg: self.known[arg.name])
        kwargs = torch.fx.map_arg(node.kwargs, lambda arg: self.known[arg.name])
        leaves = pytree.tree_leaves((args, kwargs))
        try:
            if not any(is_traced(leaf) or isinstance(leaf, Unknown) for leaf in leaves):
                return evaluate(node, args, kwargs)
            result = self._handled(node, args, kwargs, leaves)
            self._check_dtype(node, result)
            return result  # noqa: TRY300 - the check of its dtype may refuse it, too
        except Refusal as found:
            reason, remedy = found.reason, found.remedy
        except (ValueError, RuntimeError, TypeError, IndexError) as error:  # from checks of linalg_cnn and of torch
            message = str(error).strip().partition("\n")[0].removeprefix(f"{self.builder.place}: ")
            reason, remedy = f"{name_of(node)}: {message}", ""
        self._report(reason, self._evaluation(node) if remedy == EVALUATE else remedy)
        return self._stand_in(node, leaves)

    def _handled(self, node: torch.fx.Node, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
        """Return what the handler of an operation on data gives.

        Raises
        ------
        Refusal
            If the operation is not of the kind that is followed, or has no handler.
        """
        name, unknown = name_of(node), any(leaf is UNKNOWN for leaf in leaves)
        if node.target is operator.getitem:
            return UNKNOWN if unknown else args[0][args[1]]
        if unknown and (name.startswith("sym_") or not isinstance(node.target, torch._ops.OperatorBase)):
            return UNKNOWN  # arithmetic with sizes that depend on the data
        if getattr(node.target, "namespace", "") != "aten":
            raise Refusal(f"{full_name_of(node)} is not known to be {self.kind}")
        if any(leaf is POSITIONS for leaf in leaves):
            raise Refusal(f"{name} reads positions of largest entries, which are not piecewise linear")
        handler = self.handlers.get(name) or self.handlers.get(name.rstrip("_"))
        if handler is None:
            reason = reason_of(name.rstrip("_"), self.kind)
            if reason is None:
                raise Refusal(f"{name} is not known to be {self.kind}")
            remedy = remedy_of(name.rstrip("_"), args) or ""
            if remedy == LEAVE_OFF and not self._is_output(node):
                remedy = ""  # inside of the network, as in attention, leaving it off changes the scores
            raise Refusal(reason, remedy)
        if unknown:
            check_product(name, args)
            return UNKNOWN
        return handler(self.builder, node, *args, **kwargs)

    def _is_output(self, node: torch.fx.Node) -> bool:
        """Return whether the output is the result of a node, perhaps in another shape."""
        while node.name != self.program.output:
            users = list(node.users)
            if len(users) != 1 or name_of(users[0]) not in RESHAPING:
                return False
            node = users[0]
        return True

    def _check_dtype(self, node: torch.fx.Node, result: Any) -> None:
        """Refuse a result with coarser numbers than the input, of a smaller range, or complex without being followed.

        Raises
        ------
        Refusal
            If the operation does so.
        """
        read = [arg.meta["val"] for arg in node.all_input_nodes if is_traced(self.known[arg.name])]
        dtypes = {val.dtype for val in read if isinstance(val, torch.Tensor)}
        for value, val in zip(pytree.tree_leaves(result), pytree.tree_leaves(node.meta.get("val")), strict=False):
            if not is_traced(value) or val.dtype in dtypes:  # the inputs are rounded already
                continue
            if val.dtype.is_complex == isinstance(value, Value):
                raise Refusal("complex numbers")
            if (
                not (val.dtype.is_floating_point or val.dtype.is_complex)
                or torch.finfo(val.dtype).eps > torch.finfo(self.dtype).eps
            ):
                raise Refusal(f"{name_of(node)} rounds {self.dtype} to {val.dtype}")
            if torch.finfo(val.dtype).max < torch.finfo(self.dtype).max:
                raise Refusal(f"{name_of(node)} limits {self.dtype} to the range of {val.dtype}")

    def _evaluation(self, node: torch.fx.Node) -> str:
        """Return the remedy for an operation that is affine in evaluation mode only."""
        return EVALUATE if owner_of(node)[0] in self.training else "give it training=self.training"

    def _stand_in(self, node: torch.fx.Node, leaves: list[Any]) -> Any:
        """Return values of the shapes that a refused operation gives, so that the walk can go on behind it."""
        source = next((leaf for leaf in leaves if isinstance(leaf, Value)), None)

        def like(result: Any) -> Any:
            if isinstance(result, (tuple, list)):
                return [like(part) for part in result]
            if source is None or source.batch != 0 or not isinstance(result, torch.Tensor) or result.is_complex():
                return UNKNOWN
            if not all(isinstance(size, int) and size for size in result.shape):
                return UNKNOWN
            if result.ndim == 0 or len(result) != source.length(self.builder.samples):
                return UNKNOWN
            return self.builder.resize(source, tuple(result.shape[1:]))

        return like(node.meta.get("val"))

    def _report(self, reason: str, remedy: str) -> None:
        """Note an obstacle at the present place, or count it once more."""
        key = (self.builder.place, reason)
        seen = self.obstacles.get(key, Obstacle(self.builder.place, reason, remedy, times=0))
        self.obstacles[key] = replace(seen, times=seen.times + 1)
