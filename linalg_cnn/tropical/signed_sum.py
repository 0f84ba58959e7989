"""Differences of tropical polynomials while a network is read: signed sums of polynomials that stay unexpanded.

Each entry of a value in the network is a constant plus a sum of input entries and of maxima made by earlier
nonlinearities, with weights of either sign. The positive part of such a sum and its negative part are tropical products
of powers, which only a maximum has to expand into monomials. A maximum that several later entries read is one term of
their sums, so that skips and shared neurons multiply no monomials, and what cancels is gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import reduce
from math import prod

import numpy as np

from linalg_cnn.tropical.polynomial import TropicalPolynomial
from linalg_cnn.tropical.rationals import over_common_denominator

Term = int | TropicalPolynomial
"""The number of an input entry, or a maximum."""


@dataclass(frozen=True)
class SignedSum:
    """A constant plus weights times terms.

    Attributes
    ----------
    constant : Fraction
    weights : dict {Term: Fraction}
        No weight is 0.
    """

    constant: Fraction = Fraction(0)
    weights: dict[Term, Fraction] = field(default_factory=dict)

    def positive(self) -> "SignedSum":
        """Return the terms of positive weights, with the constant."""
        return SignedSum(self.constant, {term: weight for term, weight in self.weights.items() if weight > 0})

    def negative(self) -> "SignedSum":
        """Return the terms of negative weights, with the weights' absolute values."""
        return SignedSum(weights={term: -weight for term, weight in self.weights.items() if weight < 0})


def combine(parts: Sequence[tuple[Fraction, SignedSum]], constant: Fraction = Fraction(0)) -> SignedSum:
    """Return a constant plus factors times sums."""
    weights: dict[Term, Fraction] = {}
    for factor, part in parts:
        constant += factor * part.constant
        for term, weight in part.weights.items():
            weights[term] = weights.get(term, Fraction(0)) + factor * weight
    return SignedSum(constant, {term: weight for term, weight in weights.items() if weight})


@dataclass(frozen=True)
class Expansion:
    """How sums are expanded into tropical polynomials.

    Attributes
    ----------
    variables : int
        Number of input entries.
    max_monomials : int
        Largest number of monomials made at once.
    prune : bool
        Whether to prune each polynomial on the way.
    where : str
        Name of the layer, for messages.
    """

    variables: int
    max_monomials: int
    prune: bool
    where: str = ""

    def expand(self, total: SignedSum) -> TropicalPolynomial:
        """Return a sum without negative weights as a polynomial that knows its factors.

        Raises
        ------
        ValueError
            If it would have more than ``max_monomials`` monomials.
        """
        factors = tuple((f, weight) for f, weight in total.weights.items() if isinstance(f, TropicalPolynomial))
        exponents = [total.weights.get(number, Fraction(0)) for number in range(self.variables)]
        numerators, denominator = over_common_denominator([total.constant, *exponents])
        rows = np.array([numerators], dtype=object)
        expanded = TropicalPolynomial.from_rows(rows, denominator)
        known = ((expanded, Fraction(1)), *factors)
        for f, weight in factors:
            self.check(len(expanded) * len(f))
            expanded = expanded.times(f.power(weight))
            expanded = expanded.pruned() if self.prune else expanded
        expanded.factors = known
        return expanded

    def maximum(self, sums: Sequence[SignedSum]) -> SignedSum:
        """Return the maximum of sums as the difference of one maximum and what was added to make its parts positive.

        max(P_1 - Q_1, ..., P_k - Q_k) = max(P_1 - Q_1 + Q, ..., P_k - Q_k + Q) - Q, where Q has the largest weight
        of each term in any Q_i, the least for which no weight on the right is negative.

        Raises
        ------
        ValueError
            If it would have more than ``max_monomials`` monomials.
        """
        least: dict[Term, Fraction] = {}
        for total in sums:
            for term, weight in total.weights.items():
                if weight < 0:
                    least[term] = max(least.get(term, Fraction(0)), -weight)
        added = SignedSum(weights=least)
        one = Fraction(1)
        parts = [combine([(one, total), (one, added)]) for total in sums]
        self.check_products(parts)
        found = reduce(TropicalPolynomial.plus, map(self.expand, parts))
        found = found.pruned() if self.prune else found
        return combine([(one, self.as_term(found)), (-one, added)])

    def as_term(self, f: TropicalPolynomial) -> SignedSum:
        """Return a polynomial as a sum: itself, or its only monomial."""
        if len(f) > 1:
            return SignedSum(weights={f: Fraction(1)})
        (monomial,) = f.monomials
        return SignedSum(monomial.coefficient, {n: value for n, value in enumerate(monomial.exponents) if value})

    def check_products(self, sums: Sequence[SignedSum]) -> None:
        """Refuse to expand sums with too many monomials together; raises what `check` raises.

        Where polynomials are pruned on the way, the number is known only after each pruning.
        """
        if not self.prune:
            self.check(sum(prod(len(f) for f in total.weights if isinstance(f, TropicalPolynomial)) for total in sums))

    def check(self, count: int, what: str = "monomials") -> None:
        """Refuse to make too many monomials, or too many of something else.

        Raises
        ------
        ValueError
            If there are more than ``max_monomials``.
        """
        if count > self.max_monomials:
            prune = "" if self.prune or what != "monomials" else ", or prune=True, which prunes on the way"
            raise ValueError(
                f"max_monomials: expected at least {count:,}, for the {what} of {self.where}, "
                f"got {self.max_monomials:,}; give it a larger number{prune}"
            )
