"""The same network for faster training on a CPU: convolutions that mostly read padding are computed tap by tap.

A 3x3 kernel that slides over one pixel reads eight zeros; torch multiplies by them, and stores and updates the weights
that only ever meet a zero.
"""

import copy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from linalg_cnn.types import Shape

MOSTLY_PADDING = 0.5
"""Share of the products that read a pixel, up to which a convolution is computed tap by tap: above it, torch is as fast
for the ResNets on 28x28."""


@dataclass(frozen=True)
class Tap:
    """Where one tap of a kernel reads pixels and no padding: slices of the output, and of the input that it reads."""

    kernel: tuple[int, int]
    outputs: tuple[slice, slice, slice]
    inputs: tuple[slice, slice, slice]


def taps_of(convolution: nn.Conv2d, height: int, width: int) -> tuple[tuple[int, int], list[Tap]]:
    """Return height and width of the output, and the taps that read at least one pixel.

    Examples
    --------
    >>> size, taps = taps_of(nn.Conv2d(1, 1, 3, padding=1), height=1, width=2)
    >>> size, [tap.kernel for tap in taps]
    ((1, 2), [(1, 0), (1, 1), (1, 2)])
    """
    axes = [_taps_of_axis(convolution, axis, size) for axis, size in enumerate((height, width))]
    (out_height, rows), (out_width, columns) = axes
    images = slice(None)
    return (out_height, out_width), [
        Tap((i, j), (images, out_rows, out_columns), (images, in_rows, in_columns))
        for i, (out_rows, in_rows) in rows.items()
        for j, (out_columns, in_columns) in columns.items()
    ]


