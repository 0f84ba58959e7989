"""The data sets of the experiments by name: digits, and CIFAR-10."""

from pathlib import Path

import torch

from gpu.settings import IN_SHAPES
from gpu.training.data import load_digits
from gpu.training.labelled import LabelledImages
from linalg_cnn.checks import check_choice


def load_images(
    dataset: str, data_root: str | Path | None = None, *, download: bool = False
) -> tuple[LabelledImages, LabelledImages]:
    """Return the (training, held-out) images of a data set.

    Parameters
    ----------
    dataset : {"mnist-5k", "mnist", "cifar10"}
        Name of the data set. Digits are those of `gpu.load_digits`; ``cifar10`` has 50,000 and 10,000 images.
    data_root : path, optional
        Folder in torchvision's layout: ``MNIST/raw/`` or ``cifar-10-batches-py/`` is in it.
    download : bool
        Whether torchvision downloads the data set into ``data_root`` first.

    Raises
    ------
    ValueError
        If the arguments do not fit together, or a file of MNIST is not the genuine one.
    OSError
        If a file is missing or cannot be downloaded, or one of CIFAR-10 does not have torchvision's MD5.

    Examples
    --------
    >>> [len(part) for part in load_images("mnist-5k")]
    [4000, 1000]
    """
    if check_choice("dataset", dataset, IN_SHAPES) != "cifar10":
        return load_digits(dataset, data_root, download=download)
    if data_root is None:
        raise ValueError("data_root: expected a folder for dataset 'cifar10', got none")
    from torchvision.datasets import CIFAR10  # here: importing it takes seconds

    try:
        parts = [CIFAR10(data_root, train=train, download=download) for train in (True, False)]
    except RuntimeError as error:
        raise OSError(
            f"{Path(data_root) / CIFAR10.base_folder}: expected the files of CIFAR-10 as torchvision downloads them: "
            f"{error}"
        ) from error
    training, held_out = (
        LabelledImages(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return training, held_out
