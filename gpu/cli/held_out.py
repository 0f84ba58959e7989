"""Held-out images with labels: a data set by its name, or a folder of pictures with a subfolder for each class."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gpu.cli.picture_files import read_picture
from gpu.training.data import load_digits
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
        Names of the subfolders.
    """

    images: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    class_names: list[str] | None = None


NOTHING = HeldOutImages()


def read_held_out(source: str, in_shape: Shape) -> HeldOutImages:
    """Return the held-out images of a data set or of a folder.

    Parameters
    ----------
    source : str
        ``"mnist-5k"`` for its 1,000 held-out digits, or a folder. As in torchvision's ``ImageFolder``, each subfolder
        is a class, and classes are numbered in the order of the names.
    in_shape : tuple of int
        Shape of an image.

    Raises
    ------
    ValueError
        If the data set has images of another shape, there are no pictures, or one is not a picture of that size.
    OSError
        If the folder or a file cannot be read.
    """
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
            f"--held-out: expected {DATASET} or a folder with a subfolder of pictures for each class, got {source}"
        )
    images = np.stack([read_picture(path, in_shape) for path, _ in files])
    labels = torch.tensor([label for _, label in files])
    return HeldOutImages(torch.from_numpy(images), labels, [folder.name for folder in folders])


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
