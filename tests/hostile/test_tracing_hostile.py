"""Networks that the tracing has to follow exactly: axes folded into the batch, writes into views, tools of torch."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.ao.quantization as ao
from judges import answer_to_zero, assert_all_agree, assert_close, by_unit_vectors
from module_cases import Lambda, randn
from torch import nn
from torch.nn import functional
from torchvision.transforms import Normalize, v2

import gpu
from gpu.tracing.outputs import one_tensor
from linalg_cnn import PerSlice, Resample, compose


def of_float64(module):
    return module.double().eval().requires_grad_(False)


def assert_right(module, in_shape):
    """The graph of a float64 module composes to its W and B, and computes a batch of another size."""
    module = of_float64(module)
    graph = gpu.trace(module, in_shape)
    affine = compose(graph)
    assert_close(affine.W, by_unit_vectors(module, in_shape), scale=1.0)
    assert_close(affine.B, answer_to_zero(module, in_shape), scale=1.0)
    x = torch.randn(3, *in_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
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


def pieces_of_joined_views(self, x):
    joined = torch.cat([x[:, 0], x[:, 1], x[:, 2], x[:, 3]])
    first, second = joined.tensor_split(2)
    third, fourth = second.vsplit(2)
    fifth, sixth = first.movedim(0, 1).tensor_split((len(x),), 1)
    return third - 2 * fourth + fifth.movedim(1, 0) * 3 - sixth.hsplit(1)[0].movedim(1, 0)


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


def frames_with_constants_of_their_own(self, x):
    n = len(x)
    frames = x.flatten(0, 1) + self.position.repeat(n, 1, 1, 1)
    scores = frames.sum((1, 2, 3)) * self.weight.repeat(n) + self.weight.repeat(n).flip(0).flip(0)
    outer = x.transpose(0, 1).flatten(0, 1).mean((2, 3)) - self.weight.repeat_interleave(n)[:, None]
    return torch.cat([frames.view(n, -1), scores.view(n, -1), outer.view(4, n, -1).transpose(0, 1).flatten(1)], 1)


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
    (pieces_of_joined_views, {}),
    (windows_of_frames, {}),
    (shifted_in_time, {"conv": nn.Conv2d(3, 3, 3), "second": nn.Conv2d(3, 2, 2)}),
    (frames_with_constants, {"scale": randn(1, 5, 5), "mask": randn(5) > 0, "weight": randn(5, 2)}),
    (frames_with_constants_of_their_own, {"position": randn(4, 3, 1, 5), "weight": randn(4)}),
    (frames_left_to_autograd, {"row": randn(1, 1, 1, 5), "index": torch.tensor([2, 0]), "weight": randn(3, 2)}),
    (one_score_per_frame, {}),
    (frames_and_channels_folded_in_turn, {}),
]


@pytest.mark.parametrize(("forward", "parts"), FOLDED, ids=[forward.__name__ for forward, _ in FOLDED])
def test_axes_that_are_folded_into_the_batch_are_followed(forward, parts):
    torch.manual_seed(0)
    assert_right(Lambda(forward, **parts), VIDEO)


def test_a_network_over_folded_frames_collapses():
    torch.manual_seed(0)
    module = Lambda(shifted_in_time, conv=nn.Conv2d(3, 3, 3), second=nn.Conv2d(3, 2, 2)).eval()
    x = torch.randn(2, *VIDEO)
    torch.testing.assert_close(gpu.collapse(module, VIDEO).module(x), module(x), rtol=1e-4, atol=1e-5)


def test_a_convolution_of_frames_stays_a_convolution():
    module = of_float64(Lambda(frames_averaged, conv=nn.Conv2d(3, 2, 3)))
    graph = gpu.trace(module, VIDEO)
    assert_all_agree(module, graph)
    (conv,) = [node.operation for node in graph.nodes if isinstance(node.operation, PerSlice)]
    assert conv.operation.kernel.shape == (2, 3, 3, 3)
    assert graph.multiply_adds == 4 * 3 * 3 * 2 * 27


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


class Side(nn.Module):
    """Several networks of one input side by side, so that they are traced together."""

    def __init__(self, parts):
        super().__init__()
        self.parts = nn.ModuleDict(parts)

    def forward(self, x):
        return torch.cat([part(x).flatten(1) for part in self.parts.values()], 1)


def assert_each_right(parts, in_shape):
    """The rows of each part of the map of several networks are those of the network."""
    module = of_float64(Side(parts))
    affine = compose(gpu.trace(module, in_shape))
    first = 0
    for name, part in parts.items():
        W, B = by_unit_vectors(part, in_shape), answer_to_zero(part, in_shape)
        rows = slice(first, first + len(W))
        np.testing.assert_allclose(affine.W[rows], W, rtol=0, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(affine.B[rows], B, rtol=0, atol=1e-12, err_msg=name)
        first += len(W)
    assert first == affine.out_size


def test_writes_into_views_are_followed():
    def writing(write):
        def forward(self, x):
            y = self.linear(x)
            write(y)
            return y + x

        return Lambda(forward, linear=linear)

    torch.manual_seed(0)
    linear = nn.Linear(4, 4)
    assert_each_right({name: writing(write) for name, write in WRITES.items()}, (3, 4))


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


@pytest.mark.parametrize("wrapped", [lambda y: (y,), lambda y: {"out": y}, Outcome], ids=["tuple", "dict", "dataclass"])
def test_the_only_tensor_of_the_output_is_taken(wrapped):
    linear = nn.Linear(3, 2).requires_grad_(False)
    module = Lambda(lambda s, x: wrapped(s.linear(x)), linear=linear)
    np.testing.assert_array_equal(compose(gpu.trace(module, (3,))).W, linear.weight.double().numpy())


@pytest.mark.parametrize(
    ("result", "choices"),
    [
        (torch.ones(2), [None]),
        ([torch.ones(2)], [None, 0, -1]),
        ({"out": (torch.ones(2), None), "loss": 3.0}, [None, "out", 0]),
        (Scores(torch.ones(2)), [None, "scores", 0]),
        ((torch.zeros(2), torch.ones(2)), [1, -1]),
        ({"p": torch.zeros(2), "q": [torch.ones(2)]}, ["q", 1, -1]),
        ({1: torch.ones(2), 0: torch.zeros(2)}, [1]),
        (Outcome(torch.zeros(2), torch.ones(2)), ["state", 1]),
    ],
    ids=[
        "tensor",
        "list",
        "nested",
        "NamedTuple",
        "tuple_of_two",
        "dict_of_two",
        "numbers_as_keys",
        "dataclass_of_two",
    ],
)
def test_an_output_is_chosen_by_name_or_index(result, choices):
    for output in choices:
        torch.testing.assert_close(one_tensor(result, output), torch.ones(2))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("s", "output: expected the name or the index of an output, got 's' for a dict of p, q"),
        (2, "output: expected the name or the index of an output, got 2 for a dict of p, q"),
        ("p", "output: expected one tensor as output 'p', got a tuple of 0, 1"),
        ("q", "output: expected one tensor as output 'q', got None"),
        (None, "module: expected one tensor as output, got a dict of p, q; choose with output='p'"),
    ],
)
def test_an_output_that_is_not_there_is_refused(output, message):
    with pytest.raises(ValueError, match=message):
        one_tensor({"p": (torch.ones(1), torch.ones(1)), "q": None}, output)
    with pytest.raises(ValueError, match="got 0 for a tensor"):
        one_tensor(torch.ones(1), 0)


def test_one_of_several_outputs_is_traced_and_collapsed():
    first, second = nn.Linear(3, 2), nn.Linear(3, 4)
    module = Lambda(lambda s, x: {"a": s.a(x), "b": s.b(x), "c": x.relu()}, a=first, b=second)
    np.testing.assert_array_equal(compose(gpu.trace(module, (3,), output="a")).W, first.weight.detach().numpy())
    np.testing.assert_array_equal(gpu.collapse(module, (3,), output=1).affine.W, second.weight.detach().numpy())
    with pytest.raises(ValueError, match="got a dict of a, b, c; choose with output='a'"):
        gpu.collapse(module, (3,))
    with pytest.raises(TypeError, match="output: expected a name, an index or None, got bool"):
        gpu.collapse(module, (3,), output=True)


@pytest.mark.parametrize(
    ("n", "sizes"), [(2, (41, 47, 55, 83, 97, 107, 109, 121, 123)), (4, (82, 94, 110)), (6, (123,))]
)
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


MASK = torch.tensor([True, False, True, True])


def with_parts(module, **parts):
    """A module that also has attributes that are neither parameters nor buffers."""
    for name, part in parts.items():
        object.__setattr__(module, name, part)
    return module


def written_by_masks(self, x):
    y = x * 2
    y[:, self.m] = 0
    y[:, ~self.m] = y[:, ~self.m] * 3
    return y


DECIDED = {
    "columns_of_a_mask": (Lambda(lambda s, x: s.n(x[:, s.m]), m=MASK, n=nn.BatchNorm1d(3)), (4,)),
    "channels_of_a_mask": (Lambda(lambda s, x: s.n(x[:, s.m]), m=MASK, n=nn.BatchNorm2d(3)), (4, 2, 2)),
    "columns_outside_a_mask": (Lambda(lambda s, x: s.n(x[:, ~s.m]), m=MASK, n=nn.BatchNorm1d(1)), (4,)),
    "columns_of_positive_weights": (
        Lambda(lambda s, x: s.n(x[:, s.w > 0]), w=nn.Parameter(torch.tensor([1.0, -2, 3, 0.5])), n=nn.BatchNorm1d(3)),
        (4,),
    ),
    "a_mask_of_two_axes": (
        Lambda(lambda s, x: s.n(x[:, s.m[:, None] & s.m]), m=MASK, n=nn.BatchNorm1d(9)),
        (4, 4),
    ),
    "positions_of_a_mask": (
        Lambda(lambda s, x: s.n(x[:, torch.where(s.m)[0]] + x[:, s.m.nonzero().squeeze(1)]), m=MASK,
               n=nn.BatchNorm1d(3)),
        (4,),
    ),
    "a_mask_that_is_no_buffer": (
        with_parts(Lambda(lambda s, x: s.n(x[:, s.q]), n=nn.BatchNorm1d(3)), q=MASK),
        (4,),
    ),
    "writes_by_masks": (Lambda(written_by_masks, m=MASK), (4,)),
    "a_flag": (Lambda(lambda s, x: x * 2 if s.f else x.relu(), f=torch.tensor(True)), (4,)),
    "a_parameter": (Lambda(lambda s, x: x * 2 if s.p.sum() > 0 else -x, p=nn.Parameter(-torch.ones(2))), (4,)),
    "numbers": (
        Lambda(lambda s, x: x * s.c.item() + float(s.w[1]) - s.w.tolist()[0], c=torch.tensor(0.7), w=randn(3)),
        (4,),
    ),
    "a_size": (Lambda(lambda s, x: x.view(-1, int(s.k), 2), k=torch.tensor(2)), (4,)),
    "a_constant_of_the_forward": (
        Lambda(lambda s, x: x.relu() if (torch.as_tensor((0.5, 0.25)) == 0).any() else x * 2), (4,),
    ),
    "a_norm": (Lambda(lambda s, x: x / s.w.norm().item() if torch.linalg.norm(s.w) > 0 else x, w=randn(3)), (4,)),
    "a_sum_of_masked_weights": (
        Lambda(lambda s, x: x * s.w.masked_select(s.m).sum() if s.w.sum() > -9 else x, w=randn(4), m=MASK), (4,),
    ),
    "a_buffer_of_two_names": (Lambda(lambda s, x: x * 2 if s.b.any() else x, a=MASK, b=MASK), (4,)),
    "a_forward_of_the_object": (
        with_parts(nn.Identity(), flag=torch.tensor(False), forward=lambda x: x * 2), (4,),
    ),
    "normalize": (
        nn.Sequential(Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.1)), nn.Conv2d(3, 2, 2)), (3, 3, 3),
    ),
    "normalize_in_place": (
        nn.Sequential(nn.Conv2d(3, 3, 2), Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.1), inplace=True)), (3, 3, 3),
    ),
    "normalize_of_the_second_version": (
        nn.Sequential(v2.Normalize((0.5, 0.4, 0.3), (0.2, 0.25, 0.1)), nn.Conv2d(3, 2, 2)), (3, 3, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("in_shape", sorted({in_shape for _, in_shape in DECIDED.values()}))
def test_a_forward_may_decide_by_constants(in_shape):
    assert_each_right({name: module for name, (module, shape) in DECIDED.items() if shape == in_shape}, in_shape)


def counted(self, x):
    y = x * 2 if self.k == 0 else x
    self.k += 1
    return y


def counted_by_assignment(self, x):
    y = x * 2 if self.k.sum() == 0 else x
    self.k = self.k + 1
    return y


def counted_before(self, x):
    self.k += 1
    return x * 2 if self.k == 1 else x


def counted_through_a_view(self, x):
    first = self.k.view(1)[0]
    self.k.add_(1)
    return x * 2 if first == 1 else x


def counted_behind_its_back(self, x):
    self.k.data.add_(1)
    return x * 2 if self.k == 1 else x


CHANGED = r"k: is changed by every call, and the forward branches on it or reads a number from it"
BRANCHES = "branches on the data or on a parameter"
UNDECIDED = {
    "a_count": (Lambda(counted, k=torch.tensor(0)), CHANGED),
    "a_count_by_assignment": (Lambda(counted_by_assignment, k=torch.tensor(0)), CHANGED),
    "a_count_that_is_no_buffer": (with_parts(Lambda(counted_by_assignment), k=torch.tensor(0)), CHANGED),
    "a_count_before_the_branch": (Lambda(counted_before, k=torch.tensor(0)), BRANCHES),
    "a_count_through_a_view": (Lambda(counted_through_a_view, k=torch.tensor(0)), BRANCHES),
    "a_count_behind_its_back": (Lambda(counted_behind_its_back, k=torch.tensor(0)), BRANCHES),
    "a_random_number": (Lambda(lambda s, x: x * 2 if torch.rand(1) > 0.5 else x), BRANCHES),
    "a_random_number_like_another": (
        Lambda(lambda s, x: x if torch.rand_like(s.p) > 0.5 else -x, p=randn(1)),
        BRANCHES,
    ),
    "a_coin_of_a_generator": (
        with_parts(Lambda(lambda s, x: x if torch.bernoulli(s.p, generator=s.g) else -x, p=torch.tensor(0.5)),
                   g=torch.Generator()),
        BRANCHES,
    ),
    "memory": (Lambda(lambda s, x: x if torch.empty_like(s.p) > 0.5 else -x, p=randn(1)), BRANCHES),
    "what_cannot_be_computed": (
        Lambda(lambda s, x: x if torch.linalg.inv(s.w).sum() > 0 else -x, w=torch.zeros(2, 2)),
        BRANCHES,
    ),
    "the_data_and_a_mask": (Lambda(lambda s, x: x if (x[0] > 0)[s.m].any() else -x, m=MASK), BRANCHES),
}  # fmt: skip


@pytest.mark.parametrize(("module", "message"), UNDECIDED.values(), ids=UNDECIDED)
def test_a_forward_may_not_decide_by_what_changes(module, message):
    state = torch.get_rng_state()
    with pytest.raises(gpu.NotAffineError, match=message):
        gpu.trace(module.eval(), (4,))
    assert torch.equal(state, torch.get_rng_state())


def test_constants_are_known_in_inference_mode_too():
    with torch.inference_mode():
        assert gpu.trace(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval(), (3,)).out_shape == (2,)


def test_a_forward_that_belongs_to_the_object_is_traced_and_stays():
    module = with_parts(nn.Identity(), forward=lambda x: x * 2)
    forward = module.forward
    np.testing.assert_array_equal(compose(gpu.trace(module, (3,))).W, 2 * np.eye(3))
    assert module.forward is forward


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_a_script_module_is_refused_by_name():
    with pytest.raises(TypeError, match="module: expected a module of Python, got a ScriptModule"):
        gpu.trace(torch.jit.script(nn.Linear(3, 2)), (3,))
