"""Merging: every form of a stretch is the stretch, the stretches are the network, and the result is the model."""

import copy
import io
import json
import pickle
import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.fx
from hypothesis import given
from hypothesis import strategies as st
from module_cases import Lambda
from networks import networks
from piecewise_cases import PIECEWISE
from torch import nn

import gpu
import gpu.merging.choosing as choosing
import gpu.merging.merge as merging
from gpu.merging.border import boxes_around, interior
from gpu.merging.cutting import cuts_of, fastest_cuts
from gpu.merging.folding import fold_scales
from gpu.merging.forms import chain_form, other_forms
from gpu.merging.latency import Latency
from gpu.merging.network import network_of
from gpu.merging.stretches import Stretch, steps_of
from gpu.tracing.trace import trace_with_shape
from linalg_cnn import (
    AffineGraph,
    AvgPool,
    BatchNorm,
    Clamp,
    Concatenate,
    Constant,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    Hardtanh,
    LeakyReLU,
    MaxOver,
    MaxPool,
    Pad,
    PiecewiseGraph,
    PReLU,
    ReLU,
    Resample,
    Scale,
    SkipNetwork,
    Take,
    WeightedSum,
)
from linalg_cnn.piecewise.entry_functions import EntryFunction

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")

PLENTY = 10**9
RNG = np.random.default_rng(0)


def conv(c_in, c_out, size=3, **options):
    return nn.Conv2d(c_in, c_out, size, **options)


def trained(*layers):
    """A network in evaluation mode whose running statistics are not those of a new one."""
    torch.manual_seed(0)
    net = nn.Sequential(*layers).eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.normal_(part.bias)
    return net


def preferring(*names):
    """Latencies by which a form whose name begins with one of these is fastest, and the chain otherwise."""

    def latencies(modules, x, rounds=1):
        ratios = {}
        for name, module in modules.items():
            module(x)
            rank = next((k for k, wanted in enumerate(names) if name.startswith(wanted)), len(names))
            ratios[name] = 0.1 * (1 + rank) if rank < len(names) else 1.0
        return {name: Latency(1e-3 * ratio, ratio, ratio, ratio) for name, ratio in ratios.items()}

    return latencies


@pytest.fixture
def prefer(monkeypatch):
    """Choose forms by name instead of by time."""

    def choose(*names):
        for module in (choosing, merging):
            monkeypatch.setattr(module, "latencies", preferring(*names))

    return choose


def assert_is_the_graph(module, graph, count=3):
    x = np.random.default_rng(1).integers(-4, 4, (count, *graph.in_shape)).astype(float)
    with torch.no_grad():
        ours = module(torch.from_numpy(x)).numpy()
    expected = graph(x)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(expected).max()))


def scripted(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.9 recommends torch.export
        return torch.jit.script(module)


# the forms of a stretch


@given(networks(ranks=(1, 2)))
def test_every_form_of_a_random_stretch_is_the_stretch(net):
    graph = fold_scales(net.graph, AffineGraph(net.in_shape))
    forms, left_out = other_forms(graph, PLENTY)
    assert left_out == []
    for form in (chain_form(graph, PLENTY), *forms):
        assert_is_the_graph(form.module, net.graph)


OPTIONS = [
    {"padding": 1},
    {"padding": 1, "stride": 2},
    {"padding": 2, "dilation": 2},
    {"padding": 1, "groups": 2},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 1, "padding_mode": "replicate"},
    {"padding": 1, "padding_mode": "circular"},
    {"padding": "same"},
]


