"""Pictures and formulas that notebooks show for the library's objects; their size is bounded.

Each function registered with `linalg_cnn.notebook` serves the class of its argument.
"""

from typing import Any

from linalg_cnn.affine import AffineMap
from linalg_cnn.display.colors import PAPER
from linalg_cnn.display.entries import flat
from linalg_cnn.display.equations import vector_picture
from linalg_cnn.display.images import kernel_picture, rows_picture
from linalg_cnn.display.latex import affine_formula, network_formula
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.networks import network_picture
from linalg_cnn.display.picture import TIMES, Picture, X, side_by_side
from linalg_cnn.display.segments import segment_picture
from linalg_cnn.display.slices import slice_picture
from linalg_cnn.display.tropical import tropical_picture
from linalg_cnn.display.words import clause
from linalg_cnn.factored import FactoredMap
from linalg_cnn.notebook import html_of, latex_of
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.taps import TapOperation
from linalg_cnn.piecewise.segment import Path
from linalg_cnn.piecewise.slices import SliceRegions
from linalg_cnn.skip_network import SkipNetwork
from linalg_cnn.tropical import TropicalPolynomial
from linalg_cnn.wiring import Graph

MOST_ENTRIES = 4_000_000
"""Number of entries above which notebooks show the repr of a matrix, because drawing it takes too long."""

MOST_MONOMIALS = 60
"""Number of monomials above which notebooks show the repr of a polynomial, because pruning it takes seconds."""

MOST_REGIONS = 10_000
"""Number of regions above which notebooks show the repr of a slice, because drawing it takes seconds and megabytes."""


def affine_picture(affine: AffineMap) -> Picture | None:
    """Return a picture of W and B, or of the rows of W as images if they are few; None if the map is too large.

    Examples
    --------
    >>> affine_picture(AffineMap([[2.0]], [3.0])).alt  # doctest: +ELLIPSIS
    'AffineMap(1 -> 1, dense float64): W is a matrix of size 1 x 1, ... has 2 in column 0. B is the vector (3).'
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
            alt = f"W is {clause(picture.alt)} B is {clause(bias.alt)}"
            picture = side_by_side(picture, X, "+", bias, alt=alt)
    return picture.with_title(repr(affine))


@html_of.register
def affine_html(affine: AffineMap) -> str | None:
    """Return the picture of a map; None if a formula shows it or it is too large."""
    if affine_formula(affine) is not None:
        return None
    picture = affine_picture(affine)
    return None if picture is None else picture.svg


@latex_of.register
def affine_latex(affine: AffineMap) -> str | None:
    """Return y = W x + B with the entries of a small symbolic map; None for other maps."""
    formula = affine_formula(affine)
    return None if formula is None else formula._repr_latex_()


def factored_picture(factored: FactoredMap) -> Picture | None:
    """Return the matrices of a product next to each other, drawn to scale; None if they are too large.

    Examples
    --------
    >>> map_ = FactoredMap([AffineMap([[1.0], [2.0]], [0.0, 5.0]), AffineMap([[1.0, 1.0]], [0.0])])
    >>> factored_picture(map_).alt[:75]
    'FactoredMap(2x1 @ 1x2): The product of 2 matrices. A matrix of size 2 x 1, '
    """
    factors = factored.factors
    if sum(factor.in_size * factor.out_size for factor in factors) > MOST_ENTRIES or len(factors) > 8:
        return None
    largest = max(max(factor.W.shape) for factor in factors)
    items: list[Picture | str] = []
    for factor in factors:
        share = max(factor.W.shape) / largest
        picture = matrix_picture(factor.W, factor.in_shape, factor.out_shape, longest=max(320 * share, 24))
        items += [picture.captioned(f"{factor.out_size} x {factor.in_size}"), TIMES]
    words = " ".join(item.alt for item in items if isinstance(item, Picture) and item is not TIMES)
    picture = side_by_side(*items[:-1], alt=f"The product of {len(factors)} matrices. {words}")
    return picture.with_title(repr(factored))


@html_of.register
def factored_html(factored: FactoredMap) -> str | None:
    """Return the picture of a product, or None if it is too large."""
    picture = factored_picture(factored)
    return None if picture is None else picture.svg


@html_of.register
def tropical_html(polynomial: TropicalPolynomial) -> str | None:
    """Return the picture of a polynomial in one or two variables; None if it has more, is long or has huge numbers."""
    if polynomial.variables > 2 or len(polynomial) > MOST_MONOMIALS:
        return None
    try:
        return tropical_picture(polynomial).with_title(repr(polynomial)).svg
    except ValueError:  # numbers that float64 does not hold
        return None


@html_of.register
def slice_html(regions: SliceRegions) -> str | None:
    """Return the regions of a slice, coloured by the largest output; None if they are too many."""
    return None if len(regions) > MOST_REGIONS else slice_picture(regions, title=repr(regions)).svg


@html_of.register
def path_html(path: Path) -> str:
    """Return a network along a segment, with its breaks."""
    return segment_picture(path, title=repr(path)).svg


@html_of.register
def operation_html(operation: Operation) -> str | None:
    """Return the picture of an operation's kernel; None if there is no kernel or it has more than two spatial axes."""
    if not isinstance(operation, TapOperation):
        return None
    kernel: Any = operation.kernel
    if kernel.ndim not in {3, 4}:
        return None
    picture = kernel_picture(kernel, color="kernel" if operation.symbolic else "value")
    return picture.with_title(repr(operation)).svg


@html_of.register(Graph)
@html_of.register(SkipNetwork)
def network_html(network: Graph[Any] | SkipNetwork) -> str:
    """Return a network as boxes and arrows."""
    return network_picture(network).svg


@latex_of.register
def network_latex(network: SkipNetwork) -> str:
    """Return equation (10) of every layer."""
    return network_formula(network)._repr_latex_()
