"""The grouped convolution of the float64 reference is torch's, in value and gradient."""

import pytest
import torch

from gpu.collapsing.grouped import BACKWARD, CONVOLUTION, grouped_convolution

CASES = {
    "depthwise": ((4, 7, 6), (4, 1, 3, 2), ([1, 1], [1, 0], [1, 1], False, [0, 0], 4)),
    "depthwise_with_a_multiplier": ((3, 7), (6, 1, 3), ([2], [1], [2], False, [0], 3)),
    "several_channels_to_one": ((6, 5, 5), (3, 2, 2, 2), ([2, 1], [0, 2], [1, 2], False, [0, 0], 3)),
    "several_channels_to_several": ((6, 5, 5), (4, 3, 3, 3), ([2, 2], [1, 1], [1, 1], False, [0, 0], 2)),
    "pixels_past_the_last_position": ((2, 8), (2, 1, 3), ([4], [0], [1], False, [0], 2)),
    "three_axes": ((4, 3, 4, 3), (4, 2, 1, 2, 3), ([1] * 3, [0, 1, 1], [1] * 3, False, [0] * 3, 2)),
    "one_number_for_all_axes": ((4, 5, 5), (4, 1, 3, 3), ([2], [1], [1], False, [0], 4)),
    "transposed": ((4, 3, 4), (4, 1, 3, 3), ([2, 3], [1, 0], [1, 2], True, [1, 2], 4)),
    "transposed_to_several_channels": ((4, 3), (4, 3, 2), ([2], [1], [1], True, [0], 2)),
}


@pytest.mark.parametrize("on_one_thread", [2, 2**15], ids=["one group at a time", "all groups at once"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("in_shape", "kernel_shape", "options"), CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_torch(in_shape, kernel_shape, options, bias, on_one_thread, monkeypatch):
    """The inputs are small integers, so that float64 is exact."""
    monkeypatch.setattr("gpu.collapsing.grouped.ON_ONE_THREAD", on_one_thread)
    generator = torch.Generator().manual_seed(0)

    def integers(*shape):
        return torch.randint(-4, 5, shape, generator=generator).double()

    x, kernel = integers(2, *in_shape), integers(*kernel_shape)
    transposed, groups = options[3], options[5]
    channels = kernel_shape[1] * groups if transposed else kernel_shape[0]
    given = (x, kernel, integers(channels) if bias else None, *options)
    expected = CONVOLUTION(*given)
    assert torch.equal(grouped_convolution(CONVOLUTION, given), expected)
    back = (integers(*expected.shape), x, kernel, [channels] if bias else None, *options, [True, False, False])
    gradient, *others = grouped_convolution(BACKWARD, back)
    assert torch.equal(gradient, BACKWARD(*back)[0])
    assert others == [None, None]


def test_other_operations_are_left_to_torch():
    x, kernel = torch.ones(1, 2, 3), torch.ones(2, 2, 2)
    options = ([1], [0], [1], False, [0])
    assert grouped_convolution(torch.ops.aten.add.Tensor, (x, x)) is None
    assert grouped_convolution(CONVOLUTION, (x, kernel, None, *options, 1)) is None
    gradient, weights_too = torch.ones(1, 2, 2), [True, True, False]
    assert grouped_convolution(BACKWARD, (gradient, x, kernel, None, *options, 1, [True, False, False])) is None
    assert grouped_convolution(BACKWARD, (gradient, x, kernel[:, :1], None, *options, 2, weights_too)) is None
