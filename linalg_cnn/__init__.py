"""A convolutional network without nonlinearities is one matrix W and one vector B.

The conventions that hold everywhere:

- A value has the shape (channels, *spatial), with any number of spatial axes. Its vector is its C-order ravel.
- "Convolution" is cross-correlation, as in torch and in the paper: the kernel is not flipped.
- The batch axis comes first: (N, channels, *spatial).
- A kernel has the shape (C_out, C_in / groups, *k); torch calls it the weight. W and B belong to the composed map.
- Arguments with one entry per spatial axis (padding, size, kernel_size, ...) list the first axis first.
- Matrices have no entries where a tap falls on zero padding.
- float32 and float64 are kept, integers become float64, and sympy expressions stay exact. No dtype is narrowed.

Data flows one way: `SkipNetwork` -> operations (`Conv`, `Resample`, ...) -> `compose` -> `AffineMap`.
"""

from importlib.metadata import version

from linalg_cnn import display as display
from linalg_cnn import symbolic as symbolic
from linalg_cnn import tropical as tropical
from linalg_cnn.affine import AffineMap as AffineMap
from linalg_cnn.compose import compose as compose
from linalg_cnn.equivalent_kernel import equivalent_kernel as equivalent_kernel
from linalg_cnn.factored import FactoredMap as FactoredMap
from linalg_cnn.factored import load_map as load_map
from linalg_cnn.graph import AffineGraph as AffineGraph
from linalg_cnn.graph import Node as Node
from linalg_cnn.ops.avg_pool import AdaptiveAvgPool as AdaptiveAvgPool
from linalg_cnn.ops.avg_pool import AvgPool as AvgPool
from linalg_cnn.ops.avg_pool import adaptive_avg_pool_matrix as adaptive_avg_pool_matrix
from linalg_cnn.ops.avg_pool import avg_pool_matrix as avg_pool_matrix
from linalg_cnn.ops.axis_dense import AxisDense as AxisDense
from linalg_cnn.ops.axis_sparse import AxisSparse as AxisSparse
from linalg_cnn.ops.base import Operation as Operation
from linalg_cnn.ops.batch_norm import BatchNorm as BatchNorm
from linalg_cnn.ops.blend import Blend as Blend
from linalg_cnn.ops.concatenate import Concatenate as Concatenate
from linalg_cnn.ops.constant import Constant as Constant
from linalg_cnn.ops.conv import Conv as Conv
from linalg_cnn.ops.conv import conv_matrix as conv_matrix
from linalg_cnn.ops.conv_transpose import ConvTranspose as ConvTranspose
from linalg_cnn.ops.conv_transpose import conv_transpose_matrix as conv_transpose_matrix
from linalg_cnn.ops.dense import Dense as Dense
from linalg_cnn.ops.pad import Pad as Pad
from linalg_cnn.ops.pad import pad_matrix as pad_matrix
from linalg_cnn.ops.per_slice import PerSlice as PerSlice
from linalg_cnn.ops.pixel_shuffle import PixelShuffle as PixelShuffle
from linalg_cnn.ops.pixel_shuffle import PixelUnshuffle as PixelUnshuffle
from linalg_cnn.ops.rearrange import Flatten as Flatten
from linalg_cnn.ops.rearrange import Permute as Permute
from linalg_cnn.ops.rearrange import Reshape as Reshape
from linalg_cnn.ops.rearrange import Slice as Slice
from linalg_cnn.ops.resample import Resample as Resample
from linalg_cnn.ops.resample import ResampleTo as ResampleTo
from linalg_cnn.ops.resample import resample_matrix as resample_matrix
from linalg_cnn.ops.scale import Scale as Scale
from linalg_cnn.ops.sum_over import SumOver as SumOver
from linalg_cnn.ops.take import Take as Take
from linalg_cnn.ops.weighted_sum import WeightedSum as WeightedSum
from linalg_cnn.ops.weighted_sum_over import WeightedSumOver as WeightedSumOver
from linalg_cnn.piecewise.activations import Abs as Abs
from linalg_cnn.piecewise.activations import LeakyReLU as LeakyReLU
from linalg_cnn.piecewise.activations import PReLU as PReLU
from linalg_cnn.piecewise.activations import ReLU as ReLU
from linalg_cnn.piecewise.activations import Softshrink as Softshrink
from linalg_cnn.piecewise.base import PiecewiseOperation as PiecewiseOperation
from linalg_cnn.piecewise.choices import AdaptiveMaxPool as AdaptiveMaxPool
from linalg_cnn.piecewise.choices import MaxOver as MaxOver
from linalg_cnn.piecewise.choices import MaxPool as MaxPool
from linalg_cnn.piecewise.choices import MinOver as MinOver
from linalg_cnn.piecewise.clipping import Clamp as Clamp
from linalg_cnn.piecewise.clipping import Hardsigmoid as Hardsigmoid
from linalg_cnn.piecewise.clipping import Hardtanh as Hardtanh
from linalg_cnn.piecewise.clipping import ReLU6 as ReLU6
from linalg_cnn.piecewise.maxima import AMax as AMax
from linalg_cnn.piecewise.maxima import AMin as AMin
from linalg_cnn.piecewise.maxima import Maximum as Maximum
from linalg_cnn.piecewise.maxima import Minimum as Minimum
from linalg_cnn.piecewise.region import Region as Region
from linalg_cnn.piecewise.region import region as region
from linalg_cnn.piecewise.segment import ClassChange as ClassChange
from linalg_cnn.piecewise.segment import Path as Path
from linalg_cnn.piecewise.segment import segment as segment
from linalg_cnn.piecewise.slices import SliceRegion as SliceRegion
from linalg_cnn.piecewise.slices import SliceRegions as SliceRegions
from linalg_cnn.piecewise.slices import slice_regions as slice_regions
from linalg_cnn.piecewise.walls import Distance as Distance
from linalg_cnn.piecewise.walls import Wall as Wall
from linalg_cnn.piecewise_graph import PiecewiseGraph as PiecewiseGraph
from linalg_cnn.piecewise_graph import PiecewiseNode as PiecewiseNode
from linalg_cnn.skip_network import SkipNetwork as SkipNetwork
from linalg_cnn.skip_weights import shared_skip_weights as shared_skip_weights


def __getattr__(name: str) -> str:
    if name == "__version__":
        return version("linalg_cnn")
    raise AttributeError(f"module 'linalg_cnn' has no attribute {name!r}")


# The imports above are the list of what is public.
__all__ = ["display", "symbolic", "tropical"]
__all__ += [name for name, value in vars().items() if getattr(value, "__module__", "").startswith("linalg_cnn.")]
