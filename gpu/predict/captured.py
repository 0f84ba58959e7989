"""A whole epoch of predictions as a CUDA graph."""

import torch

from gpu.predict.predictor import Predictor
from gpu.runtime.cuda_graphs import CudaGraph, warm_up
from linalg_cnn.checks import check_int


class CapturedPrediction:
    """The prediction of all images of a tensor, batch by batch, as a CUDA graph with a single launch.

    Parameters
    ----------
    predictor : Predictor
        Predictor on CUDA.
    images : tensor (N, *in_shape)
        Images on the same device. The graph reads this tensor: write other images into it, and call again.
    batch_size : int, optional
        Number of images in a batch; all images if not given.
    classes : bool
        Whether to return classes, int64 (N,), instead of scores.

    Raises
    ------
    TypeError
        If the predictor is not a `Predictor`, or the images are not a tensor.
    ValueError
        If there are no images, the batch size is not an int of at least 1, or the predictor and the images are not on
        one CUDA device.

    Notes
    -----
    Source: ``torch.cuda.CUDAGraph``. The result is written to the same tensor at every call.
    """

    def __init__(
        self, predictor: Predictor, images: torch.Tensor, batch_size: int | None = None, *, classes: bool = False
    ) -> None:
        if not isinstance(predictor, Predictor):
            raise TypeError(f"predictor: expected a Predictor, got {type(predictor).__name__}")
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"images: expected a torch tensor, got {type(images).__name__}")
        if not images.ndim or not len(images):
            raise ValueError(f"images: expected at least one image, got shape {tuple(images.shape)}")
        size = len(images) if batch_size is None else check_int("batch_size", batch_size, 1)
        # the predictor would copy images from another device, which a graph of this device cannot record
        if predictor.device.type != "cuda" or images.device != predictor.device:
            raise ValueError(
                f"device: expected predictor and images on one CUDA device, got {predictor.device} and {images.device}"
            )
        predict = predictor.classes if classes else predictor
        batches = images.split(size)

        def epoch() -> torch.Tensor:
            return torch.cat([predict(batch) for batch in batches])

        stream = warm_up(epoch, predictor.device)
        self._graph = CudaGraph(epoch, predictor.device, stream)

    def __call__(self) -> torch.Tensor:
        """Predict the images once more, and return the result, which the next call overwrites."""
        result: torch.Tensor = self._graph()
        return result
