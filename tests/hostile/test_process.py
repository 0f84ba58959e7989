"""What a run leaves in the process, in shared memory, in iterators and in the module itself is undone or named."""

import array
import copy
import decimal
import functools
import gc
import io
import itertools
import os
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules import module as hooks_of_all_modules

import gpu
from gpu.models.copying import copy_of
from gpu.models.process_settings import SETTINGS
from gpu.models.snapshots import Budget, Numbers

CHANGES = {
    "the precision of products": lambda: torch.set_float32_matmul_precision("high"),
    "the default device": lambda: torch.set_default_device("cpu"),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "repeated warnings": lambda: torch.set_warn_always(True),
    "subnormal numbers": lambda: torch.set_flush_denormal(True),
    "mkldnn": lambda: torch.backends.mkldnn.set_flags(False),
    "cudnn's search": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "einsum's path": lambda: setattr(torch.backends.opt_einsum, "strategy", "greedy"),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "autocast's dtype": lambda: torch.set_autocast_dtype("cpu", torch.float16),
    "torch's printing": lambda: torch.set_printoptions(precision=9),
    "numpy's errors": lambda: np.seterr(all="ignore"),
    "numpy's printing": lambda: np.set_printoptions(precision=3),
    "a variable of the environment": lambda: os.environ.__setitem__("LEFT_BY_A_FORWARD", "1"),
    "the path of imports": lambda: sys.path.append("left by a forward"),
    "the depth of recursion": lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1),
    "filters of warnings": lambda: warnings.simplefilter("ignore", ResourceWarning),
    "the garbage collector": gc.disable,
}


