"""How far a collapsed network is from the network: differences seen, a bound on them, and what composing cost."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.collapsing.reference import Reference, scores_of
from gpu.collapsing.rounding import rounding_bound
from gpu.runtime.devices import full_float32
from linalg_cnn import AffineGraph, AffineMap
from linalg_cnn.types import Array, Shape, size_of

ROWS = 16
"""How many rows of W are compared with autograd."""
BATCHES = (1, 2, 5)
"""The sizes of the first batches that are compared; the others have 4 samples."""
ROWS_TOGETHER = 2**27
"""How many bytes of a network's values autograd may keep for the rows that go back together."""


class VerificationError(RuntimeError):
    """A map is not the network: one that depends on the size of the batch or changes, or a fault of the tracing.

    Examples
    --------
    >>> import gpu
    >>> class OfSize(nn.Module):
    ...     def forward(self, x):
    ...         return 2 * x if len(x) == 1 else x
    >>> gpu.collapse(OfSize(), (3,))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    gpu.collapsing.verification.VerificationError: module: expected a map that is the network, got ... off by ...
    """


def bytes_per_sample(graph: AffineGraph) -> int:
    """Return about how many bytes torch takes for one sample on its way through a network and back, in float64.

    Every value and what comes back to it, and what a convolution copies of its input: all pixels under each tap.
    """
    columns = [0]
    for node, shape in zip(graph.nodes, graph.shapes[1:], strict=True):
        kernel = getattr(node.operation, "kernel", None)
        if kernel is not None:
            pixels = max(size_of(shape[1:]), size_of(graph.shapes[node.inputs[0]][1:]))
            columns.append(kernel.size // len(kernel) * getattr(node.operation, "groups", 1) * pixels)
    return 8 * (2 * sum(size_of(shape) for shape in graph.shapes) + max(columns))


def sample_inputs(
    in_shape: Shape, pixels: bool, given: torch.Tensor | None, count: int = sum(BATCHES), seed: int = 0
) -> torch.Tensor:
    """Return random inputs, normal ones or raw pixels, and the given ones behind them; float64."""
    generator = torch.Generator().manual_seed(seed)
    if pixels:
        drawn = torch.randint(0, 256, (count, *in_shape), generator=generator).double()
    else:
        drawn = torch.randn(count, *in_shape, generator=generator, dtype=torch.float64)
    return drawn if given is None else torch.cat([drawn, given.detach().cpu().double()])


def composition_error(
    reference: Reference, factors: Sequence[AffineMap], x: torch.Tensor, score: Array, together: int = ROWS
) -> dict[str, Any]:
    """Return how far rows of W and all of B are from what autograd computes on the float64 network.

    Autograd knows nothing of graphs, cuts and kernels taken tap by tap; it is exact but for rounding, as the
    composition is. Where its rows do not give the network's own answer to an input - a forward that detaches, a
    ``torch.autograd.Function`` with another derivative - columns of W are compared instead, each of them the
    difference of two answers. Both errors are relative to the largest entry of W and of B.

    Parameters
    ----------
    reference : Reference
    factors : sequence of AffineMap
    x : float64 tensor (1, *in_shape)
        An input, on the network's device.
    score : float64 array (out_size,)
        The reference's answer to it.
    together : int
        How many rows go back together.

    Raises
    ------
    ValueError
        If the forward cannot be run in float64.
    VerificationError
        If W or B is further off than rounding explains.
    """
    in_size, out_size = factors[-1].in_size, factors[0].out_size
    rows, columns = (
        np.unique(np.linspace(0, size - 1, min(size, ROWS)).round().astype(int)) for size in (out_size, in_size)
    )
    zero = torch.zeros_like(x)
    answer = reference(zero)[0].cpu().numpy()
    theirs = [
        reference.rows(zero.expand(len(part), *x.shape[1:]), part)
        for part in (rows[start : start + together] for start in range(0, len(rows), together))
    ]
    expected = np.concatenate([np.zeros((0, in_size)), *(part for part in theirs if part is not None)])
    change = (score - answer)[rows]
    trusted = len(expected) == len(rows) or not change.any()
    if len(expected) < len(rows):
        expected = np.zeros((len(rows), in_size))
    error = np.abs(expected @ x.flatten().cpu().numpy() - change).max()
    if trusted and error <= reference.allowed(np.abs(change).max()):
        ours = _product(factors, rows, slice(None))
    else:
        units = torch.zeros(len(columns), in_size, dtype=torch.float64, device=x.device)
        units[torch.arange(len(columns)), torch.from_numpy(columns)] = 1
        parts = units.reshape(-1, *x.shape[1:]).split(4)
        expected = (torch.cat([reference(part) for part in parts]).cpu().numpy() - answer).T
        ours, trusted = _product(factors, slice(None), columns), False
    B = apply_factors(factors, np.zeros((1, in_size)))[0]
    return {
        "judge": "autograd" if trusted else "differences of answers",
        "rows_compared": len(ours),
        "rows": out_size,
        "columns_compared": ours.shape[1],
        "columns": in_size,
        "W_relative": _compared(reference, "W", ours, expected)["relative"],
        "B_relative": _compared(reference, "B", B, answer)["relative"],
    }


def _product(factors: Sequence[AffineMap], rows: Any, columns: Any) -> Array:
    """Return some rows or columns of W, all of them where that is ``slice(None)``."""
    if isinstance(columns, slice):
        W: Array = factors[0].W[rows]
        for factor in factors[1:]:
            W = W @ factor.W
        return W
    W = factors[-1].W[:, columns]
    for factor in reversed(factors[:-1]):
        W = factor.W @ W
    return W


def _compared(reference: Reference, what: str, ours: Array, theirs: Array) -> dict[str, float]:
    """Return the largest difference between the map and the reference.

    Raises
    ------
    VerificationError
        If it is larger than rounding explains.
    """
    scale = float(np.abs(theirs).max(initial=0))
    found = _against(ours, theirs, scale)
    allowed = reference.allowed(scale)
    if not found["largest"] <= allowed:
        raise VerificationError(
            f"module: expected a map that is the network, got {what} off by {found['largest']:.3g} where the largest "
            f"entry is {scale:.3g} and {allowed:.3g} is allowed: what the network makes of a sample depends on how "
            "many there are or changes with every call, or it was traced wrongly: then please report it"
        )
    return found


def _against(ours: Array, theirs: Array, scale: float) -> dict[str, float]:
    largest = float(_distances(ours, theirs).max(initial=0))
    return {"largest": largest, "relative": relative(largest, scale)}


def _distances(ours: Array, theirs: Array) -> Array:
    """Return absolute differences; infinite where a score has overflowed."""
    with np.errstate(invalid="ignore"):
        found = np.abs(ours - theirs)
    return np.where(np.isnan(found), np.inf, found)


def relative(difference: float, scale: float) -> float:
    """Return a difference over the scale of what is compared; over 1 where that is zero."""
    return float(difference) / float(scale or 1)


def apply_factors(factors: Sequence[AffineMap], x: Array) -> Array:
    """Return the map's float64 answer to rows of inputs, factor by factor, the innermost first."""
    for factor in reversed(factors):
        x = factor(x)
    return x


def verify(
    network: nn.Module,
    collapsed: nn.Module,
    factors: Sequence[AffineMap],
    x: torch.Tensor,
    prepare: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    together: int = ROWS,
) -> dict[str, dict[str, Any]]:
    """Return how far a map is from its network, or refuse a map that is not the network.

    Parameters
    ----------
    network : nn.Module
        A copy of the user's, in its own dtype. It is run, which may change it, and becomes float64.
    collapsed : nn.Module
        What replaces it, of its dtype and on its device.
    factors : sequence of AffineMap
    x : float64 tensor (N, *in_shape)
        At least eight inputs. The network is given batches of 1, 2, 5 and then 4 of them: what it makes of a sample
        must not depend on that.
    prepare : callable
        Preprocessing in float64; the identity if there is none.
    together : int
        How many rows of W are differentiated together.

    Returns
    -------
    dict
        ``differences``, see `differences`, and ``composition``, see `composition_error`.

    Raises
    ------
    ValueError
        If the forward cannot be run on such batches, in its own dtype or in float64.
    VerificationError
        If the map is further from the float64 network than rounding explains.
    """
    like = next(collapsed.parameters())
    x = x.to(like.dtype).double()  # so that all of them see the same input
    count, out_size = len(x), factors[0].out_size
    rest = count - sum(BATCHES)
    parts = x.to(like.device).split([*BATCHES, *(min(4, rest - start) for start in range(0, rest, 4))])
    with torch.no_grad(), full_float32():
        prepared = (prepare(part).to(like.dtype) for part in x.to(like.device).split(sum(BATCHES)))
        original = torch.cat([scores_of(network, part, out_size).double().cpu() for part in prepared])
        ours = torch.cat([collapsed(part.to(like)).double().cpu() for part in x.split(64)]).reshape(count, -1)
    reference = Reference(network, like.dtype, out_size, prepare)
    exact = [reference(part).cpu().numpy() for part in parts]
    composition = composition_error(reference, factors, parts[0], exact[0][0], together)
    found = differences(reference, factors, x.flatten(1).numpy(), exact, ours.numpy(), original.numpy())
    return {"differences": found, "composition": composition}


def differences(
    reference: Reference, factors: Sequence[AffineMap], x: Array, exact: Sequence[Array], ours: Array, original: Array
) -> dict[str, Any]:
    """Return the largest differences from the float64 network, absolute and relative to its largest score.

    Parameters
    ----------
    reference : Reference
    factors : sequence of AffineMap
    x : float64 array (N, in_size)
        The inputs, exact in the network's dtype.
    exact : sequence of float64 arrays (n, out_size)
        What the reference makes of them, batch by batch.
    ours, original : float64 arrays (N, out_size)
        What the collapsed module and the network itself make of them in the network's dtype.

    Returns
    -------
    dict
        ``map``: of the float64 map; ``module``: of what replaces the network; ``original``: of the network itself,
        computing in its own dtype; ``bound``: the rigorous bound on the error of evaluating the map in the dtype,
        beside the error seen, their ratio (the tightness), and whether the bound held for every score. Infinite
        where scores overflow or there is no bound; the tightness is then None.

    Raises
    ------
    VerificationError
        If the map is further from the float64 network than rounding explains.
    """
    mapped, start = apply_factors(factors, x), 0
    for theirs in exact:
        _compared(reference, f"scores of a batch of {len(theirs)}", mapped[start : start + len(theirs)], theirs)
        start += len(theirs)
    expected = np.concatenate(exact)
    scale = float(np.abs(expected).max())
    seen, bound = _distances(ours, mapped), rounding_bound(factors, reference.dtype, x)
    largest_bound, largest_seen = float(bound.max()), float(seen.max())
    return {
        "inputs": len(x),
        "batches": sorted({len(part) for part in exact}),
        "largest_score": scale,
        "allowed": reference.allowed(scale),
        "map": _against(mapped, expected, scale),
        "module": _against(ours, expected, scale),
        "original": _against(original, expected, scale),
        "bound": {
            "largest": largest_bound,
            "seen": largest_seen,
            "tightness": largest_bound / largest_seen if largest_seen and math.isfinite(largest_bound) else None,
            "held": bool(np.all(seen <= bound)),
        },
    }
