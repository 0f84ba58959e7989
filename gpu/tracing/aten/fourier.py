"""Fourier transforms along axes other than the batch axis: a pair of matrices for the real and the imaginary part."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gpu.tracing.aten.arithmetic import combine
from gpu.tracing.aten.complex_parts import Complex, component
from gpu.tracing.aten.products import times_matrix
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Value

Node = torch.fx.Node
Transform = Callable[..., torch.Tensor]
"""A transform of ``torch.fft`` along one axis: ``transform(x, n, dim, norm)``."""

NORMS = ("backward", "ortho", "forward")
"""Names of the norms by their numbers in ATen, for a forward transform."""


def one_axis(
    builder: GraphBuilder, node: Node, x: Any, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Any:
    """``fft_fft``, ``fft_ifft``, ``fft_rfft``, ``fft_irfft``, ``fft_hfft``, ``fft_ihfft``."""
    return _along(builder, x, dim, getattr(torch.fft, name_of(node).removeprefix("fft_")), n, norm)


def two_axes(
    builder: GraphBuilder, node: Node, x: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None
) -> Any:
    """``fft_fft2``, ``fft_ifft2``, ``fft_rfft2``, ``fft_irfft2``, ``fft_hfft2``, ``fft_ihfft2``."""
    return several_axes(builder, node, x, s, dim, norm)


def several_axes(
    builder: GraphBuilder, node: Node, x: Any, s: Any = None, dim: Any = None, norm: str | None = None
) -> Any:
    """``fft_fftn``, ``fft_ifftn``, ``fft_rfftn``, ``fft_irfftn``, ``fft_hfftn``, ``fft_ihfftn``: axis after axis.

    Of a real transform, the last axis is the one that is halved: the first to be transformed, and the last to return.
    """
    rank = _real_part(x).rank
    dims = list(range(rank - len(s), rank) if dim is None and s is not None else range(rank) if dim is None else dim)
    sizes = [None if n == -1 else n for n in s] if s is not None else [None] * len(dims)
    name = name_of(node).removeprefix("fft_")[:-1]
    last: Transform = getattr(torch.fft, name)
    others: Transform = getattr(torch.fft, name.replace("r", "").replace("h", ""))
    steps = [(axis, others, n) for axis, n in zip(dims[:-1], sizes[:-1], strict=True)]
    end = (dims[-1], last, sizes[-1])
    for axis, transform, n in [end, *steps] if name in {"rfft", "ihfft"} else [*steps, end]:
        x = _along(builder, x, axis, transform, n, norm)
    return x


def from_real(builder: GraphBuilder, node: Node, x: Any, dim: Sequence[int], norm: int, onesided: bool) -> Any:
    """``_fft_r2c``, to which torch decomposes the forward transforms of real tensors."""
    x = _along(builder, x, dim[-1], torch.fft.rfft if onesided else torch.fft.fft, None, NORMS[norm])
    return from_complex(builder, node, x, dim[:-1], norm, True)


def from_complex(builder: GraphBuilder, node: Node, x: Any, dim: Sequence[int], norm: int, forward: bool) -> Any:
    """``_fft_c2c``, to which torch decomposes the transforms of complex tensors."""
    transform, norms = (torch.fft.fft, NORMS) if forward else (torch.fft.ifft, NORMS[::-1])
    for axis in dim:
        x = _along(builder, x, axis, transform, None, norms[norm])
    return x


def to_real(builder: GraphBuilder, node: Node, x: Any, dim: Sequence[int], norm: int, size: int) -> Any:
    """``_fft_c2r``, to which torch decomposes the transforms whose results are real."""
    x = from_complex(builder, node, x, dim[:-1], norm, False)
    return _along(builder, x, dim[-1], torch.fft.irfft, size, NORMS[::-1][norm])


def _along(builder: GraphBuilder, x: Any, dim: int, transform: Transform, n: int | None, norm: str | None) -> Any:
    """Return a transform along one axis, whose matrices are its values for real and for imaginary unit vectors."""
    value = _real_part(x)
    units = torch.eye(value.shape[value.axis(dim)], dtype=torch.float64)
    first = transform(units, n, -1, norm).T
    if not isinstance(x, Complex):
        return _times(builder, x, first, dim)
    second = transform(1j * units, n, -1, norm).T
    a, b = _times(builder, x.real, first, dim), _times(builder, x.imag, second, dim)
    if isinstance(a, Value):
        return combine(builder, a, b, 1.0, 1.0)
    return Complex(combine(builder, a.real, b.real, 1.0, 1.0), combine(builder, a.imag, b.imag, 1.0, 1.0))


def _times(builder: GraphBuilder, x: Value, matrix: torch.Tensor, dim: int) -> Any:
    if not matrix.is_complex():
        return times_matrix(builder, x, matrix, dim)
    return Complex(*(times_matrix(builder, x, component(matrix, part), dim) for part in ("real", "imag")))


def _real_part(x: Any) -> Value:
    value: Value = x.real if isinstance(x, Complex) else x
    return value


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft"), one_axis),
    **dict.fromkeys(("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2", "fft_hfft2", "fft_ihfft2"), two_axes),
    **dict.fromkeys(("fft_fftn", "fft_ifftn", "fft_rfftn", "fft_irfftn", "fft_hfftn", "fft_ihfftn"), several_axes),
    "_fft_r2c": from_real,
    "_fft_c2c": from_complex,
    "_fft_c2r": to_real,
}
