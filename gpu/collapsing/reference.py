"""The network in float64, the reference that a map is compared with."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from gpu.collapsing.grouped import grouped_convolution
from gpu.collapsing.sharing import Recording, Replaying
from linalg_cnn.types import Array

TOLERANCE, NOISE = 1e-8, 1e-10
"""Allowed differences between the map and the float64 network, relative to the largest entry compared and to the
largest intermediate number. The second matters where values cancel: a pixel minus its own mean leaves only rounding
errors to compare."""


class InFloat64(TorchDispatchMode):
    """Let torch compute in float64 even where a forward asks for less, and note the largest intermediate number.

    Constants keep the values that they have in the network's dtype, and a cast to a coarser dtype rounds.
    Nearest-neighbour resampling picks the pixels that it picks in the network's dtype; for float64 images torch picks
    others at some sizes.

    Parameters
    ----------
    dtype : torch.dtype
        The network's dtype.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self._largest = 0.0
        self._unread: dict[tuple[torch.device, torch.dtype], list[torch.Tensor]] = defaultdict(list)

    @property
    def largest(self) -> float:
        """The largest absolute value of all results so far; results that are not finite do not count.

        Results are read together: at each number that is read, a device is waited for.
        """
        for ends in self._unread.values():
            sizes = torch.stack(ends).double().abs().reshape(-1, 2)
            found = torch.where(sizes.isfinite().all(1), sizes.amax(1), 0.0)
            self._largest = max(self._largest, float(found.max()))
        self._unread.clear()
        return self._largest

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute one operation of torch."""
        args, kwargs = given = (args, kwargs or {})
        leaves = list(_leaves(*args, *kwargs.values()))
        dtypes = {leaf.dtype for leaf in leaves if _is_floating(leaf)}
        asked = dtypes and any(isinstance(leaf, torch.dtype) for leaf in leaves)
        mixed = torch.float64 in dtypes and len(dtypes) > 1
        if (asked or mixed) and not func._schema.is_mutable:
            args, kwargs = tree_map(lambda leaf: self.widened(leaf, tensors=mixed), given)
        name = func.name()
        if "upsample_nearest" in name and "backward" not in name and self.dtype != torch.float64:
            return sum(func(part, *args[1:], **kwargs).double() for part in _float32_parts(args[0]))
        results = grouped_convolution(func, args)
        if results is None:
            results = func(*args, **kwargs)
        if not dtypes:
            results = tree_map(self.constant, results)
        if not func.is_view and "empty" not in name:
            self.note(results)
        return results

    def note(self, results: Any) -> None:
        """Note the smallest and the largest number of an operation's results."""
        for result in results if isinstance(results, (tuple, list)) else (results,):
            if _is_floating(result) and result.numel():
                self._unread[result.device, result.dtype].extend(result.detach().aminmax())

    def constant(self, leaf: Any) -> Any:
        """Return a constant that a forward makes in float64, or as it is if the network computes with it in less."""
        return leaf.double() if _is_floating(leaf) and self.is_as_fine(leaf.dtype) else leaf

    def widened(self, leaf: Any, tensors: bool) -> Any:
        """Return an argument of an operation in float64: a requested dtype, and with ``tensors`` a tensor, too."""
        if isinstance(leaf, torch.dtype) and leaf.is_complex:
            return torch.complex128
        if isinstance(leaf, torch.dtype) and leaf.is_floating_point:
            return torch.float64 if self.is_as_fine(leaf) else leaf
        return leaf.double() if tensors and _is_floating(leaf) else leaf

    def is_as_fine(self, dtype: torch.dtype) -> bool:
        """Return whether numbers of a dtype are rounded no more coarsely than those of the network."""
        return torch.finfo(dtype).eps <= torch.finfo(self.dtype).eps


def _leaves(*arguments: Any) -> Iterator[Any]:
    """Yield the arguments of an operation, and the entries of those that are lists."""
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            yield from argument
        else:
            yield argument


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()


def _in_complex128(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.complex128) if tensor.is_complex() else tensor


