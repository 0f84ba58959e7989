"""The settings of the commands. This module imports nothing heavy: the command line shows its help at once."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

DIGITS = ("mnist-5k", "mnist")
"""Names of the data sets of `gpu.load_digits`."""

IN_SHAPES = {**dict.fromkeys(DIGITS, (1, 28, 28)), "cifar10": (3, 32, 32)}
"""Shape of the images of each data set that an experiment can take."""


@dataclass(frozen=True)
class DemoSettings:
    """Settings of ``linalg-cnn demo``, named like its options.

    Attributes
    ----------
    out : Path
        Folder for the results; made if it is not there.
    dataset, data_root, download
        Options of `gpu.load_digits`.
    channels : int
        Number of channels of each convolution.
    t : float
        Strength of the skip, in [0, 1].
    epochs, batch_size, learning_rate
        Options of `gpu.Trainer`.
    seed : int
        Seed of the weights, the split and the order of the images.
    device : str, optional
        Name of the device; CUDA where there is one, the CPU otherwise, if not given.
    progress : bool
        Whether to draw a progress bar on standard error.
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
    """Settings of ``linalg-cnn collapse``, named like its options.

    Attributes
    ----------
    model : str
        Import path, ``package.module:name``, of the class or function that makes the network.
    weights : Path
        safetensors file with the network's state_dict.
    in_shape : tuple of int
        Shape of one input of the network.
    out : Path
        Folder for the results; made if it is not there.
    model_args : dict
        Keyword arguments of the class or function that ``model`` names.
    linearize : bool
        Whether the nonlinearities are removed first, by `gpu.linearize`.
    factored : "auto", True or False
        Whether the map is kept as two factors, as in `gpu.collapse`.
    mean, std : tuple of float, optional
        Mean and standard deviation by which pixels in [0, 1] are normalised, per channel.
    scale : bool
        Whether pixels 0 to 255 are scaled to [0, 1] before the normalisation.
    class_names : Path, optional
        Text file with the name of a class on each line.
    held_out : str, optional
        Images on which accuracies are measured: name of a data set, folder with a subfolder of pictures for each
        class, or import path of a class or function that makes a torch Dataset.
    held_out_args : dict
        Keyword arguments of the class or function that ``held_out`` names.
    max_bytes : int, optional
        Limit of memory; half of the machine's memory if not given.
    progress : bool
        Whether to draw a progress bar on standard error.
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
    class_names: Path | None = None
    held_out: str | None = None
    held_out_args: dict[str, Any] = field(default_factory=dict)
    max_bytes: int | None = None
    progress: bool = True


@dataclass(frozen=True)
class MergeSettings:
    """Settings of ``linalg-cnn merge``, named like its options.

    Attributes
    ----------
    model : str
        Import path, ``package.module:name``, of the class or function that makes the network.
    weights : Path
        safetensors file with the network's state_dict.
    in_shape : tuple of int
        Shape of one input of the network.
    out : Path
        Folder for the results; made if it is not there.
    model_args : dict
        Keyword arguments of the class or function that ``model`` names.
    batch_size : int
        Batch size for which the forms are chosen.
    onnx : bool
        Whether the merged network is also written as an ONNX file.
    max_bytes : int, optional
        Limit on the matrices of a stretch; half of the machine's memory if not given.
    """

    model: str
    weights: Path
    in_shape: tuple[int, ...]
    out: Path
    model_args: dict[str, Any]
    batch_size: int = 64
    onnx: bool = False
    max_bytes: int | None = None


EXPERIMENTS = {
    "figure1": "accuracy of the paper's linear networks by epoch",
    "figure2": "accuracy after two epochs against the strength t of the skips",
    "figure3": "accuracy by epoch with a constant t and with t on a schedule",
    "distillation": "accuracy of networks that lose their skips, with and without a teacher",
    "schedules": "accuracy at the end of several ways to a network without skips",
    "timing": "time of a prediction with skips, without them, and as one matrix",
    "price": "accuracy of trained networks that lose their nonlinearities, or their skips",
    "front": "accuracy against the time of a prediction with few activations left, merged",
}
"""Names of the experiments, each a module in `gpu.experiments`, with their help texts."""

ALL = "all"
SECTION_5 = ("figure1", "figure2", "figure3", "timing")
"""Experiments of the paper's section 5, which ``linalg-cnn experiment all`` runs one after the other."""

WORKER_BACKENDS = ("local", "dask", "ray")


@dataclass(frozen=True)
class ExperimentSettings:
    """Settings of ``linalg-cnn experiment``, named like its options.

    The defaults are the paper's settings, except that the paper names neither its optimiser nor its learning rate. The
    optimiser here is Adam, for which a learning rate of 1e-3 is too large: the running statistics of a ResNet34 then
    lag behind its weights (docs/experiments.md).

    Attributes
    ----------
    name : str
        One of `EXPERIMENTS`, or `ALL`.
    out : Path
        Folder for the trials, the record and the figure; made if it is not there.
    trials : int
        Number of times each network is trained, with seeds ``seed``, ``seed + 1``, ...
    epochs : int, optional
        Number of passes over the training set; the experiment's own if not given, which is 10, or 2 for figure 2.
    subset, held_out : int, optional
        Numbers of images to train on and to validate on; all if not given.
    dataset, data_root, download
        Options of `gpu.load_digits`.
    batch_size, learning_rate, precision
        Options of `gpu.Trainer`.
    stem_stride : {1, 2}
        Stride of the first convolution of every ResNet.
    seed : int
        Seed of the first trial.
    series : tuple of str
        Names of the networks to train; all of the experiment's if empty.
    t : tuple of float
        Strengths of the skips in figure 2; the paper's 54 if empty.
    depth : {18, 34, 50, 101, 152}
        Depth of the ResNets that `schedules` compares.
    device : str, optional
        Name of the device; CUDA where there is one, the CPU otherwise, if not given.
    workers : int
        Number of trials that run at the same time; on a CUDA device as threads of one process, with a stream each.
    backend : {"local", "dask", "ray"}
        Where the workers run: processes of this machine, or a cluster.
    cluster : str, optional
        Address of the cluster; a new one is started on this machine if not given.
    progress : bool
        Whether to draw a progress bar on standard error.
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
    stem_stride: int = 2
    seed: int = 0
    series: tuple[str, ...] = ()
    t: tuple[float, ...] = ()
    depth: int = 34
    device: str | None = None
    workers: int = 1
    backend: str = "local"
    cluster: str | None = None
    progress: bool = True
