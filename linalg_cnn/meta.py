"""What a map expects of its input, and what its output means: the entries of `linalg_cnn.AffineMap.meta`."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from linalg_cnn.checks import check_array, check_bool, check_choice
from linalg_cnn.types import Array, Shape

NETWORK = "network"
"""The pixel scale of a map that takes what its network takes, of which nothing more is known."""
BRIGHTEST = 255
"""The byte that stands for white."""
LAYOUTS = {2: "CL", 3: "CHW", 4: "CDHW"}
"""Names of the axes of a sample, by their number."""
CHANNEL_ORDERS = ("RGB", "BGR")
KEYS = ("pixel_scale", "mean", "std", "folded", "layout", "channel_order", "class_names")

Meta = Mapping[str, Any]


def check_meta(meta: Mapping[str, Any] | None, in_shape: Shape | None, out_size: int) -> Meta | None:
    """Return a mapping with every key of `KEYS`, None where nothing is known; None if nothing is known at all.

    Parameters
    ----------
    meta : mapping or None
        Entries as `linalg_cnn.AffineMap` describes them.
    in_shape : tuple of int or None
        Shape of a sample, if it is known.
    out_size : int
        Number of scores.

    Raises
    ------
    TypeError
        If it is not a mapping, or an entry is of another type.
    ValueError
        If a key is not known, an entry is out of range, or two entries do not fit together.

    Examples
    --------
    >>> meta = check_meta({"pixel_scale": 1, "mean": 0.5}, (1, 28, 28), 10)
    >>> {key: value for key, value in meta.items() if value is not None}
    {'pixel_scale': 1.0, 'mean': (0.5,), 'folded': False}
    """
    if meta is None:
        return None
    if not isinstance(meta, Mapping):
        raise TypeError(f"meta: expected a mapping, got {type(meta).__name__}")
    unknown = [key for key in meta if key not in KEYS]
    if unknown:
        raise ValueError(f"meta: expected keys among {', '.join(KEYS)}, got {unknown[0]!r}")
    checked = {key: meta.get(key) for key in KEYS}
    checked["pixel_scale"] = _check_scale(checked["pixel_scale"])
    channels = None if in_shape is None else in_shape[0]
    for key in ("mean", "std"):
        checked[key] = _check_per_channel(f"meta['{key}']", checked[key], channels)
    if checked["std"] is not None and 0 in checked["std"]:
        raise ValueError(f"meta['std']: expected numbers other than 0, got {checked['std']}")
    checked["folded"] = _check_folded(checked)
    _check_quotients(checked)
    layout, order, names = (checked[key] for key in ("layout", "channel_order", "class_names"))
    if layout is not None:
        check_choice("meta['layout']", layout, LAYOUTS.values() if in_shape is None else [layout_of(in_shape) or ""])
    if order is not None:
        check_choice("meta['channel_order']", order, CHANNEL_ORDERS)
        if channels not in {None, 3}:
            raise ValueError(f"meta['channel_order']: expected none for {channels} channels, got {order!r}")
    if names is not None:
        checked["class_names"] = _check_names(names, out_size)
    return checked if any(value is not None for value in checked.values()) else None


def _check_scale(scale: Any) -> float | str | None:
    """Return a pixel scale: None, `NETWORK`, or a positive number.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if scale is None or (isinstance(scale, str) and scale == NETWORK):
        return scale
    is_number = isinstance(scale, (int, float, np.integer, np.floating)) and not isinstance(scale, bool)
    if is_number and 0 < scale <= sys.float_info.max:  # an int may be larger
        return float(scale)
    raise ValueError(f"meta['pixel_scale']: expected a positive number, {NETWORK!r} or None, got {scale!r}")


def _check_per_channel(name: str, values: Any, channels: int | None) -> tuple[float, ...] | None:
    """Return one number for all channels, or one for each, as a tuple.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If there is another number of them, or one is not finite.
    """
    if values is None:
        return None
    array = check_array(name, np.atleast_1d(values), ndim=1)
    if array.dtype == object:
        raise TypeError(f"{name}: expected numbers, got {values!r}")
    if channels is not None and len(array) not in {1, channels}:
        raise ValueError(f"{name}: expected one number, or one for each of {channels} channels, got {len(array)}")
    return tuple(array.tolist())


def _check_folded(meta: Meta) -> bool | None:
    """Return whether the normalisation is folded into the map; None if there is none.

    Raises
    ------
    ValueError
        If it is not a bool, or the pixel scale is not known as a number.
    """
    if meta["folded"] is not None:
        check_bool("meta['folded']", meta["folded"])
    if meta["mean"] is None and meta["std"] is None:
        return None
    if not takes_pixels(meta):
        raise ValueError(
            "meta['pixel_scale']: expected a number where there is a mean or a standard deviation, "
            f"got {meta['pixel_scale']!r}"
        )
    return bool(meta["folded"])


def _check_quotients(meta: Meta) -> None:
    """Check that pixels divided by the standard deviation are finite.

    Raises
    ------
    ValueError
        If they are not.
    """
    if meta["std"] is None:
        return
    with np.errstate(over="ignore"):
        quotients = np.divide.outer(np.array([meta["pixel_scale"], *(meta["mean"] or ())]), meta["std"])
    if not np.isfinite(quotients).all():
        raise ValueError(
            "meta['std']: expected numbers that pixel_scale and mean can be divided by in float64, got "
            f"{meta['std']} for {meta['pixel_scale']} and {meta['mean']}"
        )


