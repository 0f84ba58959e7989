"""The report on a collapsed network: as numbers, JSON, a table in text and in HTML."""

import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gpu.collapsing.costs import Costs
from gpu.models.predictions import in_words
from linalg_cnn.types import Shape, size_of

FEW = 50
"""Number of held-out inputs below which chance decides too much to doubt the network."""


@dataclass(frozen=True)
class CollapseReport:
    """The costs and the accuracy of a collapsed network.

    Printed, it says what matters most in six lines; `details` returns a table of everything. In notebooks the table is
    folded.

    Attributes
    ----------
    in_shape, out_shape : tuple of int
        Shapes of one sample's input and output.
    dtype : str
        Dtype of the network and of its replacement.
    factors : list of shapes
        Shapes (out_size, in_size) of the matrices, the outermost first.
    rank : int, optional
        Numerical rank of W; None where computing it would take too long, or more memory than is allowed.
    before, after : Costs
        Costs of the network and of its replacement.
    choices : dict
        Costs of the two forms, ``dense`` and ``factored``; the latter is None if nothing can be cut.
    differences : dict
        See `gpu.collapsing.verification.differences`.
    composition : dict
        See `gpu.collapsing.verification.composition_error`.
    sizes : dict
        See `gpu.collapsing.verification.differences_by_size`.
    verdict : dict
        Estimates by batch size, as a string: microseconds per image ``before`` and ``after``, and whether prediction
        gets ``cheaper``; see `gpu.collapsing.costs.verdict_of`.
    seconds : dict
        Seconds spent on ``tracing``, ``composing``, ``verifying``, and ``estimating`` the rank and the verdict.
    accuracy : dict, optional
        See `gpu.models.predictions.accuracies`; None without held-out inputs, and for a network without scores of
        classes.

    Examples
    --------
    >>> import gpu
    >>> report = gpu.collapse(gpu.perceptron(), (1, 28, 28)).report
    >>> report.factors, report.before.parameters, report.after.parameters
    ([(10, 784)], 7850, 7850)
    >>> report.to_dict()["out_shape"]
    [10]
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
    sizes: dict[str, float | None]
    verdict: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    accuracy: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all attributes as plain dicts, lists and numbers."""
        plain: dict[str, Any] = json.loads(self.to_json())
        return plain

    def to_json(self) -> str:
        """Return all attributes as JSON; numbers that are not finite, such as a missing bound, are null."""
        return json.dumps(finite(asdict(self)), indent=2, allow_nan=False)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return the rows of the table: a quantity, its value for the network, its value for the map."""
        seen, found = self.differences, self.composition
        before, after = self.before, self.after
        shapes = " x ".join(f"({rows} x {columns})" for rows, columns in self.factors)
        compared = f"{found['sums_of_rows']} random sums of all {found['rows']} rows"
        if found["judge"] != "autograd":
            compared = f"{found['columns_compared']} of {found['columns']} columns"
        other = "factored" if len(self.factors) == 1 else "dense"
        choice = self.choices[other]
        return [
            ("shape", f"{self.in_shape} -> {self.out_shape}", shapes),
            ("parameters", f"{before.parameters:,}", f"{after.parameters:,}"),
            ("multiply-accumulates per image", f"{before.multiply_adds:,}", f"{after.multiply_adds:,}"),
            ("bytes", f"{before.bytes:,}", f"{after.bytes:,}"),
            (
                f"the same, {other}",
                "",
                f"{choice.multiply_adds:,} multiply-accumulates" if choice else "nothing to cut",
            ),
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
            ("rounding", "", self._rounding()),
            (
                f"composition against {found['judge']}, relative",
                "",
                f"W {found['W_relative']:.1g} ({compared}), B {found['B_relative']:.1g}",
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

    def glance(self) -> list[tuple[str, str]]:
        """Return what matters most, as pairs of a heading and a sentence."""
        before, after = self.before, self.after
        shapes = " times ".join(f"{rows} x {columns}" for rows, columns in self.factors)
        rank = "" if self.rank is None else f", rank of W {self.rank}"
        seen = self.differences
        accuracy = "not measured: give held-out inputs= and labels="
        judge = f"; composition against {self.composition['judge']}, since autograd's rows do not give its scores"
        if self.composition["judge"] == "autograd":
            judge = ""
        return [
            (
                "was",
                f"{self.in_shape} -> {self.out_shape}, {before.parameters:,} parameters, {before.multiply_adds:,} "
                "multiply-accumulates per image",
            ),
            (
                "is",
                f"W x + B, {shapes}{rank}, {after.parameters:,} parameters, {after.multiply_adds:,} "
                "multiply-accumulates per image",
            ),
            ("accuracy", accuracy if self.accuracy is None else in_words(self.accuracy) + self._doubt(self.accuracy)),
            (
                "agreement",
                f"scores within {seen['module']['largest']:.2g} of the network's in float64, which are up to "
                f"{seen['largest_score']:.2g}, on {seen['inputs']} inputs" + judge,
            ),
            ("rounding", self._rounding()),
            ("speed", self._speed()),
        ]

    def _doubt(self, found: dict[str, Any]) -> str:
        """Return a question where the network itself is hardly better than guessing, and nothing elsewhere."""
        guessed = 1 / size_of(self.out_shape)
        if found["before"] is None or found["inputs"] < FEW or found["before"] > 1.2 * guessed:
            return ""
        return f"; guessing gives {100 * guessed:.1f} %: was the network trained with this preprocessing?"

    def _rounding(self) -> str:
        """Return the error of evaluating the map in the network's dtype, guaranteed and seen."""
        bound = self.differences["bound"]
        guaranteed = f"guaranteed error at most {bound['largest']:.2g}"
        if not math.isfinite(bound["largest"]):
            guaranteed = f"guaranteed error none: {self.dtype} is too coarse for sums that long, or may overflow"
        return f"{guaranteed}; largest seen {bound['seen']:.1g}"

    def _speed(self) -> str:
        """Return the estimated times, and for which batches they decrease."""
        times = ", ".join(
            f"{found['before']:,.2f} -> {found['after']:,.2f} at batch {size}" for size, found in self.verdict.items()
        )
        cheaper = [size for size, found in self.verdict.items() if found["cheaper"]]
        verdict = "cheaper" if len(cheaper) == len(self.verdict) else "NOT cheaper"
        if 0 < len(cheaper) < len(self.verdict):
            verdict = f"cheaper at batch {', '.join(cheaper)} only"
        return f"{verdict}: estimated us per image {times}"

    def details(self) -> str:
        """Return all quantities as a table in text."""
        rows = [("", "network", "W x + B"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def __str__(self) -> str:
        """Return the lines of `glance` as text; `details` has the rest."""
        return "\n".join(f"{heading:<9}  {sentence}" for heading, sentence in self.glance())

    def _repr_html_(self) -> str:
        """Return both tables for a notebook, the second one folded."""
        glance = "".join(_html_row("td", row) for row in self.glance())
        details = "".join(_html_row("td", row) for row in self.rows())
        head = _html_row("th", ("", "network", "W x + B"))
        folded = f"<details><summary>all quantities</summary><table>{head}{details}</table></details>"
        return f"<table>{glance}</table>{folded}"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def finite(tree: Any) -> Any:
    """Return a tree of dicts and lists with None for the numbers that JSON cannot hold."""
    if isinstance(tree, dict):
        return {name: finite(branch) for name, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [finite(branch) for branch in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
