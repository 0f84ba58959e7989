"""Slow twins of the matrix constructors: plain loops over the entries, written from the formulas alone.

Nothing here shares code with the library, and nothing here is clever.
"""

from fractions import Fraction
from itertools import product
from math import ceil, prod

import numpy as np


def _flat(position, shape):
    index = 0
    for p, n in zip(position, shape, strict=True):
        index = index * n + p
    return index


def _positions(shape):
    return product(*(range(n) for n in shape))


def shown(q, n, mode, crop=(0, 0)):
    """The input position that padded position q shows on an axis of n, or None for a padded zero."""
    if mode == "circular":  # step round what cropping leaves
        left = list(range(crop[0], n - crop[1]))
        while q < left[0]:
            q += len(left)
        while q > left[-1]:
            q -= len(left)
        return q
    if 0 <= q < n:
        return q
    if mode == "zeros":
        return None
    if mode == "reflect":
        return -q if q < 0 else 2 * (n - 1) - q
    return 0 if q < 0 else n - 1  # replicate


def conv_loops(kernel, in_shape, stride, pairs, dilation, groups, mode):
    c_out, per_group, *taps = kernel.shape
    _, *sizes = in_shape
    out = [
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, (before, after), d, k, s in zip(sizes, pairs, dilation, taps, stride, strict=True)
    ]
    A = np.zeros((c_out * prod(out), prod(in_shape)), dtype=kernel.dtype)
    for c, p in product(range(c_out), _positions(out)):
        group = c // (c_out // groups)
        for i, t in product(range(per_group), _positions(taps)):
            q = [shown(p[a] * stride[a] - pairs[a][0] + t[a] * dilation[a], sizes[a], mode) for a in range(len(sizes))]
            if None not in q:
                row, column = _flat((c, *p), (c_out, *out)), _flat((group * per_group + i, *q), in_shape)
                A[row, column] += kernel[(c, i, *t)]
    return A


def pad_loops(in_shape, pairs, mode):
    channels, *sizes = in_shape
    out = [before + n + after for n, (before, after) in zip(sizes, pairs, strict=True)]
    P = np.zeros((channels * prod(out), prod(in_shape)))
    for c, p in product(range(channels), _positions(out)):
        q = [
            shown(p[a] - pairs[a][0], sizes[a], mode, crop=[max(-width, 0) for width in pairs[a]])
            for a in range(len(sizes))
        ]
        if None not in q:
            P[_flat((c, *p), (channels, *out)), _flat((c, *q), in_shape)] = 1
    return P


def nearest_source(d, i, o, mode):
    """The input position that output d of o shows of i, in the arithmetic of each library."""
    f = np.float32
    if mode == "pillow":
        x = i / o * 0.5
        for _ in range(d):
            x += i / o
        return min(int(x), i - 1)
    if mode == "scikit-image":
        return min(int(np.floor((d + 0.5) * (i / o) - 0.5 + 0.5)), i - 1)
    if mode == "nearest-exact":
        source = int(np.floor((f(d) + f(0.5)) * (f(i) / f(o))))
    elif i == o:
        source = d
    elif o == 2 * i:
        source = d >> 1
    else:
        source = int(np.floor(f(d) * (f(i) / f(o))))
    return min(source, i - 1)


def resample_loops(in_shape, out_shape, mode):
    R = np.zeros((prod(out_shape), prod(in_shape)))
    for p in _positions(out_shape):
        q = [nearest_source(*axis, mode) for axis in zip(p, in_shape, out_shape, strict=True)]
        R[_flat(p, out_shape), _flat(q, in_shape)] = 1
    return R


