"""What notebooks show for the library's objects: pictures and formulas of bounded size.

Each function registered with `linalg_cnn.notebook` serves the class of its argument.
"""

from typing import Any

from linalg_cnn.affine import AffineMap
from linalg_cnn.display.colors import PAPER
from linalg_cnn.display.equations import flat, sign_times, vector_picture
from linalg_cnn.display.images import kernel_picture, rows_picture
from linalg_cnn.display.latex import affine_formula, network_formula
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.networks import network_picture
from linalg_cnn.display.picture import Picture, side_by_side
from linalg_cnn.factored import FactoredMap
from linalg_cnn.graph import AffineGraph
from linalg_cnn.notebook import html_of, latex_of
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.taps import TapOperation
from linalg_cnn.skip_network import SkipNetwork

MOST_ENTRIES = 4_000_000
"""Larger matrices are left to their repr: drawing one should not take longer than looking at it."""


def affine_picture(affine: AffineMap) -> Picture | None:
    """Return W and B as a picture; as one image per row where W has few rows over images; None if it is too large.

    Examples
    --------
    >>> affine_picture(AffineMap([[2.0]], [3.0])).alt
    'AffineMap(1 -> 1, dense float64): 1 x 1 matrix, coloured by value: row 0: 2 in column 0 plus the vector (3)'
    """
    count = affine.W.nnz if affine.sparse else affine.in_size * affine.out_size
    if count > MOST_ENTRIES or (affine.symbolic and count > 40_000):
        return None
    shape = affine.in_shape
    if not affine.symbolic and shape is not None and len(shape) == 3 and min(shape[1:]) >= 5 and affine.out_size <= 20:
        picture = rows_picture(affine)
    else:
        picture = matrix_picture(affine.W, affine.in_shape, affine.out_shape)
        if affine.out_size <= 24:
            bias = vector_picture(flat(affine.B), [PAPER] * affine.out_size)
            picture = side_by_side(picture, sign_x(), "+", bias, alt=f"{picture.alt} plus {bias.alt}")
    return picture.titled(repr(affine)).with_alt(f"{affine!r}: {picture.alt}")


def sign_x() -> Picture:
    """Return the x of W x."""
    return Picture('<text x="2" y="15" font-size="18" font-style="italic" font-family="serif">x</text>', 12, 20, "")


@html_of.register
def affine_html(affine: AffineMap) -> str | None:
    """Return the picture of a map, or None where a formula says more or nothing can be drawn."""
    if affine_formula(affine) is not None:
        return None
    picture = affine_picture(affine)
    return None if picture is None else picture.svg


@latex_of.register
def affine_latex(affine: AffineMap) -> str | None:
    """Return y = W x + B in letters for a small symbolic map, or None."""
    formula = affine_formula(affine)
    return None if formula is None else formula._repr_latex_()


def factored_picture(factored: FactoredMap) -> Picture | None:
    """Return the matrices of a product next to each other, all on one scale; None if they are too large.

    Examples
    --------
    >>> map_ = FactoredMap([AffineMap([[1.0], [2.0]], [0.0, 5.0]), AffineMap([[1.0, 1.0]], [0.0])])
    >>> factored_picture(map_).alt[:55]
    'FactoredMap(2x1 @ 1x2): 2 x 1 matrix, coloured by value'
    """
    factors = factored.factors
    if sum(factor.in_size * factor.out_size for factor in factors) > MOST_ENTRIES or len(factors) > 8:
        return None
    largest = max(max(factor.W.shape) for factor in factors)
    items: list[Picture | str] = []
    for factor in factors:
        share = max(factor.W.shape) / largest
        picture = matrix_picture(factor.W, factor.in_shape, factor.out_shape, longest=max(320 * share, 24))
        items += [picture.captioned(f"{factor.out_size} x {factor.in_size}"), sign_times()]
    picture = side_by_side(*items[:-1])
    return picture.titled(repr(factored)).with_alt(f"{factored!r}: {picture.alt}")


@html_of.register
def factored_html(factored: FactoredMap) -> str | None:
    """Return the picture of a product, or None if it is too large."""
    picture = factored_picture(factored)
    return None if picture is None else picture.svg


@html_of.register
def operation_html(operation: Operation) -> str | None:
    """Return the kernel of an operation that has one, under its options; None otherwise."""
    if not isinstance(operation, TapOperation):
        return None
    kernel: Any = operation.kernel  # type: ignore[attr-defined]
    if kernel.ndim not in {3, 4}:
        return None
    picture = kernel_picture(kernel, color="kernel" if operation.symbolic else "value")
    return picture.titled(repr(operation)).with_alt(f"{operation!r}: {picture.alt}").svg


@html_of.register(AffineGraph)
@html_of.register(SkipNetwork)
def network_html(network: AffineGraph | SkipNetwork) -> str:
    """Return a network as boxes and arrows."""
    return network_picture(network).svg


@latex_of.register
def network_latex(network: SkipNetwork) -> str:
    """Return equation (10) of every layer."""
    return network_formula(network)._repr_latex_()
