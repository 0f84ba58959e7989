"""Files of maps: safetensors with the format, its version, and a SHA-256 of the content in the metadata."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.numpy

from linalg_cnn.files import write_atomically
from linalg_cnn.types import Array

FORMAT_VERSION = "2"
READABLE_VERSIONS = ("1", FORMAT_VERSION)
"""Version 2 added what a map expects of its input; everything else is as in version 1."""


def write_map_file(
    path: str | os.PathLike[str], file_format: str, tensors: dict[str, Array], metadata: dict[str, str]
) -> None:
    """Write tensors and metadata atomically.

    Raises
    ------
    OSError
        If the file cannot be written. A file that was there before is then unchanged.
    """
    metadata = {"format": file_format, "format_version": FORMAT_VERSION} | metadata
    metadata["sha256"] = _digest(tensors, metadata)
    write_atomically(path, safetensors.numpy.save(tensors, metadata))


def read_map_file(
    path: str | os.PathLike[str], formats: Mapping[str, tuple[str, ...] | None]
) -> tuple[str, dict[str, Array], dict[str, str]]:
    """Return the format, the tensors and the metadata of a file that `write_map_file` wrote.

    Parameters
    ----------
    path : str or path
    formats : mapping
        Accepted formats, each with the names of its tensors, or None where the caller checks them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is truncated, altered, or of another format. The message names the path.
    """
    name = os.fspath(path)
    if Path(path).is_dir():
        raise ValueError(f"{name}: expected a file, got a folder")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            found, keys = metadata.get("format", "none"), sorted(file.keys())
            expected = formats.get(found)
            if found not in formats or (expected is not None and set(keys) != set(expected)):
                raise ValueError(
                    f"{name}: expected a saved {' or '.join(key.rpartition('.')[2] for key in formats)} with its "
                    f"tensors, got format {metadata.get('format')!r} with tensors {keys}"
                )
            tensors = {key: file.get_tensor(key) for key in keys}
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError, UnicodeDecodeError, AttributeError, TypeError) as error:
        raise ValueError(f"{name}: expected a whole safetensors file, got: {error}") from error
    if metadata.get("format_version") not in READABLE_VERSIONS:
        raise ValueError(
            f"{name}: expected format version {' or '.join(READABLE_VERSIONS)}, got {metadata.get('format_version')!r}"
        )
    stored = metadata.pop("sha256", None)
    computed = _digest(tensors, metadata)
    if stored != computed:
        raise ValueError(f"{name}: the content was altered: expected SHA-256 {stored}, got {computed}")
    return found, tensors, metadata


def _digest(tensors: dict[str, Array], metadata: dict[str, str]) -> str:
    """Return the SHA-256 of the metadata and of the name, dtype, shape and bytes of every tensor."""
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
