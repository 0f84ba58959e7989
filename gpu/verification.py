"""How far a collapsed network is from the network: differences seen, a bound on them, and what composing cost."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.train import full_float32
from linalg_cnn import AffineMap
from linalg_cnn.types import Array, Shape, size_of

ROWS = 16
"""How many rows of W are compared with autograd."""


@dataclass(frozen=True)
class Reference:
    """The network in float64, on what the map takes: the judge of the map.

    Attributes
    ----------
    module : nn.Module
        A float64 copy.
    prepare : callable
        Preprocessing in float64; the identity if there is none.
    """

    module: nn.Module
    prepare: Callable[[torch.Tensor], torch.Tensor]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, out_size) of inputs (N, *in_shape), float64."""
        return self.module(self.prepare(x.double())).reshape(len(x), -1)  # type: ignore[no-any-return]


def reference_of(module: nn.Module, prepare: Callable[[torch.Tensor], torch.Tensor]) -> Reference:
    """Return a float64 copy of a module; the module stays as it is."""
    return Reference(copy.deepcopy(module).double().requires_grad_(False), prepare)


def sample_inputs(
    in_shape: Shape, pixels: bool, given: torch.Tensor | None, count: int = 8, seed: int = 0
) -> torch.Tensor:
    """Return random inputs, normal ones or raw pixels, and the given ones behind them; float64."""
    generator = torch.Generator().manual_seed(seed)
    if pixels:
        drawn = torch.randint(0, 256, (count, *in_shape), generator=generator).double()
    else:
        drawn = torch.randn(count, *in_shape, generator=generator, dtype=torch.float64)
    return drawn if given is None else torch.cat([drawn, given.detach().cpu().double()])


def composition_error(reference: Reference, factors: Sequence[AffineMap], in_shape: Shape) -> dict[str, Any]:
    """Return how far rows of W and all of B are from what autograd computes on the float64 network.

    Autograd knows nothing of graphs, cuts and kernels taken tap by tap; it is exact but for rounding, as the
    composition is. Both errors are relative to the largest entry of W and of B.
    """
    device = next(reference.module.parameters(), torch.zeros(())).device
    out_size = factors[0].out_size
    rows = np.unique(np.linspace(0, out_size - 1, min(out_size, ROWS)).round().astype(int))
    zero = torch.zeros(1, *in_shape, dtype=torch.float64, device=device)
    x = zero.expand(len(rows), *in_shape).clone().requires_grad_()
    with torch.enable_grad():
        scores = reference(x)
        chosen = scores[torch.arange(len(rows)), torch.from_numpy(rows)].sum()
        (theirs,) = torch.autograd.grad(chosen, x, allow_unused=True) if scores.requires_grad else (None,)
    expected = np.zeros((len(rows), size_of(in_shape))) if theirs is None else theirs.flatten(1).cpu().numpy()
    W = factors[0].W[rows]
    for factor in factors[1:]:
        W = W @ factor.W
    with torch.no_grad():
        answer = reference(zero)[0].cpu().numpy()
    B = apply_factors(factors, np.zeros((1, size_of(in_shape))))[0]
    return {
        "rows_compared": len(rows),
        "rows": out_size,
        "W_relative": relative(np.abs(W - expected).max(), np.abs(expected).max()),
        "B_relative": relative(np.abs(B - answer).max(), np.abs(answer).max()),
    }


def relative(difference: float, scale: float) -> float:
    """Return a difference over the scale of what is compared; over 1 where that is zero."""
    return float(difference) / float(scale or 1)


def apply_factors(factors: Sequence[AffineMap], x: Array) -> Array:
    """Return the map's float64 answer to rows of inputs, factor by factor, the innermost first."""
    for factor in reversed(factors):
        x = factor(x)
    return x


