"""Tropical polynomials: maxima of finitely many affine functions, exact."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm
from typing import Any, NamedTuple

import numpy as np

from linalg_cnn.notebook import Drawn
from linalg_cnn.tropical.envelope import envelope, values_at
from linalg_cnn.tropical.rationals import object_rows, over_common_denominator, to_fractions
from linalg_cnn.types import Array


class Monomial(NamedTuple):
    """One affine function x -> coefficient + exponents . x of a tropical polynomial.

    Attributes
    ----------
    coefficient : Fraction
    exponents : tuple of Fraction
        One for each variable.
    output : int
        Number of the polynomial in its `TropicalMap`; 0 in a polynomial by itself.

    Examples
    --------
    >>> TropicalPolynomial({(2, 0): 1}).monomials[0].coefficient
    Fraction(1, 1)
    """

    coefficient: Fraction
    exponents: tuple[Fraction, ...]
    output: int = 0


class TropicalPolynomial(Drawn):
    """The maximum of finitely many affine functions, which is a polynomial of max-plus arithmetic.

    In this arithmetic the sum of two numbers is their maximum, and their product is their usual sum. The monomial
    c x^a is then the affine function c + a . x, and a polynomial, a sum of monomials, is their maximum.

    Parameters
    ----------
    terms : mapping {exponents: coefficient}
        A tuple of rational exponents for each monomial, one exponent for each variable, and its rational coefficient.
        A float is the binary fraction that it is. A polynomial in the narrow sense has integers of at least 0 as
        exponents; here they may be any rational numbers.

    Attributes
    ----------
    variables : int
        Number of variables.
    factors : tuple of (TropicalPolynomial, Fraction), or None
        Polynomials and the powers whose tropical product this polynomial is, where that is known: `tropical_form`
        gives them, and a pruned polynomial has none.

    Raises
    ------
    TypeError
        If ``terms`` is not a mapping, or an entry is not a number.
    ValueError
        If there are no terms, exponents differ in number, or an entry is irrational, symbolic or not finite.

    Notes
    -----
    Source: L. Zhang, G. Naitzat, L.-H. Lim, "Tropical geometry of deep neural networks", ICML 2018, section 2. Its
    figure 1 shows the curve of the polynomial below.

    Examples
    --------
    >>> f = TropicalPolynomial({(2, 0): 1, (0, 2): 1, (1, 1): 2, (1, 0): 2, (0, 1): 2, (0, 0): 2})
    >>> f.evaluate([1, 3])  # 1 + 2 * 3
    Fraction(7, 1)
    >>> f.evaluate([[0, 0], [0.5, -1]])
    array([Fraction(2, 1), Fraction(5, 2)], dtype=object)
    """

    def __init__(self, terms: Mapping[Sequence[Any], Any]) -> None:
        if not isinstance(terms, Mapping):
            raise TypeError(f"terms: expected a mapping {{exponents: coefficient}}, got {type(terms).__name__}")
        if not terms:
            raise ValueError("terms: expected at least one monomial, got none")
        exponents = list(terms)
        lengths = {len(key) for key in exponents}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError(f"terms: expected as many exponents in each monomial, at least one, got {sorted(lengths)}")
        table = np.empty((len(terms), 1 + lengths.pop()), dtype=object)
        table[:, 0] = list(terms.values())
        table[:, 1:] = exponents
        fractions = to_fractions("terms", table.tolist())
        numerators, denominator = over_common_denominator(fractions.ravel())
        self._set(np.array(numerators, dtype=object).reshape(table.shape), denominator)

    def _set(self, rows: Array, denominator: int) -> None:
        largest: dict[tuple[int, ...], int] = {}
        for coefficient, *exponents in rows.tolist():
            key = tuple(exponents)
            if key not in largest or largest[key] < coefficient:
                largest[key] = coefficient
        shared = gcd(denominator, *largest.values(), *(entry for key in largest for entry in key))
        ordered = sorted(largest.items())
        self.rows = object_rows([(c // shared, *(e // shared for e in key)) for key, c in ordered], rows.shape[1])
        self.denominator = denominator // shared
        self.variables = rows.shape[1] - 1
        self.factors: tuple[tuple[TropicalPolynomial, Fraction], ...] | None = None

    @classmethod
    def from_rows(cls, rows: Array, denominator: int = 1) -> "TropicalPolynomial":
        """Return the polynomial with the monomials (coefficient, *exponents) / denominator.

        Of monomials with equal exponents, the one with the largest coefficient remains.

        Parameters
        ----------
        rows : object array (monomials, 1 + variables) of int
        denominator : int
        """
        polynomial = cls.__new__(cls)
        polynomial._set(rows, denominator)
        return polynomial

    def __len__(self) -> int:
        """Return the number of monomials."""
        return len(self.rows)

    def __repr__(self) -> str:
        """Show the number of variables and of monomials."""
        return f"TropicalPolynomial({self.variables} variables, {len(self)} monomials)"

    def __eq__(self, other: object) -> bool:
        """Return whether the monomials are the same; an equal function may have further ones that never count."""
        return isinstance(other, TropicalPolynomial) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        return (self.denominator, self.rows.shape[1], *self.rows.ravel().tolist())

    @property
    def monomials(self) -> tuple[Monomial, ...]:
        """Monomials in the lexicographic order of their exponents."""
        q = self.denominator
        return tuple(
            Monomial(Fraction(c, q), tuple(Fraction(entry, q) for entry in exponents)) for c, *exponents in self.rows
        )

    def evaluate(self, x: Any) -> Any:
        """Return the value, the largest of the monomials.

        Parameters
        ----------
        x : array_like (..., variables)
            Rational numbers; a float is the binary fraction that it is.

        Returns
        -------
        Fraction, or object array (...) of Fraction

        Raises
        ------
        TypeError
            If an entry is not a number.
        ValueError
            If the last axis does not have one entry for each variable, or an entry is irrational or not finite.
        """
        points = to_fractions("x", x)
        if points.ndim == 0 or points.shape[-1] != self.variables:
            raise ValueError(f"x: expected shape (..., {self.variables}), got {points.shape}")
        values = np.empty(points.shape[:-1], dtype=object)
        for index in np.ndindex(values.shape):
            numerators, q = values_at(self.rows, points[index])
            values[index] = Fraction(numerators.max(), q * self.denominator)
        return values[()]

    def plus(self, *others: "TropicalPolynomial") -> "TropicalPolynomial":
        """Return the tropical sum of this polynomial and others: their maximum.

        Raises
        ------
        TypeError
            If one is not a TropicalPolynomial.
        ValueError
            If the numbers of variables differ.

        Examples
        --------
        >>> x, y = TropicalPolynomial({(1, 0): 0}), TropicalPolynomial({(0, 1): 0})
        >>> x.plus(y).evaluate([3, 5])
        Fraction(5, 1)
        """
        rows, denominator = self._alike(*others)
        return TropicalPolynomial.from_rows(np.concatenate(rows), denominator)

    def times(self, other: "TropicalPolynomial") -> "TropicalPolynomial":
        """Return the tropical product of two polynomials, the sum of their values: each monomial with each.

        Raises
        ------
        TypeError
            If the other is not a TropicalPolynomial.
        ValueError
            If the numbers of variables differ.

        Examples
        --------
        >>> relu = TropicalPolynomial({(0,): 0, (1,): 0})
        >>> [monomial.exponents[0] for monomial in relu.times(relu).monomials]
        [Fraction(0, 1), Fraction(1, 1), Fraction(2, 1)]
        """
        (ours, theirs), denominator = self._alike(other)
        rows = ours[:, np.newaxis] + theirs
        return TropicalPolynomial.from_rows(rows.reshape(-1, ours.shape[1]), denominator)

    def power(self, exponent: Any) -> "TropicalPolynomial":
        """Return the tropical power: the value times a positive rational number.

        Parameters
        ----------
        exponent : int, Fraction or another rational number
            A float is the binary fraction that it is.

        Raises
        ------
        TypeError
            If the exponent is not a number.
        ValueError
            If the exponent is not positive, as -f of a maximum f is a minimum; or it is irrational or not finite.

        Examples
        --------
        >>> TropicalPolynomial({(0,): 0, (1,): 2}).power(3).evaluate([1])
        Fraction(9, 1)
        """
        if not isinstance(exponent, (int, Fraction)):
            fractions = to_fractions("exponent", exponent)
            if fractions.ndim:
                raise ValueError(f"exponent: expected a positive rational number, got shape {fractions.shape}")
            exponent = fractions.item()
        if exponent <= 0:
            raise ValueError(f"exponent: expected a positive rational number, got {exponent}")
        exponent = Fraction(exponent)
        return TropicalPolynomial.from_rows(self.rows * exponent.numerator, self.denominator * exponent.denominator)

    def pruned(self) -> "TropicalPolynomial":
        """Return the polynomial without the monomials that are proved never to be the only largest one.

        `prune` returns the proofs, too.
        """
        return TropicalPolynomial.from_rows(self.rows[sorted(envelope(self.rows).kept)], self.denominator)

    def _alike(self, *others: "TropicalPolynomial") -> tuple[list[Array], int]:
        """Return the rows of several polynomials over one denominator.

        Raises
        ------
        TypeError
            If one is not a TropicalPolynomial.
        ValueError
            If the numbers of variables differ.
        """
        for other in others:
            check_polynomial("other", other)
            if other.variables != self.variables:
                raise ValueError(f"other: expected {self.variables} variables, got {other.variables}")
        polynomials = (self, *others)
        denominator = lcm(*(polynomial.denominator for polynomial in polynomials))
        return [polynomial.rows * (denominator // polynomial.denominator) for polynomial in polynomials], denominator


def check_polynomial(name: str, value: object) -> None:
    """Refuse anything but a TropicalPolynomial.

    Raises
    ------
    TypeError
        If it is something else.
    """
    if not isinstance(value, TropicalPolynomial):
        raise TypeError(f"{name}: expected a TropicalPolynomial, got {type(value).__name__}")
