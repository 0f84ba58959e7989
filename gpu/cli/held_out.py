"""Held-out images with labels: mnist-5k, a folder with a subfolder of pictures for each class, or a torch Dataset."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from gpu.cli.imported_model import IMPORT_PATH, made_by, told_in_one_line
from gpu.cli.picture_files import read_picture
from gpu.training.data import load_digits
from gpu.training.labelled import LabelledImages, class_names_of
from linalg_cnn.types import Shape

DATASET = "mnist-5k"
"""Name of the data set that needs no files."""
DIGITS_SHAPE = (1, 28, 28)


class HeldOutImages(NamedTuple):
    """Images and their classes.

    Attributes
    ----------
    images : uint8 tensor (N, *in_shape) or None
    labels : int64 tensor (N,) or None
    class_names : list of str or None
        Names of the subfolders, or the ``classes`` of a Dataset.
    """

    images: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    class_names: list[str] | None = None


NOTHING = HeldOutImages()


def read_held_out(source: str, in_shape: Shape, arguments: dict[str, Any] | None = None) -> HeldOutImages:
    """Return the held-out images of a data set or of a folder.

    Parameters
    ----------
    source : str
        ``"mnist-5k"`` for its 1,000 held-out digits; a folder, in which, as in torchvision's ``ImageFolder``, each
        subfolder is a class, and classes are numbered in the order of the names; or the import path of a class or a
        function that makes a torch Dataset, such as ``torchvision.datasets:CIFAR10``.
    in_shape : tuple of int
        Shape of an image.
    arguments : dict, optional
        Keyword arguments of the class or function.

    Raises
    ------
    ValueError
        If the data set has images of another shape, there are no pictures, one is not a picture of that size, or
        arguments are given for a source that takes none.
    OSError
        If the folder or a file cannot be read.
    """
    if IMPORT_PATH.fullmatch(source) and not Path(source).exists():
        return _read_dataset(source, in_shape, arguments or {})
    if arguments:
        raise ValueError(f"--held-out-args: expected only with --held-out MODULE:NAME, got them with {source}")
    if source == DATASET:
        if in_shape != DIGITS_SHAPE:
            raise ValueError(f"--held-out: expected a network of images {DIGITS_SHAPE} for {DATASET}, got {in_shape}")
        _, digits = load_digits()
        return HeldOutImages(digits.images, digits.labels)
    if len(in_shape) != 3 or in_shape[0] not in {1, 3}:
        raise ValueError(f"--held-out: expected a network of pictures (1 or 3, height, width), got {in_shape}")
    folders = sorted(path for path in Path(source).iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (path, label)
        for label, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    if not files:
        raise ValueError(
            f"--held-out: expected {DATASET} or a folder with a subfolder of pictures for each class, or MODULE:NAME "
            f"of a Dataset, got {source}"
        )
    images = np.stack([read_picture(path, in_shape) for path, _ in files])
    labels = torch.tensor([label for _, label in files])
    return HeldOutImages(torch.from_numpy(images), labels, [folder.name for folder in folders])


def numbered_by_name(found: HeldOutImages, names: list[str] | None) -> HeldOutImages:
    """Return held-out images whose classes are numbered as in a list of names, if all of them are in it.

    Otherwise the list gives the classes new names, in their order.

    Raises
    ------
    ValueError
        If the names differ and there are not as many.

    Examples
    --------
    >>> found = HeldOutImages(None, torch.tensor([0, 1, 1]), ["square", "triangle"])
    >>> numbered_by_name(found, ["circle", "square", "triangle"]).labels
    tensor([1, 2, 2])
    """
    if names is None or found.class_names is None or found.labels is None:
        return found if names is None else found._replace(class_names=names)
    if set(found.class_names) <= set(names):
        number = torch.tensor([names.index(name) for name in found.class_names])
        return HeldOutImages(found.images, number[found.labels], names)
    if len(found.class_names) != len(names):
        raise ValueError(
            f"--class-names: expected the held-out classes, {', '.join(found.class_names)}, among the names, or a new "
            f"name for each, got {', '.join(names)}"
        )
    return found._replace(class_names=names)


def _read_dataset(path: str, in_shape: Shape, arguments: dict[str, Any]) -> HeldOutImages:
    """Return the images of a torch Dataset that a class or a function makes.

    Raises
    ------
    ValueError
        If it makes no Dataset, or one of other images than those of a network of pictures of that shape.
    """
    dataset = made_by("--held-out", path, arguments)
    with told_in_one_line(f"--held-out: expected {path} to make a Dataset of pictures and their classes, got "):
        found = LabelledImages.from_dataset(_Pixels(dataset, in_shape) if isinstance(dataset, Dataset) else dataset)
    if found.in_shape != in_shape or found.images.dtype != torch.uint8:
        raise ValueError(
            f"--held-out: expected {path} to have torch.uint8 images {in_shape}, got {found.images.dtype} "
            f"{found.in_shape}; scaling belongs to the options of this command, resizing to the Dataset"
        )
    return HeldOutImages(found.images, found.labels, class_names_of(dataset))


class _Pixels(Dataset[tuple[Any, Any]]):
    """A Dataset whose pictures are pixels with as many channels as a network takes; what is no picture stays."""

    def __init__(self, dataset: Any, in_shape: Shape) -> None:
        self.dataset, self.mode = dataset, "L" if in_shape[0] == 1 else "RGB"

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.dataset[index]
        if isinstance(image, Image.Image):
            pixels = np.array(image.convert(self.mode))
            image = torch.from_numpy(pixels.reshape(image.height, image.width, -1)).permute(2, 0, 1)
        return image, label


def read_class_names(path: Path | None) -> list[str] | None:
    """Return the lines of a file that are not blank.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not text.
    """
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected a text file in UTF-8 with a class name on each line, got {error}"
        ) from error
    return [line.strip() for line in lines if line.strip()]
