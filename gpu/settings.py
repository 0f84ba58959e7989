"""What the commands are run with. Imports nothing heavy, so that the command line can show its help at once."""

from dataclasses import dataclass
from pathlib import Path

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
