"""Random affine module graphs: convolutions of every kind, shared modules, skips, views, odd sizes, 1x1 images."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional


class RandomNet(nn.Module):
    """A straight-line program: each step reads earlier values and computes one."""

    def __init__(self, steps, layers):
        super().__init__()
        self.steps, self.layers = steps, nn.ModuleList(layers)

    def forward(self, x):
        values = [x]
        for kind, inputs, option in self.steps:
            xs = [values[i] for i in inputs]
            values.append(STEPS[kind](self, option, *xs))
        return values[-1]


STEPS = {
    "layer": lambda net, option, x: net.layers[option](x),
    "add": lambda net, option, x, y: x - option * y,
    "add_in_place": lambda net, option, x, y: x.clone().add_(y, alpha=option),
    "cat": lambda net, option, x, y: torch.cat([x, y], 1),
    "swap_halves": lambda net, option, x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "roll": lambda net, option, x: x.roll(option, 2).flip(3),
    "transpose": lambda net, option, x: x.transpose(2, 3),
    "centre": lambda net, option, x: x - x.mean((1, 2, 3), keepdim=True),
    "sum_channels": lambda net, option, x: x.sum(1, keepdim=True).expand_as(x) * option,
    "resize": lambda net, option, x: functional.interpolate(x, size=option, mode="bilinear"),
    "enlarge": lambda net, option, x: functional.interpolate(x, scale_factor=2, mode="nearest"),
    "pad": lambda net, option, x: functional.pad(x, option, mode="replicate"),
    "channel_constants": lambda net, option, x: x * torch.linspace(-1, 1, x.shape[1]).view(-1, 1, 1) + option,
    "masked": lambda net, option, x: torch.where(torch.arange(x.shape[-1]) % 2 == 0, x, option),
    "token": lambda net, option, x: torch.cat(
        [x, x.new_full((1, 1, *x.shape[2:]), option).expand(len(x), -1, -1, -1)], 1
    ),
    "per_channel": lambda net, option, x: torch.einsum(
        "nchw,nc->nhwc", x, torch.linspace(-1, 1, x.shape[1], dtype=x.dtype).expand(len(x), -1)
    ).permute(0, 3, 1, 2),
    "gathered": lambda net, option, x: x.gather(2, torch.arange(x.shape[2]).flip(0)[:, None].expand_as(x)),
    "added_up": lambda net, option, x: x.index_add(1, torch.zeros(1, dtype=torch.int64), option * x[:, -1:]),
    "double_in_place": lambda net, option, x: _double_first_column(x.clone()),
}


def _double_first_column(x):
    x[..., :1] *= 2
    return x


@st.composite
def random_nets(draw):
    """A float64 module in evaluation mode, and the shape of its input."""
    torch.manual_seed(draw(st.integers(0, 2**31)))
    in_shape = (draw(st.integers(1, 3)), *(draw(st.sampled_from([1, 2, 3, 5, 6])) for _ in range(2)))
    shapes, steps, layers = [in_shape], [], []
    for _ in range(draw(st.integers(1, 6))):
        source = draw(st.integers(max(0, len(shapes) - 3), len(shapes) - 1))
        shape = shapes[source]
        kinds = ["layer", "layer", "layer", "roll", "transpose", "centre", "sum_channels", "resize", "pad"]
        kinds += ["channel_constants", "double_in_place", "masked", "per_channel", "gathered", "added_up"]
        if shape[0] < 12:
            kinds.append("token")
        if shape[1] * shape[2] <= 16:
            kinds.append("enlarge")
        if shape[0] % 2 == 0:
            kinds.append("swap_halves")
        partners = [i for i, other in enumerate(shapes) if other == shape]
        side_by_side = [i for i, other in enumerate(shapes) if other[1:] == shape[1:] and other[0] + shape[0] <= 12]
        kinds += ["add", "add_in_place"] * (len(partners) > 1)
        kinds += ["cat"] * bool(side_by_side)
        kind, inputs, option = draw(st.sampled_from(kinds)), [source], draw(st.sampled_from([0.5, -1.0, 2.0]))
        if kind == "layer":
            fitting = [i for i, layer in enumerate(layers) if layer.channels == shape[0] and min(shape[1:]) >= 3]
            if fitting and draw(st.booleans()):
                option = draw(st.sampled_from(fitting))  # the layer is used twice
            else:
                layers.append(draw(layer_for(shape)))
                option = len(layers) - 1
        elif kind in ("add", "add_in_place"):
            inputs.append(draw(st.sampled_from(partners)))
        elif kind == "cat":
            inputs.append(draw(st.sampled_from(side_by_side)))
        elif kind == "roll":
            option = draw(st.integers(-2, 2))
        elif kind == "resize":
            option = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
        elif kind == "pad":
            option = [draw(st.integers(0, 2)) for _ in range(4)]
        steps.append((kind, inputs, option))
        net = RandomNet(steps, layers).double().eval()
        with torch.no_grad():
            shapes.append(tuple(net(torch.zeros(1, *in_shape, dtype=torch.float64)).shape[1:]))
    net = RandomNet(steps, layers).double().eval().requires_grad_(False)
    if draw(st.booleans()):
        net = nn.Sequential(net, nn.Flatten(), nn.Linear(torch.Size(shapes[-1]).numel(), 3)).double()
    return net.requires_grad_(False), in_shape


@st.composite
def layer_for(draw, shape):
    channels, *sizes = shape
    kind = draw(st.sampled_from(["conv", "conv", "transposed", "norm", "pool", "adaptive"]))
    if kind == "norm":
        layer = nn.BatchNorm2d(channels)
        layer.running_mean.normal_()
        layer.running_var.uniform_(0.5, 2)
    elif kind == "pool":
        layer = nn.AvgPool2d(min(2, *sizes), draw(st.integers(1, 2)), ceil_mode=draw(st.booleans()))
    elif kind == "adaptive":
        layer = nn.AdaptiveAvgPool2d(draw(st.integers(1, 4)))
    else:
        groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
        out = groups * draw(st.integers(1, max(1, 6 // groups)))
        stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        kernel = [draw(st.integers(1, 4)) for _ in sizes]
        if kind == "conv":
            padding = [
                max(p, -(-(dilation * (k - 1) + 1 - n) // 2)) for p, k, n in zip((0, 1), kernel, sizes, strict=True)
            ]
            layer = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()))
        else:
            layer = nn.ConvTranspose2d(channels, out, kernel, stride, 0, 0, groups, dilation=dilation)
    layer.channels = channels
    return layer
