"""What `record` says of a forward is what ``torch.export`` says; what it cannot see, it leaves to ``torch.export``."""

import copy

import numpy as np
import pytest
import torch
from aten_cases import BY_NAME
from module_cases import AFFINE, Lambda
from torch import nn

import gpu
from gpu.tracing import trace as tracing
from gpu.tracing.comparison import first_difference
from gpu.tracing.export import example_of, export
from gpu.tracing.program import Program
from gpu.tracing.recording import record
from gpu.tracing.trace import trace_with_shape

IN_SHAPE = (2, 4, 4)


def noted(program):
    """The operations of a program, each with the module in whose forward it stands."""
    return [
        (str(node.target), list(node.meta["nn_module_stack"].values())[-1])
        for node in program.graph.nodes
        if node.op == "call_function"
    ]


def by_export(module, in_shape, monkeypatch):
    """The graph of a module as ``torch.export`` alone gives it, and the shape of its output."""
    with monkeypatch.context() as context:
        context.setattr(tracing, "_recorded", lambda *given: None)
        return trace_with_shape(module, in_shape)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        return self.norm(self.conv(x)) + 2 * x


def network():
    return nn.Sequential(Block(), nn.AvgPool2d(2), Block(), nn.Flatten(), nn.Linear(8, 3)).eval()


def test_a_network_is_recorded_as_torch_export_records_it(monkeypatch):
    module = network()
    program = record(copy.deepcopy(module), example_of(module, IN_SHAPE, 2))
    exported = Program.of_export(export(copy.deepcopy(module), IN_SHAPE, 2))
    assert noted(program) == noted(exported)
    assert set(program.names.values()) == set(exported.names.values()) - {
        "0.norm.num_batches_tracked",  # which no operation reads
        "2.norm.num_batches_tracked",
    }
    graph, out_shape = trace_with_shape(module, IN_SHAPE)
    other, other_shape = by_export(module, IN_SHAPE, monkeypatch)
    assert out_shape == other_shape
    assert [node.name for node in graph.nodes] == [node.name for node in other.nodes]
    assert "0: Block (test_recording.py, line" in graph.nodes[2].name


def test_a_network_is_traced_without_torch_export(monkeypatch):
    def refuse(*given, **options):
        raise AssertionError("torch.export was called")

    monkeypatch.setattr(torch.export, "export", refuse)
    assert gpu.trace(network(), IN_SHAPE).out_shape == (3,)


NORMS = {"group": nn.GroupNorm(1, 2), "layer": nn.LayerNorm(4), "instance": nn.InstanceNorm2d(2)}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_a_relu_in_place_on_a_norm_is_refused_without_torch_export(norm, monkeypatch):
    monkeypatch.setattr(torch.export, "export", None)
    with pytest.raises(gpu.NotAffineError, match=f"{type(norm).__name__}: .* is not (piecewise linear|affine)"):
        gpu.trace(nn.Sequential(norm, nn.ReLU(inplace=True)).eval(), IN_SHAPE, piecewise=True)


def test_operations_in_place_on_new_tensors_are_traced_without_torch_export(monkeypatch):
    layers = [nn.MaxPool2d(2), nn.ReLU(inplace=True), nn.Upsample(scale_factor=2), nn.Hardtanh(inplace=True)]
    module = nn.Sequential(*layers, nn.Upsample(scale_factor=1), nn.ReLU(inplace=True)).eval()
    x = np.random.default_rng(0).standard_normal(IN_SHAPE)
    monkeypatch.setattr(torch.export, "export", None)
    found = gpu.trace(module, IN_SHAPE, piecewise=True)(x)
    np.testing.assert_array_equal(found, module(torch.from_numpy(x)[None])[0].numpy())


@pytest.mark.parametrize("dropout", [nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_dropout_in_place_changes_nothing_in_evaluation_mode(dropout, monkeypatch):
    module = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), dropout(0.5, inplace=True), nn.Linear(48, 2)).eval()
    other, _ = by_export(module, IN_SHAPE, monkeypatch)
    monkeypatch.setattr(torch.export, "export", None)
    assert first_difference(gpu.trace(module, IN_SHAPE), other) is None
    with pytest.raises(gpu.NotAffineError, match=r"2: \w*Dropout\w*: \w*dropout is random in training mode"):
        gpu.trace(module.train(), IN_SHAPE)