def avg_pool_loops(in_shape, k, s, padding, ceil_mode, count_include_pad, divisor_override):
    channels, *sizes = in_shape
    axes = range(len(sizes))
    out = []
    for a in axes:
        o = (sizes[a] + 2 * padding[a] - k[a] + (s[a] - 1 if ceil_mode else 0)) // s[a] + 1
        if ceil_mode and (o - 1) * s[a] >= sizes[a] + padding[a]:
            o -= 1
        out.append(o)
    A = np.zeros((channels * prod(out), prod(in_shape)))
    for c, p in product(range(channels), _positions(out)):
        starts = [p[a] * s[a] - padding[a] for a in axes]
        ends = [min(starts[a] + k[a], sizes[a] + padding[a]) for a in axes]
        inside = [range(max(starts[a], 0), min(ends[a], sizes[a])) for a in axes]
        if divisor_override is not None:
            divisor = divisor_override
        elif count_include_pad:
            divisor = prod(ends[a] - starts[a] for a in axes)
        else:
            divisor = prod(len(run) for run in inside)
        for q in product(*inside):
            A[_flat((c, *p), (channels, *out)), _flat((c, *q), in_shape)] = 1 / divisor
    return A


def conv_transpose_loops(kernel, in_shape, stride, padding, output_padding, dilation, groups):
    c_in, per_group, *taps = kernel.shape
    _, *sizes = in_shape
    axes = range(len(sizes))
    out = [
        (sizes[a] - 1) * stride[a] - 2 * padding[a] + dilation[a] * (taps[a] - 1) + output_padding[a] + 1 for a in axes
    ]
    A = np.zeros((per_group * groups * prod(out), prod(in_shape)), dtype=kernel.dtype)
    for c, i in product(range(c_in), _positions(sizes)):
        group = c // (c_in // groups)
        for o, t in product(range(per_group), _positions(taps)):
            d = [i[a] * stride[a] - padding[a] + t[a] * dilation[a] for a in axes]
            if all(0 <= d[a] < out[a] for a in axes):
                row = _flat((group * per_group + o, *d), (per_group * groups, *out))
                A[row, _flat((c, *i), in_shape)] += kernel[(c, o, *t)]
    return A


def linear_loops(in_shape, size, align_corners):
    """Each output as torch mixes it: per axis (1 - l) x[a] + l x[b] with b = min(a + 1, n - 1)."""
    channels, *sizes = in_shape
    A = np.zeros((channels * prod(size), prod(in_shape)))
    for c, p in product(range(channels), _positions(size)):
        corners = []
        for d, n, o in zip(p, sizes, size, strict=True):
            if align_corners:
                r = Fraction(d * (n - 1), o - 1) if o > 1 else Fraction(0)
            else:
                r = max((d + Fraction(1, 2)) * Fraction(n, o) - Fraction(1, 2), Fraction(0))
            a = int(r)
            corners.append([(a, 1 - (r - a)), (min(a + 1, n - 1), r - a)])
        row = {}
        for corner in product(*corners):
            q = _flat((c, *(position for position, _ in corner)), in_shape)
            row[q] = row.get(q, 0) + prod(share for _, share in corner)
        for q, share in row.items():
            A[_flat((c, *p), (channels, *size)), q] = share
    return A


def adaptive_avg_pool_loops(in_shape, size):
    channels, *sizes = in_shape
    A = np.zeros((channels * prod(size), prod(in_shape)))
    for c, p in product(range(channels), _positions(size)):
        windows = [range(d * n // o, ceil(Fraction((d + 1) * n, o))) for d, n, o in zip(p, sizes, size, strict=True)]
        for q in product(*windows):
            row, column = _flat((c, *p), (channels, *size)), _flat((c, *q), in_shape)
            A[row, column] = 1 / prod(len(window) for window in windows)
    return A


def rearrangement_loops(in_shape, out_shape, source):
    """A 1 for each output position in the column of the input position ``source(position)``."""
    A = np.zeros((prod(out_shape), prod(in_shape)))
    for p in _positions(out_shape):
        A[_flat(p, out_shape), _flat(source(p), in_shape)] = 1
    return A


def pixel_shuffle_source(p, factor):
    c, *position = p
    inner = _flat([q % factor for q in position], [factor] * len(position))
    return (c * factor ** len(position) + inner, *(q // factor for q in position))


def pixel_unshuffle_source(p, factor):
    c, *position = p
    digits, rest = [], c
    for _ in position:
        digits.append(rest % factor)
        rest //= factor
    return (rest, *(q * factor + digit for q, digit in zip(position, reversed(digits), strict=True)))
