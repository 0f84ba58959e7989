"""The comparison of a map with its network: differences of scores, of rows of W and of B, and a bound on rounding."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gpu.collapsing.reference import Reference, scores_of
from gpu.collapsing.rounding import rounding_bound
from gpu.collapsing.samples import BATCHES, in_batches
from gpu.runtime.devices import full_float32
from linalg_cnn import AffineMap
from linalg_cnn.types import Array

ROWS = 16
"""Number of rows of W, or of columns, that are compared."""


class VerificationError(RuntimeError):
    """A map is not its network: the network depends on the size of the batch or changes, or was traced wrongly.

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


class Findings(NamedTuple):
    """The result of a verification, as the report holds it.

    Attributes
    ----------
    differences : dict
        See `differences`.
    composition : dict
        See `composition_error`.
    """

    differences: dict[str, Any]
    composition: dict[str, Any]


def verify(
    network: nn.Module,
    collapsed: nn.Module,
    factors: Sequence[AffineMap],
    samples: torch.Tensor,
    prepare: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    rows_together: int = ROWS,
) -> Findings:
    """Return how far a map is from its network, or refuse a map that is not the network.

    Parameters
    ----------
    network : nn.Module
        Copy of the user's network, in its own dtype. It is run, which may change it, and becomes float64.
    collapsed : nn.Module
        Replacement of the network, with its dtype and on its device.
    factors : sequence of AffineMap
        The map, the outermost factor first.
    samples : float64 tensor (N, *in_shape)
        At least eight samples, given to the network in batches of several sizes.
    prepare : callable
        Preprocessing in float64; the identity if there is none.
    rows_together : int
        Number of rows of W that are computed in one backward pass.

    Raises
    ------
    ValueError
        If the forward cannot be run on such batches, in its own dtype or in float64.
    VerificationError
        If the map is further from the float64 network than rounding explains.
    """
    like = next(collapsed.parameters())
    x = samples.to(like.dtype).double()  # the same input for all of them
    out_size = factors[0].out_size
    batches = in_batches(x.to(like.device))
    with torch.no_grad(), full_float32():
        prepared = (prepare(part).to(like.dtype) for part in x.to(like.device).split(sum(BATCHES)))
        original = torch.cat([scores_of(network, part, out_size).double().cpu() for part in prepared])
        ours = torch.cat([collapsed(part.to(like)).double().cpu() for part in x.split(64)]).reshape(len(x), -1)
    reference = Reference(network, like.dtype, out_size, prepare)
    exact = [reference(batch).cpu().numpy() for batch in batches]
    composition = composition_error(reference, factors, batches[0], exact[0][0], rows_together)
    found = differences(reference, factors, x.flatten(1).numpy(), exact, ours.numpy(), original.numpy())
    return Findings(found, composition)


def composition_error(
    reference: Reference, factors: Sequence[AffineMap], x: torch.Tensor, score: Array, rows_together: int = ROWS
) -> dict[str, Any]:
    """Return how far rows of W and all of B are from those that autograd computes on the float64 network.

    Autograd shares no code with the composition, and like it is exact except for rounding. Where its rows do not
    reproduce the network's own scores - a forward that detaches, a ``torch.autograd.Function`` with another
    derivative - columns of W are compared instead, each with a difference of two scores. Both errors are relative to
    the largest entry of W and of B.

    Parameters
    ----------
    reference : Reference
        The float64 network.
    factors : sequence of AffineMap
        The map, the outermost factor first.
    x : float64 tensor (1, *in_shape)
        A sample on the network's device.
    score : float64 array (out_size,)
        The reference's scores of the sample.
    rows_together : int
        Number of rows that are computed in one backward pass.

    Raises
    ------
    ValueError
        If the forward cannot be run in float64.
    VerificationError
        If W or B is further off than rounding explains.
    """
    in_size, out_size = factors[-1].in_size, factors[0].out_size
    rows, columns = _spread(out_size), _spread(in_size)
    zero_score = reference(torch.zeros_like(x))[0].cpu().numpy()
    expected = _rows_by_autograd(reference, x, (score - zero_score)[rows], rows, rows_together)
    by_autograd = expected is not None
    if expected is not None:
        ours = _rows_of_W(factors, rows)
    else:
        expected, ours = _columns_by_differences(reference, x, zero_score, columns), _columns_of_W(factors, columns)
    B = apply_factors(factors, np.zeros((1, in_size)))[0]
    return {
        "judge": "autograd" if by_autograd else "differences of answers",
        "rows_compared": len(ours),
        "rows": out_size,
        "columns_compared": ours.shape[1],
        "columns": in_size,
        "W_relative": _compared(reference, "W", ours, expected)["relative"],
        "B_relative": _compared(reference, "B", B, zero_score)["relative"],
    }


