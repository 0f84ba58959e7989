"""A convolutional network without nonlinearities is one matrix W and one vector B.

The conventions, once and for all:

- A value has the shape (channels, *spatial), with any number of spatial axes; as a vector it is its C-order ravel.
- "Convolution" is cross-correlation, as in torch and in the paper: the kernel is not flipped.
- A batch has its axis first: (N, channels, *spatial).
- A kernel is (C_out, C_in / groups, *k), what torch calls the weight. W and B are the composed map.
- Per-axis arguments (padding, size, kernel_size, ...) name the spatial axes in their order, first axis first.
- Matrices have no entries where a tap falls on zero padding.
- float32 and float64 are kept, integers become float64, sympy expressions stay exact. Nothing is narrowed.

The data flows one way: `SkipNetwork` -> operations (`Conv`, `Resample`, ...) -> `compose` -> `AffineMap`.
"""

from linalg_cnn import display, symbolic
from linalg_cnn.affine import AffineMap
from linalg_cnn.compose import compose
from linalg_cnn.factored import FactoredMap, load_map
from linalg_cnn.graph import AffineGraph, Node
from linalg_cnn.ops import (
    AdaptiveAvgPool,
    AvgPool,
    AxisDense,
    BatchNorm,
    Concatenate,
    Constant,
    Conv,
    ConvTranspose,
    Dense,
    Flatten,
    Operation,
    Pad,
    Permute,
    PixelShuffle,
    PixelUnshuffle,
    Resample,
    ResampleTo,
    Reshape,
    Scale,
    Slice,
    SumOver,
    Take,
    WeightedSum,
    adaptive_avg_pool_matrix,
    avg_pool_matrix,
    conv_matrix,
    conv_transpose_matrix,
    pad_matrix,
    resample_matrix,
)
from linalg_cnn.skip_network import SkipNetwork, shared_skip_weights

__all__ = [
    "AdaptiveAvgPool",
    "AffineGraph",
    "AffineMap",
    "AvgPool",
    "AxisDense",
    "BatchNorm",
    "Concatenate",
    "Constant",
    "Conv",
    "ConvTranspose",
    "Dense",
    "FactoredMap",
    "Flatten",
    "Node",
    "Operation",
    "Pad",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "Resample",
    "ResampleTo",
    "Reshape",
    "Scale",
    "SkipNetwork",
    "Slice",
    "SumOver",
    "Take",
    "WeightedSum",
    "adaptive_avg_pool_matrix",
    "avg_pool_matrix",
    "compose",
    "conv_matrix",
    "conv_transpose_matrix",
    "display",
    "load_map",
    "pad_matrix",
    "resample_matrix",
    "shared_skip_weights",
    "symbolic",
]