def _taps_of_axis(convolution: nn.Conv2d, axis: int, size: int) -> tuple[int, dict[int, tuple[slice, slice]]]:
    """Return the size of the output on one axis, and by tap the slices of the output and of the input it reads."""
    kernel, stride, dilation = (getattr(convolution, name)[axis] for name in ("kernel_size", "stride", "dilation"))
    padding = cast(tuple[int, int], convolution.padding)[axis]
    out_size = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    taps = {}
    for tap in range(kernel):
        offset = tap * dilation - padding
        first, last = max(0, -(offset // stride)), min(out_size - 1, (size - 1 - offset) // stride)
        if first <= last:
            taps[tap] = slice(first, last + 1), slice(first * stride + offset, last * stride + offset + 1, stride)
    return out_size, taps


class ConvolutionByTaps(nn.Module):
    """A convolution for one size of images: one matrix product for each tap, over the pixels that it reads.

    Attributes
    ----------
    weight : Parameter (taps, in_channels, out_channels)
        The taps of the kernel that read a pixel, one matrix for each. A convolution without a bias has nothing else.

    Examples
    --------
    >>> convolution = nn.Conv2d(4, 8, 3, padding=1, bias=False)
    >>> by_taps, images = ConvolutionByTaps(convolution, 1, 1), torch.rand(5, 4, 1, 1)
    >>> by_taps.weight.shape, bool((by_taps(images) - convolution(images)).abs().max() < 1e-6)
    (torch.Size([1, 4, 8]), True)
    """

    def __init__(self, convolution: nn.Conv2d, height: int, width: int) -> None:
        super().__init__()
        self.out_size, self.taps = taps_of(convolution, height, width)
        kernel = convolution.weight.detach()
        self.weight = nn.Parameter(torch.stack([kernel[:, :, *tap.kernel].T for tap in self.taps]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the output (N, out_channels, ...) for images (N, in_channels, height, width)."""
        return cast(torch.Tensor, _ByTaps.apply(images, self.weight, self.taps, self.out_size))


class _ByTaps(torch.autograd.Function):
    """A convolution as a sum over taps, channels last."""

    @staticmethod
    def forward(
        ctx: Any, images: torch.Tensor, weight: torch.Tensor, taps: list[Tap], out_size: tuple[int, int]
    ) -> torch.Tensor:
        pixels = images.permute(0, 2, 3, 1).contiguous()
        output = pixels.new_zeros(len(pixels), *out_size, weight.shape[2])
        for tap, matrix in zip(taps, weight, strict=True):
            output[tap.outputs] += pixels[tap.inputs] @ matrix
        ctx.save_for_backward(pixels, weight)
        ctx.taps = taps
        return output.permute(0, 3, 1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        pixels, weight = ctx.saved_tensors
        outputs = gradient.permute(0, 2, 3, 1).contiguous()
        to_pixels, to_weight = torch.zeros_like(pixels), torch.empty_like(weight)
        for tap, matrix, made in zip(ctx.taps, weight, to_weight, strict=True):
            read = outputs[tap.outputs].flatten(0, 2)
            torch.mm(pixels[tap.inputs].flatten(0, 2).T, read, out=made)
            to_pixels[tap.inputs] += (read @ matrix.T).view(to_pixels[tap.inputs].shape)
        return to_pixels.permute(0, 3, 1, 2), to_weight, None, None


def with_small_maps_by_taps(model: nn.Module, in_shape: Shape) -> nn.Module:
    """Return a copy of a network in which convolutions that mostly read padding are computed tap by tap.

    The copy computes the same function of images of one shape, with the same gradients, and training it takes the same
    steps, both up to rounding. It has only those weights that read a pixel. On a CPU, where ResNet34 at 28x28 spends
    most of the time on padding, a step of training takes less than half as long.

    Parameters
    ----------
    model : nn.Module
        Network of float32 or float64 on the CPU.
    in_shape : tuple of int
        Shape of an image, (channels, height, width).

    Examples
    --------
    >>> import gpu
    >>> model = gpu.resnet(18)
    >>> faster = with_small_maps_by_taps(model, (1, 28, 28))
    >>> [sum(p.numel() for p in network.parameters()) for network in (model, faster)]
    [11175370, 4228554]
    """
    made = copy.deepcopy(model)
    for name, (height, width) in _map_sizes(made, in_shape).items():
        convolution = cast(nn.Conv2d, made.get_submodule(name))
        if _reads_mostly_padding(convolution, height, width):
            made.set_submodule(name, ConvolutionByTaps(convolution, height, width))
    return made.to(memory_format=torch.channels_last)


def copy_state(trained: nn.Module, model: nn.Module) -> None:
    """Copy weights and statistics of a network that `with_small_maps_by_taps` returned into the one it was made from.

    Examples
    --------
    >>> import gpu
    >>> model = gpu.resnet(18).eval()
    >>> trained, images = with_small_maps_by_taps(gpu.resnet(18).eval(), (1, 28, 28)), torch.rand(2, 1, 28, 28)
    >>> copy_state(trained, model)
    >>> torch.allclose(trained(images), model(images), atol=1e-5)
    True
    """
    state = trained.state_dict()
    for name, part in trained.named_modules():
        if isinstance(part, ConvolutionByTaps):
            kernel = model.get_submodule(name).get_parameter("weight").detach().clone()
            for tap, matrix in zip(part.taps, part.weight.detach(), strict=True):
                kernel[:, :, *tap.kernel] = matrix.T
            state[f"{name}.weight"] = kernel
    model.load_state_dict(state)


def _map_sizes(model: nn.Module, in_shape: Shape) -> dict[str, Shape]:
    """Return height and width of the images that each convolution gets, by its name, if each gets one size only."""
    sizes: dict[str, set[Shape]] = {}

    def note(part: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        sizes.setdefault(names[part], set()).add(tuple(inputs[0].shape[2:]))

    names: dict[nn.Module, str] = {part: name for name, part in model.named_modules() if type(part) is nn.Conv2d}
    hooks = [part.register_forward_pre_hook(note) for part in names]
    modes = [(part, part.training) for part in model.modules()]
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, *in_shape, dtype=next(model.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes:
            part.training = training
    return {name: found.pop() for name, found in sizes.items() if len(found) == 1}


def _reads_mostly_padding(convolution: nn.Conv2d, height: int, width: int) -> bool:
    """Return whether a convolution without groups and without bias mostly reads padding, which is zero."""
    plain = convolution.groups == 1 and convolution.bias is None and convolution.padding_mode == "zeros"
    if not plain or isinstance(convolution.padding, str):
        return False
    (out_height, out_width), taps = taps_of(convolution, height, width)
    rows, columns = convolution.kernel_size
    read = sum(
        (tap.outputs[1].stop - tap.outputs[1].start) * (tap.outputs[2].stop - tap.outputs[2].start) for tap in taps
    )
    return bool(0 < read <= MOSTLY_PADDING * rows * columns * out_height * out_width)