def _spread(size: int) -> Array:
    """Return up to `ROWS` indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, ROWS)).round().astype(int))


def _rows_by_autograd(
    reference: Reference, x: torch.Tensor, change: Array, rows: Array, rows_together: int
) -> Array | None:
    """Return rows of W as gradients; None if they do not explain the change of the scores from zero to x."""
    zero = torch.zeros_like(x)
    parts = [
        reference.rows(zero.expand(len(part), *x.shape[1:]), part)
        for part in (rows[start : start + rows_together] for start in range(0, len(rows), rows_together))
    ]
    found = [part for part in parts if part is not None]
    if len(found) == len(parts):
        gradients = np.concatenate(found)
    elif change.any():
        return None
    else:  # scores that depend on no input have no gradient
        gradients = np.zeros((len(rows), x.numel()))
    error = np.abs(gradients @ x.flatten().cpu().numpy() - change).max()
    return gradients if error <= reference.allowed(np.abs(change).max()) else None


def _columns_by_differences(reference: Reference, x: torch.Tensor, zero_score: Array, columns: Array) -> Array:
    """Return columns of W as differences between the scores of a unit vector and those of zero."""
    units = torch.zeros(len(columns), x.numel(), dtype=torch.float64, device=x.device)
    units[torch.arange(len(columns)), torch.from_numpy(columns)] = 1
    parts = units.reshape(-1, *x.shape[1:]).split(4)
    difference: Array = (torch.cat([reference(part) for part in parts]).cpu().numpy() - zero_score).T
    return difference


def _rows_of_W(factors: Sequence[AffineMap], rows: Array) -> Array:
    W: Array = factors[0].W[rows]
    for factor in factors[1:]:
        W = W @ factor.W
    return W


def _columns_of_W(factors: Sequence[AffineMap], columns: Array) -> Array:
    W: Array = factors[-1].W[:, columns]
    for factor in reversed(factors[:-1]):
        W = factor.W @ W
    return W


def differences(
    reference: Reference, factors: Sequence[AffineMap], x: Array, exact: Sequence[Array], ours: Array, original: Array
) -> dict[str, Any]:
    """Return the largest differences from the float64 network, absolute and relative to its largest score.

    Parameters
    ----------
    reference : Reference
        The float64 network.
    factors : sequence of AffineMap
        The map, the outermost factor first.
    x : float64 array (N, in_size)
        The samples, exact in the network's dtype.
    exact : sequence of float64 arrays (n, out_size)
        The reference's scores of the samples, batch by batch.
    ours, original : float64 arrays (N, out_size)
        Scores of the collapsed module and of the network itself, computed in the network's dtype.

    Returns
    -------
    dict
        ``map``: of the float64 map; ``module``: of what replaces the network; ``original``: of the network itself,
        computed in its own dtype; ``bound``: the rigorous bound on the error of evaluating the map in the dtype, the
        error seen, their ratio (the tightness), and whether the bound held for every score. Values are infinite where
        scores overflow or there is no bound; the tightness is then None.

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
        "batches": sorted({len(batch) for batch in exact}),
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


def apply_factors(factors: Sequence[AffineMap], x: Array) -> Array:
    """Return the map's float64 scores of rows of inputs, factor by factor, the innermost first."""
    for factor in reversed(factors):
        x = factor(x)
    return x


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
            f"entry is {scale:.3g} and {allowed:.3g} is allowed; either the scores of a sample depend on the size of "
            "its batch or change with every call, or the tracing is at fault: then please report it"
        )
    return found


def _against(ours: Array, theirs: Array, scale: float) -> dict[str, float]:
    """Return the largest difference, absolute and relative to the scale, or to 1 where that is zero."""
    largest = float(_distances(ours, theirs).max(initial=0))
    return {"largest": largest, "relative": largest / (scale or 1.0)}


def _distances(ours: Array, theirs: Array) -> Array:
    """Return absolute differences, infinite where a score has overflowed."""
    with np.errstate(invalid="ignore"):
        found = np.abs(ours - theirs)
    return np.where(np.isnan(found), np.inf, found)
