"""Merging a network that is given by an import path and a safetensors file."""

import html
import io
import warnings

import torch

from gpu.cli.collapse_files import check_weights_stay, load_weights
from gpu.cli.imported_model import current_folder_searched, make_model, told_in_one_line
from gpu.merging.forms import FORMS, FORMS_FOR_ONNXRUNTIME
from gpu.merging.merge import Merged, merge
from gpu.runtime.results import output_folder
from gpu.settings import MergeSettings
from linalg_cnn.files import write_atomically, write_json

PROGRAM, ONNX = "merged.pt2", "merged.onnx"


def run_merge(settings: MergeSettings) -> tuple[Merged, list[str]]:
    """Merge a network, write the result files, and return the result and the names of the files.

    Raises
    ------
    NotAffineError
        If an operation of the network is neither affine nor piecewise linear.
    ValueError
        If a setting is out of range, or model and weights do not fit together.
    ModuleNotFoundError
        If an ONNX file is asked for and the exporter's packages are not installed.
    OSError
        If a file cannot be read or written.
    MemoryError
        If more memory is needed than allowed.
    VerificationError
        If the merged network differs from the network by more than rounding.
    """
    files = [PROGRAM, *([ONNX] if settings.onnx else []), "report.json", "report.html"]
    # onnxruntime is slow at sparse matrices
    forms = FORMS_FOR_ONNXRUNTIME if settings.onnx else FORMS
    with (
        current_folder_searched(),  # until the end: a forward may import, too
        told_in_one_line(f"--model: expected {settings.model} to run to its end, got ", SystemExit),
    ):
        model = load_weights(make_model(settings.model, settings.model_args), settings)
        with output_folder(settings.out, files):  # before the work, which takes minutes
            check_weights_stay(settings, files)
            merged = merge(
                model, settings.in_shape, batch_size=settings.batch_size, forms=forms, max_bytes=settings.max_bytes
            )
            _write(merged, settings)
    return merged, files


def _write(merged: Merged, settings: MergeSettings) -> None:
    """Write the result files."""
    write_atomically(settings.out / PROGRAM, _program(merged))
    if settings.onnx:
        write_atomically(settings.out / ONNX, _onnx(merged))
    report = {
        "experiment": "merge",
        "settings": {
            "model": settings.model,
            "model_args": settings.model_args,
            "weights": str(settings.weights),
            "batch_size": settings.batch_size,
        },
    } | merged.report.to_dict()
    write_json(settings.out / "report.json", report)
    title = html.escape(settings.model)
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title>{merged._repr_html_()}\n"
    write_atomically(settings.out / "report.html", page.encode())


def _example(merged: Merged) -> torch.Tensor:
    like = next(merged.module.parameters(), torch.empty(0))
    return torch.zeros(2, *merged.report.in_shape, dtype=like.dtype, device=like.device)


def _program(merged: Merged) -> bytes:
    """Return the merged network as a file of ``torch.export``, which torch loads without this project."""
    batch = ({0: torch.export.Dim("n", min=1)},)
    program = torch.export.export(merged.module, (_example(merged),), dynamic_shapes=batch)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _onnx(merged: Merged) -> bytes:
    """Return the merged network as an ONNX file for batches of any size."""
    batch = ({0: torch.export.Dim.DYNAMIC},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecated calls
        exported = torch.onnx.export(
            merged.module, (_example(merged),), dynamo=True, dynamic_shapes=batch, verbose=False
        )
    assert exported is not None  # noqa: S101 - for mypy: it is, with dynamo=True
    return bytes(exported.model_proto.SerializeToString())
