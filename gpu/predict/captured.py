"""A whole epoch of predictions as a CUDA graph."""

from typing import Any

import torch

from gpu.predict.predictor import Predictor


class CapturedPrediction:
    """The prediction of all images of a tensor, batch by batch, as one CUDA graph: one launch instead of one a batch.

    Parameters
    ----------
    predictor : Predictor
        On CUDA.
    images : tensor (N, *in_shape)
        On the same device. The graph reads this tensor: write other images into it, and call again.
    batch_size : int, optional
        All images at once if not given.
    classes : bool
        Whether to give classes, int64 (N,), instead of scores.

    Raises
    ------
    TypeError
        If the images are no tensor.
    ValueError
        If the predictor or the images are not on CUDA, there are no images, or the batch size is not positive.

    Notes
    -----
    Source: ``torch.cuda.CUDAGraph``. The result is written to the same tensor at every call.
    """

    def __init__(
        self, predictor: Predictor, images: torch.Tensor, batch_size: int | None = None, *, classes: bool = False
    ) -> None:
        if not isinstance(images, torch.Tensor):
            raise TypeError(f"images: expected a torch tensor, got {type(images).__name__}")
        if predictor.device.type != "cuda" or images.device.type != "cuda":
            raise ValueError(
                f"device: expected predictor and images on CUDA, got {predictor.device} and {images.device}"
            )
        if not len(images) or (batch_size is not None and batch_size < 1):
            raise ValueError(f"batch_size: expected at least one image a batch, got {len(images)} by {batch_size}")
        self._read = predictor, images  # what the graph reads must not be freed
        predict = predictor.classes if classes else predictor
        batches = images.split(batch_size or len(images))

        def epoch() -> torch.Tensor:
            return torch.cat([predict(batch) for batch in batches])

        device = predictor.device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            epoch()  # kernels are compiled and libraries set up before the capture
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph: Any = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(self._graph, stream=stream):
            self._result = epoch()

    def __call__(self) -> torch.Tensor:
        """Predict the images once more, and return the result, which is written over at the next call."""
        self._graph.replay()
        return self._result
