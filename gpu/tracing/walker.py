"""Walks what ``torch.export`` recorded, and makes an AffineGraph of it."""

import operator
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch.utils import _pytree as pytree

from gpu.tracing.aten import HANDLERS, check_product
from gpu.tracing.export import owner_of, place_of
from gpu.tracing.not_affine import EVALUATE, NotAffineError, Obstacle, remedy_of
from gpu.tracing.values import UNKNOWN, Refusal, Unknown, Value, computed, constant, full_name_of, name_of
from linalg_cnn import AffineGraph, Constant, Flatten, Operation, ResampleTo, Reshape
from linalg_cnn.types import Shape, size_of

Made = TypeVar("Made")

Memo = dict[tuple[Any, ...], tuple[Any, Any]]


class Tracer:
    """Walks an exported program, operation by operation, and builds the graph.

    Parameters
    ----------
    program : ExportedProgram
        Without operations that work in place.
    in_shape : tuple of int
    samples : int
        For how many it was exported.
    training : collection of str
        The paths of the modules in training mode.
    memo : dict
        What was made of the parameters, for the next tracer of the same module.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        in_shape: Shape,
        samples: int,
        training: Collection[str],
        memo: Memo,
    ) -> None:
        self.program, self.samples, self.training, self.memo = program, samples, training, memo
        self.graph = AffineGraph(in_shape)
        self.input = Value(0, in_shape, 0)
        self.dtype = torch.get_default_dtype()
        self.place = ""
        self.known: dict[str, Any] = {}
        self.obstacles: dict[tuple[str, str], Obstacle] = {}

    def run(self) -> tuple[AffineGraph, Shape]:
        """Return the graph, and the shape of one sample of what comes out.

        Raises
        ------
        NotAffineError
            If something is not affine.
        ValueError
            If what comes out is not one tensor with the samples first.
        """
        signature = self.program.graph_signature
        tensors = dict(self.program.state_dict) | dict(self.program.constants)
        parts = dict(signature.inputs_to_parameters) | dict(signature.inputs_to_buffers)
        names = parts | dict(signature.inputs_to_lifted_tensor_constants)
        changed, inputs = set(signature.buffers_to_mutate.values()), set(signature.user_inputs)
        wanted = self._wanted()
        for node in self.program.graph.nodes:
            if node.name in inputs:
                self.known[node.name], self.dtype = self.input, node.meta["val"].dtype
            elif node not in wanted:
                continue
            elif node.op == "placeholder":
                name = names[node.name]
                self.known[node.name] = self.once(constant, tensors[name], called=parts.get(node.name))
                if name in changed:
                    self.place = name
                    remedy = EVALUATE if name.rpartition(".")[0] in self.training else ""
                    self.report("is changed by every call, and what comes out depends on it", remedy)
            elif node.op == "get_attr":  # the graph inside a higher-order operation, which is refused
                self.known[node.name] = None
            else:
                self.place = place_of(node)
                self.known[node.name] = self.step(node)
        if self.obstacles:
            raise NotAffineError(list(self.obstacles.values()))
        self.place = "the output"
        return self.finish(self.known[self._output()])

    def _output(self) -> str:
        """Return the name of the node that comes out.

        Raises
        ------
        ValueError
            If that is not one tensor.
        """
        spec = self.program.call_spec.out_spec
        if spec is not None and not spec.is_leaf():
            raise ValueError(
                f"module: expected one tensor to come out, got a {spec.type.__name__} of {len(spec.children())}"
            )
        outputs: list[Any] = list(self.program.graph_signature.user_outputs)
        if len(outputs) != 1 or not isinstance(outputs[0], str):
            raise ValueError(f"module: expected one tensor to come out, got {outputs}")
        return outputs[0]

    def _wanted(self) -> set[torch.fx.Node]:
        """Return the nodes that the output depends on."""
        outputs = set(self.program.graph_signature.user_outputs)
        pending = [node for node in self.program.graph.nodes if node.name in outputs]
        wanted: set[torch.fx.Node] = set()
        while pending:
            node = pending.pop()
            if node not in wanted:
                wanted.add(node)
                pending += node.all_input_nodes
        return wanted

    def finish(self, output: Any) -> tuple[AffineGraph, Shape]:
        """Return the graph whose last value is the output, and the shape of one sample of it.

        Raises
        ------
        ValueError
            If the output does not have the samples first.
        """
        if isinstance(output, torch.Tensor):
            per_sample = output.ndim > 0 and len(output) == self.samples
            if not per_sample or not all(torch.equal(part, output[0]) for part in output):
                raise ValueError(
                    f"module: expected an entry per sample to come out, got a constant of shape {tuple(output.shape)}"
                )
            output = self.constant_value(output[0])
        if not isinstance(output, Value) or output.batch != 0:
            raise ValueError("module: expected an output whose first axis counts the samples")
        if output.number != len(self.graph.nodes):  # something was computed after it that nobody reads
            self.add(Reshape(self.graph.shapes[output.number]), output, shape=output.shape)
        return self.graph, output.shape

    def step(self, node: torch.fx.Node) -> Any:
        """Return what an operation gives: a constant, a Value, a list of them, or UNKNOWN."""
        args = torch.fx.map_arg(node.args, lambda arg: self.known[arg.name])
        kwargs = torch.fx.map_arg(node.kwargs, lambda arg: self.known[arg.name])
        leaves = list(_leaves((args, kwargs)))
        try:
            if not any(isinstance(leaf, (Value, Unknown)) for leaf in leaves):
                return evaluate(node, args, kwargs)
            result = self.operation(node, args, kwargs, leaves)
            self.check_dtype(node, result)
            return result  # noqa: TRY300 - an operation that rounds is refused, too
        except Refusal as found:
            reason, remedy = found.reason, found.remedy
        except (ValueError, RuntimeError, TypeError, IndexError) as error:  # of linalg_cnn's checks, and of torch
            message = str(error).strip().partition("\n")[0].removeprefix(f"{self.place}: ")
            reason, remedy = f"{name_of(node)}: {message}", ""
        self.report(reason, self.evaluation(node) if remedy == EVALUATE else remedy)
        return self.stand_in(node, leaves)

    def operation(self, node: torch.fx.Node, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
        """Return what an operation on data gives.

        Raises
        ------
        Refusal
            If it is not affine.
        """
        name, unknown = name_of(node), any(leaf is UNKNOWN for leaf in leaves)
        if node.target is operator.getitem:
            return UNKNOWN if unknown else args[0][args[1]]
        if unknown and (name.startswith("sym_") or not isinstance(node.target, torch._ops.OperatorBase)):
            return UNKNOWN  # arithmetic with sizes that depend on the data
        if getattr(node.target, "namespace", "") != "aten":
            raise Refusal(f"{full_name_of(node)} is not known to be affine")
        handler = HANDLERS.get(name) or HANDLERS.get(name.rstrip("_"))
        if handler is None:
            remedy = remedy_of(name.rstrip("_"), args, owner_of(node)[1].startswith("torch.nn.modules."))
            if remedy is None:
                raise Refusal(f"{name} is not known to be affine")
            raise Refusal(f"{name.rstrip('_')} is not affine", remedy)
        if unknown:
            check_product(name, args)
            return UNKNOWN
        return handler(self, node, *args, **kwargs)

    def check_dtype(self, node: torch.fx.Node, result: Any) -> None:
        """Refuse an operation whose result is rounded more coarsely than the network's input.

        Raises
        ------
        Refusal
            If it is.
        """
        read = [arg.meta["val"] for arg in node.all_input_nodes if isinstance(self.known[arg.name], Value)]
        dtypes = {val.dtype for val in read if isinstance(val, torch.Tensor)}
        for value, val in zip(pytree.tree_leaves(result), pytree.tree_leaves(node.meta.get("val")), strict=False):
            if not isinstance(value, Value) or val.dtype in dtypes:  # what was read is rounded already
                continue
            if val.dtype.is_complex:
                raise Refusal("complex numbers")
            if not val.dtype.is_floating_point or torch.finfo(val.dtype).eps > torch.finfo(self.dtype).eps:
                raise Refusal(f"{name_of(node)} rounds {self.dtype} to {val.dtype}")

    def evaluation(self, node: torch.fx.Node) -> str:
        """Return what to do about an operation that is affine in evaluation mode only."""
        return EVALUATE if owner_of(node)[0] in self.training else "give it training=self.training"

    def stand_in(self, node: torch.fx.Node, leaves: list[Any]) -> Any:
        """Return something of the shape that an operation would give, so that what follows can be looked at, too."""
        source = next((leaf for leaf in leaves if isinstance(leaf, Value)), None)

        def of(result: Any) -> Any:
            if isinstance(result, (tuple, list)):
                return [of(part) for part in result]
            if source is None or source.batch != 0 or not isinstance(result, torch.Tensor):
                return UNKNOWN
            if not all(isinstance(size, int) and size for size in result.shape):
                return UNKNOWN
            if result.ndim == 0 or len(result) != self.samples:
                return UNKNOWN
            shape = tuple(result.shape[1:]) or (1,)
            if len(shape) == len(self.graph.shapes[source.number]):
                value = self.add(ResampleTo(shape), source)
            else:
                flat = self.add(Flatten(), source)
                size = self.add(ResampleTo((size_of(shape),)), flat)
                value = self.add(Reshape(shape), size)
            return replace(value, shape=tuple(result.shape[1:]))

        return of(node.meta.get("val"))

    def report(self, reason: str, remedy: str) -> None:
        """Note what is not affine, with its place."""
        key = (self.place, reason)
        seen = self.obstacles.get(key, Obstacle(self.place, reason, remedy, times=0))
        self.obstacles[key] = replace(seen, times=seen.times + 1)

    def once(
        self, make: Callable[..., Made], *tensors: torch.Tensor | None, called: Any = None, **options: Any
    ) -> Made:
        """Return ``make(*tensors, **options)``, made once for the same tensors and options, all tracers together.

        Tensors of another identity are the same if they are ``called`` the same: parameters, once more exported.
        """
        key = (make, *(map(id, tensors) if called is None else (called,)), *options.items())
        if key not in self.memo:
            self.memo[key] = (make(*tensors, **options), tensors)  # which must live on: their ids stand for them
        made: Made = self.memo[key][0]
        return made

    def add(self, operation: Operation, *inputs: Value, shape: Shape | None = None, batch: int | None = None) -> Value:
        """Append an operation; the batch axis stays where that of the first input is, if nothing else is said."""
        number = self.graph.add(operation, *(value.number for value in inputs), name=self.place)
        return Value(
            number,
            self.graph.shapes[number] if shape is None else shape,
            inputs[0].batch if batch is None else batch,
        )

    def reshape(self, value: Value, shape: Shape, batch: int) -> Value:
        """Return the same entries of each sample in another shape."""
        if (shape or (1,)) == self.graph.shapes[value.number]:
            return Value(value.number, shape, batch)
        return self.add(Reshape(shape or (1,)), value, shape=shape, batch=batch)

    def constant_value(self, sample: torch.Tensor, batch: int = 0) -> Value:
        """Return a constant as a value of the graph."""
        shape = tuple(sample.shape)
        return self.add(Constant(sample.reshape(shape or (1,)).double().numpy()), self.input, shape=shape, batch=batch)


def evaluate(node: torch.fx.Node, args: Any, kwargs: Any) -> Any:
    """Return what an operation on constants gives.

    Raises
    ------
    Refusal
        If that is random, or not known to be the same at every call.
    """
    name = name_of(node)
    switched_off = name.endswith("dropout") and len(args) > 2 and not args[2]
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not switched_off:
        raise Refusal(f"{name} is random", EVALUATE if name.endswith("dropout") else "")
    if isinstance(node.target, torch._ops.OperatorBase) and getattr(node.target, "namespace", "") != "aten":
        raise Refusal(f"{full_name_of(node)} is not known to give the same at every call")
    with torch.no_grad():
        try:
            return computed(node, args, kwargs)
        except RuntimeError:  # constants that the forward makes are float32 also where parameters became float64
            return computed(node, pytree.tree_map_only(torch.Tensor, constant, args), kwargs)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from _leaves(branch)
    elif isinstance(tree, dict):
        yield from _leaves(tuple(tree.values()))
    else:
        yield tree
