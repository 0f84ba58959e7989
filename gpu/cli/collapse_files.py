"""Collapsing a network that is given by an import path and a safetensors file."""

import importlib
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2
from tqdm import tqdm

from gpu.collapsing.collapse import collapse
from gpu.collapsing.memory import MapTooLargeError
from gpu.collapsing.result import Collapsed
from gpu.models.linearization import linearize
from gpu.models.linearizing.inputs import random_inputs
from gpu.runtime.results import check_output_folder
from gpu.settings import CollapseSettings
from linalg_cnn.files import write_atomically, write_json

RESULTS = ("collapsed.safetensors", "report.json", "report.html")


def run_collapse(settings: CollapseSettings) -> tuple[Collapsed, list[str]]:
    """Collapse a network, write the result files, and return the map and the list of what linearising changed.

    Raises
    ------
    NotAffineError
        If the network is not affine.
    ValueError
        If a setting is out of range, or model and weights do not fit together.
    OSError
        If a file cannot be read or written.
    MemoryError
        If more memory is needed than allowed.
    VerificationError
        If the map differs from the network by more than rounding.
    """
    steps = preprocessing(settings)
    model = load_weights(make_model(settings.model, settings.model_args), settings).eval()
    check_output_folder(settings.out, RESULTS)  # before the work, which takes minutes
    changes: list[str] = []
    if settings.linearize:
        model, changes = linearize(model, random_inputs(model, settings.in_shape))
    try:
        collapsed = collapse(
            model,
            settings.in_shape,
            factored=settings.factored,
            preprocess=steps,
            max_bytes=settings.max_bytes,
            progress=lambda chunks: tqdm(chunks, desc="composing", unit="chunk", disable=not settings.progress),
        )
    except MapTooLargeError as error:
        helps = ", or give --factored yes" if error.factored_helps else ""
        raise MemoryError(f"{error.reason}; raise --max-bytes{helps}") from error
    collapsed.save(settings.out / "collapsed.safetensors")
    report = {
        "experiment": "collapse",
        "settings": {
            "model": settings.model,
            "model_args": settings.model_args,
            "weights": str(settings.weights),
            "linearized": changes,
            "preprocessing": {"scale": settings.scale, "mean": settings.mean, "std": settings.std},
        },
    } | collapsed.report.to_dict()
    write_json(settings.out / "report.json", report)
    page = f"<!doctype html><meta charset=utf-8><title>{settings.model}</title>{collapsed._repr_html_()}\n"
    write_atomically(settings.out / "report.html", page.encode())
    return collapsed, changes


def make_model(path: str, arguments: dict[str, Any]) -> nn.Module:
    """Return the network that a class or a function of an installed module makes.

    Parameters
    ----------
    path : str
        Module and name, as in ``torchvision.models:resnet18``.
    arguments : dict
        Keyword arguments of the class or function.

    Raises
    ------
    ValueError
        If nothing has that path, or it does not make an ``nn.Module`` from these arguments.

    Examples
    --------
    >>> make_model("torch.nn:Linear", {"in_features": 2, "out_features": 1})
    Linear(in_features=2, out_features=1, bias=True)
    """
    module_name, _, name = path.partition(":")
    try:
        maker = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--model: expected package.module:name, got {path!r}: {error}") from error
    try:
        model = maker(**arguments)
    except TypeError as error:
        raise ValueError(f"--model-args: expected arguments of {path}, got {arguments}: {error}") from error
    if not isinstance(model, nn.Module):
        made = type(model).__name__
        raise ValueError(f"--model: expected {path} to make an nn.Module, got {made}")  # noqa: TRY004 - a bad argument
    return model


def load_weights(model: nn.Module, settings: CollapseSettings) -> nn.Module:
    """Convert a network to the dtype of the weights in a safetensors file, load them into it, and return it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or of another format (those that can hold code are not opened), or if its weights are
        those of another network.
    """
    path = settings.weights
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        weights = safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path}: expected a whole safetensors file, got: {error}; other formats can hold code and are not opened; "
            "write a safetensors file with safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    floating = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        model = model.to(floating.pop())
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # a shape differs
        raise ValueError(
            f"{path}: expected the weights of {settings.model}: {_shortened(str(error).splitlines())}"
        ) from error
    missing = [
        name for name in missing if not name.endswith("num_batches_tracked")
    ]  # a counter that evaluation does not use
    if missing or unexpected:
        raise ValueError(
            f"{path}: expected the weights of {settings.model}, missing {_shortened(missing)}, "
            f"unexpected {_shortened(unexpected)}"
        )
    return model


def _shortened(lines: list[str]) -> str:
    """Return the first four lines, joined, and the number of the others."""
    shown = ", ".join(line.strip() for line in lines[:4])
    return f"{shown} and {len(lines) - 4} more" if len(lines) > 4 else shown or "none"


def preprocessing(settings: CollapseSettings) -> list[Any]:
    """Return the torchvision transforms from raw pixels to the network's input.

    Raises
    ------
    ValueError
        If a mean or a standard deviation is not finite, or a standard deviation is 0.
    """
    for option, values in (("--mean", settings.mean), ("--std", settings.std)):
        if values is not None and not (np.isfinite(values).all() and (option == "--mean" or np.all(values))):
            other = "" if option == "--mean" else " other than 0"
            raise ValueError(
                f"{option}: expected finite numbers{other}, got {','.join(f'{value:g}' for value in values)}"
            )
    if not settings.scale and settings.mean is None and settings.std is None:
        return []
    steps: list[Any] = [v2.ToDtype(torch.float32, scale=settings.scale)]
    if settings.mean is not None or settings.std is not None:
        steps.append(transforms.Normalize(settings.mean or (0.0,), settings.std or (1.0,)))
    return steps
