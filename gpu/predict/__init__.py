"""Prediction with a collapsed network: near the time that it takes to read the pixels.

`predictor.py` has what users call. Bytes are integers, so that W, as integers cut into planes of 8 bits (`planes.py`),
is multiplied without rounding by the processors' 8-bit dot products (`int8_product.py`) or on tensor cores
(`triton_kernel.py`).
"""

from gpu.predict.captured import CapturedPrediction
from gpu.predict.dispatch import Choice
from gpu.predict.predictor import Predictor

__all__ = ["CapturedPrediction", "Choice", "Predictor"]
