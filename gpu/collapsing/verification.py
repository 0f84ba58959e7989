"""The comparison of a map with its network: differences of scores, of rows of W and of B, and a bound on rounding."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gpu.collapsing.distances import against, apply_factors, columns_of, distances
from gpu.collapsing.reference import Reference, scores_of
from gpu.collapsing.rounding import rounding_bound
from gpu.collapsing.samples import in_batches
from gpu.collapsing.sharing import Recording
from gpu.runtime.precision import full_float32
from linalg_cnn import AffineMap
from linalg_cnn.types import Array

SUMS = 2
"""Number of random sums of all rows of W that are compared: any error in W shows in each, except by chance."""
COLUMNS = 16
"""Number of columns of W that are compared where autograd does not give its rows."""
CAUSES = "the scores of a sample depend on the size of its batch or change with every call"
BRANCH = "the forward branches on how large its input is, where torch.export does not record the branch"


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
    sizes : dict
        See `differences_by_size`.
    """

    differences: dict[str, Any]
    composition: dict[str, Any]
    sizes: dict[str, float | None]


def verify(
    network: nn.Module,
    collapsed: nn.Module,
    factors: Sequence[AffineMap],
    samples: torch.Tensor,
    unusual: Mapping[str, torch.Tensor],
    prepare: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
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
    unusual : mapping of str to float64 tensor (N, *in_shape)
        Batches of other sizes, such as large ones, by name; see `gpu.collapsing.samples.unusual_samples`.
    prepare : callable
        Preprocessing in float64; the identity if there is none.

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
    recordings = {len(batch): Recording() for batch in batches}
    with torch.no_grad(), full_float32():
        original = []
        for batch in batches:
            prepared = prepare(batch).to(like.dtype)
            with recordings[len(batch)]:
                original.append(scores_of(network, prepared, out_size).double().cpu())
        ours = torch.cat([collapsed(part.to(like)).double().cpu() for part in x.split(64)]).reshape(len(x), -1)
    reference = Reference(network, like.dtype, out_size, prepare, recordings)
    exact = [reference(batch).cpu().numpy() for batch in batches]
    composition = composition_error(reference, factors, batches[0], exact[0][0])
    found = differences(reference, factors, x.flatten(1).numpy(), exact, ours.numpy(), torch.cat(original).numpy())
    return Findings(found, composition, differences_by_size(reference, factors, unusual, like))


def composition_error(
    reference: Reference, factors: Sequence[AffineMap], x: torch.Tensor, score: Array
) -> dict[str, Any]:
    """Return how far W and B are from those that autograd computes on the float64 network.

    Autograd shares no code with the composition, and like it is exact except for rounding. It computes sums of all rows
    of W with random weights, which cost a backward pass each, however many rows there are. Where they do not reproduce
    the network's own scores - a forward that detaches, a ``torch.autograd.Function`` with another derivative - columns
    of W are compared instead, each with a difference of two scores. Both errors are relative to the largest entry
    compared.

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

    Raises
    ------
    ValueError
        If the forward cannot be run in float64.
    VerificationError
        If W or B is further off than rounding explains.
    """
    in_size, out_size = factors[-1].in_size, factors[0].out_size
    columns = _spread(in_size)
    weights = np.random.default_rng(0).standard_normal((SUMS, out_size))
    zeros = torch.zeros_like(x).expand(len(weights), *x.shape[1:])
    zero_scores, sums = reference.pull(zeros, weights)
    if zero_scores is None:
        zero_scores = reference(zeros[:1]).cpu().numpy()
    off = _compared(reference, "B", apply_factors(factors, np.zeros((1, in_size))), zero_scores)["relative"]
    zero_score = zero_scores[0]
    expected = _explained(reference, sums, x, weights @ (score - zero_score))
    by_autograd, what = expected is not None, "W"
    if expected is not None:
        what, ours = "W, in random sums of its rows,", weights
        for factor in factors:
            ours = ours @ factor.W
    else:
        expected, ours = _columns_by_differences(reference, x, zero_score, columns), columns_of(factors, columns)
    return {
        "judge": "autograd" if by_autograd else "differences of answers",
        "rows_compared": out_size,
        "rows": out_size,
        "sums_of_rows": SUMS if by_autograd else None,
        "columns_compared": ours.shape[1],
        "columns": in_size,
        "W_relative": _compared(reference, what, ours, expected)["relative"],
        "B_relative": off,
    }


def _spread(size: int) -> Array:
    """Return up to `COLUMNS` indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, size - 1, min(size, COLUMNS)).round().astype(int))


def _explained(reference: Reference, sums: Array | None, x: torch.Tensor, change: Array) -> Array | None:
    """Return sums of rows of W by autograd; None if they do not explain the change of the scores from zero to x."""
    if sums is None:
        if change.any():
            return None
        sums = np.zeros((len(change), x.numel()))  # scores that depend on no input have no gradient
    error = np.abs(sums @ x.flatten().cpu().numpy() - change).max()
    return sums if error <= reference.allowed(np.abs(change).max()) else None


def _columns_by_differences(reference: Reference, x: torch.Tensor, zero_score: Array, columns: Array) -> Array:
    """Return columns of W as differences between the scores of a unit vector and those of zero."""
    units = torch.zeros(len(columns), x.numel(), dtype=torch.float64, device=x.device)
    units[torch.arange(len(columns)), torch.from_numpy(columns)] = 1
    parts = units.reshape(-1, *x.shape[1:]).split(2)
    difference: Array = (torch.cat([reference(part) for part in parts]).cpu().numpy() - zero_score).T
    return difference


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
        If the map, or the network in its own dtype, is further from the float64 network than rounding explains, or the
        module that replaces the network from the map.
    """
    mapped, start = apply_factors(factors, x), 0
    for theirs in exact:
        _compared(reference, f"scores of a batch of {len(theirs)}", mapped[start : start + len(theirs)], theirs)
        start += len(theirs)
    expected = np.concatenate(exact)
    scale = float(np.abs(expected).max())
    _check_original(reference, original, expected)
    seen, bound = distances(ours, mapped), rounding_bound(factors, reference.dtype, x)
    if not np.all(seen <= bound):
        raise VerificationError(
            f"module: expected nn.Linear to compute W x + B, got scores off by {float(seen.max()):.3g} where rounding "
            f"explains {float(bound.max()):.3g}; a hook of all modules or a mode of torch changes what nn.Linear "
            "computes: call collapse without it"
        )
    largest_bound, largest_seen = float(bound.max()), float(seen.max())
    return {
        "inputs": len(x),
        "batches": sorted({len(batch) for batch in exact}),
        "largest_score": scale,
        "allowed": reference.allowed(scale),
        "map": against(mapped, expected, scale),
        "module": against(ours, expected, scale),
        "original": against(original, expected, scale),
        "bound": {
            "largest": largest_bound,
            "seen": largest_seen,
            "tightness": largest_bound / largest_seen if largest_seen and math.isfinite(largest_bound) else None,
            "held": bool(np.all(seen <= bound)),
        },
    }


def differences_by_size(
    reference: Reference, factors: Sequence[AffineMap], unusual: Mapping[str, torch.Tensor], like: torch.Tensor
) -> dict[str, float | None]:
    """Return the largest difference from the float64 network for inputs of unusual sizes, relative to the score.

    A forward may branch on how large its input is where ``torch.export`` does not record it: the map is then right for
    some sizes only.

    Parameters
    ----------
    reference : Reference
        The float64 network. Afterwards, its ``largest`` is that of the last input.
    factors : sequence of AffineMap
        The map, the outermost factor first.
    unusual : mapping of str to float64 tensor (N, *in_shape)
        Batches by name.
    like : tensor
        Tensor with the network's dtype, on its device.

    Returns
    -------
    dict
        Difference for each name; None where there is nothing to compare, because the forward refuses such an input or
        its numbers are expected to overflow.

    Raises
    ------
    VerificationError
        If a difference is larger than rounding explains.
    """
    found: dict[str, float | None] = {}
    usual, limit = reference.largest, torch.finfo(like.dtype).max
    for kind, sample in unusual.items():
        x = sample.to(like.dtype).double()
        reference.largest = 0.0  # what rounding explains is proportional to the size
        found[kind] = None
        try:
            theirs = reference(x.to(like.device)).cpu().numpy()
        except ValueError:
            continue
        if not np.isfinite(theirs).all() and usual * float(x.abs().max()) > limit:
            continue
        ours = apply_factors(factors, x.flatten(1).numpy())
        found[kind] = _compared(reference, f"scores of {kind} input", ours, theirs, BRANCH)["relative"]
    return found


def _check_original(reference: Reference, original: Array, expected: Array) -> None:
    """Check that the network computes in its own dtype what it computes in float64, up to half of the digits.

    It does not where a constant is rounded to another whole number: ``torch.floor(10 * w)`` for w = 0.7 in float32.

    Raises
    ------
    VerificationError
        If it does not. Dtypes of less than 32 bits, which round coarsely, and scores that overflow are not compared.
    """
    eps = torch.finfo(reference.dtype).eps
    if eps > torch.finfo(torch.float32).eps or not (np.isfinite(original).all() and np.isfinite(expected).all()):
        return
    largest = float(np.abs(original - expected).max())
    if largest > math.sqrt(eps) * max(float(np.abs(expected).max()), reference.largest):
        raise VerificationError(
            f"module: expected a network that computes in {reference.dtype} what it computes in float64, got scores "
            f"off by {largest:.3g}; a constant that it rounds to a whole number or compares is another one in "
            f"{reference.dtype}: take module.double(), or compute the constant once"
        )


def _compared(reference: Reference, what: str, ours: Array, theirs: Array, cause: str = CAUSES) -> dict[str, float]:
    """Return the largest difference between the map and the reference.

    Raises
    ------
    VerificationError
        If it is larger than rounding explains.
    """
    scale = float(np.abs(theirs).max(initial=0))
    found = against(ours, theirs, scale)
    allowed = reference.allowed(scale)
    if not found["largest"] <= allowed:
        raise VerificationError(
            f"module: expected a map that is the network, got {what} off by {found['largest']:.3g} where the largest "
            f"entry is {scale:.3g} and {allowed:.3g} is allowed; either {cause}, or the tracing is at fault: then "
            "please report it"
        )
    return found
