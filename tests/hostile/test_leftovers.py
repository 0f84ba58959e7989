"""A trace or a collapse, successful or refused, leaves the user's network and what it shares as they were."""

import collections
import contextlib
import copy
import functools
import gc
import io
import logging
import sys
import threading
import types
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

import gpu
from gpu.tracing.stand_ins import stand_ins_found

WINDOW = None
GRIDS: dict = {}
RECORDED: list = []
SHARED = types.SimpleNamespace(grid=None)
LOCAL = threading.local()


@functools.lru_cache
def window(size):
    return torch.linspace(0.5, 1.5, size)


class Windowed(nn.Module):
    """Multiplies by a window, which is made where `grid` is overridden to make and keep it."""

    grids: dict = {}  # noqa: RUF012 - shared by all objects, which is what is tested

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.kept, self.dictionary, self.shared = None, {}, SHARED

    def forward(self, x):
        return self.conv(x) * self.grid(x.shape[-1])

    def grid(self, size):
        raise NotImplementedError


class InACacheOfAFunction(Windowed):
    def grid(self, size):
        return window(size)


class InACacheOfAMethod(Windowed):
    @functools.lru_cache  # noqa: B019 - users write this
    def grid(self, size):
        return torch.linspace(0.5, 1.5, size)


class InACachedProperty(Windowed):
    @functools.cached_property
    def made(self):
        return torch.linspace(0.5, 1.5, 4)

    def grid(self, size):
        return self.made


class InAGlobal(Windowed):
    def grid(self, size):
        global WINDOW
        if WINDOW is None:
            WINDOW = torch.linspace(0.5, 1.5, size)
        return WINDOW


class InAGlobalDict(Windowed):
    def grid(self, size):
        return GRIDS.setdefault(size, torch.linspace(0.5, 1.5, size))


class InAClassAttribute(Windowed):
    def grid(self, size):
        if not hasattr(type(self), "first"):
            type(self).first = torch.linspace(0.5, 1.5, size)
        return type(self).grids.setdefault(size, self.first)


class InASharedObject(Windowed):
    def grid(self, size):
        if SHARED.grid is None:
            SHARED.grid = torch.linspace(0.5, 1.5, size)
        return SHARED.grid


class InAThread(Windowed):
    def grid(self, size):
        if not hasattr(LOCAL, "grid"):
            LOCAL.grid = torch.linspace(0.5, 1.5, size)
        return LOCAL.grid


class InAnAttribute(Windowed):
    def grid(self, size):
        if self.kept is None:
            self.kept = torch.linspace(0.5, 1.5, size)
        return self.kept


class InABuffer(Windowed):
    def grid(self, size):
        if "made" not in self._buffers:
            self.register_buffer("made", torch.linspace(0.5, 1.5, size), persistent=False)
        return self.made


class InADictOfShapes(Windowed):
    def forward(self, x):
        key = tuple(x.shape)
        if key not in self.dictionary:
            self.dictionary[key] = torch.linspace(0.5, 1.5, key[-1]).expand(key[0], 1, 1, key[-1])
        return self.conv(x) * self.dictionary[key]


KEEPING = [
    InACacheOfAFunction,
    InACacheOfAMethod,
    InACachedProperty,
    InAGlobal,
    InAGlobalDict,
    InAClassAttribute,
    InASharedObject,
    InAThread,
    InAnAttribute,
    InABuffer,
    InADictOfShapes,
]


def stand_ins():
    gc.collect()
    return [thing for thing in gc.get_objects() if type(thing) is FakeTensor]


def assert_nothing_kept(network):
    assert WINDOW is None
    assert not any([GRIDS, RECORDED, vars(LOCAL), Windowed.grids, network.dictionary])
    assert SHARED.grid is None
    assert network.kept is None
    assert not hasattr(network, "first")
    assert "made" not in {**vars(network), **network._buffers}
    assert window.cache_info().currsize == 0
    assert getattr(type(network).grid, "cache_info", window.cache_info)().currsize == 0


