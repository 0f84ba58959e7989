"""Picture files as the pixels of a network's input."""

import os
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

from linalg_cnn.meta import Meta, preparation
from linalg_cnn.types import Array, Shape

EIGHT_BIT_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")


def read_picture(path: str | os.PathLike[str], in_shape: Shape, *, invert: bool = False) -> npt.NDArray[np.uint8]:
    """Return the pixels of a picture file, 0 to 255: gray, or red, green and blue.

    One channel holds the luminance of colours. Transparent pixels become 0, with ``invert`` too.

    Parameters
    ----------
    path : path
        File of any 8-bit format that Pillow reads.
    in_shape : (1 or 3, height, width)
        Number of channels to return, and the required size of the picture.
    invert : bool
        Whether to turn dark ink on light paper into light ink on dark paper, as in MNIST.

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
                size, mode = picture.size, picture.mode
                colours = (
                    picture.convert("RGB" if mode in ("CMYK", "YCbCr") else "RGBA") if size == (width, height) else None
                )
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds of errors on damaged files
        raise ValueError(f"{name}: expected a whole picture file, got: {error}") from error
    if colours is None:
        raise ValueError(f"{name}: expected a picture of {width}x{height} pixels, got {size[0]}x{size[1]}")
    if mode not in EIGHT_BIT_MODES:
        raise ValueError(f"{name}: expected an 8-bit picture, got Pillow's mode {mode!r}")
    colours = colours.convert("RGBA")
    paper = Image.new("RGBA", colours.size, "white" if invert else "black")
    opaque = Image.alpha_composite(paper, colours).convert("L" if channels == 1 else "RGB")
    pixels = np.asarray(opaque).reshape(height, width, channels).transpose(2, 0, 1)
    return 255 - pixels if invert else pixels


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