class Doing(nn.Module):
    """Calls a function of no argument at every forward pass."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.functions = nn.Linear(3, 2), (function,)

    def forward(self, x):
        self.functions[0]()
        return self.linear(x)


def settings():
    return [get() for get, _ in SETTINGS]


def linearize(network):
    return gpu.linearize(network, torch.ones(2, 3))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_setting_that_a_forward_changes_is_put_back(change):
    before = settings()
    try:
        linearize(Doing(lambda: change()).eval())
        after = settings()
    finally:
        for (_, put), value in zip(SETTINGS, before, strict=True):
            put(value)
    assert after == before


def test_a_precision_that_was_set_by_its_newer_name_stays(monkeypatch):
    def refuse():
        raise RuntimeError("mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda precision: refuse())
    linearize(Doing(lambda: None))


def test_gradients_that_a_forward_switches_on_do_not_end_a_collapse():
    network = Doing(lambda: torch._C._set_grad_enabled(True)).eval()
    np.testing.assert_allclose(gpu.collapse(network, (3,)).affine.W, network.linear.weight.detach(), rtol=1e-6)
    with torch.no_grad():
        gpu.collapse(network, (3,))
        assert not torch.is_grad_enabled()


def test_hooks_of_all_modules_that_a_forward_adds_are_removed():
    linearize(Doing(lambda: hooks_of_all_modules.register_module_forward_hook(lambda *_: None)))
    assert not hooks_of_all_modules._global_forward_hooks


BASE = torch.zeros(4)
VIEW = BASE[1:3]
ARRAY = np.zeros(2, dtype=np.float32)
OF_NUMPY = torch.from_numpy(ARRAY)
REPLACED = torch.zeros(2)
OBJECTS = np.array([[], None], dtype=object)
WORDS = array.array("i", [1, 2])
KEPT: list = []
APPEND, SET = KEPT.append, {}.__setitem__
DYNAMIC = 0


@pytest.mark.parametrize("tensor", [VIEW, OF_NUMPY], ids=["a view", "an array of numpy"])
def test_numbers_are_put_back_where_others_read_them(tensor):
    network = Doing(lambda: tensor.add_(1))
    linearize(network)
    assert (BASE.tolist(), ARRAY.tolist()) == ([0] * 4, [0] * 2)
    tensor.add_(1)
    assert (BASE if tensor is VIEW else ARRAY).sum() == 2, "they share their memory still"
    tensor.sub_(1)


def test_memory_that_a_forward_exchanged_is_put_back():
    memory = REPLACED.data_ptr()
    linearize(Doing(lambda: setattr(REPLACED, "data", torch.ones(3))))
    assert (REPLACED.data_ptr(), REPLACED.tolist()) == (memory, [0, 0])


def test_tensors_of_inference_mode_are_put_back():
    with torch.inference_mode():
        made = torch.zeros(2)

    def write():
        with torch.inference_mode():
            made.add_(1)

    linearize(Doing(lambda: write()))
    assert made.tolist() == [0, 0]


def test_gradients_that_a_forward_adds_up_are_put_back():
    fresh, used = (nn.Parameter(torch.ones(2)) for _ in range(2))
    used.grad = torch.ones(2)
    gradient = used.grad

    def learn():
        with torch.enable_grad():
            (3 * fresh + used).sum().backward()

    linearize(Doing(lambda: learn()))
    assert fresh.grad is None
    assert used.grad is gradient
    assert gradient.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "read"),
    [
        (lambda: OBJECTS[0].append(1), lambda: OBJECTS.tolist()),
        (lambda: OBJECTS.__setitem__(1, 2), lambda: OBJECTS.tolist()),
        (lambda: WORDS.append(3), WORDS.tolist),
        (lambda: APPEND(1), lambda: list(KEPT)),
        (lambda: SET("a", 1), lambda: dict(SET.__self__)),
        (lambda: globals().update(DYNAMIC=globals()["DYNAMIC"] + 1), lambda: DYNAMIC),
        (lambda: exec("DYNAMIC = 5", globals()), lambda: DYNAMIC),
    ],
    ids=[
        "a list in an array",
        "an entry of an array of objects",
        "an array of Python's",
        "a method of a list",
        "a slot of a dict",
        "globals()",
        "exec",
    ],
)
def test_what_a_forward_reaches_by_a_detour_is_put_back(change, read):
    before = copy.deepcopy(read())
    linearize(Doing(change))
    assert read() == before


def test_the_code_of_a_function_that_a_forward_exchanges_is_put_back():
    def one():
        return 1

    def two():
        return 2

    linearize(Doing(lambda: setattr(one, "__code__", two.__code__)))
    assert one() == 1


def numbers():
    n = 0
    while True:
        yield n
        n += 1


ITERATORS = {
    "a generator": numbers,
    "a count": itertools.count,
    "a cycle": lambda: itertools.cycle([1, 2, 3]),
    "a list": lambda: iter([1] * 1000),
    "a range": lambda: iter(range(1000)),
    "a chain": lambda: itertools.chain(iter([1] * 1000)),
    "an enumeration": lambda: enumerate([1] * 1000),
}


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
def test_an_iterator_that_went_on_is_named(make):
    iterator = make()
    with pytest.warns(RuntimeWarning, match=r"changed iterator in .*, which cannot be undone"):
        linearize(Doing(lambda: next(iterator)))


@pytest.mark.parametrize("make", ITERATORS.values(), ids=ITERATORS)
def test_an_iterator_that_stayed_where_it_is_is_not(make):
    iterator = make()
    next(iterator)
    linearize(Doing(lambda: iterator))


def test_a_generator_that_has_ended_and_a_file_are_not_named():
    ended, file = (n for n in ()), io.StringIO("text")
    list(ended)
    linearize(Doing(lambda: (ended, file)))


def test_what_is_named_is_heard_if_the_forward_switches_warnings_off():
    iterator = itertools.count()

    def work():
        warnings.simplefilter("ignore")
        next(iterator)

    with pytest.warns(RuntimeWarning, match="iterator in"):
        linearize(Doing(lambda: work()))


class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    @functools.cache  # noqa: B019 - users write this
    def factor(self, size):
        return torch.full((), float(size))

    def forward(self, x):
        return self.linear(x) * self.factor(len(x[0]))


@pytest.mark.parametrize("ran", [False, True])
def test_a_cache_of_a_method_keeps_no_copy_alive(ran):
    network = Remembering()
    if ran:
        network(torch.ones(2, 3))
    linearize(network)
    assert not [
        thing for thing in gc.get_referrers(Remembering) if isinstance(thing, nn.Module) and thing is not network
    ]
    Remembering.factor.cache_clear()


class Counted(nn.Linear):
    made = 0

    def __setstate__(self, state):
        type(self).made += 1
        super().__setstate__(state)


@pytest.mark.parametrize("work", [gpu.collapse, gpu.merge, gpu.trace])
def test_copies_that_a_class_counts(work):
    work(Counted(3, 2).eval(), (3,))
    assert Counted.made == 0


def test_the_attributes_of_a_weight_in_a_list_are_part_of_what_is_computed():
    network = Doing(lambda: None)
    network.hidden = [nn.Linear(3, 3)]
    network.hidden[0].weight.scale = 2.0
    assert copy_of(network).hidden[0].weight.scale == 2.0


def closing_over(layer):
    class Closing(nn.Module):
        def forward(self, x):
            return torch.relu(layer(x))

    return Closing()


class WithAClosure(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.closing = closing_over(self.linear)

    def forward(self, x):
        return self.closing(x)


class NamedInAGlobal(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return torch.relu(NAMED.linear(x))


NAMED = NamedInAGlobal()


@pytest.mark.parametrize("network", [WithAClosure(), NAMED], ids=["a closure", "a global"])
def test_a_class_that_works_with_the_users_own_module_is_refused_where_a_network_is_returned(network):
    before = copy.deepcopy(network.state_dict())
    for inputs in (torch.ones(2, 3), None):
        with pytest.raises(ValueError, match=r"got one that works with linear.weight, linear.bias of the"):
            gpu.linearize(network, inputs)
    assert network.linear.weight.grad is None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_same_where_a_copy_is_compared_in_float64():
    network = nn.Sequential(WithAClosure())
    gpu.set_activation_slope(sloped := nn.Sequential(network, nn.ReLU()), {"1": 1})
    with pytest.raises(ValueError, match="got one that works with 0.0.linear.weight"):
        gpu.remove_activations(sloped, inputs=torch.ones(2, 3))


def test_context_variables_are_not_put_back_as_the_documentation_says():
    with decimal.localcontext():
        linearize(Doing(lambda: setattr(decimal.getcontext(), "prec", 5)))
        assert decimal.getcontext().prec == 5


def test_a_tensor_that_is_too_large_to_copy_is_named_if_it_was_written_into():
    large = torch.zeros(100)
    snapshot = Numbers(large, Budget(8))
    assert snapshot.put_back()
    large.add_(1)
    assert not snapshot.put_back()


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.jit.script(nn.Linear(3, 2))
        self.linear.bias.requires_grad_(False)

    def forward(self, x):
        return torch.relu(self.linear(x))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_gradients_of_a_scripted_part_of_a_copy_stay_in_the_copy(context):
    network = Scripted()
    with context():
        linear, _ = gpu.linearize(network, torch.ones(2, 3))
    assert [parameter.requires_grad for parameter in linear.parameters()] == [True, False]
    linear(torch.ones(2, 3)).sum().backward()
    assert linear.linear.weight.grad is not None
    assert [parameter.grad for parameter in network.parameters()] == [None, None]


def test_a_weight_that_changes_when_it_is_read_is_not_read():
    network = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)), Doing(lambda: None))
    before = copy.deepcopy(network.state_dict())
    gpu.linearize(network.train())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class HandingOn(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


FACTORS: dict = {}


class InAMode(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = ByAKeptFactor()

    def forward(self, x):
        with HandingOn():
            return self.part(x)


class ByAKeptFactor(nn.Module):
    def forward(self, x):
        if "kept" not in FACTORS:
            FACTORS["kept"] = torch.full((), 2.0)
        return torch.relu(x) * FACTORS["kept"]


def test_an_activation_that_a_mode_of_the_users_hands_on_is_found_at_its_place():
    linear, changes = gpu.linearize(InAMode(), torch.ones(2, 3))
    assert changes == ["part: relu in forward -> identity"]
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    for _ in range(2):  # the second time, the factor is a tensor that no function has made
        torch.testing.assert_close(linear(x), 2 * x)
    FACTORS.clear()


def test_the_random_state_stays_where_a_network_is_built_anew():
    before = torch.get_rng_state()
    layers = nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ConvTranspose2d(2, 1, 3), nn.Flatten(), nn.Linear(36, 2)
    between = torch.get_rng_state()
    assert not torch.equal(before, between)
    gpu.merge(nn.Sequential(*layers).eval(), (1, 6, 6), batch_size=2)
    network = gpu.SkipCNN((1, 6, 6), [layers[0], layers[2], nn.Sequential(*layers[3:])]).to_network()
    gpu.SkipCNN.from_network(network)
    assert torch.equal(between, torch.get_rng_state())


ONES = torch.ones(2, 2)


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    "make",
    [
        ONES.to_sparse,
        ONES.to_sparse_csr,
        ONES.to_mkldnn,
        lambda: torch.nested.nested_tensor([ONES]),
        ONES.to("meta").clone,
    ],
    ids=["coo", "csr", "mkldnn", "nested", "meta"],
)
def test_a_tensor_whose_numbers_cannot_be_compared_is_named_if_it_was_written_into_and_only_then(make):
    tensor = make()
    snapshot = Numbers(tensor, Budget())
    assert snapshot.put_back()
    tensor.mul_(2)
    assert not snapshot.put_back()


def test_a_network_that_was_merged_in_inference_mode_gives_gradients_outside():
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with torch.inference_mode():
        merged = gpu.merge(network, (3,), batch_size=2).module
    x = torch.ones(2, 3, requires_grad=True)
    (ours,) = torch.autograd.grad(merged(x).sum(), x)
    (theirs,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("work", [gpu.collapse, gpu.merge, gpu.trace])
def test_what_is_no_module_is_said_to_be_none(work):
    with pytest.raises(TypeError, match=r"expected an nn\.Module, got int"):
        work(3, (3,))
