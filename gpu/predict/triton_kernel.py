"""The kernel of `gpu.predict.triton_backend`: bytes to scores, or to classes. This module needs triton."""

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def kernel(  # type: ignore[no-untyped-def]
    pixels,
    digits,
    units,
    bias,
    result,
    rows,
    inputs: tl.constexpr,
    outputs: tl.constexpr,
    slices: tl.constexpr,
    width: tl.constexpr,
    block_rows: tl.constexpr,
    block_inputs: tl.constexpr,
    classes: tl.constexpr,
):
    """Write the scores, or the classes, of one block of images."""
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    column = tl.arange(0, slices * width)
    sums = tl.zeros((block_rows, slices * width), dtype=tl.int32)
    for first in range(0, inputs, block_inputs):
        position = first + tl.arange(0, block_inputs)
        inside = (row[:, None] < rows) & (position[None, :] < inputs)
        block = tl.load(pixels + row[:, None].to(tl.int64) * inputs + position[None, :], mask=inside, other=0)
        # tensor cores multiply signed integers: a pixel less 128 is its bits with the highest one flipped
        signed = (block ^ 0x80).to(tl.int8, bitcast=True)
        digit = tl.load(
            digits + position[:, None] * (slices * width) + column[None, :], mask=position[:, None] < inputs, other=0
        )
        sums = tl.dot(signed, digit, sums, out_dtype=tl.int32)
    output = tl.arange(0, width)
    unit = tl.load(units + column)
    parts = tl.reshape(sums.to(tl.float64) * unit[None, :], (block_rows, slices, width))
    scores = tl.sum(parts, axis=1) + tl.load(bias + output)[None, :]
    if classes:
        scores = tl.where(output[None, :] < outputs, scores.to(tl.float32), float("-inf"))
        best = tl.argmax(scores, axis=1, tie_break_left=True)
        tl.store(result + row, best.to(tl.int64), mask=row < rows)
    else:
        target = row[:, None].to(tl.int64) * outputs + output[None, :]
        tl.store(result + target, scores.to(tl.float32), mask=(row[:, None] < rows) & (output[None, :] < outputs))
