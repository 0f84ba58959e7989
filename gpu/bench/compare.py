"""What changed between two records of benchmarks, beyond their noise."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LEAST_CHANGE = 0.05
"""Smaller changes are not called one, however quiet both runs were: the next run of the same code may differ so."""


class Measured(NamedTuple):
    """Seconds of something, and the width of the middle half of its runs; 0 if there was one run."""

    seconds: float
    spread: float


def measurements(record: dict[str, Any]) -> dict[str, Measured]:
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


def _matrices(record: dict[str, Any]) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        yield row["matrix"], Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["scaling"]:
        yield f"16 -> 16 convolution, {row['entries']:,} entries", Measured(row["seconds"], row.get("spread", 0.0))


def _collapse(record: dict[str, Any]) -> Iterator[tuple[str, Measured]]:
    network = record["ways"]["network"]
    for row in record["ways"]["rows"]:
        yield f"{network}: {row['way']}", Measured(row["seconds"], row.get("spread", 0.0))
    for row in record["verdicts"]:
        for what in ("before", "after"):
            micros = row[what], row.get(f"{what}_spread", 0.0)
            yield f"prediction {what}, batch {row['batch_size']}", Measured(*(1e-6 * value for value in micros))
    for row in record["scaling"]:
        for what in ("compose", "jacrev"):
            name = f"ResNet{row['depth']}, 1x{row['side']}x{row['side']}: {what}"
            yield name, Measured(row[f"{what}_seconds"], row.get(f"{what}_spread", 0.0))


def _training(record: dict[str, Any]) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        for way, rate in row["images_per_second"].items():
            spread = row.get("spread", {}).get(way, 0.0)
            yield f"{row['network']}, {way}", Measured(row["images"] / rate, spread)


def _predict(record: dict[str, Any]) -> Iterator[tuple[str, Measured]]:
    found = record["from_bytes"]
    for way, row in found["ways"].items():
        micros = row["microseconds_per_image"], row["spread"]
        yield f"{found['images']:,} images, {way}, an image", Measured(*(1e-6 * value for value in micros))
    for way, row in found["batch_1"].items():
        yield f"one image, {way}", Measured(1e-6 * row["microseconds"], 1e-6 * row["spread"])
    yield from _timings(record)


def _timings(record: dict[str, Any]) -> Iterator[tuple[str, Measured]]:
    for row in record["rows"]:
        name = f"{row['network']}, {row['variant']}, batch {row['batch_size']}, an image"
        yield name, Measured(1e-6 * row["microseconds_per_image"], 1e-6 * row["spread"])


def read_record(path: Path) -> dict[str, Any]:
    """Return a record from a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no record of a benchmark; the message names the path.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        measurements(record)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: expected a benchmark's record, got {type(error).__name__}: {error}") from error
    return record


def compare(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Return a Markdown table of what changed from a to b, the largest change first.

    A change counts if it is larger than both spreads together and than 5 %; what was run once in one of them has no
    spread, and is not judged.
    """
    before, after = measurements(a), measurements(b)
    lines = [*_other_conditions(a, b)]
    judged = {name: _judge(before[name], after[name]) for name in before if name in after}
    changed = sorted(
        (name for name in judged if judged[name] in {"faster", "slower"}), key=lambda n: _change(n, before, after)
    )
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
    return "\n".join(lines)


def _judge(before: Measured, after: Measured) -> str:
    if not before.spread or not after.spread:
        return "unknown"
    change = after.seconds - before.seconds
    if abs(change) <= max(before.spread + after.spread, LEAST_CHANGE * before.seconds):
        return "within the noise"
    return "faster" if change < 0 else "slower"


def _change(name: str, before: dict[str, Measured], after: dict[str, Measured]) -> float:
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


def _other_conditions(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Return lines on machine, versions and settings that differ."""
    lines = []
    for part in ("hardware", "versions", "settings"):
        for key in sorted({*a.get(part, {}), *b.get(part, {})}):
            values = [record.get(part, {}).get(key) for record in (a, b)]
            if values[0] != values[1]:
                lines.append(f"NOTE {part}, {key}: {values[0]} in A, {values[1]} in B")
    return [*lines, ""] if lines else []