@pytest.mark.parametrize("kind", KEEPING)
def test_a_grid_that_is_made_at_the_first_call_and_kept(kind):
    network = kind().eval()
    graph = gpu.trace(network, (1, 3, 4))
    assert_nothing_kept(network)
    x = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = (network.conv(x) * torch.linspace(0.5, 1.5, 4)).detach()
    torch.testing.assert_close(torch.from_numpy(graph(x.double().numpy())).float(), expected)
    torch.testing.assert_close(network(x), expected)  # it makes its grid now
    for container in (GRIDS, Windowed.grids, vars(LOCAL)):
        container.clear()
    globals()["WINDOW"] = SHARED.grid = None
    window.cache_clear()
    if kind is InAClassAttribute:
        del kind.first


@pytest.mark.parametrize("kind", KEEPING)
def test_the_same_for_a_network_that_is_refused(kind):
    network = nn.Sequential(kind(), nn.ReLU()).eval()
    with pytest.raises(gpu.NotAffineError, match="1: ReLU"):
        gpu.collapse(network, (1, 3, 4))
    assert_nothing_kept(network[0])


def test_no_stand_in_is_left_while_the_error_of_a_refusal_is_kept():
    before = stand_ins()
    with pytest.raises(gpu.NotAffineError) as kept:
        gpu.trace(nn.Sequential(InACacheOfAFunction(), nn.ReLU()), (1, 3, 4))
    assert kept.value.obstacles
    assert [thing for thing in stand_ins() if not any(thing is other for other in before)] == []


def test_no_stand_in_is_left_after_the_error_of_a_forward():
    before = stand_ins()
    with contextlib.suppress(ValueError):
        gpu.trace(nn.Sequential(InACacheOfAFunction(), nn.Linear(3, 2)), (1, 3, 4))
    assert [thing for thing in stand_ins() if not any(thing is other for other in before)] == []


def swallowing(x):
    with contextlib.suppress(Exception):
        return x * 2 if x.sum() > 0 else x
    return x


BRANCHES = {
    "a_comparison": lambda x: x * 2 if x.sum() > 0 else x,
    "a_number_of_positions": lambda x: x * 2 if len(x.nonzero()) > 3 else x,
    "a_number_of_values": lambda x: x * len(torch.unique(x)),
    "a_gradient": torch.func.grad(lambda x: x.sum() if x.sum() > 0 else 2 * x.sum()),
    "an_error_that_the_forward_swallows": swallowing,
}


@pytest.mark.parametrize("function", BRANCHES.values(), ids=BRANCHES)
def test_no_stand_in_is_left_after_a_branch_on_the_data(function):
    """What torch remembers of numbers that depend on the data holds the inputs of the forward."""

    def alive():
        gc.collect()  # what one collection finalises is collected by the next
        return stand_ins()

    before = alive()
    with contextlib.suppress(gpu.NotAffineError):  # the error that is swallowed hides the branch from the tracing
        gpu.trace(Branching(function), (1, 3, 4))
    assert [thing for thing in alive() if not any(thing is other for other in before)] == []


def test_a_function_that_ends_with_the_error_is_not_named_as_a_place_that_keeps_stand_ins():
    def forward(x):
        def doubled():
            return 2 * x if x.sum() > 0 else x

        return doubled()

    with pytest.raises(gpu.NotAffineError, match="branches on the data"):  # and no warning, which would be an error
        gpu.trace(Branching(forward), (1, 3, 4))


class Branching(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.conv, self.function = nn.Conv2d(1, 2, 3), function

    def forward(self, x):
        return self.function(self.conv(x))


def test_a_collapse_leaves_nothing_either():
    network = InACacheOfAFunction().eval()
    gpu.collapse(network, (1, 3, 4))
    assert_nothing_kept(network)
    window(7)
    before = window.cache_info().currsize
    gpu.collapse(network, (1, 3, 4))
    assert window.cache_info().currsize >= before, "what the user's calls left stays"
    assert all(type(kept) is torch.Tensor for kept in gc.get_referents(window) if isinstance(kept, torch.Tensor))
    window.cache_clear()


@pytest.mark.parametrize("work", [gpu.trace, gpu.collapse])
def test_the_lists_of_recording_hooks(work):
    outputs = []
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()).eval()
    network[0].register_forward_hook(lambda module, args, output: outputs.append(output.detach()))
    network[0].register_forward_pre_hook(lambda module, args: RECORDED.append(args))
    network.register_forward_hook(functools.partial(lambda seen, module, args, output: seen.append(args), outputs))
    work(network, (1, 3, 4))
    assert (outputs, RECORDED) == ([], [])


