"""The registry of prediction backends, and the choice among them for each batch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

import torch

from gpu.predict.backend import Backend, Source, UnavailableError
from gpu.predict.backends import Blocks, Linear, SliceProducts
from gpu.predict.triton_backend import TritonProducts

BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (Linear, Blocks, SliceProducts, TritonProducts)
}
"""All backends by name. Each is preferred to those before it where it is available and pays; the first always is."""
DEVICES = {"cpu": "the CPU", "cuda": "CUDA"}
"""Names of device types in messages."""


class Choice(NamedTuple):
    """The backend that a batch is predicted with.

    Attributes
    ----------
    way : str
        Name of the backend.
    reason : str
        Description of its computation, and the reasons against backends that would be preferred.
    """

    way: str
    reason: str


@dataclass(frozen=True, eq=False)
class Dispatch:
    """The choice among the backends that images of one dtype can be predicted with.

    Attributes
    ----------
    backends : mapping of str to Backend
        The available backends by name.
    preference : tuple of (int, str)
        Batch size from which a backend is chosen, and its name, the preferred one first; each is chosen for some size.
    unavailable : mapping of str to str
        Names of the other backends, with the reasons against them; empty if forced.
    forced : bool
        Whether the user chose the backend.
    """

    backends: Mapping[str, Backend]
    preference: tuple[tuple[int, str], ...]
    unavailable: Mapping[str, str]
    forced: bool = False

    @classmethod
    def single(cls, backend: Backend) -> "Dispatch":
        """Return the dispatch to the only backend for a dtype."""
        return cls({backend.name: backend}, ((0, backend.name),), {})

    def name_for(self, rows: int) -> str:
        """Return the name of the backend for a batch of this size."""
        return next(name for least, name in self.preference if rows >= least)

    def backend_for(self, rows: int) -> Backend:
        """Return the backend for a batch of this size."""
        # the choice by name costs as much as predicting a small batch
        return self.backend_for_small if rows < self.small_below else self.backends[self.name_for(rows)]

    @cached_property
    def small_below(self) -> float:
        """Batch size below which the least preferred backend is taken without looking at the others."""
        return min((least for least, _ in self.preference[:-1]), default=math.inf)

    @cached_property
    def backend_for_small(self) -> Backend:
        """The least preferred backend."""
        return self.backends[self.preference[-1][1]]

    def choose(self, rows: int) -> Choice:
        """Return the backend for a batch of this size, with the reason."""
        chosen = self.name_for(rows)
        reasons = ["forced"] * self.forced + [str(self.backends[chosen])]
        if self.backends[chosen].slices is None:  # the exact backends are the best of their devices
            preferred = takewhile(lambda entry: entry[1] != chosen, self.preference)
            reasons += [f"{name} from {least} images on" for least, name in preferred]
            reasons += [f"no {name}: {reason}" for name, reason in self.unavailable.items()]
        return Choice(chosen, "; ".join(reasons))


def dispatch_for(dtype: torch.dtype, source: Source, way: str) -> Dispatch:
    """Return the choice among the backends for images of a dtype.

    Parameters
    ----------
    dtype : torch.dtype
        Dtype of the images: uint8, or a floating dtype that is computed in float32.
    source : Source
        The map.
    way : str
        Name of the backend that the user chose for all batches, whether it pays or not; or "auto".

    Raises
    ------
    ValueError
        If the backend that the user chose is not available here.
    """
    available: dict[str, Backend] = {}
    preference: list[tuple[int, str]] = []
    unavailable: dict[str, str] = {}
    for name, backend in BACKENDS.items():
        if backend.images_from is None and way != name:
            continue
        if dtype not in backend.dtypes:
            unavailable[name] = f"it is for {'bytes' if torch.uint8 in backend.dtypes else 'floats'}"
        elif not backend.runs_on(source.device):
            unavailable[name] = f"it is for {DEVICES[str(backend.device_type)]}"
        else:
            try:
                available[name] = backend.build(source, forced=way == name)
            except UnavailableError as error:
                unavailable[name] = str(error)
                continue
            if backend.images_from is not None and backend.pays_on(source.device):  # later ones are preferred
                fewer = [entry for entry in preference if entry[0] < backend.images_from]
                preference = [(backend.images_from, name), *fewer]
    if way == "auto":
        return Dispatch(available, tuple(preference), unavailable)
    if way in unavailable:
        raise ValueError(f"way: expected one that can be taken here, got {way!r}: {unavailable[way]}")
    return Dispatch(available, ((0, way),), {}, forced=True)
