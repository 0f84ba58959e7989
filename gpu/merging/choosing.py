"""The form of a stretch: the one that is fastest on this machine, if it is faster than the chain beyond noise."""

import copy
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gpu.merging.cutting import MOST_UNITS, cuts_of, fastest_cuts, segment_of
from gpu.merging.forms import CHAIN, FORMS, Form, cast, chain_form, other_forms
from gpu.merging.latency import FEW_ROUNDS, ROUNDS, Latency, latencies
from gpu.merging.report import StretchReport
from gpu.merging.stretches import Stretch
from linalg_cnn import AffineGraph

MARGIN = 0.03
"""A form replaces the chain if it saves at least this share of its time in three quarters of the rounds."""
SAMPLES = 2
"""Number of samples on which a form is compared with float64."""


class Candidates:
    """The forms of a stretch or of a segment of one, with how long they take on a batch.

    Parameters
    ----------
    graph : AffineGraph
        The stretch, with its scales folded.
    batch_size : int
        Number of samples of the batch.
    like : tensor
        Tensor with the network's dtype, on its device.
    max_bytes : int
        Limit on the matrices of a form.
    allowed : collection of str
        Names of the forms that the chain competes with.
    rounds : int
        Number of times that each form is timed.

    Attributes
    ----------
    forms : dict of str to Form
        The forms whose numbers fit the dtype, float64, the chain first.
    modules : dict of str to nn.Module
        The same in the network's dtype, on its device.
    took : dict of str to Latency
        What was measured.
    notes : list of str
        Forms that were left out for lack of memory.

    Raises
    ------
    ValueError
        If the numbers of the chain do not fit the dtype.
    MemoryError
        If torch has no function for an operation, and its matrix takes more than ``max_bytes``.
    """

    def __init__(
        self,
        graph: AffineGraph,
        batch_size: int,
        like: torch.Tensor,
        max_bytes: int,
        allowed: Collection[str] = FORMS,
        rounds: int = ROUNDS,
    ) -> None:
        self.graph, self.like = graph, like
        others, self.notes = other_forms(graph, max_bytes)
        self.forms: dict[str, Form] = {}
        self.modules: dict[str, nn.Module] = {}
        for form in (chain_form(graph, max_bytes), *(form for form in others if form.name in allowed)):
            self._take(form)
        if CHAIN not in self.forms:
            raise ValueError(
                f"model: expected weights that fit {like.dtype} with batch normalisations folded into them, got larger "
                f"ones in {graph.nodes[0].name}; merge model.float() or model.double() instead"
            )
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(batch_size, *graph.in_shape, generator=generator, dtype=torch.float64).to(like)
        self.took = latencies(self.modules, self.x, rounds)

    def _take(self, form: Form) -> None:
        module = copy.deepcopy(form.module)
        if cast(module, self.like):
            self.forms[form.name], self.modules[form.name] = form, module

    def add_sequence(self, parts: Sequence[tuple["Candidates", str]]) -> None:
        """Add the forms of several segments, one after the other, as a form of the whole."""
        forms = [part.forms[name] for part, name in parts]
        name = ", ".join(form.name for form in forms)
        exact = nn.Sequential(*(form.module for form in forms))
        self.forms[name] = Form(name, exact, sum(form.multiply_adds for form in forms))
        self.modules[name] = nn.Sequential(*(part.modules[form] for part, form in parts))
        best = min(self.took, key=lambda known: self.took[known].ratio)
        again = latencies({known: self.modules[known] for known in {CHAIN: 0, best: 0, name: 0}}, self.x)
        self.took = {**self.took, **again}

    def fastest(self) -> str:
        """Return the name of the fastest form: the chain unless another one is faster beyond noise."""
        faster = {name: found.ratio for name, found in self.took.items() if found.high < 1 - MARGIN}
        return min(faster, key=lambda name: faster[name]) if faster else CHAIN

    def report(self, place: str, form: str, rates: tuple[float, float]) -> StretchReport:
        """Return the report on a stretch that is computed in a form.

        Parameters
        ----------
        place : str
            Where the stretch stands in the module.
        form : str
            Name of the form.
        rates : pair of floats
            MAC/s and bytes/s of this machine, see `gpu.collapsing.costs.machine_rates`.
        """
        scale = 1e6 / len(self.x)
        measured: dict[str, dict[str, float]] = {
            name: {
                "multiply_adds": self.forms[name].multiply_adds,
                "microseconds": scale * found.seconds,
                "ratio": found.ratio,
            }
            for name, found in self.took.items()
        }
        before, after = (
            {what: measured[name][what] for what in ("multiply_adds", "microseconds")} for name in (CHAIN, form)
        )
        return StretchReport(
            place=place,
            in_shape=self.graph.in_shape,
            out_shape=self.graph.out_shape,
            operations=len(self.graph.nodes),
            form=form,
            before=before,
            after=after,
            error=self._error(form),
            forms=measured,
            limit=self._limit(form, self.took[form], rates),
            notes=self.notes,
        )

    def _error(self, form: str) -> float:
        """Return the largest difference of a form's outputs from those of the graph, relative to the largest."""
        x = self.x[:SAMPLES]
        expected = self.graph(x.double().cpu().numpy())
        with torch.inference_mode():
            got = self.modules[form](x).double().cpu().numpy()
        return float(np.abs(got - expected).max() / (np.abs(expected).max() or 1.0))

    def _limit(self, form: str, found: Latency, rates: tuple[float, float]) -> dict[str, Any]:
        """Return what a form cannot be faster than: its arithmetic, or reading and writing its numbers once."""
        x, module = self.x, self.modules[form]
        with torch.inference_mode():
            entries = x.numel() + module(x).numel() + sum(part.numel() for part in module.parameters())
        bounds = {
            "arithmetic": self.forms[form].multiply_adds * len(x) / rates[0],
            "memory": entries * x.element_size() / rates[1],
        }
        largest = max(bounds, key=lambda name: bounds[name])
        return {"of": largest, "share": min(1.0, bounds[largest] / found.seconds)}


def candidates_of(
    stretch: Stretch, batch_size: int, like: torch.Tensor, max_bytes: int, allowed: Collection[str] = FORMS
) -> Candidates:
    """Return the forms of a stretch, the fastest sequence of forms of its segments among them.

    Parameters
    ----------
    stretch : Stretch
        The stretch, with its scales folded.
    batch_size, like, max_bytes, allowed
        As for `Candidates`.

    Raises
    ------
    ValueError
        If the numbers of the chain do not fit the dtype.
    MemoryError
        If torch has no function for an operation, and its matrix takes more than ``max_bytes``.
    """
    graph = stretch.graph
    whole = Candidates(graph, batch_size, like, max_bytes, allowed)
    cuts = cuts_of(graph)
    if not 3 <= len(cuts) <= MOST_UNITS + 1:
        return whole

    def measure(start: int, end: int) -> tuple[float, tuple[Candidates, str]]:
        if (start, end) == (cuts[0], cuts[-1]):
            return math.inf, (whole, CHAIN)  # it competes with the sequence afterwards
        segment = Candidates(segment_of(graph, start, end), batch_size, like, max_bytes, allowed, FEW_ROUNDS)
        name = segment.fastest()
        return segment.took[name].seconds, (segment, name)

    parts = [found for _, found in fastest_cuts(cuts, measure)]
    if any(name != CHAIN for _, name in parts):
        whole.add_sequence(parts)
    return whole
