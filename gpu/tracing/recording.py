"""`record`: a forward that only calls operations of torch as a `Program`, without ``torch.export``."""

import operator
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch._dispatch.python import enable_python_dispatcher
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import ProxyTorchDispatchMode

from gpu.tracing.known import constants_known
from gpu.tracing.nodes import OURS
from gpu.tracing.program import Program, is_plain

Tensor = torch.Tensor

CALL: CodeType = nn.Module._call_impl.__code__
"""Code of the frame in which torch calls the forward of a module, ``self``."""

PLAIN = (int, float, bool, complex, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format)
"""Types of arguments of operations, beside tensors."""

FLAGS = ("_is_compiling_flag", "_is_exporting_flag")
"""Names in `torch.compiler` of what a forward asks by ``torch.compiler.is_exporting()``."""


def record(module: nn.Module, example: Tensor) -> Program | None:
    """Return the operations of one run of a module, or None if only ``torch.export`` can say what they are.

    The forward is run once on stand-ins for its parameters and its input, which have shapes but no numbers, and each
    operation of torch is noted. The result is what ``torch.export`` gives, in a fraction of its time, for a forward
    that only calls operations on its input, its parameters and constants. Anything else is left to ``torch.export``: an
    operation in place on what others read, a tensor of unknown origin, a buffer that is set, a number that depends on
    the data.

    Parameters
    ----------
    module : nn.Module
        A copy of the user's module, whose forward returns one tensor. Its forward is called, which may change it.
    example : tensor (N, *in_shape)
        A batch; its numbers do not count.

    Raises
    ------
    Exception
        Whatever the forward raises, or torch because a stand-in has no numbers.
    """
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    if not (_is_usual(module) and _are_usual(list(tensors.values()))):
        return None
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        given = {name: _stand_in(tensor) for name, tensor in tensors.items()}
        x = _stand_in(example)
    recorder = _Recorder(module, given, x)
    after = dict(given)
    with (
        torch.enable_grad(),
        constants_known(module) as found,
        _exporting(),
        enable_python_dispatcher(),
        fake,
        recorder,
    ):
        result = torch.func.functional_call(module, after, (x,))
    output = recorder.node_of(result)
    is_set = any(after[name] is not tensor for name, tensor in given.items())
    if recorder.unusual or found.unsteady or found.behind or is_set or not is_plain(recorder.graph):
        return None
    return Program(
        recorder.graph,
        recorder.input.name,
        output.name,
        recorder.names,
        frozenset(recorder.names) - recorder.constants.keys(),
        frozenset(),
        {**tensors, **recorder.constants},
    )


def _is_usual(module: nn.Module) -> bool:
    """Return whether each part of a module has one name and is written in Python."""
    parts = [part for _, part in module.named_modules(remove_duplicate=False)]
    return len({id(part) for part in parts}) == len(parts) and not any(
        isinstance(part, (torch.fx.GraphModule, torch.jit.ScriptModule)) for part in parts
    )


def _are_usual(tensors: list[Tensor]) -> bool:
    """Return whether tensors are dense tensors of torch's own classes, each with its own memory."""
    return all(
        type(tensor) in {Tensor, nn.Parameter}
        and tensor.layout == torch.strided
        and not (tensor.is_nested or tensor.is_conj() or tensor.is_neg() or tensor.is_inference())
        for tensor in tensors
    ) and len({tensor.untyped_storage()._cdata for tensor in tensors}) == len(tensors)


def _stand_in(tensor: Tensor) -> Tensor:
    """Return a tensor without numbers that looks like another one, where torch makes such tensors."""
    found = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=tensor.device)
    if isinstance(tensor, nn.Parameter):
        found._is_param = True  # as nn.Parameter sets it, on a copy
    return found.requires_grad_(tensor.requires_grad)


@contextmanager
def _exporting() -> Iterator[None]:
    """Let a forward find what it finds in ``torch.export``: ``torch.compiler.is_exporting()`` is true."""
    before = {name: getattr(torch.compiler, name) for name in FLAGS if hasattr(torch.compiler, name)}
    try:
        for name in before:
            setattr(torch.compiler, name, True)
        yield
    finally:
        for name, flag in before.items():
            setattr(torch.compiler, name, flag)


