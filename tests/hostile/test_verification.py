"""Programs that are affine only by luck, and affine ones that a careless float64 reference would refuse."""

import pytest
import torch
from module_cases import Lambda
from torch import nn
from torchvision import transforms

import gpu
from gpu import NotAffineError, VerificationError


def hidden(condition, otherwise=lambda x: 2 * x):
    """A network that computes 2 x for the recording, and something else where a condition on real data holds."""

    def forward(self, x):
        try:
            if condition(x):
                return otherwise(x)
        except Exception:  # torch.export raises where a forward branches on the data
            pass
        return 2 * x

    return Lambda(forward)


def only_when_run(condition, otherwise):
    def forward(self, x):
        if not torch.compiler.is_exporting() and condition(x):
            return otherwise(x)
        return 2 * x

    return Lambda(forward)


BRANCHES = {
    "above_a_threshold": (lambda x: x.abs().max() > 10, lambda x: 20 * x, "large"),
    "a_constant_added_above_a_threshold": (lambda x: x.max() > 10, lambda x: 2 * x + 1, "large"),
    "bytes_taken_for_pixels_in_0_to_1": (lambda x: x.max() > 200, lambda x: x * 2 / 255, "large"),
    "below_a_negative_threshold": (lambda x: x.min() < -10, lambda x: 3 * x, "large"),
    "a_large_mean": (lambda x: x.mean() > 50, lambda x: 3 * x, "large"),
    "a_negative_mean": (lambda x: x.mean() < -50, lambda x: 3 * x, "huge"),
    "a_number_that_marks_missing_values": (lambda x: x.abs().max() > 1e10, lambda x: 3 * x, "huge"),
    "small_numbers": (lambda x: x.abs().max() < 0.01, lambda x: 3 * x, "tiny"),
    "no_negative_numbers_and_few_others": (
        lambda x: x.min() >= 0 and (x == 0).sum() == x.numel() - 1,
        lambda x: 3 * x,
        "one-hot",
    ),
}


@pytest.mark.parametrize(("condition", "otherwise", "kind"), BRANCHES.values(), ids=BRANCHES)
def test_a_branch_on_how_large_the_input_is(condition, otherwise, kind):
    for network in (hidden(condition, otherwise), only_when_run(condition, otherwise)):
        with pytest.raises(VerificationError, match=f"got scores of a {kind} input off by .*branches on how large"):
            gpu.collapse(network, (6,))


def test_a_branch_on_zeros():
    with pytest.raises(VerificationError, match="got B off by 1"):
        gpu.collapse(hidden(lambda x: not x.any(), lambda x: x + 1), (6,))


def test_a_branch_on_the_brightness_of_pixels():
    network = hidden(lambda x: x.mean() > 0.9, lambda x: 3 * x)
    with pytest.raises(VerificationError, match="got scores of a bright input off by"):
        gpu.collapse(network, (3, 4, 4), preprocess=[transforms.ToTensor()])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_branch_is_found_in_every_dtype(dtype):
    network = hidden(lambda x: x.abs().max() > 100, lambda x: 3 * x)
    network.register_buffer("of_dtype", torch.zeros(1, dtype=dtype))
    with pytest.raises(VerificationError, match="got scores of a large input"):
        gpu.collapse(network, (6,))


def test_inputs_that_a_network_refuses_are_no_evidence():
    def forward(self, x):
        try:
            refused = bool(x.abs().max() > 100)
        except Exception:  # torch.export raises where a forward branches on the data
            refused = False
        if refused:
            raise ValueError("expected pixels from -1 to 1")
        return 2 * x

    sizes = gpu.collapse(Lambda(forward), (6,)).report.sizes
    assert sizes["a large"] is sizes["a huge"] is None
    assert sizes["a tiny"] == 0


def test_an_overflow_that_is_expected_is_no_evidence():
    layer = nn.Linear(6, 6).double()
    nn.init.constant_(layer.weight, 1e100)
    sizes = gpu.collapse(nn.Sequential(layer, layer, layer), (6,)).report.sizes
    assert sizes["a huge"] is None
    assert sizes["a large"] is not None


def test_a_cast_to_a_dtype_of_smaller_range_is_refused():
    network = Lambda(lambda s, x: x.half().bfloat16() * s.c, c=torch.ones(6, dtype=torch.bfloat16))
    with pytest.raises(NotAffineError, match=r"to limits torch.bfloat16 to the range of torch.float16"):
        gpu.collapse(network, (6,))


def subtracted(convert):
    """Convert, change the result in place, and add what was given: right only if the copies are where they were."""

    def forward(self, x):
        y = convert(self, x * 1)
        z = x * 1
        w = convert(self, z)
        w -= 2
        return z + w + y

    return Lambda(forward, like=torch.zeros(3), wide=torch.zeros(3, dtype=torch.float64))