def rounding_bound(factors: Sequence[AffineMap], dtype: torch.dtype, x: Array) -> Array:
    """Return a bound on the error of evaluating a map in ``dtype``, for each output of each input.

    For one factor, with W~ and B~ as rounded to the dtype, u its unit roundoff and n the number of inputs::

        |fl(W~ x + B~) - (W x + B)|  <=  |W~ - W| |x| + |B~ - B| + gamma_(n+1) (|W~| |x| + |B~|) + (n + 1) eta

    where gamma_n = n u / (1 - n u) covers any order of summation, and eta is the smallest positive number, for
    products that underflow. Of two factors, the inner one's error passes through the outer one. It holds for
    products that are accumulated in the dtype or in a wider one; TF32 rounds ``x`` itself, so it must be off. The
    float64 arithmetic of the bound itself and of what it is compared with is allowed for.

    Parameters
    ----------
    factors : sequence of AffineMap
        float64, the outermost first.
    dtype : torch.dtype
    x : float64 array (N, in_size)
        Exact in the dtype, as pixels are; what rounding the input costs is not part of it.

    Returns
    -------
    float64 array (N, out_size)
        Infinite where n u >= 1: a dtype too coarse for so long a sum.

    Notes
    -----
    Source: Higham, Accuracy and Stability of Numerical Algorithms, lemma 8.4 and section 3.5.
    """
    info = torch.finfo(dtype)
    u, eta = info.eps / 2, float(info.smallest_normal * info.eps)
    value, error = x, np.zeros_like(x)
    for factor in reversed(factors):
        n = factor.in_size
        W, B = (_rounded(part, dtype) for part in (factor.W, factor.B))
        gamma = _gamma(n + 1, u)
        size = np.abs(value) + error  # of what this factor is given, at most
        absolute = size @ np.abs(W).T + np.abs(B)
        passed = error @ np.abs(W).T
        rounded = np.abs(value) @ np.abs(W - factor.W).T + np.abs(B - factor.B)
        value = factor(value)
        error = (passed + rounded + gamma * absolute + (n + 1) * eta) * (1 + _gamma(4 * n + 16, 2.0**-53))
        error += 2 * _gamma(n + 1, 2.0**-53) * absolute
    return error


def _gamma(n: int, u: float) -> float:
    return n * u / (1 - n * u) if n * u < 1 else math.inf


def _rounded(values: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(np.ascontiguousarray(values)).to(dtype).double().numpy()


@torch.no_grad()
def differences(
    module: nn.Module, collapsed: nn.Module, reference: Reference, factors: Sequence[AffineMap], x: torch.Tensor
) -> dict[str, Any]:
    """Return the largest differences from the float64 network, absolute and relative to its largest score.

    Parameters
    ----------
    module : nn.Module
        The network in its own dtype.
    collapsed : nn.Module
        What replaces it.
    reference : Reference
        The network in float64.
    factors : sequence of AffineMap
    x : float64 tensor (N, *in_shape)

    Returns
    -------
    dict
        ``map``: of the float64 map; ``module``: of what replaces the network; ``original``: of the network itself,
        computing in its own dtype; ``bound``: the rigorous bound on the error of evaluating the map in the dtype,
        beside the error seen, their ratio (the tightness), and whether the bound held for every score.
    """
    like = next(module.parameters(), torch.zeros(()))
    dtype, device = next(collapsed.parameters()).dtype, like.device
    x = x.to(dtype).double()  # so that all of them see the same input
    exact = torch.cat([reference(part.to(device)).cpu() for part in x.split(4)]).numpy()
    with full_float32():
        ours = torch.cat([collapsed(part.to(device, dtype)).double().cpu() for part in x.split(64)]).reshape(len(x), -1)
        prepared = (reference.prepare(part.to(device)).to(dtype) for part in x.split(4))
        theirs = torch.cat([module(part).double().cpu() for part in prepared]).reshape(len(x), -1)
    rows = x.flatten(1).numpy()
    mapped = apply_factors(factors, rows)
    seen = np.abs(ours.numpy() - mapped)
    bound = rounding_bound(factors, dtype, rows)
    scale = float(np.abs(exact).max())

    def against(values: Array) -> dict[str, float]:
        largest = float(np.abs(values - exact).max())
        return {"largest": largest, "relative": relative(largest, scale)}

    largest_bound, largest_seen = float(bound.max()), float(seen.max())
    return {
        "inputs": len(x),
        "largest_score": scale,
        "map": against(mapped),
        "module": against(ours.numpy()),
        "original": against(theirs.numpy()),
        "bound": {
            "largest": largest_bound,
            "seen": largest_seen,
            "tightness": largest_bound / largest_seen if largest_seen else None,
            "held": bool(np.all(seen <= bound)),
        },
    }
