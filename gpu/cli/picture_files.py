"""Picture files as the pixels of a network's input."""

import glob
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from linalg_cnn.meta import Meta, preparation
from linalg_cnn.types import Array, Shape

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
LIGHT = 200
"""Median of the pixels at the border from which on a picture looks like ink on paper."""


def read_picture(
    path: str | os.PathLike[str], in_shape: Shape, *, invert: bool = False, resize: str | None = None
) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture file, 0 to 255: gray, or red, green and blue.

    A picture that its EXIF entry says was taken sideways is turned upright. One channel holds the luminance of colours.
    Transparent pixels become 0, with ``invert`` too.

    Parameters
    ----------
    path : path
        File of any 8-bit format that Pillow reads; pictures of 16 bits are refused.
    in_shape : (1 or 3, height, width)
        Number of channels to return, and the size of the picture.
    invert : bool
        Whether to turn dark ink on light paper into light ink on dark paper, as in MNIST.
    resize : {"crop", "pad", "stretch"}, optional
        What to do with a picture of another size: scale it until it covers the size, and cut off what is beyond; scale
        it until it fits, and add paper on both sides; or scale both sides. Without it, another size is refused.

    Returns
    -------
    uint8 array of shape ``in_shape``

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or no picture, or the picture is not an 8-bit one of that size; the message names the
        path.
    """
    name = os.fspath(path)
    channels, height, width = in_shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                deep = _has_16_bits(picture)  # before anything is decoded
                size, mode = _upright_size(picture), picture.mode
                fits = resize is not None or size == (width, height)
                colours = _in_colour(ImageOps.exif_transpose(picture)) if fits else None
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds of errors on damaged files
        raise ValueError(f"{name}: expected a whole picture file, got: {error}") from error
    if colours is None:
        raise ValueError(
            f"{name}: expected a picture of {width}x{height} pixels, got {size[0]}x{size[1]}; --resize scales it"
        )
    if deep:
        raise ValueError(f"{name}: expected an 8-bit picture, got one of 16 bits")
    if mode not in EIGHT_BIT_MODES:
        raise ValueError(f"{name}: expected an 8-bit picture, got Pillow's mode {mode!r}")
    paper = "white" if invert else "black"
    opaque = Image.alpha_composite(Image.new("RGBA", colours.size, paper), colours)
    opaque = _resized(opaque.convert("L" if channels == 1 else "RGB"), (width, height), resize, paper)
    pixels = np.asarray(opaque).reshape(height, width, channels).transpose(2, 0, 1)
    return 255 - pixels if invert else pixels


def _has_16_bits(picture: Image.Image) -> bool:
    """Return whether a file that was just opened has more than 8 bits for a colour, which Pillow's modes do not say.

    How its bytes are decoded does: ``RGB;16B`` in a PNG file, and the largest value in a PPM file.
    """
    how = [tile[3] for tile in getattr(picture, "tile", ())]
    if picture.format == "PPM":
        return any(isinstance(part, int) and part > 255 for args in how if isinstance(args, tuple) for part in args)
    return any(";16" in str(args) for args in how)


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture after it was turned as its EXIF entry says."""
    width, height = picture.size
    sideways = picture.getexif().get(ExifTags.Base.Orientation, 1) in {5, 6, 7, 8}
    return (height, width) if sideways else (width, height)


def _in_colour(picture: Image.Image) -> Image.Image:
    """Return a picture with red, green, blue and opacity; Pillow converts CMYK and YCbCr by way of RGB only."""
    return (picture.convert("RGB") if picture.mode in {"CMYK", "YCbCr"} else picture).convert("RGBA")


def _resized(picture: Image.Image, size: tuple[int, int], resize: str | None, paper: str) -> Image.Image:
    """Return a picture of a size; see `read_picture`."""
    if picture.size == size:
        return picture
    if resize == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    if resize == "pad":
        return ImageOps.pad(picture, size, Image.Resampling.BILINEAR, color=paper)
    return picture.resize(size, Image.Resampling.BILINEAR)


def doubts_about(pixels: npt.NDArray[np.uint8], invert: bool) -> str | None:
    """Return why the pixels of a picture are probably not what its owner means, or None.

    A picture of one value is blank. A gray one whose border is light looks like ink on paper, where networks that were
    trained on data sets such as MNIST expect light ink on a dark ground.

    Examples
    --------
    >>> doubts_about(np.zeros((1, 4, 4), np.uint8), invert=False)
    'all of its pixels are 0: it is blank'
    """
    if pixels.min() == pixels.max():
        return f"all of its pixels are {pixels.min()}: it is blank"
    gray = pixels[0]
    border = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    if len(pixels) > 1 or np.median(border) < LIGHT:
        return None
    remedy = "leave out --invert" if invert else "give --invert"
    return f"its border is light: it looks inverted; {remedy} if the network was trained on light ink on a dark ground"


def picture_paths(given: Iterable[str]) -> Iterator[str]:
    """Yield the paths of pictures: files as they are given, those in a folder, and those that a pattern matches.

    Raises
    ------
    FileNotFoundError
        If a folder holds no picture, or a pattern matches nothing.
    """
    for text in given:
        path = Path(text)
        if path.is_dir():
            found = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in Image.registered_extensions())
        elif not path.exists() and glob.has_magic(text):
            found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute patterns
        else:
            found = [text]
        if not found:
            inside = path.is_dir() and any(file.is_dir() for file in path.iterdir())
            remedy = f"; for those of its subfolders, give '{path / '*' / '*'}'" if inside else ""
            raise FileNotFoundError(f"{text}: expected a folder or a pattern of picture files, got no picture{remedy}")
        yield from found


def prepared_as(meta: Meta | None, pixels: npt.NDArray[np.uint8]) -> Array:
    """Return pixels (channels, height, width) as a map with this meta takes them; the order of RGB may change.

    Examples
    --------
    >>> from linalg_cnn import AffineMap
    >>> meta = AffineMap([[0.0] * 3], [0.0], meta={"pixel_scale": 1, "channel_order": "BGR"}).meta
    >>> prepared_as(meta, np.array([[[255]], [[0]], [[51]]], np.uint8)).ravel()
    array([0.2, 0. , 1. ])
    """
    if meta is not None and meta["channel_order"] == "BGR":
        pixels = pixels[::-1]
    prepared = preparation(meta, len(pixels))
    if prepared is None:
        return pixels
    factor, shift = (values.reshape(-1, 1, 1) for values in prepared)
    return factor * pixels + shift
