"""The interface of a prediction backend, and what it declares about itself."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

from gpu.predict.digit_slices import DigitSlices
from gpu.predict.layers import Layers
from linalg_cnn import AffineMap

BYTES = (torch.uint8,)
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""Dtypes of images that are computed in float32."""


class UnavailableError(Exception):
    """A backend cannot be used, or does not pay; the message says why."""


@dataclass(frozen=True, eq=False)
class Source:
    """The map that a backend is built from.

    Attributes
    ----------
    innermost : AffineMap
        The innermost factor, dense, in float64.
    layers : Layers
        All factors on the device, in the dtype of the computation.
    device : torch.device
        Device of the prediction.
    """

    innermost: AffineMap
    layers: Layers
    device: torch.device


class Backend(ABC):
    """An implementation of prediction: flat images (N, in_size) to scores (N, out_size).

    A backend declares its properties as class attributes. `gpu.predict.dispatch.BACKENDS` lists all backends, and
    everything else - the choice, its reasons, the error texts - follows from these declarations.

    Attributes
    ----------
    name : str
        Public name, as in ``Predictor(way=name)``.
    dtypes : tuple of torch.dtype
        Dtypes of the images that it takes: `BYTES`, or `BYTES` and `FLOATS`. Images of float64 are always predicted by
        `gpu.predict.backends.Linear`.
    device_type : str or None
        Type of the devices that it is for, "cpu" or "cuda"; None if it is for any.
    images_from : int or None
        Batch size from which it pays; None if only a user who names it gets it.
    slices : DigitSlices or None
        Slices of W that bytes are multiplied by, exactly, instead of W in float32.
    """

    name: ClassVar[str]
    dtypes: ClassVar[tuple[torch.dtype, ...]]
    device_type: ClassVar[str | None] = None
    images_from: ClassVar[int | None] = 0
    slices: DigitSlices | None = None

    @classmethod
    def pays_on(cls, device: torch.device) -> bool:
        """Return whether the backend is for a device."""
        return cls.device_type in {None, device.type}

    @classmethod
    def runs_on(cls, device: torch.device) -> bool:
        """Return whether the backend can be forced on a device: where it pays, unless a backend says otherwise."""
        return cls.pays_on(device)

    @classmethod
    @abstractmethod
    def build(cls, source: Source, *, forced: bool) -> Self:
        """Return the backend for a map, on a device that it runs on.

        Parameters
        ----------
        source : Source
            The map.
        forced : bool
            Whether to build the backend even for a map for which it does not pay.

        Raises
        ------
        UnavailableError
            If the backend cannot be used here, or does not pay for this map.
        """

    @abstractmethod
    def __call__(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, out_size) of flat images (N, in_size)."""

    def classes(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the class of each flat image, int64 (N,)."""
        return self(flat).argmax(1)

    @abstractmethod
    def __str__(self) -> str:
        """Describe the computation, for `Choice.reason`."""
