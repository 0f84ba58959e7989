"""Vector-valued tropical polynomials."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from linalg_cnn.checks import check_items, check_shape
from linalg_cnn.tropical.polynomial import Monomial, TropicalPolynomial, check_polynomial
from linalg_cnn.tropical.rationals import to_fractions
from linalg_cnn.types import Array, Shape, size_of


@dataclass(frozen=True)
class TropicalMap:
    """A vector-valued tropical polynomial: one `TropicalPolynomial` for each entry of the output.

    Parameters
    ----------
    polynomials : sequence of TropicalPolynomial
        Polynomials of the entries of the output in C order. Their variables are the entries of the input in C order.
    in_shape, out_shape : tuple of int
        Shapes of input and output.

    Raises
    ------
    TypeError
        If ``polynomials`` is not a sequence of TropicalPolynomials.
    ValueError
        If a shape is malformed, there is not one polynomial for each entry of the output, or one does not have one
        variable for each entry of the input.

    Examples
    --------
    >>> relu = TropicalMap((TropicalPolynomial({(0,): 0, (1,): 0}),), (1,), (1,))
    >>> relu.evaluate([-2]), relu.evaluate([[0.5], [3]])
    (array([Fraction(0, 1)], dtype=object), array([[Fraction(1, 2)],
           [Fraction(3, 1)]], dtype=object))
    """

    polynomials: tuple[TropicalPolynomial, ...]
    in_shape: Shape
    out_shape: Shape

    def __post_init__(self) -> None:
        polynomials = check_items("polynomials", self.polynomials, "a sequence of TropicalPolynomials")
        in_shape, out_shape = (check_shape(name, getattr(self, name)) for name in ("in_shape", "out_shape"))
        if len(polynomials) != size_of(out_shape):
            raise ValueError(
                f"polynomials: expected {size_of(out_shape)}, one for each entry of out_shape {out_shape}, "
                f"got {len(polynomials)}"
            )
        for number, polynomial in enumerate(polynomials):
            check_polynomial(f"polynomials[{number}]", polynomial)
            if polynomial.variables != size_of(in_shape):
                raise ValueError(
                    f"polynomials[{number}]: expected {size_of(in_shape)} variables, one for each entry of in_shape "
                    f"{in_shape}, got {polynomial.variables}"
                )
        for name, value in (("polynomials", polynomials), ("in_shape", in_shape), ("out_shape", out_shape)):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Show the shapes and the number of monomials."""
        return f"TropicalMap({self.in_shape} -> {self.out_shape}, {sum(map(len, self.polynomials))} monomials)"

    def evaluate(self, x: Any) -> Array:
        """Return the values of all polynomials.

        Parameters
        ----------
        x : array_like (..., *in_shape)
            Rational numbers; a float is the binary fraction that it is.

        Returns
        -------
        object array (..., *out_shape) of Fraction

        Raises
        ------
        TypeError
            If an entry is not a number.
        ValueError
            If the last axes of ``x`` are not ``in_shape``, or an entry is irrational or not finite.
        """
        points = to_fractions("x", x)
        split = points.ndim - len(self.in_shape)
        if split < 0 or points.shape[split:] != self.in_shape:
            raise ValueError(f"x: expected shape (..., {', '.join(map(str, self.in_shape))}), got {points.shape}")
        vectors = points.reshape(-1, size_of(self.in_shape))
        values = np.empty((len(vectors), len(self.polynomials)), dtype=object)
        for number, polynomial in enumerate(self.polynomials):
            values[:, number] = polynomial.evaluate(vectors)
        return values.reshape(*points.shape[:split], *self.out_shape)

    @property
    def monomials(self) -> tuple[Monomial, ...]:
        """Monomials of all polynomials; ``monomial.output`` is the number of its polynomial."""
        return tuple(
            monomial._replace(output=output)
            for output, polynomial in enumerate(self.polynomials)
            for monomial in polynomial.monomials
        )

    def pruned(self) -> "TropicalMap":
        """Return the same map without the monomials that are proved never to be the only largest of their polynomial.

        `prune` returns the proofs for one polynomial.
        """
        return TropicalMap(tuple(f.pruned() for f in self.polynomials), self.in_shape, self.out_shape)
