"""The report on a merged network: a row per stretch, as numbers, JSON, a table in text and in HTML."""

import html
import json
from dataclasses import asdict, dataclass
from typing import Any

from gpu.collapsing.costs import Costs
from gpu.collapsing.report import finite
from gpu.runtime.tables import counted
from linalg_cnn.types import Shape


@dataclass(frozen=True)
class StretchReport:
    """One stretch: its form, and what it costs.

    Attributes
    ----------
    place : str
        Names of its first and its last operation in the module.
    in_shape, out_shape : tuple of int
        Shapes of a sample.
    operations : int
        Number of operations of the chain, with batch normalisations folded.
    form : str
        Name of the form that was chosen, see `gpu.merging.forms.Form`.
    before, after : dict
        ``multiply_adds`` per sample and ``microseconds`` per sample of the chain and of the form.
    error : float
        Largest difference of the form from float64, in the network's dtype, relative to the largest output.
    forms : dict
        ``multiply_adds``, ``microseconds`` and ``ratio`` to the chain of every form that was measured, by name.
    limit : dict
        What bounds the form: ``of`` is "arithmetic" or "memory", whichever takes longer at this machine's rates, and
        ``share`` is the part of the measured time that it explains. The rest is the overhead of calls and kernels.
    notes : list of str
        Forms that were left out for lack of memory.
    """

    place: str
    in_shape: Shape
    out_shape: Shape
    operations: int
    form: str
    before: dict[str, float]
    after: dict[str, float]
    error: float
    forms: dict[str, dict[str, float]]
    limit: dict[str, Any]
    notes: list[str]


@dataclass(frozen=True)
class MergeReport:
    """The stretches, the costs and the accuracy of a merged network; printed as a table, in notebooks too.

    Attributes
    ----------
    in_shape, out_shape : tuple of int
        Shapes of one sample's input and output.
    dtype, device : str
        Dtype and device of the network.
    batch_size, threads : int
        Batch size and number of threads that the forms were chosen for.
    stretches : list of StretchReport
        One for each affine stretch, in order.
    kept : list of str
        Names of the operations that stay: nonlinearities, and sums of values from both sides of one.
    before, after : Costs
        Costs of the network and of the merged network.
    microseconds : dict
        Measured microseconds per sample of the ``network``, of the ``chain`` (batch normalisations folded) and of the
        ``merged`` network, and the ``ratio`` of the last to the chain with its quartiles ``low`` and ``high``; the
        first is None where the network cannot be run on such a batch.
    differences : dict
        See `gpu.merging.verification.verify`.
    seconds : dict
        Seconds spent on ``tracing``, ``composing``, ``measuring`` and ``verifying``.
    """

    in_shape: Shape
    out_shape: Shape
    dtype: str
    device: str
    batch_size: int
    threads: int
    stretches: list[StretchReport]
    kept: list[str]
    before: Costs
    after: Costs
    microseconds: dict[str, float | None]
    differences: dict[str, Any]
    seconds: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes as plain dicts, lists and numbers."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """Return all attributes as JSON; numbers that are not finite are null."""
        return json.dumps(finite(asdict(self)), indent=2, allow_nan=False)

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table: one per stretch, then the whole network."""
        found = [
            (
                row.place,
                f"{row.in_shape} -> {row.out_shape}",
                row.form,
                f"{row.before['multiply_adds']:,} -> {row.after['multiply_adds']:,}",
                f"{row.before['microseconds']:,.1f} -> {row.after['microseconds']:,.1f}",
                f"{row.error:.1g}",
                f"{row.limit['of']} {row.limit['share']:.0%}",
            )
            for row in self.stretches
        ]
        whole = (
            "the network",
            f"{self.in_shape} -> {self.out_shape}",
            f"{counted(len(self.kept), 'operation')} {'stays' if len(self.kept) == 1 else 'stay'}",
            f"{self.before.multiply_adds:,} -> {self.after.multiply_adds:,}",
            f"{self.microseconds['chain']:,.1f} -> {self.microseconds['merged']:,.1f}",
            f"{self.differences['merged']['relative']:.1g}",
            "",
        )
        return [*found, whole]

    def lines(self) -> list[str]:
        """Return sentences on what the table does not show."""
        took = self.microseconds
        off = {what: f"{self.differences[what]['relative']:.1g}" for what in ("exact", "merged", "original")}
        network = "cannot be run on this batch" if took["network"] is None else f"takes {took['network']:,.1f} us"
        notes = [f"{row.place}: {note}" for row in self.stretches for note in row.notes]
        return [
            f"{self.dtype} on {self.device}, {self.threads} threads, batch size {self.batch_size}; the network as "
            f"given {network} per sample",
            f"largest difference from the float64 network, relative to the largest score: {off['exact']} in float64, "
            f"{off['merged']} in {self.dtype} (the network itself: {off['original']})",
            *notes,
        ]

    def __str__(self) -> str:
        """Return the table as text, and the sentences below it."""
        rows = [HEAD, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*table, *self.lines()])

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        head = "".join(f"<th>{cell}</th>" for cell in HEAD)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self.rows()
        )
        below = "".join(f"<p>{html.escape(line)}</p>" for line in self.lines())
        return f"<table><tr>{head}</tr>{body}</table>{below}"


HEAD = ("stretch", "shape", "form", "multiply-adds", "us per sample", "error", "bound by")
