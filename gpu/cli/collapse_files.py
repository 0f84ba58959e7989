"""Collapsing a network that is given by an import path and a safetensors file."""

import contextlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torchvision import transforms
from torchvision.transforms import v2
from tqdm import tqdm

from gpu.cli.held_out import NOTHING, numbered_by_name, read_class_names, read_held_out
from gpu.cli.imported_model import current_folder_searched, make_model, shortened, told_in_one_line
from gpu.collapsing.collapse import collapse
from gpu.collapsing.memory import MapTooLargeError, check_samples
from gpu.collapsing.result import Collapsed
from gpu.models.linearization import linearize
from gpu.models.linearizing.inputs import random_inputs
from gpu.runtime.results import output_folder
from gpu.settings import CollapseSettings, MergeSettings
from linalg_cnn.checks import check_shape
from linalg_cnn.files import write_atomically, write_json
from linalg_cnn.memory import memory_limit

WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod)\.")
"""The prefixes, also of a part of a network, by which wrappers around a module change the names of its weights."""

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
    steps, names = preprocessing(settings), read_class_names(settings.class_names)
    with (
        current_folder_searched(),  # until the end: a forward may import, too
        told_in_one_line(f"--model: expected {settings.model} to run to its end, got ", SystemExit),
    ):
        held_out = NOTHING
        if settings.held_out is not None:
            read = read_held_out(settings.held_out, settings.in_shape, settings.held_out_args)
            held_out = numbered_by_name(read, names)
        model = load_weights(make_model(settings.model, settings.model_args), settings)
        with output_folder(settings.out, RESULTS):  # before the work, which takes minutes
            check_weights_stay(settings, RESULTS)
            original, changes = None, list[str]()
            if settings.linearize:
                original = None if held_out is NOTHING else model
                model, changes = _linearize(model, settings)
            given = {"inputs": held_out.images, "labels": held_out.labels, "class_names": names or held_out.class_names}
            collapsed = _collapse(model, settings, preprocess=steps, original=original, **given)
            _write(collapsed, changes, settings)
    return collapsed, changes


def _write(collapsed: Collapsed, changes: list[str], settings: CollapseSettings) -> None:
    """Write the result files."""
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
    title = html.escape(settings.model)
    page = f"<!doctype html><meta charset=utf-8><title>{title}</title>{collapsed._repr_html_()}\n"
    write_atomically(settings.out / "report.html", page.encode())


def _linearize(model: nn.Module, settings: CollapseSettings) -> tuple[nn.Module, list[str]]:
    """Return a network without its nonlinearities, and the list of what was changed.

    Raises
    ------
    MemoryError
        If the samples to compare with take more memory than allowed.
    """
    with _remedy_told():
        check_samples(check_shape("in_shape", settings.in_shape), memory_limit(settings.max_bytes))
        return linearize(model, random_inputs(model, settings.in_shape))


def _collapse(model: nn.Module, settings: CollapseSettings, **given: Any) -> Collapsed:
    """Return a network as one map, made with the settings of the command.

    Raises
    ------
    MemoryError
        If more memory is needed than allowed.
    """
    with _remedy_told():
        return collapse(
            model,
            settings.in_shape,
            factored=settings.factored,
            **given,
            max_bytes=settings.max_bytes,
            progress=lambda chunks: tqdm(chunks, desc="composing", unit="chunk", disable=not settings.progress),
        )


@contextlib.contextmanager
def _remedy_told() -> Iterator[None]:
    """Let an error about memory name the options of the command.

    Raises
    ------
    MemoryError
        If more memory is needed than allowed.
    """
    try:
        yield
    except MapTooLargeError as error:
        helps = ", or give --factored yes" if error.factored_helps else ""
        raise MemoryError(f"{error.reason}; raise --max-bytes{helps}") from error


