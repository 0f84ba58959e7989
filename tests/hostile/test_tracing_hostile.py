"""Networks that the tracing has to follow exactly: axes folded into the batch, writes into views, tools of torch."""

import numpy as np
import pytest
import torch
from judges import assert_all_agree
from module_cases import Lambda, randn
from torch import nn
from torch.nn import functional

import gpu
from linalg_cnn import PerSlice


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
