"""Pruning of a tropical polynomial with an exact proof for each monomial."""

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from linalg_cnn.tropical.envelope import Point, envelope
from linalg_cnn.tropical.polynomial import Monomial, TropicalPolynomial, check_polynomial


class Removed(NamedTuple):
    """A monomial that is never the only largest one, with its certificate.

    Attributes
    ----------
    monomial : Monomial
    weights : dict {Monomial: Fraction}
        Positive weights, with the sum 1, of monomials that are kept. Their combination has the exponents of
        ``monomial`` and a coefficient of at least its own, so that at each point one of them is at least as large.

    Examples
    --------
    >>> prune(TropicalPolynomial({(0,): 0, (1,): -1, (2,): 0})).removed[0].monomial
    Monomial(coefficient=Fraction(-1, 1), exponents=(Fraction(1, 1),), output=0)
    """

    monomial: Monomial
    weights: dict[Monomial, Fraction]


class Kept(NamedTuple):
    """A monomial that is kept, with a point where it is larger than all others.

    Attributes
    ----------
    monomial : Monomial
    witness : tuple of Fraction, or None
        None if neither a witness nor a certificate was found: the monomial is kept for lack of a certificate.

    Examples
    --------
    >>> prune(TropicalPolynomial({(0,): 0, (1,): 0})).kept[1].witness
    (Fraction(1, 1),)
    """

    monomial: Monomial
    witness: Point | None


@dataclass(frozen=True)
class Pruning:
    """A polynomial without superfluous monomials, and the proofs that they are.

    Attributes
    ----------
    polynomial : TropicalPolynomial
        Polynomial of the kept monomials, which is the same function.
    kept : tuple of Kept
    removed : tuple of Removed

    Examples
    --------
    >>> prune(TropicalPolynomial({(0,): 0, (1,): 0})).complete
    True
    """

    polynomial: TropicalPolynomial
    kept: tuple[Kept, ...]
    removed: tuple[Removed, ...]

    @property
    def complete(self) -> bool:
        """Whether each kept monomial has a witness, so that no other could be removed."""
        return all(kept.witness is not None for kept in self.kept)


def prune(polynomial: TropicalPolynomial) -> Pruning:
    """Remove the monomials that are never the only largest one, each with an exact certificate.

    Floats only propose: a monomial is removed if rational weights prove, exactly, that a convex combination of kept
    monomials dominates it. A kept monomial has an exact witness, a point where it is larger than
    all others; where floats can tell neither, it is kept for lack of a certificate.

    Parameters
    ----------
    polynomial : TropicalPolynomial

    Returns
    -------
    Pruning

    Raises
    ------
    TypeError
        If ``polynomial`` is not a TropicalPolynomial.

    Notes
    -----
    In up to three variables a convex hull proposes most proofs at once, and thousands of monomials take seconds. In
    more variables there is a linear program for about each monomial.

    Examples
    --------
    >>> f = TropicalPolynomial({(0,): 0, (1,): -1, (2,): 0})  # max(0, x - 1, 2 x)
    >>> pruning = prune(f)
    >>> [monomial.exponents for monomial in pruning.polynomial.monomials]
    [(Fraction(0, 1),), (Fraction(2, 1),)]
    >>> list(pruning.removed[0].weights.values())
    [Fraction(1, 2), Fraction(1, 2)]
    """
    check_polynomial("polynomial", polynomial)
    found = envelope(polynomial.rows)
    monomials = polynomial.monomials
    rows = sorted(found.kept)
    return Pruning(
        TropicalPolynomial.from_rows(polynomial.rows[rows], polynomial.denominator),
        tuple(Kept(monomials[row], found.kept[row]) for row in rows),
        tuple(
            Removed(monomials[row], {monomials[kept]: weight for kept, weight in weights.items()})
            for row, weights in sorted(found.removed.items())
        ),
    )