def load_weights(model: nn.Module, settings: CollapseSettings | MergeSettings) -> nn.Module:
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
    own = model.state_dict()
    narrowed = [name for name, tensor in weights.items() if name in own and not _is_kept(name, tensor, own[name])]
    if narrowed:
        name = narrowed[0]
        raise ValueError(
            f"{path}: expected weights that {settings.model} can hold without rounding, got {name} in "
            f"{weights[name].dtype} for {own[name].dtype}; save all weights in one floating-point dtype"
        )
    # safetensors.torch.save_model leaves out all names but one of a weight that several layers share
    given = {_memory_of(tensor) for name, tensor in own.items() if name in weights}
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not (_is_counter(name) or _memory_of(own[name]) in given)]
        told = "got others" if unexpected or missing else ""
    except Exception as error:  # a shape differs, or the model's own loading raises any error
        told = f"got {shortened(f'{type(error).__name__}: {error}')}"
    if told:
        difference = _misfit(model.state_dict(), weights) or told
        raise ValueError(f"{path}: expected the weights of {settings.model}, {difference}")
    return model


def check_weights_stay(settings: CollapseSettings | MergeSettings, results: Sequence[str]) -> None:
    """Refuse to write one of the files of the results over the file of the weights.

    Raises
    ------
    ValueError
        If the two are one file.
    """
    for result in (settings.out / name for name in results):
        if result.exists() and result.samefile(settings.weights):
            raise ValueError(f"--out: expected a folder without the file of the weights, which is its {result.name}")


def _is_kept(name: str, given: torch.Tensor, own: torch.Tensor) -> bool:
    """Return whether a network holds a weight exactly as it is in a file; a counter of batches is not used."""
    if _is_counter(name) or given.dtype == own.dtype:
        return True
    try:
        exact = torch.promote_types(given.dtype, own.dtype) == own.dtype
    except RuntimeError:  # 8-bit floats, which need a scale beside them
        return False
    # integers for a floating-point weight are quantised ones, and need a scale, too
    return exact and given.is_floating_point() == own.is_floating_point()


def _memory_of(tensor: torch.Tensor) -> Any:
    """Return what only tensors that are the same memory, seen in the same way, have in common."""
    if is_lazy(tensor) or not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _is_counter(name: str) -> bool:
    """Return whether a name is that of a counter of batches, which evaluation does not use."""
    return name.endswith("num_batches_tracked")


def _misfit(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str:
    """Return how weights differ from those that a network has, with a remedy where only a wrapper is in the way."""
    missing = [name for name in wanted if name not in given and not _is_counter(name)]
    unexpected = [name for name in given if name not in wanted]
    if unexpected and _inner_names(given) == _inner_names(wanted):
        return (
            f"got {unexpected[0]} for {missing[0]}: wrappers, which are DataParallel and DistributedDataParallel "
            "(module.) and torch.compile (_orig_mod.), name weights so; save the state_dict of, and let --model make, "
            "the network without them, which is model.module or model._orig_mod"
        )
    shapes = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in given.items()
        if name in wanted and not is_lazy(wanted[name]) and wanted[name].shape != tensor.shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    return ", ".join(f"{kind} {_shortened(names)}" for kind, names in kinds.items() if names)


def _inner_names(names: Iterable[str]) -> set[str]:
    """Return the names of weights in the network inside of wrappers; counters of batches are left out."""
    return {WRAPPERS.sub("", name) for name in names if not _is_counter(name)}


def _shortened(names: list[str]) -> str:
    """Return the first four names, joined, and the number of the others."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def preprocessing(settings: CollapseSettings) -> list[Any]:
    """Return the torchvision transforms from raw pixels to the network's input.

    Raises
    ------
    ValueError
        If a mean or a standard deviation is not finite, or pixels divided by a standard deviation would not be.
    """
    for option, values in (("--mean", settings.mean), ("--std", settings.std)):
        if values is None:
            continue
        with np.errstate(divide="ignore", over="ignore"):
            inverses = 1 / np.array(values)
        if not (np.isfinite(values).all() and (option == "--mean" or np.isfinite(inverses).all())):
            other = "" if option == "--mean" else " other than 0, whose inverses are finite, too"
            raise ValueError(
                f"{option}: expected finite numbers{other}, got {','.join(f'{value:g}' for value in values)}"
            )
    if not settings.scale and settings.mean is None and settings.std is None:
        return []
    steps: list[Any] = [v2.ToDtype(torch.float32, scale=settings.scale)]
    if settings.mean is not None or settings.std is not None:
        steps.append(transforms.Normalize(settings.mean or (0.0,), settings.std or (1.0,)))
    return steps
