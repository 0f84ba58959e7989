"""Pictures and formulas of the library's objects, for notebooks.

Pictures are SVG on a white background with a text alternative, and formulas are LaTeX; neither needs more than the core
does. `curves_picture` and the functions whose names end in ``_figure`` need matplotlib, and the sliders of an
`Explorer` need ipywidgets.

=====================  ==================================================================================
`matrix_picture`       a matrix or operation, coloured by kernel entry, pixel, entry or value
`equation_picture`     A x = y in colour, as in the paper's equations (6) and (8)
`operation_picture`    image, kernel, output and matrix of an operation, with one output pixel highlighted
`image_picture`        an image of numbers or letters; `letter_colors` keeps the colours of its letters
`kernel_picture`       a kernel, one grid per pair of channels
`rows_picture`         the rows of W as images
`network_picture`      a network as boxes and arrows, with the weights of its skips
`tropical_picture`     a tropical polynomial beside its Newton polytope; `zonotope_picture` draws a zonotope
`slice_picture`        the regions of a ReLU network in a plane; `segment_picture` shows it along a segment
`local_maps_picture`   the rows of W(x) as images for several inputs x, with the inputs
`curves_picture`       curves of numbers, such as spectra, accuracies and schedules
`figure_picture`       a matplotlib figure with a text alternative
`side_by_side`         pictures next to each other; `stacked` puts them below each other
`Explorer`             a picture with sliders; `explore_convolution`, `explore_resampling`, `explore_skip`
`explore_composition`  theorem 3.1 step by step: how W and B of each layer follow from those before it
`live_html`            a picture with sliders for a web page, where no kernel runs
`equation_formula`     A x = y as LaTeX; `affine_formula`, `layer_formula`, `network_formula`
`named_entries`        letters for the long entries of a matrix; `entries_formula` lists their values
=====================  ==================================================================================
"""

from linalg_cnn.display.colors import DIVERGING, INK, MUTED, OKABE_ITO, diverging_colors, grid_colors
from linalg_cnn.display.composition import explore_composition
from linalg_cnn.display.curves import curves_picture
from linalg_cnn.display.equations import equation_picture, vector_picture
from linalg_cnn.display.explorers import Explorer, explore_convolution, explore_resampling, explore_skip
from linalg_cnn.display.figures import Panel, matrices_figure, matrix_panels, occupancy, to_png, weights_figure
from linalg_cnn.display.images import image_picture, kernel_picture, letter_colors, rows_picture, scale_bar
from linalg_cnn.display.latex import (
    Formula,
    affine_formula,
    entries_formula,
    equation_formula,
    image_latex,
    layer_formula,
    matrix_latex,
    named_entries,
    network_formula,
)
from linalg_cnn.display.live import live_html
from linalg_cnn.display.local_maps import local_maps_picture
from linalg_cnn.display.matrices import matrix_picture
from linalg_cnn.display.networks import network_picture
from linalg_cnn.display.objects import affine_picture, factored_picture
from linalg_cnn.display.operations import operation_picture
from linalg_cnn.display.picture import Picture, figure_picture, side_by_side, stacked
from linalg_cnn.display.segments import segment_picture
from linalg_cnn.display.slices import slice_picture
from linalg_cnn.display.tropical import tropical_picture
from linalg_cnn.display.zonotopes import zonotope_picture

__all__ = [
    "DIVERGING",
    "INK",
    "MUTED",
    "OKABE_ITO",
    "Explorer",
    "Formula",
    "Panel",
    "Picture",
    "affine_formula",
    "affine_picture",
    "curves_picture",
    "diverging_colors",
    "entries_formula",
    "equation_formula",
    "equation_picture",
    "explore_composition",
    "explore_convolution",
    "explore_resampling",
    "explore_skip",
    "factored_picture",
    "figure_picture",
    "grid_colors",
    "image_latex",
    "image_picture",
    "kernel_picture",
    "layer_formula",
    "letter_colors",
    "live_html",
    "local_maps_picture",
    "matrices_figure",
    "matrix_latex",
    "matrix_panels",
    "matrix_picture",
    "named_entries",
    "network_formula",
    "network_picture",
    "occupancy",
    "operation_picture",
    "rows_picture",
    "scale_bar",
    "segment_picture",
    "side_by_side",
    "slice_picture",
    "stacked",
    "to_png",
    "tropical_picture",
    "vector_picture",
    "weights_figure",
    "zonotope_picture",
]
