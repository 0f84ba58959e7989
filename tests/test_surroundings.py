"""What a run of a copy leaves in globals, closures, classes, caches and random states is put back, or named."""

import collections
import copy
import functools
import itertools
import random
import threading
import time
import types
import weakref

import numpy as np
import pytest
import torch
from module_cases import Lambda
from torch import nn
from torchvision.models import resnet34

from gpu.models import reachable
from gpu.models.reachable import shared_with_copies
from gpu.models.snapshots import Budget, Numbers
from gpu.models.surroundings import surroundings_kept

SEEN: list = []
GRIDS: dict = {"before": 1}
WINDOW = None
WEIGHTS = torch.ones(3)
TABLE, UNTOUCHED = np.zeros(3), np.ones(3)
SETTINGS = types.SimpleNamespace(calls=0, cache={})


def run(function, **parts):
    """Run a copy of a module whose forward is a function of the batch, in the context; return the module."""
    module = Lambda(lambda s, x: function(x), **parts)
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.ones(2, 3))
    return module


def remember_in_globals(x):
    global WINDOW, MADE_ON_FIRST_USE
    SEEN.append(x)
    GRIDS["grid"] = x
    GRIDS.pop("before")
    WINDOW = MADE_ON_FIRST_USE = x
    SETTINGS.calls += 1
    SETTINGS.cache[3] = SETTINGS.new = x
    return x


def test_globals_and_what_they_hold():
    run(remember_in_globals)
    assert SEEN == []
    assert GRIDS == {"before": 1}
    assert WINDOW is None
    assert types.SimpleNamespace(calls=0, cache={}) == SETTINGS
    assert "MADE_ON_FIRST_USE" not in globals()


class Making(collections.OrderedDict):
    """Makes what it gives for a key, from the class that it holds, as tables of activations by name do."""

    def __getitem__(self, key):
        return super().__getitem__(key)()


class Loading(dict):
    """Imports all that it stands for when it is read as a whole, as tables of models by name do."""

    def keys(self):
        raise AssertionError("was read")

    values = items = __iter__ = __len__ = __bool__ = __setitem__ = keys


class Counted(list):
    def __iter__(self):
        raise AssertionError("was read")

    clear = extend = __len__ = __iter__


ACTIVATIONS, MODELS, COUNTED = Making(relu=nn.ReLU, gelu=nn.GELU), Loading(a=1), Counted([1, 2])


@pytest.mark.parametrize("change", [False, True])
def test_containers_of_classes_that_do_something_else_when_they_are_read(change):
    def forward(x):
        if change:
            ACTIVATIONS["new"] = nn.SiLU
            ACTIVATIONS.move_to_end("relu")
            dict.update(MODELS, a=2, b=3)
            COUNTED.append(3)
        return ACTIVATIONS["relu"](x)

    run(forward)
    assert list(ACTIVATIONS.items()) == [("relu", nn.ReLU), ("gelu", nn.GELU)]
    assert list(dict.items(MODELS)) == [("a", 1)]
    assert COUNTED[:] == [1, 2]


def test_numbers_in_tensors_and_arrays():
    def write(x):
        WEIGHTS.mul_(2)
        UNTOUCHED.any()
        WEIGHTS.data.add_(1)  # torch does not count this as writing
        TABLE[1] = 5
        hidden.resize_(2).fill_(0)
        return x

    hidden = torch.ones(3)
    run(write)
    assert torch.equal(WEIGHTS, torch.ones(3))
    assert torch.equal(hidden, torch.ones(3))
    assert not TABLE.any()


def test_closures_defaults_partials_and_attributes_of_functions():
    def remember(x, seen=[], *, named={}):  # noqa: B006 - the default is what is tested
        nonlocal count
        count += 1
        seen.append(x)
        named["x"] = queue
        queue.append(x)
        few.add(count)
        raw.extend(b"1")
        remember.calls = count
        return x

    count, queue, few, raw = 0, collections.deque([1], maxlen=5), {0}, bytearray(b"0")
    module = run(functools.partial(remember))
    assert module is not None
    assert (count, queue, few, raw) == (0, collections.deque([1]), {0}, b"0")
    assert remember.__defaults__ == ([],)
    assert remember.__kwdefaults__ == {"named": {}}
    assert not hasattr(remember, "calls")


