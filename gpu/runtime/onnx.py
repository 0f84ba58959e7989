"""Networks in onnxruntime."""

import torch
from torch import nn

from gpu.runtime.timing import Predict
from linalg_cnn.types import Shape


def to_onnx(module: nn.Module, in_shape: Shape) -> bytes:
    """Return a network as an ONNX model for batches of any size.

    Parameters
    ----------
    module : nn.Module
        The network, on the CPU.
    in_shape : tuple of int
        Shape of an image.

    Raises
    ------
    ModuleNotFoundError
        If the exporter's packages are not installed.
    """
    example = torch.rand(2, *in_shape)
    shapes = ({0: torch.export.Dim.DYNAMIC},)
    exported = torch.onnx.export(module, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert exported is not None  # noqa: S101 - for mypy: it is, with dynamo=True
    model: bytes = exported.model_proto.SerializeToString()
    return model


def onnx_session(model: bytes) -> Predict:
    """Return an ONNX model as a function that onnxruntime runs on the CPU with as many threads as torch has.

    Raises
    ------
    ModuleNotFoundError
        If onnxruntime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # threads that wait busily after a run would slow down whatever is timed next, other sessions among it
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch.numpy()})


def in_onnxruntime(module: nn.Module, in_shape: Shape) -> Predict:
    """Return a network, on the CPU, as a function that onnxruntime runs (see `to_onnx` and `onnx_session`)."""
    return onnx_session(to_onnx(module, in_shape))
