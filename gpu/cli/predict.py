"""``linalg-cnn predict``: the classes of picture files, by a collapsed network. Needs no torch."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def add_predict(commands: Any) -> None:
    """Add ``predict`` to the parser of all commands."""
    parser = commands.add_parser("predict", help="classify picture files with a collapsed network")
    parser.set_defaults(command=predict_command)
    parser.add_argument(
        "map", type=Path, metavar="collapsed.safetensors", help="collapsed network, as demo or collapse writes it"
    )
    parser.add_argument("pictures", nargs="+", metavar="IMAGE", help="picture of the network's input size")
    parser.add_argument("--scores", action="store_true", help="also print the score of every class")
    parser.add_argument("--invert", action="store_true", help="invert pictures of dark ink on light paper")


def predict_command(map: Path, pictures: Sequence[str], scores: bool, invert: bool) -> int:
    """Print path, tab, class for each picture; report the pictures that cannot be read and continue.

    Raises
    ------
    ValueError
        If the file is damaged, or its map does not take gray or colour pictures, or has no score for each class.
    """
    from gpu.cli.picture_files import read_picture
    from linalg_cnn import load_map

    affine = load_map(map)
    shape = affine.in_shape
    if shape is None or len(shape) != 3 or shape[0] not in {1, 3}:
        raise ValueError(f"{map}: expected a map from pictures (1 or 3, height, width), got in_shape {shape}")
    if affine.out_size == 1 or (affine.out_shape is not None and len(affine.out_shape) != 1):
        shown = affine.out_shape or (affine.out_size,)
        raise ValueError(f"{map}: expected a map to one score for each of several classes, got out_shape {shown}")
    status = 0
    for path in pictures:
        try:
            pixels = read_picture(path, shape, invert=invert)
        except (ValueError, OSError) as error:
            print(f"linalg-cnn: error: {error}", file=sys.stderr)
            status = 1
            continue
        values = affine(pixels.ravel())
        fields = [os.fspath(path), str(int(np.argmax(values)))]
        if scores:
            fields += [f"{value:.6g}" for value in values]
        print("\t".join(fields))
    return status
