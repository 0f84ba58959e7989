"""One run of a measurement: its conditions, its progress bar, and the parts that it has measured, kept in a file."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import linalg_cnn
from gpu.runtime.machine import describe_hardware, describe_versions
from gpu.runtime.progress import Progress
from linalg_cnn.files import read_json, write_json

CPU = torch.device("cpu")
PACKAGES = (Path(__file__).parents[1], Path(linalg_cnn.__file__).parent)
"""Folders of the code that is measured."""


class Run:
    """One run of a benchmark or an experiment, which goes on where an earlier one with the same conditions was stopped.

    The conditions are the settings, the machine, the versions and the code. They are looked up before anything is
    timed, so that nothing is lost for want of them.

    Parameters
    ----------
    experiment : str
        Name in the record: that of an experiment, or "bench NAME".
    settings : dict
        Settings that the record names.
    device : torch.device
        Device that is measured.
    parts : int
        Number of parts that the progress bar counts.
    keep : Path, optional
        File of the parts measured so far, which is written after each part; nothing is kept if not given.
    progress : bool or Progress
        Whether to draw a progress bar on standard error, or the bar to continue.
    hardware : dict, optional
        What the record says about the machine beside `describe_hardware`.

    Attributes
    ----------
    bar : Progress
        The progress bar.
    continued : list of str
        Names of the parts that an earlier run has measured.

    Raises
    ------
    ValueError
        If the file exists and is not one that a run has written.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "bench.json.unfinished"
    >>> run = Run("bench sums", {"runs": 3}, CPU, 2, file, progress=False)
    >>> run.part("small", lambda: {"seconds": 0.5})  # and then the run is stopped
    {'seconds': 0.5}
    >>> run = Run("bench sums", {"runs": 3}, CPU, 2, file, progress=False)
    >>> run.part("small", lambda: {"seconds": 0.7})
    {'seconds': 0.5}
    >>> run.continued
    ['small']
    """

    def __init__(
        self,
        experiment: str,
        settings: dict[str, Any],
        device: torch.device,
        parts: int,
        keep: Path | None = None,
        progress: bool | Progress = True,
        hardware: dict[str, Any] | None = None,
    ) -> None:
        self.conditions = as_json({
            "experiment": experiment,
            "settings": settings,
            "hardware": describe_hardware(device) | (hardware or {}),
            "versions": describe_versions(),
        })
        self.bar = Progress.of(progress, experiment.removeprefix("bench "), parts)
        self.continued: list[str] = []
        self._keep = keep
        self._parts: dict[str, Any] = {}
        self._earlier: dict[str, Any] = {}
        if keep is not None:
            self._code = digest_of_code()
            if keep.exists():
                self._earlier = self._read(keep)

    def part(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what an earlier run has measured under a name, or measure it and keep it.

        Parameters
        ----------
        name : str
            Name of the part, which no other part of the run has.
        measure : callable
            Returns the measurement: what JSON can hold. It is not kept if this raises an error.

        Raises
        ------
        ValueError
            If the measurement holds NaN or infinity, which JSON does not have.
        OSError
            If the file cannot be written.
        """
        if name in self._earlier:
            self.continued.append(name)
            self._parts[name] = self._earlier[name]
        else:
            self._parts[name] = as_json(measure())
            if self._keep is not None:
                write_json(self._keep, {**self.conditions, "code": self._code, "parts": self._earlier | self._parts})
        return self._parts[name]

    def record(self, left_out: list[str], **measured: Any) -> dict[str, Any]:
        """End the run and return its record; ``continued`` names the parts that an earlier run has measured, if any."""
        self.bar.finish()
        continued = {"continued": self.continued} if self.continued else {}
        return {**self.conditions, **continued, **measured, "left_out": left_out}

    def _read(self, keep: Path) -> dict[str, Any]:
        """Return the parts of an earlier run by name; none if its conditions were others, which is said.

        Raises
        ------
        ValueError
            If a run has not written the file.
        """
        try:
            found = read_json(keep, "an unfinished run", {"experiment": str, "parts": dict})
        except ValueError as error:
            raise ValueError(f"{error}; remove the file to start anew") from error
        others = [name for name, value in self.conditions.items() if found.get(name) != value]
        if found.get("code") != self._code:
            others.append("code")
        if others:
            message = f"{keep}: measured with other {', '.join(others)}: the run starts anew"
        else:
            message = f"{keep}: the run goes on, {len(found['parts'])} of its parts are measured"
        self.bar.bar.write(message, file=sys.stderr)
        return {} if others else dict(found["parts"])


def unfinished(record: Path) -> Path:
    """Return the file for the parts of a run that is not finished, beside the file of its record.

    Examples
    --------
    >>> unfinished(Path("predict.json")).name
    'predict.json.unfinished'
    """
    return record.with_name(f"{record.name}.unfinished")


def as_json(value: Any) -> Any:
    """Return a value as it is read back from JSON, so that what is measured and what was kept are the same.

    Raises
    ------
    ValueError
        If it holds NaN or infinity.

    Examples
    --------
    >>> as_json({64: (1, 28, 28)})
    {'64': [1, 28, 28]}
    """
    return json.loads(json.dumps(value, allow_nan=False))


def digest_of_code() -> str:
    """Return the SHA-256 of the code of both packages: what it measures before and after a change is not one record."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
