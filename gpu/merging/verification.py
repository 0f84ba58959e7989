"""The comparison of a merged network with the network that it was made from."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.collapsing.distances import against
from gpu.collapsing.reference import Reference, scores_of
from gpu.collapsing.samples import in_batches
from gpu.collapsing.sharing import Recording
from gpu.collapsing.verification import BRANCH, CAUSES, VerificationError
from gpu.runtime.precision import full_float32
from linalg_cnn.types import Array


def verify(
    network: nn.Module,
    exact: nn.Module,
    merged: nn.Module,
    samples: torch.Tensor,
    unusual: Mapping[str, torch.Tensor],
    like: torch.Tensor,
    out_size: int,
) -> dict[str, Any]:
    """Return how far a merged network is from the network, or refuse one that is another function.

    Parameters
    ----------
    network : nn.Module
        Copy of the user's network, in its own dtype. It is run, which may change it, and becomes float64.
    exact, merged : nn.Module
        The merged network in float64 and in the network's dtype.
    samples : float64 tensor (N, *in_shape)
        At least eight samples, given to the network in batches of several sizes.
    unusual : mapping of str to float64 tensor (N, *in_shape)
        Batches of other sizes by name; see `gpu.collapsing.samples.unusual_samples`.
    like : tensor
        Tensor with the network's dtype, on its device.
    out_size : int
        Number of entries of a sample's output.

    Returns
    -------
    dict
        ``inputs`` and ``largest_score``; ``exact``, ``merged`` and ``original``: the largest differences from the
        float64 network of the merged network in float64, of the merged network, and of the network itself in its own
        dtype, each ``largest`` and ``relative`` to the largest score; ``sizes``: by the name of an unusual batch, the
        relative difference in float64, or None where there is nothing to compare.

    Raises
    ------
    ValueError
        If the forward cannot be run on such batches, in its own dtype or in float64.
    VerificationError
        If the merged network differs by more than rounding explains: in float64 by more than 1e-8 of the largest score,
        in the network's dtype by more than the square root of its machine epsilon and more than twice as much as the
        network itself.
    """
    x = samples.to(like.dtype).double()  # the same input for all of them
    batches = in_batches(x.to(like.device))
    recordings = {len(batch): Recording() for batch in batches}
    original, ours, wide = [], [], []
    with torch.no_grad(), full_float32():
        for batch in batches:
            with recordings[len(batch)]:
                original.append(_scores(network, batch.to(like.dtype), out_size))
            ours.append(_scores(merged, batch.to(like.dtype), out_size))
            wide.append(_scores(exact, batch, out_size))
    reference = Reference(network, like.dtype, out_size, lambda x: x, recordings)
    expected = [reference(batch).cpu().numpy() for batch in batches]
    for theirs, mine in zip(expected, wide, strict=True):
        _check(reference, f"scores of a batch of {len(theirs)}", mine, theirs, CAUSES)
    whole = np.concatenate(expected)
    scale = float(np.abs(whole).max())
    found = {
        "inputs": len(x),
        "largest_score": scale,
        "exact": against(np.concatenate(wide), whole, scale),
        "merged": against(np.concatenate(ours), whole, scale),
        "original": against(np.concatenate(original), whole, scale),
    }
    _check_rounding(reference, found, scale)
    return found | {"sizes": _by_size(reference, exact, unusual, like, out_size)}


def _scores(module: nn.Module, x: torch.Tensor, out_size: int) -> Array:
    scores: Array = scores_of(module, x, out_size).double().cpu().numpy()
    return scores


def _check(reference: Reference, what: str, ours: Array, theirs: Array, cause: str) -> float:
    """Return the largest difference in float64, relative to the largest score.

    Raises
    ------
    VerificationError
        If it is larger than rounding explains.
    """
    scale = float(np.abs(theirs).max(initial=0))
    found, allowed = against(ours, theirs, scale), reference.allowed(scale)
    if not found["largest"] <= allowed:
        raise VerificationError(
            f"model: expected a merged network that is the network, got {what} off by {found['largest']:.3g} where the "
            f"largest is {scale:.3g} and {allowed:.3g} is allowed; either {cause}, or the tracing or the "
            "merging is at fault: then please report it"
        )
    return found["relative"]


def _check_rounding(reference: Reference, found: dict[str, Any], scale: float) -> None:
    """Check that the merged network rounds about as the network does.

    Raises
    ------
    VerificationError
        If it is further off. Where the network itself overflows there is nothing to compare.
    """
    original, merged = found["original"]["largest"], found["merged"]["largest"]
    eps = torch.finfo(reference.dtype).eps
    if math.isfinite(original) and not merged <= max(2 * original, math.sqrt(eps) * max(scale, reference.largest)):
        raise VerificationError(
            f"model: expected a merged network that rounds as the network does, got scores in {reference.dtype} off by "
            f"{merged:.3g} from those in float64, where the network is off by {original:.3g}; take model.double()"
        )


def _by_size(
    reference: Reference, exact: nn.Module, unusual: Mapping[str, torch.Tensor], like: torch.Tensor, out_size: int
) -> dict[str, float | None]:
    """Return the largest difference in float64 for inputs of unusual sizes, relative to the score."""
    found: dict[str, float | None] = {}
    usual, limit = reference.largest, torch.finfo(like.dtype).max
    for kind, sample in unusual.items():
        x = sample.to(like.dtype).double().to(like.device)
        reference.largest = 0.0  # what rounding explains is proportional to the size
        found[kind] = None
        try:
            theirs = reference(x).cpu().numpy()
        except ValueError:
            continue
        if not np.isfinite(theirs).all() and usual * float(x.abs().max()) > limit:
            continue
        with torch.no_grad():
            ours = _scores(exact, x, out_size)
        found[kind] = _check(reference, f"scores of {kind} input", ours, theirs, BRANCH)
    return found
