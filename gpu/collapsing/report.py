"""What a collapsed network costs, how exact it is, and whether it pays: as numbers, a table, HTML."""

import html
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from linalg_cnn import AffineGraph, AffineMap
from linalg_cnn.types import Array, Shape

BATCH_SIZES = (1, 64, 1024)
LARGEST_RANK_COST = 10**12
"""Multiply-adds that the rank may cost; above, it is not computed."""


@dataclass(frozen=True)
class Costs:
    """What a prediction costs: parameters, multiply-adds per sample, bytes of parameters and buffers.

    Multiply-adds with the zeros of padding do not count: good kernels leave them out.
    """

    parameters: int
    multiply_adds: int
    bytes: int


@dataclass(frozen=True)
class Report:
    """What `gpu.collapse` measured. `to_dict` has all of it; printing gives a table, as notebooks do.

    Attributes
    ----------
    in_shape, out_shape : tuple of int
    dtype : str
        Of the model, hence of what replaces it.
    factors : list of shapes
        (out_size, in_size) of the matrices, the outermost first.
    rank : int, optional
        Of W, numerically; None where it would take too long, or more memory than is allowed.
    before, after : Costs
        Of the network and of what replaces it.
    choices : dict
        ``dense`` and ``factored``: the Costs of either form; ``factored`` is None if nothing can be cut.
    differences : dict
        See `gpu.collapsing.verification.differences`.
    composition : dict
        See `gpu.collapsing.verification.composition_error`.
    verdict : dict
        By batch size, as a string: estimated microseconds per image before and after, from the multiply-adds and the
        bytes at the rates of this machine, and whether prediction gets cheaper.
    seconds : dict
        How long tracing, composing and verifying took.
    """

    in_shape: Shape
    out_shape: Shape
    dtype: str
    factors: list[tuple[int, int]]
    rank: int | None
    before: Costs
    after: Costs
    choices: dict[str, Costs | None]
    differences: dict[str, Any]
    composition: dict[str, Any]
    verdict: dict[str, dict[str, Any]]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain dicts, lists and numbers."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """Return everything as JSON; what is not finite, such as a bound that does not exist, is null."""
        return json.dumps(_finite(asdict(self)), indent=2, allow_nan=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the table: what, of the network, of the map."""
        seen, bound, found = self.differences, self.differences["bound"], self.composition
        before, after = self.before, self.after
        shapes = " x ".join(f"({rows} x {columns})" for rows, columns in self.factors)
        tightness = f", {bound['tightness']:.0f} times what was seen" if bound["tightness"] else ""
        held = f"{bound['largest']:.2g}{tightness}, {'held' if bound['held'] else 'BROKEN'}"
        if not math.isfinite(bound["largest"]):
            held = f"none: {self.dtype} is too coarse for sums that long, or may overflow"
        place = f"{found['rows_compared']} of {found['rows']} rows"
        if found["judge"] != "autograd":
            place = f"{found['columns_compared']} of {found['columns']} columns"
        other = "factored" if len(self.factors) == 1 else "dense"
        choice = self.choices[other]
        return [
            ("shape", f"{self.in_shape} -> {self.out_shape}", shapes),
            ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
            ("multiply-adds per image", f"{before.multiply_adds:,}", f"{after.multiply_adds:,}"),
            ("bytes", f"{before.bytes:,}", f"{after.bytes:,}"),
            (f"the same, {other}", "", f"{choice.multiply_adds:,} multiply-adds" if choice else "nothing to cut"),
            ("rank of W", "", "not computed" if self.rank is None else f"{self.rank}"),
            (
                f"largest difference from float64, {self.dtype}, {seen['inputs']} inputs",
                f"{seen['original']['largest']:.2g}",
                f"{seen['module']['largest']:.2g}",
            ),
            (
                "relative to the largest score",
                f"{seen['original']['relative']:.1g}",
                f"{seen['module']['relative']:.1g}",
            ),
            ("the map in float64, relative", "", f"{seen['map']['relative']:.1g}"),
            ("bound on rounding", "", held),
            (
                f"composition against {found['judge']}, relative",
                "",
                f"W {found['W_relative']:.1g} ({place}), B {found['B_relative']:.1g}",
            ),
            *(
                (
                    f"estimated us per image, batch {size}",
                    f"{verdict['before']:,.2f}",
                    f"{verdict['after']:,.2f}: {'cheaper' if verdict['cheaper'] else 'NOT cheaper'}",
                )
                for size, verdict in self.verdict.items()
            ),
            ("seconds", "", ", ".join(f"{what} {taken:.2f}" for what, taken in self.seconds.items())),
        ]

    def __str__(self) -> str:
        """Return the table as text."""
        rows = [("", "network", "W x + B"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = "<tr><th></th><th>network</th><th>W x + B</th></tr>"
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        return f"<table>{head}{body}</table>"


def _finite(tree: Any) -> Any:
    """Return what `dataclasses.asdict` gave with None for numbers that JSON does not have."""
    if isinstance(tree, dict):
        return {name: _finite(branch) for name, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(branch) for branch in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def costs_of_network(module: nn.Module, graph: AffineGraph) -> Costs:
    """Return the costs of a network; its multiply-adds are those that no implementation can do without."""
    parameters = list(module.parameters())
    held = {id(t): t for t in [*parameters, *module.buffers()]}.values()
    return Costs(
        sum(p.numel() for p in parameters), graph.multiply_adds, sum(t.numel() * t.element_size() for t in held)
    )


def costs_of_factors(shapes: Sequence[tuple[int, int]], itemsize: int) -> Costs:
    """Return the costs of matrices (out_size, in_size), each with its vector."""
    products = sum(rows * columns for rows, columns in shapes)
    parameters = products + sum(rows for rows, _ in shapes)
    return Costs(parameters, products, parameters * itemsize)


def rank_of(factors: Sequence[AffineMap], max_bytes: float = math.inf) -> int | None:
    """Return the numerical rank of W, by numpy's tolerance; None where it would take too long or too much memory."""
    # W = W2 R' Q' with the QR of the inner factor: the singular values are those of the small W2 R'.
    matrices = [factor.W for factor in factors]
    rows, columns = len(matrices[0]), matrices[-1].shape[1]
    width = min(min(matrix.shape) for matrix in matrices)
    inner = min(matrices[-1].shape)
    if width**2 * (rows + columns) > LARGEST_RANK_COST or 8 * (rows + 8 * inner) * inner > max_bytes:
        return None
    small = matrices[-1]
    if small.shape[0] < small.shape[1]:
        small = _triangle(small.T).T
    for matrix in reversed(matrices[:-1]):
        small = matrix @ small
    if small.shape[0] > small.shape[1]:
        small = _triangle(small)
    values = np.linalg.svd(small, compute_uv=False)
    return int(np.sum(values > values.max() * max(rows, columns) * np.finfo(np.float64).eps))


def _triangle(tall: Array) -> Array:
    """Return R of the QR of a tall matrix, from blocks of its rows, so that it is never copied as a whole."""
    columns = tall.shape[1]
    r: Array = np.empty((0, columns))
    step = max(columns, 1024)
    for start in range(0, len(tall), step):
        r = np.asarray(np.linalg.qr(np.concatenate([r, tall[start : start + step]]), mode="r"))
    return r


RATE_BYTES = 2**25
"""How many bytes are read to see how fast that is: more than a cache holds."""


def machine_rates(dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """Return multiply-adds per second of a matrix product, and bytes per second that are read, on this machine."""
    n = 512
    a = torch.ones(n, n, dtype=dtype, device=device)
    block = torch.ones(RATE_BYTES // a.element_size(), dtype=dtype, device=device)

    def fastest(function: Any) -> float:
        best = float("inf")
        for _ in range(4):
            start = time.perf_counter()
            function()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return best

    return n**3 / fastest(lambda: a @ a), RATE_BYTES / fastest(block.sum)


def verdict_of(before: Costs, after: Costs, rates: tuple[float, float]) -> dict[str, dict[str, Any]]:
    """Return for each batch size the estimated microseconds per image before and after, and whether they get fewer.

    A batch takes at least as long as its multiply-adds at the rate of a large matrix product, and at least as long
    as reading the parameters once. Networks of many small layers stay further above that than one product does, so
    that the estimate favours the network.

    Examples
    --------
    >>> verdict_of(Costs(10, 2000, 80), Costs(20, 20, 160), (1e9, 1e9))["1"]
    {'before': 2.0, 'after': 0.16, 'cheaper': True}
    """

    def microseconds(costs: Costs, batch: int) -> float:
        return 1e6 * max(costs.multiply_adds / rates[0], costs.bytes / rates[1] / batch)

    table = {}
    for size in BATCH_SIZES:
        old, new = (round(microseconds(costs, size), 6) for costs in (before, after))
        table[str(size)] = {"before": old, "after": new, "cheaper": new < old}
    return table