class Base(nn.Module):
    shapes: list = []  # noqa: RUF012 - a class attribute that is shared on purpose
    calls = 0
    grid = None

    @staticmethod
    def note(x):
        Base.shapes.append(x.shape)

    @property
    def size(self):
        SEEN.append(self)
        return 1


class Derived(Base):
    def forward(self, x):
        Base.calls += 1
        type(self).grid = type(self).made_on_first_use = x
        self.note(x)
        return x * self.size


def test_attributes_of_the_class_and_its_bases():
    module = Derived()
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.ones(2))
    assert (Base.calls, Base.shapes, Derived.grid, SEEN) == (0, [], None, [])
    assert "grid" not in vars(Derived)
    assert not hasattr(Derived, "made_on_first_use")


def test_hooks_of_modules_and_of_all_modules():
    class Recorder:
        __slots__ = ("calls", "seen")

        def __init__(self):
            self.calls, self.seen = 0, []

        def __deepcopy__(self, memo):
            return self

        def hook(self, module, args, output):
            self.calls += 1
            self.seen.append(output)

    recorder, outputs = Recorder(), []
    module = nn.Sequential(nn.Linear(2, 2))
    module[0].register_forward_hook(recorder.hook)
    module[0].register_forward_hook(lambda module, args, output: outputs.append(output))
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, output: outputs.append(output))
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.ones(1, 2))
        assert (len(outputs), recorder.calls) == (3, 1)
    handle.remove()
    assert (outputs, recorder.calls, recorder.seen) == ([], 0, [])


def test_the_module_itself_where_a_closure_reaches_it():
    module = nn.Sequential(nn.BatchNorm1d(3))
    module.register_forward_hook(lambda copied, args, output: module[0](output))
    before = copy.deepcopy(module.state_dict())
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.randn(4, 3))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_an_object_that_a_weak_reference_reaches():
    parent = nn.BatchNorm1d(3)
    module = Lambda(lambda s, x: s.parent()(x), parent=weakref.ref(parent))
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.ones(2, 3))
    assert parent.num_batches_tracked == 0


@functools.lru_cache
def window(size):
    return torch.ones(size)


@functools.lru_cache
def filled_before(size):
    return [torch.ones(size)]


@functools.lru_cache
def registry():
    return {}


@functools.cache
def unbounded_registry(name):
    return {}


def test_caches_of_functions():
    kept = filled_before(1)
    run(lambda x: x * window(3) * filled_before(3)[0] * filled_before(1)[0])
    assert window.cache_info().currsize == 0, "it was empty"
    assert filled_before(1) is kept, "what the user's own calls left stays"
    module = Lambda(lambda s, x: x * filled_before(5)[0])
    with surroundings_kept(module), torch._subclasses.FakeTensorMode():
        module(torch.ones(5))
    assert filled_before.cache_info().currsize == 0, "a stand-in for a tensor must not stay"


@pytest.mark.parametrize("single", [registry, functools.partial(unbounded_registry, "a")])
def test_what_a_cache_of_a_function_holds(single):
    held = single()
    held["before"] = 1
    run(lambda x: single().update(grid=x, before=2))
    assert single() is held
    assert held == {"before": 1}


def test_an_object_that_refuses_to_be_looked_at():
    class Odd(list):
        def __iter__(self):
            raise ValueError

    odd = Odd()
    run(lambda x: SEEN.append(odd))
    assert SEEN == []


def test_random_states():
    def draw(x):
        random.random()
        np.random.rand()  # noqa: NPY002 - the state of the process is what is tested
        for own in generators:
            own.normal_() if isinstance(own, torch.Tensor) else None
        torch.rand(1, generator=generators[0])
        generators[1].random()
        generators[2].random()
        generators[3].random()
        return x + torch.rand(1)

    generators = [
        torch.Generator().manual_seed(1),
        random.Random(1),
        np.random.default_rng(1),
        np.random.RandomState(1),
    ]

    def states():
        return str([
            random.getstate(),
            np.random.get_state(),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            generators[0].get_state().tolist(),
            generators[1].getstate(),
            generators[2].bit_generator.state,
            generators[3].get_state(),
        ])

    before = states()
    run(draw)
    assert states() == before


