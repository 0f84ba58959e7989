"""Torch modules that are not affine, or not known to be: each with the reason in its name, and the refusal's text."""

import torch
from module_cases import C, Lambda, M, conv, randn
from torch import nn
from torch.nn import functional


@torch.library.custom_op("linalg_cnn_tests::add", mutates_args=())
def square_and_add(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return x * x + y


@square_and_add.register_fake
def _(x, y):
    return torch.empty_like(x)


def integers_filled(self, x):
    y = torch.zeros(x.shape, dtype=torch.int32)
    y[:, 0] = x[:, 1]
    return y.to(x.dtype)


def with_autocast(self, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.conv(x)


def half_written(self, x):
    y = torch.empty_like(x)
    y[:, 0] = x[:, 0]
    return y


def dropped_in_any_mode(self, x):
    return functional.dropout(x)


def normalised_after_something_in_place(self, x):
    y = x * 1
    y[:, :1] += 1
    return self.norm(y)


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
    "softmax_inside_of_a_network": (nn.Sequential(nn.Softmax(1), conv()), C, "0: Softmax: softmax is not affine$"),
    "log_softmax": (nn.LogSoftmax(1), C, "log_softmax is not affine"),
    "layer_norm": (nn.LayerNorm(5), C, "layer_norm is not affine"),
    "group_norm": (nn.GroupNorm(1, 3), C, "group_norm is not affine"),
    "instance_norm": (nn.InstanceNorm2d(3), C, "InstanceNorm2d: instance_norm by the statistics of each image"),
    "batch_norm_without_statistics": (
        nn.BatchNorm2d(3, track_running_stats=False),
        C,
        "statistics of the batch, .*; make it with track_running_stats=True",
    ),
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
    "channels_summed_that_hold_the_samples": (
        Lambda(lambda s, x: x.reshape(1, -1, 4, 5).sum(1)),
        C,
        "mixes the samples of the batch",
    ),
    "a_constant_for_each_sample": (Lambda(lambda s, x: x + s.c, c=randn(2, 1, 1, 1)), C, "each sample of the batch"),
    "branch_on_the_data": (Lambda(branches), C, r"Lambda \(not_affine_cases.py, line \d+\): branches on the data"),
    "number_read_from_the_data": (Lambda(lambda s, x: x * float(x.mean())), C, "depend|reads a number|mixes"),
    "index_from_the_data": (Lambda(lambda s, x: x[:, x.argmax(1).flatten()[:1]]), C, "argmax is not affine"),
    "condition_from_the_data": (Lambda(lambda s, x: torch.where(x > 0, x, 0.0)), C, "gt is not affine"),
    "rounded_to_integers": (Lambda(lambda s, x: x.int().double()), C, "rounds to|not known to be affine"),
    "noise": (Lambda(lambda s, x: x + torch.randn(4, 5)), C, "randn is random"),
    "sorted": (Lambda(lambda s, x: x.sort(1)[0]), C, "sort is not affine"),
    "floor_division": (Lambda(lambda s, x: torch.div(x, 2, rounding_mode="floor")), C, "division rounded by floor"),
    "lerp_by_the_data": (Lambda(lambda s, x: torch.lerp(s.c, s.c, x), c=randn(5)), C, "product of two values"),
    "added_at_places_from_the_data": (
        Lambda(lambda s, x: x.index_add(1, x.flatten().argmax()[None], x[:, :1])),
        C,
        "argmax is not affine",
    ),
    "samples_picked_by_index": (Lambda(lambda s, x: x[s.i], i=torch.tensor([1, 0])), C, "mixes the samples"),
    "matmul_over_the_samples": (Lambda(lambda s, x: s.w @ x.flatten(1), w=randn(2, 2)), C, "mixes the samples"),
    **{
        f"number_of_samples_in_{name}": (Lambda(function), C, "depends on how many samples there are")
        for name, function in {
            "a_divisor": lambda s, x: x / len(x),
            "a_divisor_of_the_batch": lambda s, x: x / x.numel(),
            "a_constant": lambda s, x: x + torch.full_like(x, x.shape[0]),
            "an_expansion": lambda s, x: x.flatten(1).unsqueeze(1).expand(-1, len(x), -1).sum(1),
            "a_branch": lambda s, x: x * 2 if len(x) > 2 else x,
            "an_extra_operation": lambda s, x: x * 2 * 3 if len(x) > 2 else x * 2,
            "a_call_of_torch": lambda s, x: x.flatten(1).cumsum(1).diff(n=len(x)),
            "the_shape_of_the_output": lambda s, x: x.flatten(1)[:, : 10 * len(x)],
            "a_shape_of_one": lambda s, x: x.sum((1, 2, 3), keepdim=len(x) > 2),
        }.items()
    },
    "two_samples_in_a_view": (Lambda(lambda s, x: x.view(2, -1)), C, "joins their axis with another"),
    "triangle_of_samples": (Lambda(lambda s, x: x.flatten(1).tril(2)), C, "mixes the samples of the batch"),
    "triangle_that_cuts_larger_batches_only": (
        Lambda(lambda s, x: x.flatten(1).triu(-5)),
        C,
        "mixes the samples of the batch$",
    ),
    "padding_of_the_samples": (
        Lambda(lambda s, x: functional.pad(x.permute(1, 2, 3, 0), (1, 2)).permute(3, 0, 1, 2)),
        C,
        "mixes the samples of the batch",
    ),
    "the_first_64_samples_by_a_slice": (Lambda(lambda s, x: x[:64]), C, "mixes the samples of the batch$"),
    "the_first_sample_for_all": (
        Lambda(lambda s, x: x[s.i], i=torch.tensor([0, 0])),
        C,
        "mixes the samples of the batch",
    ),
    "windows_of_samples": (
        Lambda(lambda s, x: x.unfold(0, 2, 1)[0].movedim(-1, 0)),
        C,
        "mixes the samples of the batch",
    ),
    "the_first_64_samples": (Lambda(lambda s, x: x.split(64)[0]), C, "mixes the samples of the batch"),
    "the_dot_product_of_samples": (
        Lambda(lambda s, x: torch.dot(x.sum((1, 2, 3)), s.c), c=randn(2)),
        C,
        "mixes the samples of the batch",
    ),
    "an_operation_of_another_library": (
        Lambda(lambda s, x: torch.ops.linalg_cnn_tests.add(x, x)),
        C,
        "linalg_cnn_tests::add is not known to be affine",
    ),
    "weights_from_another_library": (
        Lambda(lambda s, x: x * torch.ops.linalg_cnn_tests.add(s.c, s.c), c=randn(5)),
        C,
        "linalg_cnn_tests::add is not known to give the same result at every call",
    ),
    **{
        f"rounded_by_{name}": (Lambda(function), C, message)
        for name, (function, message) in {
            "a_copy": (
                lambda s, x: torch.zeros(x.shape, dtype=torch.int64).copy_(x) + x,
                "copy rounds .* to torch.int64",
            ),
            "an_assignment": (integers_filled, "rounds torch.float32 to torch.int32"),
            "a_sum": (lambda s, x: x.sum(1, dtype=torch.int64).to(x.dtype), "sum rounds .* to torch.int64"),
            "a_sum_of_bools": (lambda s, x: x.sum(1, dtype=torch.bool).to(x.dtype), "sum rounds .* to torch.bool"),
            "a_running_sum": (lambda s, x: x.cumsum(1, dtype=torch.int64), "cumsum rounds .* to torch.int64"),
            "eight_bits": (lambda s, x: x.to(torch.float8_e4m3fn).to(x.dtype), "to rounds .* to torch.float8_e4m3fn"),
            "sixteen_bits": (lambda s, x: x.half().to(x.dtype), "to rounds .* to torch.float16"),
            "a_mean": (lambda s, x: x.mean(1, dtype=torch.bfloat16), "mean rounds .* to torch.bfloat16"),
        }.items()
    },
    "rounded_by_autocast": (Lambda(with_autocast, conv=conv()), C, "rounds torch.float32 to torch.bfloat16"),
    "rounded_to_float32": (Lambda(lambda s, x: x.float() * s.c, c=randn(5).double()), C, "rounds torch.float64"),
    "rounded_once_for_all_that_follows": (
        Lambda(lambda s, x: x.half() * 2 + 1),
        C,
        r"got 1 that are not:\n  .*: to rounds",
    ),
    "bits_of_numbers": (Lambda(lambda s, x: x.view(torch.int32).view(torch.float32)), C, "reads the bits of numbers"),
    "cast_to_complex_numbers": (Lambda(lambda s, x: x.to(torch.complex64).abs()), C, "abs is not affine"),
    "complex_entries": (
        Lambda(lambda s, x: torch.where(s.m, x, s.d.sqrt() * 1j).abs(), m=M, d=torch.ones(5)),
        C,
        "abs is not affine",
    ),
    "added_at_places_of_one_sample": (
        Lambda(lambda s, x: x.flatten(1).scatter_add(1, s.i, x.flatten(1)), i=torch.zeros(1, 60, dtype=torch.int64)),
        C,
        "treats some samples of the batch only",
    ),
    "added_where_the_samples_are_another_axis": (
        Lambda(lambda s, x: x.scatter_add(2, s.i, x.transpose(0, 1)), i=torch.zeros(2, 2, 4, dtype=torch.int64)),
        (2, 4),
        "mixes the samples of the batch: they meet another axis",
    ),
    "differences_along_the_samples": (Lambda(lambda s, x: x.diff(dim=0)), C, "mixes the samples of the batch"),
    "differences_with_the_samples_second": (
        Lambda(lambda s, x: x.diff(dim=2, prepend=x.transpose(0, 1))),
        (2, 4),
        "mixes the samples of the batch: they meet another axis",
    ),
    "other_pixels_in_float64": (
        Lambda(lambda s, x: functional.interpolate(x, size=46), d=torch.zeros(1, dtype=torch.float64)),
        (1, 14),
        "upsample_nearest1d picks other pixels for float64 images",
    ),
    "condition_by_torch": (
        Lambda(lambda s, x: torch.cond(s.p, lambda x: x * 2, lambda x: x * 3, (x,)), p=torch.tensor(True)),
        C,
        "cond is not known to be affine",
    ),
    "entries_above_zero": (Lambda(lambda s, x: x[x > 0].sum() + x), C, "gt is not affine"),
    "how_many_are_not_zero": (Lambda(lambda s, x: x * x.nonzero().size(0)), C, "nonzero is not affine"),
    "which_are_different": (Lambda(lambda s, x: x + torch.unique(x).sum()), C, "_unique2 is not affine"),
    "where_they_are_not_zero": (
        Lambda(lambda s, x: x + torch.where(x)[0].sum()),
        C,
        "positions that depend on the data",
    ),
    "masked_by_infinity": (Lambda(lambda s, x: x.masked_fill(s.m, -torch.inf), m=M), C, r"Lambda .*NaN or infinity"),
    "divided_by_zero": (Lambda(lambda s, x: x / s.c, c=torch.zeros(5)), C, r"Lambda .*: div: weight: expected finite"),
    "no_channels_left": (Lambda(lambda s, x: x[:, 3:]), C, r"Lambda .*: leaves no entries"),
    "memory_never_written": (Lambda(lambda s, x: x + torch.empty(5)), C, "expected finite entries, got nan"),
    "memory_written_in_part": (Lambda(half_written), C, "memory that was never written"),
    "integers_never_written": (
        Lambda(lambda s, x: x * torch.empty(5, dtype=torch.int64)),
        C,
        "empty gives integers that were never written",
    ),
    "convolution_of_a_picture_without_channels": (
        nn.Conv2d(2, 1, 1),
        (4, 6),
        "Conv2d: .*expected .samples, channels, 2 spatial axes",
    ),
    "pixels_that_are_samples": (
        Lambda(lambda s, x: functional.avg_pool2d(x.transpose(0, 2), 2)),
        C,
        "takes axis 2 of 4, which counts them, for a spatial axis",
    ),
    "frames_of_all_samples_summed": (
        Lambda(lambda s, x: x - x.flatten(0, 1).mean(0)),
        C,
        "mixes the samples of the batch",
    ),
    "frames_of_one_sample_convolved_with_those_of_the_next": (
        Lambda(lambda s, x: s.conv(x.flatten(0, 1).T[None])[0].T.reshape(x.shape), conv=nn.Conv1d(5, 5, 3, padding=1)),
        (4, 5),
        "takes axis 0 for the batch axis, which is axis 2",
    ),
    "frames_rolled_past_the_end_of_a_sample": (
        Lambda(lambda s, x: x.flatten(0, 1).roll(1, 0).reshape(x.shape)),
        C,
        "mixes the samples of the batch",
    ),
    "the_first_64_frames": (Lambda(lambda s, x: x.flatten(0, 1)[:64]), C, "mixes the samples of the batch"),
    "frames_taken_from_both_ends": (
        Lambda(lambda s, x: x.flatten(0, 1) + x.transpose(0, 1).flatten(0, 1)),
        C,
        "mixes the samples of the batch: they meet another axis",
    ),
    "frames_in_chunks_that_do_not_divide_them": (
        Lambda(lambda s, x: x.transpose(0, 1).flatten(0, 1).chunk(4)[0]),
        C,
        "mixes the samples of the batch",
    ),
    "a_constant_for_each_frame_of_each_sample": (
        Lambda(lambda s, x: x.flatten(0, 1) + s.c[: 3 * len(x)], c=randn(9, 4, 5)),
        C,
        "each sample of the batch",
    ),
    "pieces_of_64_frames": (
        Lambda(lambda s, x: x.flatten(0, 1).tensor_split((64,))[0].view(x.shape)),
        C,
        "mixes the samples of the batch",
    ),
    "frames_in_the_place_of_samples": (
        Lambda(lambda s, x: x.flatten(0, 1).view(-1, len(x), 4, 5).transpose(0, 1)),
        C,
        "mixes the samples of the batch, or joins",
    ),
    "convolution_over_the_samples": (
        Lambda(lambda s, x: s.conv(x.transpose(0, 1)), conv=nn.Conv2d(2, 2, 1)),
        C,
        "takes axis 0 for the batch axis, which is axis 1",
    ),
    "dropout_in_any_mode": (Lambda(dropped_in_any_mode), C, "dropout is random .*; give it training=self.training"),
    "weights_dropped_in_any_mode": (
        Lambda(lambda s, x: functional.linear(x, functional.dropout(s.w, 0.5, True)), w=randn(2, 5)),
        C,
        "dropout is random; give it training=self.training",
    ),
    "batch_norm_without_statistics_rewritten": (
        Lambda(normalised_after_something_in_place, norm=nn.BatchNorm2d(3, track_running_stats=False)),
        C,
        "norm: BatchNorm2d: .*statistics of the batch.*; make it with track_running_stats=True",
    ),
    "instance_norm_with_the_weights_of_the_data": (
        Lambda(lambda s, x: functional.batch_norm(x, s.c, s.c + 1, x.sum((0, 2, 3)), s.c), c=torch.zeros(3)),
        C,
        "mixes the samples",
    ),
    "statistics_taken_in_any_mode": (
        Lambda(lambda s, x: functional.batch_norm(x, s.c * 1, s.c + 1, training=True), c=torch.zeros(3)),
        C,
        "statistics of the batch, .*; give it training=self.training",
    ),
    "added_at_places_of_the_largest": (
        Lambda(lambda s, x: x.scatter_add(1, x.argmax(1, keepdim=True), x[:, :1])),
        C,
        "positions that depend on the data",
    ),
    "unfolded_with_the_samples_second": (
        Lambda(lambda s, x: functional.fold(x.transpose(0, 1), (3, 3), (2, 1))),
        (12, 6),
        "takes axis 0 for the batch axis, which is axis 1",
    ),
    "other_constants_for_each_sample": (
        Lambda(lambda s, x: torch.where(s.m, x, s.c), m=M, c=randn(2, 1, 1, 5)),
        C,
        "puts other constants into each sample",
    ),
    "a_constant_divided_by_the_data": (Lambda(lambda s, x: s.c / x, c=randn(5)), C, "division by a value that"),
    "samples_added_to_another_axis": (
        Lambda(lambda s, x: x + x.transpose(0, 1)),
        (2, 4),
        "mixes the samples of the batch: they meet another axis",
    ),
    "gated_linear_unit": (nn.GLU(2), C, "GLU: glu is not affine$"),
    "threshold_function": (
        Lambda(lambda s, x: functional.threshold(x, 0.1, 2.0)),
        C,
        "threshold is not affine; replace it by the identity, as gpu.linearize does$",
    ),
    "threshold_module": (nn.Threshold(0.1, 2.0), C, "threshold is not affine; .* as gpu.linearize does"),
    "dilated_max_pool": (nn.MaxPool2d(2, dilation=2), C, "max_pool2d is not affine; replace it by average pooling$"),
    "max_pool_with_indices": (
        Lambda(lambda s, x: functional.max_pool2d(x, 2, return_indices=True)[0]),
        C,
        "max_pool2d_with_indices is not affine; replace it by average pooling$",
    ),
    "adaptive_max_pool_function": (
        Lambda(lambda s, x: functional.adaptive_max_pool2d(x, 2)),
        C,
        "adaptive_max_pool2d is not affine; replace it by average pooling, as gpu.linearize does$",
    ),
    "branch_on_a_parameter_and_the_data": (
        Lambda(lambda s, x: x * 2 if (s.p > 0) & (x.sum() > 0) else x, p=nn.Parameter(torch.ones(()))),
        C,
        r"Lambda \(not_affine_cases.py, line \d+\): branches on the data or on a parameter",
    ),
    "variance": (Lambda(lambda s, x: x.var((2, 3))), C, "var is not affine"),
}

TRAINING = {
    "batch_norm_in_training": (
        nn.BatchNorm2d(3),
        C,
        "BatchNorm2d: .*statistics of the batch.*; call .eval\\(\\) first",
    ),
    "batch_norm_in_training_rewritten": (
        Lambda(normalised_after_something_in_place, norm=nn.BatchNorm2d(3)),
        C,
        "norm: BatchNorm2d: .*statistics of the batch.*; call .eval\\(\\) first",
    ),
    "spectral_norm_in_training": (
        nn.utils.parametrizations.spectral_norm(nn.Linear(5, 2)),
        C,
        "is changed by every call, .*; call .eval\\(\\) first",
    ),
    "dropout_in_training": (nn.Dropout(), C, "Dropout: .*random in training mode; call .eval\\(\\) first"),
}