def _float32_parts(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield float32 tensors that add up to a float64 tensor."""
    for _ in range(3):
        part = x.float()
        yield part
        x = x - part.double()


class Reference:
    """The network in float64, with the input of the map: the reference that the map is compared with.

    Parameters
    ----------
    module : nn.Module
        Copy of the user's network. It becomes float64, and running it may change it.
    dtype : torch.dtype
        Dtype in which the network computes.
    out_size : int
        Number of scores of a sample.
    prepare : callable
        Preprocessing in float64; the identity if there is none.
    recordings : mapping of int to Recording
        Runs of the network in its own dtype, by the size of the batch; there is one for every size that it is given.

    Attributes
    ----------
    largest : float
        The largest absolute value so far in a forward or a backward pass.
    """

    def __init__(
        self,
        module: nn.Module,
        dtype: torch.dtype,
        out_size: int,
        prepare: Callable[[torch.Tensor], torch.Tensor],
        recordings: Mapping[int, Recording],
    ) -> None:
        # double() leaves complex tensors as they are
        self.module = module.double()._apply(_in_complex128).requires_grad_(False)
        self.dtype, self.out_size, self.prepare, self.recordings = dtype, out_size, prepare, recordings
        self.largest = 0.0

    def pull(self, x: torch.Tensor, cotangents: Array) -> tuple[Array | None, Array | None]:
        """Return the scores of inputs, and the gradients of their sums with weights.

        Parameters
        ----------
        x : float64 tensor (N, *in_shape)
        cotangents : float64 array (N, out_size)
            Weights of the scores of each input.

        Returns
        -------
        scores : float64 array (N, out_size) or None
            None if there is no gradient because autograd fails.
        gradients : float64 array (N, in_size) or None
            None also if the scores depend on no input.
        """
        x = x.clone().requires_grad_()
        try:
            with torch.enable_grad(), InFloat64(self.dtype) as mode:
                scores = self._scores(self.prepare(x))
                (gradients,) = torch.autograd.grad(scores, x, torch.from_numpy(cotangents).to(x), allow_unused=True)
        except (RuntimeError, ValueError):  # an operation without a derivative, or with one of another shape
            return None, None
        self.largest = max(self.largest, mode.largest)
        return scores.detach().cpu().numpy(), None if gradients is None else gradients.flatten(1).cpu().numpy()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, out_size) of inputs (N, *in_shape), float64.

        Raises
        ------
        ValueError
            If the forward cannot be run in float64, or returns something of another size.
        """
        with torch.no_grad(), InFloat64(self.dtype) as mode:
            scores = self._scores(self.prepare(x.double()))
        self.largest = max(self.largest, mode.largest)
        return scores

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        with Replaying(self.recordings[len(x)]):
            return scores_of(self.module, x, self.out_size)

    def allowed(self, scale: float) -> float:
        """Return the difference allowed between map and reference where the largest entry compared is ``scale``."""
        constants = 4 * torch.finfo(self.dtype).eps  # a forward's own constants are rounded to the network's dtype
        return max(TOLERANCE, constants) * scale + NOISE * self.largest


def scores_of(module: nn.Module, x: torch.Tensor, out_size: int) -> torch.Tensor:
    """Return a module's scores of a batch, (N, out_size); the batch is left as it is.

    Raises
    ------
    ValueError
        If the module cannot be run, or returns another number of scores.
    """
    gradients = torch.is_grad_enabled()  # a forward may switch them on
    try:
        scores: torch.Tensor = module(x.clone())
        # numpy cannot read tensors whose sign is pending, such as the imaginary part of a conjugate
        scores = scores.resolve_neg().reshape(len(x), out_size)
        return scores if gradients else scores.detach()
    except Exception as error:  # a forward may raise anything
        message = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"module: expected a forward that runs on a batch of {len(x)} in {x.dtype} and gives {out_size} numbers "
            f"for each sample, got {type(error).__name__}: {message}"
        ) from error
    finally:
        torch.set_grad_enabled(gradients)
