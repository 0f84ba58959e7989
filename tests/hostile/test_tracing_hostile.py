"""Networks that the tracing has to follow exactly: axes folded into the batch, writes into views, tools of torch."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.ao.quantization as ao
from judges import assert_all_agree
from module_cases import Lambda, randn
from torch import nn
from torch.nn import functional

import gpu
from linalg_cnn import PerSlice, Resample, compose


def of_float64(module):
    return module.double().eval().requires_grad_(False)


def assert_right(module, in_shape, count=3):
    """The map of a float64 module is that of four judges, and its graph computes a batch of another size."""
    module = of_float64(module)
    graph = gpu.trace(module, in_shape)
    assert_all_agree(module, graph)
    x = torch.randn(count, *in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    theirs = module(x.clone()).numpy()
    np.testing.assert_allclose(graph(x.numpy()).reshape(theirs.shape), theirs, rtol=0, atol=1e-12)
    return graph


def frames_averaged(self, x):
    features = self.conv(x.flatten(0, 1))
    return features.view(len(x), 4, -1).mean(1)


def frames_in_a_view_of_minus_one(self, x):
    n, t, c, h, w = x.shape
    features = self.norm(self.conv(x.view(-1, c, h, w)))
    features = functional.avg_pool2d(functional.pad(features, (1, 0, 0, 1), mode="replicate"), 2)
    return self.head(features.flatten(1)).view(n, t, -1)


def frames_before_the_samples(self, x):
    n, t = x.shape[:2]
    joined = self.conv(x.transpose(0, 1).reshape(t * n, *x.shape[2:]))
    return joined.unflatten(0, (t, n)).permute(1, 2, 3, 4, 0)


def channels_in_the_batch(self, x):
    n, t, c, h, w = x.shape
    one = self.single(x.reshape(n * t * c, 1, h, w))
    return one.view(n, t, c, -1).sum(1)


def samples_in_the_middle(self, x):
    n, t, c, h, w = x.shape
    folded = x.permute(1, 0, 2, 3, 4).reshape(t * n * c, 1, h, w)
    return self.single(folded).view(t, n, c, -1).transpose(0, 1).flatten(1)


def two_views_one_encoder(self, x):
    both = self.conv(torch.cat([x[:, 0], x[:, 2]], 0))
    first, second = both.chunk(2, 0)
    return first - 2 * second[:, :1]


def two_views_split_by_the_number_of_samples(self, x):
    both = self.conv(torch.cat([x[:, 0], x[:, 2]]))
    return both[: len(x)] + both.split(len(x))[1] + both[len(x) :]


def tensor_crops_repeated(self, x):
    crops = x[:, 0].repeat_interleave(3, 0)
    return self.conv(crops).view(len(x), 3, -1).mean(1) + self.conv(x[:, 0].repeat(2, 1, 1, 1))[len(x) :].flatten(1)


def every_second_frame(self, x):
    frames = x.flatten(0, 1)
    frames = frames[1::2] - 0.5 * frames[::2]
    frames[::2] *= 3
    return self.conv(frames).view(len(x), 2, -1)


def windows_of_frames(self, x):
    return x.flatten(0, 1).unfold(0, 2, 2).mean(-1).unflatten(0, (len(x), -1))


def shifted_in_time(self, x):
    """The temporal shift of Lin et al. (2019), on features that lie frame by frame in the batch."""
    n, t, c, h, w = x.shape
    y = self.conv(x.view(n * t, c, h, w))
    y = y.view(n, t, *y.shape[1:])
    shifted = torch.zeros_like(y)
    shifted[:, :-1, :1] = y[:, 1:, :1]
    shifted[:, 1:, 1:2] = y[:, :-1, 1:2]
    shifted[:, :, 2:] = y[:, :, 2:]
    shifted = self.second(shifted.view(n * t, *y.shape[2:]))
    return shifted.flatten(1).view(n, t, -1).mean(1)


def frames_with_constants(self, x):
    frames = x.flatten(0, 1) * self.scale + 1
    frames = torch.cat([frames, self.scale.expand(len(frames), 1, 5, 5), frames[:, :1]], 1)
    weighted = torch.where(self.mask, frames, 2.0).mean((2, 3)) @ self.weight
    return weighted.view(len(x), 4, -1)


def frames_left_to_autograd(self, x):
    frames = x.flatten(0, 1)
    resized = functional.interpolate(frames, (4, 3), mode="bicubic").cumsum(1)
    steps = frames.diff(dim=2, append=self.row.expand(len(frames), 3, 1, 5))
    added = frames.index_add(1, self.index, self.row.expand(len(frames), 2, 5, 5))
    mixed = torch.einsum("nchw,cd->nd", steps + added, self.weight)
    return torch.cat([resized.flatten(1), mixed], 1).view(len(x), -1)


def one_score_per_frame(self, x):
    return x.flatten(0, 1).mean((1, 2, 3)).view(len(x), -1) * 2 + x.flatten(0, 1).sum((1, 2, 3)).view(-1, 4)


def frames_and_channels_folded_in_turn(self, x):
    y = x.flatten(0, 2).mean(-1)
    return y.view(len(x), 4, 3, 5).flatten(0, 1).transpose(1, 2).flatten(0, 1).view(len(x), -1)


VIDEO = (4, 3, 5, 5)
FOLDED = [
    (frames_averaged, {"conv": nn.Conv2d(3, 2, 3)}),
    (frames_in_a_view_of_minus_one, {"conv": nn.Conv2d(3, 2, 2), "norm": nn.BatchNorm2d(2), "head": nn.Linear(8, 3)}),
    (frames_before_the_samples, {"conv": nn.ConvTranspose2d(3, 2, 2)}),
    (channels_in_the_batch, {"single": nn.Conv2d(1, 2, 4)}),
    (samples_in_the_middle, {"single": nn.Conv2d(1, 2, 4)}),
    (two_views_one_encoder, {"conv": nn.Conv2d(3, 2, 3)}),
    (two_views_split_by_the_number_of_samples, {"conv": nn.Conv2d(3, 2, 3)}),
    (tensor_crops_repeated, {"conv": nn.Conv2d(3, 2, 3)}),
    (every_second_frame, {"conv": nn.Conv2d(3, 2, 3)}),
    (windows_of_frames, {}),
    (shifted_in_time, {"conv": nn.Conv2d(3, 3, 3), "second": nn.Conv2d(3, 2, 2)}),
    (frames_with_constants, {"scale": randn(1, 5, 5), "mask": randn(5) > 0, "weight": randn(5, 2)}),
    (frames_left_to_autograd, {"row": randn(1, 1, 1, 5), "index": torch.tensor([2, 0]), "weight": randn(3, 2)}),
    (one_score_per_frame, {}),
    (frames_and_channels_folded_in_turn, {}),
]


@pytest.mark.filterwarnings("ignore:There is a performance drop because")  # the judge of windows_of_frames
@pytest.mark.parametrize(("forward", "parts"), FOLDED, ids=[forward.__name__ for forward, _ in FOLDED])
def test_axes_that_are_folded_into_the_batch_are_followed(forward, parts):
    torch.manual_seed(0)
    assert_right(Lambda(forward, **parts), VIDEO)


def test_a_convolution_of_frames_stays_a_convolution():
    graph = assert_right(Lambda(frames_averaged, conv=nn.Conv2d(3, 2, 3)), VIDEO)
    (conv,) = [node.operation for node in graph.nodes if isinstance(node.operation, PerSlice)]
    assert conv.operation.kernel.shape == (2, 3, 3, 3)
    assert graph.multiply_adds == 4 * 3 * 3 * 2 * 27


def written(write):
    def forward(self, x):
        y = self.linear(x)
        write(y)
        return y + x

    return Lambda(forward, linear=nn.Linear(4, 4))


WRITES = {
    "zeros_into_a_row": lambda y: y[:, 0].zero_(),
    "zeros_into_columns": lambda y: y[..., 1:3].zero_(),
    "zeros_into_a_row_of_the_transpose": lambda y: y.transpose(1, 2)[:, 0].zero_(),
    "zeros_onto_the_diagonal": lambda y: torch.diagonal(y, 0, 1, 2).zero_(),
    "a_number_into_a_row": lambda y: y[:, 0].fill_(2.5),
    "a_row_over_another": lambda y: y[:, 0].copy_(y[:, 1]),
    "a_row_over_itself_flipped": lambda y: y[:, 0].copy_(y[:, 0].flip(1)),
    "a_row_times_a_number": lambda y: y[:, 0].mul_(3),
    "a_row_plus_another": lambda y: y[:, 0].add_(y[:, 1], alpha=2),
    "a_row_divided_and_negated": lambda y: y[:, 0].div_(4).neg_(),
    "every_second_entry_of_a_view": lambda y: y.view(len(y), -1)[:, ::2].sub_(1),
    "masked_entries_of_a_row": lambda y: y[:, 0].masked_fill_(torch.tensor([True, False, True, False]), 1.0),
    "a_row_through_three_views": lambda y: y.unsqueeze(1)[:, 0][:, :2].flatten(1)[:, 3].zero_(),
    "all_of_it_and_then_a_row": lambda y: y.zero_()[:, 1].add_(1),
    "views_that_share_a_row": lambda y: (lambda a, b: (a.zero_(), b.add_(1), a.mul_(2)))(y[:, :2], y[:, 1:]),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_writes_into_views_are_followed(write):
    torch.manual_seed(0)
    assert_right(written(write), (3, 4))


def prepared_for_quantisation(activations):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(18, 3)).train()
    weights = ao.default_fused_per_channel_wt_fake_quant
    module.qconfig = ao.QConfig(activation=activations, weight=weights)
    ao.prepare_qat(module, inplace=True)
    module(torch.randn(4, 1, 5, 5))
    return module.eval()


FAKE_QUANTISERS = [
    ao.default_fused_act_fake_quant,
    ao.FakeQuantize.with_args(observer=ao.MovingAverageMinMaxObserver),
    ao.default_observer,
]
quantisation_is_deprecated = pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated")


@quantisation_is_deprecated
@pytest.mark.parametrize("activations", FAKE_QUANTISERS, ids=["fused", "plain", "observer"])
def test_fake_quantisation_that_is_switched_off_is_the_identity(activations):
    module = prepared_for_quantisation(activations).apply(ao.disable_fake_quant).apply(ao.disable_observer)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    collapsed = gpu.collapse(module, (1, 5, 5))
    x = torch.randn(3, 1, 5, 5)
    torch.testing.assert_close(collapsed.module(x), module(x))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@quantisation_is_deprecated
def test_fake_quantisation_that_is_switched_on_is_named_once_for_each_module():
    module = prepared_for_quantisation(ao.default_fused_act_fake_quant)
    module.append(nn.ReLU())
    with pytest.raises(gpu.NotAffineError) as caught:
        gpu.trace(module, (1, 5, 5))
    places = [obstacle.place for obstacle in caught.value.obstacles]
    quantisers = [n for n, part in module.named_modules() if isinstance(part, ao.FakeQuantizeBase)]
    assert places == [*(f"{name}: FusedMovingAvgObsFakeQuantize" for name in quantisers), "4: ReLU"]
    assert "rounds its input; switch it off by module.apply(torch.ao.quantization.disable_fake_quant)" in str(
        caught.value
    )


class WithGenerator(nn.Module):
    def __init__(self, uses):
        super().__init__()
        self.generator, self.linear, self.uses = torch.Generator(), nn.Linear(3, 2), uses

    def forward(self, x):
        noise = torch.rand(2, generator=self.generator)
        return self.linear(x) + noise if self.uses else self.linear(x)


def test_a_module_may_hold_a_random_generator_and_draw_what_nobody_reads():
    assert_right(WithGenerator(uses=False), (3,))
    with pytest.raises(gpu.NotAffineError, match=r"WithGenerator \(.*\): rand is random"):
        gpu.trace(WithGenerator(uses=True), (3,))


class Scores(NamedTuple):
    scores: torch.Tensor
    note: str = "a word"


@dataclasses.dataclass
class Outcome:
    scores: torch.Tensor
    state: None = None


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda y: (y,),
        lambda y: [y],
        lambda y: {"out": y},
        lambda y: {"out": (y, None), "loss": None},
        Scores,
        Outcome,
    ],
    ids=["tuple", "list", "dict", "nested", "NamedTuple", "dataclass"],
)
def test_the_only_tensor_of_the_output_is_taken(wrapped):
    linear = nn.Linear(3, 2).requires_grad_(False)
    module = Lambda(lambda s, x: wrapped(s.linear(x)), linear=linear)
    np.testing.assert_array_equal(compose(gpu.trace(module, (3,))).W, linear.weight.double().numpy())


def test_one_of_several_outputs_is_chosen_by_name_or_index():
    parts = {"a": nn.Linear(3, 2).requires_grad_(False), "b": nn.Linear(3, 4).requires_grad_(False)}
    forms = [
        (lambda s, x: (s.a(x), s.b(x), x.relu()), {"a": [0, -3], "b": [1, -2]}),
        (lambda s, x: {"p": s.a(x), "q": {"z": s.b(x)}, "r": x.relu()}, {"a": ["p", 0], "b": ["q", -2]}),
        (lambda s, x: {1: s.a(x), 0: s.b(x)}, {"a": [1], "b": [0, -1]}),
        (lambda s, x: Outcome(s.a(x), s.b(x)), {"a": ["scores", 0], "b": ["state", 1]}),
    ]
    for forward, choices in forms:
        module = Lambda(forward, **parts)
        for part, outputs in choices.items():
            for output in outputs:
                graph = gpu.trace(module, (3,), output=output)
                np.testing.assert_array_equal(compose(graph).W, parts[part].weight.double().numpy())
    collapsed = gpu.collapse(Lambda(forms[0][0], **parts), (3,), output=1)
    np.testing.assert_array_equal(collapsed.affine.W, parts["b"].weight.double().numpy())
    module = Lambda(lambda s, x: {"p": (x, x), "q": None}, **parts)
    for output, message in [
        ("s", "output: expected the name or the index of an output, got 's' for a dict of p, q"),
        (2, "output: expected the name or the index of an output, got 2 for a dict of p, q"),
        ("p", "output: expected one tensor as output 'p', got a tuple of 0, 1"),
        ("q", "output: expected one tensor as output 'q', got None"),
    ]:
        with pytest.raises(ValueError, match=message):
            gpu.trace(module, (3,), output=output)
    with pytest.raises(ValueError, match="got 0 for a tensor"):
        gpu.trace(parts["a"], (3,), output=0)
    with pytest.raises(TypeError, match="output: expected a name, an index or None, got bool"):
        gpu.collapse(module, (3,), output=True)


@pytest.mark.parametrize(("n", "sizes"), [(2, (41, 47, 55, 83, 97, 107, 109, 121, 123)), (4, (82, 94, 110)), (6, (123,))])
def test_nearest_exact_takes_the_pixels_of_this_build_of_torch_at_exact_ties(n, sizes):
    def forward(self, x):
        return torch.cat([functional.interpolate(x, size, mode="nearest-exact") for size in (*sizes, 3, 2 * n, 128)], 2)

    module = Lambda(forward)
    x = torch.randn(2, 3, n)
    np.testing.assert_array_equal(gpu.trace(module, (3, n))(x.numpy()), module(x).numpy())


def test_nearest_resampling_without_ties_keeps_its_rule():
    for module in (nn.Upsample((7, 3), mode="nearest-exact"), nn.Upsample((7, 9)), nn.Upsample(scale_factor=2)):
        (node,) = gpu.trace(module, (2, 4, 5)).nodes
        assert isinstance(node.operation, Resample)
