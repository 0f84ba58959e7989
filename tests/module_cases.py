"""Affine torch modules, each with the reason for the case in its name."""

import torch
from torch import nn
from torch.nn import functional


class Lambda(nn.Module):
    """A module whose forward is a function of the module and the batch, with parameters and layers to use."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
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


def out_read_through_a_view(self, x):
    stacked = torch.zeros(len(x), 2, 3, 4, 5, dtype=x.dtype)
    view = stacked.flatten(1)
    torch.stack([x, 2 * x], 1, out=stacked)
    return view


def with_gradients(self, x):
    with torch.enable_grad():
        y = self.conv(x)
        y[:, 0] *= 2
    return y


def without_gradients(self, x):
    with torch.no_grad():
        y = self.conv(x)
        y[:, 0] *= 2
    return y


def without_autocast(self, x):
    with torch.autocast("cpu", enabled=False):
        return self.conv(x)


def integers_assigned(self, x):
    y = x * 2
    y[:, 0] = self.i
    return y


C = (3, 4, 5)
M = torch.tensor([True, False, True, True, False])
I = torch.tensor([1, 2, 3, 4, 5])  # noqa: E741

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
    "matmul_with_a_matrix_of_one_row": (Lambda(lambda s, x: x[..., :1] @ s.w, w=randn(1, 2)), C),
    "matmul_of_a_matrix_of_one_row": (Lambda(lambda s, x: s.w @ x, w=randn(1, 4)), C),
    "features_times_a_stack_of_equal_matrices": (
        Lambda(lambda s, x: (x @ s.w).transpose(0, 1), w=torch.ones(2, 2, 4)),
        (2,),
    ),
    "features_times_a_stack_of_one_matrix": (Lambda(lambda s, x: (x @ s.w)[0], w=randn(1, 3, 4)), (3,)),
    "matmul_with_a_vector": (Lambda(lambda s, x: x @ s.w, w=randn(5)), C),
    "matmul_per_channel": (Lambda(lambda s, x: x @ s.w, w=randn(3, 5, 2)), C),
    "bmm_with_an_expanded_constant": (
        Lambda(lambda s, x: torch.bmm(s.w.expand(x.size(0), -1, -1), x.flatten(2)), w=randn(2, 3)),
        C,
    ),
    "einsum_over_space": (Lambda(lambda s, x: torch.einsum("nchw,hwk->nck", x, s.w), w=randn(4, 5, 2)), C),
    "einsum_with_an_ellipsis_inside": (Lambda(lambda s, x: torch.einsum("n...w,wk->n...k", x, s.w), w=randn(5, 2)), C),
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
    "padding_of_the_last_axis_alone": (Lambda(lambda s, x: functional.pad(x, (1, 2))), C),
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
    "avg_pool_1d_without_channels": (nn.AvgPool1d(2), (6,)),
    "avg_pool_2d_without_channels_past_the_end": (nn.AvgPool2d(7, 5, 3, ceil_mode=True), (1, 3)),
    "avg_pool_3d_without_channels": (nn.AvgPool3d((1, 2, 2)), (2, 4, 4)),
    "adaptive_avg_pool_without_channels": (nn.AdaptiveAvgPool2d((2, 1)), (4, 5)),
    "pooled_and_resampled_with_the_samples_for_channels": (
        Lambda(
            lambda s, x: functional.interpolate(
                functional.interpolate(functional.avg_pool2d(x.transpose(0, 1), 2), (3, 5)), (4, 2), mode="bilinear"
            ).transpose(0, 1)
        ),
        C,
    ),
    "padding_without_channels": (nn.Sequential(nn.ReflectionPad1d((1, 2)), nn.ConstantPad1d(1, 3.0)), (4,)),
    "avg_pool_window_past_the_end": (nn.AvgPool2d(7, 5, 3, ceil_mode=True), (1, 1, 3)),
    "adaptive_avg_pool_to_no_divisor": (nn.AdaptiveAvgPool2d((3, 2)), C),
    "upsample_nearest_by_size": (nn.Upsample((7, 9)), C),
    "upsample_nearest_by_a_factor": (nn.Upsample(scale_factor=1.7), C),
    "upsample_nearest_of_float64": (nn.Sequential(conv(), nn.Upsample((7, 9)), nn.Upsample(scale_factor=1.5)), C),
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
    "a_constant_times_the_data": (Lambda(lambda s, x: s.c * x, c=randn(5)), C),
    "slice_up_to_the_number_of_samples": (Lambda(lambda s, x: x[: len(x)] * 2), C),
    "one_channel_of_every_sample_by_number": (Lambda(lambda s, x: x[torch.arange(len(x)), 1]), C),
    "einsum_with_two_equal_slices": (
        Lambda(lambda s, x: torch.einsum("nf,kfg->nkg", x.flatten(1), s.w), w=torch.ones(2, 60, 3)),
        C,
    ),
    "einsum_with_a_constant_expanded_to_the_samples": (
        Lambda(lambda s, x: torch.einsum("...hw,...hw->...", x, s.w.expand(len(x), -1, -1, -1)), w=randn(1, 3, 4, 5)),
        C,
    ),
    "matmul_with_two_equal_matrices": (Lambda(lambda s, x: x[:, :2] @ s.w, w=torch.ones(2, 5, 3)), C),
    "matmul_with_an_expanded_constant": (
        Lambda(lambda s, x: s.w.expand(len(x), -1, -1, -1) @ x, w=randn(1, 3, 2, 4)),
        C,
    ),
    "matmul_with_a_vector_on_the_left": (Lambda(lambda s, x: s.w @ x, w=randn(4)), C),
    "addmm_to_the_data": (
        Lambda(lambda s, x: torch.addmm(x, s.b.expand(len(x), -1), s.w), w=randn(2, 3), b=randn(2)),
        (3,),
    ),
    "linear_with_a_vector": (Lambda(lambda s, x: functional.linear(x, s.w), w=randn(5)), C),
    "avg_pool_past_the_end_with_a_divisor": (nn.AvgPool2d(2, 2, 0, True, True, divisor_override=3), (1, 1, 1)),
    "avg_pool_1d_past_the_end": (nn.AvgPool1d(4, 3, 1, ceil_mode=True), (2, 1)),
    "padding_with_ones_of_features": (
        Lambda(lambda s, x: functional.pad(x.flatten(1), (1, 2), value=2.0)),
        C,
    ),
    "circular_padding_of_a_cropped_row": (
        Lambda(lambda s, x: functional.pad(x, (-1, 3), mode="circular")),
        (1, 4),
    ),
    "cat_of_features_with_ones": (
        Lambda(lambda s, x: torch.cat([x.flatten(1), torch.ones(len(x), 1)], 1)),
        C,
    ),
    "features_masked_by_a_number": (Lambda(lambda s, x: x.sum((1, 2)).masked_fill(s.m, 5.0), m=M), C),
    "a_number_that_could_be_that_of_an_entry": (
        Lambda(lambda s, x: torch.where(s.m, x, 1) + torch.where(s.m, 7.0, x) - torch.where(s.m, x, -2.5), m=M),
        C,
    ),
    "integers_among_the_entries": (
        Lambda(
            lambda s, x: torch.cat([torch.where(s.m, x, s.i), s.i.expand(len(x), 1, 4, 5)], 1).masked_fill(
                s.m, torch.tensor(5)
            ),
            m=M,
            i=I,
        ),
        C,
    ),
    "places_of_the_shape_of_the_data": (
        Lambda(lambda s, x: x.gather(3, s.i.expand_as(x)) * s.i.type_as(x) + s.m.type_as(x), i=I - 1, m=M),
        C,
    ),
    "integers_assigned": (Lambda(integers_assigned, i=I), C),
    "region_without_autocast": (Lambda(without_autocast, conv=conv()), C),
    "weights_behind_a_dropout": (
        Lambda(lambda s, x: functional.linear(x, functional.dropout(s.w, 0.5, s.training)), w=randn(2, 5)),
        C,
    ),
    "einsum_with_the_samples_behind_an_ellipsis": (
        Lambda(
            lambda s, x: torch.einsum("c...n,nc->n...", x.permute(1, 2, 3, 0), s.w.expand(len(x), 3)), w=randn(1, 3)
        ),
        C,
    ),
    "rolled_with_the_samples_second": (
        Lambda(lambda s, x: x.transpose(0, 1).roll(1, 0).transpose(0, 1)),
        C,
    ),
    "flipped_with_the_samples_second": (
        Lambda(lambda s, x: torch.vstack([x.transpose(0, 1).flipud(), x.transpose(0, 1)]).vsplit(2)[0].transpose(0, 1)),
        C,
    ),
    "a_number_read_from_a_buffer": (Lambda(lambda s, x: x * s.c.item(), c=torch.tensor(2.5)), C),
    "mean_in_a_wider_dtype": (Lambda(lambda s, x: x.sum(1, dtype=torch.float64).cumsum(1, dtype=torch.float64)), C),
    "the_last_value_is_an_earlier_one": (Lambda(lambda s, x: (lambda y, z: y if z.numel() else z)(x * 2, x * 3)), C),
}

WITHOUT_AUTOGRAD = {
    "out_read_through_a_view": (Lambda(out_read_through_a_view), C),
    "out_of_a_product": (Lambda(lambda s, x: torch.mul(x, 2, out=torch.zeros(x.shape, dtype=x.dtype))), C),
    "region_with_gradients": (Lambda(with_gradients, conv=conv()), C),
    "region_without_gradients": (Lambda(without_gradients, conv=conv()), C),
    "squeezed_at_the_end": (Lambda(lambda s, x: s.pool(x).squeeze(), pool=nn.AdaptiveAvgPool2d(1)), C),
    "without_a_gradient_of_its_own": (Lambda(lambda s, x: x.detach() * 2), C),
}
"""Modules that autograd cannot judge, because it sees no gradient or another shape."""
