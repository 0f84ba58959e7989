"""A fault of the user's own is told as such: with the user's file and line, the right reason, and a remedy."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

import gpu
from gpu.models.copying import copy_of


class Faulty(nn.Module):
    """Runs a function as its forward."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.function = nn.Linear(3, 2), function

    def forward(self, x):
        return self.function(self, x)


class Plain(nn.Module):
    """Whose forward is code of its own."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)


def helper(x):
    raise KeyError("conv1")


def with_a_hook(hook):
    module = nn.Sequential(nn.Linear(3, 2))
    module[0].register_forward_hook(hook)
    return module


class Slow(nn.Module):
    """Fails in a thread of its own, whose frames are not those of the forward."""

    def forward(self, x):
        errors = []
        thread = threading.Thread(target=lambda: errors.append(ValueError("no module on its way")))
        thread.start()
        thread.join()
        raise errors[0]


FAULTS = {
    "a_shape": (nn.Sequential(nn.Linear(4, 2)), "got RuntimeError in 0: Linear: mat1 and mat2 shapes"),
    "in_its_own_code": (
        Faulty(lambda s, x: x @ torch.ones(4)),
        r"got RuntimeError in the module: Faulty \(test_errors.py, line \d+\): size mismatch",
    ),
    "in_a_function_it_calls": (
        nn.Sequential(nn.Identity(), Faulty(lambda s, x: helper(x))),
        r"got KeyError in 1: Faulty \(test_errors.py, line \d+\): 'conv1'",
    ),
    "an_assertion_without_a_text": (
        Faulty(lambda s, x: (_ for _ in ()).throw(AssertionError)),
        r"got AssertionError in the module: Faulty \(test_errors.py, line \d+\)$",
    ),
    "a_wrong_number_of_arguments": (
        nn.Bilinear(3, 3, 2),
        r"got TypeError in the module: .*missing 1 required positional argument: 'input2'",
    ),
    "no_forward": (nn.ModuleList(), r"got NotImplementedError in the module: .*missing the required \"forward\""),
    "in_a_hook": (
        with_a_hook(lambda module, args, output: output.no_such_method()),
        r"got AttributeError in 0: Linear \(test_errors.py, line \d+\): .*no_such_method",
    ),
    "raised_elsewhere": (Slow(), r"got ValueError in the module: Slow \(test_errors.py, line \d+\): no module on its"),
}


@pytest.mark.parametrize("work", [gpu.trace, gpu.collapse])
@pytest.mark.parametrize(("module", "message"), FAULTS.values(), ids=FAULTS)
def test_the_place_of_a_fault_is_in_the_users_code(module, message, work):
    with pytest.raises(
        ValueError, match=rf"module: expected a forward that takes \(2, 3\) without an error, {message}"
    ):
        work(module, (3,))


def test_a_forward_that_runs_but_cannot_be_recorded_is_told_from_one_that_does_not_run():
    def cannot_be_recorded(s, x):
        if torch.compiler.is_exporting():
            raise RuntimeError("not while exporting")
        return x

    with pytest.raises(
        ValueError, match=r"takes \(2, 3\) and that torch.export can record, got RuntimeError in .*not w"
    ):
        gpu.trace(Faulty(cannot_be_recorded), (3,))


def test_a_forward_that_can_be_recorded_but_does_not_run_is_traced_and_not_collapsed():
    def does_not_run(s, x):
        if not torch.compiler.is_exporting():
            raise RuntimeError("only while exporting")
        return x

    assert gpu.trace(Faulty(does_not_run), (3,)).out_shape == (3,)
    with pytest.raises(ValueError, match=r"module: expected a forward that runs on .* got RuntimeError: only while"):
        gpu.collapse(Faulty(does_not_run), (3,))


def test_a_branch_on_the_data_is_an_obstacle_even_if_it_raises_on_zeros():
    def positive(s, x):
        if x.sum() <= 0:
            raise ValueError("expected a bright image")
        return x

    with pytest.raises(gpu.NotAffineError, match=r"Faulty \(test_errors.py, line \d+\): branches on the data"):
        gpu.trace(Faulty(positive), (3,))


@pytest.mark.parametrize(
    ("dtype", "factor", "remedy"),
    [
        (torch.float16, 6e4, r"fit torch.float16, got one as large as .*; collapse module.float\(\) instead"),
        (torch.float32, 1e30, r"fit torch.float32, got one as large as .*; collapse module.double\(\) instead"),
        (torch.bfloat16, 1e30, r"fit torch.bfloat16, got one as large as .*; collapse module.double\(\) instead"),
    ],
)
def test_a_map_that_overflows_advises_a_dtype_that_is_wider(dtype, factor, remedy):
    module = nn.Sequential(nn.Linear(3, 2), Faulty(lambda s, x: x * factor), Faulty(lambda s, x: x * factor))
    with pytest.raises(ValueError, match=f"module: expected a map whose entries {remedy}"):
        gpu.collapse(module.to(dtype), (3,))


class CompiledForward(Plain):
    @torch.compile
    def forward(self, x):
        return self.linear(x)


def compiled_forward_of_an_object():
    module = Plain()
    module.forward = torch.compile(module.forward)
    return module


def compiled_in_place():
    module = Plain()
    module.compile()
    return module


def compiled_with_a_hook():
    module = torch.compile(Plain())
    module.register_forward_hook(lambda module, args, output: 2 * output)
    return module


COMPILED = {
    "wrapped": lambda: torch.compile(Plain()),
    "wrapped_within": lambda: nn.Sequential(torch.compile(nn.Sequential(torch.compile(Plain())))),
    "in_place": compiled_in_place,
    "a_decorated_forward": CompiledForward,
    "the_forward_of_an_object": compiled_forward_of_an_object,
    "a_function_that_a_forward_calls": lambda: Faulty(torch.compile(lambda s, x: s.linear(x))),
}


def plain(module):
    """The layer within a compiled network."""
    return next(part for part in module.modules() if type(part) is nn.Linear)


@pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED)
def test_what_torch_compiles_is_collapsed_as_it_was_written_without_compiling(make, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    torch._dynamo.utils.counters.clear()  # it counts what the whole process compiled
    module = make().eval()
    collapsed = gpu.collapse(module, (3,))
    np.testing.assert_array_equal(collapsed.affine.W, plain(module).weight.detach().double().numpy())
    assert not any("_orig_mod" in node.name for node in collapsed.graph.nodes)
    assert torch._dynamo.utils.counters["frames"]["total"] == 0


def test_hooks_of_what_torch_wraps_stay():
    module = compiled_with_a_hook().eval()
    collapsed = gpu.collapse(module, (3,))
    np.testing.assert_array_equal(collapsed.affine.W, 2 * plain(module).weight.detach().double().numpy())


def test_a_copy_of_a_compiled_forward_runs_its_own_weights():
    module = compiled_forward_of_an_object()
    copied = copy_of(module)
    with torch.no_grad():
        plain(copied).weight.zero_()
        plain(copied).bias.zero_()
    assert not copied(torch.ones(1, 3)).any()
    assert copied.forward.__self__ is copied