def test_a_module_that_is_never_run_or_changed():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.seen, self.linear = 0, collections.deque(), nn.Linear(3, 2)

        def forward(self, x):
            self.calls += 1
            self.seen.append(x)
            return self.linear(x)

    network = Counting().eval()
    before = copy.deepcopy(network.state_dict())
    gpu.collapse(network, (3,))
    assert (network.calls, list(network.seen)) == (0, [])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_layer_that_sets_itself_up_from_its_first_batch_is_not_set_up_by_the_run_on_zeros():
    class ScaledByFirstBatch(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = None

        def forward(self, x):
            if self.scale is None:
                self.scale = 1 + x.detach().abs().mean()
            return x * self.scale

    with pytest.raises(gpu.NotAffineError):
        gpu.trace(ScaledByFirstBatch(), (3,))


def keep_for_ever():
    kept = []
    while True:
        kept.append((yield))


def test_a_place_out_of_reach_is_named():
    keeper = keep_for_ever()
    next(keeper)

    class Sending(nn.Module):
        def forward(self, x):
            keeper.send(x)
            return x

    with pytest.warns(RuntimeWarning, match=r"recording it left stand-ins for tensors in keep_for_ever, where"):
        gpu.trace(Sending(), (3,))


def test_a_cache_out_of_reach_is_emptied():
    hidden = {"in": functools.lru_cache(lambda key: [torch.ones(2)])}
    with stand_ins_found(), torch._subclasses.FakeTensorMode():
        hidden["in"](1)
    assert hidden["in"].cache_info().currsize == 0


def test_the_variables_of_an_error_that_the_user_handles_meanwhile_stay():
    def fails(kept):
        raise ValueError(kept)

    try:
        fails("kept")
    except ValueError as error:
        gpu.trace(nn.Linear(3, 2), (3,))
        with pytest.raises(gpu.NotAffineError):
            gpu.trace(nn.ReLU(), (3,))
        frame = error.__traceback__.tb_next.tb_frame
    assert frame.f_locals == {"kept": "kept"}


def test_objects_that_somebody_has_frozen_stay_frozen():
    gc.freeze()
    try:
        gpu.trace(nn.Linear(3, 2), (3,))
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


class ByOnesOwn(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor, self.linear = factor, nn.Linear(3, 2)

    def forward(self, x):
        GRIDS["factor"] = self.factor
        torch.set_default_dtype(torch.float64)
        return self.linear(x) * GRIDS["factor"]


def test_ten_threads_at_once():
    before = (sys.stderr, logging.root.handlers[:], list(warnings.filters), torch.get_default_dtype())
    barrier, found = threading.Barrier(10), {}
    works = (gpu.trace, gpu.collapse, lambda network, in_shape: gpu.trace(gpu.linearize(network)[0], in_shape))

    def work(number):
        network = ByOnesOwn(number).eval()
        barrier.wait()
        try:
            found[number] = network, works[number % 3](network, (3,))
        except Exception as error:
            found[number] = network, error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, (network, result) in found.items():
        graph = getattr(result, "graph", result)
        assert not isinstance(graph, Exception), graph
        x = torch.ones(1, 3, dtype=torch.float64)
        expected = number * copy.deepcopy(network.linear).double()(x)
        torch.testing.assert_close(torch.from_numpy(graph(x.numpy())), expected.detach())
    assert before == (sys.stderr, logging.root.handlers, list(warnings.filters), torch.get_default_dtype())
    for name in ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes", "torch.export._trace"):
        assert not logging.getLogger(name).disabled
        assert not logging.getLogger(name).filters
    assert GRIDS == {}


def test_other_threads_may_write_while_one_records(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)

    class Writing(nn.Module):
        def forward(self, x):
            other = threading.Thread(target=lambda: print("from another", file=sys.stderr))
            other.start()
            other.join()
            print("from this", file=sys.stderr)
            logging.getLogger("torch.export._trace").error("from this")
            return x

    gpu.trace(Writing(), (3,))
    assert set(stream.getvalue().splitlines()) == {"from another"}