def test_settings_of_torch():
    def change(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return x

    run(change)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()


def test_what_cannot_be_put_back_is_named():
    counter = itertools.count()
    with pytest.warns(RuntimeWarning, match=r"a copy changed counter in .*, which cannot be undone"):
        run(lambda x: x * next(counter))
    large = Numbers(torch.ones(3), Budget(11))
    assert large.put_back()
    large.held.zero_()
    assert not large.put_back()


def test_an_attribute_whose_setting_fails_is_named():
    class Growing(type):
        def __setattr__(cls, name, value):
            if value == 0:
                raise ValueError(name)
            super().__setattr__(name, value)

    class Strict(metaclass=Growing):
        calls = 0

    def count(x):
        Strict.calls += 1
        return x

    with pytest.warns(RuntimeWarning, match="a copy changed attributes of the class Strict, which cannot"):
        run(count)


def test_a_module_that_is_imported_meanwhile_stays():
    namespace = types.ModuleType("users")
    exec("def forward(x):\n    global colorsys\n    import colorsys\n    return x", vars(namespace))
    run(namespace.forward)
    assert namespace.colorsys.__name__ == "colorsys"


def test_modules_of_the_user_that_functions_name(monkeypatch):
    settings = types.ModuleType("users_settings")
    settings.cache, settings.itself = {}, settings
    monkeypatch.setitem(globals(), "users_settings", settings)

    def remember(x):
        users_settings.itself.cache["x"] = torch.users_window = x  # noqa: F821 - set by the test
        return x

    run(remember)
    assert settings.cache == {}
    assert not hasattr(torch, "users_window")


def test_attributes_that_bear_the_name_of_a_global_lead_nowhere():
    assert len(shared_with_copies(Lambda(lambda s, x: x.SEEN.WEIGHTS))) == len(
        shared_with_copies(Lambda(lambda s, x: x))
    )


def test_errors_pass_through_and_all_is_put_back():
    module = Lambda(lambda s, x: SEEN.append(x) or 1 / 0)
    with pytest.raises(ZeroDivisionError), surroundings_kept(module):
        module(torch.ones(1))
    assert SEEN == []


def test_one_thread_at_a_time_and_again_inside():
    module, inside, seen = nn.Identity(), [], []
    barrier = threading.Barrier(4)

    def enter():
        barrier.wait()
        with surroundings_kept(module), surroundings_kept(module):
            inside.append(1)
            seen.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 4


def test_a_network_of_torchvision_shares_little_with_its_copies():
    assert len(shared_with_copies(resnet34())) < 50


def test_the_search_ends(monkeypatch):
    monkeypatch.setattr(reachable, "MAX_OBJECTS", 10)
    many = [[number] for number in range(100)]
    assert len(shared_with_copies(Lambda(lambda s, x: many))) < 20


def test_variables_of_closures_that_are_not_bound_yet():
    def outer():
        def bind(x):
            nonlocal later
            later = x

        def read():
            return later

        run(bind)
        with pytest.raises(NameError):
            read()
        later = None

    outer()


def test_tensors_of_which_torch_does_not_count_the_writing():
    with torch.inference_mode():
        hidden = torch.ones(2)
    snapshot = Numbers(hidden, Budget())
    assert snapshot.put_back()
    with torch.inference_mode():
        hidden.zero_()
    assert snapshot.put_back()
    assert torch.equal(hidden, torch.ones(2))


def test_what_torch_compiles_runs_as_written():
    torch.compile(torch.relu)  # from here on there may be something compiled

    def forward(x):
        branches.append(torch.compiler.is_compiling())
        return x

    class Compiled(nn.Module):
        def forward(self, x):
            return compiled(x)

    compiled, branches = torch.compile(forward), []
    module = Compiled()
    with surroundings_kept(module):
        copy.deepcopy(module)(torch.ones(2))
        assert branches == [False]


def test_random_states_of_cuda(monkeypatch):
    put = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: ["state"])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", put.append)
    run(lambda x: x)
    assert put == [["state"]]
