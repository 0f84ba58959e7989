"""The folder that a command writes its results into."""

import tempfile
from collections.abc import Sequence
from pathlib import Path


def check_output_folder(out: Path, names: Sequence[str]) -> None:
    """Make a folder for results, and check that files of the given names can be written into it.

    Raises
    ------
    OSError
        If the folder cannot be made, or nothing can be written into it.
    IsADirectoryError
        If a folder has the name of one of the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=out):
        pass
    for name in names:
        if (out / name).is_dir():
            raise IsADirectoryError(f"{out / name}: expected a file to write, got a folder")
