"""The comparison of benchmarks' records: what changed beyond their noise."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpu.bench.measurements import Measured, Record, median_and_noise, of_timing
from gpu.bench.registry import BENCHMARKS
from gpu.runtime.tables import markdown_table
from linalg_cnn.files import read_json

LEAST_CHANGE = 0.05
"""Smallest relative change that is reported, however quiet the runs were."""
LEAST_CHANGE_OF_ONE_RUN = 0.25
"""Smallest relative change that is reported if one side is a single run: it does not show how much runs differ."""
READERS = {benchmark.experiment: benchmark.measurements for benchmark in BENCHMARKS.values()} | {"timing": of_timing}
"""Functions that yield the measurements of a record, by the record's ``experiment``."""


CONDITIONS = ("hardware", "versions", "settings")
"""Entries of a record that say how it was measured."""


def measurements(record: Record) -> dict[str, Measured]:
    """Return everything that a record has measured, by name.

    Parameters
    ----------
    record : dict
        Record of a benchmark, of ``bench all``, or of ``experiment timing``.

    Raises
    ------
    ValueError
        If ``record`` is none of these.
    """
    experiment = record.get("experiment") if isinstance(record, dict) else None
    if experiment == "bench all":
        return {
            f"{name}: {what}": measured
            for name, part in record["benchmarks"].items()
            for what, measured in measurements(part).items()
        }
    if experiment not in READERS:
        raise ValueError(f"record: expected one of {', '.join([*READERS, 'bench all'])}, got {experiment!r}")
    return dict(READERS[experiment](record))


def read_runs(path: Path) -> list[Record]:
    """Return the records of all runs of one benchmark: the one in a file, or those in a folder.

    Parameters
    ----------
    path : Path
        A file, a folder of files, or a folder of folders that ``bench all`` has written.

    Raises
    ------
    FileNotFoundError
        If the file or folder does not exist, or the folder holds no record.
    ValueError
        If a file is no benchmark's record, or the records are of different benchmarks; the message names the path.
    """
    if not path.is_dir():
        return [read_record(path)]
    files = sorted(path.glob("all.json")) or sorted([*path.glob("*.json"), *path.glob("*/all.json")])
    if not files:
        raise FileNotFoundError(f"{path}: expected records, *.json or */all.json, in the folder, got none")
    runs = [read_record(file) for file in files]
    for file, run in zip(files, runs, strict=True):
        if run["experiment"] != runs[0]["experiment"]:
            raise ValueError(f"{file}: expected a record of {runs[0]['experiment']!r}, got {run['experiment']!r}")
    return runs


def read_record(path: Path) -> Record:
    """Return the record in a file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it holds no benchmark's record, or one that was altered; the message names the path.
    """
    record = read_json(path, "a benchmark's record", {"experiment": str})
    try:
        _check(record)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError, ArithmeticError) as error:
        raise ValueError(f"{path}: expected a benchmark's record, got {type(error).__name__}: {error}") from error
    return record


def _check(record: Record) -> None:
    """Check that everything in a record can be compared; a record without its SHA-256 may hold anything.

    Raises
    ------
    ValueError
        If a measurement is no time, or its name no text, or the conditions are no mappings.
    """
    for name, measured in measurements(record).items():
        if not isinstance(name, str):
            raise ValueError(f"expected names of measurements, got {name!r}")  # noqa: TRY004 - a bad file
        numbers = all(isinstance(value, (int, float)) and math.isfinite(value) for value in measured)
        if not numbers or measured.seconds <= 0 or measured.spread < 0:
            raise ValueError(f"expected positive seconds and their spread, got {tuple(measured)} for {name}")
    for part in CONDITIONS:
        if not isinstance(record.get(part, {}), dict):
            raise ValueError(f"expected a mapping, got another {part}")  # noqa: TRY004 - a bad file