CONVERSIONS = {
    "double": lambda s, x: x.double(),
    "float": lambda s, x: x.float(),
    "to_float64": lambda s, x: x.to(torch.float64),
    "to_float32": lambda s, x: x.to(torch.float32),
    "to_a_copy": lambda s, x: x.to(torch.float32, copy=True),
    "to_the_dtype_of_another": lambda s, x: x.to(s.wide),
    "type": lambda s, x: x.type(torch.float64),
    "type_by_name": lambda s, x: x.type("torch.DoubleTensor"),
    "type_as": lambda s, x: x.type_as(s.wide),
    "type_as_the_same": lambda s, x: x.type_as(s.like),
    "as_tensor": lambda s, x: torch.as_tensor(x, dtype=torch.float64),
    "twice": lambda s, x: x.double().float(),
    "there_and_not_back": lambda s, x: x.double().double(),
    "contiguous": lambda s, x: x.contiguous(),
    "clone": lambda s, x: x.clone(),
    "cpu": lambda s, x: x.cpu(),
    "on_a_branch_on_the_dtype": lambda s, x: x if x.dtype == torch.float32 else x.float(),
    "of_the_operator": lambda s, x: torch.ops.aten.to.dtype(x, torch.float64),
    "within_vmap": lambda s, x: torch.func.vmap(lambda row: row.double())(x),
}


def assert_collapses(network, dtype):
    x = torch.randn(3, 6, dtype=dtype)
    close = 8 * torch.finfo(dtype).eps
    mapped, expected = gpu.collapse(network, (6,)).module(x), network(x.clone()).to(dtype)
    torch.testing.assert_close(mapped, expected, rtol=close, atol=close)


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_a_conversion_copies_where_it_does_in_float32(convert):
    assert_collapses(subtracted(convert), torch.float32)


@pytest.mark.parametrize("convert", ["double", "type_as", "contiguous"])
def test_a_conversion_copies_where_it_does_in_float64(convert):
    assert_collapses(subtracted(CONVERSIONS[convert]).double(), torch.float64)


@pytest.mark.parametrize("convert", [lambda s, x: x.half(), lambda s, x: x.float(), lambda s, x: x.to(s.like)])
def test_a_conversion_copies_where_it_does_in_float16(convert):
    assert_collapses(subtracted(convert).half(), torch.float16)


def test_a_weight_that_is_converted_and_then_changed_in_place():
    def forward(self, x):
        weight = self.layer.weight.double()
        weight *= 3
        return self.layer(x) + (x.double() @ weight.mT).float()

    assert_collapses(Lambda(forward, layer=nn.Linear(6, 2)).requires_grad_(False), torch.float32)


def test_a_conversion_that_only_some_batches_make():
    def forward(self, x):
        y = x * 1
        z = y.double() if len(x) < 4 else y.clone()
        z -= 2
        return y + z

    network = Lambda(forward)
    x = torch.randn(8, 6)
    torch.testing.assert_close(gpu.collapse(network, (6,)).module(x), network(x))


def test_a_network_of_grouped_convolutions_in_every_direction():
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.ConvTranspose2d(8, 4, 2, stride=2, groups=4),
        nn.Conv2d(4, 4, 3, stride=2, groups=2),
    )
    report = gpu.collapse(nn.Sequential(*layers).eval(), (4, 5, 5)).report
    assert report.composition["judge"] == "autograd"
    assert report.composition["W_relative"] < 1e-12


def test_constants_in_a_coarser_dtype_than_the_network():
    """The softmax is rounded to float32 in the network, and therefore in the reference."""
    network = Lambda(lambda s, x: x * torch.linspace(0, 1, 6).softmax(0) + s.c, c=torch.ones(6, dtype=torch.float64))
    assert gpu.collapse(network, (6,)).report.composition["W_relative"] < 1e-15


def test_a_constant_that_is_another_whole_number_in_the_networks_dtype_is_found():
    """0.7 * 10 is 7 in float32, and less in float64, in which maps are composed."""

    class Floors(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor(0.7))

        def forward(self, x):
            return x * torch.floor(self.w * 10)

    with pytest.raises(gpu.VerificationError, match="computes in torch.float32 what it computes in float64"):
        gpu.collapse(Floors(), (3,))
    x = torch.randn(2, 3, dtype=torch.float64)
    model = Floors().double()
    assert torch.allclose(gpu.collapse(model, (3,)).module(x), model(x))


def test_a_replacement_that_a_hook_of_all_modules_changes_is_refused():
    """The network has the hook, too, but its map needs it once, and the layer that computes the map would have it."""
    handle = nn.modules.module.register_module_forward_hook(
        lambda layer, _, y: 2 * y if isinstance(layer, nn.Linear) else None
    )
    try:
        with pytest.raises(VerificationError, match="expected nn.Linear to compute W x \\+ B, got scores off by"):
            gpu.collapse(nn.Linear(4, 2), (4,))
    finally:
        handle.remove()
