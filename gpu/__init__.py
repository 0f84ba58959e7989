"""The networks of `linalg_cnn` as torch modules: training, prediction and timing, on CUDA where there is one.

This package depends on `linalg_cnn`, never the other way round.
"""

from gpu.modules import NearestResample, SkipCNN
from gpu.networks import three_layer_cnn

__all__ = ["NearestResample", "SkipCNN", "three_layer_cnn"]
