"""What changed between records of benchmarks, beyond their noise."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

LEAST_CHANGE = 0.05
"""Smaller changes are not called one, however quiet the runs were."""
LEAST_CHANGE_OF_ONE_RUN = 0.25
"""The same where one side is a single run: it does not know by how much the next one of the same code differs."""


class Measured(NamedTuple):
    """Seconds of something, and how far apart its repetitions are: their middle half, or all of few; 0 for one."""

    seconds: float
    spread: float


Record = dict[str, Any]
Measurements = dict[str, Measured]


def measurements(record: Record) -> Measurements:
    """Return all that a record has measured, by name.

    Parameters
    ----------
    record : dict
        Of any benchmark, of ``bench all``, or of ``experiment timing``.

    Raises
    ------
    ValueError
        If it is no such record.
    """
    experiment = record.get("experiment") if isinstance(record, dict) else None
    if experiment == "bench all":
        return {
            f"{name}: {what}": measured
            for name, part in record["benchmarks"].items()
            for what, measured in measurements(part).items()
        }
    readers = {
        "bench matrices": _matrices,
        "bench collapse": _collapse,
        "bench training": _training,
        "bench predict": _predict,
        "timing": _timings,
    }
    if experiment not in readers:
        raise ValueError(f"record: expected one of {', '.join([*readers, 'bench all'])}, got {experiment!r}")
    return dict(readers[experiment](record))


def _matrices(record: Record) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        yield row["matrix"], Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["scaling"]:
        yield f"16 -> 16 convolution, {row['entries']:,} entries", Measured(row["seconds"], row.get("spread", 0.0))


def _collapse(record: Record) -> Iterator[tuple[str, Measured]]:
    network = record["ways"]["network"]
    for row in record["ways"]["rows"]:
        yield f"{network}: {row['way']}", Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["verdicts"]:
        for what in ("before", "after"):
            micros = row[what], row.get(f"{what}_spread", 0.0)
            name = f"prediction {what}, batch {row['batch_size']}, an image"
            yield name, Measured(*(1e-6 * value for value in micros))
    for row in record["scaling"]:
        for what in ("compose", "jacrev"):
            name = f"ResNet{row['depth']}, 1x{row['side']}x{row['side']}: {what}"
            yield name, Measured(row[f"{what}_seconds"], row.get(f"{what}_spread", 0.0))


def _training(record: Record) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        for way, rate in row["images_per_second"].items():
            spread = row.get("spread", {}).get(way, 0.0)
            yield f"{row['network']}, {way}", Measured(row["images"] / rate, spread)


def _predict(record: Record) -> Iterator[tuple[str, Measured]]:
    for found, words in ((record["from_bytes"], ""), (record.get("from_bytes_memory_kept"), ", memory kept")):
        if found is None:
            continue
        for way, row in found["ways"].items():
            micros = row["microseconds_per_image"], row["spread"]
            yield f"{found['images']:,} images, {way}{words}, an image", Measured(*(1e-6 * value for value in micros))
        for way, row in found["batch_1"].items():
            yield f"one image, {way}{words}", Measured(1e-6 * row["microseconds"], 1e-6 * row["spread"])
    yield from _timings(record)


def _timings(record: Record) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        name = f"{row['network']}, {row['variant']}, batch {row['batch_size']}, an image"
        yield name, Measured(1e-6 * row["microseconds_per_image"], 1e-6 * row["spread"])


def read_runs(path: Path) -> list[Record]:
    """Return the records of one benchmark: that in a file, or all in a folder, each of a run of its own.

    Parameters
    ----------
    path : Path
        A file; or a folder of files, or of folders that ``bench all`` has written.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder, or no record in it.
    ValueError
        If a file is no record of a benchmark, or of another one than the others; the message names its path.
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
    """Return a record from a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no record of a benchmark; the message names the path.
    """
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        measurements(record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected a benchmark's record, got {type(error).__name__}: {error}") from error
    return record


def compare(a: Sequence[Record], b: Sequence[Record]) -> str:
    """Return a Markdown table of what changed from the runs a to the runs b, the largest change first.

    A change counts if it is larger than the noise of both sides together, and than 5 %. The noise of several runs is
    how far apart they are, or their spread where that is more. A single run knows its spread alone, and the next run
    of the same code may well differ by more: so a change counts from 25 % on if one side is a single run, and what was
    also repeated only once in it is not judged.
    """
    before, after = together(a), together(b)
    single = min(len(a), len(b)) == 1
    least = LEAST_CHANGE_OF_ONE_RUN if single else LEAST_CHANGE
    judged = {name: _judge(before[name], after[name], least) for name in before if name in after}
    changed = sorted(
        (name for name in judged if judged[name] in {"faster", "slower"}), key=lambda n: _change(n, before, after)
    )
    lines = _other_conditions(a, b)
    if changed:
        lines += ["| | A | B | B / A | |", "|---|---:|---:|---:|---|"]
        lines += [
            f"| {name} | {_show(before[name])} | {_show(after[name])} | "
            f"{after[name].seconds / before[name].seconds:.2f} | {judged[name]} |"
            for name in reversed(changed)
        ]
        lines.append("")
    counts = [list(judged.values()).count(verdict) for verdict in ("faster", "slower", "within the noise", "unknown")]
    lines.append("{} faster, {} slower, {} within the noise, {} without a spread to judge by.".format(*counts))
    for label, names in (("A", before.keys() - after.keys()), ("B", after.keys() - before.keys())):
        if names:
            lines.append(f"Only in {label}: {'; '.join(sorted(names))}.")
    if single:
        lines.append(
            f"Runs: {len(a)} of A, {len(b)} of B. Changes under {LEAST_CHANGE_OF_ONE_RUN:.0%} show with several runs "
            "of each, as folders of records."
        )
    return "\n".join(lines)


def together(runs: Sequence[Record]) -> Measurements:
    """Return the medians over several runs of what all of them measured, with their noise.

    Parameters
    ----------
    runs : sequence of dict
        Records of the same benchmark.
    """
    found = [measurements(run) for run in runs]
    shared = [name for name in found[0] if all(name in measured for measured in found)]
    return {name: _together([measured[name] for measured in found]) for name in shared}


def _together(runs: Sequence[Measured]) -> Measured:
    return Measured(*middle_and_noise([run.seconds for run in runs], [run.spread for run in runs]))


def middle_and_noise(values: Sequence[float], spreads: Sequence[float]) -> tuple[float, float]:
    """Return the median of what was measured several times, and how far apart it is, or its spread where that is more.

    Examples
    --------
    >>> middle_and_noise([10.0, 26.0, 11.0], [1.0, 2.0, 1.0])
    (11.0, 16.0)
    >>> middle_and_noise([10.0], [1.0])
    (10.0, 1.0)
    """
    return median(values), max(max(values) - min(values), median(spreads))


def _judge(before: Measured, after: Measured, least_change: float) -> str:
    if not before.spread or not after.spread:
        return "unknown"
    noise = max(before.spread + after.spread, least_change * min(before.seconds, after.seconds))
    change = after.seconds - before.seconds
    if abs(change) <= noise:
        return "within the noise"
    return "faster" if change < 0 else "slower"


def _change(name: str, before: Measurements, after: Measurements) -> float:
    ratio = after[name].seconds / before[name].seconds
    return max(ratio, 1 / ratio)


def _show(measured: Measured) -> str:
    """Return seconds and spread in the unit that suits them.

    Examples
    --------
    >>> _show(Measured(2.5e-3, 1e-4))
    '2.5 ms +- 0.05'
    """
    scale, unit = next((s, u) for s, u in ((1, "s"), (1e-3, "ms"), (1e-6, "us")) if measured.seconds >= s or u == "us")
    return f"{measured.seconds / scale:.3g} {unit} +- {measured.spread / 2 / scale:.2g}"


def _other_conditions(a: Sequence[Record], b: Sequence[Record]) -> list[str]:
    """Return lines on machine, versions and settings that differ."""
    lines = []
    for part in ("hardware", "versions", "settings"):
        for key in sorted({key for record in (*a, *b) for key in record.get(part, {})}):
            sides = [list(dict.fromkeys(str(record.get(part, {}).get(key)) for record in side)) for side in (a, b)]
            if sides[0] != sides[1] or len(sides[0]) > 1:
                lines.append(f"NOTE {part}, {key}: {' and '.join(sides[0])} in A, {' and '.join(sides[1])} in B")
    return [*lines, ""] if lines else []
