"""The network in float64: the judge of a map."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from linalg_cnn.types import Array

TOLERANCE, NOISE = 1e-8, 1e-10
"""What the map and the float64 network may differ by, relative to the largest entry compared and to the largest
number on the way to it: a mean that is taken off a single pixel leaves nothing but rounding errors to compare."""


class InFloat64(TorchDispatchMode):
    """Has torch compute in float64 also where a forward asks for less, and notes the largest number on the way.

    Constants keep the values that they have in the network's dtype, and a cast to a coarser one rounds. Nearest-
    neighbour resampling picks the pixels that it picks in that dtype; for float64 images torch picks others at some
    sizes.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.largest = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation."""
        args, kwargs = given = (args, kwargs or {})
        leaves = tree_leaves(given)
        dtypes = {leaf.dtype for leaf in leaves if _is_floating(leaf)}
        asked = dtypes and any(isinstance(leaf, torch.dtype) for leaf in leaves)
        mixed = torch.float64 in dtypes and len(dtypes) > 1
        if (asked or mixed) and not func._schema.is_mutable:
            args, kwargs = tree_map(lambda leaf: self.widened(leaf, tensors=mixed), given)
        name = func.name()
        if "upsample_nearest" in name and "backward" not in name and self.dtype != torch.float64:
            return sum(func(part, *args[1:], **kwargs).double() for part in _float32_parts(args[0]))
        results = func(*args, **kwargs)
        if not dtypes:
            results = tree_map(lambda leaf: leaf.double() if _is_floating(leaf) else leaf, results)
        if not func.is_view and "empty" not in name:
            self.note(results)
        return results

    def note(self, results: Any) -> None:
        """Remember the largest number of what an operation gave; what is not finite does not count."""
        for result in results if isinstance(results, (tuple, list)) else (results,):
            if _is_floating(result) and result.numel():
                low, high = result.detach().aminmax()
                largest = max(-low.item(), high.item())
                if self.largest < largest < math.inf:
                    self.largest = largest

    def widened(self, leaf: Any, tensors: bool) -> Any:
        """Return an argument of an operation as float64: a dtype that is asked for, and a tensor if asked."""
        if isinstance(leaf, torch.dtype) and leaf.is_floating_point:
            return torch.float64 if torch.finfo(leaf).eps <= torch.finfo(self.dtype).eps else leaf
        return leaf.double() if tensors and _is_floating(leaf) else leaf


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


def _float32_parts(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield float32 tensors whose sum is a float64 tensor."""
    for _ in range(3):
        part = x.float()
        yield part
        x = x - part.double()


class Reference:
    """The network in float64, on what the map takes: the judge of the map.

    Parameters
    ----------
    module : nn.Module
        A copy of the user's. It is made float64, and running it may change it.
    dtype : torch.dtype
        In which the network computes.
    out_size : int
        Of what comes out for a sample.
    prepare : callable
        Preprocessing in float64; the identity if there is none.

    Attributes
    ----------
    largest : float
        The largest number so far that came up in a forward or on the way back.
    """

    def __init__(
        self,
        module: nn.Module,
        dtype: torch.dtype,
        out_size: int,
        prepare: Callable[[torch.Tensor], torch.Tensor] = lambda x: x,
    ) -> None:
        self.module = module.double().requires_grad_(False)
        self.dtype, self.out_size, self.prepare = dtype, out_size, prepare
        self.largest = 0.0

    def rows(self, x: torch.Tensor, rows: Array) -> Array | None:
        """Return the gradients (N, in_size) of the score ``rows[n]`` of each input, float64; None if there are none."""
        x = x.clone().requires_grad_()
        try:
            with torch.enable_grad(), InFloat64(self.dtype) as mode:
                scores = scores_of(self.module, self.prepare(x), self.out_size)
                chosen = scores[torch.arange(len(rows)), torch.from_numpy(rows)].sum()
                (gradients,) = torch.autograd.grad(chosen, x, allow_unused=True)
        except (RuntimeError, ValueError):  # something has no derivative, or one that does not fit
            return None
        self.largest = max(self.largest, mode.largest)
        return None if gradients is None else gradients.flatten(1).cpu().numpy()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, out_size) of inputs (N, *in_shape), float64.

        Raises
        ------
        ValueError
            If the forward cannot be run in float64, or returns something of another size.
        """
        with torch.no_grad(), InFloat64(self.dtype) as mode:
            scores = scores_of(self.module, self.prepare(x.double()), self.out_size)
        self.largest = max(self.largest, mode.largest)
        return scores

    def allowed(self, scale: float) -> float:
        """Return how far the map may be from the reference, where what is compared has a largest entry ``scale``."""
        constants = 4 * torch.finfo(self.dtype).eps  # those that the forward makes are rounded to the network's dtype
        return max(TOLERANCE, constants) * scale + NOISE * self.largest


def scores_of(module: nn.Module, x: torch.Tensor, out_size: int) -> torch.Tensor:
    """Return what a module makes of a batch, (N, out_size); the batch stays as it is.

    Raises
    ------
    ValueError
        If it cannot be run, or something of another size comes out.
    """
    try:
        scores: torch.Tensor = module(x.clone())
        return scores.reshape(len(x), out_size)
    except Exception as error:  # whatever a forward raises
        message = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"module: expected a forward that runs on {len(x)} samples in {x.dtype} and gives {out_size} numbers for "
            f"each, got {type(error).__name__}: {message}"
        ) from error
