"""Piecewise-linear modules, one for each handler of `gpu.trace(piecewise=True)` and each way of calling it in torch.

`tests/test_piecewise_tracing.py` compares each with torch: values, and gradients also where pieces meet.
"""

import torch
from module_cases import Lambda
from torch import nn
from torch.nn import functional

C = torch.tensor([[0.0, 1.0, -1.0, 2.0]])


def in_place(function):
    """A forward that changes a copy of its input in place."""

    def forward(self, x):
        y = x * 1
        function(y)
        return y

    return Lambda(forward)


def pairs(self, x):
    """The frames of a video, folded into the batch axis."""
    return functional.max_pool2d(functional.prelu(x.flatten(0, 1), self.c), 2).unflatten(0, (-1, 3))


PIECEWISE = {
    "relu": (nn.ReLU(), (4,)),
    "relu_of_a_function": (Lambda(lambda s, x: functional.relu(x)), (2, 3)),
    "relu_of_a_method": (Lambda(lambda s, x: x.relu()), (2, 3)),
    "relu_in_place": (nn.ReLU(inplace=True), (2, 3)),
    "relu_of_a_method_in_place": (in_place(lambda y: y[:, :1].relu_()), (2, 3)),
    "leaky_relu": (nn.LeakyReLU(0.25), (4,)),
    "leaky_relu_in_place": (nn.LeakyReLU(0.25, inplace=True), (4,)),
    "prelu_of_all_channels": (nn.PReLU(init=0.25), (2, 3)),
    "prelu_per_channel": (Lambda(lambda s, x: functional.prelu(x, s.c), c=torch.tensor([0.5, -1.0])), (2, 3, 3)),
    "prelu_of_vectors": (Lambda(lambda s, x: functional.prelu(x, s.c), c=torch.tensor([0.5, -1.0])), (2,)),
    "rrelu_in_evaluation_mode": (nn.RReLU(), (4,)),
    "relu6": (nn.ReLU6(), (4,)),
    "relu6_of_a_function": (Lambda(lambda s, x: functional.relu6(x)), (4,)),
    "hardtanh": (nn.Hardtanh(), (4,)),
    "hardtanh_between_other_limits": (nn.Hardtanh(-2, 1), (4,)),
    "hardsigmoid": (nn.Hardsigmoid(), (4,)),
    "softshrink": (nn.Softshrink(1.0), (4,)),
    "abs": (Lambda(lambda s, x: x.abs()), (4,)),
    "abs_of_python": (Lambda(lambda s, x: abs(x)), (4,)),
    "absolute": (Lambda(lambda s, x: x.absolute()), (4,)),
    "threshold_at_zero": (nn.Threshold(0, 0), (4,)),
    "threshold_in_place": (nn.Threshold(-0.5, -0.5, inplace=True), (4,)),
    "threshold_of_a_function": (Lambda(lambda s, x: functional.threshold(x, 0.0, 0)), (2, 3)),
    "threshold_of_a_function_in_place": (in_place(lambda y: functional.threshold_(y, 1, 1.0)), (2, 3)),
    "threshold_of_torch": (Lambda(lambda s, x: torch.threshold(x, 0.5, 0.5)), (4,)),
    "clamp": (Lambda(lambda s, x: x.clamp(-1, 2)), (4,)),
    "clamp_in_place": (in_place(lambda y: y.clamp_(-1, 2)), (4,)),
    "clamp_below": (Lambda(lambda s, x: x.clamp(min=-1)), (4,)),
    "clamp_above": (Lambda(lambda s, x: x.clamp(max=1)), (4,)),
    "clamp_by_constants": (Lambda(lambda s, x: x.clamp(s.c - 1, s.c), c=C), (3, 4)),
    "clamp_by_a_constant_of_more_axes": (
        Lambda(lambda s, x: x[:, 0].clamp(min=s.c).movedim(1, 0), c=C.reshape(4, 1, 1)),
        (2, 3),
    ),
    "clip": (Lambda(lambda s, x: x.clip(-1, 2)), (4,)),
    "clamp_min": (Lambda(lambda s, x: x.clamp_min(1)), (4,)),
    "clamp_max": (Lambda(lambda s, x: x.clamp_max(s.c), c=C), (4,)),
    "max_pool1d": (nn.MaxPool1d(2), (2, 5)),
    "max_pool2d": (nn.MaxPool2d(3, stride=2, padding=1), (2, 7, 6)),
    "max_pool2d_dilated": (nn.MaxPool2d((2, 3), stride=1, padding=1, dilation=(2, 1)), (1, 5, 4)),
    "max_pool2d_ceil_mode": (nn.MaxPool2d(2, stride=3, ceil_mode=True), (1, 6, 5)),
    "max_pool3d": (nn.MaxPool3d(2), (1, 4, 2, 4)),
    "max_pool2d_with_indices": (Lambda(lambda s, x: functional.max_pool2d_with_indices(x, 2)[0]), (1, 4, 4)),
    "max_pool2d_without_channels": (Lambda(lambda s, x: functional.max_pool2d(x, 2)), (4, 4)),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d(3), (2, 5)),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d((2, 3)), (1, 5, 4)),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d(1), (1, 2, 3, 2)),
    "maximum": (Lambda(lambda s, x: torch.maximum(x[:, 0], x[:, 1])), (2, 4)),
    "maximum_broadcast": (Lambda(lambda s, x: torch.maximum(x, x[:, :1])), (2, 4)),
    "maximum_with_a_constant": (Lambda(lambda s, x: torch.maximum(s.c, x), c=C), (2, 4)),
    "minimum": (Lambda(lambda s, x: torch.minimum(x[:, 0], 2 * x[:, 1])), (2, 4)),
    "max_of_two": (Lambda(lambda s, x: torch.max(x[:, 0], x[:, 1])), (2, 4)),
    "min_of_two": (Lambda(lambda s, x: torch.min(x[:, 0], x[:, 1])), (2, 4)),
    "max_over_an_axis": (Lambda(lambda s, x: x.max(1)[0]), (3, 2)),
    "max_over_the_last_axis_that_is_kept": (Lambda(lambda s, x: x.max(-1, keepdim=True).values), (2, 3)),
    "min_over_an_axis": (Lambda(lambda s, x: x.min(dim=2).values), (3, 2)),
    "maxout": (Lambda(lambda s, x: x.unflatten(1, (2, 3)).max(2).values), (6,)),
    "amax": (Lambda(lambda s, x: x.amax((1, 3))), (2, 2, 3)),
    "amin_that_keeps_axes": (Lambda(lambda s, x: x.amin(-1, keepdim=True)), (2, 3)),
    "frames_in_the_batch_axis": (Lambda(pairs, c=torch.tensor([0.5, 2.0])), (3, 2, 4, 4)),
    "largest_of_frames_in_the_batch_axis": (
        Lambda(lambda s, x: torch.maximum(x.flatten(0, 1), x.flatten(0, 1).amax(1, True)).unflatten(0, (-1, 3))),
        (3, 2),
    ),
    "channels_last": (Lambda(lambda s, x: functional.relu(x.movedim(1, 0)).movedim(0, 1)), (2, 3)),
    "a_block_with_a_skip": (
        Lambda(lambda s, x: functional.relu(s.a(functional.relu(s.b(x))) + x), a=nn.Linear(3, 3), b=nn.Linear(3, 3)),
        (3,),
    ),
    "hardsigmoid_in_place": (nn.Hardsigmoid(inplace=True), (4,)),
    "hardtanh_in_place": (nn.Hardtanh(inplace=True), (4,)),
}
"""Modules by the reason why they are there, with the shape of a sample."""

