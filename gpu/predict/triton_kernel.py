"""The kernels of `gpu.predict.triton_backend`: bytes to scores, or to classes. This module needs triton.

One kernel does all of it where the images alone keep the device busy. Few images are split over the inputs, too: one
kernel writes the sums of each part of the inputs, and another adds these up. All sums are exact, in any order.
"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def kernel(  # type: ignore[no-untyped-def]
    pixels,
    digits,
    shifts,
    powers,
    biases,
    steps,
    result,
    rows,
    inputs: tl.constexpr,
    outputs: tl.constexpr,
    slices: tl.constexpr,
    groups: tl.constexpr,
    width: tl.constexpr,
    block_rows: tl.constexpr,
    block_inputs: tl.constexpr,
    classes: tl.constexpr,
):
    """Write the scores, or the classes, of one block of images."""
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    sums = tl.zeros((block_rows, slices * width), dtype=tl.int32)
    for first in range(0, inputs, block_inputs):
        sums = _add_products(
            sums, pixels, digits, row, first + tl.arange(0, block_inputs), rows, inputs, slices * width
        )
    _write(sums, shifts, powers, biases, steps, result, row, rows, outputs, slices, groups, width, block_rows, classes)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def part_kernel(  # type: ignore[no-untyped-def]
    pixels,
    digits,
    parts,
    rows,
    inputs: tl.constexpr,
    columns: tl.constexpr,
    block_rows: tl.constexpr,
    block_inputs: tl.constexpr,
):
    """Write the sums of one block of images over one block of inputs to parts, int32 (blocks of inputs, N, columns)."""
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    position = tl.program_id(1) * block_inputs + tl.arange(0, block_inputs)
    sums = tl.zeros((block_rows, columns), dtype=tl.int32)
    sums = _add_products(sums, pixels, digits, row, position, rows, inputs, columns)
    tl.store(parts + _offsets(tl.program_id(1), row, rows, columns), sums, mask=row[:, None] < rows)


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def sum_kernel(  # type: ignore[no-untyped-def]
    parts,
    shifts,
    powers,
    biases,
    steps,
    result,
    rows,
    count: tl.constexpr,
    outputs: tl.constexpr,
    slices: tl.constexpr,
    groups: tl.constexpr,
    width: tl.constexpr,
    block_rows: tl.constexpr,
    classes: tl.constexpr,
):
    """Add up the parts of one block of images, and write its scores or classes."""
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)
    sums = tl.zeros((block_rows, slices * width), dtype=tl.int32)
    for part in tl.range(0, count, loop_unroll_factor=8):  # loads that do not wait for each other
        sums += tl.load(parts + _offsets(part, row, rows, slices * width), mask=row[:, None] < rows, other=0)
    _write(sums, shifts, powers, biases, steps, result, row, rows, outputs, slices, groups, width, block_rows, classes)


@triton.jit  # type: ignore[untyped-decorator]
def _offsets(part, row, rows, columns: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return where the sums of a part lie, int64: many inputs and images have more sums than 32 bits can count."""
    image = tl.cast(part, tl.int64) * rows + row[:, None].to(tl.int64)
    return image * columns + tl.arange(0, columns)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def _add_products(sums, pixels, digits, row, position, rows, inputs: tl.constexpr, columns: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the sums plus the products of some inputs with their digits, int8 (columns, padded inputs)."""
    inside = (row[:, None] < rows) & (position[None, :] < inputs)
    block = tl.load(pixels + row[:, None].to(tl.int64) * inputs + position[None, :], mask=inside, other=0)
    # tensor cores multiply signed integers: a pixel less 128 is its bits with the highest one flipped
    signed = (block ^ 0x80).to(tl.int8, bitcast=True)
    # the digits of an output lie side by side, as tensor cores read them
    stride: tl.constexpr = (inputs + 15) // 16 * 16
    source = tl.arange(0, columns)[None, :] * stride + position[:, None]
    digit = tl.load(digits + source, mask=position[:, None] < stride, other=0)
    return tl.dot(signed, digit, sums, out_dtype=tl.int32)


@triton.jit  # type: ignore[untyped-decorator]
def _write(  # type: ignore[no-untyped-def]
    sums,
    shifts,
    powers,
    biases,
    steps,
    result,
    row,
    rows,
    outputs: tl.constexpr,
    slices: tl.constexpr,
    groups: tl.constexpr,
    width: tl.constexpr,
    block_rows: tl.constexpr,
    classes: tl.constexpr,
):
    """Write the scores, or the classes, that belong to the sums of all inputs.

    Nothing depends on the order in which `tl.sum` adds up, nor on products that are fused with sums: see
    `gpu.predict.digit_slices.DigitSlices`.
    """
    output, column = tl.arange(0, width), tl.arange(0, slices * width)
    # 128 times the digits were missing from each sum; with them it may need 33 bits
    whole = sums.to(tl.float64) + tl.load(shifts + column)[None, :]
    integer = tl.zeros((block_rows, width), dtype=tl.float64)
    for group in tl.static_range(groups):
        power = tl.load(powers + group * slices * width + column)
        integer += tl.sum(tl.reshape(whole * power[None, :], (block_rows, slices, width)), axis=1)
    scores = (integer + tl.load(biases + output)[None, :]) * tl.load(steps + output)[None, :]
    if classes:
        scores = tl.where(output[None, :] < outputs, scores.to(tl.float32), float("-inf"))
        best = tl.argmax(scores, axis=1, tie_break_left=True)
        tl.store(result + row, best.to(tl.int64), mask=row < rows)
    else:
        target = row[:, None].to(tl.int64) * outputs + output[None, :]
        tl.store(result + target, scores.to(tl.float32), mask=(row[:, None] < rows) & (output[None, :] < outputs))
