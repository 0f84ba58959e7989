"""What tracing and collapsing promise of a module, in cases that real code bases hold."""

import pytest
import torch
from torch import nn

import gpu


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


class OfAClass(nn.Parameter):
    pass


class AskingForAClass(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = OfAClass(torch.ones(2))

    def forward(self, x):
        return x * (2 * self.weight if isinstance(self.weight, OfAClass) else self.weight)


def test_a_branch_on_the_class_of_a_parameter_which_torch_export_replaces_is_refused_by_what_compares():
    with pytest.raises(gpu.VerificationError, match="expected a map that is the network, got W"):
        gpu.collapse(AskingForAClass().eval(), (2,))
