"""Linear and nearest-neighbour resampling of images, to a size or by factors."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as pytree

from gpu.tracing.aten.by_autograd import by_autograd
from gpu.tracing.builder import GraphBuilder
from gpu.tracing.nodes import name_of
from gpu.tracing.values import Refusal, planes
from linalg_cnn import Resample, Take
from linalg_cnn.types import Shape

Node = torch.fx.Node


def upsample_linear(builder: GraphBuilder, node: Node, x: Any, size: Any, corners: bool, *scales: Any) -> Any:
    """``upsample_linear1d``, ``upsample_bilinear2d``, ``upsample_trilinear3d``."""
    out = tuple(node.meta["val"].shape[2:])
    x = planes(x, len(out))
    given = [scale for scale in pytree.tree_leaves(scales) if scale is not None]
    if given and any(n * scale != o for n, scale, o in zip(x.shape[1:], given, out, strict=True)):
        return by_autograd(builder, node, x, size, corners, *scales)
    return builder.add(Resample(out, "linear", corners), x)


def upsample_nearest(builder: GraphBuilder, node: Node, x: Any, size: Any, *scales: Any) -> Any:
    """``upsample_nearest1d`` to ``3d``, ``_upsample_nearest_exact1d`` to ``3d``.

    torch computes the source pixels in the images' dtype; the graph has those of float32, as this build of torch picks
    them. At exact ties of ``nearest-exact``, builds differ from each other and from the rule of `Resample`.

    Raises
    ------
    Refusal
        If the images are float64 and torch picks other pixels for them.
    """
    name, val = name_of(node), node.meta["val"]
    x = planes(x, val.ndim - 2)
    shown = _shown(node, x.shape[1:], torch.float32, size, *scales)
    if val.dtype == torch.float64:
        doubles = _shown(node, x.shape[1:], torch.float64, size, *scales)
        if not all(map(torch.equal, shown, doubles)):
            raise Refusal(f"{name.lstrip('_')} picks other pixels for float64 images than for float32 images")
    rule = Resample(tuple(map(len, shown)), "nearest-exact" if "exact" in name else "nearest")
    if all(
        np.array_equal(axis.sources[:, 0], pixels) for axis, pixels in zip(rule.rules(x.shape)[1:], shown, strict=True)
    ):
        return builder.add(rule, x)
    # torch rounds the inverses of factors, too, which no rule of Resample covers
    table = torch.arange(x.shape[0])
    for n, pixels in zip(x.shape[1:], shown, strict=True):
        table = table[..., None] * n + pixels
    return builder.add(Take(table.numpy()), x)


def _shown(node: Node, sizes: Shape, dtype: torch.dtype, *arguments: Any) -> list[torch.Tensor]:
    """Return the source pixels of an operation along each spatial axis, found by resampling the pixels' numbers."""
    target: Any = node.target
    shown = []
    for axis, n in enumerate(sizes):
        numbers = torch.arange(n, dtype=dtype).reshape(n, *(1,) * (len(sizes) - axis - 1)).expand(1, 1, *sizes)
        image = target(numbers, *arguments)[0, 0].movedim(axis, 0)
        shown.append(image.reshape(len(image), -1)[:, 0].long())
    return shown


HANDLERS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d"), upsample_linear),
    **dict.fromkeys(
        [f"{kind}{rank}d" for kind in ("upsample_nearest", "_upsample_nearest_exact") for rank in (1, 2, 3)],
        upsample_nearest,
    ),
}
