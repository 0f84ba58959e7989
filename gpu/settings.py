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
        See `gpu.data.load_digits`.
    channels : int
        Of each convolution.
    t : float
        Strength of the skip, in [0, 1].
    epochs, batch_size, learning_rate, seed
        See `gpu.train.train`.
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
