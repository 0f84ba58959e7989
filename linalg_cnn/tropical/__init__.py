"""The tropical form of a small piecewise-linear network: a difference of two exact tropical polynomials.

In max-plus arithmetic the sum of two numbers is their maximum and their product is their usual sum. A polynomial of
this arithmetic is a maximum of affine functions, and each network of affine layers and ReLUs, or of other
piecewise-linear nonlinearities, is a difference of two of them.

Source: L. Zhang, G. Naitzat, L.-H. Lim, "Tropical geometry of deep neural networks", ICML 2018.
"""

from linalg_cnn.tropical.curve import Edge, Piece, TropicalCurve, tropical_curve
from linalg_cnn.tropical.form import tropical_form
from linalg_cnn.tropical.polynomial import Monomial, TropicalPolynomial
from linalg_cnn.tropical.polytopes import Zonotope, newton_vertices
from linalg_cnn.tropical.pruning import Kept, Pruning, Removed, prune
from linalg_cnn.tropical.tropical_map import TropicalMap

__all__ = [
    "Edge",
    "Kept",
    "Monomial",
    "Piece",
    "Pruning",
    "Removed",
    "TropicalCurve",
    "TropicalMap",
    "TropicalPolynomial",
    "Zonotope",
    "newton_vertices",
    "prune",
    "tropical_curve",
    "tropical_form",
]
