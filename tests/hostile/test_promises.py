"""What tracing and collapsing promise of a module, in cases that real code bases hold."""

import numpy as np
import pytest
import torch
from torch import nn

import gpu
from linalg_cnn import compose


class Shared(nn.Linear):
    """A layer that all models share, such as a frozen teacher."""

    def __deepcopy__(self, memo):
        return self


class SharedWeight(nn.Linear):
    def __deepcopy__(self, memo):
        copied = SharedWeight(self.in_features, self.out_features)
        copied.weight = self.weight
        return copied


@pytest.mark.parametrize("work", [gpu.trace, gpu.collapse])
@pytest.mark.parametrize(
    ("module", "named"),
    [
        (Shared(3, 3), "one: Shared"),
        (nn.Sequential(nn.Linear(3, 3), Shared(3, 3)), "1: Shared"),
        (nn.Sequential(SharedWeight(3, 3)), "0.weight: Parameter"),
    ],
)
def test_a_module_whose_copy_would_share_its_parts_is_refused_rather_than_changed(module, named, work):
    with pytest.raises(ValueError, match=f"copies as a whole, got {named}, which the copy shares"):
        work(module, (3,))
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    assert not module._forward_hooks


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("work", [gpu.trace, gpu.collapse])
def test_a_scripted_part_is_refused_by_its_name(work):
    module = nn.Sequential(nn.Linear(3, 3), torch.jit.script(nn.Linear(3, 3)))
    with pytest.raises(TypeError, match="expected a module of Python, got a ScriptModule in 1; give the module that"):
        work(module, (3,))


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        steps = x.transpose(0, 1).contiguous()
        return self.layer(steps.view(-1, 3)).view(len(steps), len(x), 2).mean(0)


def test_a_view_of_a_contiguous_tensor_whose_samples_do_not_come_first():
    module = SequenceFirst()
    x = torch.randn(7, 4, 3)
    torch.testing.assert_close(gpu.collapse(module, (4, 3)).module(x), module(x))


class Branching(nn.Module):
    def __init__(self, question):
        super().__init__()
        self.question = question

    def forward(self, x):
        return x if self.question() else 2 * x


@pytest.mark.parametrize("question", [torch.compiler.is_compiling, torch.compiler.is_exporting])
def test_a_branch_for_compilers_is_taken_as_in_a_run(question):
    graph = gpu.trace(Branching(question), (3,))
    np.testing.assert_array_equal(compose(graph).W, 2 * np.eye(3))
    assert not question()


class Gradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.layer(x).square().sum(), x)[0]


def test_a_gradient_is_not_taken_for_a_use_of_data():
    with pytest.raises(ValueError, match=r"loses track of a tensor, as it may where .* calls torch.autograd.grad"):
        gpu.trace(Gradient(), (3,))


class Hidden(nn.Module):
    """A network that keeps its backbone in a list, so that it is no part of the state dict."""

    def __init__(self):
        super().__init__()
        self.backbone = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval()]
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        for layer in self.backbone:
            x = layer(x)
        return self.head(x)


def test_layers_that_a_module_keeps_in_a_list():
    module = Hidden().eval()
    x = torch.randn(3, 3, 5, 5)
    torch.testing.assert_close(gpu.collapse(module, (3, 5, 5)).module(x), module(x), rtol=1e-4, atol=1e-5)
