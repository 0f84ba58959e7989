"""Which ways images can take on a device, and which one pays for how many of them."""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from gpu.predict.backends import Blocks, Linear, PlaneProducts, UnavailableError, Way, whole
from gpu.predict.digit_slices import MOST_PLANES, planes_needed, split
from gpu.predict.int8_product import is_exact, longest_sum
from gpu.predict.layers import Layers
from linalg_cnn import AffineMap

WAYS = ("linear", "blocks", "planes", "triton")
BLOCKS_FROM, PLANES_FROM = 64, 32
"""Images. Below, one linear layer on the whole batch is faster: measured on two cores with AVX-512 and VNNI."""
LEAST_INPUTS, MOST_COLUMNS = 128, 64
"""Where planes are faster than blocks of float32: measured there, too."""


class Choice(NamedTuple):
    """A way to the scores, and what it does and why no better one is taken."""

    way: str
    reason: str


@dataclass(frozen=True, eq=False)
class Offer:
    """The ways that images of one kind can take.

    Attributes
    ----------
    ways : mapping of str to Way
    paying : tuple of (int, str)
        From how many images on a way is chosen, the best way first.
    against : mapping of str to str
        Why other ways are not taken.
    forced : bool
        Whether the user chose the way.
    """

    ways: Mapping[str, Way]
    paying: tuple[tuple[int, str], ...]
    against: Mapping[str, str]
    forced: bool = False

    def name(self, rows: int) -> str:
        """Return the way that pays for so many images."""
        return next(name for least, name in self.paying if rows >= least)

    @cached_property
    def few(self) -> float:
        """Below how many images the last way is taken without a choice."""
        return min((least for least, _ in self.paying[:-1]), default=math.inf)

    @cached_property
    def small(self) -> Way:
        """The last way: that of fewer images."""
        return self.ways[self.paying[-1][1]]

    def take(self, rows: int) -> Way:
        """Return the way that pays for so many images."""
        return self.ways[self.name(rows)]

    def only(self, way: str) -> "Offer":
        """Return the same with one way for all batches."""
        return Offer(self.ways, ((0, way),), {}, forced=True)

    def choose(self, rows: int) -> Choice:
        """Return the way that pays for so many images, with its reason."""
        chosen = self.name(rows)
        reasons = ["forced"] * self.forced + [str(self.ways[chosen])]
        if chosen in {"linear", "blocks"}:
            reasons += [f"{name} from {least} images on" for least, name in self.paying if rows < least]
            reasons += [f"no {name}: {reason}" for name, reason in self.against.items()]
        return Choice(chosen, "; ".join(reasons))


def offer_for_floats(layers: Layers, device: torch.device) -> Offer:
    """Return the ways of floats."""
    against = dict.fromkeys(("planes", "triton"), "it is for bytes")
    if device.type != "cpu":
        return Offer({"linear": Linear(layers)}, ((0, "linear"),), {"blocks": "it is for the CPU"} | against)
    ways: dict[str, Way] = {"linear": Linear(layers), "blocks": Blocks(layers)}
    return Offer(ways, ((BLOCKS_FROM, "blocks"), (0, "linear")), against)


def offer_for_bytes(innermost: AffineMap, layers: Layers, device: torch.device, forced: str) -> Offer:
    """Return the ways of bytes.

    Parameters
    ----------
    innermost : AffineMap
        The first layer, dense, in float64.
    layers : Layers
        All of them, in float32, on the device.
    device : torch.device
    forced : str
        A way that is made even if it does not pay.
    """
    floats = offer_for_floats(layers, device)
    ways, paying = dict(floats.ways), list(floats.paying)
    against = {name: reason for name, reason in floats.against.items() if name == "blocks"}
    makers: dict[str, tuple[str, int, Callable[[], Way]]] = {
        "planes": ("cpu", PLANES_FROM, lambda: make_planes(innermost, layers, device, forced == "planes")),
        "triton": ("cuda", 0, lambda: make_triton(innermost, layers, device)),
    }
    for name, (place, least, make) in makers.items():
        try:
            ways[name] = make()
        except UnavailableError as error:
            against[name] = str(error)
            continue
        if device.type == place:  # Triton's interpreter on the CPU is for tests
            paying.insert(0, (least, name))
    return Offer(ways, tuple(paying), against)


def make_planes(innermost: AffineMap, layers: Layers, device: torch.device, forced: bool) -> Way:
    """Return the way of planes on the CPU.

    Raises
    ------
    UnavailableError
        If the device is another, the product is not exact on this processor, a row needs more planes than pay, or,
        unless forced, the map is not of a size for which it pays.
    """
    if device.type != "cpu":
        raise UnavailableError("it is for the CPU")
    out_size, in_size = innermost.W.shape
    if not forced and in_size < LEAST_INPUTS:
        raise UnavailableError(f"it pays from {LEAST_INPUTS} inputs on, here are {in_size}")
    if not forced and "AVX" not in torch.backends.cpu.get_cpu_capability():
        raise UnavailableError("it pays on x86 processors with AVX2 or AVX-512")
    if not forced and whole(out_size) > MOST_COLUMNS:
        raise UnavailableError(f"it pays for up to {MOST_COLUMNS} columns, here are {out_size} outputs")
    for bits in (8, 7):
        count = planes_needed(innermost.W, bits)
        if count is None:
            raise UnavailableError(
                f"a weight is so large beside the others of its row that {MOST_PLANES} planes round worse than float32"
            )
        columns = whole(count * out_size)
        if not forced and columns > MOST_COLUMNS:
            raise UnavailableError(f"it pays for up to {MOST_COLUMNS} columns, here are {columns} in {count} planes")
        if is_exact(min(in_size, longest_sum(bits)), columns, bits):
            return PlaneProducts(split(innermost.W, bits, count), innermost.B, layers[1:])
    raise UnavailableError("torch's product of 8-bit integers is not exact here")


def make_triton(innermost: AffineMap, layers: Layers, device: torch.device) -> Way:
    """Return the way of one Triton kernel.

    Raises
    ------
    UnavailableError
        If there is no CUDA device, no Triton, the map is not of a size that the kernel is for, or the kernel does not
        run, or not exactly.
    """
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UnavailableError("it is for CUDA")
    try:
        from gpu.predict.triton_kernel import TritonProducts, planes_for_tensor_cores
    except ModuleNotFoundError:
        raise UnavailableError("triton is not installed") from None
    products = TritonProducts(planes_for_tensor_cores(innermost.W), innermost.B, layers[1:], device)
    try:
        products.check()
    except Exception as error:  # Triton needs a C compiler and a driver that it knows, and says so in many ways
        raise UnavailableError(f"its kernel does not run: {type(error).__name__}: {error}") from error
    return products