def test_dropout_in_place_on_a_part_of_a_parameter_changes_nothing_either(monkeypatch):
    class Thinned(nn.Linear):
        def forward(self, x):
            return x * nn.functional.dropout(self.weight[0], 0.5, self.training, inplace=True)

    monkeypatch.setattr(torch.export, "export", None)
    module = Thinned(4, 4).eval()
    ours = gpu.trace(module, IN_SHAPE)(np.ones(IN_SHAPE))
    assert np.array_equal(ours[0, 0], module.weight[0].detach().numpy())


def test_an_operation_that_gives_no_tensor_is_recorded():
    module = Lambda(lambda self, x: 2 * x if torch.is_same_size(x, x) else x)
    program = record(module, torch.zeros(2, *IN_SHAPE))
    assert [name for name, _ in noted(program)] == ["aten.is_same_size.default", "aten.mul.Tensor"]


def test_a_part_that_counts_as_false_has_its_place_too():
    class Empty(nn.Sequential):
        def forward(self, x):
            return 2 * x

    graph = gpu.trace(nn.Sequential(Empty()), IN_SHAPE)
    assert not Empty()
    assert graph.nodes[0].name.startswith("0: Empty (test_recording.py, line")


def shared_part():
    layer = nn.Conv2d(2, 2, 1)
    return nn.Sequential(layer, layer)


class SharedMemory(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("matrix", torch.ones(4, 4))
        self.register_buffer("row", self.matrix[0])

    def forward(self, x):
        return x * self.row


class OutOfSight(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(4, 4)]

    def forward(self, x):
        return self.layers[0](x)


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.last = x.sum()
        return 2 * x


def asking(self, x):
    try:
        return x * float(x.sum())
    except RuntimeError:
        return x


def in_bfloat16(self, x):
    with torch.autocast(x.device.type, torch.bfloat16):
        return x * 2


def in_place(self, x):
    y = x * 2
    z = y[:, :1]
    z += 1
    return y


def through_data(self, x):
    y = x * 2
    y.data = 3 * x
    return y


def noisy(self, x):
    return x + torch.rand(4, generator=torch.Generator().manual_seed(0))


LEFT = {
    "a part has two names": shared_part(),
    "two buffers share their memory": SharedMemory(),
    "a part is out of torch's sight": OutOfSight(),
    "a buffer is set": Remembering(),
    "a number depends on the data, and the error is caught": Lambda(asking),
    "autocast changes the dtypes of arguments": Lambda(in_bfloat16),
    "a view is changed in place": Lambda(in_place),
    "the input is changed in place": Lambda(lambda self, x: x.add_(1)),
    "the memory of a tensor is read": Lambda(lambda self, x: x.data * 2),
    "the memory of a tensor is replaced": Lambda(through_data),
    "a generator of random numbers is given": Lambda(noisy),
    "torch.fx generated the forward": torch.fx.symbolic_trace(nn.Linear(4, 4)),
    "a parameter has a class of its own": nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(4)),
    "the operations are in torch.vmap": Lambda(lambda self, x: torch.vmap(lambda row: 2 * row)(x)),
}


@pytest.mark.parametrize("module", LEFT.values(), ids=LEFT)
def test_what_the_recording_does_not_show_is_left_to_torch_export(module):
    assert record(copy.deepcopy(module), torch.zeros(2, *IN_SHAPE)) is None


def test_a_forward_finds_that_it_is_exported():
    module = Lambda(lambda self, x: 2 * x if torch.compiler.is_exporting() else 3 * x)
    graph = gpu.trace(module, (1,))
    assert graph(torch.ones(1, 1).numpy()).item() == 2
    assert not torch.compiler.is_exporting()


@pytest.mark.sweep
@pytest.mark.parametrize(("module", "in_shape"), (AFFINE | BY_NAME).values(), ids=AFFINE | BY_NAME)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_each_operation_is_traced_as_through_torch_export(module, in_shape, monkeypatch):
    module = copy.deepcopy(module).eval()
    graph, out_shape = trace_with_shape(module, in_shape)
    other, other_shape = by_export(module, in_shape, monkeypatch)
    assert out_shape == other_shape
    assert first_difference(graph, other) is None
    for mine, theirs in zip(graph.nodes, other.nodes, strict=True):
        # torch.export takes regions without gradients or autocast apart, and then names code that it has generated
        assert mine.name == theirs.name or "<eval_with_key>" in theirs.name
