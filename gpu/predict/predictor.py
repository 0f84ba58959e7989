"""The predictor: scores and classes of images, from bytes or floats."""

from typing import Any

import torch

from gpu.collapsing.casting import dtype_name
from gpu.collapsing.result import Collapsed
from gpu.predict.backend import BYTES, FLOATS, Source
from gpu.predict.backends import Linear
from gpu.predict.dispatch import BACKENDS, Choice, Dispatch, dispatch_for
from gpu.predict.layers import as_layers, error_bound, factors_of, fold
from gpu.predict.pixels import byte_operations, check_floats, expected_range
from gpu.runtime.devices import resolve_device, with_index
from linalg_cnn import AffineMap, FactoredMap
from linalg_cnn.checks import check_int
from linalg_cnn.types import Array

BATCH_SIZES = (1, 64, 1024, 10_000)
"""Batch sizes that ``str(predictor)`` reports on."""
FLOATING = (*FLOATS, torch.float64)
BYTES_REFUSED = (
    "this map was collapsed without preprocess=, so how its network took bytes is not known; give Predictor(..., "
    "preprocess=...), or affine.with_meta(pixel_scale=1) if white was 1 and pixels were not normalised"
)


class Predictor:
    """Scores of images by a collapsed network, in little more than the time that it takes to read the pixels.

    Parameters
    ----------
    affine : AffineMap, FactoredMap or Collapsed
        Map of numbers: what `gpu.collapse` returns, or a map read by `linalg_cnn.load_map`.
    preprocess : torchvision transforms, optional
        Preprocessing of bytes (see `gpu.collapsing.preprocessing`), folded into W and B. Without it, bytes are
        prepared as the ``meta`` of the map says, and count as 0 to 255 if it says nothing. Floats are taken as
        preprocessed.
    device : str or torch.device, optional
        Device of the computation and of the scores; the CPU if not given.
    way : {"auto", "linear", "blocks", "planes", "triton"}
        Name of the backend. "linear": one linear layer on the whole batch, float32. "blocks": the same on blocks that
        stay in the caches; CPU only. "planes": exact products of bytes with slices of W of 8-bit digits, added up in
        float64; CPU only. "triton": the same in one kernel on tensor cores; CUDA only (and the CPU under Triton's
        interpreter). "auto" chooses for every batch; `way_for` returns the choice and its reason.

    Raises
    ------
    TypeError
        If ``affine`` is not a map of numbers.
    ValueError
        If an entry does not fit into float32, the preprocessing is not affine, or given for a map whose ``meta`` says
        which pixels it takes; if there is no such device, or the backend is not available here, or takes bytes only
        for a map of which nobody said how they are prepared.

    Attributes
    ----------
    meta : mapping or None
        The ``meta`` of the map.
    class_names : tuple of str or None
        Names of the classes, if the map has them: ``class_names[i]`` is that of class i.

    Notes
    -----
    Every backend predicts bytes with the accuracy of float32: `gpu.predict.digit_slices.slices_needed` says what this
    means, `error_bound` gives a bound. Floats of 16 bits are widened to float32; float64 images are computed in
    float64. As everywhere in float32, entries below 1e-45 are lost, and sums above 3e38 become infinite.

    Examples
    --------
    >>> predictor = Predictor(AffineMap([[1.0, 2.0], [0.5, 0.0]], [0.0, 1.0], in_shape=(1, 1, 2)))
    >>> pixels = torch.tensor([[[[255, 1]]], [[[0, 0]]]], dtype=torch.uint8)
    >>> predictor(pixels)
    tensor([[257.0000, 128.5000],
            [  0.0000,   1.0000]])
    >>> predictor.classes(pixels)
    tensor([0, 1])
    >>> predictor.way_for(2).way
    'linear'
    """

    def __init__(
        self,
        affine: AffineMap | FactoredMap | Collapsed,
        *,
        preprocess: Any = None,
        device: str | torch.device | None = None,
        way: str = "auto",
    ) -> None:
        if way != "auto" and way not in tuple(BACKENDS):
            raise ValueError(f"way: expected one of auto, {', '.join(BACKENDS)}, got {way!r}")
        self.way = way
        self.device = with_index(resolve_device("cpu" if device is None else str(device)))
        self._device_type = self.device.type
        map_ = FactoredMap(affine.factors) if isinstance(affine, Collapsed) else affine
        if not isinstance(map_, AffineMap | FactoredMap) or (isinstance(map_, AffineMap) and map_.symbolic):
            raise TypeError(f"affine: expected an AffineMap or a FactoredMap of numbers, got {affine!r}")
        self.meta, self._expected = map_.meta, expected_range(map_)
        self.class_names: tuple[str, ...] | None = (self.meta or {}).get("class_names")
        self._factors = factors_of(map_)
        self.in_shape, self.in_size = self._factors[0].in_shape, self._factors[0].in_size
        self.out_size = self._factors[-1].out_size
        layers = as_layers(self._factors, torch.float32, self.device)
        operations = byte_operations(map_, preprocess)
        self._dispatch: dict[torch.dtype, Dispatch] = {}
        if operations is not None:
            self._byte_factors = [fold(operations, self._factors[0]), *self._factors[1:]]
            byte_layers = as_layers(self._byte_factors, torch.float32, self.device) if operations else layers
            self._dispatch[torch.uint8] = dispatch_for(
                torch.uint8, Source(self._byte_factors[0], byte_layers, self.device), way
            )
        elif self._bytes_only:
            raise ValueError(f"way: expected a backend for floats, got {way!r}: {BYTES_REFUSED}")
        if not self._bytes_only:
            floats = dispatch_for(torch.float32, Source(self._factors[0], layers, self.device), way)
            self._dispatch |= dict.fromkeys(FLOATS, floats)

    @property
    def _bytes_only(self) -> bool:
        """Whether the user chose a backend that takes bytes only."""
        return self.way != "auto" and BACKENDS[self.way].dtypes == BYTES

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of images.

        Parameters
        ----------
        images : tensor (N, *in_shape) or (N, in_size)
            Images of uint8 pixels or of floats, on any device. If the map has no ``in_shape``, any shape with in_size
            entries per image is taken.

        Returns
        -------
        tensor (N, out_size)
            Scores on the predictor's device, without a gradient; float32, or float64 for float64 images.

        Raises
        ------
        TypeError
            If the images are not a dense tensor of uint8, or of floats of 16, 32 or 64 bits.
        ValueError
            If they have another shape; if floats are given to a backend that takes bytes only; if bytes are given to a
            map of which nobody said how they are prepared; or if floats on the CPU are far from those that the map's
            ``meta`` describes, such as normalised ones for a map with its normalisation folded in.

        Warns
        -----
        UserWarning
            If floats on the CPU are whole numbers so small that the pictures are nearly black, or were scaled.
        """
        flat = self._flat(images)
        backend = self._dispatch_for(flat.dtype).backend_for(flat.shape[0])
        if torch.is_autocast_enabled(self._device_type):  # autocast would compute the scores in 16 bits
            with torch.autocast(self._device_type, enabled=False):
                return backend(flat)
        return backend(flat)

    def classes(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class of each image: the index of its highest score, the first of equal ones, int64 (N,).

        It takes the same images as a call, and raises the same errors.
        """
        flat = self._flat(images)
        backend = self._dispatch_for(flat.dtype).backend_for(flat.shape[0])
        if torch.is_autocast_enabled(self._device_type):
            with torch.autocast(self._device_type, enabled=False):
                return backend.classes(flat)
        return backend.classes(flat)

    def way_for(self, rows: int, dtype: torch.dtype = torch.uint8) -> Choice:
        """Return the backend that a batch is predicted with, and why.

        Parameters
        ----------
        rows : int
            Number of images in the batch.
        dtype : torch.dtype
            Dtype of the images.

        Raises
        ------
        TypeError
            If images of this dtype are not taken.
        ValueError
            If ``rows`` is not an int of at least 0, or floats would be given to a backend that takes bytes only.
        """
        check_int("rows", rows, 0)
        return self._dispatch_for(dtype).choose(rows)

    def error_bound(self, way: str) -> Array:
        """Return a bound on the distance of each score of an image of bytes from W x + B: float64 (out_size,).

        It holds for every image and every order of summation, so most images are far within. It does not hold if
        products in TF32 are allowed on CUDA, or for sums that leave the range of float32's normal numbers.

        Parameters
        ----------
        way : {"linear", "blocks", "planes", "triton"}
            Name of the backend.

        Raises
        ------
        ValueError
            If the backend is not available here, or the predictor takes no bytes.
        """
        backends = self._dispatch_for(torch.uint8).backends
        if way not in tuple(backends):
            raise ValueError(f"way: expected one of {', '.join(backends)}, got {way!r}")
        return error_bound(self._byte_factors, backends[way].slices)

    def __repr__(self) -> str:
        """Show the sizes, the device and the backend."""
        return f"Predictor({self.in_shape or (self.in_size,)} -> {self.out_size}, {self.device}, way={self.way!r})"

    def __str__(self) -> str:
        """Show the class names, the backend for batches of several sizes, and the error bounds for bytes."""
        lines = [repr(self), *([f"  classes: {', '.join(self.class_names)}"] if self.class_names else [])]
        for dtype in (dtype for dtype in (torch.uint8, torch.float32) if dtype in self._dispatch):
            for rows in BATCH_SIZES:
                choice = self.way_for(rows, dtype)
                lines.append(f"  {rows:>6,} x {dtype_name(dtype)}: {choice.way} ({choice.reason})")
        if torch.uint8 not in self._dispatch:
            return "\n".join([*lines, f"  bytes are refused: {BYTES_REFUSED}"])
        ways = self._dispatch[torch.uint8].backends
        return "\n".join([
            *lines,
            *(f"  bytes, {way}: scores within {self.error_bound(way).max():.2g}" for way in ways),
        ])

    def _dispatch_for(self, dtype: torch.dtype) -> Dispatch:
        """Return the choice among the backends for images of a dtype.

        Raises
        ------
        TypeError
            If images of this dtype are not taken.
        ValueError
            If they are floats and the backend takes bytes only, or bytes and nobody said how they are prepared.
        """
        if dtype in self._dispatch:
            return self._dispatch[dtype]
        if dtype not in Linear.dtypes:
            taken = ", ".join(map(dtype_name, Linear.dtypes))
            raise TypeError(f"images: expected one of {taken}, got {dtype}")
        if dtype == torch.uint8:
            raise ValueError(f"images: expected floats as the network takes them, got uint8: {BYTES_REFUSED}")
        if self._bytes_only:
            raise ValueError(f"images: expected uint8 for way={self.way!r}, got {dtype}")
        layers = as_layers(self._factors, torch.float64, self.device)  # made at the first use: they double the memory
        self._dispatch[dtype] = Dispatch.single(Linear(layers))
        return self._dispatch[dtype]

    def _flat(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as (N, in_size) on the device.

        Raises
        ------
        TypeError
            If they are not a dense tensor of uint8 or floats.
        ValueError
            If they have another shape, or are floats far from those that the map expects.
        """
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"images: expected a torch tensor of uint8 or floats, got {type(images).__name__}")
        if images.layout is not torch.strided or images.is_meta:
            kind = "one without values (meta)" if images.is_meta else images.layout
            raise TypeError(f"images: expected a dense tensor of uint8 or floats, got {kind}")
        shape = images.shape
        if shape[1:] != self.in_shape and not self._fits(shape):
            wanted = ", ".join(map(str, self.in_shape or (self.in_size,)))
            raise ValueError(f"images: expected shape (N, {wanted}), got {tuple(shape)}")
        if images.device != self.device:
            images = images.to(self.device)
        if images.requires_grad:
            images = images.detach()
        if self._expected is not None and images.dtype in FLOATING:
            check_floats(images, self._expected)
        return images.flatten(1)

    def _fits(self, shape: torch.Size) -> bool:
        """Return whether images are vectors, or have as many entries as the map's input where the map has no shape."""
        return len(shape) > 1 and shape[1:].numel() == self.in_size and (self.in_shape is None or len(shape) == 2)