def _check_names(names: Any, out_size: int) -> tuple[str, ...]:
    """Return the names of the classes as a tuple.

    Raises
    ------
    TypeError
        If they are not strings in a sequence.
    ValueError
        If there is not one for each score.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"meta['class_names']: expected a sequence of strings, got {names!r}")
    if len(names) != out_size:
        raise ValueError(f"meta['class_names']: expected a name for each of {out_size} scores, got {len(names)}")
    return tuple(names)


def layout_of(in_shape: Shape) -> str | None:
    """Return the names of the axes of a sample (channels, *spatial), or None for another number of axes."""
    return LAYOUTS.get(len(in_shape))


def takes_pixels(meta: Meta | None) -> bool:
    """Return whether the number that stands for white is known."""
    return meta is not None and isinstance(meta["pixel_scale"], float)


def preparation(meta: Meta | None, channels: int | None) -> tuple[Array, Array] | None:
    """Return the factor and the shift of each channel that turn bytes into the input of a map.

    Parameters
    ----------
    meta : mapping or None
        As `check_meta` returns it.
    channels : int or None
        Number of channels of the input; None if it is not known.

    Returns
    -------
    tuple of float64 arrays (channels,), or (1,) if the number of channels is not known
        None if the map takes bytes as they are.

    Raises
    ------
    ValueError
        If there is a mean or a standard deviation for each channel, and the number of channels is not known.

    Examples
    --------
    >>> preparation(check_meta({"pixel_scale": 1, "mean": 0.5, "std": 0.25}, None, 1), channels=1)
    (array([0.01568627]), array([-2.]))
    """
    if meta is None or not takes_pixels(meta):
        return None
    mean, std = ((meta[key] if meta["folded"] is False else None) for key in ("mean", "std"))
    if meta["pixel_scale"] == BRIGHTEST and mean is None and std is None:
        return None
    count = channels or 1
    if max(len(mean or ()), len(std or ())) > count:
        raise ValueError("in_shape: expected a shape, whose first entry is the channels of mean and std, got None")
    divisor, subtracted = np.broadcast_to(std or 1.0, count), np.broadcast_to(mean or 0.0, count)
    return meta["pixel_scale"] / BRIGHTEST / divisor, -subtracted / divisor


def composed_meta(outer: Meta | None, inner: Meta | None) -> dict[str, Any]:
    """Return the meta of the map that applies ``inner`` first: the input is the inner's, the classes are the outer's.

    Examples
    --------
    >>> composed_meta({"pixel_scale": 1.0, "class_names": ("a", "b")}, {"pixel_scale": 255.0, "class_names": None})
    {'pixel_scale': 255.0, 'class_names': ('a', 'b')}
    """
    return dict(inner or {}) | {"class_names": (outer or {}).get("class_names")}


def shared_meta(a: Meta | None, b: Meta | None) -> Meta | None:
    """Return the meta of the sum of two maps, which get the same input.

    What only one of them knows holds for both. Class names, and a normalisation that is folded into the maps, have no
    effect on the input; where the maps differ in them, they are left out.

    Raises
    ------
    ValueError
        If the maps expect different inputs.
    """
    if a is None or b is None:
        return a or b
    joint = {key: _shared(key, a[key], b[key]) for key in ("pixel_scale", "layout", "channel_order")}
    normalisation = [{key: meta[key] for key in ("mean", "std", "folded")} for meta in (a, b) if takes_pixels(meta)]
    if normalisation and all(other == normalisation[0] for other in normalisation):
        joint |= normalisation[0]
    elif any(meta["folded"] is False for meta in normalisation):
        raise ValueError(
            "a + b: expected maps that expect the same mean and std of their input, got "
            + " and ".join(f"{meta['mean']}, {meta['std']}" for meta in normalisation)
        )
    names = {meta["class_names"] for meta in (a, b)} - {None}
    return joint | {"class_names": names.pop() if len(names) == 1 else None}


def _shared(key: str, a: Any, b: Any) -> Any:
    """Return what two maps expect of their input, of which one may know nothing.

    Raises
    ------
    ValueError
        If they expect different things.
    """
    if None not in {a, b} and a != b:
        raise ValueError(f"a + b: expected maps that expect the same {key} of their input, got {a!r} and {b!r}")
    return b if a is None else a


def meta_to_text(meta: Meta | None) -> dict[str, str]:
    """Return the entry of a file for the meta of a map: none if nothing is known."""
    return {} if meta is None else {"meta": json.dumps(meta)}


def meta_from_text(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the entries that `meta_to_text` wrote, unchecked; none for files that have no meta.

    Raises
    ------
    ValueError
        If they are not a JSON object.
    """
    meta = json.loads(metadata.get("meta", "{}"))
    if not isinstance(meta, dict):
        raise ValueError(f"meta: expected a JSON object, got {meta!r}")  # noqa: TRY004 - a bad file
    return meta
