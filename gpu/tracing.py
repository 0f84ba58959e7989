"""Any torch module as an AffineGraph, or a refusal that names what is not affine, and where."""

import os
import re
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from gpu.aten import HANDLERS, check_product
from gpu.not_affine import NotAffineError, Obstacle, remedy_of
from gpu.values import SAMPLES, UNKNOWN, Refusal, Unknown, Value, constant, name_of
from linalg_cnn import AffineGraph, Constant, Flatten, Operation, ResampleTo, Reshape
from linalg_cnn.checks import check_shape
from linalg_cnn.types import Shape, size_of

TORCH_FOLDER = f"{Path(torch.__file__).parent}{os.sep}"


def trace(module: nn.Module, in_shape: Shape) -> AffineGraph:
    """Return a module as a graph of affine operations, with its parameters of this moment in float64.

    The module is exported by ``torch.export`` for two samples and not run on data. Each operation that torch
    records is affine by its name and its arguments, or it is refused: nothing is decided by trying numbers.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor (N, *in_shape) and returns one tensor (N, *out_shape), each sample by itself. Left as it
        is.
    in_shape : tuple of int
        (channels, *spatial).

    Returns
    -------
    AffineGraph

    Raises
    ------
    NotAffineError
        If an operation is not affine, or not known to be; all of them are listed, each with its place.
    TypeError
        If ``module`` is no ``nn.Module``.
    ValueError
        If the module does not take such input, or returns anything but one tensor of as many samples.

    Notes
    -----
    Source: the operations are those of ``torch.export`` without decomposition (ATen).

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).eval()
    >>> trace(net, (1, 4, 4))
    AffineGraph((1, 4, 4) -> (3,), 4 operations)
    >>> trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), (1, 4, 4))
    Traceback (most recent call last):
        ...
    gpu.not_affine.NotAffineError: module: expected affine operations only, got 1 that are not:
      1: ReLU: relu is not affine; replace it by the identity, as gpu.linearize does
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected an nn.Module, got {type(module).__name__}")
    in_shape = check_shape("in_shape", in_shape)
    program = export(module, in_shape)
    return Tracer(program, in_shape).run()


def export(module: nn.Module, in_shape: Shape) -> torch.export.ExportedProgram:
    """Return what ``torch.export`` records of a module, without operations that work in place.

    Raises
    ------
    NotAffineError
        If the forward branches on data.
    ValueError
        If it cannot be recorded: the input does not fit, or the forward does what cannot be exported.
    """
    like = next(module.parameters(), next(module.buffers(), torch.zeros(())))
    dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    example = torch.zeros(SAMPLES, *in_shape, dtype=dtype, device=like.device)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (example,), strict=False)
            return program if _is_functional(program) else program.run_decompositions({})
    except Exception as error:  # export lets through whatever the forward raises, and has many errors of its own
        if "data-dependent" in str(error).lower() or "DataDependent" in type(error).__name__:
            place = _place_in_traceback(error, module)
            raise NotAffineError([Obstacle(place, "branches on the data, or reads a number from them")]) from error
        message = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"module: expected a forward that takes ({SAMPLES}, {', '.join(map(str, in_shape))}) and that torch.export "
            f"can record, got {type(error).__name__}: {message}"
        ) from error


def _is_functional(program: torch.export.ExportedProgram) -> bool:
    """Return whether no operation changes a tensor that anything else could see."""
    fresh = {"conv", "batch_norm", "linear", "add", "cat", "avg_pool"}
    for node in program.graph.nodes:
        if node.op != "call_function" or not name_of(node).endswith("_"):
            continue
        changed = node.args[0]
        if not isinstance(changed, torch.fx.Node) or changed.op != "call_function" or len(changed.users) != 1:
            return False
        if not any(name_of(changed).startswith(name) for name in fresh):
            return False
    return True


class Tracer:
    """Walks an exported program, operation by operation, and builds the graph."""

    def __init__(self, program: torch.export.ExportedProgram, in_shape: Shape) -> None:
        self.program = program
        self.graph = AffineGraph(in_shape)
        self.input = Value(0, in_shape, 0)
        self.place = ""
        self.obstacles: dict[tuple[str, str], Obstacle] = {}

    def run(self) -> AffineGraph:
        """Return the graph.

        Raises
        ------
        NotAffineError
            If something is not affine.
        ValueError
            If what comes out is not one tensor with the samples first.
        """
        signature = self.program.graph_signature
        tensors = dict(self.program.state_dict) | dict(self.program.constants)
        names = (
            dict(signature.inputs_to_parameters)
            | dict(signature.inputs_to_buffers)
            | dict(signature.inputs_to_lifted_tensor_constants)
        )
        wanted = self._wanted()
        changed = set(signature.buffers_to_mutate.values())
        known: dict[str, Any] = {}
        for node in self.program.graph.nodes:
            if node not in wanted:
                continue
            if node.op == "placeholder":
                known[node.name] = constant(tensors[names[node.name]]) if node.name in names else self.input
                if names.get(node.name) in changed:
                    self.place = names[node.name]
                    self.report("is changed by every call, and what comes out depends on it", "")
            elif node.op == "call_function":
                self.place = place_of(node)
                known[node.name] = self.step(node, known)
        if self.obstacles:
            raise NotAffineError(list(self.obstacles.values()))
        outputs = signature.user_outputs
        if len(outputs) != 1 or not isinstance(outputs[0], str):
            raise ValueError(f"module: expected one tensor to come out, got {len(outputs)}")
        self.place = "the output"
        return self.finish(known[outputs[0]])

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

    def finish(self, output: Any) -> AffineGraph:
        """Return the graph whose last value is the output.

        Raises
        ------
        ValueError
            If the output does not have the samples first.
        """
        if isinstance(output, torch.Tensor):
            if output.ndim == 0 or len(output) != SAMPLES or not all(torch.equal(part, output[0]) for part in output):
                raise ValueError(
                    f"module: expected an entry per sample to come out, got a constant of shape {tuple(output.shape)}"
                )
            output = self.constant_value(output[0])
        if not isinstance(output, Value) or output.batch != 0:
            raise ValueError("module: expected an output whose first axis counts the samples")
        if output.number != len(self.graph.nodes):  # something was computed after it that nobody reads
            self.add(Reshape(self.graph.shapes[output.number]), output, shape=output.shape)
        return self.graph

    def step(self, node: torch.fx.Node, known: dict[str, Any]) -> Any:
        """Return what an operation gives: a constant, a Value, a list of them, or UNKNOWN."""
        args = torch.fx.map_arg(node.args, lambda arg: known[arg.name])
        kwargs = torch.fx.map_arg(node.kwargs, lambda arg: known[arg.name])
        leaves = list(_leaves((args, kwargs)))
        try:
            if any(isinstance(leaf, (Value, Unknown)) for leaf in leaves):
                return self.operation(node, args, kwargs, leaves)
            return evaluate(node, args, kwargs)
        except Refusal as found:
            self.report(found.reason, found.remedy)
            return self.stand_in(node, leaves)

    def operation(self, node: torch.fx.Node, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
        """Return what an operation on data gives.

        Raises
        ------
        Refusal
            If it is not affine.
        """
        name = name_of(node)
        if name == "getitem":
            return args[0] if args[0] is UNKNOWN else args[0][args[1]]
        handler = HANDLERS.get(name) or HANDLERS.get(name.rstrip("_"))
        if handler is None:
            remedy = remedy_of(name.rstrip("_"))
            if remedy is None:
                raise Refusal(f"{name} is not known to be affine")
            raise Refusal(f"{name.rstrip('_')} is not affine", remedy)
        if UNKNOWN in leaves:
            check_product(name, args)
            return UNKNOWN
        return handler(self, node, *args, **kwargs)

    def stand_in(self, node: torch.fx.Node, leaves: list[Any]) -> Any:
        """Return something of the shape that an operation would give, so that what follows can be looked at, too."""
        source = next((leaf for leaf in leaves if isinstance(leaf, Value)), None)

        def of(result: Any) -> Any:
            if isinstance(result, (tuple, list)):
                return [of(part) for part in result]
            if source is None or source.batch != 0 or not isinstance(result, torch.Tensor):
                return UNKNOWN
            if result.ndim == 0 or len(result) != SAMPLES:
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
        If that is random.
    """
    tags = getattr(node.target, "tags", ())
    if torch.Tag.nondeterministic_seeded in tags:
        raise Refusal(f"{name_of(node)} is random")
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    target: Any = node.target
    with torch.no_grad():
        try:
            return target(*args, **kwargs)
        except RuntimeError:  # constants that the forward makes are float32 also where parameters became float64
            return target(*pytree.tree_map_only(torch.Tensor, constant, args), **kwargs)


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (tuple, list)):
        for branch in tree:
            yield from _leaves(branch)
    elif isinstance(tree, dict):
        yield from _leaves(tuple(tree.values()))
    else:
        yield tree


def place_of(node: torch.fx.Node) -> str:
    """Return where an operation stands: ``layer1.0.relu: ReLU``, or module, class, file and line."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    path = re.sub(r"@\d+", "", path)
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    label = f"{path or 'the module'}: {kind.rpartition('.')[2]}"
    if kind.startswith("torch.nn.modules."):
        return label
    lines = re.findall(r'File "([^"]+)", line (\d+), in \w+', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not file.startswith(TORCH_FOLDER)]
    return f"{label} ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else label


def _place_in_traceback(error: BaseException, module: nn.Module) -> str:
    """Return the module and the line of its forward in which an error came up."""
    names = {id(part): name for name, part in module.named_modules()}
    place = "the module"
    for frame, line in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get("self")
        if id(owner) in names and not frame.f_code.co_filename.startswith(TORCH_FOLDER):
            file = Path(frame.f_code.co_filename).name
            place = f"{names[id(owner)] or 'the module'}: {type(owner).__name__} ({file}, line {line})"
    return place
