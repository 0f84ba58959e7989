"""Labelled images of any shape: two tensors, given as such or read from a torch Dataset."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch.utils.data import Dataset, IterableDataset, default_convert

from linalg_cnn.checks import check_int
from linalg_cnn.memory import memory_limit
from linalg_cnn.types import Shape

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
IMAGE_DTYPES = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Dtypes of images. Floats of 8 bits are not among them: torch neither compares nor widens them by itself."""
IMAGE_DTYPES_IN_WORDS = "uint8, float16, bfloat16, float32 or float64"


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of one shape, and their labels: what `gpu.Trainer` trains on.

    Attributes
    ----------
    images : uint8 or floating-point tensor (N, *in_shape)
        Bytes count as pixels / 255; floats are given to the network as they are.
    labels : int64 tensor (N,)
        Class that each image shows, 0 or more; other integer dtypes are converted.

    Raises
    ------
    TypeError
        If one of them is not a tensor.
    ValueError
        If there are no images, they have another dtype, hold NaN or infinity, their number differs from that of the
        labels, or a label is negative or no integer.

    Examples
    --------
    >>> import gpu
    >>> parts = gpu.LabelledImages(torch.zeros(4, 3, 20, 30), torch.tensor([0, 1, 2, 1]))
    >>> len(parts), parts.in_shape, parts.num_classes
    (4, (3, 20, 30), 3)
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __post_init__(self) -> None:
        check_tensors(self.images, self.labels)
        shape = tuple(self.images.shape)
        if self.images.dtype not in IMAGE_DTYPES or self.images.layout != torch.strided:
            raise ValueError(
                f"images: expected a dense tensor of {IMAGE_DTYPES_IN_WORDS}, got {self.images.dtype} in the layout "
                f"{self.images.layout}"
            )
        if self.images.ndim < 2 or not self.images.numel():
            raise ValueError(f"images: expected at least one image (N, *in_shape), got shape {shape}")
        if self.images.is_floating_point() and not self.images.isfinite().all():
            raise ValueError("images: expected finite numbers, got NaN or infinity")
        if self.labels.dtype not in INTEGERS or self.labels.shape != shape[:1]:
            raise ValueError(
                f"labels: expected an integer for each of {shape[0]} images, of shape ({shape[0]},), got "
                f"{self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if int(self.labels.min()) < 0:
            raise ValueError(f"labels: expected classes numbered from 0, got {int(self.labels.min())}")
        object.__setattr__(self, "labels", self.labels.long())
        if self.images.requires_grad:  # a training would add up the gradients of all images in the user's tensor
            object.__setattr__(self, "images", self.images.detach())

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def __repr__(self) -> str:
        """Show number, dtype and shape of the images, and the number of classes, without the pixels."""
        kind = f"{len(self):,} images, {self.images.dtype} {self.in_shape}"
        return f"{type(self).__name__}({kind}, {self.num_classes} classes)"

    @property
    def in_shape(self) -> Shape:
        """Shape of one image, such as (channels, height, width)."""
        return tuple(self.images.shape[1:])

    @property
    def num_classes(self) -> int:
        """One more than the largest label."""
        return int(self.labels.max()) + 1

    @classmethod
    def from_dataset(cls, dataset: Dataset[Any]) -> Self:
        """Read a torch Dataset once, into two tensors.

        What a random transform draws is drawn once, and stays the same in all epochs. The tensors take N times the
        bytes of an image, and no more than that is needed to read them: uint8 pixels, as torchvision's ``PILToTensor``
        returns them, take a quarter of the memory of the floats of ``ToTensor``.

        Parameters
        ----------
        dataset : torch.utils.data.Dataset
            Dataset with a length, such as torchvision's ``ImageFolder`` or a ``Subset``. Each sample is a pair of an
            image, which is a tensor or an array, and the number of its class.

        Raises
        ------
        TypeError
            If it is not a Dataset, or has no length.
        ValueError
            If it is empty, or a sample is no such pair, or an image has another shape or dtype than the first. The
            message has the index of the sample.
        MemoryError
            If the images would take more than half of the machine's memory. No more than one has been read then.

        Examples
        --------
        >>> from torch.utils.data import TensorDataset
        >>> dataset = TensorDataset(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
        >>> LabelledImages.from_dataset(dataset).in_shape
        (1, 8, 8)
        """
        return cls(*_read("dataset", dataset))


ImageSource = LabelledImages | tuple[torch.Tensor, torch.Tensor] | Dataset[Any]
"""What `gpu.Trainer` takes labelled images from."""


def as_labelled_images(name: str, source: ImageSource) -> LabelledImages:
    """Return labelled images from any of the forms in which `gpu.Trainer` takes them.

    Parameters
    ----------
    name : str
        Name of the argument, for messages.
    source : LabelledImages, (images, labels), or torch Dataset

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If its images and labels are not as in `LabelledImages`.
    MemoryError
        If the images of a Dataset would take more than half of the machine's memory.

    Examples
    --------
    >>> as_labelled_images("training", (torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))).num_classes
    2
    """
    if isinstance(source, LabelledImages):
        return source
    if isinstance(source, (tuple, list)) and len(source) == 2:
        images, labels = source
    else:
        images, labels = _read(name, source)
    try:
        return LabelledImages(images, labels)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def class_names_of(dataset: object) -> list[str] | None:
    """Return the names in the ``classes`` of a Dataset, or None where it has none, or has their number there.

    Synonyms, as torchvision's ``ImageNet`` has them, become one name.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> class_names_of(SimpleNamespace(classes=[("tench", "Tinca tinca"), ("goldfish", "Carassius auratus")]))
    ['tench, Tinca tinca', 'goldfish, Carassius auratus']
    >>> class_names_of(SimpleNamespace(classes=10))
    """
    names = getattr(dataset, "classes", None)
    if isinstance(names, str) or not isinstance(names, Iterable):
        return None
    return [", ".join(map(str, name)) if isinstance(name, (tuple, list)) else str(name) for name in names]


def check_tensors(images: object, labels: object) -> None:
    """Check that images and labels are tensors.

    Raises
    ------
    TypeError
        If one of them is not.
    """
    for name, value in (("images", images), ("labels", labels)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")


def _read(name: str, dataset: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and the labels of a Dataset; see `LabelledImages.from_dataset`.

    Raises
    ------
    TypeError
        If it is not a Dataset, or has no length.
    ValueError
        If it is empty, or a sample is not one that can be trained on.
    MemoryError
        If the images would take more than half of the machine's memory.
    """
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"{name}: expected (images, labels), a torch Dataset or gpu.LabelledImages, got {type(dataset).__name__}"
        )
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"{name}: expected a Dataset with a length, got {type(dataset).__name__}; give its samples as two tensors, "
            "torch.utils.data.default_collate(list(dataset))"
        )
    count = len(dataset)
    if not count:
        raise ValueError(f"{name}: expected at least one image, got an empty {type(dataset).__name__}")
    first, _ = _sample(name, dataset, 0)
    needed, limit = count * first.nbytes, memory_limit()
    if needed > limit:
        raise MemoryError(
            f"{name}: expected images that fit in {limit:,} bytes, half of the memory there is, got {count:,} images "
            f"of {first.dtype} {tuple(first.shape)}, which take {needed:,}; make them smaller in the dataset's "
            "transform, leave them uint8, or take a torch.utils.data.Subset"
        )
    images = torch.empty((count, *first.shape), dtype=first.dtype)
    labels = torch.empty(count, dtype=torch.int64)
    for index in range(count):
        image, labels[index] = _sample(name, dataset, index)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise ValueError(
                f"{name}[{index}]: expected an image of {first.dtype} {tuple(first.shape)}, as {name}[0] is, got "
                f"{image.dtype} {tuple(image.shape)}; resize and convert in the dataset's transform"
            )
        images[index] = image
    return images, labels


def _sample(name: str, dataset: Any, index: int) -> tuple[torch.Tensor, int]:
    """Return the image and the label of a sample.

    Raises
    ------
    ValueError
        If it is something else.
    """
    sample = dataset[index]
    if not isinstance(sample, (tuple, list)) or len(sample) != 2:
        raise ValueError(f"{name}[{index}]: expected a pair (image, label), got {type(sample).__name__}")
    image = default_convert(sample[0])
    if not isinstance(image, torch.Tensor) or image.dtype not in IMAGE_DTYPES:
        got = image.dtype if isinstance(image, torch.Tensor) else type(image).__name__
        raise ValueError(
            f"{name}[{index}]: expected an image that is a tensor of {IMAGE_DTYPES_IN_WORDS}, got {got}; give "
            "the dataset a transform, such as torchvision.transforms.PILToTensor()"
        )
    return image, check_int(f"label of {name}[{index}]", sample[1], 0)
