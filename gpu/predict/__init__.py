"""Prediction with a collapsed network, in little more than the time that it takes to read the pixels.

`predictor.py` has the class that users call; `dispatch.py` lists the backends and chooses among them. Bytes are
integers: W, as integers cut into slices of 8-bit digits (`digit_slices.py`), is multiplied by them without rounding,
with the 8-bit dot products of processors (`int8_product.py`) or on tensor cores (`triton_kernel.py`).
"""

from gpu.predict.captured import CapturedPrediction
from gpu.predict.digit_slices import DigitSlices, slice_digits
from gpu.predict.dispatch import Choice
from gpu.predict.predictor import Predictor

__all__ = ["CapturedPrediction", "Choice", "DigitSlices", "Predictor", "slice_digits"]