class _Recorder(ProxyTorchDispatchMode):
    """Notes operations where ``torch.export`` notes them: before torch takes them apart or computes gradients.

    torch calls only modes of its own class there.

    Attributes
    ----------
    graph : torch.fx.Graph
        The operations so far.
    input : torch.fx.Node
        The placeholder of the input.
    names : dict of str to str
        Names of parameters, buffers and constants by their placeholders, of those that operations have read.
    constants : dict of str to tensor
        Tensors with numbers that the forward has made or keeps, by name.
    unusual : bool
        Whether something happened whose effect the graph does not show.
    """

    def __init__(self, module: nn.Module, given: dict[str, Tensor], x: Tensor) -> None:
        super().__init__(None, "fake", True)  # type: ignore[arg-type]
        self.paths = {id(part): name for name, part in module.named_modules()}
        self.parts = {id(tensor): name for name, tensor in given.items()}
        self.graph = torch.fx.Graph()
        self.input = self.graph.placeholder("x")
        self.nodes: dict[int, tuple[Tensor, torch.fx.Node]] = {}  # holds the tensors, so that no id is used again
        self.names: dict[str, str] = {}
        self.constants: dict[str, Tensor] = {}
        self.unusual = False
        self.device_type = x.device.type
        self._learn(x, self.input)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and note it."""
        kwargs = kwargs or {}
        try:
            with torch._C._DisablePythonDispatcher():  # what the operation calls is not noted
                result = func(*args, **kwargs)
        except Exception:  # the forward may catch it
            self.unusual = True
            raise
        given: Any = torch.fx.node.map_aggregate((args, kwargs), self._argument)
        node = self.graph.create_node("call_function", func, given[0], given[1], name=func.overloadpacket.__name__)
        self._note_place(node)
        self._learn(result, node)
        self.unusual |= torch.is_autocast_enabled(self.device_type)  # which changes the dtypes of arguments
        return result

    def node_of(self, tensor: Tensor) -> torch.fx.Node:
        """Return the node that gives a tensor."""
        if id(tensor) in self.nodes:
            return self.nodes[id(tensor)][1]
        name = self.parts.get(id(tensor))
        if name is None:
            if type(tensor) not in {Tensor, nn.Parameter}:  # a stand-in that no operation gave, or one of torch.func
                self.unusual = True
            name = f"constant {len(self.constants)}"
            self.constants[name] = tensor
        node = self.graph.placeholder(name.replace(".", "_"))
        self.names[node.name] = name
        self._learn(tensor, node)
        return node

    def _argument(self, leaf: Any) -> Any:
        """Return an argument of an operation as its node holds it."""
        if isinstance(leaf, Tensor):
            return self.node_of(leaf)
        self.unusual |= not isinstance(leaf, PLAIN)
        return leaf

    def _learn(self, result: Any, node: torch.fx.Node) -> None:
        """Note which node gives a tensor, or each tensor of a sequence."""
        node.meta["val"] = result
        if isinstance(result, Tensor):
            self.nodes[id(result)] = result, node
        elif isinstance(result, (tuple, list)):
            for number, part in enumerate(result):
                self._learn(part, self.graph.create_node("call_function", operator.getitem, (node, number)))

    def _note_place(self, node: torch.fx.Node) -> None:
        """Note the module in whose forward an operation stands, and the line, as ``torch.export`` does."""
        owner, line, frame = None, "", sys._getframe(2)
        while frame.f_code is not record.__code__ and (owner is None or not line):
            code = frame.f_code
            if not line and code.co_name == "forward" and not code.co_filename.startswith(OURS):
                line = f'File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}'
            if owner is None and code is CALL:
                owner = frame.f_locals["self"]
            frame = frame.f_back  # type: ignore[assignment]
        self.unusual |= id(owner) not in self.paths  # a module that its parent keeps out of torch's sight
        kind = type(owner)
        node.meta["nn_module_stack"] = {"": (self.paths.get(id(owner), ""), f"{kind.__module__}.{kind.__qualname__}")}
        node.meta["stack_trace"] = line
