"""``linalg-cnn predict``: the classes of picture files, by a collapsed network. Needs no torch."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu.cli.prediction_output import FORMATS

RESIZES = ("crop", "pad", "stretch")


def add_predict(commands: Any) -> None:
    """Add ``predict`` to the parser of all commands."""
    parser = commands.add_parser("predict", help="classify picture files with a collapsed network")
    parser.set_defaults(command=predict_command)
    parser.add_argument(
        "map", type=Path, metavar="collapsed.safetensors", help="collapsed network, as demo or collapse writes it"
    )
    parser.add_argument(
        "pictures", nargs="+", metavar="IMAGE", help="picture, folder of pictures, or pattern such as 'scans/*.png'"
    )
    parser.add_argument("--scores", action="store_true", help="also print the score of every class, under a header")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="form of the output: fields with tabs between them (text, the default), or CSV or JSON",
    )
    parser.add_argument("--invert", action="store_true", help="invert pictures of dark ink on light paper")
    parser.add_argument(
        "--resize",
        choices=RESIZES,
        help="scale pictures of another size than the network's: crop what is beyond, pad with paper, or stretch; "
        "without it they are refused",
    )
    parser.add_argument(
        "--pixel-scale",
        type=float,
        metavar="WHITE",
        help="the number that stands for white in the network's input, such as 1, for a map that does not say it",
    )


def predict_command(
    map: Path,
    pictures: Sequence[str],
    scores: bool = False,
    format: str = "text",
    invert: bool = False,
    resize: str | None = None,
    pixel_scale: float | None = None,
) -> int:
    """Print path and class for each picture; report what cannot be found, read or scored; continue with the others.

    The exit status is 1 if there is any such picture, or a folder or a pattern without pictures.

    Raises
    ------
    ValueError
        If the file is damaged, or its map does not take gray or colour pictures, or has no score for each class; if
        nobody said how its pixels are prepared, or both the file and the user did.
    OSError
        If the file of the map cannot be read, or standard output is closed.
    """
    from gpu.cli.picture_files import doubts_about, prepared_as, read_picture
    from linalg_cnn import load_map

    if sys.stdout is None:  # Python prints nothing then, and says nothing
        raise OSError("standard output: expected an open file for the predictions, got a closed one")
    affine = load_map(map)
    affine = affine.with_meta(**told_scale(map, affine.meta, pixel_scale))
    shape = affine.in_shape
    if shape is None or len(shape) != 3 or shape[0] not in {1, 3}:
        raise ValueError(f"{map}: expected a map from pictures (1 or 3, height, width), got in_shape {shape}")
    if affine.out_size == 1 or (affine.out_shape is not None and len(affine.out_shape) != 1):
        shown = affine.out_shape or (affine.out_size,)
        raise ValueError(f"{map}: expected a map to one score for each of several classes, got out_shape {shown}")
    names = (affine.meta or {}).get("class_names") or [str(index) for index in range(affine.out_size)]
    output = FORMATS[format](names, scores)
    status = 0
    for path in _found(pictures):
        try:
            if isinstance(path, OSError):
                raise path
            pixels = read_picture(path, shape, invert=invert, resize=resize)
            found = _scores(affine, path, prepared_as(affine.meta, pixels))
        except (ValueError, OSError) as error:
            print(f"linalg-cnn: error: {error}", file=sys.stderr)
            status = 1
            continue
        doubts = doubts_about(pixels, invert)
        if doubts is not None:
            print(f"linalg-cnn: warning: {path}: {doubts}", file=sys.stderr)
        output.add(path, found)
    output.end()
    return status


def _scores(affine: Any, path: str, prepared: Any) -> list[float]:
    """Return the scores of a picture that was prepared as the map expects.

    Raises
    ------
    ValueError
        If one is not finite: there is no highest one then, and JSON has no such number.
    """
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        values = affine(prepared.ravel())
    if not np.isfinite(values).all():
        raise ValueError(
            f"{path}: expected finite scores, got {values[~np.isfinite(values)][0]}: W or B is too large for float64"
        )
    return list(values.tolist())


def _found(pictures: Sequence[str]) -> Iterator[str | OSError]:
    """Yield the paths of pictures, and the error in place of a folder or a pattern that has none."""
    from gpu.cli.picture_files import picture_paths

    for text in pictures:
        try:
            yield from picture_paths([text])
        except OSError as error:
            yield error


def told_scale(map: Path, meta: Mapping[str, Any] | None, pixel_scale: float | None) -> dict[str, float]:
    """Return the entries of ``meta`` that ``--pixel-scale`` adds to those of the map.

    Raises
    ------
    ValueError
        If neither says how pixels are prepared, or both do.
    """
    from linalg_cnn.meta import NETWORK, takes_pixels

    if pixel_scale is not None and takes_pixels(meta):
        known = (meta or {})["pixel_scale"]
        raise ValueError(f"--pixel-scale: expected none for {map}, which says that its white is {known:g}")
    if pixel_scale is not None:
        return {"pixel_scale": pixel_scale}
    if meta is not None and meta["pixel_scale"] == NETWORK:
        raise ValueError(
            f"{map}: expected a map that says how pixels are prepared, got one that was collapsed without preprocess=; "
            "collapse it with preprocess=, or give --pixel-scale 1 if the network took pixels in [0, 1] that were not "
            "normalised"
        )
    return {}
