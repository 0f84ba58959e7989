"""The predictor: scores and classes of images, from bytes or floats."""

from typing import Any

import torch

from gpu.predict.backends import Linear
from gpu.predict.dispatch import WAYS, Choice, Offer, offer_for_bytes, offer_for_floats
from gpu.predict.layers import as_layers, error_bound, factors_of, fold
from gpu.runtime.devices import resolve_device
from linalg_cnn import AffineMap, FactoredMap
from linalg_cnn.checks import check_int
from linalg_cnn.types import Array

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
"""What is computed in float32."""
BYTES_ONLY = ("planes", "triton")
BATCH_SIZES = (1, 64, 1024, 10_000)
"""Of which the description tells."""


class Predictor:
    """Scores of images by a collapsed network, near the time that it takes to read the pixels.

    Parameters
    ----------
    affine : AffineMap or FactoredMap
        Of numbers: ``collapse(...).affine``, or what `linalg_cnn.load_map` reads.
    preprocess : torchvision transforms, optional
        What is done to bytes before they reach the map (see `gpu.collapsing.preprocessing`): folded into W and B.
        Floats are taken as the map takes them, after preprocessing. Without it, bytes count as 0 to 255.
    device : str or torch.device, optional
        Where to compute and where the scores are; the CPU if not given.
    way : {"auto", "linear", "blocks", "planes", "triton"}
        "linear": one linear layer on the whole batch, float32. "blocks": the same on blocks that stay in the caches;
        CPU only. "planes": bytes times W as 8-bit integers, exactly, put together in float64; CPU only. "triton":
        the same in one kernel on tensor cores; CUDA only (and the CPU under Triton's interpreter). "auto" chooses for
        every batch; `way_for` tells what, and why.

    Raises
    ------
    TypeError
        If ``affine`` is no map of numbers.
    ValueError
        If an entry does not fit into float32, the preprocessing is not affine, there is no such device, or the way
        cannot be taken here.

    Notes
    -----
    Bytes are predicted at the accuracy of float32, on every way: `gpu.predict.digit_slices.planes_needed` says what
    this means, `error_bound` gives a bound. Floats of 16 bits are widened to float32; float64 images are computed in
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
        affine: AffineMap | FactoredMap,
        *,
        preprocess: Any = None,
        device: str | torch.device | None = None,
        way: str = "auto",
    ) -> None:
        if way not in ("auto", *WAYS):
            raise ValueError(f"way: expected one of auto, {', '.join(WAYS)}, got {way!r}")
        self.way = way
        self.device = resolve_device("cpu" if device is None else str(device))
        self._place = self.device.type
        self._factors = factors_of(affine)
        self.in_shape, self.in_size = self._factors[0].in_shape, self._factors[0].in_size
        self.out_size = self._factors[-1].out_size
        self._byte_factors = [fold(preprocess, self._factors[0]), *self._factors[1:]]
        layers = as_layers(self._factors, torch.float32, self.device)
        floats = offer_for_floats(layers, self.device)
        byte_layers = layers if preprocess is None else as_layers(self._byte_factors, torch.float32, self.device)
        self._bytes = offer_for_bytes(self._byte_factors[0], byte_layers, self.device, way)
        if way != "auto" and way not in self._bytes.ways:
            raise ValueError(f"way: expected one that can be taken here, got {way!r}: {self._bytes.against[way]}")
        self._offers = {torch.uint8: self._bytes if way == "auto" else self._bytes.only(way)}
        if way not in BYTES_ONLY:
            self._offers |= dict.fromkeys(FLOATS, floats if way == "auto" else floats.only(way))

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the scores of images.

        Parameters
        ----------
        images : tensor (N, *in_shape) or (N, in_size)
            uint8 pixels, or floats; on any device. Without an ``in_shape`` in the map, any shape of as many entries.

        Returns
        -------
        tensor (N, out_size)
            On the predictor's device; float32, or float64 for float64 images. It carries no gradient.

        Raises
        ------
        TypeError
            If the images are no dense tensor of uint8 or floats.
        ValueError
            If they have another shape, or floats are given to a way that takes bytes only.
        """
        flat = self._flat(images)
        if torch.is_autocast_enabled(self._place):
            return self._in_full(flat)
        rows, offer = flat.shape[0], self._offers.get(flat.dtype) or self._offer(flat.dtype)
        way = offer.small if rows < offer.few else offer.take(rows)  # a small batch should not wait for a choice
        return way(flat)

    def classes(self, images: torch.Tensor) -> torch.Tensor:
        """Return the class of each image, that of its highest score, the first of equal ones: int64 (N,).

        Takes what a call takes, and raises the same errors.
        """
        flat = self._flat(images)
        way = self._offer(flat.dtype).take(flat.shape[0])
        if hasattr(way, "classes"):
            best: torch.Tensor = way.classes(flat)  # without writing the scores
            return best
        return self(flat).argmax(1)

    def way_for(self, rows: int, dtype: torch.dtype = torch.uint8) -> Choice:
        """Return the way that a batch takes, and why.

        Parameters
        ----------
        rows : int
            Images in the batch.
        dtype : torch.dtype
            Theirs.

        Raises
        ------
        TypeError
            If images of this dtype are not taken.
        ValueError
            If ``rows`` is no int of at least 0, or floats would be given to a way that takes bytes only.
        """
        check_int("rows", rows, 0)
        return self._offer(dtype).choose(rows)

    def error_bound(self, way: str) -> Array:
        """Return how far each score of an image of bytes can be from W x + B: float64 (out_size,).

        It holds for every image and every order of summation, so that most images are far within; not if products
        in TF32 are allowed on CUDA, or for sums that leave the range of float32's normal numbers.

        Parameters
        ----------
        way : {"linear", "blocks", "planes", "triton"}

        Raises
        ------
        ValueError
            If the way cannot be taken here.
        """
        if way not in tuple(self._bytes.ways):
            raise ValueError(f"way: expected one of {', '.join(self._bytes.ways)}, got {way!r}")
        return error_bound(self._byte_factors, self._bytes.ways[way].planes)

    def __repr__(self) -> str:
        """Show sizes, place and way."""
        return f"Predictor({self.in_shape or (self.in_size,)} -> {self.out_size}, {self.device}, way={self.way!r})"

    def __str__(self) -> str:
        """Show which batches take which way, and how exact each is on bytes."""
        lines = [repr(self)]
        for dtype in (torch.uint8,) if self.way in BYTES_ONLY else (torch.uint8, torch.float32):
            for rows in BATCH_SIZES:
                choice = self.way_for(rows, dtype)
                lines.append(f"  {rows:>6,} x {str(dtype).removeprefix('torch.')}: {choice.way} ({choice.reason})")
        lines += [f"  bytes, {way}: scores within {self.error_bound(way).max():.2g}" for way in self._bytes.ways]
        return "\n".join(lines)

    def _in_full(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the scores of flat images without autocast, which would make them 16-bit numbers."""
        with torch.autocast(self._place, enabled=False):
            return self(flat)

    def _offer(self, dtype: torch.dtype) -> Offer:
        """Return the ways of images of a dtype.

        Raises
        ------
        TypeError
            If images of this dtype are not taken.
        ValueError
            If they are floats and the way takes bytes only.
        """
        if dtype in self._offers:
            return self._offers[dtype]
        if dtype not in {*FLOATS, torch.float64}:
            raise TypeError(f"images: expected uint8 or floats, got {dtype}")
        if self.way in BYTES_ONLY:
            raise ValueError(f"images: expected uint8 for way={self.way!r}, got {dtype}")
        layers = as_layers(self._factors, torch.float64, self.device)  # not before they are needed: twice the memory
        self._offers[dtype] = Offer({"linear": Linear(layers)}, ((0, "linear"),), {})
        return self._offers[dtype]

    def _flat(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as (N, in_size) on the device.

        Raises
        ------
        TypeError
            If they are no dense tensor of uint8 or floats.
        ValueError
            If they have another shape.
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
        return images.flatten(1)

    def _fits(self, shape: torch.Size) -> bool:
        """Return whether images are vectors, or of any shape of as many entries where the map does not say which."""
        return len(shape) > 1 and shape[1:].numel() == self.in_size and (self.in_shape is None or len(shape) == 2)