REFUSED = {
    "gelu": (
        nn.Sequential(nn.ReLU(), nn.GELU()),
        (4,),
        r"1: GELU: gelu is not piecewise linear; train with a .* ReLU, instead$",
    ),
    "hardswish": (nn.Hardswish(), (4,), "hardswish is not piecewise linear"),
    "a_gate": (
        Lambda(lambda s, x: x * x.sigmoid()),
        (4,),
        r"sigmoid is not .* values that depend on the input \(a gate",
    ),
    "softmax": (nn.Softmax(1), (4,), "softmax is not piecewise linear"),
    "a_jump_of_hardshrink": (nn.Hardshrink(), (4,), "hardshrink is not continuous: it jumps between its pieces"),
    "a_jump_of_threshold": (nn.Threshold(0, 1), (4,), "threshold is not continuous: .* from value 1 to threshold 0"),
    "a_jump_of_sign": (Lambda(lambda s, x: x.sign()), (4,), "sign is not continuous"),
    "sorting": (Lambda(lambda s, x: x.sort(1)[0]), (4,), "sort is piecewise linear, but not followed"),
    "positions": (
        Lambda(lambda s, x: x * x.max(1, keepdim=True)[1]),
        (4,),
        "mul reads positions of largest entries, which are not piecewise linear",
    ),
    "random_slopes": (nn.RReLU().train(), (4,), "rrelu is random; call .eval"),
    "bounds_that_depend_on_the_data": (
        Lambda(lambda s, x: x.clamp(min=x[:, :1])),
        (4,),
        "clamp by a value that depends on the data; torch.maximum and torch.minimum are followed",
    ),
    "largest_of_a_batch": (Lambda(lambda s, x: x - x.max()), (4,), "mixes the samples of the batch"),
    "largest_over_the_batch": (Lambda(lambda s, x: x - x.amax(0)), (4,), "mixes the samples of the batch"),
    "frames_beside_samples": (
        Lambda(lambda s, x: torch.maximum(x.flatten(0, 1), x.transpose(0, 1).flatten(0, 1)).unflatten(0, (-1, 3))),
        (3, 2),
        "mixes the samples of the batch: they meet another axis",
    ),
    "slopes_that_depend_on_the_data": (
        Lambda(lambda s, x: functional.prelu(x.mT, x[:, 0]).mT),
        (4,),
        "product of two values that depend on the data",
    ),
    "complex_numbers": (
        Lambda(lambda s, x: torch.fft.fft(x).abs()),
        (4,),
        "abs of complex numbers is not piecewise linear",
    ),
    "crossed_bounds": (Lambda(lambda s, x: x.clamp(2, 1)), (4,), "max: expected nothing less than min"),
    "products": (Lambda(lambda s, x: x * x.relu()), (4,), "product of two values that depend on the data"),
    "something_unknown": (Lambda(lambda s, x: torch.special.i0(x)), (4,), "is not known to be piecewise linear"),
}
"""Modules that are refused, with the reason."""
