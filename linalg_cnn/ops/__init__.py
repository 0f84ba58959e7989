"""Operations: each file holds one index rule, and what follows from it."""

from linalg_cnn.ops.avg_pool import AvgPool, avg_pool_matrix
from linalg_cnn.ops.base import Operation
from linalg_cnn.ops.batch_norm import BatchNorm
from linalg_cnn.ops.conv import Conv, conv_matrix
from linalg_cnn.ops.conv_transpose import ConvTranspose, conv_transpose_matrix
from linalg_cnn.ops.dense import Dense
from linalg_cnn.ops.pad import Pad, pad_matrix
from linalg_cnn.ops.resample import Resample, ResampleTo, resample_matrix
from linalg_cnn.ops.weighted_sum import WeightedSum

__all__ = [
    "AvgPool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Operation",
    "Pad",
    "Resample",
    "ResampleTo",
    "WeightedSum",
    "avg_pool_matrix",
    "conv_matrix",
    "conv_transpose_matrix",
    "pad_matrix",
    "resample_matrix",
]
