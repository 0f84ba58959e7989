"""Padding: the paper's matrix P, equations (8) and (9)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.checks import LARGEST_SIZE, check_choice, check_image
from linalg_cnn.ops.base import Separable
from linalg_cnn.rules import NOTHING, AxisRule, check_table, identity_rule
from linalg_cnn.types import Shape, index_dtype

PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")

Pairs = tuple[tuple[int, int], ...]


def pad_rule(size: int, before: int, after: int, mode: str = "zeros") -> AxisRule:
    """Return which input each of the ``before + size + after`` padded positions reads.

    Position q is counted from the first input. Outside the input, ``zeros`` reads nothing, ``reflect`` reads -q or
    2 (size - 1) - q, ``replicate`` reads the nearest border, ``circular`` reads q mod size, and ``symmetric`` reads
    -1 - q or 2 size - 1 - q, again and again if the border is wider than the input. Negative padding crops. As in
    torch, ``circular`` then wraps around the part that is left, while the other modes read the whole axis.

    Raises
    ------
    ValueError
        If no position is left, or a side is too wide: ``reflect`` allows size - 1, and ``circular`` the size after
        cropping.
    """
    first, last = max(-before, 0), size - 1 - max(-after, 0)  # the ends of the part that cropping leaves
    if before + size + after < 1 or last + 1 < first:
        raise ValueError(
            f"padding: expected to leave at least one position, got {(before, after)} on an axis of {size}"
        )
    widest = {"reflect": size - 1, "circular": last + 1 - first}.get(mode)
    if widest is not None and max(before, after) > widest:
        raise ValueError(
            f"padding: expected at most {widest} on a side in mode {mode!r} on an axis of {size}, got {(before, after)}"
        )
    check_table(before + size + after, 1)
    q = np.arange(-before, size + after, dtype=index_dtype(2 * size + before + after))
    if mode == "reflect":
        sources = np.abs(q)
        sources = np.where(sources > size - 1, 2 * (size - 1) - sources, sources)
    elif mode == "replicate":
        sources = np.clip(q, 0, size - 1)
    elif mode == "circular":
        sources = first + (q - first) % (last + 1 - first)
    elif mode == "symmetric":
        sources = q % (2 * size)
        sources = np.where(sources > size - 1, 2 * size - 1 - sources, sources)
    else:
        sources = np.where((q >= 0) & (q < size), q, NOTHING)
    return AxisRule(size, sources[:, np.newaxis])


@dataclass(frozen=True)
class Pad(Separable):
    """Padding of the spatial axes. `pad_matrix` describes A.

    Parameters
    ----------
    padding : int, or one (before, after) pair of ints per spatial axis, first axis first
        Negative entries crop.
    mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}

    Raises
    ------
    ValueError
        If ``padding`` has another form, or the mode is unknown. A flat tuple is refused because those of torch list
        the last axis first.

    Examples
    --------
    >>> import numpy as np
    >>> Pad(1)(np.ones((1, 1, 2, 2))).astype(int)[0, 0]
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """

    padding: Any
    mode: str = "zeros"

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, PADDING_MODES)
        object.__setattr__(self, "padding", _check_padding(self.padding))

    def pairs(self, axes: int) -> Pairs:
        """Return one (before, after) pair for each of ``axes`` spatial axes.

        Raises
        ------
        ValueError
            If ``padding`` has pairs for another number of axes.
        """
        if isinstance(self.padding, int):
            return ((self.padding, self.padding),) * axes
        if len(self.padding) != axes:
            raise ValueError(
                f"padding: expected an int or {axes} (before, after) pairs, one per spatial axis, got {self.padding!r}"
            )
        pairs: Pairs = self.padding
        return pairs

    def rules(self, in_shape: Shape) -> list[AxisRule]:
        """Return the padding rule of each spatial axis; the channels are unchanged."""
        channels, sizes = check_image("in_shape", in_shape)
        pairs = self.pairs(len(sizes))
        return [
            identity_rule(channels),
            *(pad_rule(size, before, after, self.mode) for size, (before, after) in zip(sizes, pairs, strict=True)),
        ]


def _check_padding(padding: Any) -> int | Pairs:
    def is_int(value: Any) -> bool:
        is_int = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if is_int and abs(int(value)) > LARGEST_SIZE:
            raise ValueError(f"padding: expected at most {LARGEST_SIZE}, got {value}")
        return is_int

    if is_int(padding):
        return int(padding)
    if (
        isinstance(padding, (tuple, list))
        and len(padding) > 0
        and all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in padding)
        and all(is_int(width) for pair in padding for width in pair)
    ):
        return tuple((int(before), int(after)) for before, after in padding)
    raise ValueError(
        "padding: expected an int or one (before, after) pair of ints per spatial axis, first axis first, "
        f"got {padding!r}"
    )


def pad_matrix(in_shape: Shape, padding: Any, mode: str = "zeros", *, max_bytes: int | None = None) -> Any:
    r"""Return the matrix that pads images.

    The row of output position q and channel c has a 1 in the column of the pixel (c, source(q)) that it reads, and no
    entry if it is a padded zero. For a 1-D image (a, b) padded by 1::

        [0 0]            [0]
        [1 0]  [a]       [a]
        [0 1]  [b]   =   [b]
        [0 0]            [0]

    Parameters
    ----------
    in_shape : tuple of int
        Shape of the input, (channels, *spatial).
    padding : int, or one (before, after) pair of ints per spatial axis, first axis first
        Negative entries crop.
    mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}
        Content of the border, as in ``torch.nn.functional.pad``. "reflect" mirrors the image at the centre of its
        border pixel, which is not repeated. "symmetric", which torch does not have, mirrors it at the outer edge of
        that pixel, which is repeated; it takes a border of any width, as numpy does. Other libraries give these
        borders other names, see below.
    max_bytes : int, optional
        Limit on the size of the matrix in bytes; half of the machine's memory if not given.

    Returns
    -------
    csr_array, float64, shape (out_size, in_size)
        Matrix that acts on C-order ravels of (channels, *spatial).

    Raises
    ------
    ValueError
        If an argument is malformed or the padding does not fit the mode.
    MemoryError
        If the matrix would take more than ``max_bytes``.

    Notes
    -----
    Source: the paper's equations (8) and (9); ``torch.nn.functional.pad``, which lists the last axis first; for
    "symmetric", ``numpy.pad``. What other libraries call these borders, here of an image (a, b, c)::

        border of 2 on both sides   here, torch   numpy       scipy.ndimage   MATLAB
        c b  a b c  b a             reflect       reflect     mirror          -
        b a  a b c  c b             symmetric     symmetric   reflect         symmetric
        a a  a b c  c c             replicate     edge        nearest         replicate
        b c  a b c  a b             circular      wrap        grid-wrap       circular
        0 0  a b c  0 0             zeros         constant    grid-constant   0

    torch has all but "symmetric", and calls "zeros" "constant" in ``torch.nn.functional.pad``. scipy.ndimage's
    "reflect" is not torch's. Its filters also call "grid-wrap" "wrap" and "grid-constant" "constant", names that stand
    for other borders in its interpolation.

    Examples
    --------
    >>> import numpy as np, torch
    >>> P = pad_matrix((1, 2, 3), [(1, 0), (2, 1)])
    >>> x = np.arange(6.0).reshape(1, 2, 3)
    >>> theirs = torch.nn.functional.pad(torch.from_numpy(x), (2, 1, 1, 0))
    >>> np.array_equal(P @ x.ravel(), theirs.numpy().ravel())
    True
    """
    return Pad(padding, mode).matrix(in_shape, max_bytes)