def compare(a: Sequence[Record], b: Sequence[Record]) -> str:
    """Return a Markdown table of what changed from the runs a to the runs b, with the largest change first.

    A change is reported if it exceeds the noise of both sides together, and 5 %. The noise of several runs is their
    range, or their spread if that is larger. A single run knows only its own spread, and the next run of the same code
    may differ by more. If one side is a single run, a change is therefore reported from 25 % on, and a measurement that
    was not repeated within the run is not judged.

    Parameters
    ----------
    a, b : sequence of dict
        Records of the same benchmark, one for each run.
    """
    before, after = together(a), together(b)
    single = min(len(a), len(b)) == 1
    least = LEAST_CHANGE_OF_ONE_RUN if single else LEAST_CHANGE
    judged = {name: _judge(before[name], after[name], least) for name in before if name in after}
    lines = [*_other_conditions(a, b), *_changes(judged, before, after)]
    counts = [list(judged.values()).count(verdict) for verdict in ("faster", "slower", "within the noise", "unknown")]
    lines.append("{} faster, {} slower, {} within the noise, {} without a spread to judge by.".format(*counts))
    for label, names in (("A", before.keys() - after.keys()), ("B", after.keys() - before.keys())):
        if names:
            lines.append(f"Only in {label}: {'; '.join(sorted(names))}.")
    if single:
        lines.append(
            f"Runs: {len(a)} of A, {len(b)} of B. Changes under {LEAST_CHANGE_OF_ONE_RUN:.0%} are reported only with "
            "several runs of each, given as folders of records."
        )
    return "\n".join(lines)


def together(runs: Sequence[Record]) -> dict[str, Measured]:
    """Return the median and the noise of each measurement that all runs have.

    Parameters
    ----------
    runs : sequence of dict
        Records of the same benchmark.
    """
    found = [measurements(run) for run in runs]
    shared = [name for name in found[0] if all(name in measured for measured in found)]
    return {name: _together([measured[name] for measured in found]) for name in shared}


def _together(runs: Sequence[Measured]) -> Measured:
    return Measured(*median_and_noise([run.seconds for run in runs], [run.spread for run in runs]))


def _judge(before: Measured, after: Measured, least_change: float) -> str:
    if not before.spread or not after.spread:
        return "unknown"
    noise = max(before.spread + after.spread, least_change * min(before.seconds, after.seconds))
    change = after.seconds - before.seconds
    if abs(change) <= noise:
        return "within the noise"
    return "faster" if change < 0 else "slower"


def _changes(judged: Mapping[str, str], before: Mapping[str, Measured], after: Mapping[str, Measured]) -> list[str]:
    """Return the table of the changes and an empty line; nothing if there is no change."""
    ratios = {
        name: after[name].seconds / before[name].seconds for name in judged if judged[name] in {"faster", "slower"}
    }
    if not ratios:
        return []
    largest_first = sorted(ratios, key=lambda name: max(ratios[name], 1 / ratios[name]))[::-1]
    rows = [
        (name, _show(before[name]), _show(after[name]), f"{ratios[name]:.2f}", judged[name]) for name in largest_first
    ]
    return [*markdown_table(("measurement", "A", "B", "B / A", "verdict"), rows, (0, 4)), ""]


def _show(measured: Measured) -> str:
    """Return seconds and half of the spread in a unit that gives a readable number.

    Examples
    --------
    >>> _show(Measured(2.5e-3, 1e-4))
    '2.5 ms +- 0.05'
    """
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "us")) if measured.seconds >= s or u == "us")
    return f"{measured.seconds / scale:.3g} {unit} +- {measured.spread / 2 / scale:.2g}"


def _other_conditions(a: Sequence[Record], b: Sequence[Record]) -> list[str]:
    """Return a line for each difference in hardware, versions and settings, and an empty line if there is one."""
    lines = []
    for part in CONDITIONS:
        for key in sorted({key for record in (*a, *b) for key in record.get(part, {})}):
            sides = [list(dict.fromkeys(str(record.get(part, {}).get(key)) for record in side)) for side in (a, b)]
            if sides[0] != sides[1] or len(sides[0]) > 1:
                lines.append(f"NOTE {part}, {key}: {' and '.join(sides[0])} in A, {' and '.join(sides[1])} in B")
    return [*lines, ""] if lines else []
