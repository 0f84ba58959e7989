"""The folder and the images of an experiment's trials."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from gpu.experiments.trial import Trial
from gpu.training.epoch import check_history
from gpu.training.image_sets import load_images
from gpu.training.labelled import LabelledImages
from linalg_cnn.files import read_json

RESULT = {"seed": int, "epochs": list, "stopped": str | None, "hardware": dict, "versions": dict}
"""Types of the entries that the result of every trial has."""


@dataclass(frozen=True)
class Workspace:
    """The folder, the data and the device of the trials of an experiment: settings that do not affect the results.

    Attributes
    ----------
    folder : Path
        Folder of the experiment, with a folder for each trial in it.
    data_root, download
        Options of `gpu.training.image_sets.load_images`.
    device : str, optional
        Name of the device; CUDA where there is one, the CPU otherwise, if not given.
    keep_weights : bool
        Whether the trained weights are kept beside the result.
    """

    folder: Path
    data_root: Path | None = None
    download: bool = False
    device: str | None = None
    keep_weights: bool = False

    def folder_of(self, trial: Trial) -> Path:
        """Return the folder of a trial."""
        return self.folder / "trials" / trial.key

    def result_of(self, trial: Trial) -> dict[str, Any] | None:
        """Return the result of a trial; None if it is not finished, or its weights are missing and are to be kept.

        Raises
        ------
        ValueError
            If the file is truncated, altered, or holds no result. The message names it.
        """
        folder = self.folder_of(trial)
        path = folder / "result.json"
        if not path.exists():
            return None
        try:
            result = read_json(path, "the result of a trial", RESULT)
            check_history(f"{path}: epochs", result["epochs"])
        except ValueError as error:
            raise ValueError(f"{error}; remove the file to run the trial again") from error
        complete = result["stopped"] is not None or (folder / "weights.safetensors").exists()
        return result if complete or not self.keep_weights else None

    def images_of(self, trial: Trial) -> tuple[LabelledImages, LabelledImages]:
        """Return the (training, held-out) images of a trial: the first ones in an order that all trials share.

        Raises
        ------
        ValueError
            If there are fewer images than the trial asks for, or the data are not genuine.
        OSError
            If a file is missing or cannot be fetched.
        """
        return some_images(trial.dataset, self.data_root, self.download, trial.images, trial.held_out)


@lru_cache(maxsize=4)
def some_images(
    dataset: str, data_root: Path | None, download: bool, images: int | None, held_out: int | None
) -> tuple[LabelledImages, LabelledImages]:
    """Return the first (training, held-out) images of a data set, in an order that all experiments share.

    Parameters
    ----------
    dataset, data_root, download
        Options of `gpu.training.image_sets.load_images`.
    images, held_out : int, optional
        Numbers of images to train on and to validate on; all if not given.

    Raises
    ------
    ValueError
        If there are fewer images, or the data are not genuine.
    OSError
        If a file is missing or cannot be fetched.
    """
    parts = load_images(dataset, data_root, download=download)
    return _some(parts[0], images, "subset"), _some(parts[1], held_out, "held_out")


def _some(images: LabelledImages, count: int | None, name: str) -> LabelledImages:
    if count is None:
        return images
    if not 0 < count <= len(images):
        raise ValueError(f"{name}: expected 1 to {len(images)} images, got {count}")
    chosen = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:count]
    return replace(images, images=images.images[chosen], labels=images.labels[chosen])
