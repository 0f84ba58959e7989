"""The precision in which torch multiplies float32 numbers, and float32 in full."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

NAMED = tuple((backend, op) for backend in ("cuda", "mkldnn") for op in ("conv", "rnn", "matmul"))
"""Backends and operations of which torch 2.9 and later keep a precision, ``fp32_precision``, by name."""

FULL = ("ieee", "none")
"""Names of float32 in full; "none" where a backend or an operation names none, and none is inherited."""

_get: Any = getattr(torch._C, "_get_fp32_precision_getter", None)
_set: Any = getattr(torch._C, "_set_fp32_precision_setter", None)


class Precision(NamedTuple):
    """The settings of the process for products of float32 numbers.

    Attributes
    ----------
    convolutions : bool or None
        Whether cuDNN may compute in TF32, whose mantissa has 10 bits; None if that was set by its newer names only,
        for which torch refuses to tell.
    products : str or None
        As `torch.get_float32_matmul_precision`; None likewise.
    named : dict
        Precision by backend and operation, empty before torch 2.9.
    """

    convolutions: bool | None
    products: str | None
    named: dict[tuple[str, str], str]


def precision() -> Precision:
    """Return the present settings."""
    try:
        convolutions = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        convolutions = None
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:
        products = None
    return Precision(convolutions, products, {name: _get(*name) for name in NAMED} if _get else {})


def set_precision(before: Precision) -> None:
    """Put settings back."""
    if before.convolutions is not None:
        torch.backends.cudnn.allow_tf32 = before.convolutions
    if before.products is not None:
        torch.set_float32_matmul_precision(before.products)
    for name, value in before.named.items():
        _set(*name, "none")
        if _get(*name) != value:  # it has not inherited its value
            _set(*name, value)


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep torch from computing products of float32 numbers with less precision than float32 has.

    On CUDA, convolutions use TF32 by default. Matrix products use it if the process allows it, and on some processors
    bfloat16.
    """
    before = precision()
    try:
        if before.convolutions is not None:
            torch.backends.cudnn.allow_tf32 = False
        if before.products is not None:
            torch.set_float32_matmul_precision("highest")
        for name in before.named:
            if _get(*name) not in FULL:
                _set(*name, "ieee")
        yield
    finally:
        set_precision(before)