@pytest.mark.parametrize("first", OPTIONS, ids=str)
@pytest.mark.parametrize("second", [{"padding": 1, "stride": 2}, {"padding": 2}], ids=str)
def test_two_convolutions_in_a_row_are_one_with_corrections_at_the_border(first, second):
    groups = first.get("groups", 1)
    layers = [
        Conv(RNG.normal(size=(32, 2 // groups, 3, 3)), RNG.normal(size=32), **first),
        Conv(RNG.normal(size=(2, 32, 3, 3)), RNG.normal(size=2), **second),
    ]
    graph = SkipNetwork((2, 15, 14), layers).graph
    forms = {form.name: form for form in other_forms(graph, PLENTY)[0]}
    bordered = forms["convolution + border"]
    assert_is_the_graph(bordered.module, graph)
    # it is the corrections that make it exact
    plain = bordered.module.convolution(torch.from_numpy(np.ones((1, *graph.in_shape)))).detach().numpy()
    assert np.abs(plain - graph(np.ones((1, *graph.in_shape)))).max() > 1e-3


def test_convolutions_without_padding_are_one_convolution_with_the_flattening_behind_it():
    net = SkipNetwork((1, 9, 9), [Conv(RNG.normal(size=(16, 1, 3, 3))), Conv(RNG.normal(size=(2, 16, 3, 3)), [1, 2])])
    graph = AffineGraph((1, 9, 9))
    graph.add(Flatten(), graph.extend(net.graph, 0))
    forms = {form.name: form for form in other_forms(graph, PLENTY)[0]}
    assert "convolution" in forms
    assert forms["convolution"].multiply_adds == 25 * 2 * 25
    assert_is_the_graph(forms["convolution"].module, graph)


@pytest.mark.parametrize("scale", [1e-7, 1e-11])
def test_a_channel_of_tiny_values_is_as_exact_as_the_others(scale):
    kernel = RNG.normal(size=(2, 16, 3, 3))
    kernel[1] *= scale
    graph = SkipNetwork((1, 12, 12), [Conv(RNG.normal(size=(16, 1, 3, 3)), padding=1), Conv(kernel, padding=1)]).graph
    x = RNG.normal(size=(2, *graph.in_shape))
    forms = other_forms(graph, PLENTY)[0]
    assert {"convolution + border", "sparse matrix"} <= {form.name for form in forms}
    for form in forms:
        ours, expected = form.module(torch.from_numpy(x)).detach().numpy()[:, 1], graph(x)[:, 1]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-8 * np.abs(expected).max())


def test_a_skip_inside_a_stretch_is_merged_with_it():
    graph = AffineGraph((2, 12, 12))
    inner = graph.add(Conv(RNG.normal(size=(16, 2, 3, 3)), padding=1), 0)
    outer = graph.add(Conv(RNG.normal(size=(2, 16, 3, 3)), RNG.normal(size=2), padding=1), inner)
    graph.add(WeightedSum([0.25, 0.75]), 0, outer)
    (step,) = steps_of(graph)
    assert len(step.graph.nodes) == 3
    for form in other_forms(step.graph, PLENTY)[0]:
        assert_is_the_graph(form.module, graph)


def test_a_narrow_stretch_becomes_two_matrices():
    graph = AffineGraph((40,))
    graph.add(Dense(RNG.normal(size=(40, 3))), graph.add(Dense(RNG.normal(size=(3, 40)), RNG.normal(size=3)), 0))
    forms = {form.name: form for form in other_forms(graph, PLENTY)[0]}
    assert forms["two matrices"].multiply_adds == 240
    assert_is_the_graph(forms["two matrices"].module, graph)


def test_a_single_linear_layer_or_a_constant_has_no_other_form():
    single = AffineGraph((5,))
    single.add(Dense(RNG.normal(size=(4, 5))), 0)
    constant = AffineGraph((5,))
    constant.add(Constant(np.ones(3)), 0)
    assert other_forms(single, PLENTY) == other_forms(constant, PLENTY) == ([], [])


def test_forms_that_take_too_much_memory_are_named():
    net = SkipNetwork((2, 8, 8), [Conv(RNG.normal(size=(4, 2, 3, 3)), padding=1), Conv(np.ones((2, 4, 3, 3)))])
    forms, left_out = other_forms(net.graph, 100)
    assert forms == []
    assert any("the rows of one output position needs" in note for note in left_out)
    assert any("matrix needs" in note for note in left_out)
    with pytest.raises(MemoryError, match=r"the matrix of Pad\(.*symmetric.*\), which torch has no module for, needs"):
        chain_form(SkipNetwork((1, 4, 4), [Pad(1, "symmetric")]).graph, 100)


OPERATIONS = {
    "a transposed convolution with a scale": [ConvTranspose(RNG.normal(size=(2, 3, 2, 2)), stride=2), Scale([1, 2, 3])],
    "a transposed convolution in groups, normalised": [
        ConvTranspose(RNG.normal(size=(2, 2, 2, 2)), groups=2),
        BatchNorm(*RNG.uniform(1, 2, (4, 4))),
    ],
    "a border that torch does not have": [Pad(1, "symmetric"), AvgPool(2)],
    "nearest and linear resampling": [Resample((3, 5)), Resample((4, 4), "linear")],
    "a scale for each entry": [Conv(RNG.normal(size=(3, 2, 1, 1))), Scale(RNG.normal(size=(3, 4, 4)))],
}


@pytest.mark.parametrize("layers", OPERATIONS.values(), ids=OPERATIONS)
def test_the_chain_computes_in_torch(layers):
    graph = SkipNetwork((2, 4, 4), layers).graph
    folded = fold_scales(graph, AffineGraph(graph.in_shape))
    assert_is_the_graph(chain_form(graph, PLENTY).module, graph)
    assert_is_the_graph(chain_form(folded, PLENTY).module, graph)


def test_the_chain_of_a_traced_network_computes_in_torch_whatever_moves_its_entries():
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.conv = nn.Linear(6, 4), nn.Conv1d(2, 2, 3)

        def forward(self, x):  # (N, 4, 6)
            y = self.linear(x).transpose(1, 2).roll(1, 2)[:, ::2].flip(2)
            z = self.conv(x.unflatten(1, (2, 2)).flatten(0, 1)).unflatten(0, (-1, 2)).sum(2)
            bias = torch.arange(4.0).expand(len(x), 4)
            return torch.cat([y.mean(1), z.flatten(1), bias, torch.einsum("ij,nj->ni", self.linear.weight, x[:, 0])], 1)

    net = Moving().double().eval()
    graph = gpu.trace(net, (4, 6))
    module = chain_form(graph, PLENTY).module
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    torch.testing.assert_close(module(x), net(x))
    scripted(module)


# the stretches of a network


def with_relus(net):
    """A SkipNetwork's graph with a ReLU after every other node, which some skips then cross."""
    graph = PiecewiseGraph(net.in_shape)
    numbers = [0]
    for node in net.graph.nodes:
        number = graph.add(node.operation, *(numbers[value] for value in node.inputs))
        numbers.append(graph.add(ReLU(), number) if len(numbers) % 2 else number)
    return graph


@given(networks(ranks=(1, 2)), st.booleans())
def test_a_network_is_its_stretches_whatever_form_they_have(net, last):
    graph = with_relus(net)
    steps = steps_of(fold_scales(graph, PiecewiseGraph(graph.in_shape)))
    folded = fold_scales(graph, PiecewiseGraph(graph.in_shape))
    modules = {}
    for step in steps:
        if isinstance(step, Stretch):
            forms = [chain_form(step.graph, PLENTY), *other_forms(step.graph, PLENTY)[0]]
            modules[step] = forms[-1 if last else 0].module
    assert_is_the_graph(network_of(folded, steps, modules, folded.out_shape, PLENTY), graph)


def test_skips_across_a_nonlinearity_stay_and_others_are_merged():
    graph = PiecewiseGraph((2, 6, 6))
    layer = Conv(RNG.normal(size=(2, 2, 3, 3)), padding=1)
    first = graph.add(layer, 0, name="first")
    inside = graph.add(WeightedSum([1, 1]), first, graph.add(layer, first, name="second"), name="inside")
    bent = graph.add(ReLU(), inside, name="relu")
    across = graph.add(WeightedSum([1, 1]), inside, graph.add(layer, bent, name="third"), name="across")
    unread = graph.add(layer, across, name="unread")
    graph.add(layer, across, name="last")
    steps = steps_of(graph)
    assert [step.place if isinstance(step, Stretch) else graph.nodes[step - 1].name for step in steps] == [
        "first to inside",
        "relu",
        "third",
        "across",
        "last",
    ]
    assert unread not in {step.end for step in steps if isinstance(step, Stretch)}
    modules = {step: chain_form(step.graph, PLENTY).module for step in steps if isinstance(step, Stretch)}
    assert_is_the_graph(network_of(graph, steps, modules, graph.out_shape, PLENTY), graph)


def test_a_part_that_two_nonlinearities_read_is_computed_once():
    graph = PiecewiseGraph((3,))
    shared = graph.add(Dense(RNG.normal(size=(3, 3))), 0, name="shared")
    left = graph.add(ReLU(), graph.add(Dense(RNG.normal(size=(3, 3))), shared, name="left"))
    right = graph.add(LeakyReLU(0.5), graph.add(Dense(RNG.normal(size=(3, 3))), shared, name="right"))
    graph.add(Concatenate(), left, right, shared)
    places = [step.place for step in steps_of(graph) if isinstance(step, Stretch)]
    assert places == ["shared", "left", "right"]


def test_a_constant_is_computed_in_each_stretch_that_reads_it():
    graph = PiecewiseGraph((3,))
    constant = graph.add(Constant(np.array([1.0, -2.0, 3.0])), 0, name="constant")
    first = graph.add(WeightedSum([1, 2]), 0, constant, name="first")
    bent = graph.add(ReLU(), first)
    graph.add(WeightedSum([1, 1, 1]), graph.add(Dense(np.eye(3)), bent), constant, graph.add(ReLU(), constant))
    steps = steps_of(graph)
    modules = {step: chain_form(step.graph, PLENTY).module for step in steps if isinstance(step, Stretch)}
    assert_is_the_graph(network_of(graph, steps, modules, graph.out_shape, PLENTY), graph)


BENT = {
    "clamp": Clamp(min=[-1.0, 0.0], max=2.0),
    "clamp by numbers": Clamp(min=-1.0, max=2.0),
    "clamp of entries": Clamp(max=np.linspace(-1, 1, 32).reshape(2, 4, 4)),
    "prelu": PReLU([0.5, -0.25]),
    "prelu of entries": PReLU(np.linspace(-1, 1, 8).reshape(2, 1, 4)),
    "hardtanh": Hardtanh(-1, 2),
    "max pooling": MaxPool(2, stride=1, padding=1),
    "max over channels": MaxOver(0),
}


@pytest.mark.parametrize("operation", BENT.values(), ids=BENT)
def test_nonlinearities_compute_in_torch(operation):
    graph = PiecewiseGraph((2, 4, 4))
    graph.add(operation, 0)
    module = network_of(graph, steps_of(graph), {}, graph.out_shape, PLENTY)
    assert_is_the_graph(module, graph)
    scripted(module)


def in_chains(module, in_shape):
    """A module in float64, and the network of its pieces with every stretch as a chain."""
    module = copy.deepcopy(module).double().eval()
    graph, out_shape = trace_with_shape(module, in_shape, piecewise=True)
    steps = steps_of(graph)
    chains = {step: chain_form(step.graph, PLENTY).module for step in steps if isinstance(step, Stretch)}
    return module, network_of(graph, steps, chains, out_shape, PLENTY)


@pytest.mark.parametrize(("module", "in_shape"), PIECEWISE.values(), ids=PIECEWISE)
def test_whatever_is_traced_computes_in_torch(module, in_shape):
    module, network = in_chains(module, in_shape)
    x = torch.randn(3, *in_shape, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(network(x), module(x.clone()))


@pytest.mark.parametrize(("module", "in_shape"), PIECEWISE.values(), ids=PIECEWISE)
def test_infinite_values_become_what_the_network_makes_of_them(module, in_shape):
    module, network = in_chains(module, in_shape)
    x = torch.randn(3, *in_shape, dtype=torch.float64)
    for sample, value in zip(x, (torch.inf, -torch.inf, torch.nan), strict=True):
        sample.view(-1)[-1] = value
    with torch.no_grad():
        merged, expected = network(x), module(x.clone())
    torch.testing.assert_close(merged, expected, equal_nan=True)


def test_an_overflow_is_clamped_in_a_merged_network_too():
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.eye(2), torch.zeros(2)
    double = copy.deepcopy(layer)
    double.weight.data *= 2
    model = nn.Sequential(double, Lambda(lambda s, x: x.clamp(-1, 2)), layer).half().eval()
    x = torch.tensor([[6e4, -6e4], [0.5, torch.nan]], dtype=torch.float16)
    expected = torch.tensor([[2.0, -1.0], [torch.nan, torch.nan]], dtype=torch.float16)
    merged = gpu.merge(model, (2,), batch_size=2).module
    torch.testing.assert_close(model(x), expected, equal_nan=True)
    torch.testing.assert_close(merged(x), expected, equal_nan=True)


def test_a_missing_entry_is_zero_whatever_the_first_entry_is():
    graph = PiecewiseGraph((3,))
    graph.add(ReLU(), graph.add(Take(np.array([2, -1, 0, -1])), 0))
    steps = steps_of(graph)
    chains = {step: chain_form(step.graph, PLENTY).module for step in steps if isinstance(step, Stretch)}
    module = network_of(graph, steps, chains, graph.out_shape, PLENTY)
    x = torch.tensor([[torch.inf, 1.0, 2.0], [torch.nan, 1.0, -2.0]], dtype=torch.float64)
    expected = torch.tensor([[2.0, 0.0, torch.inf, 0.0], [0.0, 0.0, torch.nan, 0.0]], dtype=torch.float64)
    for made in (module, scripted(module)):
        torch.testing.assert_close(made(x), expected, rtol=0, atol=0, equal_nan=True)


def test_a_level_line_of_a_function_of_ones_own_has_its_value_at_infinity():
    @dataclass(frozen=True)
    class Stairs(EntryFunction):
        """Level below 0 and above 1, and steep in between."""

        thresholds = (0, 1)
        shifts = (0, 0, 3)
        closed_above = (False, True)
        slopes = (0, 3, 0)

    graph = PiecewiseGraph((3,))
    graph.add(Stairs(), 0)
    module = network_of(graph, steps_of(graph), {}, graph.out_shape, PLENTY)
    x = torch.tensor([[-torch.inf, 0.5, torch.inf], [-2.0, torch.nan, 2.0]], dtype=torch.float64)
    expected = torch.tensor([[0.0, 1.5, 3.0], [0.0, torch.nan, 3.0]], dtype=torch.float64)
    torch.testing.assert_close(module(x), expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(scripted(module)(x), expected, rtol=0, atol=0, equal_nan=True)


def test_a_nonlinearity_without_a_torch_function_is_refused_by_name():
    class Strange(ReLU):
        """A subclass, which is written as what it is."""

    from gpu.merging.writing import Writer, write

    refuse = write.dispatch(type(Strange()).__mro__[3])
    with pytest.raises(TypeError, match=r"model: expected operations that gpu.merging.nonlinear writes.*Strange\(\)"):
        refuse(Strange(), Writer(0), [], ())


# where to cut a stretch


def test_a_stretch_may_be_cut_before_kernels_where_a_single_value_passes():
    graph = AffineGraph((1, 8))
    layer = Conv(np.ones((1, 1, 3)), padding=1)
    first = graph.add(layer, 0)
    joined = graph.add(WeightedSum([1, 1]), first, graph.add(layer, first))
    pooled = graph.add(AvgPool(2), graph.add(layer, joined))
    graph.add(AvgPool(2), graph.add(layer, pooled))
    assert cuts_of(graph) == [0, 1, 3, 5, 7]


def test_the_fastest_segments_are_found():
    seconds = {(a, b): 10.0 + b - a for a in range(4) for b in range(a + 1, 5)}
    seconds |= {(1, 4): 1.0, (0, 1): 2.0}
    found = fastest_cuts([0, 1, 2, 3, 4], lambda start, end: (seconds[start, end], (start, end)))
    assert [ends for ends, _ in found] == [(0, 1), (1, 4)]


def test_the_interior_and_the_boxes_around_it_cover_every_position_once():
    wrong = np.zeros((7, 6, 5), bool)
    wrong[0], wrong[:, -1], wrong[:, :, 0] = True, True, True
    inner = interior(wrong)
    assert inner == [(1, 6), (0, 5), (1, 4)]
    count = np.zeros(wrong.shape, int)
    for box in [inner, *boxes_around(inner, wrong.shape)]:
        count[tuple(slice(start, start + length) for start, length in box)] += 1
    assert (count == 1).all()
    assert interior(np.ones((3, 3), bool)) is None


# gpu.merge


@pytest.fixture(scope="module")
def small():
    """Two stretches with borders, one with a skip inside, and a skip across the ReLU between them."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(conv(1, 16, padding=1), nn.BatchNorm2d(16), conv(16, 4, padding=1, stride=2))
            self.one, self.two = conv(4, 16, padding=1), conv(16, 4, padding=1)
            self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(4 * 49, 5)

        def forward(self, x):
            x = self.relu(self.stem(x))
            x = self.relu(self.two(self.one(x)) + 0.5 * x)
            return self.head(nn.functional.max_pool2d(x, 3, stride=1, padding=1).flatten(1))

    return trained(Net())


@pytest.mark.parametrize("form", ["convolution", "dense", "sparse", "two", "chain"])
def test_the_result_is_the_model_whichever_form_is_chosen(small, prefer, form):
    prefer(form)
    before = copy.deepcopy(small.state_dict())
    merged = gpu.merge(small, (1, 14, 14), batch_size=2)
    x = torch.randn(3, 1, 14, 14)
    torch.testing.assert_close(merged.module(x), small(x), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    differences = merged.report.differences
    assert differences["exact"]["relative"] < 1e-12
    assert differences["merged"]["relative"] < 1e-5
    if form == "convolution":
        assert [row.form for row in merged.report.stretches[:2]] == ["convolution + border"] * 2
        assert "2 of" in repr(merged)
    if form == "chain":
        assert {row.form for row in merged.report.stretches} == {"chain"}
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 1, 14, 14\), got \(3, 1, 14, 13\)"):
        merged.module(x[..., 1:])


@pytest.fixture(scope="module")
def all_forms():
    """A module with every form in it, and its input."""
    torch.manual_seed(0)
    graph = PiecewiseGraph((1, 10, 10))
    value = graph.add(Conv(RNG.normal(size=(16, 1, 3, 3)), padding=1), 0)
    value = graph.add(ReLU(), graph.add(Conv(RNG.normal(size=(2, 16, 3, 3)), padding=1, stride=2), value))
    value = graph.add(PReLU([0.5, 0.25]), graph.add(AvgPool(2, stride=1), value))
    value = graph.add(Dense(RNG.normal(size=(30, 3))), graph.add(Dense(RNG.normal(size=(3, 32))), value))
    value = graph.add(ReLU(), value)
    graph.add(Dense(RNG.normal(size=(3, 30))), graph.add(Dense(RNG.normal(size=(30, 30))), value))
    steps = steps_of(graph)
    wanted = ["convolution + border", "sparse matrix", "two matrices", "dense matrix"]
    stretches = [step for step in steps if isinstance(step, Stretch)]
    modules = {}
    for step, name in zip(stretches, wanted, strict=True):
        modules[step] = {form.name: form.module for form in other_forms(step.graph, PLENTY)[0]}[name]
    module = network_of(graph, steps, modules, (3,), PLENTY).float()
    return module, torch.randn(4, 1, 10, 10)


def test_it_copies_pickles_scripts_and_keeps_its_state(all_forms):
    module, x = all_forms
    expected = module(x)
    torch.testing.assert_close(copy.deepcopy(module)(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(pickle.loads(pickle.dumps(module))(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(scripted(module)(x), expected)
    torch.testing.assert_close(torch.fx.symbolic_trace(module)(x), expected)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    emptied = copy.deepcopy(module)
    for part in emptied.parameters():
        part.zero_()
    emptied.load_state_dict(torch.load(file))
    torch.testing.assert_close(emptied(x), expected, rtol=0, atol=0)


def test_it_runs_under_export_onnx_and_quantisation(all_forms, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    module, x = all_forms
    expected = module(x)
    dynamic = {"x": {0: torch.export.Dim("n", min=1)}}
    program = torch.export.export(module, (x,), dynamic_shapes=dynamic)
    torch.testing.assert_close(program.module()(x[:2]), expected[:2])
    path = tmp_path / "merged.onnx"
    torch.onnx.export(module, (x,), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path))
    (theirs,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(theirs, expected.numpy(), rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends torchao
        quantised = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
    assert (quantised(x) - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.sweep
def test_it_runs_under_compile(all_forms):
    module, x = all_forms
    torch.testing.assert_close(torch.compile(module, backend="aot_eager")(x), module(x))


def test_the_report_is_json_and_a_table(small, prefer):
    prefer("convolution")
    merged = gpu.merge(small, (1, 14, 14), batch_size=2, inputs=torch.zeros(1, 1, 14, 14), max_bytes=10**6)
    report = merged.report
    read = json.loads(report.to_json())
    assert read == report.to_dict()
    assert read["differences"]["inputs"] == 9
    assert [row["place"] for row in read["stretches"]] == [row.place for row in report.stretches]
    assert read["stretches"][0]["after"]["multiply_adds"] < read["stretches"][0]["before"]["multiply_adds"]
    assert "0.stem.0: Conv2d to 0.stem.2: Conv2d" in str(report)
    assert "<td>convolution + border</td>" in merged._repr_html_()
    assert report.kept


def test_a_stretch_that_is_too_large_stays_a_chain_and_the_report_says_so():
    net = trained(conv(1, 4, padding=1), conv(4, 4, padding=1), nn.ReLU())
    report = gpu.merge(net, (1, 8, 8), batch_size=1, max_bytes=1000).report
    assert [row.form for row in report.stretches] == ["chain"]
    assert "more than the limit of 1,000 bytes" in str(report)


def test_forms_that_are_slower_together_give_way_to_the_chains(small, prefer, monkeypatch):
    prefer("convolution")

    def slower_together(modules, x, rounds=1):
        return {name: Latency(1.0, 1.0 + (name == "merged"), 1.5, 2.0) for name in modules}

    monkeypatch.setattr(merging, "latencies", slower_together)
    report = gpu.merge(small, (1, 14, 14), batch_size=2).report
    assert {row.form for row in report.stretches} == {"chain"}
    assert report.microseconds["ratio"] == 1


def test_a_model_that_is_another_function_for_other_inputs_is_refused():
    class OfSize(nn.Module):
        def forward(self, x):
            return torch.relu(x) if len(x) != 1 else 2 * torch.relu(x)

    with pytest.raises(gpu.VerificationError, match="model: expected a merged network that is the network, got scores"):
        gpu.merge(OfSize(), (3,), batch_size=2)


def test_bad_input_is_refused_by_name():
    net = trained(conv(1, 2), nn.ReLU())
    with pytest.raises(ValueError, match="batch_size: expected an int of at least 1, got 0"):
        gpu.merge(net, (1, 4, 4), batch_size=0)
    with pytest.raises(ValueError, match="forms: expected one of 'convolution', .*, got 'dense'"):
        gpu.merge(net, (1, 4, 4), forms=["dense"])
    for forms, shown in (("sparse matrix", "'sparse matrix'"), (None, "None")):
        with pytest.raises(TypeError, match=f"forms: expected a collection of names, such as .*, got {shown}"):
            gpu.merge(net, (1, 4, 4), forms=forms)
    with pytest.raises(ValueError, match="max_bytes: expected an int of at least 0, got -1"):
        gpu.merge(net, (1, 4, 4), max_bytes=-1)
    with pytest.raises(ValueError, match=r"inputs: expected shape \(N, 1, 4, 4\), got \(1, 1, 5, 5\)"):
        gpu.merge(net, (1, 4, 4), inputs=torch.zeros(1, 1, 5, 5))
    with pytest.raises(gpu.NotAffineError, match="1: GELU: gelu is not piecewise linear"):
        gpu.merge(nn.Sequential(conv(1, 2), nn.GELU()), (1, 4, 4))
    with pytest.raises(TypeError, match="expected an nn.Module"):
        gpu.merge("net", (1, 4, 4))
    large = trained(conv(1, 2), nn.BatchNorm2d(2), nn.ReLU()).half()
    large[1].running_var.fill_(0)
    large[1].weight.data.fill_(6e4)
    with pytest.raises(ValueError, match="model: expected weights that fit torch.float16 with batch norm"):
        gpu.merge(large, (1, 4, 4))
