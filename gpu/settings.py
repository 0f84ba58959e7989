"""What the commands are run with. Imports nothing heavy, so that the command line can show its help at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DATASETS = ("mnist-5k", "mnist")


@dataclass(frozen=True)
class DemoSettings:
    """What the demo is run with; the command line's options of the same names.

    Attributes
    ----------
    out : Path
        Folder for the results; made if it is not there.
    dataset, data_root, download
        See `gpu.load_digits`.
    channels : int
        Of each convolution.
    t : float
        Strength of the skip, in [0, 1].
    epochs, batch_size, learning_rate, seed
        See `gpu.train`.
    device : str, optional
        CUDA where there is one, the CPU otherwise, if not given.
    progress : bool
        Whether to draw a progress bar.
    """

    out: Path
    dataset: str = "mnist-5k"
    data_root: Path | None = None
    download: bool = False
    channels: int = 8
    t: float = 0.5
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 1e-3
    seed: int = 0
    device: str | None = None
    progress: bool = True


@dataclass(frozen=True)
class CollapseSettings:
    """What ``linalg-cnn collapse`` is run with; the command line's options of the same names.

    Attributes
    ----------
    model : str
        ``package.module:name`` of what makes the network when it is called.
    weights : Path
        safetensors file with the network's state_dict.
    in_shape : tuple of int
    out : Path
        Folder for the results; made if it is not there.
    model_args : dict
        Keyword arguments for the network.
    linearize : bool
        See `gpu.linearize`.
    factored : "auto", True or False
    mean, std : tuple of float, optional
        What pixels in [0, 1] are normalised by, per channel.
    scale : bool
        Whether pixels 0 to 255 are brought to [0, 1] first.
    max_bytes : int, optional
    progress : bool
    """

    model: str
    weights: Path
    in_shape: tuple[int, ...]
    out: Path
    model_args: dict[str, Any]
    linearize: bool = False
    factored: Literal["auto"] | bool = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: bool = True
    max_bytes: int | None = None
    progress: bool = True


EXPERIMENTS = {
    "figure1": "accuracy of the paper's linear networks by epoch",
    "figure2": "accuracy after two epochs against the strength t of the skips",
    "figure3": "accuracy by epoch with a constant t and with t on a schedule",
    "distillation": "accuracy of networks that lose their skips, with and without a teacher",
    "timing": "time of a prediction with skips, without them, and as one matrix",
}
"""Experiments by name, each in a module of that name in `gpu.experiments`, with words for the help."""

BACKENDS = ("local", "dask", "ray")


@dataclass(frozen=True)
class ExperimentSettings:
    """What ``linalg-cnn experiment`` is run with; the command line's options of the same names.

    The defaults are the paper's settings. The paper does not give its optimiser: with Adam, 1e-3 is too much for a
    ResNet34, whose running statistics then lag behind its weights (docs/experiments.md).

    Attributes
    ----------
    name : str
        One of `EXPERIMENTS`.
    out : Path
        Folder for the trials, the record and the figure; made if it is not there.
    trials : int
        How often each network is trained, with seeds ``seed``, ``seed + 1``, ...
    epochs : int, optional
        10 if not given; 2 for figure 2.
    subset, held_out : int, optional
        How many images to train and to validate on; all if not given.
    dataset, data_root, download
        See `gpu.load_digits`.
    batch_size, learning_rate, precision, seed
        See `gpu.Trainer`.
    series : tuple of str
        Which of the experiment's networks to train; all if empty.
    t : tuple of float
        The skip strengths of figure 2; the paper's 54 if empty.
    device : str, optional
        CUDA where there is one, the CPU otherwise, if not given.
    workers : int
        How many trials run at the same time.
    backend : {"local", "dask", "ray"}
        Where the workers are: processes of this machine, or a cluster.
    cluster : str, optional
        The cluster's address.
    progress : bool
    """

    name: str
    out: Path
    trials: int = 5
    epochs: int | None = None
    subset: int | None = None
    held_out: int | None = None
    dataset: str = "mnist"
    data_root: Path | None = None
    download: bool = False
    batch_size: int = 64
    learning_rate: float = 3e-4
    precision: str = "float32"
    seed: int = 0
    series: tuple[str, ...] = ()
    t: tuple[float, ...] = ()
    device: str | None = None
    workers: int = 1
    backend: str = "local"
    cluster: str | None = None
    progress: bool = True
