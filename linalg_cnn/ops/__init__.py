"""Operations: each file holds one index rule, and what follows from it."""

from linalg_cnn.ops.avg_pool import AdaptiveAvgPool, AvgPool, adaptive_avg_pool_matrix, avg_pool_matrix
from linalg_cnn.ops.axis_dense import AxisDense
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.batch_norm import BatchNorm
from linalg_cnn.ops.concatenate import Concatenate
from linalg_cnn.ops.constant import Constant
from linalg_cnn.ops.conv import Conv, conv_matrix
from linalg_cnn.ops.conv_transpose import ConvTranspose, conv_transpose_matrix
from linalg_cnn.ops.dense import Dense
from linalg_cnn.ops.pad import Pad, pad_matrix
from linalg_cnn.ops.pixel_shuffle import PixelShuffle, PixelUnshuffle
from linalg_cnn.ops.rearrange import Flatten, Permute, Reshape, Slice
from linalg_cnn.ops.resample import Resample, ResampleTo, resample_matrix
from linalg_cnn.ops.scale import Scale
from linalg_cnn.ops.sum_over import SumOver
from linalg_cnn.ops.take import Take
from linalg_cnn.ops.weighted_sum import WeightedSum

__all__ = [
    "AdaptiveAvgPool",
    "AvgPool",
    "AxisDense",
    "BatchNorm",
    "Concatenate",
    "Constant",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Flatten",
    "Operation",
    "Pad",
    "Permute",
    "PixelShuffle",
    "PixelUnshuffle",
    "Resample",
    "ResampleTo",
    "Reshape",
    "Scale",
    "Slice",
    "SumOver",
    "Take",
    "WeightedSum",
    "adaptive_avg_pool_matrix",
    "avg_pool_matrix",
    "conv_matrix",
    "conv_transpose_matrix",
    "pad_matrix",
    "resample_matrix",
]
