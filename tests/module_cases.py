"""Torch modules that are affine, each with the reason it is here in its name, and modules that are not."""

import torch
from torch import nn
from torch.nn import functional


class Lambda(nn.Module):
    """A forward from a function, with some parameters and layers to use."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + sum(shape)))


def conv(c_in=3, c_out=3, k=3, **options):
    return nn.Conv2d(c_in, c_out, k, **{"padding": k // 2} | options)


def in_place_on_a_view(self, x):
    y = self.conv(x)
    y[:, :1] *= 2
    y += x
    y[:, 1:].sub_(1)
    return y


def layers_used_twice(self, x):
    y = self.conv(x)
    y += self.conv(self.conv(x))
    return self.norm(self.norm(y))


def shortcut_of_option_a(self, x):
    y = self.conv(x)
    short = x[:, :, ::2, ::2]
    return y + torch.cat([short, torch.zeros_like(short)], dim=1)


def samples_last(self, x):
    return (x.permute(1, 2, 3, 0) * 2 + self.c.reshape(-1, 1, 1, 1)).permute(3, 0, 1, 2)


C = (3, 4, 5)

AFFINE = {
    "chunk_and_cat_in_another_order": (Lambda(lambda s, x: torch.cat(x.chunk(2, 3)[::-1], 3)), C),
    "split_with_unequal_parts": (Lambda(lambda s, x: torch.cat(x.split([1, 3, 1], 3)[1:], 3)), C),
    "stack_makes_an_axis": (Lambda(lambda s, x: torch.stack([x, 2 * x], 2).flatten(1, 2)), C),
    "view_and_permute": (Lambda(lambda s, x: x.view(x.size(0), 3, 2, 2, 5).permute(0, 2, 1, 4, 3).flatten(1)), C),
    "transpose_of_the_image": (Lambda(lambda s, x: x.transpose(2, 3) + x.mT), C),
    "slices_with_a_step": (Lambda(lambda s, x: x[:, ::2, 1:, ::2]), C),
    "one_channel_picked": (Lambda(lambda s, x: x[:, 1]), C),
    "index_tensor": (Lambda(lambda s, x: x[:, s.i], i=torch.tensor([2, 0, 0])), C),
    "roll_and_flip": (Lambda(lambda s, x: torch.roll(x, (1, -2), (2, 3)).flip(1, 3)), C),
    "rotated_by_90_degrees": (Lambda(lambda s, x: torch.rot90(x, 1, (2, 3))), C),
    "repeat_and_expand": (Lambda(lambda s, x: x[:, :1].expand(-1, 3, -1, -1) + x.mean(1, True).repeat(1, 3, 1, 1)), C),
    "repeat_interleave": (Lambda(lambda s, x: x.repeat_interleave(2, dim=2)), C),
    "centred_per_image": (Lambda(lambda s, x: x - x.mean((1, 2, 3), keepdim=True)), C),
    "sum_over_channels_without_keepdim": (Lambda(lambda s, x: x.sum(1) / 3 - x.mean(dim=1)), C),
    "scalar_per_image": (Lambda(lambda s, x: x.sum((1, 2, 3)) * 0.5 + 1), C),
    "scalar_arithmetic": (Lambda(lambda s, x: 3 - (2 * x - 1) / 4 + (-x)), C),
    "numbers_that_float32_does_not_hold": (Lambda(lambda s, x: (0.7 * x + 0.1) / 0.3 - x * 0.9 - 1.1), C),
    "constants_of_every_rank": (Lambda(lambda s, x: x * s.c[:, None, None] + s.m - 1, c=randn(3), m=randn(4, 5)), C),
    "constant_with_more_axes": (Lambda(lambda s, x: x.mean((2, 3), keepdim=True) * s.m, m=randn(1, 3, 4, 5)), C),
    "values_of_different_rank": (
        Lambda(lambda s, x: x.mean((2, 3)) @ s.w + x.flatten(1).mean(1, True), w=randn(3, 7)),
        C,
    ),
    "matmul_on_the_right": (Lambda(lambda s, x: x @ s.w, w=randn(5, 2)), C),
    "matmul_on_the_left": (Lambda(lambda s, x: s.w @ x, w=randn(2, 4)), C),
    "matmul_with_a_vector": (Lambda(lambda s, x: x @ s.w, w=randn(5)), C),
    "matmul_per_channel": (Lambda(lambda s, x: x @ s.w, w=randn(3, 5, 2)), C),
    "bmm_with_an_expanded_constant": (
        Lambda(lambda s, x: torch.bmm(s.w.expand(x.size(0), -1, -1), x.flatten(2)), w=randn(2, 3)),
        C,
    ),
    "einsum_over_space": (Lambda(lambda s, x: torch.einsum("nchw,hwk->nck", x, s.w), w=randn(4, 5, 2)), C),
    "einsum_per_channel": (Lambda(lambda s, x: torch.einsum("nchw,c->nhwc", x, s.c), c=randn(3)), C),
    "linear_on_the_last_axis": (Lambda(lambda s, x: s.linear(x), linear=nn.Linear(5, 2)), C),
    "addmm": (Lambda(lambda s, x: torch.addmm(s.b, x.flatten(1), s.w, beta=2, alpha=3), w=randn(60, 4), b=randn(4)), C),
    "lerp_with_a_constant": (Lambda(lambda s, x: torch.lerp(x, s.c, 0.3), c=randn(5)), C),
    "lerp_between_two_paths": (Lambda(lambda s, x: torch.lerp(s.conv(x), x, 0.25), conv=conv()), C),
    "cumsum_along_a_row": (Lambda(lambda s, x: x.cumsum(3)), C),
    "pixel_shuffle": (Lambda(lambda s, x: functional.pixel_shuffle(s.conv(x), 2), conv=conv(3, 8)), C),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), (2, 4, 6)),
    "channel_shuffle": (nn.ChannelShuffle(2), (4, 3, 3)),
    "padding_of_every_mode": (
        nn.Sequential(nn.ReflectionPad2d((1, 2, 0, 1)), nn.ReplicationPad2d(1), nn.CircularPad2d(1), nn.ZeroPad2d(-1)),
        C,
    ),
    "padding_with_ones": (nn.ConstantPad2d((1, 0, 2, 1), 1.0), C),
    "padding_of_the_channels": (Lambda(lambda s, x: functional.pad(x, (0, 0, 0, 0, 1, 2))), C),
    "conv_with_reflected_borders": (conv(padding_mode="reflect"), C),
    "conv_same_with_an_even_kernel": (nn.Conv2d(3, 2, (2, 4), padding="same"), C),
    "conv_grouped_dilated_strided": (nn.Conv2d(4, 6, 2, stride=2, padding=1, dilation=2, groups=2), (4, 5, 6)),
    "conv_depthwise": (nn.Conv2d(3, 3, 3, padding=1, groups=3), C),
    "conv_depthwise_with_a_multiplier": (nn.Conv2d(3, 6, 3, groups=3), C),
    "conv_on_one_pixel": (conv(3, 20), (3, 1, 1)),
    "conv_to_many_channels": (conv(3, 20, 3, stride=2), (3, 7, 9)),
    "conv_1d": (nn.Conv1d(2, 3, 4, stride=2, padding=1), (2, 9)),
    "conv_3d": (nn.Conv3d(2, 3, (1, 2, 3), padding=(0, 1, 1)), (2, 3, 3, 4)),
    "conv_transposed": (nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), C),
    "conv_transposed_to_groups_of_one": (nn.ConvTranspose2d(2, 4, (2, 1), stride=(1, 3), groups=2), (2, 3, 3)),
    "conv_transposed_1d_grouped": (nn.ConvTranspose1d(4, 2, 3, stride=2, groups=2), (4, 5)),
    "conv_with_weight_norm": (nn.utils.parametrizations.weight_norm(conv()), C),
    "batch_norm_alone": (nn.BatchNorm2d(3), C),
    "batch_norm_of_features": (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(60)), C),
    "batch_norm_without_weights": (nn.BatchNorm2d(3, affine=False), C),
    "avg_pool_with_everything": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 6, 7)),
    "avg_pool_with_a_divisor": (nn.AvgPool2d(2, divisor_override=3), C),
    "avg_pool_1d": (nn.AvgPool1d(3, 1, 1), (2, 6)),
    "avg_pool_window_past_the_end": (nn.AvgPool2d(7, 5, 3, ceil_mode=True), (1, 1, 3)),
    "adaptive_avg_pool_to_no_divisor": (nn.AdaptiveAvgPool2d((3, 2)), C),
    "upsample_nearest_by_size": (nn.Upsample((7, 9)), C),
    "upsample_nearest_by_a_factor": (nn.Upsample(scale_factor=1.7), C),
    "upsample_nearest_exact": (nn.Upsample((7, 3), mode="nearest-exact"), C),
    "upsample_bilinear": (nn.Upsample((7, 9), mode="bilinear"), C),
    "upsample_bilinear_by_an_odd_factor": (nn.Upsample(scale_factor=1.7, mode="bilinear"), C),
    "upsample_bilinear_with_corners": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), C),
    "upsample_bicubic": (nn.Upsample((7, 3), mode="bicubic"), C),
    "upsample_linear_1d": (nn.Upsample(7, mode="linear"), (2, 4)),
    "upsample_trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), (1, 2, 2, 3)),
    "unfold_and_fold": (
        Lambda(lambda s, x: functional.fold(functional.unfold(x, 2), (4, 5), 2)),
        C,
    ),
    "in_place_on_a_view": (Lambda(in_place_on_a_view, conv=conv()), C),
    "layers_used_twice": (Lambda(layers_used_twice, conv=conv(), norm=nn.BatchNorm2d(3)), C),
    "shortcut_of_option_a": (Lambda(shortcut_of_option_a, conv=conv(3, 6, 3, stride=2)), C),
    "cat_with_a_class_token": (
        Lambda(lambda s, x: torch.cat([s.token.expand(len(x), -1, -1), x.flatten(2)], 1), token=randn(1, 1, 20)),
        C,
    ),
    "samples_last_for_a_while": (Lambda(samples_last, c=randn(3)), C),
    "masked_by_a_constant": (Lambda(lambda s, x: torch.where(s.m, x, 0.5) + x.masked_fill(s.m, -1), m=randn(5) > 0), C),
    "lower_triangle": (Lambda(lambda s, x: x.tril()), C),
    "added_at_constant_places": (
        Lambda(lambda s, x: x.index_add(1, s.i, 2 * x[:, :2]), i=torch.tensor([2, 2])),
        C,
    ),
    "constants_computed_from_constants": (
        Lambda(lambda s, x: x * torch.linspace(0, 1, 5).softmax(0) + s.w.norm(), w=randn(3, 2)),
        C,
    ),
    "dropout_in_evaluation": (nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout()), C),
    "zeros_and_ones_like": (Lambda(lambda s, x: x + torch.ones_like(x) + x.new_zeros(x.shape)), C),
    "an_output_that_ignores_the_input": (Lambda(lambda s, x: s.c.expand(len(x), -1), c=randn(4)), C),
    "an_operation_nobody_reads": (Lambda(lambda s, x: (x.relu(), 2 * x)[1], c=randn(4)), C),
    "identity": (nn.Identity(), C),
    "the_last_value_is_an_earlier_one": (Lambda(lambda s, x: (lambda y, z: y if z.numel() else z)(x * 2, x * 3)), C),
}


def branches(self, x):
    return x if x.sum() > 0 else -x


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Squeeze(nn.Module):
    def __init__(self):
        super().__init__()
        self.squeeze = conv(3, 3, 1)

    def forward(self, x):
        return x * self.squeeze(x.mean((2, 3), keepdim=True))


NOT_AFFINE = {
    "relu_module": (nn.Sequential(conv(), nn.ReLU()), C, r"1: ReLU: relu is not affine; replace it by the identity"),
    "relu_function": (Lambda(lambda s, x: functional.relu(x)), C, r"Lambda \(module_cases.py, line \d+\): relu"),
    "relu_in_place": (Lambda(lambda s, x: (x + 1).relu_()), C, "relu is not affine"),
    "relu_that_never_cuts": (Lambda(lambda s, x: functional.relu(x + 1000)), C, "relu is not affine"),
    "clamp_far_out": (Lambda(lambda s, x: x.clamp(-1e9, 1e9)), C, "clamp is not affine"),
    "leaky_relu_of_slope_one": (nn.LeakyReLU(1.0), C, "leaky_relu is not affine"),
    "absolute_of_a_positive": (Lambda(lambda s, x: (x + 1e6).abs()), C, "abs is not affine"),
    "gelu": (nn.GELU(), C, "gelu is not affine"),
    "sigmoid": (nn.Sigmoid(), C, "sigmoid is not affine"),
    "prelu": (nn.PReLU(), C, "prelu is not affine"),
    "softplus": (nn.Softplus(), C, "softplus is not affine"),
    "max_pool": (nn.MaxPool2d(2), C, "0?.*MaxPool2d: max_pool2d is not affine; replace it by average pooling"),
    "adaptive_max_pool": (nn.AdaptiveMaxPool2d(1), C, "adaptive_max_pool2d is not affine; .*average pooling"),
    "max_over_an_axis": (Lambda(lambda s, x: x.amax(1)), C, "amax is not affine"),
    "softmax": (nn.Softmax(1), C, "softmax is not affine; leave it off"),
    "log_softmax": (nn.LogSoftmax(1), C, "log_softmax is not affine"),
    "layer_norm": (nn.LayerNorm(5), C, "layer_norm is not affine"),
    "group_norm": (nn.GroupNorm(1, 3), C, "group_norm is not affine"),
    "instance_norm": (nn.InstanceNorm2d(3), C, "InstanceNorm2d: "),
    "batch_norm_without_statistics": (nn.BatchNorm2d(3, track_running_stats=False), C, "statistics of the batch"),
    "square": (Lambda(lambda s, x: x * x), C, "product of two values that depend on the data"),
    "power": (Lambda(lambda s, x: x**2), C, "pow is not affine"),
    "product_of_two_paths": (Squeeze(), C, "Squeeze .*product of two values that depend on the data"),
    "product_behind_a_relu": (Lambda(lambda s, x: x.relu() * x), C, "product of two values that depend on the data"),
    "division_by_the_data": (Lambda(lambda s, x: 1 / (x + 9)), C, "depends on the data|reciprocal is not affine"),
    "gram_matrix": (Lambda(lambda s, x: torch.einsum("nchw,ndhw->ncd", x, x)), C, "product of two values"),
    "matmul_with_itself": (Lambda(lambda s, x: x @ x.mT), C, "product of two values"),
    "attention": (Attention(), (3, 4), "attention: MultiheadAttention: "),
    "weights_from_the_data": (
        Lambda(lambda s, x: functional.conv2d(s.c, x), c=randn(2, 3, 4, 5)),
        C,
        "depend on the data",
    ),
    "mean_over_everything": (Lambda(lambda s, x: x - x.mean()), C, "mixes the samples of the batch"),
    "mean_over_the_batch": (Lambda(lambda s, x: x - x.mean(0, keepdim=True)), C, "mixes the samples of the batch"),
    "samples_flipped": (Lambda(lambda s, x: x.flip(0)), C, "mixes the samples of the batch"),
    "samples_rolled_by_two": (Lambda(lambda s, x: x.roll(2, 0)), C, "mixes the samples of the batch"),
    "first_two_samples": (Lambda(lambda s, x: x[:2]), C, "mixes the samples of the batch"),
    "sum_along_the_batch": (Lambda(lambda s, x: x.cumsum(0)), C, "mixes the samples of the batch"),
    "samples_summed_by_einsum": (
        Lambda(lambda s, x: torch.einsum("nchw->chw", x)),
        C,
        "mixes the samples of the batch",
    ),
    "samples_in_the_channels": (
        Lambda(lambda s, x: x.reshape(1, -1, 4, 5)),
        C,
        "mixes the samples of the batch, or joins",
    ),
    "a_constant_for_each_sample": (Lambda(lambda s, x: x + s.c, c=randn(2, 1, 1, 1)), C, "each sample of the batch"),
    "branch_on_the_data": (Lambda(branches), C, r"Lambda \(module_cases.py, line \d+\): branches on the data"),
    "number_read_from_the_data": (Lambda(lambda s, x: x * float(x.mean())), C, "depend|reads a number|mixes"),
    "index_from_the_data": (Lambda(lambda s, x: x[:, x.argmax(1).flatten()[:1]]), C, "argmax is not affine"),
    "condition_from_the_data": (Lambda(lambda s, x: torch.where(x > 0, x, 0.0)), C, "gt is not affine"),
    "rounded_to_integers": (Lambda(lambda s, x: x.int().double()), C, "rounds to|not known to be affine"),
    "noise": (Lambda(lambda s, x: x + torch.randn(4, 5)), C, "randn is random"),
    "sorted": (Lambda(lambda s, x: x.sort(1)[0]), C, "sort is not affine"),
    "antialiased_resampling": (
        Lambda(lambda s, x: functional.interpolate(x, (3, 3), mode="bicubic", antialias=True)),
        C,
        "not known to be affine",
    ),
    "floor_division": (Lambda(lambda s, x: torch.div(x, 2, rounding_mode="floor")), C, "division rounded by floor"),
    "lerp_by_the_data": (Lambda(lambda s, x: torch.lerp(s.c, s.c, x), c=randn(5)), C, "product of two values"),
    "added_at_places_from_the_data": (
        Lambda(lambda s, x: x.index_add(1, x.flatten().argmax()[None], x[:, :1])),
        C,
        "argmax is not affine",
    ),
    "samples_picked_by_index": (Lambda(lambda s, x: x[s.i], i=torch.tensor([1, 0])), C, "mixes the samples"),
    "complex_numbers": (Lambda(lambda s, x: (x * 1j).real), C, "complex numbers"),
    "matmul_over_the_samples": (Lambda(lambda s, x: s.w @ x.flatten(1), w=randn(2, 2)), C, "mixes the samples"),
    "fourier_transform": (Lambda(lambda s, x: torch.fft.fft(x).real), C, "not known to be affine"),
    "variance": (Lambda(lambda s, x: x.var((2, 3))), C, "var is not affine"),
}

TRAINING = {
    "batch_norm_in_training": (
        nn.BatchNorm2d(3),
        C,
        "BatchNorm2d: .*statistics of the batch.*; call .eval\\(\\) first",
    ),
    "dropout_in_training": (nn.Dropout(), C, "Dropout: .*random in training mode; call .eval\\(\\) first"),
}
